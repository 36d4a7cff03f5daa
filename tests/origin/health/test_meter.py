"""What is measured of a publisher: every figure, from samples whose faults are known."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_samples import asc, avc_record

from hls import Sample, TrackKind
from hls.audio import parse_audio_config
from hls.video import parse_video_config
from origin.bridge import Output, Tracks
from origin.health.meter import MAX_GAPS, MAX_NOTED, PACE_S, SPEED_S, STEADY_S, Meter, Reading

VIDEO = parse_video_config(b"avc1", avc_record())
AUDIO = parse_audio_config(b"mp4a", asc())
LOOK_S = 0.5

Change = Callable[[float], float]


class Publisher:
    """Sends to a meter, at its own pace, and looks twice a second."""

    def __init__(self, *, video: bool = True, audio: bool = True) -> None:
        self.meter = Meter(0.0)
        self.now_s = 0.0
        self.readings: list[Reading] = []
        self._video, self._audio = video, audio
        self.meter.note(
            50, (Tracks(VIDEO if video else None, AUDIO if audio else None),), heard_s=0.0
        )

    def send(
        self,
        seconds: float,
        *,
        fps: float = 30,
        keyframe_s: float = 1.0,
        size_bytes: int = 5000,
        audio_ahead_ms: float = 0.0,
        speed: float = 1.0,
        late_ms: Change = lambda _at_s: 0.0,
        is_missing: Callable[[float], bool] = lambda _at_s: False,
        reorders: bool = False,
    ) -> Reading:
        """Send so much; returns the last reading."""
        begin_s, ends_s = self.now_s, self.now_s + seconds
        frames: list[tuple[float, Sample]] = []
        if self._video:
            for number in range(int(seconds * fps)):
                at_s = number / fps
                if is_missing(at_s):
                    continue
                dts_ms = round((begin_s + at_s * speed) * 1000)
                pts_ms = dts_ms + (33 * (number % 3) if reorders else 0)
                is_key = number % round(fps * keyframe_s) == 0
                data = bytes(size_bytes)
                frames.append((at_s, Sample(TrackKind.VIDEO, dts_ms, pts_ms, is_key, data)))
        if self._audio:
            for number in range(int(seconds * 375 / 8)):
                at_s = number * 8 / 375
                dts_ms = round((begin_s + at_s * speed) * 1000 + audio_ahead_ms)
                frames.append((at_s, Sample(TrackKind.AUDIO, dts_ms, dts_ms, True, bytes(200))))
        frames.sort(key=lambda frame: frame[0] + late_ms(frame[0]) / 1000)
        next_s = begin_s + LOOK_S
        for at_s, sample in frames:
            heard_s = begin_s + at_s + late_ms(at_s) / 1000
            while heard_s >= next_s:
                self.readings.append(self.meter.look(next_s))
                next_s += LOOK_S
            self.meter.note(len(sample.data) + 5, (sample,), heard_s)
        while next_s <= ends_s + 1e-9:
            self.readings.append(self.meter.look(next_s))
            next_s += LOOK_S
        self.now_s = ends_s
        return self.readings[-1]


def test_a_good_source_reads_as_it_is() -> None:
    reading = Publisher().send(12)
    assert reading.has_video
    assert reading.has_audio
    assert reading.fps == pytest.approx(30, abs=0.5)
    assert reading.source_fps == reading.fps
    assert reading.mean_kbps == pytest.approx((30 * 5005 + 46.9 * 205) / 125, rel=0.03)
    assert reading.bitrate_kbps == pytest.approx(reading.mean_kbps, rel=0.05)
    assert (reading.dropped, reading.late) == (0, 0)
    assert reading.keyframe_s == pytest.approx(1, abs=0.01)
    assert reading.has_b_frames is False
    assert reading.skew_ms == pytest.approx(0, abs=2)
    assert reading.jitter_ms == pytest.approx(0, abs=2)
    assert reading.speed == pytest.approx(1, abs=0.01)
    assert reading.swings == 0
    assert reading.picture_bytes == 5000
    assert reading.idle_s == 0
    assert reading.drift is not None
    assert abs(reading.drift.ppm) < 50


def test_nothing_is_known_of_nothing() -> None:
    meter = Meter(10.0)
    reading = meter.look(10.5)
    assert (reading.fps, reading.mean_kbps, reading.keyframe_s) == (None, None, None)
    assert (reading.skew_ms, reading.drift, reading.jitter_ms) == (None, None, None)
    assert (reading.speed, reading.has_b_frames, reading.picture_bytes) == (None, None, None)
    assert not reading.has_video
    assert reading.idle_s == 0.5
    assert meter.look(13.5).idle_s == 3.5


@pytest.mark.parametrize("fps", [5, 12, 24, 29.97, 60, 120])
def test_any_frame_rate_is_told_and_none_of_its_frames_is_missing(fps: float) -> None:
    publisher = Publisher()
    reading = publisher.send(8, fps=fps)
    assert reading.fps == pytest.approx(fps, rel=0.05)
    assert sum(each.dropped for each in publisher.readings) == 0


def test_missing_frames_are_counted_and_are_not_a_low_frame_rate() -> None:
    publisher = Publisher()
    reading = publisher.send(10, fps=60, is_missing=lambda at_s: at_s % 0.5 >= 0.25)
    missing = sum(each.dropped for each in publisher.readings)
    assert missing == pytest.approx(300, abs=40)  # but for the first half second
    assert reading.fps == pytest.approx(30, abs=3)
    assert reading.source_fps == pytest.approx(60, abs=3)


def test_film_in_a_clock_of_sixty_misses_nothing() -> None:
    publisher = Publisher()
    publisher.send(6, fps=60, is_missing=lambda at_s: round(at_s * 60) % 5 not in (0, 2))
    assert sum(each.dropped for each in publisher.readings) == 0


def test_missing_frames_are_not_a_long_keyframe_interval() -> None:
    publisher = Publisher()
    publisher.send(4, keyframe_s=2)
    reading = publisher.send(10, keyframe_s=2, is_missing=lambda at_s: 2 < at_s < 8)
    assert sum(each.dropped for each in publisher.readings) == pytest.approx(180, abs=5)
    assert max(each.keyframe_s or 0 for each in publisher.readings) < 2.2
    assert reading.keyframe_s == pytest.approx(2, abs=0.1)


def test_another_frame_rate_after_new_tracks_misses_nothing() -> None:
    publisher = Publisher()
    publisher.send(6, fps=60)
    publisher.meter.note(50, (Tracks(VIDEO, AUDIO),), publisher.now_s)
    publisher.send(6, fps=20)
    assert sum(each.dropped for each in publisher.readings) == 0


def test_the_time_since_the_last_keyframe_counts_before_the_next_is_there() -> None:
    publisher = Publisher()
    publisher.send(9, keyframe_s=10)
    known = [each.keyframe_s for each in publisher.readings if each.keyframe_s is not None]
    assert known[-1] == pytest.approx(8.95, abs=0.1)
    assert known == sorted(known)


@pytest.mark.parametrize("ahead_ms", [-300, 300])
def test_skew(ahead_ms: float) -> None:
    reading = Publisher().send(3, audio_ahead_ms=ahead_ms)
    assert reading.skew_ms == pytest.approx(ahead_ms, abs=3)


def test_reordered_pictures() -> None:
    assert Publisher().send(2, reorders=True).has_b_frames is True


@pytest.mark.parametrize("audio", [True, False])
def test_drift(audio: bool) -> None:
    reading = Publisher(audio=audio).send(5, speed=1.001)
    assert reading.drift is not None
    assert reading.drift.is_known
    assert reading.drift.ppm == pytest.approx(1000, abs=100)


def test_an_encoder_that_is_too_slow() -> None:
    assert Publisher().send(12, speed=0.9).speed == pytest.approx(0.9, abs=0.01)


def test_a_track_that_is_put_right_is_no_slow_encoder() -> None:
    publisher = Publisher()
    publisher.send(8, audio_ahead_ms=600)
    publisher.send(8)
    assert min(each.speed for each in publisher.readings if each.speed is not None) > 0.985


def test_jitter_and_late_samples() -> None:
    publisher = Publisher()
    publisher.send(6)
    reading = publisher.send(6, late_ms=lambda at_s: 1000 * (1 - at_s % 1))  # once a second
    assert reading.jitter_ms == pytest.approx(900, abs=30)
    assert sum(each.late for each in publisher.readings) > 10


def test_a_bitrate_that_swings() -> None:
    publisher = Publisher()
    for _ in range(4):
        publisher.send(8, size_bytes=10_000)
        reading = publisher.send(8, size_bytes=1000)
    assert reading.swings >= 5


def test_one_step_of_the_bitrate_is_one_swing() -> None:
    publisher = Publisher()
    publisher.send(20, size_bytes=10_000)
    assert publisher.send(20, size_bytes=1000).swings == 1


def test_what_was_held_back_is_not_late() -> None:
    publisher = Publisher()
    held = [Sample(TrackKind.VIDEO, number * 33, number * 33, False, b"") for number in range(30)]
    publisher.meter.note(9, (Tracks(VIDEO, AUDIO), *held), heard_s=1.0)
    reading = publisher.meter.look(1.2)
    assert (reading.jitter_ms, reading.skew_ms, reading.late) == (None, None, 0)


def test_a_clock_that_jumps_begins_anew() -> None:
    publisher = Publisher()
    publisher.send(6)
    publisher.now_s += 3600  # of stamps and of ours, so that no pace can be told from it
    reading = publisher.send(3)
    assert sum(each.dropped for each in publisher.readings) == 0
    assert reading.keyframe_s == pytest.approx(1, abs=0.1)
    assert reading.speed is None


def test_no_picture_comes_but_sound() -> None:
    publisher = Publisher()
    publisher.send(5)
    assert publisher.send(5, is_missing=lambda _at_s: True).fps == 0


def test_sound_alone() -> None:
    reading = Publisher(video=False).send(6)
    assert (reading.fps, reading.has_video, reading.skew_ms) == (None, False, None)
    assert reading.jitter_ms is not None


def test_everything_is_bounded() -> None:
    publisher = Publisher()
    sample = Sample(TrackKind.VIDEO, 0, 0, False, b"x")
    for _ in range(MAX_NOTED + 100):
        publisher.meter.note(1, (sample,), 0.1)
    assert len(publisher.meter._noted) == MAX_NOTED
    publisher.send(STEADY_S + 5, fps=5)
    meter = publisher.meter
    assert len(meter._sizes) == STEADY_S / LOOK_S + 1
    assert len(meter._looks) == SPEED_S / LOOK_S + 1
    assert len(meter._paces) == PACE_S / LOOK_S
    assert len(meter._gaps_ms) == MAX_GAPS


def outputs() -> st.SearchStrategy[Output]:
    stamps = st.integers(-(2**40), 2**40) | st.integers(0, 20_000)
    samples = st.builds(
        Sample, st.sampled_from(TrackKind), stamps, stamps, st.booleans(), st.just(b"data")
    )
    return samples | st.sampled_from(
        [Tracks(VIDEO, None), Tracks(VIDEO, AUDIO), Tracks(None, AUDIO)]
    )


@given(
    st.lists(
        st.tuples(st.lists(outputs(), max_size=20), st.sampled_from([0.0, 0.1, 2.0])), max_size=30
    )
)
def test_whatever_comes_it_can_be_read(messages: list[tuple[list[Output], float]]) -> None:
    meter, now_s = Meter(0.0), 0.0
    for given_outputs, step_s in messages:
        meter.note(10, given_outputs, now_s)
        now_s += step_s
        reading = meter.look(now_s)
        assert reading.dropped >= 0
        assert reading.bitrate_kbps >= 0
        assert reading.fps is None or reading.fps >= 0
