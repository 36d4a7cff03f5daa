"""Encoders: no delay, keyframes exactly where they are asked for, the same record every time.

libx264, libx265 and libsvtav1 are run; of the hardware's, which no test machine has, the options
are checked against what FFmpeg says it takes, and opening one must fail cleanly.
"""

from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest
from av.codec.codec import UnknownCodecError
from av.video.frame import PictureType
from hang_watch import run_apart
from transcode_runs import decode_coded, rung

from hls.video import VideoConfig, parse_video_config
from origin.transcode import wire
from origin.transcode.encode import (
    BUFFER_S,
    PEAK,
    SOFTWARE,
    Colour,
    EncodedPicture,
    Encoder,
    Rates,
    encoder_options,
    h264_level,
    try_encoder,
)
from origin.transcode.errors import TranscodeError
from origin.transcode.rungs import ENCODERS

BT709 = Colour(1, 1, 1, 1)
PRESETS = {"libx264": "veryfast", "libx265": "ultrafast", "libsvtav1": "12"}
software = pytest.mark.parametrize("name", PRESETS)


def pictures(count: int, keys: set[int], width: int = 160, height: int = 90) -> list[av.VideoFrame]:
    """A texture that moves, cut to another one at every tenth picture."""
    dice = np.random.default_rng(5)
    textures = [dice.integers(16, 235, (height, width), np.uint8) for _ in range(-(-count // 10))]
    frames = []
    for index in range(count):
        planes = np.full((height * 3 // 2, width), 128, np.uint8)
        planes[:height] = np.roll(textures[index // 10], index, axis=1) // 2 + 60
        frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
        frame.pts, frame.time_base = 7 + index * 3003, Fraction(1, 90_000)
        frame.pict_type = PictureType.I if index in keys else PictureType.NONE
        frames.append(frame)
    return frames


def setup(encoder: str = "libx264", **fields: Any) -> wire.RungSetup:
    return rung(**{"encoder": encoder, "preset": PRESETS.get(encoder, "")} | fields)


def encode_all(encoder: Encoder, frames: list[av.VideoFrame]) -> list[EncodedPicture]:
    """Every picture must come out of the call that took it."""
    out = []
    for frame in frames:
        (picture,) = encoder.encode(frame)
        assert picture.pts_ticks == frame.pts
        out.append(picture)
    assert encoder.drain() == []
    return out


def record_of(encoder: Encoder) -> bytes:
    assert encoder.record is not None
    return encoder.record


def config_of(encoder: Encoder) -> VideoConfig:
    return parse_video_config(encoder.fourcc, record_of(encoder))


@software
def test_pictures_come_out_at_once_and_keyframes_where_they_are_asked_for(name: str) -> None:
    keys = {0, 7, 8, 31}  # scene cuts at 10, 20 and 30 are none of ours
    encoder = Encoder(setup(name), BT709, 1)
    assert encoder.record is None
    out = encode_all(encoder, pictures(36, keys))
    assert [index for index, picture in enumerate(out) if picture.is_idr] == sorted(keys)
    config = wire.RungConfig(0, encoder.fourcc, record_of(encoder))
    coded = [
        wire.Coded(0, index, picture.pts_ticks, picture.is_idr, picture.data)
        for index, picture in enumerate(out)
    ]
    assert len(decode_coded(config, coded)) == 36
    # GOPs are closed: from any keyframe on it can be decoded alone.
    assert len(decode_coded(config, coded[8:])) == 28


def keyframes_of_themselves(name: str) -> list[int]:
    frames = pictures(1, {0}, 64, 64)
    encoder = Encoder(setup(name, width=64, height=64), BT709, 1)
    keys = []
    for index in range(700):  # 23 s; FFmpeg's and the encoders' own intervals are at most 10
        frame = frames[0]
        frame.pts = index * 3000
        frame.pict_type = PictureType.NONE
        keys += [index for picture in encoder.encode(frame) if picture.is_idr]
    return keys


@software
def test_no_keyframe_comes_by_itself_however_long(name: str) -> None:
    # SVT-AV1 3.1 waits for itself now and then, and for ever; a worker that does is killed.
    assert run_apart(lambda: keyframes_of_themselves(name), timeout_s=60) == [0]


@software
def test_reopened_encoder_has_the_same_record(name: str) -> None:
    records = set()
    for count, seed in ((1, {0}), (12, {0, 5})):
        encoder = Encoder(setup(name), BT709, 1)
        encode_all(encoder, pictures(count, seed))
        records.add(record_of(encoder))
    assert len(records) == 1


def test_divisor_changes_the_bits_and_not_the_record() -> None:
    records = set()
    for divisor in (1, 2, 3):
        encoder = Encoder(setup(divisor=1, bitrate_bps=400_000), BT709, divisor)
        encode_all(encoder, pictures(3, {0}))
        records.add(record_of(encoder))
        assert encoder.divisor == divisor
    assert len(records) == 1


@pytest.mark.parametrize(
    ("usual", "now", "rate", "bitrate_bps"),
    [(1, 1, 60, 1000), (2, 2, 30, 1000), (1, 2, 60, 2000), (2, 1, 30, 500), (0, 1, 60, 1000)],
)
def test_rate_control_is_told_what_keeps_the_bitrate(
    usual: int, now: int, rate: int, bitrate_bps: int
) -> None:
    rates = Rates.of(setup(frame_rate=60.0, divisor=usual, bitrate_bps=1000), now)
    assert rates == Rates(Fraction(rate), bitrate_bps, bitrate_bps * 11 // 10, bitrate_bps * 3 // 2)


@pytest.mark.parametrize(
    ("claimed", "exact"),
    [
        (29.97, Fraction(2997, 100)),
        (30000 / 1001, Fraction(30000, 1001)),
        (24000 / 1001, Fraction(24000, 1001)),
        (25.0, Fraction(25)),
        (1 / 3, Fraction(1, 3)),
    ],
)
def test_frame_rates_are_exact(claimed: float, exact: Fraction) -> None:
    assert Rates.of(setup(frame_rate=claimed), 1).frame_rate == exact


@software
def test_picture_is_what_the_rung_says(name: str) -> None:
    encoder = Encoder(setup(name, width=162, height=90, frame_rate=59.94), BT709, 1)
    encode_all(encoder, pictures(1, {0}, 162))
    config = config_of(encoder)
    assert (config.width, config.height, config.display_width) == (162, 90, 162)
    assert config.sample_aspect_ratio == (1, 1)
    if name != "libsvtav1":  # AV1 keeps time in the container
        assert config.frame_rate == Fraction(5994, 100)
    kind = ENCODERS[name].codec
    assert config.codec_string.startswith({"h264": "avc1.64", "hevc": "hvc1.", "av1": "av01"}[kind])


@software
def test_colours_of_the_source_are_in_the_stream(name: str) -> None:
    colour = Colour(range=2, matrix=9, primaries=9, transfer=16)
    encoder = Encoder(setup(name), colour, 1)
    (picture,) = encode_all(encoder, pictures(1, {0}))
    (frame,) = decode_coded(
        wire.RungConfig(0, encoder.fourcc, record_of(encoder)),
        [wire.Coded(0, 0, 0, True, picture.data)],
    )
    assert Colour.of(frame) == colour


def test_bitrate_is_kept_and_its_peak_bounded() -> None:
    frames = pictures(150, {0, 60, 120}, 320, 180)
    encoder = Encoder(setup(width=320, height=180, bitrate_bps=300_000), BT709, 1)
    sizes = [len(picture.data) * 8 for picture in encode_all(encoder, frames)]
    assert 0.5 * 300_000 < sum(sizes) / 5 < 1.3 * 300_000
    # A viewer's line of the peak rate never falls behind by more than the buffer.
    behind = worst = 0.0
    for size in sizes:
        behind = max(0.0, behind + size - 300_000 * PEAK / 30)
        worst = max(worst, behind)
    assert 100_000 < worst < 300_000 * BUFFER_S


@pytest.mark.parametrize(
    ("width", "height", "rate", "bitrate_bps", "level"),
    [
        (640, 360, 30, 500_000, "3.0"),
        (854, 480, 24, 1_000_000, "3.0"),
        (854, 480, 30, 1_000_000, "3.1"),
        (854, 480, 60, 1_000_000, "3.1"),
        (1280, 720, 30, 2_500_000, "3.1"),
        (1280, 720, 60, 2_500_000, "3.2"),
        (1920, 1080, 30, 5_000_000, "4.0"),
        (1920, 1080, 60, 5_000_000, "4.2"),
        (1920, 1080, 30, 30_000_000, "4.1"),
        (2560, 1440, 30, 9_000_000, "5.0"),
        (3840, 2160, 60, 20_000_000, "5.2"),
        (7680, 4320, 60, 80_000_000, "6.1"),
        (8192, 8192, 240, 80_000_000, "6.2"),
        (8192, 64, 30, 500_000, "5.1"),  # for its width alone
        (160, 90, 30, 200_000, "1.1"),
    ],
)
def test_level_is_the_lowest_that_allows_it(
    width: int, height: int, rate: int, bitrate_bps: int, level: str
) -> None:
    assert h264_level(width, height, Fraction(rate), bitrate_bps) == level
    if width <= 1920:
        fields: dict[str, Any] = {"width": width, "height": height, "bitrate_bps": bitrate_bps}
        encoder = Encoder(setup(frame_rate=float(rate), **fields), BT709, 1)
        encode_all(encoder, pictures(1, {0}, width, height))
        assert config_of(encoder).codec_string == f"avc1.6400{int(level.replace('.', '')):02x}"


def test_more_than_one_thread_can_do_gets_two() -> None:
    encoder = Encoder(setup(width=1920, height=1080, frame_rate=60.0), BT709, 1)
    assert encoder._context.thread_count == 2
    frames = pictures(2, {0}, 1920, 1080)
    encode_all(encoder, frames)  # and none is held back
    half = Encoder(setup(width=1920, height=1080, frame_rate=60.0), BT709, 2)
    assert half._context.thread_count == 1


@pytest.mark.parametrize("name", ENCODERS)
def test_options_are_ones_that_the_encoder_has(name: str) -> None:
    """FFmpeg passes over options that it does not know, so a slip of the pen would do nothing."""
    options = encoder_options(setup(name, preset=ENCODERS[name].default))
    assert options["bufsize"] == "300000"
    assert options["maxrate"] == ("200000" if name == "libsvtav1" else "220000")
    try:
        context = av.CodecContext.create(name, "w")
    except UnknownCodecError:
        assert name == "h264_vaapi"  # the one that PyAV's wheels lack
        return
    supported = context.supported_options
    known = {option.name: option for option in (*supported.generic, *supported.private)}
    assert set(options) <= set(known)
    for key, value in options.items():
        choices = {choice.name for choice in known[key].choices}
        if choices and not value.lstrip("-").isdigit():
            assert value in choices, f"{key}={value}"


FORCED = {"forced-idr", "forced_idr"}


@pytest.mark.parametrize("name", sorted(set(ENCODERS) - SOFTWARE))
def test_hardware_is_asked_for_no_delay_and_forced_idr(name: str) -> None:
    options = encoder_options(setup(name))
    assert options.get("async_depth", options.get("delay")) in ("0", "1")
    if name != "h264_vaapi":  # whose forced keyframes are always IDR
        assert {options[key] for key in FORCED & set(options)} == {"1"}


@pytest.mark.parametrize("name", ENCODERS)
def test_trial_says_why_or_nothing(name: str) -> None:
    verdict = try_encoder(name)
    if name in SOFTWARE:
        assert verdict is None
    elif verdict is not None:  # some developer's machine may have it
        assert verdict.startswith(f"{name} ")
        assert "\n" not in verdict
        assert "maxrate" not in verdict  # FFmpeg's own text repeats every option


def test_trial_of_no_encoder() -> None:
    assert try_encoder("libtheora") == "there is no encoder 'libtheora'"


def test_trial_outlives_what_a_driver_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    def explode(*_: object) -> None:
        raise OSError(5, "the driver\nis gone")

    monkeypatch.setattr("origin.transcode.encode._create", explode)
    assert try_encoder("libx264") == "libx264 failed: [Errno 5] the driver is gone"


def test_trial_wants_a_real_picture(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Encoder, "encode", lambda self, frame: [])
    monkeypatch.setattr(Encoder, "drain", lambda self: [])
    assert try_encoder("libx264") == "libx264 gave no keyframe"


def test_encoder_that_cannot_be_opened_says_so() -> None:
    with pytest.raises(TranscodeError, match="libx264 cannot be opened: "):
        Encoder(setup(preset="nonsense"), BT709, 1)


def test_picture_that_cannot_be_encoded_says_so() -> None:
    encoder = Encoder(setup(), BT709, 1)
    encode_all(encoder, pictures(1, {0}))
    with pytest.raises(TranscodeError, match="libx264 failed: "):
        encoder.encode(pictures(1, {0})[0])  # it was drained
