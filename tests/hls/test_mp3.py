"""MP3: configurations out of frame headers."""

import pytest
from audio_records import mp3_frame
from hypothesis import given
from hypothesis import strategies as st
from media_samples import asc
from mp4_boxes import full_box, read_init

from hls.errors import MediaError
from hls.init_segment import build_init_segment
from hls.mp3 import Mp3Config


@pytest.mark.parametrize(
    ("version", "rate", "codec", "sample_rate", "samples"),
    [
        (3, 0, "mp4a.6B", 44_100, 1_152),
        (3, 1, "mp4a.6B", 48_000, 1_152),
        (3, 2, "mp4a.6B", 32_000, 1_152),
        (2, 0, "mp4a.69", 22_050, 576),
        (0, 2, "mp4a.69", 8_000, 576),
    ],
)
def test_versions_and_rates(
    version: int, rate: int, codec: str, sample_rate: int, samples: int
) -> None:
    frame = mp3_frame(version=version, rate=rate)
    config = Mp3Config.parse(frame)
    assert (config.codec_string, config.sample_rate) == (codec, sample_rate)
    assert (config.samples_per_frame, config.channels) == (samples, 2)
    assert config.samples_in(frame) == config.samples_in(memoryview(frame)) == samples


def test_what_may_change_from_frame_to_frame() -> None:
    config = Mp3Config.parse(mp3_frame(mode=0))
    assert config == Mp3Config.parse(mp3_frame(mode=1, bit_rate=14))
    assert config != Mp3Config.parse(mp3_frame(mode=3))
    assert Mp3Config.parse(mp3_frame(mode=3)).channels == 1


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "syncword"),
        (b"\xff\xfb\x90", "truncated"),
        (b"\xff\xdb\x90\x40", "syncword"),
        (asc() + bytes(9), "syncword"),
        (mp3_frame(version=1), "not layer III"),
        (mp3_frame(layer=2), "not layer III"),
        (mp3_frame(rate=3), "reserved"),
        (mp3_frame(bit_rate=15), "reserved"),
    ],
)
def test_frames_that_are_refused(frame: bytes, reason: str) -> None:
    with pytest.raises(MediaError, match=reason):
        Mp3Config.parse(frame)


@pytest.mark.parametrize(
    "frame", [b"", b"\xff\xfb\x90\x40", b"\xfe" + bytes(9), b"\xff" + bytes(9)]
)
def test_a_sample_that_is_none(frame: bytes) -> None:
    assert Mp3Config.parse(mp3_frame()).samples_in(frame) == 0


def test_its_sample_entry_is_that_of_mpeg_audio() -> None:
    (track,) = read_init(build_init_segment(None, Mp3Config.parse(mp3_frame()))).tracks
    assert (track.entry.kind, track.timescale) == (b"mp4a", 44_100)
    esds = full_box(track.entry.one(b"esds"))[2]
    assert esds[13:15] == bytes((0x6B, 0x15))
    assert b"\x05\x80\x80\x80" not in esds, "it has no DecoderSpecificInfo"


@given(st.binary(max_size=20))
def test_whatever_the_bytes(data: bytes) -> None:
    try:
        config = Mp3Config.parse(data)
    except MediaError:
        return
    assert 8_000 <= config.sample_rate <= 48_000
