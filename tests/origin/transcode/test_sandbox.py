"""A confined process tries what it must not, and does its work.

Each attempt has a child of its own: some are fatal. The children are Python as the worker is, with
pipes for stdin, stdout and stderr.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from origin.transcode import sandbox
from origin.transcode.sandbox import MAX_DESCRIPTORS, PARENT_GONE_EXIT_CODE, Confinement

ROOT = Path(__file__).parents[3]
TIMEOUT_S = 60.0
ADDRESS_SPACE_BYTES = 1 << 30
ALL = (
    *("descriptors", "malloc arenas", "address space", "core size", "locked memory"),
    *("real-time priority", "file size", "descriptor count", "parent's death", "capabilities"),
    *("not dumpable", "no new privileges", "seccomp"),
)

CONFINED = f"""
import ctypes, mmap, os, resource, signal, socket, subprocess, sys
from origin.transcode import sandbox
libc = ctypes.CDLL(None, use_errno=True)
PARENT = os.getppid()
def confine(**fields):
    return sandbox.confine(**{{"address_space_bytes": {ADDRESS_SPACE_BYTES}, **fields}})
def refused():
    raise OSError("no such kernel")
"""


def run_child(script: str, *, pass_fds: tuple[int, ...] = ()) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", CONFINED + script],
        cwd=ROOT,
        input="",
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
        pass_fds=pass_fds,
    )


def printed(script: str, *, pass_fds: tuple[int, ...] = ()) -> list[str]:
    """Run a child that must end well; return its lines."""
    child = run_child(script, pass_fds=pass_fds)
    assert child.returncode == 0, child.stderr
    return child.stdout.splitlines()


@pytest.fixture(scope="module")
def with_filter() -> None:
    """The kernel, or the container around us, lets processes filter their calls."""
    (line,) = printed("print(confine())")
    if "seccomp:" in line:
        pytest.skip(f"no seccomp here: {line}")


def test_everything_is_in_force_on_an_ordinary_linux(with_filter: None) -> None:
    assert printed("print(confine())") == [f"confined: {', '.join(ALL)}"]


def test_without_root_too(with_filter: None) -> None:
    if os.geteuid() != 0:
        pytest.skip("all the other tests run without root already")
    lines = printed("os.setgroups([]); os.setgid(65534); os.setuid(65534)\nprint(confine())")
    assert lines == [f"confined: {', '.join(ALL)}"]


ATTEMPTS: dict[str, str | tuple[str, ...]] = {
    "open('/etc/passwd')": "PermissionError 13",
    "open('/proc/self/mem', 'rb')": "PermissionError 13",
    "open('/tmp/headrace-sandbox-test', 'w')": "PermissionError 13",
    "os.listdir('/')": "PermissionError 13",
    "os.stat('/etc')": "PermissionError 13",
    "os.unlink('/etc/passwd')": "PermissionError 13",
    "os.fork()": "PermissionError 1",
    "subprocess.run(['/bin/true'])": "PermissionError",
    "os.kill(PARENT, signal.SIGUSR1)": "PermissionError 1",
    "socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)": "PermissionError 1",
    "os.memfd_create('program')": "PermissionError 1",
    "mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC)": "PermissionError 1",
    "resource.setrlimit(resource.RLIMIT_AS, (1 << 32, 1 << 32))": "ValueError",
    "resource.setrlimit(resource.RLIMIT_CORE, (0, 0))": "ValueError",
    "os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))": "PermissionError 1",
    "os.setuid(1)": "PermissionError 1",
    "os.nice(-5)": "PermissionError",
    "import colorsys": ("ModuleNotFoundError", "PermissionError"),
    f"bytearray({ADDRESS_SPACE_BYTES})": "MemoryError",
    f"mmap.mmap(-1, {ADDRESS_SPACE_BYTES})": "OSError 12",
}


def test_what_a_worker_does_not_need_fails_and_it_lives(with_filter: None) -> None:
    lines = printed(
        f"""
confine()
for attempt in {list(ATTEMPTS)!r}:
    try:
        exec(attempt)
        print("done")
    except Exception as error:
        print(type(error).__name__, getattr(error, "errno", ""))
"""
    )
    for (attempt, error), line in zip(ATTEMPTS.items(), lines, strict=True):
        assert line.startswith(error), (attempt, line)


@pytest.mark.parametrize(
    "attempt",
    [
        "os.execv('/bin/true', ['true'])",
        "socket.socket()",
        "socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)",
        "socket.socketpair()[0].sendmsg([b'x'])",
        "libc.ptrace(16, os.getppid(), 0, 0)",
        "libc.unshare(0x10000000)",
    ],
)
def test_an_attempt_that_no_codec_makes_is_death(with_filter: None, attempt: str) -> None:
    child = run_child(f"confine()\nprint('confined', flush=True)\n{attempt}\nprint('alive')")
    assert child.returncode == -signal.SIGSYS, child.stderr
    assert child.stdout == "confined\n"


def test_threads_that_ran_before_are_confined_too(with_filter: None) -> None:
    lines = printed(
        """
