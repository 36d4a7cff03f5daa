"""A publisher's way in: keys, takeovers, media to playlist, ends from either side."""

from collections.abc import Callable
from typing import Any

import pytest
import rtmp_publishers as wire
import trio
from fake_peer import FakePeer
from media_clips import ClipSpec, make_clip
from structlog.testing import capture_logs
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from control import StoreError, StreamKey
from edge.events import EventBus
from edge.live import LiveStreams
from hls import MediaEvent, TimelineSettings
from hls.segmenter import Segmenter
from hls.segmenter_settings import SegmenterSettings
from origin.broadcast import SOURCE, Broadcasts
from origin.health.monitor import HealthMonitor
from origin.ingest import BITRATE_SPAN_S, Ingest, IngestSettings, Publication
from origin.rtmp.publisher import PublishDeniedError, PublishStoppedError
from origin.rtmp.server import RtmpServer
from rtmpcore import AudioMessage, PublishRefusal, RemoteProtocolError, VideoMessage

KEY = "live_0123456789abcdef0123456789abcdef"


class FakeStore:
    """Only what ingest and broadcasts ask of a store."""

    def __init__(self) -> None:
        self.fails = False

    async def find_key(self, key: str) -> StreamKey | None:
        await trio.lowlevel.checkpoint()
        if self.fails:
            raise StoreError("disk on fire")
        if key != KEY:
            return None
        return StreamKey(id="k", stream_id="s", label="first", created_at=0.0, expires_at=None)


class House:
    def __init__(self, reconnect_grace_s: float = 0.0, **settings: Any) -> None:
        self.now_s = 0.0
        self.live = LiveStreams()
        self.store = FakeStore()
        self.peers: list[FakePeer] = []
        self.broadcasts = Broadcasts(
            live=self.live,
            store=self.store,  # type: ignore[arg-type] # two methods are called
            timeline_settings=TimelineSettings(),
            reconnect_grace_s=reconnect_grace_s,
            clock=lambda: self.now_s,
        )
        self.ingest = Ingest(
            keys=self.store,  # type: ignore[arg-type]
            broadcasts=self.broadcasts,
            segmenter_settings=SegmenterSettings(),
            settings=IngestSettings(**settings),
        )

    async def admit(self, key: str = KEY) -> Publication:
        self.peers.append(FakePeer())
        return await self.ingest.admit(key, self.peers[-1])

    @property
    def cut_off(self) -> list[tuple[str, bool]]:
        """Who was hung up on, and how."""
        return [each for peer in self.peers for each in peer.hung_up]

    def playlist(self) -> str:
        stream = self.live.get("s")
        assert stream is not None
        return stream.renditions[SOURCE].timeline.playlist().decode()


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> wire.Media:
    spec = ClipSpec(name="ingest", duration_s=3.0, keyint_s=1.0)
    return wire.load_media(make_clip(spec, tmp_path_factory.mktemp("clip")).path)


@pytest.fixture(scope="module")
def larger(tmp_path_factory: pytest.TempPathFactory) -> wire.Media:
    spec = ClipSpec(name="larger", duration_s=3.0, keyint_s=1.0, width=640, height=360)
    return wire.load_media(make_clip(spec, tmp_path_factory.mktemp("clip")).path)


def push_all(publication: Publication, media: wire.Media, *, offset_ms: int = 0) -> None:
    publication.push(video(b"\x17\x00\x00\x00\x00" + media.avc_record))
    publication.push(audio(b"\xaf\x00" + media.aac_config))
    for kind, timestamp_ms, body in media.tags:
        make = video if kind == "video" else audio
        publication.push(make(body, timestamp_ms + offset_ms))


def video(payload: bytes, timestamp_ms: int = 0) -> VideoMessage:
    return VideoMessage(stream_id=1, timestamp_ms=timestamp_ms, payload=payload)


def audio(payload: bytes, timestamp_ms: int = 0) -> AudioMessage:
    return AudioMessage(stream_id=1, timestamp_ms=timestamp_ms, payload=payload)


async def test_unknown_keys_are_denied(house: House) -> None:
    with pytest.raises(PublishDeniedError, match=r"^unknown stream key$"):
        await house.admit("live_no")
    assert house.broadcasts.live("s") is None


async def sends_on(peer: FakePeer) -> None:
    """A publisher that is alive: a byte ten times a second."""
    while True:
        peer.heard_s = trio.current_time()
        await trio.sleep(0.1)


