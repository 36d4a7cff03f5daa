"""The worker's filter, run by an interpreter that shares no code with its writer.

Linux's own headers judge the numbers of the calls, of both architectures on either machine.
"""

import errno
import re
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.transcode.seccomp import (
    ARCHITECTURES,
    MAX_INSTRUCTIONS,
    NUMBERS,
    Architecture,
    build_filter,
)

PID = 4711
ALLOWED = 0x7FFF0000
KILLED = 0x80000000
EPERM = 0x00050000 | errno.EPERM
EACCES = 0x00050000 | errno.EACCES
ENOSYS = 0x00050000 | errno.ENOSYS

INCLUDE = Path("/usr/include")
X86_HEADERS = (
    INCLUDE / "x86_64-linux-gnu/asm/unistd_64.h",
    INCLUDE / "asm/unistd_64.h",
)
GENERIC_HEADER = INCLUDE / "asm-generic/unistd.h"

X86_64 = ARCHITECTURES["x86_64"]
both = pytest.mark.parametrize("architecture", ARCHITECTURES.values(), ids=list(ARCHITECTURES))


def verdict(program: bytes, audit: int, number: int, *arguments: int) -> int:
    """Run a program on a call, as Linux's net/core/filter.c does."""
    padded = (*arguments, *([0] * (6 - len(arguments))))
    data = struct.pack("<IIQ6Q", number, audit, 0, *padded)
    code = list(struct.iter_unpack("<HBBI", program))
    position = accumulator = 0
    while True:
        operation, if_true, if_false, value = code[position]
        position += 1
        match operation:
            case 0x20:
                (accumulator,) = struct.unpack_from("<I", data, value)
            case 0x54:
                accumulator &= value
            case 0x15:
                position += if_true if accumulator == value else if_false
            case 0x35:
                position += if_true if accumulator >= value else if_false
            case 0x06:
                result: int = value
                return result
            case _:
                raise AssertionError(f"operation {operation:#x}")


def ask(architecture: Architecture, name: str, *arguments: int) -> int | None:
    """What becomes of a call; None where it does not exist."""
    number: int | None = getattr(NUMBERS[name], architecture.name)
    if number is None:
        return None
    return verdict(build_filter(architecture, PID), architecture.audit, number, *arguments)


@both
@pytest.mark.parametrize("name", ["read", "write", "futex", "epoll_pwait", "munmap", "exit_group"])
def test_what_computing_needs_is_allowed(architecture: Architecture, name: str) -> None:
    assert ask(architecture, name, 1, 2, 3) == ALLOWED


@both
@pytest.mark.parametrize("name", ["open", "openat", "stat", "readlinkat", "unlinkat", "getdents64"])
def test_files_are_denied_as_libraries_know_it(architecture: Architecture, name: str) -> None:
    assert ask(architecture, name) in (EACCES, None)
    assert ask(architecture, "openat") == EACCES


@both
@pytest.mark.parametrize(
    "name",
    ["execve", "execveat", "socket", "connect", "ptrace", "bpf", "sendmsg", "io_uring_setup"],
)
def test_what_only_an_intruder_calls_is_death(architecture: Architecture, name: str) -> None:
    assert ask(architecture, name) == KILLED


