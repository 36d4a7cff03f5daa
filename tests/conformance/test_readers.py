"""The readers note what is wrong and read on, whatever they are given."""

import struct

import pytest
from enhanced_clips import enhanced_clip
from hypothesis import given
from hypothesis import strategies as st

from hls import InitSegment, Part, Sample, Segmenter, TrackKind
from hls.audio import parse_audio_config
from hls.video import parse_video_config, with_size
from tests.conformance.boxes import read_fragments, read_init, without_colours
from tests.conformance.healthy import (
    MULTIVARIANT,
    box,
    fragment_bytes,
    full,
    init_bytes,
    playlist_text,
)
from tests.conformance.multivariant import parse_multivariant
from tests.conformance.playlist import MAX_LINES, Segment, parse_media_playlist

INIT = init_bytes(True, (320, 180))
TEXT = playlist_text("high", (15, 1))


def part(**changes: bool) -> bytes:
    return fragment_bytes(7, 1000, video=True, first_key=True, fill=1, **changes)


def rules_of(data: bytes) -> set[str]:
    return {rule for rule, _ in read_fragments(data, read_init(INIT)).faults}


def test_an_init_section_is_read() -> None:
    init = read_init(INIT)
    assert init.faults == ()
    (track,) = init.tracks
    assert (track.codec, track.size, track.timescale) == ("avc1.42C01F", (320, 180), 1000)
    (sound,) = read_init(init_bytes(False, (0, 0))).tracks
    assert (sound.codec, sound.handler) == ("mp4a.40.2", b"soun")


def test_a_part_is_read() -> None:
    found = read_fragments(part(), read_init(INIT))
    assert found.faults == []
    assert found.sequences == [7]
    run = found.runs[1]
    assert (run.start, run.duration, run.count, run.syncs) == (1000, 500, 5, 1)
    assert run.first_sync
    assert run.first_random is True


@pytest.mark.parametrize(
    ("data", "rule"),
    [
        pytest.param(b"", "MF-02", id="nothing"),
        pytest.param(part()[:-1], "MF-02", id="cut off"),
        pytest.param(part() + part()[:0] + box(b"mdat"), "MF-02", id="mdat alone"),
        pytest.param(part() + box(b"moov"), "MF-02", id="a box of another place"),
        pytest.param(part().replace(b"traf", b"tref"), "MF-02", id="no traf"),
        pytest.param(part().replace(b"tfdt", b"free"), "MF-02", id="no tfdt"),
        pytest.param(part()[:-1] + b"x" + box(b"free"), None, id="free is no fault"),
        pytest.param(
            part().replace(struct.pack(">II", 0x020000, 1), struct.pack(">II", 0, 1)),
            "MF-02",
            id="no default-base-is-moof",
        ),
        pytest.param(
            part().replace(struct.pack(">II", 0x020000, 1), struct.pack(">II", 0x020000, 2)),
            "MF-02",
            id="a track that init does not know",
        ),
        pytest.param(part(lie=True), "MF-05", id="the sync flag lies"),
    ],
)
def test_faults_of_a_part_are_noted(data: bytes, rule: str | None) -> None:
    assert rules_of(data) == ({rule} if rule else set())


def test_two_fragments_that_do_not_follow_are_noted() -> None:
    second = fragment_bytes(8, 1600, video=True, first_key=False, fill=1)
    assert rules_of(part() + second) == {"MF-04"}


def test_a_playlist_is_read() -> None:
    playlist = parse_media_playlist(TEXT.encode())
    assert playlist.faults == ()
    assert (playlist.media_sequence, playlist.last_msn) == (5, 14)
    assert (playlist.last_part, playlist.next_part) == ((15, 1), (15, 2))
    assert len(playlist.hints) == 1
    assert len(playlist.reports) == 2
    assert playlist.has(15, 1)
    assert not playlist.has(15, 2)
    assert playlist.has(14, None)
    assert not playlist.has(15, None)


