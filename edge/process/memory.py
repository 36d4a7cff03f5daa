"""What a process that handles media for months asks of malloc and of the garbage collector.

May import: the standard library.
"""

import contextlib
import ctypes
import gc
from typing import Final

_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_MMAP_THRESHOLD_BYTES: Final = 32 * 1024 * 1024  # the highest there is
_TRIM_THRESHOLD_BYTES: Final = 256 * 1024 * 1024

YOUNG_OBJECTS: Final = 20_000
"""New containers before the collector looks at them: a second or two of a crowd of publishers.
Nothing on the way of media makes cycles; what a broken connection leaves may wait so long."""


def keep_pages() -> None:
    """Let malloc keep the pages of what is freed, for what comes next.

    By default it gives large blocks (parts, pictures) back to the kernel at once, which clears the
    same pages for the next of them: 250 page faults for each picture of a ladder, and a good part
    of what it costs to ingest a stream (`test_bench_ingest.py`). The price: up to 256 MiB at the
    end of what a process has needed once it keeps, and no block below 32 MiB is mapped alone.
    """
    with contextlib.suppress(AttributeError, OSError):  # not glibc
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)
        mallopt(_M_TRIM_THRESHOLD, _TRIM_THRESHOLD_BYTES)


def calm_collector() -> None:
    """Have the collector pass over what was imported, and look at the rest less often."""
    gc.freeze()
    gc.set_threshold(YOUNG_OBJECTS, 20, 20)
