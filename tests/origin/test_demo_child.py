"""The demo publisher's process: its key on stdin, its pace, its end, and what a stranger gets."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path
from typing import IO

import av
import pytest
import structlog
import trio
import trio.testing
from timecode_reader import read_timecode

from edge.process.address import Address
from origin.demo import __main__ as child
from origin.demo.encoder import Packet
from origin.rtmp.client import PublishRefusedError

KEY = "live_0123456789abcdef0123456789abcdef"
TARGET = child.Target(Address("127.0.0.1", 1935), "live")

pytestmark = pytest.mark.usefixtures("logging_restored")


class FakeEncoder:
    """Remembers which frames were asked for; each call takes no time."""

    def __init__(self) -> None:
        self.metadata = {"width": 1280.0}
        self.video_config = b"avcC"
        self.audio_config = b"asc"
        self.frames: list[int] = []

    def encode(self, frame: int) -> list[Packet]:
        self.frames.append(frame)
        return [
            Packet("audio", frame * 1000 // 30, True, b"a"),
            Packet("video", frame * 1000 // 30, frame % 30 == 0, b"v"),
        ]


class FakePublisher:
    """Remembers what was sent, and when; a send may be made slow."""

    def __init__(
        self,
        slow: Callable[[int], float] = lambda _number: 0,
        refusal: PublishRefusedError | None = None,
    ) -> None:
        self._refusal = refusal
        self.sent: list[tuple[float, str, object]] = []
        self.pictures: list[tuple[float, int, bool]] = []
        self._slow = slow

    async def _send(self, kind: str, what: object) -> None:
        if self._refusal is not None:
            raise self._refusal
        self.sent.append((trio.current_time(), kind, what))
        await trio.sleep(self._slow(len(self.sent)))

    async def send_metadata(self, values: object) -> None:
        await self._send("metadata", values)

    async def send_video_config(self, record: bytes) -> None:
        await self._send("video config", record)

    async def send_audio_config(self, config: bytes) -> None:
        await self._send("audio config", config)

    async def send_video(self, data: bytes, *, timestamp_ms: int, keyframe: bool) -> None:
        self.pictures.append((trio.current_time(), timestamp_ms, keyframe))
        await self._send("video", data)

    async def send_audio(self, data: bytes, *, timestamp_ms: int) -> None:
        await self._send("audio", data)


@pytest.fixture
def on_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encode on the event loop: a mock clock does not wait for threads."""

    async def run_sync(function: Callable[..., object], *args: object) -> object:
        await trio.lowlevel.checkpoint()
        return function(*args)

    monkeypatch.setattr(trio.to_thread, "run_sync", run_sync)


async def _publish_for(seconds: float, publisher: FakePublisher) -> FakeEncoder:
    encoder = FakeEncoder()
    with trio.move_on_after(seconds):
        await child.publish(publisher, encoder)  # type: ignore[arg-type]
    return encoder


@pytest.mark.usefixtures("on_loop")
async def test_configurations_go_first_and_frames_at_their_time(
    autojump_clock: trio.testing.MockClock,
) -> None:
    publisher = FakePublisher()
    started = trio.current_time()
    encoder = await _publish_for(10.01, publisher)

    assert [kind for _, kind, _ in publisher.sent[:3]] == [
        "metadata",
        "video config",
        "audio config",
    ]
    assert encoder.frames == list(range(301))
    for number, (at, timestamp_ms, keyframe) in enumerate(publisher.pictures):
        assert at == pytest.approx(started + number / 30)
        assert timestamp_ms == number * 1000 // 30
        assert keyframe == (number % 30 == 0)


@pytest.mark.usefixtures("on_loop")
async def test_a_stalled_connection_costs_frames_and_no_drift(
    autojump_clock: trio.testing.MockClock,
) -> None:
    publisher = FakePublisher(slow=lambda number: 1.0 if number == 50 else 0)
    started = trio.current_time()
    encoder = await _publish_for(5.01, publisher)

    gaps = [b - a for a, b in zip(encoder.frames, encoder.frames[1:], strict=False)]
    assert sorted(gaps)[-2:] == [1, 30]
    last_at, _, _ = publisher.pictures[-1]
    assert last_at == pytest.approx(started + 5.0)
    assert encoder.frames[-1] == 150


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, str, str]]:
    """Take the place of the RTMP client; remembers how it was called."""
    calls: list[tuple[str, int, str, str]] = []

    @asynccontextmanager
    async def open_publisher(
        host: str, port: int, app: str, key: str
    ) -> AsyncIterator[FakePublisher]:
        await trio.lowlevel.checkpoint()
        calls.append((host, port, app, key))
        yield FakePublisher()

    monkeypatch.setattr(child, "open_publisher", open_publisher)
    monkeypatch.setattr(child, "DemoEncoder", FakeEncoder)
    return calls


@pytest.mark.usefixtures("on_loop")
async def test_the_key_is_read_in_pieces_and_the_end_of_stdin_ends_it(
    autojump_clock: trio.testing.MockClock,
    server: list[tuple[str, int, str, str]],
) -> None:
    send, receive = trio.testing.memory_stream_one_way_pair()
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _parent() -> None:
            for byte in KEY.encode() + b"\n":
                await send.send_all(bytes((byte,)))
                await trio.testing.wait_all_tasks_blocked()
            await trio.sleep(3)
            await send.aclose()

        assert await child.run_child(TARGET, receive) == 0
    assert server == [("127.0.0.1", 1935, "live", KEY)]


