"""Pictures and sounds made as arrays: what is black, frozen or silent, and what is not."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from origin.transcode.signals import (
    LEAVE_AFTER_S,
    MAX_GAP_S,
    SAMPLE_INTERVAL_S,
    SILENT_AFTER_S,
    AudioSignals,
    AvDrift,
    Lasting,
    VideoSignals,
)

WIDTH, HEIGHT = 160, 90
RATE = 48_000
Plane = npt.NDArray[np.uint8]
Scene = Callable[[float], Plane]


def ticks(seconds: float) -> int:
    return round(seconds * 90_000)


def flat(level: int) -> Plane:
    return np.full((HEIGHT, WIDTH), level, dtype=np.uint8)


def noisy(plane: Plane, sigma: float, seed: int) -> Plane:
    noise = np.random.default_rng(seed).normal(0, sigma, plane.shape)
    return (plane + noise).clip(0, 255).astype(np.uint8)


def textured(low: int, high: int, seed: int = 7) -> Plane:
    """A picture with structure of about eight pixels."""
    rough = np.random.default_rng(seed).integers(low, high + 1, (12, 20))
    return np.kron(rough, np.ones((8, 8)))[:HEIGHT, :WIDTH].astype(np.uint8)


def show(
    signals: VideoSignals, scene: Scene, seconds: float, *, start_s: float = 0.0, fps: float = 30
) -> list[tuple[float, bool, bool]]:
    """Push a scene; return the times at which a verdict changed, with both verdicts."""
    changes = []
    before = (signals.black, signals.frozen)
    for number in range(round(seconds * fps)):
        at_s = start_s + number / fps
        if not signals.wants(ticks(at_s)):
            continue  # the others are not drawn either
        signals.push(scene(number / fps), ticks(at_s))
        if (signals.black, signals.frozen) != before:
            before = (signals.black, signals.frozen)
            changes.append((at_s, *before))
    return changes


def still(plane: Plane) -> Scene:
    return lambda _: plane


# -- black


@pytest.mark.parametrize("level", [0, 16, 24])
@pytest.mark.parametrize("sigma", [0, 1.5])
def test_black_is_told_after_two_seconds(level: int, sigma: float) -> None:
    signals = VideoSignals()
    changes = show(signals, lambda t: noisy(flat(level), sigma, round(t * 1000)), 3)
    assert [(black, frozen) for _, black, frozen in changes] == [(True, False)]
    assert 2 <= changes[0][0] <= 2 + 2 * SAMPLE_INTERVAL_S


def letterboxed(plane: Plane) -> Plane:
    boxed = plane.copy()
    boxed[:12] = boxed[-12:] = 16
    return boxed


def with_patch(plane: Plane, top: int, left: int, height: int, width: int, level: int) -> Plane:
    patched = plane.copy()
    patched[top : top + height, left : left + width] = level
    return patched


@pytest.mark.parametrize(
    "plane",
    [
        letterboxed(textured(18, 45)),
        letterboxed(flat(45)),
        with_patch(flat(16), 40, 80, 6, 5, 220),  # a candle
        with_patch(flat(16), 80, 20, 5, 60, 180),  # a line of text
        flat(60),
        textured(16, 60),
    ],
    ids=["dark scene", "dark flat scene", "candle", "text", "grey", "night"],
)
def test_a_dark_picture_is_not_black(plane: Plane) -> None:
    signals = VideoSignals()
    show(signals, still(plane), 4)
    assert not signals.black


def test_a_short_black_is_not_told() -> None:
    signals = VideoSignals()
    scene = textured(30, 200)
    changes = show(signals, lambda t: flat(16) if 1 <= t < 2.5 else noisy(scene, 5, int(t * 30)), 5)
    assert [change for change in changes if change[1]] == []


def test_a_fade_to_black_and_back_is_told_once_each() -> None:
    scene = textured(30, 200).astype(np.float64)

    def fading(t: float) -> Plane:
        light = min(1.0, abs(t - 10) / 5)  # 15 s: down in 5, up in 5
        light = max(0.0, light - 0.4) / 0.6  # and 4 s of black in the middle
        return (16 + (scene - 16) * light).astype(np.uint8)

    signals = VideoSignals()
    changes = show(signals, fading, 20)
    verdicts = [black for _, black, _ in changes]
    assert verdicts.count(True) == 1
    assert verdicts[-1] is False
    (told,) = [at_s for at_s, black, _ in changes if black]
    assert 9 < told < 11
    assert not signals.frozen


def test_a_level_at_the_threshold_does_not_flutter() -> None:
    """A spread that swings about the bound, within the margin."""
    signals = VideoSignals()
    show(signals, still(flat(20)), 3)

    def swinging(t: float) -> Plane:
        return noisy(flat(24), 3.5 + 1.5 * np.sin(20 * t), round(t * 1000))

    assert show(signals, swinging, 10, start_s=3) == []
    assert signals.black


def test_one_bright_picture_does_not_end_black_and_half_a_second_does() -> None:
    signals = VideoSignals()
    show(signals, still(flat(16)), 3)
    signals.push(flat(200), ticks(3.25))
    signals.push(flat(16), ticks(3.5))
    assert signals.black
    show(signals, still(flat(200)), 0.5, start_s=4)
    assert not signals.black


# -- frozen


def test_the_same_picture_is_frozen_after_five_seconds() -> None:
    signals = VideoSignals()
    changes = show(signals, still(textured(30, 200)), 7)
    assert [(black, frozen) for _, black, frozen in changes] == [(False, True)]
    assert 5 <= changes[0][0] <= 5 + 2 * SAMPLE_INTERVAL_S


def test_a_slate_with_the_noise_of_a_codec_is_frozen() -> None:
    """Noise in each picture, and every two seconds a keyframe with errors of its own."""
    slate = with_patch(textured(90, 110), 30, 40, 12, 80, 235)

    def coded(t: float) -> Plane:
        pumped = noisy(slate, 1.2, seed=int(t // 2))
        return noisy(pumped, 0.8, seed=1000 + round(t * 30))

    signals = VideoSignals()
    changes = show(signals, coded, 20)
    assert [frozen for _, _, frozen in changes] == [True]


def talking_head(t: float) -> Plane:
    """A still room, a face that hardly moves, and a mouth of 8 by 4 pixels."""
    open_by = round(2 + 2 * np.sin(2 * np.pi * 2.7 * t))
    nod = round(1.5 * np.sin(2 * np.pi * 0.4 * t))
    plane = with_patch(textured(60, 90), 20 + nod, 60, 45, 35, 160)
    return with_patch(plane, 52 + nod, 74, 1 + open_by, 8, 40)


def countdown(t: float) -> Plane:
    """A slate on which one digit changes every second."""
    digit = np.random.default_rng(int(t)).integers(0, 2, (7, 5)) * 200 + 30
    plane = flat(30)
    plane[40:47, 80:85] = digit
    return plane


def slow_pan(t: float) -> Plane:
    return np.roll(textured(40, 160), round(t * 2), axis=1)


def slow_fade(t: float) -> Plane:
    """Three levels a second: next to nothing from one look to the next."""
    return flat(round(230 - 3 * t))


@pytest.mark.parametrize("scene", [talking_head, countdown, slow_pan, slow_fade])
def test_small_and_slow_movements_are_not_frozen(scene: Scene) -> None:
    signals = VideoSignals()
    show(signals, lambda t: noisy(scene(t), 0.8, round(t * 1000)), 20)
    assert not signals.frozen
    assert not signals.black


def test_a_frozen_feed_that_moves_again_is_told_soon() -> None:
    signals = VideoSignals()
    show(signals, still(talking_head(0)), 8)
    assert signals.frozen
    ((at_s, _, frozen),) = show(signals, talking_head, 4, start_s=8)
    assert not frozen
    assert at_s < 9.5


def test_one_broken_picture_does_not_end_it() -> None:
    signals = VideoSignals()
    plane = textured(30, 200)

    def broken_once(t: float) -> Plane:
        return flat(128) if 2 <= t < 2.2 else plane

    show(signals, still(plane), 6)
    assert show(signals, broken_once, 10, start_s=6) == []
    assert signals.frozen


def test_a_slide_show_is_frozen_between_slides() -> None:
    signals = VideoSignals()
    changes = show(signals, lambda t: textured(30, 200, seed=int(t // 10)), 30)
    assert [frozen for _, _, frozen in changes] == [True, False, True, False, True]


def test_black_that_stays_is_both() -> None:
    signals = VideoSignals()
    show(signals, still(flat(16)), 6)
    assert (signals.black, signals.frozen) == (True, True)


def test_another_size_is_movement() -> None:
    signals = VideoSignals()
    show(signals, still(flat(100)), 6)
    assert signals.frozen
    show(signals, still(np.full((68, 120), 100, dtype=np.uint8)), 1, start_s=6)
    assert not signals.frozen


# -- when looks are taken


@pytest.mark.parametrize("fps", [0.5, 1, 10, 24, 60, 120])
def test_the_frame_rate_does_not_matter(fps: float) -> None:
    signals = VideoSignals()
    ((at_s, *_), *_) = show(signals, still(flat(16)), 10, fps=fps)
    assert signals.black
    assert signals.frozen
    assert 2 <= at_s <= 2.5 + 1 / fps


def test_wants_says_which_pictures_are_looked_at() -> None:
    signals = VideoSignals()
    wanted = []
    for number in range(30):
        pts_ticks = ticks(number / 30)
        if signals.wants(pts_ticks):
            wanted.append(number)
        signals.push(flat(0), pts_ticks)
    assert wanted == [0, 8, 16, 24]


def test_a_gap_is_not_counted_as_stillness() -> None:
    signals = VideoSignals()
    plane = textured(30, 200)
    show(signals, still(plane), 3)
    changes = show(signals, still(plane), 7, start_s=100)
    assert changes[0][0] >= 105
    signals.push(plane, ticks(3))  # the clock went back
    assert signals.frozen
    assert show(signals, still(plane), 4, start_s=3) == []


@given(
    arrays.arrays(np.uint8, arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=40)),
    st.lists(st.integers(-(2**40), 2**40), max_size=20),
)
def test_whatever_a_decoder_gives_is_taken(plane: Any, stamps: list[int]) -> None:
    signals = VideoSignals()
    for stamp in stamps:
        signals.push(plane, stamp)


# -- the verdict's patience


@given(
    st.lists(
        st.tuples(st.sampled_from(["enters", "leaves", ""]), st.integers(1, 60_000)), max_size=200
    )
)
def test_a_verdict_keeps_its_patience(observations: list[tuple[str, int]]) -> None:
    """It changes only when nothing has spoken against that for its time, and so cannot flutter."""
    lasting = Lasting(1.0)
    at = changed_at = contrary_at = 0
    for word, step in observations:
        at += step
        before = lasting.holds
        if word == ("enters" if before else "leaves"):
            contrary_at = at
        changed = lasting.push(enters=word == "enters", leaves=word == "leaves", pts_ticks=at)
        assert changed == (lasting.holds != before)
        if changed:
            least_ticks = ticks(LEAVE_AFTER_S if before else 1.0)
            assert at - max(changed_at, contrary_at) >= least_ticks
            changed_at = contrary_at = at


# -- sound


def tone(level_dbfs: float, channels: int = 2) -> npt.NDArray[np.float32]:
    """1024 samples of a sine with this effective level."""
    wave = np.sqrt(2) * 10 ** (level_dbfs / 20) * np.sin(np.arange(1024) * 2 * np.pi * 8 / 1024)
    return np.tile(wave.astype(np.float32), (channels, 1))


def play(
    signals: AudioSignals,
    frames: Iterable[npt.NDArray[Any]] | npt.NDArray[Any],
    seconds: float = 0,
    *,
    start_s: float = 0.0,
) -> list[tuple[float, bool]]:
    changes = []
    if isinstance(frames, np.ndarray):
        frames = [frames] * round(seconds * RATE / 1024)
    for number, samples in enumerate(frames):
        before = signals.silent
        at_s = start_s + number * 1024 / RATE
        signals.push(samples, ticks(at_s))
        if signals.silent != before:
            changes.append((at_s, signals.silent))
    return changes


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros((2, 1024), np.float32),
        tone(-70),
        tone(-61),
        np.full((2, 1024), 0.1, np.float32),
        np.zeros((1, 2048), np.int16),
        (tone(-66) * 32768).astype(np.int16),
        np.random.default_rng(1).integers(-1, 2, (2, 1024)).astype(np.int16),
        np.zeros(1024, np.float32),
    ],
    ids=["zeros", "-70", "-61", "DC", "packed", "int16 -66", "dither", "mono"],
)
def test_silence_is_told_after_five_seconds(samples: npt.NDArray[Any]) -> None:
    ((at_s, silent),) = play(AudioSignals(), samples, 7)
    assert silent
    assert SILENT_AFTER_S <= at_s <= SILENT_AFTER_S + 0.1


@pytest.mark.parametrize(
    "samples",
    [
        tone(-55),
        tone(-20),
        np.vstack([tone(-40, 1), np.zeros((1, 1024), np.float32)]),
        (tone(-50) * 32768).astype(np.int16),
        (tone(-50) * 2**31).astype(np.int32),
        np.full((2, 1024), np.nan, np.float32),
        np.array([[np.inf, 0.0] * 512], np.float32),
        np.full((1, 1024), 3e38, np.float32) * np.resize([1, -1], 1024).astype(np.float32),
    ],
    ids=["-55", "-20", "one channel", "int16", "int32", "NaN", "infinite", "overflow"],
)
def test_sound_is_not_silence(samples: npt.NDArray[Any]) -> None:
    assert play(AudioSignals(), samples, 7) == []


def test_between_the_thresholds_nothing_changes() -> None:
    signals = AudioSignals()
    assert play(signals, tone(-58.5), 20) == []
    play(signals, tone(-80), 6, start_s=20)
    assert signals.silent
    assert play(signals, tone(-58.5), 20, start_s=26) == []
    assert signals.silent


def test_a_click_does_not_end_silence_and_a_word_does() -> None:
    signals = AudioSignals()
    quiet, loud = tone(-90), tone(-20)
    play(signals, quiet, 6)
    assert play(signals, [loud] * 3 + [quiet] * 50, start_s=6) == []
    ((at_s, silent),) = play(signals, [loud] * 20, start_s=8)
    assert not silent
    assert at_s == pytest.approx(8.2, abs=0.03)


def test_a_click_now_and_then_is_enough_not_to_be_silent() -> None:
    """Whoever hears a clock tick knows that the line is open."""
    signals = AudioSignals()
    second = [tone(-20)] + [tone(-90)] * 46
    assert play(signals, second * 30) == []


def test_no_samples_say_nothing() -> None:
    signals = AudioSignals()
    assert play(signals, np.zeros((2, 0), np.float32), 20) == []


def test_a_gap_in_the_sound_is_not_counted_as_silence() -> None:
    signals = AudioSignals()
    play(signals, tone(-90), 3)
    ((at_s, _),) = play(signals, tone(-90), 7, start_s=3 + 2 * MAX_GAP_S)
    assert at_s >= 3 + 2 * MAX_GAP_S + SILENT_AFTER_S


# -- drift


def send(drift: AvDrift, *, seconds: float, start_s: float = 0.0, ahead_s: float = 0.0) -> None:
    """Both tracks as a publisher sends them, the sound's stamps ahead by `ahead_s`."""
    sounds = 0
    for number in range(round(seconds * 30)):
        while sounds * 1024 / RATE <= number / 30:
            drift.push_audio(ticks(start_s + sounds * 1024 / RATE + ahead_s))
            sounds += 1
        reordered = number + (2, 0, 1)[number % 3] - 1
        drift.push_video(ticks(start_s + reordered / 30))


