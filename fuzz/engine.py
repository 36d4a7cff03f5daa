"""One target in this process: fuzzed by atheris, or run on its inputs, with or without a tracer.

    python -m fuzz.engine UNIT fuzz FOUND [libFuzzer options]
    python -m fuzz.engine UNIT replay FOUND     # crash or nothing
    python -m fuzz.engine UNIT cover FOUND      # the same, and how many branches were reached

Atheris is libFuzzer for Python (a wheel holds both; no compiler is needed). It rewrites the
bytecode of our packages and of h11 as they are imported, so that new branches guide the mutation,
and hands comparisons to libFuzzer, which tries the compared values. C code is not seen: the Python
twins stand for it (`Target.twins`), and `replay` then shows the Cython build what was found.

FOUND is a folder for new inputs; seeds and corpus are read only. A crash of `fuzz` leaves the
input in FOUND/../crash-* and libFuzzer's exit code, one of the others a traceback that names it.

May import: targets, seeds; ours and atheris inside functions, after the instrumentation.
"""

import io
import sys
from pathlib import Path
from typing import Final

from fuzz.targets import CORPUS, FUZZ, TARGETS, inputs, load

_PACKAGES: Final = ("native", "rtmpcore", "hls", "edge", "origin", "h11")
_LIMITS: Final = ("-rss_limit_mb=1024", "-malloc_limit_mb=256", "-timeout=10")
"""Memory of the process, of one allocation, and seconds for one input: more is a finding."""


def fuzz(unit: str, found: Path, options: list[str]) -> None:
    """Fuzz a target until an option says stop, or an input breaks it. Does not return."""
    import atheris  # type: ignore[import-untyped]

    target = TARGETS[unit]
    with atheris.instrument_imports(include=list(_PACKAGES)):
        test_one_input = load(unit)
    from fuzz.seeds import seeds

    seed_folder = found.parent / "seeds"
    seed_folder.mkdir(exist_ok=True)
    for name, data in seeds(unit).items():
        (seed_folder / name).write_bytes(data)
    arguments = [
        *(f"{sys.argv[0]}", f"-dict={FUZZ / target.dictionary}.dict"),
        *(f"-max_len={target.max_input_bytes}", f"-artifact_prefix={found.parent}/"),
        *("-print_final_stats=1", *_LIMITS, *options),
        *map(str, (found, seed_folder, CORPUS / unit)),
    ]
    atheris.Setup(arguments, test_one_input)
    atheris.Fuzz()


def replay(unit: str, found: Path) -> None:
    """Run a target on its corpus, on what was found, and on its seeds."""
    test_one_input = load(unit)
    from fuzz.seeds import seeds

    for name, data in [*inputs(CORPUS / unit, found), *seeds(unit).items()]:
        try:
            test_one_input(data)
        except Exception as error:
            error.add_note(f"input: {name}")
            raise


def cover(unit: str, found: Path) -> float:
    """Replay; return how many branches of the target's subjects that reaches, in percent."""
    import coverage

    paths = [f"{FUZZ.parent}/{name.replace('.', '/')}.py" for name in TARGETS[unit].subjects]
    tracer = coverage.Coverage(branch=True, include=paths, data_file=None, config_file=False)
    for line in ("if TYPE_CHECKING:", r"\.\.\.$", r"assert_never\("):  # as pyproject.toml has it
        tracer.exclude(line)
    with tracer.collect():  # before the import, which runs lines too
        replay(unit, found)
    return tracer.report(file=io.StringIO())


def main() -> None:
    """Do what the command line says."""
    unit, verb, folder, *options = sys.argv[1:]
    found = Path(folder)
    found.mkdir(parents=True, exist_ok=True)
    match verb:
        case "fuzz":
            fuzz(unit, found, options)
        case "cover":
            print(f"{cover(unit, found):.1f}")
        case _:
            replay(unit, found)


if __name__ == "__main__":
    main()
