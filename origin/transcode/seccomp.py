"""The system calls of a confined transcode worker, as a seccomp-BPF program.

An allow list: what decoding and encoding need on descriptors that are open already. The worker
computes; it opens nothing, connects to nothing and starts nothing. Four answers:

* allowed, some only with harmless arguments (`_CONDITIONS`);
* an error that libraries know how to live with: EACCES for files, ENOSYS for clone3, EPERM for
  everything that is not named here;
* death by SIGSYS, for what no codec does by accident and an intruder does first: another program,
  a network socket, another process's memory (`_FATAL`).

A filter sees registers, not memory. So clone3, whose flags lie in memory, does not exist here:
glibc then uses clone, which must ask for a thread.

Pure: builds bytes. `origin.transcode.sandbox` installs them. May import the standard library.

Invariant: every path through the program ends in a verdict, and an unknown call gets EPERM.

Spec: seccomp(2); Linux: Documentation/userspace-api/seccomp_filter.rst,
include/uapi/linux/bpf_common.h, arch/x86/entry/syscalls/syscall_64.tbl,
include/uapi/asm-generic/unistd.h (which aarch64 uses).
"""

import errno
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Final, NamedTuple

_ALLOW: Final = 0x7FFF0000
_KILL_PROCESS: Final = 0x80000000
_ERRNO: Final = 0x00050000
_EPERM: Final = _ERRNO | errno.EPERM
_EACCES: Final = _ERRNO | errno.EACCES
_ENOSYS: Final = _ERRNO | errno.ENOSYS

# struct seccomp_data: int nr; u32 arch; u64 instruction_pointer; u64 args[6]. Little endian.
_NUMBER_AT: Final = 0
_ARCHITECTURE_AT: Final = 4
_ARGUMENTS_AT: Final = 16

# struct sock_filter, and the codes that are used.
_INSTRUCTION: Final = struct.Struct("=HBBI")
_LOAD: Final = 0x20  # BPF_LD | BPF_W | BPF_ABS
_AND: Final = 0x54  # BPF_ALU | BPF_AND | BPF_K
_IF_EQUAL: Final = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_IF_AT_LEAST: Final = 0x35  # BPF_JMP | BPF_JGE | BPF_K
_RETURN: Final = 0x06  # BPF_RET | BPF_K

MAX_INSTRUCTIONS: Final = 4096
"""BPF_MAXINSNS: the kernel takes no longer program."""

_X32: Final = 0x40000000
"""Bit of the x32 calls: the same architecture with other numbers."""


class Condition(NamedTuple):
    """Holds if half of an argument, under a mask, is one of some values.

    The kernel reads `int` arguments from the low half alone, so nothing hides in the high one.
    """

    argument: int
    values: tuple[int, ...]
    mask: int = 0xFFFFFFFF
    high: bool = False


def _is_null(argument: int) -> tuple[Condition, Condition]:
    return Condition(argument, (0,)), Condition(argument, (0,), high=True)


_PROT_EXEC: Final = 4
# Flags of clone that decide what it makes: CLONE_VM | CLONE_THREAD, and none of CLONE_PTRACE,
# CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET.
_CLONE_THREAD: Final = 0x00010100
_CLONE_KIND: Final = _CLONE_THREAD | 0x2000 | 0x00020000 | 0x7E000000