async def test_a_second_publisher_is_denied_while_the_first_sends(
    house: House, autojump_clock: MockClock
) -> None:
    first = await house.admit()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sends_on, house.peers[0])
        with pytest.raises(PublishDeniedError, match=r"^stream is already live$"):
            await house.admit()
        nursery.cancel_scope.cancel()
    assert house.cut_off == []
    first.close()
    (await house.admit()).close()


async def test_obs_reconnects_while_its_old_connection_is_half_open(
    media: wire.Media, autojump_clock: MockClock
) -> None:
    house = House(stale_s=2.0)  # with no grace at all: it is not lost, but replaced
    first = await house.admit()
    push_all(first, media)
    broadcast = house.broadcasts.live("s")
    await trio.sleep(0.5)
    began_s = trio.current_time()
    second = await house.admit()
    assert trio.current_time() - began_s == pytest.approx(1.5)
    assert house.broadcasts.live("s") is broadcast
    ((reason, for_good),) = house.cut_off
    assert "encoder is back" in reason
    assert for_good
    with pytest.raises(PublishStoppedError, match="over"):
        first.push(video(b"late"))
    first.close()  # as its connection does in the end; it ends nothing
    house.now_s += 5
    push_all(second, media)
    playlist = house.playlist()
    assert "#EXT-X-DISCONTINUITY\n" in playlist
    assert "#EXT-X-ENDLIST" not in playlist
    second.close(goodbye=True)


async def test_the_first_may_end_while_the_second_waits(
    house: House, autojump_clock: MockClock
) -> None:
    first = await house.admit()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(house.admit)
        await wait_all_tasks_blocked()
        first.close(goodbye=True)
    assert house.broadcasts.live("s") is not None
    assert house.cut_off == []


async def test_with_the_policy_takeover_the_second_wins_at_once(media: wire.Media) -> None:
    house = House(publish_policy="takeover")
    push_all(await house.admit(), media)
    second = await house.admit()
    assert house.cut_off == [("another publisher took over", True)]
    with pytest.raises(PublishDeniedError):  # a pull has no key, and yields
        house.ingest.take("s", FakePeer())
    push_all(second, media)
    second.close(goodbye=True)


async def test_few_may_wait_for_a_stream(house: House, autojump_clock: MockClock) -> None:
    denied: list[str] = []

    async def come() -> None:
        try:
            await house.admit()
        except PublishDeniedError as error:
            denied.append(f"{error} after {trio.current_time() - began_s:.1f} s")

    await house.admit()
    began_s = trio.current_time()
    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(come)
    # Two wait and see that it is gone: one has it, for the other it is taken again.
    assert sorted(denied) == [
        "stream is already live after 0.0 s",
        "stream is already live after 0.0 s",
        "stream is already live after 2.0 s",
    ]


async def test_a_full_and_a_stopping_server_say_so() -> None:
    house = House(max_publishers=1)
    first = await house.admit()
    with pytest.raises(PublishDeniedError, match="full") as denial:
        house.ingest.take("other", FakePeer())
    assert denial.value.refusal is PublishRefusal.REJECTED
    first.close()
    second = house.ingest.take("other", FakePeer())
    house.ingest.drain()
    second.close()
    with pytest.raises(PublishDeniedError, match="stopping"):
        await house.admit()


async def test_too_many_bits_stop_a_publisher(autojump_clock: MockClock) -> None:
    house = House(max_bitrate_kbps=1000)
    publication = await house.admit()
    second = 125_000
    for _ in range(2 * round(BITRATE_SPAN_S)):  # as many as it may
        publication.push(video(b"\x07" * second))
        await trio.sleep(1)
    for _ in range(12):  # two end the span, ten fill the next one
        publication.push(video(b"\x07" * second))
    with pytest.raises(PublishStoppedError, match=r"^more than 1000 kbit/s"):
        publication.push(video(b"\x07" * second))
    publication.close()
    assert house.broadcasts.live("s") is None  # its media is of no use: nobody waits for it


@pytest.mark.parametrize(("most", "passes"), [(360, True), (359, False), (0, True)])
async def test_too_large_a_picture_stops_a_publisher(
    larger: wire.Media, most: int, passes: bool
) -> None:
    house = House(max_height=most)
    publication = await house.admit()
    if passes:
        push_all(publication, larger)
    else:
        with pytest.raises(PublishStoppedError, match=r"640x360: 359 lines are the most here$"):
            push_all(publication, larger)
    publication.close()


