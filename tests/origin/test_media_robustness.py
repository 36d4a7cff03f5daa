"""What encoders do wrong: each gives a valid playlist, or a refusal in words; nothing else escapes.

One test for each way to be wrong, from tags to playlists: bridge, segmenter and timeline together.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import pytest
import rtmp_publishers as wire
from media_clips import ClipSpec, make_clip

from hls import MediaError, Sample
from hls.segmenter import Segmenter
from hls.timeline import Timeline
from hls.timeline_settings import TimelineSettings
from origin.bridge import MAX_UNCONFIGURED_FRAMES, Bridge, MediaMessage, Tracks
from rtmpcore import AudioMessage, RemoteProtocolError, VideoMessage

Tag: TypeAlias = tuple[str, int, bytes]


@dataclass
class Show:
    """One publisher's media as viewers have it."""

    bridge: Bridge = field(default_factory=Bridge)
    timeline: Timeline = field(
        default_factory=lambda: Timeline(
            token="t", started_at_s=0.0, settings=TimelineSettings(), discontinuity_sequence=0
        )
    )
    segmenter: Segmenter | None = None

    def send(self, tags: Sequence[Tag]) -> None:
        for kind, at, body in tags:
            make = VideoMessage if kind == "video" else AudioMessage
            message: MediaMessage = make(stream_id=1, timestamp_ms=at % (1 << 32), payload=body)
            self._take(self.bridge.push(message))

    def finish(self) -> str:
        self._take(self.bridge.finish())
        if self.segmenter is not None:
            self.timeline.apply(self.segmenter.flush())
        return self.timeline.playlist().decode()

    def _take(self, outputs: Sequence[object]) -> None:
        for output in outputs:
            if isinstance(output, Tracks):
                tracks = {"video": output.video, "audio": output.audio}
                if self.segmenter is None:
                    self.segmenter = Segmenter(**tracks)  # type: ignore[arg-type]
                else:
                    self.timeline.apply(self.segmenter.reconfigure(**tracks))  # type: ignore[arg-type]
            elif isinstance(output, Sample):
                assert self.segmenter is not None
                self.timeline.apply(self.segmenter.push(output))


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> wire.Media:
    spec = ClipSpec(name="robust", duration_s=6.0, keyint_s=1.0, b_frames=2)
    return wire.load_media(make_clip(spec, tmp_path_factory.mktemp("clip")).path)


def headers(media: wire.Media) -> list[Tag]:
    return [
        ("video", 0, b"\x17\0\0\0\0" + media.avc_record),
        ("audio", 0, b"\xaf\0" + media.aac_config),
    ]


def played(tags: Sequence[Tag]) -> tuple[float, int]:
    """Seconds in the playlist, and discontinuities."""
    show = Show()
    show.send(tags)
    lines = show.finish().splitlines()
    seconds = sum(float(line[8:].split(",")[0]) for line in lines if line.startswith("#EXTINF:"))
    return seconds, lines.count("#EXT-X-DISCONTINUITY")


def moved(tags: Sequence[Tag], move: Callable[[int], int], kind: str = "") -> list[Tag]:
    return [(each, move(at) if kind in ("", each) else at, body) for each, at, body in tags]


