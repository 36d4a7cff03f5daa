"""Keeps this process out of the real-time classes, whatever a library asks for.

libsvtav1 4, when root calls it, puts the calling thread under SCHED_FIFO at 99, the highest there
is, and leaves it there. Every program that a test starts afterwards inherits that: two busy loops,
or a Chromium that spins, and nothing else has a turn on two cores any more.
"""

import ctypes
import os
import resource

_CAP_SYS_NICE = 23
_VERSION_3 = 0x20080522


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Words(ctypes.Structure):
    _fields_ = (
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    )


def refuse_real_time() -> None:
    """Give up the right to it, for this thread and those it starts; programs start with theirs.

    No effect for who never had it. Call it before there are other threads.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    header, words = _Header(_VERSION_3, 0), (_Words * 2)()
    if libc.capget(ctypes.byref(header), words):
        raise OSError(ctypes.get_errno(), "capget")
    bit = 1 << _CAP_SYS_NICE
    if not words[0].effective & bit:
        return
    resource.setrlimit(resource.RLIMIT_RTPRIO, (0, 0))
    words[0].effective &= ~bit
    words[0].permitted &= ~bit
    if libc.capset(ctypes.byref(header), words):
        raise OSError(ctypes.get_errno(), "capset")


def is_real_time(pid: int = 0) -> bool:
    """Whether a thread is in a real-time class."""
    return os.sched_getscheduler(pid) in (os.SCHED_FIFO, os.SCHED_RR)
