"""Silence: frames that a decoder takes for what they are, and where they stand in for audio."""

from collections.abc import Callable
from fractions import Fraction

import av
import pytest
from media_rules import AUDIO, VIDEO, Verdict, judge
from media_samples import Frame, Source, asc
from segmenter_runs import Driver, Run, constant

import hls
from hls import AacConfig, Part, Segmenter
from hls.silence import silent_frame

DRIVER = Driver(hls)
SILENCE = silent_frame(2)
FRAME_S = Fraction(1024, 48_000)


# -- the frame


def decode(config: bytes, frames: list[bytes]) -> list[av.AudioFrame]:
    """What FFmpeg makes of raw frames under a configuration: one for each."""
    decoder = av.CodecContext.create("aac", "r")
    decoder.extradata = config
    heard: list[av.AudioFrame] = []
    for number, data in enumerate(frames):
        packet = av.Packet(data)
        packet.pts = 1024 * number
        heard += [f for f in decoder.decode(packet) if isinstance(f, av.AudioFrame)]
    assert len(heard) == len(frames)
    return heard


def is_silent(heard: av.AudioFrame) -> bool:
    (packed,) = av.AudioResampler(format="flt").resample(heard)
    return not any(bytes(packed.planes[0]))


@pytest.mark.parametrize("channel_configuration", [1, 2, 3, 4, 5, 6, 7, 11, 12, 14])
@pytest.mark.parametrize("rate", [48_000, 22_050])
def test_a_decoder_hears_nothing(channel_configuration: int, rate: int) -> None:
    config = AacConfig.parse(asc(rate, channel_configuration))
    assert config.silence == silent_frame(channel_configuration)
    for heard in decode(config.config, 3 * [config.silence]):
        assert (heard.samples, heard.sample_rate) == (1024, rate)
        assert heard.layout.nb_channels == config.channels
        assert is_silent(heard)


@pytest.mark.parametrize(
    ("config", "rate", "channels", "samples"),
    [
        pytest.param(asc(24_000, 2, object_type=5), 48_000, 2, 2048, id="HE-AAC"),
        pytest.param(asc(24_000, 1, object_type=29), 48_000, 2, 2048, id="HE-AAC v2"),
        pytest.param(asc(48_000, 2, short_frames=True), 48_000, 2, 960, id="960 samples"),
    ],
)
def test_it_is_silence_in_the_other_kinds_of_aac_too(
    config: bytes, rate: int, channels: int, samples: int
) -> None:
    (heard,) = decode(config, [AacConfig.parse(config).silence])
    assert (heard.sample_rate, heard.layout.nb_channels) == (rate, channels)
    assert heard.samples == samples
    assert is_silent(heard)


@pytest.mark.parametrize("channel_configuration", [0, 8, 15])
def test_a_layout_of_its_own_has_none(channel_configuration: int) -> None:
    assert silent_frame(channel_configuration) == b""


# -- where it stands


def without(frames: list[Frame], drop: Callable[[Frame], bool]) -> list[Frame]:
    return [frame for frame in frames if not drop(frame)]


def silence_of(verdict: Verdict) -> list[float]:
    """Starts of the frames of silence, seconds."""
    return [s.time / 48_000 for s in verdict.samples(AUDIO) if s.data == SILENCE]


def heard_of(verdict: Verdict) -> list[bytes]:
    return [sample.data for sample in verdict.samples(AUDIO) if sample.data != SILENCE]


def quiet(since_ms: int, until_ms: int) -> list[Frame]:
    """Ten seconds of a publisher whose audio is missing for a while."""
    return without(
        constant(30, duration_s=10).frames(),
        lambda frame: not frame.is_video and since_ms <= frame.dts_ms < until_ms,
    )


def test_audio_that_stops_is_silence_until_it_comes_back() -> None:
    sent = quiet(4_000, 9_000)
    packaged = DRIVER.start(constant(30)).push(sent).flush()
    verdict = judge(packaged.batches)
    assert packaged.segmenter.discontinuities == 0
    starts = silence_of(verdict)
    assert starts[0] == pytest.approx(4.0, abs=0.022)
    assert len(starts) == pytest.approx(5 / FRAME_S, abs=1)
    assert heard_of(verdict) == [frame.data for frame in sent if not frame.is_video]
    # Parts come as they did, none waits for audio, and no more than the patience is without it.
    bare = [f for s in verdict.segments for f in s.fragments if not f.of(AUDIO)]
    assert len(bare) <= 3
    delays = []
    now_s = 0.0
    for frame, batch in zip(sent, packaged.batches, strict=False):
        now_s = frame.dts_ms / 1000 if frame.is_video else now_s
        delays += [
            now_s - e.media_time_s - e.duration_s
            for e in batch
            if isinstance(e, Part) and e.msn > 0
        ]
    assert max(delays) < 0.14
    # What comes back is where its stamps say.
    again = next(s for s in verdict.samples(AUDIO) if s.time > 9 * 48_000 and s.data != SILENCE)
    assert again.time / 48_000 == pytest.approx(9.0, abs=0.05)


def test_audio_that_never_comes_back_is_silence_to_the_end() -> None:
    verdict = judge(DRIVER.start(constant(30)).push(quiet(4_000, 99_000)).flush().batches)
    assert verdict.samples(AUDIO)[-1].time / 48_000 == pytest.approx(10.0, abs=0.08)


