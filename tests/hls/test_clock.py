"""Clocks: which stamps continue an epoch, and audio that is counted and only steered by stamps."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hls.clock import AudioClock, MediaClock
from hls.segmenter_settings import SegmenterSettings


def clock(start_ms: int = 1000) -> MediaClock:
    media_clock = MediaClock(SegmenterSettings())
    media_clock.start(start_ms, 0, same_publisher=True)
    return media_clock


# -- media clock


def test_the_first_stamp_is_zero() -> None:
    assert clock(81_234).media_ms(81_300) == 66
    assert clock(-5).media_ms(-5) == 0


def test_a_pause_of_the_same_publisher_is_a_pause_in_media_time() -> None:
    media_clock = clock(1000)
    assert media_clock.start(21_000, 9_000, same_publisher=True) == 20_000
    assert media_clock.media_ms(21_500) == 20_500


@pytest.mark.parametrize(
    "stamp_ms",
    [
        pytest.param(0, id="went back"),
        pytest.param(10_000, id="no pause at all"),
        pytest.param(70_001, id="more than max_pause_s"),
    ],
)
def test_otherwise_an_epoch_begins_where_the_last_one_ended(stamp_ms: int) -> None:
    media_clock = clock(1000)
    assert media_clock.start(stamp_ms, 9_000, same_publisher=True) == 9_000
    assert media_clock.media_ms(stamp_ms + 40) == 9_040


def test_the_stamps_of_another_publisher_say_nothing() -> None:
    assert clock(1000).start(21_000, 9_000, same_publisher=False) == 9_000


@pytest.mark.parametrize("accepts", [MediaClock.accepts_video, MediaClock.accepts_audio])
def test_each_track_may_step_back_a_little_and_run_ahead_a_little_more(accepts) -> None:  # type: ignore[no-untyped-def]
    media_clock = clock(1000)
    assert accepts(media_clock, 6_000)
    assert accepts(media_clock, 5_500)
    assert accepts(media_clock, 5_000)
    assert not accepts(media_clock, 4_499)
    assert accepts(media_clock, 11_000)
    assert not accepts(media_clock, 16_001)
    assert accepts(media_clock, 16_000)


def test_what_one_track_has_reached_is_no_jump_for_the_other() -> None:
    media_clock = clock(0)
    for stamp_ms in range(0, 20_000, 4_000):
        assert media_clock.accepts_audio(stamp_ms)
    assert media_clock.accepts_video(20_000)
    assert media_clock.accepts_audio(15_600)


def test_a_new_epoch_forgets_the_old_stamps() -> None:
    media_clock = clock(0)
    assert media_clock.accepts_video(4_000)
    assert media_clock.accepts_audio(4_000)
    media_clock.start(100, 5_000, same_publisher=True)
    assert media_clock.accepts_audio(100)
    assert media_clock.accepts_video(100)


# -- audio clock


def audio_clock(rate: int = 48_000) -> AudioClock:
    return AudioClock(rate, 1024, 0.05)


def test_samples_are_counted_through_jitter() -> None:
    count = audio_clock()
    for number in range(500):
        jitter_ms = (number * 7) % 40 - 20
        assert count.place(round(number * 1024 / 48) + jitter_ms, 1024, 9_600) == 1024
    assert count.position == 500 * 1024


def test_stamps_that_run_ahead_make_one_frame_longer() -> None:
    count = audio_clock()
    count.position = 48_000
    assert count.place(1_100, 1024, 48_000) == 1024 + 4_800
    assert count.place(1_121, 1024, 48_000) == 1024
    assert abs(count.position - count.ticks(1_143)) < 48


def test_a_long_silence_is_spread_over_frames_of_the_longest_length() -> None:
    count = audio_clock()
    durations = [count.place(500 + round(n * 1024 / 48), 1024, 9_600) for n in range(5)]
    assert durations == [9_600, 9_600, 7_888, 1024, 1024]


def test_it_says_how_many_frames_are_missing() -> None:
    count = audio_clock()
    assert count.missing(48_000, 48_000 + 2_400) == 0, "50 ms are not worth it"
    assert count.missing(48_000, 48_000 + 2_401) == 2
    assert count.missing(48_000, 48_000 + 14 * 1024 - 47) == 14, "stamps are whole milliseconds"
    assert count.missing(48_000, 47_000) == 0


def test_a_frame_that_is_past_altogether_is_left_out() -> None:
    count = audio_clock()
    count.position = 48_000
    assert count.place(949, 1024, 9_600) == 0
    assert count.position == 48_000
    assert count.place(950, 1024, 9_600) == 1024, "50 ms are not worth it"


def test_a_drift_below_one_frame_is_never_corrected() -> None:
    count = AudioClock(8_000, 1024, 0.05)
    assert count.place(120, 1024, 8_000) == 1024
    assert count.place(300, 1024, 8_000) == 1024 + 2_400 - 1024


@given(st.lists(st.integers(-500, 5_000)), st.sampled_from([8_000, 44_100, 96_000]))
def test_durations_are_never_negative_and_always_contiguous(stamps: list[int], rate: int) -> None:
    count = audio_clock(rate)
    for stamp in stamps:
        before = count.position
        duration = count.place(stamp, 1024, rate)
        assert 0 <= duration <= rate
        assert count.position == before + duration


def test_a_frame_longer_than_its_place_is_cut_down_to_it() -> None:
    """An encoder may change the length of its frames; a part may not be longer for it."""
    count = audio_clock()
    assert count.place(0, 2_880, 9_600) == 2_880
    assert count.place(60, 9_600, 4_800) == 4_800
    assert count.place(260, 960, 9_600) == 960 + 4_800, "and the stamps make up for it"
    assert count.position == 9_600 + 2_880 + 960