_CONDITIONS: Final[Mapping[str, tuple[Condition, ...]]] = {
    "clone": (Condition(0, (_CLONE_THREAD,), _CLONE_KIND),),
    # F_DUPFD, F_GETFD, F_SETFD, F_GETFL, F_SETFL, F_DUPFD_CLOEXEC, F_SETPIPE_SZ, F_GETPIPE_SZ. Not
    # F_SETOWN: it sends signals to other processes.
    "fcntl": (Condition(1, (0, 1, 2, 3, 4, 1030, 1031, 1032)),),
    # FIONCLEX, FIOCLEX, FIONBIO, FIONREAD, TCGETS. Not TIOCSTI: it types on a terminal.
    "ioctl": (Condition(1, (0x5450, 0x5451, 0x5421, 0x541B, 0x5401)),),
    # No new code: what decoding needs is loaded.
    "mmap": (Condition(2, (0,), _PROT_EXEC),),
    "mprotect": (Condition(2, (0,), _PROT_EXEC),),
    # fstat of glibc: an open descriptor and an empty path (AT_EMPTY_PATH).
    "newfstatat": (Condition(3, (0x1000,), 0x1000),),
    # PR_GET_DUMPABLE, PR_SET_NAME (of a thread), PR_GET_NAME, PR_GET_SECCOMP, PR_GET_NO_NEW_PRIVS
    "prctl": (Condition(0, (3, 15, 16, 21, 39)),),
    # Reading limits, not setting them.
    "prlimit64": _is_null(2),
    # Of this process: to be nicer. The reverse needs a capability.
    "setpriority": (Condition(0, (0,)), Condition(1, (0,))),
    # No address: what is connected already, which is Trio's own pair.
    "sendto": _is_null(4),
    # AF_UNIX, SOCK_STREAM with or without SOCK_CLOEXEC and SOCK_NONBLOCK: Trio wakes itself
    # through such a pair. A datagram pair could be sent from to any address.
    "socketpair": (Condition(0, (1,)), Condition(1, (1,), ~0o2004000 & 0xFFFFFFFF)),
}

# Besides what is named here, `kill` and `tgkill` are allowed on the process itself.
_ALLOWED: Final = (
    # open descriptors
    "read", "write", "readv", "writev", "close", "lseek", "fstat", "newfstatat", "fcntl", "ioctl",
    "dup", "dup2", "dup3", "pipe2", "eventfd2", "poll", "ppoll", "select", "pselect6",
    "epoll_create1", "epoll_ctl", "epoll_wait", "epoll_pwait", "epoll_pwait2",
    "socketpair", "sendto", "recvfrom", "getsockopt", "setsockopt", "getsockname", "shutdown",
    # memory
    "brk", "mmap", "munmap", "mremap", "mprotect", "madvise", "membarrier", "mincore",
    # threads
    "clone", "futex", "futex_waitv", "set_robust_list", "get_robust_list", "rseq",
    "set_tid_address", "sched_yield", "sched_getaffinity", "sched_getparam", "sched_getscheduler",
    "sched_get_priority_max", "sched_get_priority_min", "getcpu", "exit", "exit_group", "prctl",
    # signals
    "rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigsuspend",
    "rt_sigtimedwait", "sigaltstack", "restart_syscall",
    # clocks and randomness
    "clock_gettime", "clock_getres", "clock_nanosleep", "nanosleep", "gettimeofday", "time",
    "getrandom",
    # who and how much
    "getpid", "gettid", "getppid", "getpgrp", "getuid", "geteuid", "getgid", "getegid",
    "getresuid", "getresgid", "getpriority", "setpriority", "getrlimit", "prlimit64",
    "getrusage", "times", "sysinfo", "uname",
)  # fmt: skip

_FILES: Final = (
    "open", "openat", "openat2", "creat", "stat", "lstat", "newfstatat", "statx", "statfs",
    "access", "faccessat", "faccessat2", "readlink", "readlinkat", "getcwd", "chdir", "getdents64",
    "unlink", "unlinkat", "rename", "renameat", "renameat2", "mkdir", "mkdirat", "truncate",
)  # fmt: skip

_FATAL: Final = (
    # another program, another process, another's memory
    "execve", "execveat", "ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd",
    # the network, and descriptors passed in messages
    "socket", "connect", "bind", "listen", "accept", "accept4", "sendmsg", "sendmmsg", "recvmsg",
    # what most ways from a process into the kernel begin with
    "bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "unshare", "setns",
    "mount", "umount2", "pivot_root", "chroot", "init_module", "finit_module", "kexec_load",
    "keyctl", "add_key", "request_key",
)  # fmt: skip


class Numbers(NamedTuple):
    """A call's number on each architecture; None where it does not exist."""

    x86_64: int | None
    aarch64: int | None