async def test_a_store_that_fails_denies_without_details(house: House) -> None:
    house.store.fails = True
    with capture_logs() as logs, pytest.raises(PublishDeniedError) as denial:
        await house.admit()
    assert "fire" not in str(denial.value)
    assert logs[0]["reason"] == "disk on fire"
    assert KEY not in repr(logs)


async def test_a_part_can_be_fetched_when_push_returns(house: House, media: wire.Media) -> None:
    publication = await house.admit()
    assert publication.stream_id == "s"
    push_all(publication, media)
    playlist = house.playlist()
    assert playlist.count("#EXTINF") >= 1
    assert "EXT-X-PRELOAD-HINT" in playlist


async def test_the_end_of_a_publisher_ends_its_broadcast_after_its_last_frames(
    house: House, media: wire.Media
) -> None:
    publication = await house.admit()
    push_all(publication, media)
    before = house.playlist()
    publication.close()
    assert len(house.playlist()) > len(before)
    assert house.broadcasts.live("s") is None
    assert house.cut_off == []  # it went by itself


async def test_the_end_of_a_broadcast_hangs_up_on_its_publisher(
    house: House, media: wire.Media
) -> None:
    publication = await house.admit()
    push_all(publication, media)
    house.broadcasts.end_stream("s", "ended by API")
    assert house.cut_off == [("ended by API", True)]
    with pytest.raises(PublishStoppedError):
        push_all(publication, media)
    publication.close()
    assert house.cut_off == [("ended by API", True)]


async def test_an_early_end_leaves_what_there_was(house: House, media: wire.Media) -> None:
    publication = await house.admit()
    publication.push(video(b"\x17\x00\x00\x00\x00" + media.avc_record))
    frames = [(at, body) for kind, at, body in media.tags if kind == "video"]
    for timestamp_ms, body in frames[:10]:
        publication.push(video(body, timestamp_ms))
    publication.close()
    assert "#EXTINF" in house.playlist()


async def test_an_end_without_any_frame_leaves_nothing(house: House, media: wire.Media) -> None:
    publication = await house.admit()
    publication.push(video(b"\x17\x00\x00\x00\x00" + media.avc_record))
    publication.close()
    assert house.live.get("s") is None


async def test_another_picture_size_is_a_discontinuity_with_its_own_init_section(
    house: House, media: wire.Media, larger: wire.Media
) -> None:
    publication = await house.admit()
    push_all(publication, media)
    push_all(publication, larger, offset_ms=media.duration_ms)
    playlist = house.playlist()
    assert "#EXT-X-DISCONTINUITY\n" in playlist
    assert playlist.count("#EXT-X-MAP") == 2


async def test_unusable_media_stops_the_publication_in_words(house: House) -> None:
    publication = await house.admit()
    with pytest.raises(PublishStoppedError, match=r"^unusable media: audio codec 14 is not"):
        publication.push(audio(b"\xefdata"))


async def test_broken_pictures_stop_the_publication_and_its_end_is_clean(
    house: House, media: wire.Media
) -> None:
    publication = await house.admit()
    push_all(publication, media)
    with pytest.raises(PublishStoppedError, match="NAL unit"):
        publication.push(video(b"\x27\x01\x00\x00\x00\xff\xff\xff\xff", media.duration_ms))
    publication.close()
    assert house.broadcasts.live("s") is None


async def test_malformed_tags_are_the_peers_fault(house: House) -> None:
    publication = await house.admit()
    with pytest.raises(RemoteProtocolError):
        publication.push(video(b"\x17\x01"))


async def test_cancelled_admission_takes_no_stream(house: House) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await house.admit()
    assert house.broadcasts.live("s") is None


