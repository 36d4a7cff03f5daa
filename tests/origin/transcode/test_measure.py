"""Measuring and keeping: what counts as a measurement, and what becomes of a trial that fails."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from structlog.testing import capture_logs

from origin.transcode import child
from origin.transcode import measure as module
from origin.transcode.capacity import ESTIMATE, Costs, EncodeCost
from origin.transcode.machine import usable_cores
from origin.transcode.measure import (
    MAX_FILE_BYTES,
    SPEED_NAME,
    MeasureError,
    Speed,
    calibrate,
    find_encoder,
    fingerprint,
    load,
    measure,
    needed_pairs,
    open_capacity,
    read_speed,
    write_speed,
)
from origin.transcode.rungs import (
    AUTO_ORDER,
    DEFAULT_LADDER,
    DEFAULT_RUNGS,
    RungOverride,
    configured_rungs,
    parse_ladder,
)

LADDER = parse_ladder(DEFAULT_LADDER)
COSTS = Costs(
    decode_s=0.005,
    scale_s=0.001,
    encode=tuple(EncodeCost(encoder, preset, 0.02) for encoder, preset in needed_pairs(LADDER)),
)


def speed(**changes: Any) -> Speed:
    return Speed(**({"fingerprint": fingerprint(), "costs": COSTS} | changes))


Play = Callable[[str], None]


@pytest.fixture
def trial(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Play:
    """Put a script in the place of the trial; it finds its arguments in sys.argv."""

    def play(script: str) -> None:
        folder = tmp_path / "tree" / "origin" / "transcode"
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "trial.py").write_text("import json, os, sys, time\n" + script)
        monkeypatch.setattr(child, "ROOT", tmp_path / "tree")
        monkeypatch.setenv("PYTHONPATH", str(tmp_path / "tree"))

    return play


# -- what is needed


def test_the_default_ladder_needs_three_presets() -> None:
    assert needed_pairs(LADDER) == [
        ("libx264", "veryfast"),
        ("libx264", "superfast"),
        ("libx264", "ultrafast"),
    ]


def test_rungs_need_their_own_encoders_and_presets() -> None:
    known = configured_rungs(
        [
            RungOverride(name="720p", preset="medium"),
            RungOverride(name="480p", encoder="h264_vaapi"),
        ]
    )
    pairs = needed_pairs(parse_ladder("360p", rungs=known))
    assert ("libx264", "medium") in pairs
    assert ("h264_vaapi", "") in pairs
    assert len(pairs) == 5


def test_without_a_ladder_nothing_is_needed() -> None:
    assert needed_pairs(parse_ladder("none")) == []


# -- the file


def test_what_is_written_is_read_and_others_cannot(tmp_path: Path) -> None:
    path = tmp_path / "new" / "data" / SPEED_NAME
    write_speed(path, speed(auto="libx264"))
    assert read_speed(path) == speed(auto="libx264")
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    write_speed(path, speed())
    assert read_speed(path) == speed()
    assert [entry.name for entry in path.parent.iterdir()] == [SPEED_NAME]


def test_a_write_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / SPEED_NAME
    write_speed(path, speed())

    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space left"):
        write_speed(path, speed(auto="libx264"))
    assert read_speed(path) == speed()
    assert [entry.name for entry in tmp_path.iterdir()] == [SPEED_NAME]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{}",
        b"\xff\xfe",
        b"[1]",
        b"{" * 5000,
        b'{"a": ' + b" " * MAX_FILE_BYTES + b"1}",
        msgspec.json.encode(speed()).replace(b'"format":1', b'"format":2'),
        msgspec.json.encode(speed()).replace(b'"auto"', b'"other"'),
        msgspec.json.encode(speed()).replace(b'"decode_s":0.005', b'"decode_s":-1'),
        msgspec.json.encode(speed()).replace(b'"decode_s":0.005', b'"decode_s":1e300'),
        msgspec.json.encode(speed()).replace(b'"decode_s":0.005', b'"decode_s":NaN'),
        msgspec.json.encode(speed()) + b"x",
    ],
)
def test_a_broken_or_alien_file_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / SPEED_NAME
    path.write_bytes(content)
    assert read_speed(path) is None
    assert load(tmp_path, LADDER) is None


def test_no_file_is_none(tmp_path: Path) -> None:
    assert read_speed(tmp_path / SPEED_NAME) is None
    (tmp_path / SPEED_NAME).mkdir()
    assert read_speed(tmp_path / SPEED_NAME) is None


def test_only_what_was_measured_here_for_this_ladder_serves(tmp_path: Path) -> None:
    path = tmp_path / SPEED_NAME
    write_speed(path, speed())
    assert load(tmp_path, LADDER) == speed()
    slow = parse_ladder(
        "720p", rungs=configured_rungs([RungOverride(name="720p", preset="medium")])
    )
    assert load(tmp_path, slow) is None
    assert load(tmp_path, LADDER.with_encoder("auto")) is None
    elsewhere = msgspec.structs.replace(fingerprint(), processor="another")
    write_speed(path, speed(fingerprint=elsewhere))
    assert load(tmp_path, LADDER) is None


def test_what_auto_is_was_kept_too(tmp_path: Path) -> None:
    write_speed(tmp_path / SPEED_NAME, speed(auto="libx264"))
    known = load(tmp_path, LADDER.with_encoder("auto"))
    assert known is not None
    assert known.applied_to(LADDER.with_encoder("auto")) == LADDER
    assert known.applied_to(LADDER.with_encoder("libx265")).encoder == "libx265"


def test_an_encoder_that_does_not_work_is_not_tried_at_each_start(tmp_path: Path) -> None:
    costs = Costs(decode_s=0.005, scale_s=0.001, broken={"libx264": "no"})
    write_speed(tmp_path / SPEED_NAME, speed(costs=costs))
    assert load(tmp_path, LADDER) is not None


def test_the_fingerprint_is_the_same_each_time_and_follows_our_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = fingerprint()
    assert fingerprint() == first
    for name in module._MEASURED_SOURCES:
        (tmp_path / name).write_bytes(Path(module.__file__).with_name(name).read_bytes())
    monkeypatch.setattr(module, "__file__", str(tmp_path / "measure.py"))
    assert fingerprint() == first
    (tmp_path / "encode.py").write_text("PRESET = 'other'")
    assert fingerprint().code != first.code


# -- the trial


@pytest.mark.slow
async def test_a_trial_of_this_machine() -> None:
    known = configured_rungs(
        [RungOverride(name=rung.name, preset="ultrafast") for rung in DEFAULT_RUNGS]
    )
    ladder = parse_ladder("360p", rungs=known)
    found = await measure(ladder)
    assert found.serves(ladder)
    assert not found.serves(LADDER)
    assert found.costs.broken == {}
    assert found.auto is None


async def test_a_trials_words_become_costs(trial: Play) -> None:
    trial(
        "assert sys.argv[1] == 'cost'\n"
        "pairs = [word.split(':') for word in sys.argv[2:]]\n"
        "print(json.dumps({'decode_s': 0.1, 'scale_s': 0.2, 'encode': [\n"
        "    {'encoder': e, 'preset': p, 'cpu_s': 0.3} for e, p in pairs]}))"
    )
    found = await measure(LADDER)
    assert found.costs.knows(needed_pairs(LADDER))
    assert found.costs.decode_s == 0.1
    assert found.fingerprint == fingerprint()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("sys.exit(3)", "a trial ended with exit code 3"),
        ("os.kill(os.getpid(), 11)", "a trial ended with exit code -11"),
        ("print('hello')", "the trial's result makes no sense"),
        ("print('{\"decode_s\": 0.1}')", "the trial's result makes no sense"),
        ("print('x' * 100_000, flush=True); time.sleep(60)", "a trial prints without end"),
        ("time.sleep(60)", "a trial took more than 1 s"),
        ("os.close(1); os.close(2); time.sleep(60)", "a trial took more than 1 s"),
    ],
)
async def test_a_trial_that_fails_says_how(
    trial: Play, monkeypatch: pytest.MonkeyPatch, script: str, reason: str
) -> None:
    monkeypatch.setattr(module, "TRIAL_TIMEOUT_S", 1.0)
    trial(script)
    with trio.fail_after(10), pytest.raises(MeasureError, match=reason):
        await measure(LADDER)


async def test_a_trial_that_cannot_be_started_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "executable", "/nonexistent/python")
    with pytest.raises(MeasureError, match="a trial cannot be started: No such file"):
        await measure(LADDER)


async def test_a_trial_sees_no_setting_of_ours(
    trial: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_ADMIN_TOKEN", "0123456789abcdef")
    trial("assert not [name for name in os.environ if name.startswith('HEADRACE')]\nprint('no')")
    with pytest.raises(MeasureError, match="makes no sense"):
        await measure(LADDER)


async def test_cancellation_ends_the_trial(trial: Play, tmp_path: Path) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    trial(f"open({str(fifo)!r}, 'w').write(str(os.getpid()))\ntime.sleep(60)")
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(measure, LADDER)
            pid = await trio.to_thread.run_sync(fifo.read_text)  # until the child closes it
            nursery.cancel_scope.cancel()
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid), 0)


# -- auto


async def test_auto_takes_the_first_that_works(trial: Play) -> None:
    trial(
        "kind, name = sys.argv[1:]\n"
        "assert kind == 'works'\n"
        "if name == 'h264_nvenc': os.kill(os.getpid(), 11)\n"
        "if name == 'h264_qsv': print('h264_qsv cannot be opened: no', end='')\n"
        "assert name != 'h264_vaapi'"
    )
    assert await find_encoder() == "h264_amf"


async def test_auto_is_libx264_where_no_device_works(trial: Play) -> None:
    trial("print('no')\nassert sys.argv[2] != 'libx264'")
    assert await find_encoder() == "libx264" == AUTO_ORDER[-1]


async def test_a_driver_that_hangs_is_passed_over(
    trial: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TRY_TIMEOUT_S", 0.5)
    trial("if sys.argv[2] == 'h264_nvenc': time.sleep(60)")
    with trio.fail_after(10):
        assert await find_encoder() == "h264_qsv"


async def test_auto_is_measured_as_what_it_is(trial: Play) -> None:
    trial(
        "if sys.argv[1] == 'works': sys.exit(0)\n"
        "assert all(word.startswith('h264_nvenc:') for word in sys.argv[2:])\n"
        "print(json.dumps({'decode_s': 0.1, 'scale_s': 0.2,\n"
        "    'encode': [{'encoder': 'h264_nvenc', 'preset': w.split(':')[1], 'cpu_s': 0.1,\n"
        "                'device_s': 0.2} for w in sys.argv[2:]]}))"
    )
    found = await measure(LADDER.with_encoder("auto"))
    assert found.auto == "h264_nvenc"
    assert found.serves(LADDER.with_encoder("auto"))


# -- calibrating


async def test_what_is_measured_is_kept_for_the_next_start(trial: Play, tmp_path: Path) -> None:
    text = msgspec.json.encode(COSTS).decode()
    trial(f"print({text!r})")
    with capture_logs() as logged:
        found = await calibrate(tmp_path, LADDER)
    assert found is not None
    assert load(tmp_path, LADDER) == found
    assert [line["event"] for line in logged] == ["encoding speed measured"]


async def test_a_trial_that_fails_is_logged_and_nothing_is_kept(
    trial: Play, tmp_path: Path
) -> None:
    trial("sys.exit(1)")
    with capture_logs() as logged:
        assert await calibrate(tmp_path, LADDER) is None
    assert [(line["event"], line["log_level"]) for line in logged] == [
        ("encoding speed not measured", "warning")
    ]
    assert not (tmp_path / SPEED_NAME).exists()


async def test_an_encoder_that_does_not_work_and_a_full_disk_are_logged(
    trial: Play, tmp_path: Path
) -> None:
    costs = Costs(decode_s=0.1, scale_s=0.1, broken={"libx264": "libx264 failed: no"})
    trial(f"print({msgspec.json.encode(costs).decode()!r})")
    (tmp_path / "data").write_text("a file")
    with capture_logs() as logged:
        assert await calibrate(tmp_path / "data", LADDER) is not None
    assert [line["event"] for line in logged] == [
        "encoding speed measured",
        "encoder does not work here",
        "encoding speed not kept",
    ]


def test_a_chosen_number_of_cores_is_used_to_the_full() -> None:
    assert open_capacity(1.5, ESTIMATE).bookable_cores == 1.5
    assert 0 < open_capacity(0, ESTIMATE).bookable_cores < 0.9 * usable_cores()