@pytest.mark.usefixtures("on_loop")
@pytest.mark.parametrize("said", [b"", b"\n", b"  \n"])
async def test_without_a_key_nothing_is_published(
    said: bytes, server: list[tuple[str, int, str, str]]
) -> None:
    send, receive = trio.testing.memory_stream_one_way_pair()
    await send.send_all(said)
    await send.aclose()
    assert await child.run_child(TARGET, receive) == 0
    assert server == []


@pytest.mark.usefixtures("on_loop")
async def test_a_refusal_is_logged_and_exit_code_1(
    monkeypatch: pytest.MonkeyPatch, server: list[tuple[str, int, str, str]]
) -> None:
    @asynccontextmanager
    async def open_publisher(*_: object) -> AsyncIterator[FakePublisher]:
        yield FakePublisher(refusal=PublishRefusedError("NetStream.Publish.BadName", "unknown"))

    monkeypatch.setattr(child, "open_publisher", open_publisher)
    send, receive = trio.testing.memory_stream_one_way_pair()
    await send.send_all(KEY.encode() + b"\n")
    with structlog.testing.capture_logs() as logged:
        assert await child.run_child(TARGET, receive) == 1
    assert [entry["reason"] for entry in logged if "reason" in entry] == [
        "NetStream.Publish.BadName: unknown"
    ]
    assert KEY not in str(logged)


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("rtmp://127.0.0.1:1935/live", (("127.0.0.1", 1935), "live")),
        ("rtmp://[::1]:19350/app/", (("::1", 19350), "app")),
    ],
)
def test_urls_are_read(url: str, target: object) -> None:
    assert child.parse_target(url) == target


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://h:1/live",
        "rtmp://h/live",
        "rtmp://h:1",
        f"rtmp://h:1/live/{KEY}",
        "rtmp://h:1/a?b",
    ],
)
def test_other_urls_are_wrong_arguments(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert child.main([url]) == 2
    assert capsys.readouterr().err.startswith("usage: ")


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["--log-format", "xml", "rtmp://h:1/a"]])
def test_other_arguments_are_wrong(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert child.main(arguments) == 2
    assert capsys.readouterr().err.startswith("usage: ")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _receive(port: int, seconds: float) -> tuple[list[av.VideoFrame], list[float]]:
    """Be an RTMP server, FFmpeg's; return what was seen, and when by the wall clock, in ms."""
    frames, arrivals = [], []
    url = f"rtmp://127.0.0.1:{port}/live/{KEY}"
    options = {"listen": "1", "timeout": "20", "fflags": "nobuffer", "probesize": "65536"}
    with av.open(url, options=options) as container:
        assert sorted(stream.type for stream in container.streams) == ["audio", "video"]
        for packet in container.demux(container.streams.video[0]):
            arrived_ms = time.time() * 1000
            for frame in packet.decode():
                frames.append(frame)
                arrivals.append(arrived_ms)
            if packet.pts is not None and packet.time_base * packet.pts > Fraction(seconds):
                return frames, arrivals
    return frames, arrivals


def _secrets_in_sight(pid: int) -> bool:
    """Tell whether another user of the machine could read the key."""
    folder = Path(f"/proc/{pid}")
    seen = (folder / "cmdline").read_bytes() + (folder / "environ").read_bytes()
    return KEY.encode() in seen


@pytest.mark.slow
async def test_a_stranger_receives_what_the_real_child_publishes(tmp_path: Path) -> None:
    port = _free_port()
    command = [sys.executable, "-m", "origin.demo", "--log-format", "json"]
    received: list[tuple[list[av.VideoFrame], list[float]]] = []
    exit_codes: list[int] = []

    async def run_child(log: IO[str], done: trio.Event) -> None:
        while True:  # until the stranger listens: before that, the child fails at once
            process = await trio.lowlevel.open_process(
                [*command, f"rtmp://127.0.0.1:{port}/live"], stdin=subprocess.PIPE, stderr=log
            )
            assert process.stdin is not None
            await process.stdin.send_all(KEY.encode() + b"\n")
            assert not _secrets_in_sight(process.pid)
            if await _ends_before(done, process):
                continue
            await process.stdin.aclose()
            exit_codes.append(await process.wait())
            return

    done = trio.Event()
    with trio.fail_after(40), (tmp_path / "log").open("w+") as log:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(run_child, log, done)
            received.append(await trio.to_thread.run_sync(_receive, port, 2.0))
            done.set()
        log.seek(0)
        logged = log.read()

    assert exit_codes == [0]
    assert KEY not in logged
    assert json.loads(logged.splitlines()[-1])["event"] == "demo publishing"
    ((frames, arrivals),) = received
    assert len(frames) > 25  # a second may have gone into FFmpeg's probe
    painted = [read_timecode(frame.to_ndarray()[:720].tolist()) for frame in frames]
    assert None not in painted
    assert 0 <= arrivals[-1] - float(painted[-1] or 0) < 500


async def _ends_before(event: trio.Event, process: trio.Process) -> bool:
    """Wait for the event or the process's end; True for the latter."""
    async with trio.open_nursery() as nursery:

        @nursery.start_soon
        async def _wait_for_event() -> None:
            await event.wait()
            nursery.cancel_scope.cancel()

        await process.wait()
        nursery.cancel_scope.cancel()
    return not event.is_set()
