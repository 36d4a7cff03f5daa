"""Tracks of one picture as renditions: real media, then slots and pictures by hand."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from enhanced_media import (
    AudioTrack,
    EnhancedMedia,
    Track,
    VideoTrack,
    load_enhanced,
    make_enhanced_clip,
    repacked,
)
from quiet_feed import QuietFeed
from structlog.testing import capture_logs

from edge.http.response import Response
from edge.live import LiveStream, LiveStreams
from hls import TimelineSettings
from hls.sample import Placement
from hls.segmenter_settings import SegmenterSettings
from origin.bridge import Bridge, MediaMessage, OtherPicture, Output, Tracks
from origin.broadcast import Broadcasts
from origin.multitrack import MAX_SLOTS, MAX_WAITING, MAX_WAITING_BYTES, Multitrack
from origin.packager import Packager
from rtmpcore import AudioMessage, VideoMessage


class FakeStore:
    """Nothing is asked of it here."""


class FakeFeed(QuietFeed):
    def stop(self, reason: str, *, for_good: bool = False) -> None:
        raise AssertionError(reason)


class House:
    """One broadcast, packaged, without RTMP."""

    def __init__(self) -> None:
        self.live = LiveStreams()
        self.broadcasts = Broadcasts(
            live=self.live,
            store=FakeStore(),  # type: ignore[arg-type]
            timeline_settings=TimelineSettings(),
            clock=lambda: 1_000.0,
        )
        self.broadcast = self.broadcasts.publish("s", FakeFeed())
        self.packager = Packager(self.broadcast, self.broadcasts, SegmenterSettings())
        self.begin()

    def begin(self) -> None:
        """A publisher comes."""
        self.bridge = Bridge()
        self.has_begun = False

    def push(self, kind: str, at: int, body: bytes) -> None:
        outputs = self.bridge.push(message(kind, at, body))
        if self.bridge.started and not self.has_begun:
            self.has_begun = True
            self.packager.begin()
        self.packager.take(outputs)

    def send(self, media: EnhancedMedia, *, headers: bool = True, offset_ms: int = 0) -> None:
        for kind, body in media.header_tags if headers else ():
            self.push(kind, 0, body)
        for kind, at, body in media.tags:
            self.push(kind, at + offset_ms, body)

    @property
    def stream(self) -> LiveStream:
        stream = self.live.get("s")
        assert stream is not None
        return stream

    def playlist(self, name: str) -> list[str]:
        return self.stream.renditions[name].timeline.playlist().decode().splitlines()


def message(kind: str, timestamp_ms: int, payload: bytes) -> MediaMessage:
    make = VideoMessage if kind == "video" else AudioMessage
    return make(stream_id=1, timestamp_ms=timestamp_ms, payload=payload)


def clip(folder: Path, *tracks: Track, duration_s: float = 5.0) -> EnhancedMedia:
    """Keyframes every second; the tracks are 180, 90 and so on high."""
    path = folder / "clip.flv"
    return load_enhanced(make_enhanced_clip(path, [*tracks, AudioTrack()], duration_s=duration_s))


def video(height: int, *, gop: int = 25, b_frames: int = 0, encoder: str = "libx264") -> VideoTrack:
    return VideoTrack(height=height, gop=gop, b_frames=b_frames, encoder=encoder)


def durations(lines: Sequence[str]) -> list[str]:
    return [line for line in lines if line.startswith("#EXTINF")]


@pytest.mark.parametrize("in_one_message", [False, True], ids=["OneTrack", "ManyTracks"])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        (video(180), video(90)),
        (video(180, b_frames=2), video(90, b_frames=2)),
        (video(180), video(90, b_frames=2)),
        (video(180, b_frames=2), video(90)),
        (video(180), video(90, encoder="libx265")),
        (video(180, encoder="libvpx-vp9"), video(90)),
    ],
    ids=["alike", "reordered", "the second reordered", "the first reordered", "HEVC", "VP9"],
)
def test_tracks_are_renditions(
    first: VideoTrack, second: VideoTrack, in_one_message: bool, tmp_path: Path
) -> None:
    house = House()
    media = clip(tmp_path, first, second)
    house.send(repacked(media, in_one_message=in_one_message))
    house.packager.take(house.bridge.finish())
    house.packager.finish()
    assert house.stream.listed == ["source", "90p"]
    source, track = house.playlist("source"), house.playlist("90p")
    assert durations(track) == durations(source) != []
    assert not any("GAP" in line for line in track)
    master = house.stream.master()
    assert isinstance(master, Response)
    assert b"RESOLUTION=160x90" in b"".join(map(bytes, master.chunks))


def test_a_bug_in_the_tracks_leaves_the_source_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House()
    media = clip(tmp_path, video(180), video(90))
    house.send(media)
    assert house.stream.listed == ["source", "90p"]

    def fail(_self: Multitrack, picture: OtherPicture) -> None:
        raise ZeroDivisionError(picture.track_id)

    monkeypatch.setattr(Multitrack, "take", fail)
    with capture_logs() as logs:
        house.send(media, headers=False, offset_ms=5_000)
        house.packager.take(house.bridge.finish())
        house.packager.finish()
    assert [line["event"] for line in logs if line["log_level"] == "error"] == ["multitrack failed"]
    assert house.stream.listed == ["source"]
    seconds = sum(float(line[8:].split(",")[0]) for line in durations(house.playlist("source")))
    assert seconds == pytest.approx(10, abs=0.2)


def test_keyframes_that_do_not_line_up_are_no_rendition(tmp_path: Path) -> None:
    house = House()
    house.send(clip(tmp_path, video(180), video(90, gop=60)))
    assert house.stream.listed == ["source"]
    assert isinstance(house.stream.master(), Response), "nobody waits for it any longer"


def test_the_playlist_waits_for_the_first_segment_of_each_track(tmp_path: Path) -> None:
    house = House()
    media = clip(tmp_path, video(180), video(90))
    seen: list[bool] = []
    for kind, body in media.header_tags:
        house.push(kind, 0, body)
    for kind, at, body in media.tags:
        house.push(kind, at, body)
        if house.broadcast.live is not None:
            master = house.stream.master()
            seen.append(isinstance(master, Response))
            assert not seen[-1] or house.stream.listed == ["source", "90p"]
    assert seen[0] is False
    assert seen[-1] is True


def without(media: EnhancedMedia, first_ms: int, last_ms: int) -> EnhancedMedia:
    """The second track stays away for a while."""
    return replace(
        media,
        tags=[tag for tag in media.tags if not (is_other(tag) and first_ms <= tag[1] < last_ms)],
    )


def is_other(tag: tuple[str, int, bytes]) -> bool:
    kind, _, body = tag
    return kind == "video" and body[0] & 0x8F == 0x86


def test_a_track_that_stays_away_is_gaps_and_comes_back(tmp_path: Path) -> None:
    house = House()
    media = clip(tmp_path, video(180), video(90), duration_s=14.0)
    house.send(without(media, 4_500, 9_500))
    assert house.stream.listed == ["source", "90p"]
    track = house.playlist("90p")
    assert "#EXT-X-GAP" in track
    assert len(durations(track)) == len(durations(house.playlist("source")))


def test_while_it_stays_away_it_is_hidden(tmp_path: Path) -> None:
    house = House()
    media = clip(tmp_path, video(180), video(90), duration_s=9.0)
    house.send(without(media, 4_500, 10_000))
    assert house.stream.listed == ["source"]


@pytest.mark.parametrize("cut", [b"", b"\0\0\0\0", b"\xff\xff\xff\xff", b"\0\0\0\x09\x41"])
def test_broken_pictures_of_a_track_cost_its_segment(cut: bytes, tmp_path: Path) -> None:
    house = House()
    media = clip(tmp_path, video(180), video(90), duration_s=8.0)
    tags = list(media.tags)
    (index, *_) = [at for at, tag in enumerate(tags) if is_other(tag) and tag[1] > 4_500]
    kind, at, body = tags[index]
    tags[index] = (kind, at, body[:10] + cut)
    house.send(replace(media, tags=tags))
    house.packager.finish()
    assert house.stream.listed == ["source", "90p"]
    assert not any("GAP" in line for line in house.playlist("source"))
    assert len(durations(house.playlist("90p"))) == len(durations(house.playlist("source")))


def test_a_track_of_the_same_height_is_none(tmp_path: Path) -> None:
    house = House()
    with capture_logs() as logs:
        house.send(clip(tmp_path, video(180), video(90), video(90)))
    assert house.stream.listed == ["source", "90p"]
    assert [log["rendition"] for log in logs if log["event"] == "track"] == [
        "90p",
        "none: another has its height",
    ]


def test_the_next_publisher_goes_on_with_the_same_renditions(tmp_path: Path) -> None:
    house = House()
    media = clip(tmp_path, video(180), video(90), duration_s=4.0)
    house.send(media)
    house.packager.take(house.bridge.finish())
    house.packager.interrupt()
    house.begin()
    house.send(media, offset_ms=500_000)
    house.packager.take(house.bridge.finish())
    house.packager.finish()
    source, track = house.playlist("source"), house.playlist("90p")
    assert source.count("#EXT-X-DISCONTINUITY") == track.count("#EXT-X-DISCONTINUITY") == 1
    assert durations(track) == durations(source)
    assert not any("GAP" in line for line in track)


def test_a_track_that_is_first_waits_for_the_source(tmp_path: Path) -> None:
    house = House()
    media = clip(tmp_path, video(180), video(90))
    house.send(replace(media, tags=sorted(media.tags, key=lambda tag: (tag[1], not is_other(tag)))))
    assert house.stream.listed == ["source", "90p"]
    assert not any("GAP" in line for line in house.playlist("90p"))


def test_a_track_that_comes_late_joins_at_a_segment(tmp_path: Path) -> None:
    house = House()
    media = clip(tmp_path, video(180), video(90), duration_s=11.0)
    late = [entry for entry in media.header_tags if is_other((entry[0], 0, entry[1]))]
    assert late
    early = [entry for entry in media.header_tags if entry not in late]
    first = [tag for tag in media.tags if tag[1] < 4_400 and not is_other(tag)]
    then = [tag for tag in media.tags if tag[1] >= 4_400]
    house.send(replace(media, header_tags=early, tags=first))
    assert house.stream.listed == ["source"]
    house.send(replace(media, header_tags=late, tags=then))
    assert house.stream.listed == ["source", "90p"]
    assert not any("GAP" in line for line in house.playlist("90p"))


# -- bounds


def pieces(folder: Path) -> tuple[Tracks, list[OtherPicture]]:
    bridge = Bridge()
    media = clip(folder, video(180), video(90), duration_s=1.0)
    outputs: list[Output] = []
    for kind, body in media.header_tags:
        outputs += bridge.push(message(kind, 0, body))
    for kind, at, body in media.tags:
        outputs += bridge.push(message(kind, at, body))
    (tracks,) = [one for one in outputs if isinstance(one, Tracks)]
    return tracks, [one for one in outputs if isinstance(one, OtherPicture)]


@pytest.mark.parametrize("size_bytes", [0, 1024 * 1024])
def test_pictures_that_are_ahead_are_kept_within_bounds(size_bytes: int, tmp_path: Path) -> None:
    house = House()
    multitrack = Multitrack(house.broadcasts, house.broadcast)
    _, (picture, *_) = pieces(tmp_path)
    filler = (
        b"" if not size_bytes else (size_bytes - 4).to_bytes(4, "big") + b"\x0c" * (size_bytes - 4)
    )
    data = bytes(picture.sample.data) + filler
    for at in range(MAX_WAITING + 10):
        sample = picture.sample._replace(dts_ms=at, pts_ms=at, data=data)
        multitrack.take(picture._replace(sample=sample))
        (track,) = multitrack._tracks.values()
        assert len(track.waiting) <= MAX_WAITING
        assert track.waiting_bytes <= MAX_WAITING_BYTES


def test_slots_are_kept_within_bounds(tmp_path: Path) -> None:
    house = House()
    multitrack = Multitrack(house.broadcasts, house.broadcast)
    _, (picture, *_) = pieces(tmp_path)
    for number in range(2 * MAX_SLOTS):
        multitrack.take_slot(
            picture.sample._replace(dts_ms=4 * number, pts_ms=4 * number),
            Placement(number, 360 * number, False, False, begins_epoch=False),
        )
    assert len(multitrack._slots) == len(multitrack._by_dts) == MAX_SLOTS
