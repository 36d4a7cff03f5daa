"""No encoder leaves a thread of ours, or what it starts, in a real-time class."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from usual_priority import is_real_time

ROOT = Path(__file__).parent.parent.parent.parent

ENCODE = """
import os, subprocess, sys
from fractions import Fraction
import av
from origin.transcode import wire
from origin.transcode.encode import try_encoder
from origin.transcode.priority import usual_priority
{before}
print(try_encoder("libsvtav1"))
policies = {{os.sched_getscheduler(int(tid)) for tid in os.listdir("/proc/self/task")}}
print(sorted(policies))
"""


def run(before: str = "") -> list[str]:
    """In a process of its own, which has all rights that this user has."""
    told = subprocess.run(
        [sys.executable, "-c", ENCODE.format(before=before)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=50,
        check=True,
    )
    return told.stdout.splitlines()


def test_an_encoder_on_trial_stays_what_it_was() -> None:
    assert run() == ["None", "[0]"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gets a real-time class")
def test_a_thread_that_was_made_urgent_is_put_back() -> None:
    urgent = "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))"
    lines = run(f"with usual_priority():\n    {urgent}\nprint(os.sched_getscheduler(0))")
    assert lines == ["0", "None", "[0]"]


def test_the_tests_themselves_cannot_become_urgent() -> None:
    assert not is_real_time()
    with pytest.raises(PermissionError):
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
