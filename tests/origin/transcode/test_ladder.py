"""The ladder between segmenter, worker and viewers; the test plays the worker."""

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from media_samples import Frame, Source, avc_record, picture, x264_options

from edge.http.response import Response
from edge.table import Gate
from hls import MediaError
from hls.request import Directives
from origin.broadcast import SOURCE
from origin.transcode import wire
from origin.transcode.feed import MAX_FEED_BYTES
from origin.transcode.in_flight import REORDERED
from origin.transcode.ladder import MAX_START_LAG_S
from origin.transcode.pressure import HIGH_LAG_S, MAX_LAG_S, PATIENCE_S

if TYPE_CHECKING:
    from .conftest import Show

TWO_SECONDS = Source(duration_s=8.0)
LONG_GOP = Source(
    duration_s=12.0,
    gop=250,
    first_sei=x264_options("keyint=250 keyint_min=25 scenecut=40"),
)


class Worker:
    """Reads what a ladder feeds, and answers each picture in each rung that is on."""

    def __init__(self, show: "Show") -> None:
        self.show = show
        self.reader = wire.ToWorkerReader()
        self.messages: list[wire.ToWorker] = []
        self.divisors: list[int] = []
        self.pending: deque[wire.Picture] = deque()
        self.configured: set[int] = set()

    async def read(self) -> None:
        """Take what waits in the feed."""
        while self.show.ladder.feed.size_bytes:
            for message in self.reader.feed(await self.show.ladder.feed.take()):
                self.messages.append(message)
                if isinstance(message, wire.Setup):
                    self.divisors = [rung.divisor for rung in message.rungs]
                elif isinstance(message, wire.RungRate):
                    self.divisors[message.rung] = message.divisor
                elif isinstance(message, wire.Picture):
                    self.pending.append(message)

    def answer(self, count: int | None = None) -> None:
        """Give back pictures that were read, all by default."""
        for _ in range(len(self.pending) if count is None else count):
            message = self.pending.popleft()
            for rung, divisor in enumerate(self.divisors):
                if divisor:
                    self.say(rung, message)

    def say(self, rung: int, message: wire.Picture) -> None:
        ladder = self.show.ladder
        is_idr = message.begins_segment or rung not in self.configured
        if rung not in self.configured:
            ladder.take_message(wire.RungConfig(rung, b"avc1", avc_record()))
            self.configured.add(rung)
        data = picture(idr=is_idr, number=message.number)
        ladder.take_message(wire.Coded(rung, message.number, message.pts_ticks, is_idr, data))

    async def follow(self, frames: Iterator[Frame] | list[Frame]) -> None:
        """Answer everything that a publisher sends, at once."""
        for frame in frames:
            self.show.push(frame)
            await self.read()
            self.answer()


def lines(text: str) -> list[str]:
    """A playlist without what names the rendition's own bytes."""
    return [line for line in text.splitlines() if line.startswith("#EXT")]


def master(show: "Show") -> str:
    answer = show.live.master()
    assert isinstance(answer, Response)
    return b"".join(answer.chunks).decode()


def is_held(show: "Show") -> bool:
    return isinstance(show.live.master(), Gate)


def listed(show: "Show") -> list[str]:
    return [
        line.partition("/")[0]
        for line in master(show).splitlines()
        if line and not line.startswith("#")
    ]


async def test_every_rendition_has_the_source_s_segments_and_parts(show: "Show") -> None:
    await Worker(show).follow(TWO_SECONDS.frames())
    assert listed(show) == [SOURCE, "480p", "360p"]
    assert lines(show.playlist("480p")) == lines(show.playlist())
    assert show.playlist("360p") == show.playlist("480p")
    assert show.rendition("480p").timeline.last_part == show.source.timeline.last_part


async def test_what_goes_to_the_worker(show: "Show") -> None:
    worker = Worker(show)
    await worker.follow(TWO_SECONDS.frames())
    setup, video, *others = worker.messages
    assert isinstance(setup, wire.Setup)
    assert [(rung.name, rung.divisor) for rung in setup.rungs] == [("480p", 1), ("360p", 1)]
    assert video == wire.VideoConfig(b"avc1", avc_record())
    pictures = [message for message in others if isinstance(message, wire.Picture)]
    assert [message.number for message in pictures] == list(range(240))
    assert [message.number for message in pictures if message.begins_segment] == [0, 60, 120, 180]
    assert [message.number for message in pictures if message.begins_epoch] == [0]
    assert [message.pts_ticks for message in pictures[:3]] == [0, 33 * 90, 67 * 90]
    assert sum(isinstance(message, wire.Audio) for message in others) == 375
    assert sum(isinstance(message, wire.AudioConfig) for message in others) == 1


