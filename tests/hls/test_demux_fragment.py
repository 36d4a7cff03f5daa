"""Parts read back: what was written comes out, and nothing else is taken for a part."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mp4_boxes import read_fragments

from hls import UsageError
from hls.demux_fragment import read_fragment
from hls.fragment import NON_SYNC_FLAGS, SYNC_FLAGS, FragmentWriter
from native import FragmentSample, TrackRun, write_fragment

SAMPLES = st.lists(
    st.builds(
        FragmentSample,
        st.binary(max_size=40),
        st.integers(0, 1 << 20),
        st.integers(-(1 << 20), 1 << 20),
        st.sampled_from((SYNC_FLAGS, NON_SYNC_FLAGS)),
    ),
    max_size=5,
)


@given(st.integers(0, 1 << 40), SAMPLES, st.integers(0, 1 << 40), SAMPLES)
def test_reads_what_an_independent_reader_reads(
    video_time: int, video: list[FragmentSample], audio_time: int, audio: list[FragmentSample]
) -> None:
    if not (video or audio):
        return
    data = FragmentWriter().write(video_time, video, audio_time, audio)
    (expected,) = read_fragments(data)
    found = read_fragment(data)
    assert list(found) == [track for track, of in ((1, video), (2, audio)) if of]
    for track_id, samples in found.items():
        assert [
            (sample.time, sample.duration, sample.offset, sample.is_sync, bytes(sample.data))
            for sample in samples
        ] == [
            (sample.time, sample.duration, sample.offset, sample.is_sync, sample.data)
            for sample in expected.of(track_id)
        ]


PART = write_fragment(1, [TrackRun(1, 0, [FragmentSample(b"picture", 3000, 0, SYNC_FLAGS)])])
TRAF_AT = 8 + 16
TRUN_AT = TRAF_AT + 8 + 16 + 20


def changed(at: int, new: bytes) -> bytes:
    return PART[:at] + new + PART[at + len(new) :]


def word(number: int) -> bytes:
    return struct.pack(">i", number)


MOOF_BYTES = int.from_bytes(PART[:4], "big")
BROKEN = {
    "empty": (b"", "one moof and one mdat"),
    "two fragments": (PART + PART, "one moof and one mdat"),
    "no mdat": (PART[:MOOF_BYTES], "one moof and one mdat"),
    "half a box header": (PART[:4], "a box header is cut off"),
    "a box longer than the rest": (PART[:-1], "a box b'mdat' has 15 bytes"),
    "a box shorter than its header": (changed(0, word(7)), "a box b'moof' has 7 bytes"),
    "half a traf": (word(50) + PART[4:50] + PART[MOOF_BYTES:], "a traf is cut off"),
    "another box": (changed(TRAF_AT + 12, b"uuid"), "other boxes than ours"),
    "a table longer than the traf": (changed(TRUN_AT + 12, word(2)), "another size"),
    "a traf longer than the moof": (
        changed(TRAF_AT, word(64 + 24))[: TRUN_AT + 12] + word(2) + PART[TRUN_AT + 16 :],
        "another size",
    ),
    "data in the moof": (changed(TRUN_AT + 16, word(MOOF_BYTES - 1)), "outside its fragment"),
    "data before the part": (changed(TRUN_AT + 16, word(-8)), "outside its fragment"),
    "data behind the part": (changed(TRUN_AT + 16, word(MOOF_BYTES + 9)), "outside its fragment"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_anything_else_is_our_bug(name: str) -> None:
    data, text = BROKEN[name]
    with pytest.raises(UsageError, match=text):
        read_fragment(data)


def test_the_broken_ones_are_made_of_a_good_one() -> None:
    assert bytes(read_fragment(PART)[1][0].data) == b"picture"
