"""Fragments of one rendition: tracks, flags, sequence numbers."""

from mp4_boxes import read_fragments

from hls.fragment import AUDIO_TRACK_ID, NON_SYNC_FLAGS, SYNC_FLAGS, VIDEO_TRACK_ID, FragmentWriter
from native import FragmentSample

PICTURES = [
    FragmentSample(b"idr", 3000, 6000, SYNC_FLAGS),
    FragmentSample(memoryview(b"other"), 2970, -90, NON_SYNC_FLAGS),
]
FRAMES = [FragmentSample(b"one", 1024, 0, SYNC_FLAGS), FragmentSample(b"two", 1020, 0, SYNC_FLAGS)]


def test_both_tracks_in_one_fragment() -> None:
    (fragment,) = read_fragments(FragmentWriter().write(2**40, PICTURES, 77, FRAMES))
    assert [sample.track_id for sample in fragment.samples] == [1, 1, 2, 2]
    first, second = fragment.of(VIDEO_TRACK_ID)
    assert (first.time, first.duration, first.offset, first.data) == (2**40, 3000, 6000, b"idr")
    assert (second.time, second.duration, second.offset) == (2**40 + 3000, 2970, -90)
    assert (first.is_sync, second.is_sync) == (True, False)
    assert [sample.time for sample in fragment.of(AUDIO_TRACK_ID)] == [77, 1101]
    assert all(sample.is_sync for sample in fragment.of(AUDIO_TRACK_ID))


def test_a_track_without_samples_is_left_out() -> None:
    writer = FragmentWriter()
    (video,) = read_fragments(writer.write(0, PICTURES, 0, []))
    (audio,) = read_fragments(writer.write(0, [], 0, FRAMES))
    assert {sample.track_id for sample in video.samples} == {1}
    assert {sample.track_id for sample in audio.samples} == {2}


def test_sequence_numbers_increase() -> None:
    writer = FragmentWriter()
    numbers = [
        fragment.sequence_number
        for _ in range(3)
        for fragment in read_fragments(writer.write(0, PICTURES, 0, []))
    ]
    assert numbers == [1, 2, 3]
