"""Keeping libraries from making themselves, and with them us, more urgent than anything else.

libsvtav1 4, when root opens it, puts the calling thread and its own under SCHED_FIFO at 99 and
leaves them there. Whatever such a thread starts inherits it, and a program that computes in that
class leaves its core to nobody. A worker's sandbox refuses it; what encodes outside of one does
so within `usual_priority`.

May import nothing of ours.
"""

import contextlib
import os
from collections.abc import Iterator

_REAL_TIME = (os.SCHED_FIFO, os.SCHED_RR)


@contextlib.contextmanager
def usual_priority() -> Iterator[None]:
    """Put back, at the end, every thread of this process that a real-time class has by then."""
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # a sandbox that forbids to look forbids the change too
            for thread in map(int, os.listdir("/proc/self/task")):
                with contextlib.suppress(ProcessLookupError):
                    if os.sched_getscheduler(thread) in _REAL_TIME:
                        os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))
