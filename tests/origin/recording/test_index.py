"""The index of a recording: whatever is cut off or spoilt, what is whole before it is read."""

from hypothesis import given
from hypothesis import strategies as st

from origin.recording.index import (
    FileLine,
    Line,
    SegmentLine,
    encode_line,
    group_lines,
    read_lines,
)


def file_line(number: int = 0, init_bytes: int = 700) -> FileLine:
    return FileLine(
        number=number,
        init_bytes=init_bytes,
        track_id=1,
        timescale=90_000,
        codecs=("avc1.64001f",),
        width=640,
        height=360,
        frame_rate=30.0,
        video_range="SDR",
    )


def segment_line(offset: int, size_bytes: int = 1000) -> SegmentLine:
    return SegmentLine(
        offset=offset,
        size_bytes=size_bytes,
        duration_us=2_000_000,
        epoch_ms=1_800_000_000_000,
        discontinuity=False,
        independent=True,
    )


LINES = st.lists(
    st.one_of(
        st.builds(file_line, st.integers(0, 5)),
        st.builds(segment_line, st.integers(0, 10**12), st.integers(1, 10**9)),
    ),
    max_size=12,
)


@given(LINES, st.integers(0, 400), st.binary(max_size=30))
def test_a_torn_tail_costs_only_itself(lines: list[Line], cut: int, rubbish: bytes) -> None:
    encoded = [encode_line(line) for line in lines]
    data = b"".join(encoded)
    kept = data[: max(0, len(data) - cut)]
    whole, size = 0, 0
    while whole < len(lines) and size + len(encoded[whole]) <= len(kept):
        size += len(encoded[whole])
        whole += 1
    assert read_lines(kept) == (lines[:whole], size)
    torn = kept + rubbish.replace(b"\n", b"")
    assert read_lines(torn)[0] == lines[:whole] or torn[: len(data)] == data


@given(LINES, st.data())
def test_a_spoilt_byte_ends_the_index_before_its_line(
    lines: list[Line], data: st.DataObject
) -> None:
    encoded = b"".join(encode_line(line) for line in [*lines, file_line()])
    position = data.draw(st.integers(0, len(encoded) - 1))
    spoilt = bytearray(encoded)
    spoilt[position] ^= 0x80  # never a line end, never valid ASCII
    number = encoded[:position].count(b"\n")
    assert read_lines(bytes(spoilt))[0] == [*lines, file_line()][:number]


def test_segments_that_do_not_continue_end_the_recording() -> None:
    files = group_lines([file_line(), segment_line(700), segment_line(1700), segment_line(9999)])
    assert [len(media.segments) for media in files] == [2]
    assert (files[0].size_bytes, files[0].duration_us) == (2700, 4_000_000)


def test_a_new_configuration_is_another_file() -> None:
    files = group_lines(
        [file_line(), segment_line(700), file_line(1, 800), segment_line(800), file_line(5)]
    )
    assert [media.name for media in files] == ["media-0.mp4", "media-1.mp4"]


def test_a_segment_before_any_file_is_none() -> None:
    assert group_lines([segment_line(0)]) == []
