"""The tools: what ``headrace probe encode`` prints and keeps, and the one line of each mistake."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from origin import tool
from origin.tools import probe
from origin.transcode.capacity import Costs, EncodeCost
from origin.transcode.measure import MeasureError, Speed, fingerprint, needed_pairs, read_speed
from origin.transcode.rungs import Ladder

KEY = "live_0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("HEADRACE_")]:
        if variable != "HEADRACE_PURE":
            monkeypatch.delenv(variable)


@pytest.fixture
def measured(monkeypatch: pytest.MonkeyPatch) -> list[Ladder]:
    """Instead of measuring, give round numbers; the ladders that were asked for."""
    asked: list[Ladder] = []

    async def measure(ladder: Ladder) -> Speed:
        asked.append(ladder)
        auto = "libx264" if ladder.needs_auto else None
        return Speed(
            fingerprint=fingerprint(),
            auto=auto,
            costs=Costs(
                decode_s=0.005,
                scale_s=0.001,
                encode=tuple(
                    EncodeCost(encoder, preset, 0.02)
                    for encoder, preset in needed_pairs(ladder)
                    if encoder == "libx264"
                ),
                broken={"libx265": "libx265 failed: no"} if ladder.encoder == "libx265" else {},
            ),
        )

    monkeypatch.setattr(probe, "measure", measure)
    return asked


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    def run_tool(*arguments: str) -> tuple[int, str, str]:
        code = tool.run(["probe", "encode", "--data", str(tmp_path / "data"), *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_tool


def test_the_tables_are_for_people(
    measured: list[Ladder], run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_TRANSCODE_CORES", "1.6")
    code, out, err = run()
    assert (code, err) == (0, "")
    path = tmp_path / "data" / "encode-speed.json"
    lines = out.splitlines()
    assert lines[1].endswith("cores, 1.60 of them for transcoding")
    assert lines[2] == "a megapixel takes 5.0 ms to decode, 1.0 ms to scale"
    assert lines[4:] == [
        "rung   size       encoder  preset     pictures/s a core",
        "1080p  1920x1080  libx264  superfast  24",
        "720p   1280x720   libx264  veryfast   54",
        "480p   854x480    libx264  veryfast   122",
        "360p   640x360    libx264  veryfast   217",
        "",
        "source   gets                  cores",
        "1080p30  720p30 480p30 360p30  1.47",
        "1080p60  480p30 360p30         1.20   720p left out: needs 0.7 of a core, 0.3 left",
        "720p60   480p30 360p30         0.82",
        "",
        f"Written to {path}",
    ]
    assert read_speed(path) is not None
    assert path.stat().st_mode & 0o777 == 0o600


def test_json_is_for_programs(measured: list[Ladder], run: Run) -> None:
    code, out, err = run("--json")
    assert (code, err) == (0, "")
    report = json.loads(out)
    assert report["decodeMsPerMegapixel"] == 5
    assert [rung["name"] for rung in report["rungs"]] == ["1080p", "720p", "480p", "360p"]
    assert report["rungs"][1]["framesPerS"] == pytest.approx(54.25, abs=0.01)
    assert [fit["source"] for fit in report["fits"]] == ["1080p30", "1080p60", "720p60"]
    assert report["broken"] == {}


def test_what_the_origin_would_need_is_measured(
    measured: list[Ladder], run: Run, tmp_path: Path
) -> None:
    config = tmp_path / "h.toml"
    config.write_text('ladder = "small"\n[[rungs]]\nname = "small"\nheight = 90\nbitrate_kbps = 90')
    assert run("--config", str(config), "--encoder", "auto")[0] == 0
    (ladder,) = measured
    assert [rung.name for rung in ladder.rungs] == ["small"]
    assert ladder.needs_auto


def test_without_a_ladder_the_default_one_is_measured(measured: list[Ladder], run: Run) -> None:
    assert run("--ladder", "none")[0] == 0
    assert [rung.name for rung in measured[0].rungs] == ["1080p", "720p", "480p", "360p"]


def test_an_encoder_that_does_not_work_is_named(measured: list[Ladder], run: Run) -> None:
    code, out, _ = run("--encoder", "libx265")
    assert code == 0
    assert "libx265 does not work: libx265 failed: no\n" in out
    assert "720p   1280x720   libx265  superfast  -\n" in out
    assert "1080p30  none  0.00   720p left out: libx265 failed: no; 480p left out:" in out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--ladder", "x"], "--ladder: no rung is named 'x'; choose from"),
        (["--encoder", "x"], "--encoder: invalid enum value 'x'"),
        (["--config", "/nonexistent.toml"], "/nonexistent.toml: No such file or directory"),
        ([KEY], "Got unexpected extra argument (live_[redacted])"),
        (["--jason"], "No such option"),
    ],
)
def test_a_mistake_is_one_line_and_exit_code_2(run: Run, arguments: list[str], line: str) -> None:
    code, out, err = run(*arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"headrace: {line}")
    assert err.count("\n") == 1


def test_a_trial_that_fails_is_one_line_and_exit_code_1(
    run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    async def measure(_ladder: Ladder) -> Speed:
        raise MeasureError("a trial ended with exit code -11")

    monkeypatch.setattr(probe, "measure", measure)
    assert run() == (1, "", "headrace: a trial ended with exit code -11\n")
    assert not (tmp_path / "data").exists()


def test_a_folder_that_cannot_be_written_is_one_line(
    measured: list[Ladder], run: Run, tmp_path: Path
) -> None:
    (tmp_path / "data").write_text("a file")
    code, _, err = run()
    assert (code, err) == (1, f"headrace: {tmp_path / 'data'}: File exists\n")


def test_an_interrupt_is_quiet(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def measure(_ladder: Ladder) -> Speed:
        raise KeyboardInterrupt

    monkeypatch.setattr(probe, "measure", measure)
    assert run()[0] == 130


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["--help"], 0, "probe"),
        (["probe", "--help"], 0, "encode"),
        (["probe", "encode", "-h"], 0, "--json"),
        (["--version"], 0, "headrace, version"),
        ([], 2, "headrace: Missing command."),
        (["probe"], 2, "headrace: Missing command."),
        (["prob"], 2, "headrace: No such command"),
    ],
)
def test_help_version_and_half_a_command(
    arguments: list[str], code: int, text: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert tool.run(arguments) == code
    captured = capsys.readouterr()
    assert text in (captured.err if code else captured.out)
    assert not (captured.out if code else captured.err)
