"""Every fuzz target runs on its corpus and seeds, without a fuzzer: what once crashed stays mended.

A target is `fuzz/fuzz_<unit>.py`, its inputs are the files of `fuzz/corpus/<unit>/` and the parts
of recorded connections that `fuzz/seeds.py` cuts for it. A target without inputs, inputs without a
target, or a target that `fuzz/targets.py` does not know, fail.
"""

import importlib
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fuzz import run
from fuzz.seeds import CAPTURES, seeds
from fuzz.targets import CORPUS, FUZZ, TARGETS, inputs, load
from native import IMPLEMENTATION

UNITS = sorted(path.stem.removeprefix("fuzz_") for path in FUZZ.glob("fuzz_*.py"))


def loaded(unit: str) -> Callable[[bytes], None]:
    try:
        return load(unit)
    except ImportError as error:
        if IMPLEMENTATION == "py" and str(error.name).startswith("native"):
            pytest.skip("the target needs the extensions, and HEADRACE_PURE=1 goes without")
        raise


def test_targets_are_those_of_the_table() -> None:
    assert list(TARGETS) == UNITS
    assert sorted(path.name for path in CORPUS.iterdir() if path.is_dir()) == UNITS


@pytest.mark.parametrize("unit", UNITS)
def test_a_target_says_its_invariant_and_what_it_judges(unit: str) -> None:
    loaded(unit)
    assert importlib.import_module(f"fuzz.fuzz_{unit}").__doc__
    target = TARGETS[unit]
    assert (FUZZ / f"{target.dictionary}.dict").is_file()
    for subject in target.subjects:
        assert (FUZZ.parent / f"{subject.replace('.', '/')}.py").is_file(), subject


@pytest.mark.parametrize("unit", UNITS)
def test_corpus_and_seeds(unit: str) -> None:
    test_one_input = loaded(unit)
    files = list(inputs(CORPUS / unit))
    assert files, f"fuzz/corpus/{unit} is empty"
    test_one_input(b"")
    for name, data in [*files, *seeds(unit).items()]:
        assert len(data) <= TARGETS[unit].max_input_bytes, name  # a fuzzer would cut it
        try:
            test_one_input(data)
        except Exception as error:
            error.add_note(f"input: {name}")
            raise


def test_each_recorded_client_is_a_seed_of_what_reads_publishers() -> None:
    clients = {path.stem for path in CAPTURES.glob("*.bin")}
    assert len(clients) >= 3
    for unit in ("chunk", "connection", "handshake", "native_diff", "amf0", "flv"):
        assert {name.rpartition("-")[0] for name in seeds(unit)} == clients, unit
    assert seeds("directives") == {}


@pytest.mark.parametrize("name", sorted({target.dictionary for target in TARGETS.values()}))
def test_a_dictionary_is_what_libfuzzer_reads(name: str) -> None:
    for line in (FUZZ / f"{name}.dict").read_text(encoding="ascii").splitlines():
        assert (
            not line
            or line.startswith("#")
            or re.fullmatch(r'"(?:[^"\\\x00-\x1f]|\\x[0-9a-f]{2})+"', line)
        ), line


BROKEN_TARGET = """
import sys
import fuzz.engine, fuzz.fuzz_flv

def broken(data):
    assert data[:1] != bytes([255])

fuzz.fuzz_flv.test_one_input = broken
sys.argv[1:] = {arguments!r}
fuzz.engine.main()
"""


def run_broken_target(*arguments: str) -> subprocess.CompletedProcess[str]:
    code = BROKEN_TARGET.format(arguments=["flv", *arguments])
    return subprocess.run(
        [sys.executable, "-c", code],
        cwd=FUZZ.parent,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_a_replay_names_the_input_that_breaks(tmp_path: Path) -> None:
    (tmp_path / "bad").write_bytes(b"\xff")
    done = run_broken_target("replay", str(tmp_path))
    assert done.returncode == 1
    assert f"input: {tmp_path.name}/bad" in done.stderr


def test_the_fuzzer_finds_what_breaks_and_keeps_the_input(tmp_path: Path) -> None:
    pytest.importorskip("atheris", reason="atheris is not installed (tools/setup.sh test)")
    done = run_broken_target("fuzz", str(tmp_path / "found"), "-runs=100000", "-seed=1")
    assert done.returncode != 0
    assert "AssertionError" in done.stdout + done.stderr
    (crash,) = tmp_path.glob("crash-*")
    assert crash.read_bytes()[:1] == b"\xff"


@pytest.mark.parametrize(("fuzzed", "covered", "code"), [(0, 0, 0), (77, 0, 1), (0, 1, 1)])
def test_a_run_says_what_it_found_by_its_exit_code(
    fuzzed: int,
    covered: int,
    code: int,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """The engine's log and exit code are those of a libFuzzer run, which is not started here."""
    log = "#9 NEW cov: 41 ft: 50\nstat::number_of_executed_units: 1234\nstat::new_units_added: 5\n"

    def engine(
        unit: str, verb: str, *options: str, timeout_s: float, pure: bool
    ) -> tuple[int, str, float]:
        assert unit == "flv"
        return (fuzzed, log, 1.5) if verb == "fuzz" else (covered, "98.5", 0.5)

    monkeypatch.setattr(run, "_engine", engine)
    monkeypatch.setattr(run, "_SCRATCH", tmp_path)
    monkeypatch.setattr(run, "has_atheris", lambda: True)
    assert run.main(["flv", "--seconds", "1"]) == code
    _, row, *_, last = capsys.readouterr().out.splitlines()
    assert row.split()[:4] == ["flv", "1,234", "5", "41"]
    assert last == f"1 targets, 1,234 executions, 0.0 CPU minutes, {code} findings"


def test_a_run_without_atheris_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(run, "has_atheris", lambda: False)
    assert run.main(["flv"]) == 2
    assert "atheris is not installed" in capsys.readouterr().out
