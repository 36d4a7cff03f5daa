"""How the processes that decode and encode are started: their folder, command and environment.

May import trio and the standard library.
"""

import contextlib
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import trio

ROOT: Final = Path(__file__).resolve().parents[2]
"""Where this very tree's packages are: a child must import the same ones."""

NICENESS: Final = 10
"""Of a child that is run for its result: what is live goes first."""


class ChildError(Exception):
    """A child gave no result; the text goes behind its name."""


def worker_command(memory_bytes: int) -> list[str]:
    """The command that runs a worker of this tree; nothing in it is secret."""
    return [sys.executable, "-m", "origin.transcode", str(memory_bytes)]


def worker_environment() -> dict[str, str]:
    """What a worker sees of ours: enough to start Python, and no setting.

    And a word to malloc: ask for huge pages. Encoders walk over tens of megabytes for each picture,
    which costs 4 % of their CPU time in address translation (`test_bench_transcode.py`); a kernel
    that gives none, or another libc, does not mind.
    """
    kept = ("PATH", "PYTHONPATH", "VIRTUAL_ENV", "LD_LIBRARY_PATH", "LANG", "LC_ALL", "HOME")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    return environment | {"GLIBC_TUNABLES": "glibc.malloc.hugetlb=1"}


async def run_child(module: str, *words: str, timeout_s: float, max_bytes: int) -> bytes:
    """Run a module of ours in a process of its own.

    Args:
        module: Its name.
        words: Its arguments, nothing secret.
        timeout_s: For all of it.
        max_bytes: The most that it may print.

    Returns:
        What it printed.

    Raises:
        ChildError: It could not be started, did not end well, or not in time.

    Cancellation: kills it.
    """
    output = bytearray()
    try:
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", module, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env=worker_environment(),
            start_new_session=True,
        )
    except OSError as error:
        raise ChildError(f"cannot be started: {error.strerror or error}") from error
    assert process.stdout is not None
    try:
        with contextlib.suppress(OSError):  # it is gone already
            os.setpriority(os.PRIO_PROCESS, process.pid, NICENESS)
        with trio.move_on_after(timeout_s) as scope:
            async with process.stdout:
                while data := await process.stdout.receive_some():
                    output += data
                    if len(output) > max_bytes:
                        raise ChildError("prints without end")
            await process.wait()
    finally:
        process.kill()  # no effect on one that has ended
        with trio.CancelScope(shield=True):  # SIGKILL is prompt
            await process.wait()
    if scope.cancelled_caught:
        raise ChildError(f"took more than {timeout_s:g} s")
    if process.returncode != 0:
        raise ChildError(f"ended with exit code {process.returncode}")
    return bytes(output)
