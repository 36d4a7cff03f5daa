"""The segmenter with audio whose frames are of any length: changes, garbage, and silence."""

from collections.abc import Iterable
from dataclasses import replace

import pytest
from audio_records import Eac3Fields, flac_frame, opus_head, stream_info
from media_rules import AUDIO, VIDEO, Verdict, judge
from media_samples import Frame, Source
from segmenter_runs import Driver, constant

import hls
from hls import Part, Segmenter
from hls.audio import AudioConfig, parse_audio_config

DRIVER = Driver(hls)
OPUS = parse_audio_config(b"Opus", opus_head())
FLAC = parse_audio_config(b"fLaC", stream_info())
EAC3 = parse_audio_config(b"ec-3", Eac3Fields().frame())

TOC = {120: 0x80, 480: 0x90, 960: 0x98, 1_920: 0x50, 2_880: 0x58}
"""First byte of an Opus packet of so many samples."""


def opus_packets(lengths: Iterable[int], *, start_ms: int = 0) -> list[Frame]:
    """A publisher of sound alone, whose stamps are right."""
    frames = []
    time = 0
    for number, length in enumerate(lengths):
        stamp = start_ms + round(time / 48)
        data = bytes((TOC[length],)) + number.to_bytes(4, "big")
        frames.append(Frame(is_video=False, dts_ms=stamp, pts_ms=stamp, idr=True, data=data))
        time += length
    return frames


def run(frames: list[Frame], audio: AudioConfig, *, has_video: bool = False) -> Verdict:
    segmenter = Segmenter(video=DRIVER.video if has_video else None, audio=audio)
    batches = [segmenter.push(DRIVER.sample(frame)) for frame in frames]
    return judge([*batches, segmenter.flush()])


@pytest.mark.parametrize("length", TOC)
def test_parts_are_whole_packets_of_any_length(length: int) -> None:
    frames = opus_packets([length] * (10 * 48_000 // length))
    verdict = run(frames, OPUS)
    assert [sample.data for sample in verdict.samples(AUDIO)] == [frame.data for frame in frames]
    assert {sample.duration for sample in verdict.samples(AUDIO)} == {length}
    assert round(sum(segment.duration_s for segment in verdict.segments), 6) == round(
        len(frames) * length / 48_000, 6
    )


@pytest.mark.parametrize("has_video", [False, True])
def test_packets_that_change_their_length_keep_their_times(has_video: bool) -> None:
    lengths = [960] * 150 + [2_880] * 50 + [120] * 1_000 + [480] * 200 + [1_920] * 50
    sounds = opus_packets(lengths)
    pictures = [frame for frame in constant(25, duration_s=12.5).frames() if frame.is_video]
    frames = sorted(
        [*sounds, *(pictures if has_video else [])], key=lambda f: (f.dts_ms, not f.is_video)
    )
    segmenter = Segmenter(video=DRIVER.video if has_video else None, audio=OPUS)
    batches = [segmenter.push(DRIVER.sample(frame)) for frame in frames]
    verdict = judge([*batches, segmenter.flush()], constant_rate=has_video)
    out = verdict.samples(AUDIO)
    assert [sample.data for sample in out] == [frame.data for frame in sounds]
    for sample, frame in zip(out, sounds, strict=True):
        assert abs(sample.time / 48 - frame.dts_ms) < 50
    cut = [n for n, sample in enumerate(out) if sample.duration != lengths[n]]
    # Where packets become longer one may not fit into the part that is open; it is cut short.
    assert set(cut) <= (set() if has_video else {150, 151, 152, 1_200, 1_400})


def test_what_is_no_packet_is_left_out() -> None:
    good = opus_packets([960] * 500)
    garbage = [replace(frame, data=b"\x03\x00") for frame in good[::7]]
    frames = sorted([*garbage, *good], key=lambda frame: frame.dts_ms)
    assert frames[0].data == b"\x03\x00"
    segmenter = Segmenter(video=None, audio=OPUS)
    batches = [segmenter.push(DRIVER.sample(frame)) for frame in frames]
    assert segmenter.dropped_samples == 1, "the one that it could not begin with"
    verdict = judge([*batches, segmenter.flush()])
    assert [sample.data for sample in verdict.samples(AUDIO)] == [frame.data for frame in good]


def test_nothing_but_garbage_begins_nothing() -> None:
    segmenter = Segmenter(video=None, audio=FLAC)
    for frame in opus_packets([960] * 100):
        assert segmenter.push(DRIVER.sample(frame)) == []
    assert segmenter.flush() == []
    assert segmenter.dropped_samples == 100


def without_sound(source: Source, first_ms: int, last_ms: int) -> list[Frame]:
    return [f for f in source.frames() if f.is_video or not first_ms < f.dts_ms < last_ms]


def with_data(frames: list[Frame], data: bytes) -> list[Frame]:
    return [frame if frame.is_video else replace(frame, data=data) for frame in frames]


def test_opus_that_stays_away_is_silent() -> None:
    source = constant(30, duration_s=12, samples_per_frame=960)
    sent = with_data(without_sound(source, 4_000, 7_000), b"\x98sound")
    verdict = run(sent, OPUS, has_video=True)
    out = [sample.data for sample in verdict.samples(AUDIO)]
    assert out.count(OPUS.silence) == 149
    assert {sample.duration for sample in verdict.samples(AUDIO)} == {960}


@pytest.mark.parametrize(
    ("audio", "data", "length"),
    [(FLAC, flac_frame(5), 4_608), (EAC3, Eac3Fields().frame(), 1_536)],
)
def test_what_has_no_silence_leaves_a_gap(audio: AudioConfig, data: bytes, length: int) -> None:
    source = constant(30, duration_s=12, samples_per_frame=length)
    sent = with_data(without_sound(source, 4_000, 7_000), data)
    verdict = run(sent, audio, has_video=True)
    out = verdict.samples(AUDIO)
    assert {sample.data for sample in out} == {data}
    assert max(sample.duration for sample in out) > length
    assert len(verdict.samples(VIDEO)) == 360
    assert any(
        not fragment.of(AUDIO) for segment in verdict.segments for fragment in segment.fragments
    )


def test_another_codec_is_another_init_section() -> None:
    sounds = opus_packets([960] * 300)
    later = [
        replace(frame, data=flac_frame(5))
        for frame in Source(
            fps=None, samples_per_frame=4_608, duration_s=6, start_ms=6_000
        ).frames()
    ]
    segmenter = Segmenter(video=None, audio=OPUS)
    batches = [segmenter.push(DRIVER.sample(frame)) for frame in sounds]
    batches.append(segmenter.reconfigure(video=None, audio=FLAC))
    batches += [segmenter.push(DRIVER.sample(frame)) for frame in later]
    verdict = judge([*batches, segmenter.flush()], constant_rate=False)
    assert [init.codecs for init in verdict.inits] == [("Opus",), ("fLaC",)]
    breaks = [part for part in verdict.parts if isinstance(part, Part) and part.discontinuity]
    assert [part.init_index for part in breaks] == [1]