@pytest.mark.parametrize("end", ["publisher", "api"])
async def test_a_bug_at_the_end_leaves_no_half_state(
    house: House, media: wire.Media, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    """Whatever goes wrong in one publisher's media, its stream can be published to again."""

    def fail(_self: Segmenter) -> list[MediaEvent]:
        raise ZeroDivisionError

    publication = await house.admit()
    push_all(publication, media)
    monkeypatch.setattr(Segmenter, "flush", fail)
    ends = {
        "api": lambda: house.broadcasts.end_stream("s", "ended by API"),
        "publisher": publication.close,
    }
    with pytest.raises(ZeroDivisionError):
        ends[end]()
    assert house.cut_off == ([("ended by API", True)] if end == "api" else [])
    assert house.broadcasts.live("s") is None
    monkeypatch.undo()
    publication.close()
    again = await house.admit()
    push_all(again, media)
    again.close()
    assert "#EXTINF" in house.playlist()


class BrokenLadder:
    """A ladder with a bug in one of its steps."""

    def __init__(self, broken: str) -> None:
        self._broken = broken
        self.abandoned = 0
        self.steps: list[str] = []

    def __getattr__(self, step: str) -> Callable[..., None]:
        def take(*_arguments: object, **_options: object) -> None:
            self.steps.append(step)
            if step == self._broken:
                raise ZeroDivisionError

        return take

    def abandon(self) -> None:
        self.abandoned += 1


@pytest.mark.parametrize("broken", ["take_picture", "take_audio", "decide", "follow"])
async def test_a_bug_in_the_ladder_does_not_touch_the_source(
    house: House, media: wire.Media, broken: str
) -> None:
    ladder = BrokenLadder(broken)

    class OneLadder:
        max_gop_s = 4.0

        def open(self, *_arguments: object) -> BrokenLadder:
            return ladder

    publication = Publication(
        "s",
        house.broadcasts,
        SegmenterSettings(),
        FakePeer(),
        transcoding=OneLadder(),  # type: ignore[arg-type] # what a publication asks of it
    )
    with capture_logs() as logs:
        push_all(publication, media)
    publication.close()
    assert house.playlist().count("#EXTINF") == 2
    assert ladder.abandoned == 1
    assert ladder.steps.count(broken) == 1
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == [
        "transcoding failed"
    ]


# -- a publisher that is lost, and the next one


@pytest.fixture
def patient() -> House:
    """A house where broadcasts wait a minute for their publishers."""
    return House(60.0)


def segments(playlist: str) -> list[dict[str, str]]:
    """What is said of each segment: its tags by name, its URI as "uri"."""
    said: list[dict[str, str]] = [{}]
    for line in playlist.splitlines():
        name, _, value = line.partition(":")
        if name == "#EXT-X-PART":
            continue
        if line.startswith("#"):
            said[-1][name] = value
        else:
            said[-1]["uri"] = line
            said.append({})
    return said[:-1]


async def test_the_next_publisher_goes_on_with_the_broadcast(
    patient: House, media: wire.Media
) -> None:
    first = await patient.admit()
    push_all(first, media)
    patient.now_s += 3
    first.close()
    broadcast = patient.broadcasts.live("s")
    before = patient.playlist()
    assert "EXT-X-ENDLIST" not in before
    assert len(segments(before)) == 2  # of two seconds and of one: what was half cut is out
    patient.now_s += 10
    second = await patient.admit()
    push_all(second, media, offset_ms=media.duration_ms)  # as if nothing had been
    assert patient.broadcasts.live("s") is broadcast
    after = segments(patient.playlist())
    assert after[:2] == segments(before)
    assert "#EXT-X-DISCONTINUITY" in after[2]
    assert "#EXT-X-MAP" not in after[2]  # the same encoder, the same init section
    assert after[2]["#EXT-X-PROGRAM-DATE-TIME"] == "1970-01-01T00:00:13.000Z"
    token = after[0]["uri"].split("-")[1]
    assert [segment["uri"] for segment in after] == [f"seg-{token}-{n}.m4s" for n in range(3)]
    assert patient.cut_off == []


async def test_the_next_publisher_may_send_something_else(
    patient: House, media: wire.Media, larger: wire.Media
) -> None:
    push_all(first := await patient.admit(), media)
    first.close()
    push_all(await patient.admit(), larger)
    third = segments(patient.playlist())[2]
    assert "#EXT-X-DISCONTINUITY" in third
    assert third["#EXT-X-MAP"].endswith('-1.mp4"')


async def test_a_broadcast_after_a_crash_goes_on_in_numbers_and_in_media_time(
    media: wire.Media,
) -> None:
    """Another process, another broadcast, the same URL: nothing goes back under a viewer."""
    seen = []
    for now_s in (100_000.25, 100_004.5):
        house = House()
        house.now_s = now_s
        push_all(await house.admit(), media)
        stream = house.live.get("s")
        assert stream is not None
        seen.append((house.playlist(), stream.renditions[SOURCE].timeline.segments))
    (before, ended), (after, begun) = seen
    assert begun[0].msn == 100_004 > ended[-1].msn >= 100_000
    assert "#EXT-X-MEDIA-SEQUENCE:100000\n" in before
    assert "#EXT-X-MEDIA-SEQUENCE:100004\n" in after
    # From midnight: 100,000 s are a day and 13,600 s.
    assert ended[0].start_ns / 1e9 == pytest.approx(13_600.25)
    assert begun[0].start_ns / 1e9 == pytest.approx(13_604.5)
    assert segments(after)[0]["#EXT-X-PROGRAM-DATE-TIME"] == "1970-01-02T03:46:44.500Z"


async def test_a_publisher_that_says_goodbye_is_not_waited_for(
    patient: House, media: wire.Media
) -> None:
    publication = await patient.admit()
    push_all(publication, media)
    publication.close(goodbye=True)
    assert patient.broadcasts.live("s") is None
    assert len(segments(patient.playlist())) == 2


@pytest.mark.parametrize("frames", [0, 1, 20, 40])
async def test_nothing_is_shown_of_a_first_segment_that_was_never_complete(
    patient: House, media: wire.Media, frames: int
) -> None:
    """Lost before its first frame, while the second track is awaited, or while it is probed."""
    first = await patient.admit()
    first.push(video(b"\x17\x00\x00\x00\x00" + media.avc_record))
    pictures = [(at, body) for kind, at, body in media.tags if kind == "video"]
    for timestamp_ms, body in pictures[:frames]:
        first.push(video(body, timestamp_ms))
    first.close()
    assert patient.broadcasts.live("s") is not None
    patient.now_s += 10
    second = await patient.admit()
    push_all(second, media)
    (segment,) = segments(patient.playlist())
    assert "#EXT-X-DISCONTINUITY" not in segment
    assert segment["#EXT-X-PROGRAM-DATE-TIME"] == "1970-01-01T00:00:10.000Z"
    assert segment["uri"].endswith("-0.m4s")


async def test_a_configuration_without_a_frame_of_it_does_not_move_the_clock(
    patient: House, media: wire.Media
) -> None:
    """A frame came, then another configuration and nothing more: media began, and has no tracks."""
    first = await patient.admit()
    first.push(video(b"\x17\x00\x00\x00\x00" + media.avc_record))
    first.push(video(media.tags[0][2]))
    first.push(video(b"\x17\x00\x00\x00\x00" + media.avc_record + bytes(1)))
    first.close()
    patient.now_s += 10
    push_all(await patient.admit(), media)
    (segment,) = segments(patient.playlist())
    assert segment["#EXT-X-PROGRAM-DATE-TIME"] == "1970-01-01T00:00:10.000Z"


async def test_a_broadcast_whose_media_cannot_go_on_does_not_wait(
    patient: House, media: wire.Media
) -> None:
    publication = await patient.admit()
    push_all(publication, media)
    with pytest.raises(PublishStoppedError):
        publication.push(audio(b"\xefdata"))
    publication.close()
    assert patient.broadcasts.live("s") is None


async def test_a_publisher_that_breaks_the_protocol_may_try_again(
    patient: House, media: wire.Media
) -> None:
    publication = await patient.admit()
    push_all(publication, media)
    with pytest.raises(RemoteProtocolError):
        publication.push(video(b"\x17\x01"))
    publication.close()
    assert patient.broadcasts.live("s") is not None


@pytest.mark.parametrize("step", ["push", "interrupt"])
async def test_a_bug_in_the_packager_is_not_met_again_by_the_next_publisher(
    patient: House, media: wire.Media, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    def fail(*_arguments: object) -> list[MediaEvent]:
        raise ZeroDivisionError

    publication = await patient.admit()
    push_all(publication, media)
    monkeypatch.setattr(Segmenter, step, fail)
    if step == "push":
        with pytest.raises(ZeroDivisionError):
            publication.push(audio(media.tags[-1][2], media.duration_ms))
        publication.close()
    else:
        with pytest.raises(ZeroDivisionError):
            publication.close()
    assert patient.broadcasts.live("s") is None


async def test_an_end_by_api_while_nobody_publishes_shows_what_there_was(
    patient: House, media: wire.Media
) -> None:
    publication = await patient.admit()
    publication.push(video(b"\x17\x00\x00\x00\x00" + media.avc_record))
    for kind, timestamp_ms, body in media.tags[:60]:
        if kind == "video":
            publication.push(video(body, timestamp_ms))
    publication.close()
    assert patient.live.get("s") is not None
    patient.broadcasts.end_stream("s", "ended by API")
    assert len(segments(patient.playlist())) == 1
    assert patient.cut_off == []


async def test_a_lost_publisher_empties_the_worker_and_keeps_the_ladder(
    patient: House, media: wire.Media
) -> None:
    ladder = BrokenLadder("nothing")

    class OneLadder:
        max_gop_s = 4.0

        def __init__(self) -> None:
            self.opened = 0

        def open(self, *_arguments: object) -> BrokenLadder:
            self.opened += 1
            return ladder

    transcoding = OneLadder()
    for _ in range(2):
        publication = Publication(
            "s",
            patient.broadcasts,
            SegmenterSettings(),
            FakePeer(),
            transcoding=transcoding,  # type: ignore[arg-type] # what a packager asks of it
        )
        push_all(publication, media)
        publication.close()
    patient.broadcasts.end_stream("s", "ended by API")
    assert transcoding.opened == 1
    steps = [step for step in ladder.steps if step in ("set_tracks", "interrupt", "close")]
    assert steps == ["set_tracks", "interrupt", "set_tracks", "interrupt", "close"]


# -- over RTMP


async def run_publisher(house: House, bytes_: bytes, *, cancel: bool = False) -> None:
    """One connection from the first byte to its end; nobody is left behind."""
    server = RtmpServer(admit=house.ingest.admit)
    peer, served = memory_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.serve_stream, served, "192.0.2.1")
        await peer.send_all(bytes_)
        await wait_all_tasks_blocked()
        if cancel:
            nursery.cancel_scope.cancel()
        await peer.aclose()


def published(media: wire.Media, *, goodbye: bool) -> bytes:
    frames = b"".join(data for _, data in media.messages())
    return wire.opening(KEY) + media.headers + frames + (wire.unpublish(KEY) if goodbye else b"")


async def test_a_line_that_breaks_is_waited_for_and_a_goodbye_is_an_end(
    patient: House, media: wire.Media
) -> None:
    await run_publisher(patient, published(media, goodbye=False))
    broadcast = patient.broadcasts.live("s")
    assert broadcast is not None
    await run_publisher(patient, published(media, goodbye=False))
    assert patient.broadcasts.live("s") is broadcast
    await run_publisher(patient, published(media, goodbye=True))
    assert patient.broadcasts.live("s") is None
    said = segments(patient.playlist())
    assert [int(segment["uri"].split("-")[2][:-4]) for segment in said] == list(range(6))
    breaks = [number for number, tags in enumerate(said) if "#EXT-X-DISCONTINUITY" in tags]
    assert breaks == [2, 4]


@pytest.mark.parametrize("checkpoints", range(0, 24, 3))
async def test_a_publisher_cancelled_anywhere_leaves_a_stream_that_can_be_published_to(
    patient: House, media: wire.Media, checkpoints: int
) -> None:
    half = published(media, goodbye=False)
    half = half[: len(half) * checkpoints // 24]
    await run_publisher(patient, half, cancel=True)
    await run_publisher(patient, published(media, goodbye=True))
    assert patient.broadcasts.live("s") is None
    assert "#EXTINF" in patient.playlist()


async def test_health_knows_what_comes(media: wire.Media, autojump_clock: MockClock) -> None:
    house = House()
    health = HealthMonitor(broadcasts=house.broadcasts, events=EventBus())
    house.ingest = Ingest(
        keys=house.store,  # type: ignore[arg-type]
        broadcasts=house.broadcasts,
        segmenter_settings=SegmenterSettings(),
        health=health,
    )
    async with trio.open_nursery() as nursery:
        await nursery.start(health.run)
        publication = await house.admit()
        publication.describe({"encoder": "tester"})
        push_all(publication, media)
        await trio.sleep(1.1)
        report = health.report("s")
        assert report is not None
        assert report.publisher.encoder == "tester"
        assert report.publisher.video is not None
        assert report.publisher.audio is not None
        assert report.figures is not None
        assert report.figures.bitrate_kbps > 10
        assert report.figures.keyframe_interval_seconds == pytest.approx(1.0, abs=0.05)
        publication.close()
        assert health.report("s") is None
        nursery.cancel_scope.cancel()