async def test_new_viewers_wait_for_the_rungs_but_not_for_ever(show: "Show") -> None:
    worker = Worker(show)
    for frame in Source(duration_s=2.5).frames():
        show.push(frame)
    assert show.source.timeline.ready
    assert is_held(show)
    await worker.read()
    worker.answer()
    assert listed(show) == [SOURCE, "480p", "360p"]


async def test_rungs_that_do_not_come_are_given_up(show: "Show") -> None:
    for frame in Source(duration_s=2.5).frames():
        show.push(frame)
    assert show.ladder.begun.is_set()
    show.ladder.stop_expecting()
    assert listed(show) == [SOURCE]


async def test_a_worker_that_dies_leaves_gaps_and_the_next_one_goes_on(show: "Show") -> None:
    frames = TWO_SECONDS.frames()
    worker = Worker(show)
    third = next(i for i, frame in enumerate(frames) if frame.is_video and frame.dts_ms > 3000)
    await worker.follow(frames[:third])
    show.ladder.end_life("crash")
    for frame in frames[third : third + 10]:
        show.push(frame)
    show.ladder.begin_life()
    await Worker(show).follow(frames[third + 10 :])
    text = show.playlist("480p")
    assert text.count("#EXT-X-GAP") == 1
    assert "GAP=YES" in text
    assert show.ladder.restarts == 1
    # Segment 1 is broken from the crash on; segment 2 begins with the next keyframe.
    timeline = show.rendition("480p").timeline
    assert [segment.gap for segment in timeline.segments] == [False, True, False]
    assert [segment.duration_us for segment in timeline.segments] == [
        segment.duration_us for segment in show.source.timeline.segments
    ]
    assert "GAP" not in show.playlist()


async def test_a_rendition_with_a_gap_at_its_edge_is_hidden_from_new_viewers(show: "Show") -> None:
    frames = TWO_SECONDS.frames()
    worker = Worker(show)
    half = len(frames) // 2 + 30
    await worker.follow(frames[:half])
    show.ladder.end_life("crash")
    for frame in frames[half : half + 30]:
        show.push(frame)
    assert listed(show) == [SOURCE]
    answer = show.rendition("480p").playlist(Directives())
    assert isinstance(answer, Response)
    show.ladder.begin_life()
    await Worker(show).follow(frames[half + 30 :])
    assert listed(show) == [SOURCE, "480p", "360p"]


async def test_a_source_with_long_gops_is_replaced_by_the_stand_in(stage: "type[Show]") -> None:
    show = stage(rungs=("480p",), stand_in="720p")
    await Worker(show).follow(LONG_GOP.frames())
    assert show.booked == 1
    assert listed(show) == ["720p", "480p"]
    assert "#EXT-X-TARGETDURATION:2\n" in show.playlist("720p")
    # Nothing says the frame rate, so what 250 frames are is known with the first segment.
    assert show.rendition("720p").timeline.segments[0].msn == 1
    (advice,) = show.ladder.health().advice
    assert advice == "keyframe interval 8.3 s: set 2 s in OBS"
    assert show.ladder.health().renditions == ("720p", "480p")


async def test_a_stand_in_is_off_where_the_source_will_do(stage: "type[Show]") -> None:
    show = stage(rungs=("480p",), stand_in="720p")
    worker = Worker(show)
    await worker.follow(TWO_SECONDS.frames())
    assert (show.booked, worker.divisors) == (0, [0, 1])
    assert listed(show) == [SOURCE, "480p"]
    assert show.ladder.health().advice == ()
    assert show.ladder.health().renditions == ("480p",)


async def test_long_gops_that_nobody_declared_are_found_out_by_waiting(
    stage: "type[Show]",
) -> None:
    show = stage(rungs=("480p",), stand_in="720p")
    await Worker(show).follow(Source(duration_s=12.0, gop=250).frames())
    assert listed(show) == ["720p", "480p"]
    # What was held for four seconds has its cuts in the rung that was on all the time.
    assert [segment.gap for segment in show.rendition("480p").timeline.segments][:3] == [
        False,
        False,
        False,
    ]