_N = Numbers
NUMBERS: Final[Mapping[str, Numbers]] = {
    "accept": _N(43, 202), "accept4": _N(288, 242), "access": _N(21, None),
    "add_key": _N(248, 217), "bind": _N(49, 200), "bpf": _N(321, 280), "brk": _N(12, 214),
    "chdir": _N(80, 49), "chroot": _N(161, 51), "clock_getres": _N(229, 114),
    "clock_gettime": _N(228, 113), "clock_nanosleep": _N(230, 115), "clone": _N(56, 220),
    "clone3": _N(435, 435), "close": _N(3, 57), "connect": _N(42, 203), "creat": _N(85, None),
    "dup": _N(32, 23), "dup2": _N(33, None), "dup3": _N(292, 24), "epoll_create1": _N(291, 20),
    "epoll_ctl": _N(233, 21), "epoll_pwait": _N(281, 22), "epoll_pwait2": _N(441, 441),
    "epoll_wait": _N(232, None), "eventfd2": _N(290, 19), "execve": _N(59, 221),
    "execveat": _N(322, 281), "exit": _N(60, 93), "exit_group": _N(231, 94),
    "faccessat": _N(269, 48), "faccessat2": _N(439, 439), "fcntl": _N(72, 25),
    "finit_module": _N(313, 273), "fstat": _N(5, 80), "futex": _N(202, 98),
    "futex_waitv": _N(449, 449), "get_robust_list": _N(274, 100), "getcpu": _N(309, 168),
    "getcwd": _N(79, 17), "getdents64": _N(217, 61), "getegid": _N(108, 177),
    "geteuid": _N(107, 175), "getgid": _N(104, 176), "getpgrp": _N(111, None),
    "getpid": _N(39, 172), "getppid": _N(110, 173), "getpriority": _N(140, 141),
    "getrandom": _N(318, 278), "getresgid": _N(120, 150), "getresuid": _N(118, 148),
    "getrlimit": _N(97, 163), "getrusage": _N(98, 165), "getsockname": _N(51, 204),
    "getsockopt": _N(55, 209), "gettid": _N(186, 178), "gettimeofday": _N(96, 169),
    "getuid": _N(102, 174), "init_module": _N(175, 105), "io_uring_enter": _N(426, 426),
    "io_uring_setup": _N(425, 425), "ioctl": _N(16, 29), "kexec_load": _N(246, 104),
    "keyctl": _N(250, 219), "kill": _N(62, 129), "listen": _N(50, 201), "lseek": _N(8, 62),
    "lstat": _N(6, None), "madvise": _N(28, 233), "membarrier": _N(324, 283),
    "mincore": _N(27, 232), "mkdir": _N(83, None), "mkdirat": _N(258, 34), "mmap": _N(9, 222),
    "mount": _N(165, 40), "mprotect": _N(10, 226), "mremap": _N(25, 216), "munmap": _N(11, 215),
    "nanosleep": _N(35, 101), "newfstatat": _N(262, 79), "open": _N(2, None),
    "openat": _N(257, 56), "openat2": _N(437, 437), "perf_event_open": _N(298, 241),
    "pidfd_getfd": _N(438, 438), "pipe2": _N(293, 59), "pivot_root": _N(155, 41),
    "poll": _N(7, None), "ppoll": _N(271, 73), "prctl": _N(157, 167), "prlimit64": _N(302, 261),
    "process_vm_readv": _N(310, 270), "process_vm_writev": _N(311, 271),
    "pselect6": _N(270, 72), "ptrace": _N(101, 117), "read": _N(0, 63), "readlink": _N(89, None),
    "readlinkat": _N(267, 78), "readv": _N(19, 65), "recvfrom": _N(45, 207),
    "recvmsg": _N(47, 212), "rename": _N(82, None), "renameat": _N(264, 38),
    "renameat2": _N(316, 276), "request_key": _N(249, 218), "restart_syscall": _N(219, 128),
    "rseq": _N(334, 293), "rt_sigaction": _N(13, 134), "rt_sigpending": _N(127, 136),
    "rt_sigprocmask": _N(14, 135), "rt_sigreturn": _N(15, 139), "rt_sigsuspend": _N(130, 133),
    "rt_sigtimedwait": _N(128, 137), "sched_get_priority_max": _N(146, 125),
    "sched_get_priority_min": _N(147, 126), "sched_getaffinity": _N(204, 123),
    "sched_getparam": _N(143, 121), "sched_getscheduler": _N(145, 120),
    "sched_yield": _N(24, 124), "select": _N(23, None), "sendmmsg": _N(307, 269),
    "sendmsg": _N(46, 211), "sendto": _N(44, 206), "set_robust_list": _N(273, 99),
    "set_tid_address": _N(218, 96), "setns": _N(308, 268), "setpriority": _N(141, 140),
    "setsockopt": _N(54, 208),
    "shutdown": _N(48, 210), "sigaltstack": _N(131, 132), "socket": _N(41, 198),
    "socketpair": _N(53, 199), "stat": _N(4, None), "statfs": _N(137, 43), "statx": _N(332, 291),
    "sysinfo": _N(99, 179), "tgkill": _N(234, 131), "time": _N(201, None), "times": _N(100, 153),
    "truncate": _N(76, 45), "umount2": _N(166, 39), "uname": _N(63, 160),
    "unlink": _N(87, None), "unlinkat": _N(263, 35), "unshare": _N(272, 97),
    "userfaultfd": _N(323, 282), "write": _N(1, 64), "writev": _N(20, 66),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Architecture:
    """What a filter must know of the machine."""

    name: str
    """As `platform.machine` says it."""

    audit: int
    """AUDIT_ARCH_..., which the filter checks before it believes any number."""

    seccomp_number: int
    """Of the call seccomp(2), which glibc does not wrap."""


ARCHITECTURES: Final[Mapping[str, Architecture]] = {
    "x86_64": Architecture(name="x86_64", audit=0xC000003E, seccomp_number=317),
    "aarch64": Architecture(name="aarch64", audit=0xC00000B7, seccomp_number=277),
}


def build_filter(architecture: Architecture, pid: int) -> bytes:
    """Write the worker's filter.

    Args:
        architecture: One of `ARCHITECTURES`.
        pid: The worker's own process id, the only one that it may signal.

    Returns:
        An array of ``struct sock_filter``, at most `MAX_INSTRUCTIONS` long.
    """
    own = (Condition(0, (pid,)),)
    conditions = {**_CONDITIONS, "kill": own, "tgkill": own}
    program = [
        _instruction(_LOAD, _ARCHITECTURE_AT),
        _instruction(_IF_EQUAL, architecture.audit, 1, 0),
        _instruction(_RETURN, _KILL_PROCESS),
        _instruction(_LOAD, _NUMBER_AT),
    ]
    if architecture.name == "x86_64":
        program += [
            _instruction(_IF_AT_LEAST, _X32, 0, 1),
            _instruction(_RETURN, _KILL_PROCESS),
        ]
    # Kernels since 5.11 remember which calls are always allowed and run nothing for them, so the
    # order matters little.
    for name in (*_ALLOWED, "kill", "tgkill"):
        refusal = _EACCES if name in _FILES else _EPERM
        program += _case(architecture, name, _check(conditions.get(name, ()), refusal))
    for name in _FILES:
        if name not in _ALLOWED:
            program += _case(architecture, name, [_instruction(_RETURN, _EACCES)])
    for name in _FATAL:
        program += _case(architecture, name, [_instruction(_RETURN, _KILL_PROCESS)])
    program += _case(architecture, "clone3", [_instruction(_RETURN, _ENOSYS)])
    program.append(_instruction(_RETURN, _EPERM))
    return b"".join(program)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return _INSTRUCTION.pack(code, if_true, if_false, value)


def _case(architecture: Architecture, name: str, body: Sequence[bytes]) -> list[bytes]:
    """Run `body`, which ends in a verdict, if the call has this name; the number is loaded."""
    number: int | None = getattr(NUMBERS[name], architecture.name)
    if number is None:
        return []
    return [_instruction(_IF_EQUAL, number, 0, len(body)), *body]


def _check(conditions: Sequence[Condition], refusal: int) -> list[bytes]:
    """Allow if all conditions hold, else refuse."""
    code: list[bytes] = []
    for argument, values, mask, high in conditions:
        code.append(_instruction(_LOAD, _ARGUMENTS_AT + 8 * argument + 4 * high))
        if mask != 0xFFFFFFFF:
            code.append(_instruction(_AND, mask))
        # Each equal value jumps over the values that are left and over the refusal.
        left = range(len(values), 0, -1)
        code += map(_instruction, repeat(_IF_EQUAL), values, left)
        code.append(_instruction(_RETURN, refusal))
    return [*code, _instruction(_RETURN, _ALLOW)]
