"""How the processes that transcode are started: their folder, command and environment.

May import: the standard library.
"""

import os
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[2]
"""Where this very tree's packages are: a child must import the same ones."""


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
