"""FLAC: the header in its three wrappings, and block sizes."""

import pytest
from audio_records import flac_frame, stream_info
from hypothesis import given
from hypothesis import strategies as st

from hls.errors import MediaError
from hls.flac import MAX_RECORD_BYTES, MAX_SAMPLE_RATE, FlacConfig, frame_samples

BLOCK = b"\x00\x00\x00\x22" + stream_info()
COMMENT = b"\x84\x00\x00\x04abcd"


@pytest.mark.parametrize(
    "record",
    [
        pytest.param(stream_info(), id="STREAMINFO alone, as FFmpeg sends it"),
        pytest.param(b"fLaC" + BLOCK + COMMENT, id="a stream's beginning"),
        pytest.param(BLOCK, id="its blocks"),
        pytest.param(b"\x80" + BLOCK[1:], id="one block, and the last"),
    ],
)
def test_the_wrappings(record: bytes) -> None:
    config = FlacConfig.parse(record)
    assert (config.FOURCC, config.codec_string) == (b"fLaC", "fLaC")
    assert (config.sample_rate, config.channels, config.bits_per_sample) == (48_000, 2, 16)
    assert config.samples_per_frame == 4_096
    assert config.record == record
    assert config.specific == bytes.fromhex("00000000 80000022") + stream_info()
    assert config == FlacConfig.parse(bytes(bytearray(record)))


def test_the_other_end_of_what_is_possible() -> None:
    config = FlacConfig.parse(
        stream_info(blocks=(16, 65_535), rate=MAX_SAMPLE_RATE, channels=8, bits=32)
    )
    assert (config.sample_rate, config.channels) == (192_000, 8)
    assert (config.samples_per_frame, config.bits_per_sample) == (65_535, 32)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"", "does not begin with its STREAMINFO"),
        (b"fLaC", "does not begin"),
        (b"fLaC" + COMMENT, "does not begin"),
        (b"fLaC" + BLOCK[:-1], "truncated"),
        (stream_info(blocks=(15, 4_096)), "blocks of 15 to 4096"),
        (stream_info(blocks=(4_096, 2_048)), "blocks of 4096 to 2048"),
        (stream_info(rate=999), "999 Hz"),
        (stream_info(rate=MAX_SAMPLE_RATE + 1), "192001 Hz"),
        (stream_info(bits=3), "samples of 3 bits"),
        (b"fLaC" + BLOCK + bytes(MAX_RECORD_BYTES), f"{MAX_RECORD_BYTES + 42} bytes"),
    ],
)
def test_headers_that_are_refused(record: bytes, reason: str) -> None:
    with pytest.raises(MediaError, match=reason):
        FlacConfig.parse(record)


SIZES = [0, 192, 576, 1_152, 2_304, 4_608, 0, 0, 256, 512, 1_024, 2_048, 4_096, 8_192, 16_384]


@pytest.mark.parametrize(("code", "samples"), [*enumerate(SIZES), (15, 32_768)])
def test_block_sizes_by_code(code: int, samples: int) -> None:
    if code in (6, 7):
        return
    config = FlacConfig.parse(stream_info())
    assert config.samples_in(flac_frame(code)) == samples
    assert config.samples_in(memoryview(flac_frame(code))) == samples


@pytest.mark.parametrize(
    "number",
    [
        b"\x00",
        b"\x7f",
        b"\xc2\x80",
        b"\xe1\x80\x80",
        b"\xf1\x80\x80\x80",
        b"\xf9\x80\x80\x80\x80",
        b"\xfd\x80\x80\x80\x80\x80",
        b"\xfe\x80\x80\x80\x80\x80\x80",
    ],
)
def test_explicit_block_sizes_stand_behind_the_number(number: bytes) -> None:
    assert frame_samples(flac_frame(6, number=number, explicit=b"\x0e")) == 15
    assert frame_samples(flac_frame(7, number=number, explicit=b"\xff\xff")) == 65_536


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"\xff\xf8\xc9\x18\x00",
        b"\xff\xfa\xc9\x18\x00\x00",
        b"\xfe\xf8\xc9\x18\x00\x00",
        b"\xff\xf8\x79\x18\x00\x00",
        b"\xff\xf8\x69\x18\xfe\x80",
    ],
)
def test_frames_that_are_none(frame: bytes) -> None:
    assert frame_samples(frame) == 0


@given(st.binary(max_size=60))
def test_whatever_the_bytes(data: bytes) -> None:
    assert 0 <= frame_samples(b"\xff\xf9" + data) <= 65_536
    try:
        config = FlacConfig.parse(data)
    except MediaError:
        return
    assert 16 <= config.samples_per_frame <= 65_535