def test_equal_segments_of_two_versions_are_one_object() -> None:
    known: dict[Segment, Segment] = {}
    one = parse_media_playlist(TEXT.encode(), known)
    other = parse_media_playlist(playlist_text("high", (15, 2)).encode(), known)
    assert one.segments[-1] is other.segments[-1]


def test_lines_have_a_bound() -> None:
    text = "#EXTM3U\n" + "#EXTINF:1,\nx\n" * (MAX_LINES // 2 + 1)
    playlist = parse_media_playlist(text.encode())
    assert len(playlist.segments) == MAX_LINES // 2
    assert any("lines" in text for _, text in playlist.faults)


@given(st.data())
def test_nothing_makes_a_reader_raise(data: st.DataObject) -> None:
    source = data.draw(st.sampled_from([TEXT.encode(), MULTIVARIANT.encode(), INIT, part()]))
    at = data.draw(st.integers(0, len(source)))
    piece = data.draw(st.binary(max_size=8))
    broken = source[:at] + piece + source[at + data.draw(st.integers(0, 8)) :]
    parse_media_playlist(broken)
    parse_multivariant(broken, "http://host/m.m3u8")
    read_init(broken)
    read_fragments(broken, read_init(INIT))


def test_full_boxes_with_a_version_are_read_wide() -> None:
    # mvhd of version 1 with a duration.
    wide = full(b"mvhd", 1 << 24, bytes(20) + struct.pack(">Q", 5) + bytes(80))
    data = INIT.replace(full(b"mvhd", 0, struct.pack(">4I", 0, 0, 1000, 0), bytes(80)), wide)
    grown = len(data) - len(INIT)
    at = data.index(b"moov") - 4
    size = struct.pack(">I", int.from_bytes(data[at : at + 4], "big") + grown)
    assert ("MF-01", "mvhd has a duration") in read_init(data[:at] + size + data[at + 4 :]).faults


PQ = {"x265-params": "log-level=none:colorprim=bt2020:transfer=smpte2084:colormatrix=bt2020nc"}
CLIPS = {
    "HEVC, PQ": ("libx265", "libopus", {"pix_fmt": "yuv420p10le", "options": PQ}, "PQ"),
    "AV1": ("libsvtav1", "flac", {}, "SDR"),
    "VP9": ("libvpx-vp9", "eac3", {}, "SDR"),
    "H.264": ("libx264", "ac3", {"b_frames": 2}, "SDR"),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CLIPS)
def test_our_media_of_every_codec_is_read_without_a_fault(name: str) -> None:
    video_encoder, audio_encoder, changes, video_range = CLIPS[name]
    clip = enhanced_clip(video_encoder, audio_encoder, **changes)  # type: ignore[arg-type]
    assert clip.video is not None
    assert clip.audio is not None
    config = parse_video_config(*clip.video)
    video = with_size(config, next(frame.data for frame in clip.frames if frame.is_video))
    segmenter = Segmenter(video=video, audio=parse_audio_config(*clip.audio))
    events = []
    for frame in clip.frames:
        kind = TrackKind.VIDEO if frame.is_video else TrackKind.AUDIO
        sample = Sample(kind, frame.dts_ms, frame.pts_ms, frame.keyframe, frame.data)
        events += segmenter.push(sample)
    events += segmenter.flush()
    (section,) = [event for event in events if isinstance(event, InitSegment)]
    init = read_init(section.data)
    assert init.faults == ()
    said = {without_colours(codec).lower() for codec in section.codecs}
    assert {codec.lower() for codec in init.codecs} == said
    assert init.tracks[0].video_range == section.video_range == video_range
    syncs = 0
    for event in events:
        if isinstance(event, Part):
            found = read_fragments(event.data, init)
            assert found.faults == []
            syncs += found.runs[1].syncs
    assert syncs == sum(frame.keyframe for frame in clip.frames if frame.is_video)
