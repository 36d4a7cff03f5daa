"""Takes from the transcode worker every right that it does not need.

A bitstream is a stranger's program for a decoder written in C. Whoever takes over the decoder has
a process that can compute, read its stdin and write its stdout, and nothing else::

    python -m origin.transcode...  imports everything
        confine(address_space_bytes=...)      from here on nothing is opened
            trio.run(...)                     reads stdin, writes stdout

What is taken, in this order; what is not to be had (another kernel, a container's policy) is named
in `Confinement.missing`, and the worker goes on with the rest. An encoder in hardware needs some of
it back, which `confine` is told:

* descriptors above 2: closed, but those that the caller names;
* rlimits: address space; no core file, no locked memory, no real-time priority, no file growth;
  few descriptors. Not RLIMIT_NPROC: it counts all threads of the user, in every process, and means
  nothing to root. The filter keeps the worker from starting processes, and the address space
  bounds its threads;
* the parent's death ends the worker, even if it no longer reads its stdin;
* not dumpable: no core through a handler, no `ptrace` and no `/proc/PID/mem` for the same user;
* capabilities: none. Root's worker then owns root's files, which it cannot open;
* no_new_privs: nothing that it could execute gives a right back;
* seccomp: the system calls of `origin.transcode.seccomp`, for every thread that there is.

Must run in the main thread, before `trio.run` (which needs an epoll descriptor and a socket pair,
both allowed) and after all imports: a later one fails, also one that a library does lazily. stdin,
stdout and stderr should be pipes.

May import the standard library and `origin.transcode.seccomp`; no logging, no av.

Spec: capabilities(7), capset(2), getrlimit(2), mallopt(3), prctl(2), seccomp(2).
"""

import ctypes
import os
import platform
import resource
import signal
import stat
import struct
import sys
import threading
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial
from typing import Final

from origin.transcode.seccomp import ARCHITECTURES, build_filter

MAX_DESCRIPTORS: Final = 32
"""Three, and Trio's epoll and socket pair; room for some pipes."""

MAX_ARENAS: Final = 4
"""Of malloc. Each takes 64 MiB of address space, used or not, and by default there may be 8 a core:
RLIMIT_AS would count reservations instead of memory."""

PARENT_GONE_EXIT_CODE: Final = 70
"""Nobody is left to read it; a test is."""

_M_ARENA_MAX: Final = -8
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38
_SECCOMP_SET_MODE_FILTER: Final = 1
_SECCOMP_FILTER_FLAG_TSYNC: Final = 1
_CAPABILITY_VERSION_3: Final = 0x20080522
_BPF_INSTRUCTION_BYTES: Final = 8


@dataclass(frozen=True, slots=True, kw_only=True)
class Confinement:
    """What holds for this process until it ends."""

    in_force: tuple[str, ...]
    """Names of what was taken, in order: ``descriptors``, ``address space`` ... ``seccomp``."""

    missing: tuple[str, ...]
    """What was not to be had, each with its reason; empty on an ordinary Linux."""

    def __str__(self) -> str:
        text = f"confined: {', '.join(self.in_force)}"
        return f"{text}; not: {'; '.join(self.missing)}" if self.missing else text


