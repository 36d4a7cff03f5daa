"""Opus: headers byte by byte, durations packet by packet."""

import av
import pytest
from audio_records import opus_head, opus_packet
from hypothesis import given
from hypothesis import strategies as st

from hls.errors import MediaError
from hls.opus import MAX_PACKET_SAMPLES, OpusConfig, packet_samples

SURROUND = bytes((4, 2, 0, 4, 1, 2, 3, 5))


def test_stereo() -> None:
    head = opus_head(gain=-3, rate=44_100)
    config = OpusConfig.parse(head)
    assert (config.FOURCC, config.codec_string) == (b"Opus", "Opus")
    assert (config.sample_rate, config.channels, config.samples_per_frame) == (48_000, 2, 960)
    assert config.record == head
    assert config.specific == bytes.fromhex("00 02 0138 0000ac44 fffd 00")
    assert config == OpusConfig.parse(bytes(bytearray(head)))
    assert config != OpusConfig.parse(opus_head())


def test_surround() -> None:
    config = OpusConfig.parse(opus_head(channels=6, family=1, table=SURROUND))
    assert config.channels == 6
    assert config.specific[10:] == b"\x01" + SURROUND


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"", "no OpusHead, or is truncated"),
        (b"OpusTags" + bytes(30), "no OpusHead"),
        (opus_head()[:-1], "truncated"),
        (opus_head(version=16), "version 16"),
        (opus_head(channels=0), "0 channels without a mapping"),
        (opus_head(channels=3), "3 channels without a mapping"),
        (opus_head(family=2, channels=4), "mapping family 2"),
        (opus_head(family=255, channels=2), "mapping family 255"),
        (opus_head(family=1, channels=0, table=b"\1\0"), "0 channels"),
        (opus_head(family=1, channels=9, table=bytes(20)), "9 channels"),
        (opus_head(family=1, channels=6, table=SURROUND[:-1]), "truncated"),
        (opus_head(family=1, channels=1, table=b"\0\0\0"), "0 streams"),
        (opus_head(family=1, channels=1, table=b"\1\2\0"), "1 streams, 2 of them stereo"),
        (opus_head(family=1, channels=1, table=b"\1\0\1"), "in no stream"),
        (opus_head(family=1, channels=1, table=b"\xff\1\0"), "in no stream"),
    ],
)
def test_headers_that_are_refused(head: bytes, reason: str) -> None:
    with pytest.raises(MediaError, match=reason):
        OpusConfig.parse(head)


def test_a_channel_that_is_silent() -> None:
    head = opus_head(family=1, channels=2, table=b"\1\0\0\xff")
    assert OpusConfig.parse(head).channels == 2


MILLISECONDS = [10, 20, 40, 60] * 3 + [10, 20] * 2 + [2.5, 5, 10, 20] * 4


@pytest.mark.parametrize("configuration", range(32))
def test_how_long_a_packet_lasts(configuration: int) -> None:
    config = OpusConfig.parse(opus_head())
    one = round(MILLISECONDS[configuration] * 48)
    assert config.samples_in(opus_packet(configuration)) == one
    for code in (1, 2):
        assert config.samples_in(memoryview(opus_packet(configuration, code=code))) == 2 * one
    for count in (1, 2, 48):
        expected = one * count if one * count <= MAX_PACKET_SAMPLES else 0
        # The two flags of the count byte, VBR and padding, are none of its business.
        packet = opus_packet(configuration, code=3, count=count | 0xC0)
        assert config.samples_in(packet) == expected


@pytest.mark.parametrize("packet", [b"", b"\x03", b"\x03\x00", b"\x1b\x03"])
def test_packets_that_are_none(packet: bytes) -> None:
    assert packet_samples(packet) == 0


@given(st.binary(max_size=300))
def test_whatever_the_bytes(data: bytes) -> None:
    try:
        config = OpusConfig.parse(b"OpusHead" + data)
    except MediaError:
        return
    assert 1 <= config.channels <= 8
    assert 0 <= config.samples_in(data) <= MAX_PACKET_SAMPLES


@pytest.mark.parametrize(
    ("head", "channels"),
    [
        (opus_head(channels=1), 1),
        (opus_head(), 2),
        (opus_head(channels=6, family=1, table=SURROUND), 6),
    ],
)
def test_a_decoder_hears_nothing_in_silence(head: bytes, channels: int) -> None:
    config = OpusConfig.parse(head)
    assert config.samples_in(config.silence) == config.samples_per_frame
    decoder = av.CodecContext.create("libopus", "r")
    decoder.extradata = head
    heard = []
    for number in range(4):
        packet = av.Packet(config.silence)
        packet.pts = 960 * number
        heard += [frame for frame in decoder.decode(packet) if isinstance(frame, av.AudioFrame)]
    assert len(heard) == 4
    for frame in heard:
        assert frame.layout.nb_channels == channels
        assert not frame.to_ndarray().any()
