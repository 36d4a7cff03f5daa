"""Every fuzz target runs on its corpus, without a fuzzer: what once crashed stays mended.

A target is `fuzz/fuzz_<unit>.py` with a `test_one_input(data)`; its inputs are the files of
`fuzz/corpus/<unit>/`. A target without inputs, or inputs without a target, fail.
"""

import importlib.util
from collections.abc import Callable
from pathlib import Path

import pytest

from native import IMPLEMENTATION

FUZZ = Path(__file__).parents[1] / "fuzz"
CORPUS = FUZZ / "corpus"
UNITS = sorted(path.stem.removeprefix("fuzz_") for path in FUZZ.glob("fuzz_*.py"))


def load(unit: str) -> Callable[[bytes], None]:
    spec = importlib.util.spec_from_file_location(f"fuzz_{unit}", FUZZ / f"fuzz_{unit}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except ImportError as error:
        if IMPLEMENTATION == "py" and str(error.name).startswith("native"):
            pytest.skip("the target needs the extensions, and HEADRACE_PURE=1 goes without")
        raise
    test_one_input: Callable[[bytes], None] = module.test_one_input
    assert module.__doc__, "a target begins with its invariant"
    return test_one_input


def inputs(unit: str) -> list[Path]:
    return sorted(path for path in (CORPUS / unit).glob("*") if path.is_file())


def test_there_are_targets() -> None:
    assert "chunk" in UNITS


@pytest.mark.parametrize("unit", UNITS)
def test_corpus(unit: str) -> None:
    test_one_input = load(unit)
    files = inputs(unit)
    assert files, f"fuzz/corpus/{unit} is empty"
    test_one_input(b"")
    for path in files:
        data = path.read_bytes()
        try:
            test_one_input(data)
        except Exception as error:
            error.add_note(f"input: {path.relative_to(FUZZ.parent)}")
            raise


def test_every_corpus_has_a_target() -> None:
    assert sorted(path.name for path in CORPUS.iterdir() if path.is_dir()) == UNITS