import threading
go = threading.Event()
def attempt():
    go.wait()
    try:
        open("/etc/passwd")
    except PermissionError as error:
        print("thread", error.errno)
thread = threading.Thread(target=attempt)
thread.start()
confine()
go.set()
thread.join()
"""
    )
    assert lines == ["thread 13"]


def test_a_stray_descriptor_is_closed() -> None:
    stray, other = os.pipe()
    try:
        lines = printed(
            f"""
os.fstat({stray})
confine()
try:
    os.fstat({stray})
except OSError as error:
    print(error.errno)
""",
            pass_fds=(stray,),
        )
    finally:
        os.close(stray)
        os.close(other)
    assert lines == ["9"]


def test_a_descriptor_that_is_named_stays_open(with_filter: None) -> None:
    """As the one that a worker measures itself by: ``/proc`` cannot be opened later."""
    lines = printed(
        """
stray, kept = os.open("/dev/null", os.O_RDONLY), os.open("/proc/self/statm", os.O_RDONLY)
confine(keep=[kept])
for _ in range(2):
    os.lseek(kept, 0, os.SEEK_SET)
    print(int(os.read(kept, 100).split()[1]) > 100)
try:
    os.fstat(stray)
except OSError as error:
    print(error.errno)
"""
    )
    assert lines == ["True", "True", "9"]


# -- without a filter, what else holds

UNFILTERED = """
def refused(_libc):
    raise OSError("no such kernel")
sandbox._install_filter = refused
record = confine()
"""


def test_a_kernel_without_filters_is_named_and_the_rest_is_in_force() -> None:
    (line,) = printed(UNFILTERED + "print(record)")
    assert line == f"confined: {', '.join(ALL[:-1])}; not: seccomp: no such kernel"


def test_limits_and_rights_hold_without_a_filter() -> None:
    lines = printed(
        UNFILTERED
        + """
for line in open("/proc/self/status"):
    if line.startswith(("CapPrm", "CapEff", "CapInh", "NoNewPrivs")):
        print(line.split()[0], int(line.split()[1], 16))
print("dumpable", libc.prctl(3, 0, 0, 0, 0))
for name in ("AS", "CORE", "FSIZE", "NOFILE", "MEMLOCK", "RTPRIO"):
    print(name, *resource.getrlimit(getattr(resource, "RLIMIT_" + name)))
descriptors = []
try:
    while True:
        descriptors.append(os.dup(0))
except OSError as error:
    print("descriptors", error.errno, len(descriptors))
os.closerange(3, 40)
"""
    )
    assert lines == [
        *("CapInh: 0", "CapPrm: 0", "CapEff: 0", "NoNewPrivs: 1", "dumpable 0"),
        f"AS {ADDRESS_SPACE_BYTES} {ADDRESS_SPACE_BYTES}",
        *("CORE 0 0", "FSIZE 0 0", f"NOFILE {MAX_DESCRIPTORS} {MAX_DESCRIPTORS}"),
        *("MEMLOCK 0 0", "RTPRIO 0 0", f"descriptors 24 {MAX_DESCRIPTORS - 3}"),
    ]


def test_no_file_grows_without_a_filter(tmp_path: Path) -> None:
    target = tmp_path / "grown"
    lines = printed(
        UNFILTERED
        + f"""
descriptor = os.open({str(target)!r}, os.O_WRONLY | os.O_CREAT)
try:
    os.write(descriptor, b"x")
except OSError as error:
    print(error.errno)
"""
    )
    assert lines == ["27"]  # EFBIG
    assert target.read_bytes() == b""


def test_another_architecture_has_no_filter() -> None:
    (line,) = printed("sandbox.platform.machine = lambda: 'riscv64'\nprint(confine())")
    assert line.endswith("; not: seccomp: no filter for riscv64")


def test_a_worker_with_devices_keeps_what_they_need_and_no_more() -> None:
    lines = printed(
        """
print(confine(opens_devices=True))
print(open("/dev/null").fileno())
print(resource.getrlimit(resource.RLIMIT_AS)[0] == resource.RLIM_INFINITY)
for line in open("/proc/self/status"):
    if line.startswith(("CapEff", "NoNewPrivs")):
        print(line.split()[0], int(line.split()[1], 16))
"""
    )
    assert lines == [
        "confined: descriptors, core size, real-time priority, parent's death, capabilities, "
        "not dumpable, no new privileges; not: malloc arenas: devices; address space: devices; "
        "locked memory: devices; file size: devices; descriptor count: devices; seccomp: devices",
        *("3", "True", "CapEff: 0", "NoNewPrivs: 1"),
    ]


def test_a_lower_limit_that_is_in_force_stays() -> None:
    lines = printed(
        """
half = 512 << 20
resource.setrlimit(resource.RLIMIT_AS, (half, half))
confine()
print(resource.getrlimit(resource.RLIMIT_AS) == (half, half))
"""
    )
    assert lines == ["True"]


def test_a_stderr_that_is_a_file_stays_writable(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("w") as stderr:
        child = subprocess.run(
            [sys.executable, "-c", f"{CONFINED}\nprint(confine(), file=sys.stderr)"],
            cwd=ROOT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            timeout=TIMEOUT_S,
            check=False,
        )
    assert child.returncode == 0
    assert "not: file size: descriptor 2 is a file" in log.read_text()


def test_confine_is_for_the_main_thread() -> None:
    lines = printed(
        """
