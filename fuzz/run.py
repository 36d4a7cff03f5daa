"""Fuzz every target for a bounded time, and say what that came to.

    python -m fuzz.run [--seconds 10] [--jobs 1] [UNIT ...]

A line for each target: executions, inputs kept because they reached something new, libFuzzer's
count of covered edges in all instrumented modules, and the branches of the target's own subjects
that corpus, seeds and found inputs reach together. Exit code 1 if an input broke an invariant (or
took too long, or too much memory), 2 without atheris.

What is found is kept in `build/fuzz/<unit>/found`, and the next run goes on from there: a night of
runs is one long one. Nothing here is imported by the targets. May import: targets.
"""

import argparse
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from fuzz.targets import FUZZ, TARGETS

_SCRATCH: Final = FUZZ.parent / "build" / "fuzz"
_GRACE_S: Final = 120.0
"""For start, seeds and the input that is under way; a target that takes longer is a finding."""
_TAIL_LINES: Final = 40


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What came of one target."""

    unit: str
    executions: int
    kept_inputs: int
    edges: int
    branches_percent: float
    cpu_s: float
    finding: str
    """What broke, with the traceback; empty for nothing."""

    def __str__(self) -> str:
        verdict = "FOUND" if self.finding else "-"
        return (
            f"{self.unit:<14}{self.executions:>11,}{self.kept_inputs:>8,}{self.edges:>8,}"
            f"{self.branches_percent:>10.1f} %{self.cpu_s:>8.1f}  {verdict}"
        )


_HEADING: Final = (
    f"{'target':<14}{'executions':>11}{'kept':>8}{'edges':>8}{'branches':>12}{'CPU s':>8}"
)


def has_atheris() -> bool:
    """Whether there is a fuzzer in this environment."""
    return importlib.util.find_spec("atheris") is not None


def fuzz(unit: str, seconds: float) -> Outcome:
    """Fuzz one target, then replay all its inputs, on the Cython build too."""
    scratch = _SCRATCH / unit
    found = scratch / "found"
    found.mkdir(parents=True, exist_ok=True)
    pure = TARGETS[unit].twins
    options = [f"-max_total_time={seconds:g}"]
    code, log, cpu_s = _engine(unit, "fuzz", *options, timeout_s=seconds + _GRACE_S, pure=pure)
    finding = "" if code == 0 else _tail(log)
    code, text, more_s = _engine(unit, "cover", timeout_s=_GRACE_S, pure=pure)
    cpu_s += more_s
    percent = float(text.split()[-1]) if code == 0 else 0.0
    finding += "" if code == 0 else _tail(text)
    if pure:
        code, text, more_s = _engine(unit, "replay", timeout_s=_GRACE_S, pure=False)
        cpu_s += more_s
        finding += "" if code == 0 else _tail(text)
    return Outcome(
        unit=unit,
        executions=_last_number(r"stat::number_of_executed_units:\s*(\d+)", log),
        kept_inputs=_last_number(r"stat::new_units_added:\s*(\d+)", log),
        edges=_last_number(r"cov: (\d+)", log),
        branches_percent=percent,
        cpu_s=cpu_s,
        finding=finding,
    )


def _engine(
    unit: str, verb: str, *options: str, timeout_s: float, pure: bool
) -> tuple[int, str, float]:
    """Run `fuzz.engine`; its exit code, its output, and the CPU seconds it took."""
    log = _SCRATCH / unit / f"{verb}.log"
    argv = [sys.executable, "-m", "fuzz.engine", unit, verb, str(_SCRATCH / unit / "found")]
    env = os.environ | {"HEADRACE_PURE": "1" if pure else "0"}
    # `timeout` and not a watch of ours: wait4 blocks, and it alone tells the CPU time of one child.
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["timeout", "--kill-after=5", f"{timeout_s:g}", *argv, *options],
            stdout=output,
            stderr=subprocess.STDOUT,
            env=env,
            cwd=FUZZ.parent,
        )
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    cpu_s = usage.ru_utime + usage.ru_stime
    return process.returncode, log.read_text(errors="replace"), cpu_s


def _last_number(pattern: str, text: str) -> int:
    found: list[str] = re.findall(pattern, text)
    return int(found[-1]) if found else 0


def _tail(text: str) -> str:
    return "\n".join(text.splitlines()[-_TAIL_LINES:]) + "\n"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the targets that the command line names, or all; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m fuzz.run", description="Fuzz every target.")
    parser.add_argument("units", nargs="*", metavar="UNIT")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each target")
    parser.add_argument("--jobs", type=int, default=1, help="targets at a time")
    options = parser.parse_args(argv)
    if strangers := set(options.units) - set(TARGETS):
        parser.error(f"no such target: {', '.join(sorted(strangers))}")
    if not has_atheris():
        print("atheris is not installed: .venv/bin/python -m pip install --group fuzz")
        return 2
    print(_HEADING, flush=True)
    outcomes = []
    with ThreadPoolExecutor(options.jobs) as pool:
        for outcome in pool.map(lambda unit: fuzz(unit, options.seconds), options.units or TARGETS):
            print(outcome, flush=True)
            outcomes.append(outcome)
    findings = [outcome for outcome in outcomes if outcome.finding]
    for outcome in findings:
        print(f"\n== {outcome.unit}: the input is in {_SCRATCH / outcome.unit}\n{outcome.finding}")
    print(
        f"{len(outcomes)} targets, {sum(outcome.executions for outcome in outcomes):,} executions, "
        f"{sum(outcome.cpu_s for outcome in outcomes) / 60:.1f} CPU minutes, "
        f"{len(findings)} findings"
    )
    return 1 if findings else 0


if __name__ == "__main__":
    raise SystemExit(main())
