"""ADTS headers: byte by byte, and what they cannot say."""

import pytest
from media_samples import asc
from ts_reader import adts_frames

from hls import AacConfig
from hls.adts import MAX_FRAME_BYTES, AdtsFraming


def framing(config: bytes) -> AdtsFraming | None:
    return AdtsFraming.of(AacConfig.parse(config))


def test_header_as_ffmpeg_writes_it() -> None:
    """44.1 kHz stereo, 371 bytes: the example everybody has seen."""
    found = framing(asc(44_100, 2))
    assert found is not None
    assert found.header(371 - 7) == bytes.fromhex("fff1 50 80 2e7f fc")
    assert found.sample_rate == 44_100


CARRIED = [
    (asc(96_000, 1), 0, 1),
    (asc(48_000, 6), 3, 6),
    (asc(7_350, 7), 12, 7),
    (asc(24_000, 2, object_type=5), 6, 2),  # HE-AAC: its core
    (asc(24_000, 1, object_type=29), 6, 1),  # HE-AACv2: mono at its core
    (asc(24_000, 2, sync_extension="sbr"), 6, 2),
]


@pytest.mark.parametrize(("config", "rate_index", "channels"), CARRIED)
def test_what_decoders_need_is_said(config: bytes, rate_index: int, channels: int) -> None:
    found = framing(config)
    assert found is not None
    frames = [b"\x01", b"\xff" * MAX_FRAME_BYTES]
    read = list(adts_frames(b"".join(found.header(len(f)) + f for f in frames)))
    assert [frame.data for frame in read] == frames
    assert {(frame.rate_index, frame.channels) for frame in read} == {(rate_index, channels)}


NOT_CARRIED = {
    "a rate of its own": asc(44_000, 2),
    "frames of 960 samples": asc(48_000, 2, short_frames=True),
    "a layout that needs four bits": asc(48_000, 11),
    # 1.6.2.1, 4.4.1: channelConfiguration 0, and one pair of channels in front.
    "a layout of its own": bytes.fromhex("1180 04c4 0000 2000 0000"),
}


@pytest.mark.parametrize("name", NOT_CARRIED)
def test_what_it_would_say_wrongly_is_refused(name: str) -> None:
    assert framing(NOT_CARRIED[name]) is None