@both
@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        # pthread_create of glibc; the same without CLONE_THREAD; fork; a thread in a new user space
        ("clone", (0x3D0F00,), ALLOWED),
        ("clone", (0x3C0F00,), EPERM),
        ("clone", (0x1200011,), EPERM),
        ("clone", (0x3D0F00 | 0x10000000,), EPERM),
        ("clone3", (1, 88), ENOSYS),
        ("mmap", (0, 4096, 3, 0x22), ALLOWED),
        ("mmap", (0, 4096, 7, 0x22), EPERM),
        ("mprotect", (0, 4096, 1), ALLOWED),
        ("mprotect", (0, 4096, 5), EPERM),
        ("kill", (PID, 9), ALLOWED),
        ("kill", (1, 9), EPERM),
        ("kill", (0xFFFFFFFF, 9), EPERM),
        ("tgkill", (PID, 1, 6), ALLOWED),
        ("tgkill", (PID + 1, 1, 6), EPERM),
        ("socketpair", (1, 1), ALLOWED),
        ("socketpair", (1, 0o2004001), ALLOWED),
        ("socketpair", (1, 2), EPERM),
        ("socketpair", (2, 1), EPERM),
        ("sendto", (3, 1, 1, 0, 0), ALLOWED),
        ("sendto", (3, 1, 1, 0, 1), EPERM),
        ("sendto", (3, 1, 1, 0, 1 << 32), EPERM),
        ("prlimit64", (0, 9, 0, 1), ALLOWED),
        ("prlimit64", (0, 9, 0x7F0000000000, 0), EPERM),
        ("newfstatat", (3, 1, 1, 0x1000), ALLOWED),
        ("newfstatat", (0xFFFFFF9C, 1, 1, 0), EACCES),
        ("fcntl", (0, 1030), ALLOWED),
        ("fcntl", (0, 8), EPERM),
        ("ioctl", (0, 0x5451), ALLOWED),
        ("ioctl", (0, 0x5412), EPERM),
        ("prctl", (15, 1), ALLOWED),
        ("prctl", (4, 1), EPERM),
        ("setpriority", (0, 0, 10), ALLOWED),
        ("setpriority", (0, 1, 10), EPERM),
        ("setpriority", (2, 0, 10), EPERM),
    ],
)
def test_arguments_decide(
    architecture: Architecture, name: str, arguments: tuple[int, ...], expected: int
) -> None:
    assert ask(architecture, name, *arguments) == expected


@both
def test_numbers_of_another_architecture_mean_something_else(architecture: Architecture) -> None:
    program = build_filter(architecture, PID)
    for audit in (0, 0x40000003, *(other.audit for other in ARCHITECTURES.values())):
        read = NUMBERS["read"]
        number = getattr(read, architecture.name)
        expected = ALLOWED if audit == architecture.audit else KILLED
        assert verdict(program, audit, number) == expected


def test_the_second_set_of_calls_of_x86_is_death() -> None:
    program = build_filter(X86_64, PID)
    for number in (0x40000000, 0x40000001, 0xFFFFFFFF):
        assert verdict(program, X86_64.audit, number) == KILLED


@both
def test_a_call_that_nobody_thought_of_is_refused(architecture: Architecture) -> None:
    program = build_filter(architecture, PID)
    for number in (500, 1000, 0x3FFFFFFF):
        assert verdict(program, architecture.audit, number) == EPERM


@both
def test_the_kernel_takes_it(architecture: Architecture) -> None:
    assert len(build_filter(architecture, PID)) <= 8 * MAX_INSTRUCTIONS


@both
@given(number=st.integers(0, 600), arguments=st.lists(st.integers(0, 2**64 - 1), max_size=6))
def test_every_path_ends_in_a_verdict(
    architecture: Architecture, number: int, arguments: list[int]
) -> None:
    program = build_filter(architecture, PID)
    result = verdict(program, architecture.audit, number, *arguments)
    assert result in (ALLOWED, KILLED, EPERM, EACCES, ENOSYS)
    if result == ALLOWED:
        assert number in [getattr(numbers, architecture.name) for numbers in NUMBERS.values()]


def header_numbers(path: Path) -> dict[str, int]:
    found = re.findall(r"#define __NR(?:3264)?_(\w+)\s+(\d+)", path.read_text())
    return {name: int(number) for name, number in found}


def test_linux_says_the_same_numbers_for_x86_64() -> None:
    path = next((path for path in X86_HEADERS if path.exists()), None)
    if path is None:
        pytest.skip("no headers of Linux for x86_64 (linux-libc-dev)")
    judge = header_numbers(path)
    assert {name: judge.get(name) for name in NUMBERS} == {
        name: numbers.x86_64 for name, numbers in NUMBERS.items()
    }
    assert judge["seccomp"] == X86_64.seccomp_number


def test_linux_says_the_same_numbers_for_aarch64() -> None:
    if not GENERIC_HEADER.exists():
        pytest.skip("no headers of Linux (linux-libc-dev)")
    judge = header_numbers(GENERIC_HEADER)
    judge["newfstatat"] = judge.pop("fstatat")  # the name that 64-bit architectures give it
    known = {name: judge.get(name) for name, numbers in NUMBERS.items() if numbers.aarch64}
    assert known == {name: n.aarch64 for name, n in NUMBERS.items() if n.aarch64}
    for name, numbers in NUMBERS.items():
        if numbers.aarch64 is None:
            assert name not in judge, name
    assert judge["seccomp"] == ARCHITECTURES["aarch64"].seccomp_number
