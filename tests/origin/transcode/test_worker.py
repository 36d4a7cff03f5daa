"""The worker's stages in process, with real media: the whole way, back-pressure, faults, ends."""

import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from fractions import Fraction

import av
import pytest
import trio
from av.video.codeccontext import VideoCodecContext
from media_clips import ClipSpec, make_clip
from transcode_runs import (
    Output,
    Source,
    bar_of,
    decode_coded,
    encode_source,
    load_source,
    pictures_of,
    rung,
    setup_of,
    stream_of,
)
from trio.testing import (
    lockstep_stream_one_way_pair,
    memory_stream_one_way_pair,
    wait_all_tasks_blocked,
)

from hls.video import parse_video_config
from origin.transcode import wire, worker
from origin.transcode.errors import TranscodeError
from origin.transcode.intake import Intake, Row, VideoInput
from origin.transcode.lanes import Lane
from origin.transcode.worker import Worker, fault_text, read_setup

SETUP = setup_of(rung("90p"), rung("45p", width=80, height=46))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Two seconds with B-frames and sound, a keyframe every half second."""
    spec = ClipSpec(name="worker", b_frames=2, channels=1, duration_s=2, keyint_s=0.5)
    return load_source(make_clip(spec, tmp_path_factory.mktemp("clips")).path)


def worker_of(
    setup: wire.Setup,
    stdin: trio.abc.ReceiveStream,
    stdout: trio.abc.SendStream,
    cores: int = 2,
) -> Worker:
    reader = wire.ToWorkerReader()
    reader.feed(stream_of([setup]))
    return Worker(setup=setup, reader=reader, early=[], stdin=stdin, stdout=stdout, cores=cores)


@dataclass
class Run:
    """A worker at work: what goes in, what came out."""

    worker: Worker
    stdin: trio.abc.SendStream
    stdout: trio.abc.ReceiveStream
    exit_code: int | None = None
    output: Output = field(default_factory=Output)
    _reader: wire.ToParentReader = field(default_factory=wire.ToParentReader)

    async def feed(self, messages: Sequence[wire.ToWorker]) -> None:
        await self.stdin.send_all(b"".join(map(wire.encode, messages)))

    async def finish(self, messages: Sequence[wire.ToWorker] = ()) -> None:
        await self.feed(messages)
        await self.stdin.aclose()

    async def read(self, enough: Callable[[Output], bool] = lambda output: False) -> None:
        """Read until there is enough, or to the end."""
        while not enough(self.output):
            data = await self.stdout.receive_some()
            if not data:
                self._reader.finish()
                return
            self.output.messages += self._reader.feed(data)


@asynccontextmanager
async def running(
    setup: wire.Setup = SETUP,
    *,
    cores: int = 2,
    pair: Callable[[], tuple[trio.abc.SendStream, trio.abc.ReceiveStream]] = (
        memory_stream_one_way_pair
    ),
) -> AsyncIterator[Run]:
    """A worker that runs until it ends by itself, or the block raises."""
    to_worker, stdin = pair()
    stdout, from_worker = pair()
    run = Run(worker_of(setup, stdin, stdout, cores), to_worker, from_worker)

    async def work() -> None:
        run.exit_code = await run.worker.run()
        await stdout.aclose()

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(work)
            yield run


async def transcode(
    messages: Sequence[wire.ToWorker], setup: wire.Setup = SETUP, cores: int = 2
) -> tuple[int | None, Output]:
    """All in at once, all out."""
    async with running(setup, cores=cores) as run:
        await run.finish(messages)
        await run.read()
    return run.exit_code, run.output


@pytest.mark.parametrize("cores", [1, 2, 8])
async def test_every_rung_has_every_picture_at_the_sources_times(
    source: Source, cores: int
) -> None:
    setup = setup_of(
        rung("90p"),
        rung("45p", width=80, height=46, divisor=2),
        rung("68p", width=120, height=68, encoder="libx265"),
    )
    messages: list[wire.ToWorker] = [
        source.config,
        *pictures_of(source, segments=[0, 15, 32], first=7),
    ]
    exit_code, output = await transcode(messages, setup, cores)
    assert exit_code == 0
    assert output.faults == []
    ready = output.messages[0]
    assert isinstance(ready, wire.Ready)
    assert ready.encoders == ("libx264", "libx264", "libx265")
    for index, divisor in enumerate((1, 2, 1)):
        coded = output.coded(index)
        assert [each.number for each in coded] == list(range(7, 67))
        assert [each.pts_ticks for each in coded] == source.shown
        taken = [n for n in range(60) if (n - max(b for b in (0, 15, 32) if b <= n)) % divisor == 0]
        pictures = output.pictures(index)
        assert [each.number - 7 for each in pictures] == taken
        assert [each.number - 7 for each in pictures if each.is_idr] == [0, 15, 32]
        (config,) = output.configs(index)
        for each, frame in zip(pictures, decode_coded(config, pictures), strict=True):
            assert bar_of(frame) == (each.number - 7) % 38
        assert (frame.width, frame.height) == (setup.rungs[index].width, setup.rungs[index].height)
        # From each forced picture on it can be decoded alone.
        for begin in (15, 32):
            decode_coded(config, [each for each in pictures if each.number - 7 >= begin])


async def test_status_says_what_was_done(source: Source) -> None:
    sounds = [wire.Audio(ticks, data) for ticks, data in source.sounds]
    pictures = pictures_of(source)
    bad = pictures[-1]._replace(data=b"\0\0\0\1\x65")
    # Picture and sound side by side, as a publisher sends them.
    messages: list[wire.ToWorker] = []
    for index, picture in enumerate([*pictures[:-1], bad]):
        messages.append(picture)
        while sounds and sounds[0].pts_ticks < index * 3000:
            messages.append(sounds.pop(0))
    async with running() as run:
        await run.feed([source.config, wire.AudioConfig(b"mp4a", source.asc), *messages])
        await run.read(lambda output: output.statuses[-1:] != [] and heard(output.statuses[-1]))
        await run.finish()
        await run.read()
    assert run.exit_code == 0
    status = run.output.statuses[-1]
    assert (status.decoded, status.decode_errors, status.lost) == (59, 1, 1)
    assert status.newest_pts_ticks == max(each.pts_ticks for each in run.output.pictures())
    for index, counts in enumerate(status.rungs):
        assert counts.frames == 59
        assert counts.bytes == sum(len(each.data) for each in run.output.pictures(index))
        assert counts.newest_pts_ticks == status.newest_pts_ticks
        assert counts.encode_s > 0
    assert (status.black, status.frozen, status.silent) == (False, False, False)
    assert status.av_drift_s is not None
    assert abs(status.av_drift_s) < 0.2
    assert status.busy_s == 0


def heard(status: wire.Status) -> bool:
    return status.silent is not None


async def test_rung_is_switched_off_and_on(source: Source) -> None:
    messages: list[wire.ToWorker] = [
        source.config,
        *pictures_of(source, segments=[0, 15, 30, 45]),
    ]
    messages.insert(10, wire.RungRate(1, 0))
    messages.insert(40, wire.RungRate(1, 2))
    exit_code, output = await transcode(messages)
    assert exit_code == 0
    assert [each.number for each in output.pictures(0)] == list(range(60))
    pictures = output.pictures(1)
    assert [each.number for each in pictures] == [*range(15), *range(45, 60, 2)]
    assert [each.number for each in pictures if each.is_idr] == [0, 45]
    assert [each.number for each in output.coded(1)] == list(range(60))
    (config,) = output.configs(1)  # as before
    assert len(decode_coded(config, pictures[15:])) == 8


async def test_epochs_and_configurations_follow_each_other(source: Source) -> None:
    first = pictures_of(source)[:10]
    again = pictures_of(source, segments=[0], first=10, shift_ticks=-1_000_000)
    third = pictures_of(source, segments=[0], first=70, shift_ticks=5_000_000)
    third[0] = third[0]._replace(begins_epoch=False)  # another configuration alone
    exit_code, output = await transcode([source.config, *first, *again, source.config, *third])
    assert exit_code == 0
    assert [each.number for each in output.coded()] == list(range(130))
    assert [each.number for each in output.pictures() if each.is_idr] == [0, 10, 70]
    assert [each.pts_ticks for each in output.coded()[10:70]] == [
        ticks - 1_000_000 for ticks in source.shown
    ]


async def test_pixels_of_rungs_are_square_whatever_the_sources_are() -> None:
    def anamorphic(context: VideoCodecContext) -> None:
        context.sample_aspect_ratio = Fraction(16, 11)

    grey = [av.VideoFrame(176, 144, "yuv420p") for _ in range(3)]
    source = encode_source(grey, prepare=anamorphic)
    described = parse_video_config(b"avc1", source.record)
    assert described.sample_aspect_ratio == (16, 11)
    exit_code, output = await transcode([source.config, *pictures_of(source)])
    assert exit_code == 0
    for index, each in enumerate(SETUP.rungs):
        (config,) = output.configs(index)
        made = parse_video_config(config.fourcc, config.record)
        assert (made.sample_aspect_ratio, made.display_width) == ((1, 1), each.width)


async def test_end_before_the_first_picture() -> None:
    exit_code, output = await transcode([])
    assert exit_code == 0
    assert [type(message) for message in output.messages][-1] is wire.Status
    assert output.coded() == []


async def test_messages_that_came_with_the_setup_are_first(source: Source) -> None:
    data = stream_of([SETUP, source.config, *pictures_of(source)])
    cut = len(data) - 20_000
    pieces = iter([data[:3], data[3:cut]])
    received = read_setup(lambda: next(pieces, b""))
    assert received is not None
    setup, reader, early = received
    assert setup == SETUP
    to_worker, stdin = memory_stream_one_way_pair()
    stdout, from_worker = memory_stream_one_way_pair()
    await to_worker.send_all(data[cut:])
    await to_worker.aclose()
    run = Run(
        Worker(setup=setup, reader=reader, early=early, stdin=stdin, stdout=stdout),
        to_worker,
        from_worker,
    )
    assert await run.worker.run() == 0
    await stdout.aclose()
    await run.read()
    assert [each.number for each in run.output.coded()] == list(range(60))


# -- bounds


async def settle(run: Run) -> None:
    """Until nothing moves any more: all tasks wait, and no thread works."""
    while True:
        await wait_all_tasks_blocked(0.02)
        if not run.worker._calls:
            return


@pytest.mark.parametrize("cores", [1, 2])
async def test_parent_that_does_not_read_stops_the_worker_reading(
    source: Source, cores: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "MAX_FRAMES", 4)
    messages: list[wire.ToWorker] = [source.config, *pictures_of(source)]
    for turn in range(1, 6):
        messages += pictures_of(source, segments=[0], first=60 * turn, shift_ticks=turn * 180_000)
    sent = 0

    async with running(cores=cores, pair=lockstep_stream_one_way_pair) as run:

        async def feed() -> None:
            nonlocal sent
            for message in messages:
                await run.feed([message])
                sent += 1
            await run.finish()

        async with trio.open_nursery() as feeding:
            feeding.start_soon(feed)
            await settle(run)
            before = sent
            # Four frames of up to three pictures a rung that wait, one that is being written, and
            # the queues before them: far from the 361 messages there are.
            assert before < 60
            await settle(run)
            assert sent == before
            await run.read()
    assert run.exit_code == 0
    assert [each.number for each in run.output.coded()] == list(range(360))


async def test_slow_encoder_stops_the_worker_reading(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    release = threading.Event()
    encode = Lane.run

    def stuck(self: Lane, rows: Sequence[Row]) -> bytes:
        release.wait(30)
        return encode(self, rows)

    monkeypatch.setattr(Lane, "run", stuck)
    sent = 0

    async with running(pair=lockstep_stream_one_way_pair) as run:

        async def feed() -> None:
            nonlocal sent
            messages: list[wire.ToWorker] = [source.config, *pictures_of(source)]
            for message in messages:
                await run.feed([message])
                sent += 1
            await run.finish()

        async with trio.open_nursery() as feeding:
            feeding.start_soon(feed)
            feeding.start_soon(run.read)
            await wait_all_tasks_blocked(0.02)
            assert sent < 20
            release.set()
    assert run.exit_code == 0
    assert [each.number for each in run.output.coded()] == list(range(60))


async def test_sound_that_nobody_listens_to_is_dropped(source: Source) -> None:
    sounds = [wire.Audio(index, source.sounds[0][1]) for index in range(3 * worker.MAX_AUDIO)]
    async with running() as run:
        await run.feed([wire.AudioConfig(b"mp4a", source.asc), *sounds])
        await wait_all_tasks_blocked()
        assert len(run.worker._audio) == worker.MAX_AUDIO
        await run.finish()
        await run.read()
    assert run.exit_code == 0


# -- the heartbeat, and time


async def test_heart_beats_while_a_call_is_stuck(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "HEARTBEAT_S", 0.01)
    release = threading.Event()
    take = Intake.take

    def stuck(self: Intake, messages: Sequence[VideoInput]) -> list[Row]:
        release.wait(30)
        return take(self, messages)

    monkeypatch.setattr(Intake, "take", stuck)
    async with running() as run:
        await run.finish([source.config, *pictures_of(source)])
        await run.read(lambda output: sum(status.busy_s > 0 for status in output.statuses) >= 9)
        beats = [status.busy_s for status in run.output.statuses if status.busy_s]
        assert beats == sorted(set(beats))
        assert run.output.coded() == []
        release.set()
        await run.read()
    assert run.exit_code == 0
    assert run.output.statuses[-1].busy_s == 0


async def test_worker_whose_input_has_ended_does_not_wait_for_a_stuck_call(
    source: Source, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    release = threading.Event()
    monkeypatch.setattr(Intake, "take", lambda self, messages: release.wait(30))
    began_s = trio.current_time()
    async with running() as run:
        await run.finish([source.config, *pictures_of(source)[:2]])  # no more than its queue takes
        await run.read()
    release.set()
    assert run.exit_code == 1
    assert trio.current_time() - began_s == pytest.approx(worker.DRAIN_TIMEOUT_S)


async def test_worker_whose_input_has_ended_does_not_wait_for_a_parent_that_does_not_read(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(worker, "DRAIN_TIMEOUT_S", 0.2)
    async with running(pair=lockstep_stream_one_way_pair) as run:
        await run.finish([source.config, *pictures_of(source)])
    assert run.exit_code == 1


# -- faults


async def test_malformed_input_is_a_fault_behind_what_was_done(source: Source) -> None:
    async with running() as run:
        await run.feed([source.config, *pictures_of(source)[:10]])
        await run.read(lambda output: len(output.coded()) >= 5)
        await run.stdin.send_all(b"\0" * 8)
        await run.read()
    assert run.exit_code == 1
    assert run.output.faults == ["there is no frame of kind 0"]
    assert isinstance(run.output.messages[-1], wire.Fault)


@pytest.mark.parametrize(
    ("messages", "reason"),
    [
        ([wire.RungRate(2, 1)], "there is no rung 2"),
        ([wire.VideoConfig(b"vp08", b"")], "video codec b'vp08' is not supported"),
        ([wire.Picture(0, 0, True, True, b"x")], "a picture came before its configuration"),
    ],
)
async def test_messages_that_make_no_sense_are_a_fault(
    messages: list[wire.ToWorker], reason: str
) -> None:
    exit_code, output = await transcode(messages)
    assert exit_code == 1
    assert output.faults == [reason]


@pytest.mark.parametrize("cores", [1, 2])
async def test_encoder_that_is_not_there_is_a_fault(source: Source, cores: int) -> None:
    setup = setup_of(rung("90p"), rung("45p", encoder="libtheora"))
    exit_code, output = await transcode([source.config, *pictures_of(source)], setup, cores)
    assert exit_code == 1
    assert output.faults == ["there is no encoder 'libtheora'"]


async def test_end_within_a_frame_is_a_fault(source: Source) -> None:
    async with running() as run:
        await run.feed([source.config])
        await run.stdin.send_all(b"\3\0\0")
        await run.finish()
        await run.read()
    assert run.exit_code == 1
    assert run.output.faults == ["the stream ended within a frame"]


async def test_bug_is_a_fault_and_says_where(
    source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    def explode(self: Intake, messages: Sequence[VideoInput]) -> list[Row]:
        raise KeyError("x" * 10_000)

    monkeypatch.setattr(Intake, "take", explode)
    exit_code, output = await transcode([source.config])
    assert exit_code == 1
    (text,) = output.faults
    assert text.startswith("KeyError in explode:")
    assert len(text) < 300


async def test_fault_that_nobody_reads_is_not_waited_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    began_s = trio.current_time()
    async with running(pair=lockstep_stream_one_way_pair) as run:
        await run.stdin.send_all(b"\0" * 8)
    assert run.exit_code == 1
    assert trio.current_time() - began_s <= worker.FAULT_TIMEOUT_S + 0.1


async def test_parent_that_is_gone_ends_it(source: Source) -> None:
    async with running() as run:
        await run.feed([source.config, *pictures_of(source)[:5]])
        await run.stdout.aclose()  # and stdin stays open
    assert run.exit_code == 1


@pytest.mark.parametrize("after", [0, 1, 5, 30, 90])
async def test_cancelled_anywhere_it_ends_at_once(source: Source, after: int) -> None:
    to_worker, stdin = memory_stream_one_way_pair()
    stdout, from_worker = memory_stream_one_way_pair()
    run = Run(worker_of(SETUP, stdin, stdout), to_worker, from_worker)
    await run.feed([source.config, *pictures_of(source)])
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run.worker.run)
        await run.read(lambda output: len(output.messages) >= after)
        nursery.cancel_scope.cancel()
    assert nursery.cancel_scope.cancelled_caught


# -- before the loop, and words


def test_end_before_the_setup_is_no_work() -> None:
    assert read_setup(lambda: b"") is None


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (stream_of([SETUP])[:-1], "ended before the setup"),
        (b"GET / HTTP", "begins with"),
        (stream_of([wire.RungRate(0, 1)]), "first frame is no setup"),
    ],
)
def test_what_is_no_setup_is_refused(data: bytes, reason: str) -> None:
    pieces = iter([data])
    with pytest.raises(wire.WireError, match=reason):
        read_setup(lambda: next(pieces, b""))


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (TranscodeError("two\n lines"), "two lines"),
        (wire.WireError("bad"), "bad"),
        (MemoryError(), "out of memory"),
        (ExceptionGroup("", [ValueError(1), ExceptionGroup("", [TranscodeError("this")])]), "this"),
        (ExceptionGroup("", [TranscodeError("this"), MemoryError("that")]), "out of memory"),
        (ValueError(b"\0\1"), "ValueError in : \"b'\\\\x00\\\\x01'\""),
    ],
)
def test_fault_is_one_line(error: BaseException, text: str) -> None:
    assert fault_text(error) == text