def test_there_is_no_drift_before_both_have_come() -> None:
    drift = AvDrift()
    assert drift.seconds is None
    for number in range(10):
        drift.push_video(number * 3000)
    assert drift.seconds is None
    drift = AvDrift()
    drift.push_audio(0)
    assert drift.seconds is None


@pytest.mark.parametrize("ahead_s", [0.0, 0.4, -0.4, 2.5])
def test_drift_is_the_distance_of_the_two(ahead_s: float) -> None:
    drift = AvDrift()
    send(drift, seconds=10, ahead_s=ahead_s)
    assert drift.seconds == pytest.approx(ahead_s, abs=0.06)


def test_drift_follows_slowly() -> None:
    drift = AvDrift()
    send(drift, seconds=10)
    send(drift, seconds=0.5, start_s=10, ahead_s=1)
    assert drift.seconds is not None
    assert 0.1 < drift.seconds < 0.5
    send(drift, seconds=10, start_s=10.5, ahead_s=1)
    assert drift.seconds == pytest.approx(1, abs=0.06)


@pytest.mark.parametrize("start_s", [0.0, 3600.0])
def test_another_clock_is_no_drift(start_s: float) -> None:
    drift = AvDrift()
    send(drift, seconds=5, start_s=500)
    drift.push_video(ticks(start_s))
    assert drift.seconds is None
    send(drift, seconds=1, start_s=start_s)
    assert drift.seconds == pytest.approx(0, abs=0.06)


def test_another_clock_may_show_in_the_sound_first() -> None:
    drift = AvDrift()
    send(drift, seconds=5, start_s=500)
    drift.push_audio(0)
    assert drift.seconds is None
    send(drift, seconds=1)
    assert drift.seconds == pytest.approx(0, abs=0.06)
