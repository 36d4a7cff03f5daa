"""What a process asks of malloc and of the collector, seen in processes of their own."""

import subprocess
import sys

import pytest

CHURN = """
import gc, resource, sys
from edge.process.memory import calm_collector, keep_pages
if sys.argv[1] == "keeps":
    keep_pages()
for turn in range(3):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    parts = [bytearray(2_000_000) for _ in range(50)]
    del parts
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

COLLECT = """
import gc
from edge.process.memory import YOUNG_OBJECTS, calm_collector
calm_collector()
print(gc.get_freeze_count() > 1000, gc.get_threshold()[0] == YOUNG_OBJECTS, gc.isenabled())
"""


def run(program: str, *arguments: str) -> str:
    argv = [sys.executable, "-c", program, *arguments]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
def test_pages_of_what_was_freed_serve_again() -> None:
    assert int(run(CHURN, "keeps")) < 2_000 < int(run(CHURN, "does not"))


def test_the_collector_passes_over_what_was_imported_and_still_works() -> None:
    assert run(COLLECT) == "True True True\n"