async def test_when_transcoding_is_given_up_the_source_is_shown_whatever_it_is(
    stage: "type[Show]",
) -> None:
    show = stage(rungs=("480p",), stand_in="720p")
    frames = LONG_GOP.frames()
    await Worker(show).follow(frames[: len(frames) // 2])
    assert SOURCE not in listed(show)
    show.ladder.end_life("crash")
    show.ladder.give_up()
    for frame in frames[len(frames) // 2 :]:
        show.push(frame)
    assert listed(show) == [SOURCE]
    assert show.ladder.health().renditions == ()
    assert "off for this broadcast" in show.ladder.health().advice[-1]


async def test_lag_cuts_the_ladder_back_and_calm_brings_it_back(show: "Show") -> None:
    frames = Source(duration_s=40.0).frames()
    worker = Worker(show)
    now_s = 0.0
    lagging = True
    for frame in frames:
        placed = show.push(frame)
        await worker.read()
        if placed is None:
            continue
        now_s += 1 / 30
        show.ladder.observe(now_s)
        behind = REORDERED + int(30 * (HIGH_LAG_S + 0.1)) if lagging else 1
        worker.answer(max(0, len(worker.pending) - behind))
        lagging = lagging and worker.divisors[0] != 0
    assert worker.divisors == [1, 1]
    assert not lagging, "the top rung was never shed"
    gaps = [segment.gap for segment in show.rendition("480p").timeline.segments]
    assert any(gaps)
    assert not gaps[-1]
    assert not any(segment.gap for segment in show.rendition("360p").timeline.segments)
    assert listed(show) == [SOURCE, "480p", "360p"]
    text = show.metrics_text()
    assert 'headrace_transcode_level{stream="s"} 0.0' in text
    assert 'headrace_transcode_gaps_total{rendition="480p",stream="s"}' in text


async def test_far_behind_everything_that_waits_is_thrown_away(show: "Show") -> None:
    worker = Worker(show)
    skipped_at = None
    now_s = 0.0
    for frame in Source(duration_s=14.0).frames():
        placed = show.push(frame)
        if placed is None:
            continue
        now_s += 1 / 30
        stuck = 90 < placed.number <= 180
        if not stuck:
            await worker.read()
            worker.answer()
        show.ladder.observe(now_s)
        if stuck and skipped_at is None and show.ladder.lag_s is None:
            skipped_at = placed.number
    assert skipped_at == pytest.approx(90 + REORDERED + 30 * MAX_LAG_S, abs=3)
    flags = [segment.gap for segment in show.rendition("360p").timeline.segments]
    assert (flags[1], flags[-1]) == (True, False)
    first_again = [m for m in worker.messages if isinstance(m, wire.Picture) and m.begins_epoch]
    assert [message.number for message in first_again] == [0, 180]


async def test_a_worker_may_take_its_time_to_start(show: "Show") -> None:
    now_s = 0.0
    for frame in Source(duration_s=MAX_START_LAG_S + 4).frames():
        show.push(frame)
        now_s += 1 / 77
        show.ladder.observe(now_s)
        if show.ladder.lag_s is not None and now_s < MAX_START_LAG_S - 1:
            assert show.ladder.feed.size_bytes > 0
    assert show.ladder.health().level == 0


async def test_the_feed_is_bounded_in_bytes(show: "Show") -> None:
    big = MAX_FEED_BYTES // 20
    for number in range(60):
        show.push(
            Frame(
                is_video=True,
                dts_ms=33 * number,
                pts_ms=33 * number,
                idr=number == 0,
                data=picture(idr=number == 0, number=number, size=big),
            )
        )
        assert show.ladder.feed.size_bytes <= MAX_FEED_BYTES
    assert show.ladder.lag_s is None  # it waits for the next keyframe


async def test_the_end_of_a_broadcast_ends_its_rungs(show: "Show") -> None:
    worker = Worker(show)
    await worker.follow(Source(duration_s=5.0).frames())
    events = show.segmenter.flush()
    show.source.publish(events)
    show.ladder.follow(events)
    show.ladder.close()
    show.ladder.end_life(None)
    show.ladder.finish()
    show.ladder.finish()
    assert show.ladder.closed.is_set()
    timeline = show.rendition("480p").timeline
    assert timeline.open_segment is None
    assert [segment.msn for segment in timeline.segments] == [0, 1, 2]
    assert "GAP" not in show.playlist("480p")


async def test_other_tracks_go_to_the_worker_with_their_first_picture(show: "Show") -> None:
    from .conftest import DRIVER

    worker = Worker(show)
    await worker.follow(Source(duration_s=3.0).frames())
    events = show.segmenter.reconfigure(video=DRIVER.other_video, audio=DRIVER.other_audio)
    show.source.publish(events)
    show.ladder.follow(events)
    show.ladder.set_tracks(DRIVER.other_video, DRIVER.other_audio)
    await worker.follow(Source(duration_s=3.0, start_ms=3000, audio_rate=44_100).frames())
    kinds = [type(message).__name__ for message in worker.messages]
    assert kinds.count("VideoConfig") == kinds.count("AudioConfig") == 2
    text = show.playlist("480p")
    assert text.count("#EXT-X-DISCONTINUITY\n") == 1
    assert lines(text) == lines(show.playlist())


async def test_the_next_publisher_meets_the_same_worker_and_rungs(show: "Show") -> None:
    from .conftest import DRIVER

    worker = Worker(show)
    await worker.follow(Source(duration_s=5.0).frames()[:-5])
    assert show.ladder.lag_s == 0
    behind = worker.messages[-1]
    show.push(Source(duration_s=5.0).frames()[-1])
    show.interrupt()
    await worker.read()
    # The decoder is emptied by its own configuration, and what it held comes back.
    drained = worker.messages[worker.messages.index(behind) + 1 :]
    assert drained[-1] == wire.VideoConfig(b"avc1", DRIVER.video.record)
    worker.answer()
    assert lines(show.playlist("480p")) == lines(show.playlist())
    before = len(worker.messages)
    events = show.segmenter.reconnect(video=DRIVER.video, audio=DRIVER.audio, media_time_s=15.0)
    assert events == []
    now_s = 100.0
    for frame in Source(duration_s=5.0).frames():
        show.push(frame)
        show.ladder.observe(now_s)  # ten seconds without a picture are no lag
        await worker.read()
        worker.answer()
        now_s += 1 / 77
    pictures = [m for m in worker.messages[before:] if isinstance(m, wire.Picture)]
    assert [m.begins_epoch for m in pictures][:2] == [True, False]
    assert pictures[0].pts_ticks == 15 * 90_000
    text = show.playlist("480p")
    assert text.count("#EXT-X-DISCONTINUITY\n") == 1
    assert "GAP" not in text
    assert lines(text) == lines(show.playlist())
    assert show.ladder.health().level == 0


async def test_an_interruption_before_the_first_keyframe_or_behind_a_skip_says_nothing(
    show: "Show",
) -> None:
    worker = Worker(show)
    await worker.read()
    said = len(worker.messages)
    show.interrupt()
    await worker.read()
    assert len(worker.messages) == said == 1  # the set-up


async def test_a_worker_that_makes_no_sense_is_our_error_to_notice(show: "Show") -> None:
    await Worker(show).follow(Source(duration_s=1.0).frames())
    with pytest.raises(MediaError):
        show.ladder.take_message(wire.RungConfig(0, b"avc1", b"nonsense"))
    show.ladder.begin_life()
    with pytest.raises(MediaError, match="before its configuration"):
        show.ladder.take_message(wire.Coded(0, 1, 0, True, b"data"))
    show.ladder.take_message(wire.Coded(0, 1, 0, False, b""))
    with pytest.raises(IndexError):
        show.ladder.take_message(wire.Coded(7, 1, 0, True, b"data"))


async def test_the_worker_s_report_reaches_health_and_metrics(show: "Show") -> None:
    await Worker(show).follow(Source(duration_s=3.0).frames())
    rung = wire.RungStatus(frames=60, bytes=1, encode_s=1.0, newest_pts_ticks=None)
    show.ladder.take_message(
        wire.Status(
            decoded=60,
            decode_errors=3,
            lost=1,
            newest_pts_ticks=None,
            rungs=(rung, rung),
            black=True,
            frozen=False,
            silent=None,
            av_drift_s=0.1,
            busy_s=0.0,
            rss_bytes=1,
        )
    )
    figures = show.ladder.health().figures
    assert figures is not None
    assert [(one.rendition, one.speed_ratio) for one in figures.rungs] == [
        ("480p", 2.0),
        ("360p", 2.0),
    ]
    assert figures.black
    lag_s = figures.rungs[0].lag_s
    assert lag_s is not None
    assert 0 <= lag_s < PATIENCE_S
    assert 'headrace_transcode_decode_errors_total{stream="s"} 3.0' in show.metrics_text()


async def test_audio_without_pictures_is_passed_on_in_the_rungs(show: "Show") -> None:
    """A publisher whose camera goes off for two seconds: parts of audio, in every rendition."""
    frames = [
        frame
        for frame in Source(duration_s=9.0).frames()
        if not frame.is_video or not 4500 < frame.dts_ms < 7000
    ]
    await Worker(show).follow(frames)
    text = show.playlist("360p")
    assert "GAP" not in text
    rung, source = show.rendition("360p").timeline, show.source.timeline
    assert rung.last_part == source.last_part
    assert [(segment.msn, segment.duration_us) for segment in rung.segments] == [
        (segment.msn, segment.duration_us) for segment in source.segments
    ]
