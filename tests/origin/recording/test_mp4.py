"""Times of a file that begins at zero, and its index, read back by an independent reader."""

import struct
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mp4_boxes import full_box, read_fragments, walk
from segmenter_runs import Driver

import hls
from hls import UsageError
from hls.fragment import SYNC_FLAGS, FragmentWriter
from hls.init_segment import build_init_segment
from native import FragmentSample
from origin.recording.index import FileLine, MediaFile, SegmentLine
from origin.recording.mp4 import MAX_REFERENCES, TimeShift, part_index

DRIVER = Driver(hls)
INIT = build_init_segment(DRIVER.video, DRIVER.audio)
VIDEO_S, AUDIO_S = 90_000, 48_000


def fragment(video_time: int | None, audio_time: int | None) -> bytes:
    picture, frame = (
        FragmentSample(b"p", 3000, 0, SYNC_FLAGS),
        FragmentSample(b"a", 1024, 0, SYNC_FLAGS),
    )
    return FragmentWriter().write(
        video_time or 0,
        [] if video_time is None else [picture],
        audio_time or 0,
        [] if audio_time is None else [frame],
    )


def times(part: bytes) -> dict[int, int]:
    (read,) = read_fragments(part)
    return {sample.track_id: sample.time for sample in read.samples}


@given(
    st.integers(0, 90_000 * 86_400), st.integers(-2000, 2000), st.integers(0, 90_000 * 86_400),
)  # fmt: skip
def test_a_file_begins_at_zero_and_keeps_its_tracks_together(
    start: int, skew: int, later: int
) -> None:
    audio = max(0, start * AUDIO_S // VIDEO_S + skew)
    shift = TimeShift(INIT)
    first = times(shift.shift(fragment(start, audio)))
    assert min(Fraction(first[1], VIDEO_S), Fraction(first[2], AUDIO_S)) < Fraction(1, AUDIO_S)
    assert abs(
        Fraction(first[1], VIDEO_S) - Fraction(first[2], AUDIO_S)
        - (Fraction(start, VIDEO_S) - Fraction(audio, AUDIO_S))
    ) < Fraction(1, AUDIO_S)  # fmt: skip
    second = times(shift.shift(fragment(start + later, None)))
    assert second[1] - first[1] == later
    third = times(shift.shift(fragment(None, audio + later)))
    assert third[2] - first[2] == later


def test_only_the_times_change() -> None:
    before = fragment(90_000, 48_000)
    after = TimeShift(INIT).shift(before)
    assert len(after) == len(before)
    assert after == before.replace(struct.pack(">Q", 90_000), bytes(8)).replace(
        struct.pack(">Q", 48_000), bytes(8)
    )


def test_a_track_that_joins_late_and_early_does_not_go_below_zero() -> None:
    shift = TimeShift(INIT)
    shift.shift(fragment(90_000, None))
    assert times(shift.shift(fragment(None, 40_000))) == {2: 0}


@pytest.mark.parametrize("part", [b"moof", b"\0\0\0\7moof", b"\0\0\0\x10moof\0\0\0\0"])
def test_what_is_no_fragment_is_refused(part: bytes) -> None:
    with pytest.raises(UsageError):
        TimeShift(INIT).shift(part)


def test_an_init_section_without_tracks_is_refused() -> None:
    with pytest.raises(UsageError):
        TimeShift(b"")


def media(*segments: SegmentLine) -> MediaFile:
    line = FileLine(
        number=0,
        init_bytes=10,
        track_id=1,
        timescale=90_000,
        codecs=("avc1.64001f",),
        width=640,
        height=360,
        frame_rate=30.0,
        video_range="SDR",
    )
    return MediaFile(line, segments)


def segment(
    epoch_ms: int,
    *,
    discontinuity: bool = False,
    independent: bool = True,
    parts: tuple[tuple[int, int], ...] = (),
) -> SegmentLine:
    return SegmentLine(
        offset=0,
        size_bytes=1000,
        duration_us=2_000_000,
        epoch_ms=epoch_ms,
        discontinuity=discontinuity,
        independent=independent,
        parts=parts,
    )


def rows(index: bytes) -> list[tuple[int, int, int]]:
    (box,) = walk(index)
    assert box.kind == b"sidx"
    version, flags, rest = full_box(box)
    track_id, timescale, earliest, first_offset, _, count = struct.unpack_from(">2I2Q2H", rest)
    assert (version, flags, track_id, timescale) == (1, 0, 1, 90_000)
    assert (earliest, first_offset) == (0, 0)
    found = list(struct.iter_unpack(">3I", rest[28:]))
    assert len(found) == count
    return found


def test_the_index_says_sizes_and_times_of_parts_with_the_pauses_between() -> None:
    index = part_index(
        media(
            segment(0, parts=((600, 500_000), (400, 1_500_000))),
            segment(2000),
            segment(9000, discontinuity=True, independent=False),
        )
    )
    assert rows(index) == [
        (600, 45_000, 0x9000_0000),
        (400, 135_000, 0),
        (1000, 630_000, 0x9000_0000),  # with the five seconds in which nobody published
        (1000, 180_000, 0),
    ]


def test_a_recording_of_days_has_an_index_that_fits() -> None:
    count = MAX_REFERENCES + 1
    found = rows(part_index(media(*(segment(number * 2000) for number in range(count)))))
    assert len(found) == MAX_REFERENCES // 2 + 1
    assert sum(size for size, _, _ in found) == count * 1000
    assert sum(duration for _, duration, _ in found) == count * 180_000