def test_audio_that_has_not_come_with_the_first_pictures_begins_as_silence() -> None:
    verdict = judge(DRIVER.start(constant(30)).push(quiet(0, 5_000)).flush().batches)
    assert verdict.samples(AUDIO)[0].time == 0
    assert silence_of(verdict)[-1] == pytest.approx(5.0, abs=0.05)


def test_audio_that_joins_a_little_late_begins_as_silence_too() -> None:
    verdict = judge(DRIVER.start(constant(30)).push(quiet(0, 300)).flush().batches)
    first, *_ = verdict.samples(AUDIO)
    assert first.data == SILENCE
    assert 0 <= first.time < 1024
    heard = next(s for s in verdict.samples(AUDIO) if s.data != SILENCE)
    assert heard.time / 48_000 == pytest.approx(0.3, abs=0.022), "to the sample where it was"


def test_a_short_hole_is_filled_when_the_audio_comes() -> None:
    """Lost on the way, say: no patience is over, and still no player may meet a hole."""
    verdict = judge(DRIVER.start(constant(30)).push(quiet(4_000, 4_300)).flush().batches)
    assert len(silence_of(verdict)) == pytest.approx(0.3 / FRAME_S, abs=1)
    assert {sample.duration for sample in verdict.samples(AUDIO)} == {1024}


def test_the_end_of_an_epoch_is_as_long_in_both_tracks() -> None:
    packaged = DRIVER.start(constant(30)).push(quiet(9_700, 10_000))
    verdict = judge([*packaged.batches, packaged.segmenter.interrupt()])
    last = verdict.samples(AUDIO)[-1]
    assert last.data == SILENCE
    assert last.time / 48_000 == pytest.approx(10.0, abs=0.05)


def test_a_silence_in_audio_alone_is_filled_part_by_part() -> None:
    source = Source(fps=None, duration_s=8)
    sent = without(source.frames(), lambda f: 3_000 < f.dts_ms < 5_000)
    verdict = judge(DRIVER.start(source).push(sent).flush().batches)
    assert {sample.duration for sample in verdict.samples(AUDIO)} == {1024}
    assert len(silence_of(verdict)) == pytest.approx(2 / FRAME_S, abs=1)


def test_audio_that_is_always_late_is_heard_all_the_same() -> None:
    """0.9 s behind its pictures: it never fails to come, so only its beginning is not heard."""
    source = constant(30, duration_s=8, audio_delay_ms=900)
    verdict = judge(DRIVER.start(source).push(source.frames()).flush().batches)
    assert silence_of(verdict)[-1] < 0.95
    last = [frame.data for frame in source.frames() if not frame.is_video and frame.dts_ms > 1_000]
    assert heard_of(verdict)[-len(last) :] == last


def test_audio_that_comes_in_bursts_is_given_more_time() -> None:
    """A second of audio at once: the first hole is silence, later ones are waited for."""
    source = constant(30, duration_s=20)
    frames = source.frames()
    pictures = [frame for frame in frames if frame.is_video]
    sent: list[Frame] = []
    for second in range(20):
        sent += [f for f in pictures if second * 1000 <= f.dts_ms < (second + 1) * 1000]
        sent += [
            f for f in frames if not f.is_video and second * 1000 <= f.dts_ms < (second + 1) * 1000
        ]
    verdict = judge(DRIVER.start(source).push(sent).flush().batches)
    starts = silence_of(verdict)
    assert 0 < len(starts) <= 1 / FRAME_S + 1
    assert starts[-1] < 2


def test_no_more_silence_comes_at_once_than_the_longest_jump() -> None:
    """However long it has learnt to wait: bursts of three seconds, and then nothing at all."""
    source = constant(30, duration_s=70)
    frames = source.frames()
    sent: list[Frame] = []
    for burst in range(0, 45, 3):
        span = [f for f in frames if burst * 1000 <= f.dts_ms < (burst + 3) * 1000]
        sent += sorted(span, key=lambda frame: not frame.is_video)
    sent += [f for f in frames if f.is_video and f.dts_ms >= 45_000]
    run = DRIVER.start(source).push(sent)
    most = max(
        sum(sample.data == SILENCE for sample in event.layout.audio)
        for event in run.events
        if isinstance(event, Part) and event.layout is not None
    )
    assert 3 < most * FRAME_S < hls.SegmenterSettings().max_jump_s + 0.3


def test_without_a_frame_of_silence_the_next_one_lasts_longer() -> None:
    five = AacConfig.parse(asc(48_000, 2))
    layout = hls.AacConfig(
        config=five.config,
        codec_string=five.codec_string,
        sample_rate=48_000,
        channels=2,
        samples_per_frame=1024,
        silence=b"",
    )
    run = Run(DRIVER, Segmenter(video=DRIVER.video, audio=layout))
    sent = quiet(4_000, 6_000)
    verdict = judge(run.push(sent).flush().batches)
    assert [s.data for s in verdict.samples(AUDIO)] == [f.data for f in sent if not f.is_video]
    assert max(sample.duration for sample in verdict.samples(AUDIO)) > 9_000
    bare = [f for s in verdict.segments for f in s.fragments if not f.of(AUDIO)]
    assert len(bare) >= 8
    assert len(verdict.samples(VIDEO)) == 300