import threading
def attempt():
    try:
        confine()
    except RuntimeError as error:
        print(error)
thread = threading.Thread(target=attempt)
thread.start()
thread.join()
open("/dev/null").close()
"""
    )
    assert lines == ["confine in the main thread"]


def test_a_record_says_what_is_missing() -> None:
    record = Confinement(in_force=("a", "b"), missing=("c: why",))
    assert str(record) == "confined: a, b; not: c: why"


# -- the parent's death


def test_a_parent_that_is_gone_already_ends_the_child() -> None:
    child = run_child(f"confine(parent_pid={os.getpid()})\nprint('alive')")
    assert (child.returncode, child.stdout) == (0, "alive\n")
    child = run_child("confine(parent_pid=1 << 22)\nprint('alive')")
    assert (child.returncode, child.stdout) == (PARENT_GONE_EXIT_CODE, "")


# Started from a thread that ends once the child is confined, as Trio does it; then every line from
# stdin (which is ours, not the parent's) comes back on stderr.
CHILD = """
confine()
print("confined", flush=True)
sys.stdout.close()
while line := sys.stdin.readline():
    print(line.strip(), file=sys.stderr, flush=True)
"""
PARENT = f"""
import signal, subprocess, sys, threading
def start():
    child = subprocess.Popen(
        [sys.executable, "-c", {CONFINED + CHILD!r}], stdout=subprocess.PIPE
    )
    child.stdout.readline()
thread = threading.Thread(target=start)
thread.start()
thread.join()
print("thread ended", flush=True)
signal.pause()
"""


@contextlib.contextmanager
def family() -> Iterator[tuple[subprocess.Popen[bytes], IO[bytes], IO[bytes]]]:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT],
        cwd=ROOT,
        bufsize=0,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as parent:
        assert parent.stdin is not None
        assert parent.stdout is not None
        assert parent.stderr is not None
        try:
            assert parent.stdout.readline() == b"thread ended\n", parent.stderr.read()
            yield parent, parent.stdin, parent.stderr
        finally:
            parent.kill()
            parent.stdin.close()  # the child, if it lives


def test_a_child_outlives_the_thread_that_started_it_and_not_its_parent() -> None:
    with family() as (parent, to_child, from_child):
        to_child.write(b"ping\n")
        assert from_child.readline() == b"ping\n"
        parent.kill()
        ready, _, _ = select.select([from_child], [], [], TIMEOUT_S)
        assert ready, "the child lives on"
        assert from_child.read() == b""


def test_the_handler_stays_quiet_while_the_parent_lives() -> None:
    lines = printed("confine()\nos.kill(os.getpid(), signal.SIGHUP)\nprint('alive')")
    assert lines == ["alive"]


# -- the work


@pytest.mark.slow
@pytest.mark.parametrize(
    ("encoder", "decoder"), [("libx264", "h264"), ("libx265", "hevc"), ("libsvtav1", "libdav1d")]
)
def test_codecs_work_in_threads(with_filter: None, encoder: str, decoder: str) -> None:
    """Under Trio, with several threads each, and each opened after the doors were shut."""
    lines = printed(
        f"""
import av, av.logging, numpy, trio
from fractions import Fraction
av.logging.set_level(None)
if {encoder!r} not in av.codecs_available:
    print("no encoder"); sys.exit()

def encode():
    codec = av.CodecContext.create({encoder!r}, "w")
    codec.width, codec.height, codec.pix_fmt = 160, 96, "yuv420p"
    codec.framerate, codec.time_base = Fraction(30), Fraction(1, 30)
    codec.options = {{"preset": "10" if {encoder!r} == "libsvtav1" else "ultrafast"}}
    codec.thread_count = 3
    packets = []
    for number in range(10):
        planes = numpy.full((144, 160), 20 * number, dtype=numpy.uint8)
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts = number
        packets += codec.encode(frame)
    return packets + codec.encode(None)

def decode(packets):
    codec = av.CodecContext.create({decoder!r}, "r")
    codec.thread_count = 3
    frames = [frame for packet in [*packets, None] for frame in codec.decode(packet)]
    return [frame.reformat(80, 48, "gray").to_ndarray().shape for frame in frames]

async def main():
    packets = await trio.to_thread.run_sync(encode)
    packets = [av.Packet(bytes(packet)) for packet in packets]
    return await trio.to_thread.run_sync(decode, packets)

confine(address_space_bytes=4 << 30)
print(trio.run(main) == [(48, 80)] * 10)
"""
    )
    if lines == ["no encoder"]:
        pytest.skip(f"this PyAV has no {encoder}")
    assert lines == ["True"]


def test_steps_are_what_the_record_names() -> None:
    """So that no step can be added without the tests above seeing it."""
    libc = ctypes.CDLL(None)
    assert [name for name, _ in sandbox._steps(libc, 1, 1, ())] == list(ALL)
