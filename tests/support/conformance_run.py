"""Runs the conformance checker on a server, as a person would, and reads its report.

The checker knows HTTP only, and shares no code with this repository's servers.
"""

import re
import subprocess
import sys
from pathlib import Path

from origin_process import ROOT

TIMEOUT_S = 180.0


def check(
    url: str, artifacts: Path, *more: str, timeout_s: float = TIMEOUT_S
) -> tuple[list[str], str]:
    """Run the checker; its report goes to `artifacts` too.

    Returns:
        The rules of MUST levels that are broken, each with its first findings; and the report.
    """
    command = [sys.executable, "-m", "tests.conformance", url, *more]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=timeout_s, check=False
    )
    artifacts.mkdir(parents=True, exist_ok=True)
    (artifacts / "report.txt").write_text(done.stdout + done.stderr)
    assert done.returncode in (0, 1), done.stdout + done.stderr
    broken = re.findall(
        r"^\w\w-\d\d  MUST(?:-.)? +FAIL .*(?:\n       .*)*", done.stdout, re.MULTILINE
    )
    assert bool(broken) == (done.returncode == 1), done.stdout
    return broken, done.stdout


def seen(report: str, *rules: str) -> bool:
    """These rules came up, and pass."""
    return all(re.search(rf"^{rule}  MUST\S* +PASS ", report, re.MULTILINE) for rule in rules)