def confine(
    *,
    address_space_bytes: int,
    opens_devices: bool = False,
    parent_pid: int | None = None,
    keep: Collection[int] = (),
) -> Confinement:
    """Confine this process for good.

    Args:
        address_space_bytes: RLIMIT_AS. It counts reservations too: 8 MiB for each thread's stack,
            64 MiB for each of `MAX_ARENAS`, the libraries. A lower limit that is in force stays.
        opens_devices: An encoder in hardware will open devices and drivers, and map more than there
            is: everything but `_AGAINST_DEVICES`.
        parent_pid: Who started this process, if it was told. If that is no longer its parent, the
            process exits at once.
        keep: Descriptors to stay open, such as one of ``/proc/self/statm``, which cannot be opened
            later.

    Returns:
        What is in force, and what is not and why. Nothing is raised for the latter.

    Raises:
        RuntimeError: Not called in the main thread.

    Cost: some 0.3 ms.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError("confine in the main thread")
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getppid() if parent_pid is None else parent_pid
    in_force: list[str] = []
    missing: list[str] = []
    for name, step in _steps(libc, address_space_bytes, parent, keep):
        if opens_devices and name in _AGAINST_DEVICES:
            missing.append(f"{name}: devices")
            continue
        try:
            step()
        except (OSError, ValueError, AttributeError) as error:
            missing.append(f"{name}: {error}")
        else:
            in_force.append(name)
    return Confinement(in_force=tuple(in_force), missing=tuple(missing))


_AGAINST_DEVICES: Final = frozenset(
    ("malloc arenas", "address space", "locked memory", "file size", "descriptor count", "seccomp")
)


def _steps(
    libc: ctypes.CDLL, address_space_bytes: int, parent: int, keep: Collection[int]
) -> list[tuple[str, Callable[[], object]]]:
    """In the order in which they work: each may need what a later one forbids."""
    return [
        ("descriptors", partial(_close_descriptors, keep)),
        ("malloc arenas", partial(_limit_arenas, libc)),
        ("address space", partial(_limit, resource.RLIMIT_AS, address_space_bytes)),
        ("core size", partial(_limit, resource.RLIMIT_CORE, 0)),
        ("locked memory", partial(_limit, resource.RLIMIT_MEMLOCK, 0)),
        ("real-time priority", partial(_limit, resource.RLIMIT_RTPRIO, 0)),
        ("file size", _limit_files),
        ("descriptor count", partial(_limit, resource.RLIMIT_NOFILE, MAX_DESCRIPTORS)),
        ("parent's death", partial(_die_with_parent, libc, parent)),
        ("capabilities", partial(_drop_capabilities, libc)),
        ("not dumpable", partial(_prctl, libc, _PR_SET_DUMPABLE, 0)),
        ("no new privileges", partial(_prctl, libc, _PR_SET_NO_NEW_PRIVS, 1)),
        ("seccomp", partial(_install_filter, libc)),
    ]


def _close_descriptors(keep: Collection[int]) -> None:
    start = 3
    for descriptor in sorted(keep):
        os.closerange(start, descriptor)
        start = descriptor + 1
    os.closerange(start, os.sysconf("SC_OPEN_MAX"))


def _limit_arenas(libc: ctypes.CDLL) -> None:
    if not libc.mallopt(_M_ARENA_MAX, MAX_ARENAS):  # AttributeError: not glibc
        raise OSError("mallopt refuses")


def _limit(which: int, value: int) -> None:
    """Lower a limit, soft and hard, to at most `value`."""
    hard = resource.getrlimit(which)[1]
    if hard != resource.RLIM_INFINITY:
        value = min(value, hard)
    resource.setrlimit(which, (value, value))


def _limit_files() -> None:
    """No file may grow: unless one of the three is a file, which then could not be written."""
    for descriptor in (0, 1, 2):
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(f"descriptor {descriptor} is a file")
    _limit(resource.RLIMIT_FSIZE, 0)


def _die_with_parent(libc: ctypes.CDLL, parent: int) -> None:
    """End this process when its parent has ended.

    The signal comes already when the *thread* ends that started us, and Trio starts processes in
    threads that it drops after ten idle seconds. SIGKILL would end a healthy worker then; a handler
    can look who the parent is now. It runs between two steps of Python in the main thread, which in
    the worker only waits: what hangs, hangs in a thread.
    """

    def on_death(_signal: int, _frame: object) -> None:
        if os.getppid() != parent:
            os._exit(PARENT_GONE_EXIT_CODE)

    signal.signal(signal.SIGHUP, on_death)
    _prctl(libc, _PR_SET_PDEATHSIG, signal.SIGHUP)
    on_death(signal.SIGHUP, None)  # it may have died before it would have been noticed


def _drop_capabilities(libc: ctypes.CDLL) -> None:
    """Give up all capabilities of this thread, and so of all that it will start."""
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    _checked(libc.capset(header, bytes(24)))  # effective, permitted, inheritable, twice 32 bits


def _install_filter(libc: ctypes.CDLL) -> None:
    machine = platform.machine()
    architecture = ARCHITECTURES.get(machine)
    if architecture is None or sys.byteorder != "little" or ctypes.sizeof(ctypes.c_void_p) != 8:
        raise OSError(f"no filter for {machine}")
    program = build_filter(architecture, os.getpid())
    instructions = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: unsigned short len, padding, struct sock_filter *filter
    described = struct.pack(
        "=H6xQ", len(program) // _BPF_INSTRUCTION_BYTES, ctypes.addressof(instructions)
    )
    filter_program = ctypes.create_string_buffer(described, len(described))
    # With TSYNC it holds for the threads that libraries have started at their import as well.
    result = libc.syscall(
        ctypes.c_long(architecture.seccomp_number),
        ctypes.c_uint(_SECCOMP_SET_MODE_FILTER),
        ctypes.c_uint(_SECCOMP_FILTER_FLAG_TSYNC),
        filter_program,
    )
    if result > 0:
        raise OSError(f"thread {result} has a filter of its own")
    _checked(result)


def _prctl(libc: ctypes.CDLL, option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    _checked(libc.prctl(ctypes.c_int(option), ctypes.c_ulong(value), zero, zero, zero))


def _checked(result: int) -> None:
    if result:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
