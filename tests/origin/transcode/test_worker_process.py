"""The real process over its pipes: how it starts, what stops it, and with which exit code."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from child_process import wait_until
from media_clips import ClipSpec, make_clip
from transcode_runs import (
    Output,
    Source,
    decode_coded,
    load_source,
    pictures_of,
    rung,
    setup_of,
    stream_of,
)

from origin.transcode import wire

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
SETUP = setup_of(rung("90p"), rung("45p", width=80, height=46))
ENDS_WITHIN_S = 30.0


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    spec = ClipSpec(name="process", b_frames=2, channels=0, duration_s=1)
    return load_source(make_clip(spec, tmp_path_factory.mktemp("clips")).path)


@contextlib.contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A worker process; it is killed if it still runs at the end."""
    with subprocess.Popen(
        [sys.executable, "-m", "origin.transcode", *arguments],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def run(data: bytes, *arguments: str) -> tuple[int, Output, bytes]:
    """All in, all out: exit code, what it said, and stderr."""
    with started(*arguments) as process:
        out, complaint = process.communicate(data, timeout=ENDS_WITHIN_S)
        return process.returncode, Output.of(out), complaint


@pytest.fixture(scope="module")
def clip(source: Source) -> bytes:
    return stream_of([SETUP, source.config, *pictures_of(source, segments=[0, 15])])


@pytest.fixture(scope="module")
def clip_run(clip: bytes) -> tuple[int, Output, bytes]:
    return run(clip)


def test_clip_goes_through_and_the_end_is_a_clean_one(
    source: Source, clip_run: tuple[int, Output, bytes]
) -> None:
    exit_code, output, complaint = clip_run
    assert (exit_code, complaint, output.faults) == (0, b"", [])
    ready = output.messages[0]
    assert isinstance(ready, wire.Ready)
    assert "confined: " in ready.confinement
    for index in (0, 1):
        assert [coded.pts_ticks for coded in output.coded(index)] == source.shown
        assert [each.number for each in output.pictures(index) if each.is_idr] == [0, 15]
        (config,) = output.configs(index)
        assert len(decode_coded(config, output.pictures(index))) == 30
    assert 20_000_000 < output.statuses[-1].rss_bytes < 1_000_000_000


def test_restarted_worker_goes_on_with_the_same_init_section(
    clip: bytes, clip_run: tuple[int, Output, bytes]
) -> None:
    again = run(clip)[1]
    assert again.configs(0) == clip_run[1].configs(0)
    assert again.configs(1) == clip_run[1].configs(1)
    assert len(again.configs(0)) == 1


def test_end_of_stdin_before_anything_is_no_error() -> None:
    with started() as process:
        out, complaint = process.communicate(b"", timeout=ENDS_WITHIN_S)
    assert (process.returncode, out, complaint) == (0, b"", b"")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "begins with"),
        (wire.GREETING + b"\1\0\0\0", "ended before the setup"),
        (stream_of([SETUP]) + b"\xff" * 64, "reserved"),
    ],
)
def test_garbage_is_answered_with_a_fault_and_exit_code_1(data: bytes, reason: str) -> None:
    exit_code, output, complaint = run(data)
    assert (exit_code, complaint) == (1, b"")
    assert len(output.faults) == 1
    assert reason in output.faults[0]
    assert isinstance(output.messages[-1], wire.Fault)


def test_encoder_in_hardware_is_named_where_there_is_none(source: Source) -> None:
    data = stream_of([setup_of(rung(encoder="h264_nvenc")), source.config, *pictures_of(source)])
    exit_code, output, _ = run(data)
    if exit_code == 0:
        pytest.skip("this machine has an encoder in hardware")
    assert output.faults[0].startswith("h264_nvenc cannot be opened: ")


def read_until_ready(process: subprocess.Popen[bytes]) -> bytes:
    """What it says at first; it is at work then."""
    assert process.stdout is not None
    return os.read(process.stdout.fileno(), 65_536)


def write(process: subprocess.Popen[bytes], messages: Sequence[wire.ToWorker]) -> None:
    assert process.stdin is not None
    process.stdin.write(b"".join(map(wire.encode, messages)))


def test_sigint_is_ignored_and_sigterm_ends_it(source: Source) -> None:
    with started() as process:
        assert process.stdin is not None
        process.stdin.write(stream_of([SETUP]))
        said = read_until_ready(process)
        process.send_signal(signal.SIGINT)
        write(process, [source.config, *pictures_of(source)])
        out, _ = process.communicate(timeout=ENDS_WITHIN_S)
    assert process.returncode == 0
    assert len(Output.of(said + out).pictures()) == 30
    with started() as process:
        assert process.stdin is not None
        process.stdin.write(stream_of([SETUP]))
        read_until_ready(process)
        process.send_signal(signal.SIGTERM)
        assert process.wait(ENDS_WITHIN_S) == -signal.SIGTERM


def test_parent_that_closes_stdout_ends_it() -> None:
    with started() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(stream_of([SETUP]))
        read_until_ready(process)
        process.stdout.close()
        assert process.wait(ENDS_WITHIN_S) == 1  # its heart beats into a broken pipe


def cpu_ticks(process: subprocess.Popen[bytes]) -> int:
    """CPU time it has used, from /proc."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_parent_that_does_not_read_is_waited_for_in_bounded_memory(source: Source) -> None:
    turns = [
        pictures_of(source, segments=[0], first=30 * turn, shift_ticks=turn * 90_000)
        for turn in range(400)
    ]
    large = setup_of(rung("180p", width=320, height=180, bitrate_bps=20_000_000))
    pictures = [picture for turn in turns for picture in turn]
    data = memoryview(b"".join(map(wire.encode, pictures)))
    with started() as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(stream_of([large, source.config]))
        said = read_until_ready(process)
        stdin = process.stdin.fileno()
        os.set_blocking(stdin, False)
        written = 0
        idle_since = 0

        def stands_still() -> bool:
            """Nothing more goes in, and it does not work on anything either."""
            nonlocal written, idle_since
            before = (written, cpu_ticks(process))
            with contextlib.suppress(BlockingIOError):
                while written < len(data):
                    written += os.write(stdin, data[written : written + 65_536])
            moved = before != (written, cpu_ticks(process)) or not written
            idle_since = 0 if moved else idle_since + 1
            return idle_since >= 8

        wait_until(stands_still, timeout_s=ENDS_WITHIN_S, what="the worker stops reading")
        assert 65_536 < written < len(data) / 2  # more than a pipe holds
        resident_pages = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1])
        assert resident_pages * os.sysconf("SC_PAGE_SIZE") < 300_000_000
        # It goes on as soon as somebody reads.
        reader = wire.ToParentReader()
        newest = -1
        while newest < 1_000:
            for message in reader.feed(said):
                newest = message.number if isinstance(message, wire.Coded) else newest
            with contextlib.suppress(BlockingIOError):
                written += os.write(stdin, data[written : written + 65_536])
            said = os.read(process.stdout.fileno(), 65_536)