CLOCKS: dict[str, tuple[Callable[[int], int], float, int]] = {
    "wraps at 32 bits": (lambda at: at + (1 << 32) - 3_000, 6, 0),
    "wraps at 31 bits, as OBS": (lambda at: (at + (1 << 31) - 3_000) % (1 << 31), 6, 0),
    "wraps at 24 bits, as go2rtc": (lambda at: (at + (1 << 24) - 3_000) % (1 << 24), 5, 1),
    "begins anywhere": (lambda at: at + 4_000_000_000, 6, 0),
    "jumps": (lambda at: at + 3_600_000 * (at >= 3_000), 6, 1),
    "goes back": (lambda at: at + 600_000 - 300_000 * (at >= 3_000), 6, 1),
    "runs at half the rate": (lambda at: at // 2, 3, 0),
    "runs at twice the rate": (lambda at: at * 2, 12, 0),
}


@pytest.mark.parametrize(("clock", "seconds", "breaks"), CLOCKS.values(), ids=CLOCKS)
def test_any_clock_gives_a_playlist(
    media: wire.Media, clock: Callable[[int], int], seconds: float, breaks: int
) -> None:
    length_s, discontinuities = played([*headers(media), *moved(media.tags, clock)])
    assert length_s == pytest.approx(seconds, abs=1.1)
    assert discontinuities == breaks


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_tracks_on_different_clocks_give_a_playlist(media: wire.Media, kind: str) -> None:
    length_s, _ = played([*headers(media), *moved(media.tags, lambda at: at + 900_000, kind)])
    assert length_s > 3


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_one_track_alone_gives_a_playlist(media: wire.Media, kind: str) -> None:
    length_s, breaks = played([tag for tag in [*headers(media), *media.tags] if tag[0] == kind])
    assert length_s == pytest.approx(6, abs=0.2)
    assert breaks == 0


def test_headers_again_and_again_change_nothing(media: wire.Media) -> None:
    """DJI Osmo, and OBS after it has reconnected."""
    tags = [one for tag in media.tags for one in (*headers(media), tag)]
    assert played(tags) == played([*headers(media), *media.tags])


def test_a_start_without_a_keyframe_waits_for_one(media: wire.Media) -> None:
    late = [tag for tag in media.tags if tag[1] > 300]
    length_s, breaks = played([*headers(media), *late])
    assert length_s == pytest.approx(5, abs=0.2)
    assert breaks == 0


@pytest.mark.parametrize("kind", ["video", "audio"])
def test_a_header_that_comes_late_lets_its_track_join(media: wire.Media, kind: str) -> None:
    early = [tag for tag in headers(media) if tag[0] != kind]
    late = [tag for tag in headers(media) if tag[0] == kind]
    first = [tag for tag in media.tags if tag[1] < 2_500]
    then = [tag for tag in media.tags if tag[1] >= 2_500]
    show = Show()
    show.send([*early, *first, *late, *then])
    assert show.finish().count("#EXT-X-MAP") == 2


def units(body: bytes) -> tuple[bytes, bytes]:
    return body[:5], body[5:]


def with_noise(noise: bytes, *, behind: bool = False) -> Callable[[bytes], bytes]:
    def change(body: bytes) -> bytes:
        head, data = units(body)
        return head + (data + noise if behind else noise + data)

    return change


NOISE: dict[str, Callable[[bytes], bytes]] = {
    "empty NAL units": with_noise(bytes(8)),
    "empty NAL units behind": with_noise(bytes(4), behind=True),
    "AUD": with_noise(b"\0\0\0\2\x09\xf0"),
    "SEI of nothing known": with_noise(b"\0\0\0\4\x06\xf5\x01\x00"),
    "filler": with_noise(b"\0\0\0\3\x0c\xff\x80", behind=True),
    "reserved NAL unit types": with_noise(b"\0\0\0\2\x1e\0"),
}


@pytest.mark.parametrize("change", NOISE.values(), ids=NOISE)
def test_noise_around_pictures_is_no_matter(
    media: wire.Media, change: Callable[[bytes], bytes]
) -> None:
    noisy = [(kind, at, change(body) if kind == "video" else body) for kind, at, body in media.tags]
    assert played([*headers(media), *noisy]) == played([*headers(media), *media.tags])


@pytest.mark.parametrize(
    "body",
    [b"", b"\x27\1\0\0\0", b"\x27\1\0\0\0" + bytes(4), b"\x27\1\0\0\0\0\0\0\2\x09\xf0", b"\x57\0"],
    ids=["nothing", "no access unit", "an empty unit", "an AUD alone", "a command"],
)
def test_messages_without_a_picture_are_no_pictures(media: wire.Media, body: bytes) -> None:
    """DJI."""
    tags = [one for tag in media.tags for one in (tag, ("video", tag[1], body))]
    assert played([*headers(media), *tags]) == played([*headers(media), *media.tags])


@pytest.mark.parametrize(
    ("body", "error", "words"),
    [
        (b"\x27\1\0\0\0\xff\xff\xff\xff", MediaError, "NAL unit"),
        (b"\x27\1\0\0\0\0\0\0\x09\x41", MediaError, "NAL unit"),
        (b"\x27\1\0", RemoteProtocolError, "inside its header"),
        (b"\x17\0\0\0\0\1", MediaError, "truncated"),
    ],
    ids=["a unit of 4 GB", "a unit that is cut", "a header that is cut", "a record that is cut"],
)
def test_what_is_cut_short_is_refused_in_words(
    media: wire.Media, body: bytes, error: type[Exception], words: str
) -> None:
    show = Show()
    show.send([*headers(media), *[tag for tag in media.tags if tag[1] < 4_000]])
    with pytest.raises(error, match=words):
        show.send([("video", 4_000, body)])
    assert show.finish().count("#EXTINF") >= 2, "what came before is not lost"


def test_another_picture_and_sound_on_the_way_are_a_discontinuity(
    media: wire.Media, tmp_path: Path
) -> None:
    spec = ClipSpec(name="other", duration_s=3.0, keyint_s=1.0, width=640, height=360)
    other = wire.load_media(make_clip(spec, tmp_path).path)
    other = replace(other, tags=moved(other.tags, lambda at: at + media.duration_ms))
    show = Show()
    show.send([*headers(media), *media.tags, *headers(other), *other.tags])
    playlist = show.finish()
    assert playlist.count("#EXT-X-DISCONTINUITY\n") == 1
    assert playlist.count("#EXT-X-MAP") == 2


# -- by the names of those who do it; `rtmp.md`'s table, as far as media is concerned


@pytest.mark.parametrize("codec", [7, 12])
def test_obs_before_29_1_sends_hevc_without_a_record(codec: int) -> None:
    """In the layout of AVC, parameter sets in band: nothing to configure a decoder with."""
    show = Show()
    frame = bytes((0x10 | codec, 1, 0, 0, 0)) + b"\0\0\0\3\x40\x01\x0c"
    show.send([("video", at * 33, frame) for at in range(MAX_UNCONFIGURED_FRAMES)])
    with pytest.raises(MediaError, match="sequence header"):
        show.send([("video", 20_000, frame)])


def test_streamlabs_screen_share_declares_audio_and_never_sends_it(media: wire.Media) -> None:
    pictures = [tag for tag in media.tags if tag[0] == "video"]
    assert played([*headers(media), *pictures]) == played([headers(media)[0], *pictures])


def test_dji_osmo_starts_anywhere_repeats_headers_and_pads(media: wire.Media) -> None:
    tags: list[Tag] = []
    for index, (kind, at, body) in enumerate(media.tags):
        if index % 30 == 0:
            tags += [(each, at, header) for each, _, header in headers(media)]
        tags.append((kind, at, body + bytes(4) if kind == "video" else body))
    tags = moved(tags, lambda at: at + 3_999_999_000)
    assert played(tags) == played([*headers(media), *media.tags])


def test_glive_t80_never_moves_its_clock(media: wire.Media) -> None:
    length_s, _ = played([*headers(media), *moved(media.tags, lambda _: 77)])
    assert length_s > 0


def test_rootencoder_streams_on_beyond_the_extended_timestamp(media: wire.Media) -> None:
    """It was reported to fail after 4 hours and 40 minutes: 24 bits of milliseconds."""
    tags = moved(media.tags, lambda at: at + (1 << 24) - 3_000)
    assert played([*headers(media), *tags]) == played([*headers(media), *media.tags])


def test_go2rtc_wraps_its_clock_at_24_bits(media: wire.Media) -> None:
    tags = moved(media.tags, lambda at: (at + (1 << 24) - 3_000) % (1 << 24))
    length_s, breaks = played([*headers(media), *tags])
    assert length_s > 4
    assert breaks == 1
