"""AudioSpecificConfig: what is read from real and made-up ones, and what is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_samples import BitWriter, asc

from hls.aac import MAX_CONFIG_BYTES, AacConfig
from hls.errors import MediaError


@pytest.mark.parametrize(
    ("config", "codec", "rate", "channels", "frame"),
    [
        pytest.param(bytes.fromhex("1190"), "mp4a.40.2", 48000, 2, 1024, id="OBS 48 kHz stereo"),
        pytest.param(
            bytes.fromhex("121056e500"), "mp4a.40.2", 44100, 2, 1024, id="ffmpeg 44.1 kHz, no SBR"
        ),
        pytest.param(bytes.fromhex("1188"), "mp4a.40.2", 48000, 1, 1024, id="mono"),
        pytest.param(asc(48000, 6), "mp4a.40.2", 48000, 6, 1024, id="5.1"),
        pytest.param(asc(48000, 7), "mp4a.40.2", 48000, 8, 1024, id="7.1"),
        pytest.param(asc(48000, 2, short_frames=True), "mp4a.40.2", 48000, 2, 960, id="960"),
        pytest.param(asc(47999), "mp4a.40.2", 47999, 2, 1024, id="explicit rate"),
        pytest.param(
            asc(24000, 2, object_type=5, extension_rate=48000),
            "mp4a.40.5", 24000, 2, 1024, id="HE-AAC",
        ),
        pytest.param(
            asc(24000, 1, object_type=29, extension_rate=48000),
            "mp4a.40.29", 24000, 2, 1024, id="HE-AAC v2: parametric stereo",
        ),
        pytest.param(
            asc(24000, 2, object_type=5, extension_rate=43210),
            "mp4a.40.5", 24000, 2, 1024, id="HE-AAC with an explicit rate",
        ),
        pytest.param(
            asc(24000, 2, sync_extension="sbr"),
            "mp4a.40.5", 24000, 2, 1024, id="backward compatible SBR",
        ),
        pytest.param(
            asc(24000, 1, sync_extension="ps"),
            "mp4a.40.29", 24000, 2, 1024, id="backward compatible PS",
        ),
        pytest.param(
            asc(24000, 2, sync_extension="none"),
            "mp4a.40.2", 24000, 2, 1024, id="SBR said to be absent",
        ),
        pytest.param(asc() + bytes(6), "mp4a.40.2", 48000, 2, 1024, id="padding"),
        pytest.param(
            asc(24000, 2, sync_extension="sbr")[:-2],
            "mp4a.40.5", 24000, 2, 1024, id="sync extension without PS",
        ),
    ],
)  # fmt: skip
def test_configurations(config: bytes, codec: str, rate: int, channels: int, frame: int) -> None:
    parsed = AacConfig.parse(config)
    assert parsed.config == config
    assert parsed.codec_string == codec
    assert parsed.sample_rate == rate
    assert parsed.channels == channels
    assert parsed.samples_per_frame == frame


def program_config(front: list[int], *, lfe: int = 0, comment: bytes = b"") -> bytes:
    """An LC configuration whose channels a program config element names; 1 in front is a pair."""
    w = BitWriter().u(5, 2).u(4, 3).u(4, 0).u(3, 0)
    w.u(4, 0).u(2, 1).u(4, 3)
    w.u(4, len(front)).u(4, 0).u(4, 1).u(2, lfe).u(3, 1).u(4, 1)
    w.u(1, 1).u(4, 3).u(1, 0).u(1, 1).u(3, 5)
    for is_pair in [*front, 0]:
        w.u(1, is_pair).u(4, 0)
    w.u(4 * lfe, 0).u(4, 0).u(5, 0)
    data = w.bytes(stop_bit=False)
    return data + bytes((len(comment),)) + comment


def test_a_program_config_element_counts_its_channels() -> None:
    config = AacConfig.parse(program_config([0, 1], lfe=1, comment=b"hello"))
    assert config.channels == 1 + 2 + 1 + 1  # front single, front pair, back single, LFE


def test_a_core_coder_delay_is_passed_over() -> None:
    w = BitWriter().u(5, 2).u(4, 3).u(4, 2).u(1, 0).u(1, 1).u(14, 99).u(1, 0)
    assert AacConfig.parse(w.bytes(stop_bit=False)).channels == 2


EMPTY_PROGRAM = BitWriter().u(5, 2).u(4, 3).u(4, 0).u(3, 0).u(10, 0).u(21, 0).u(3, 0).u(30, 0)


@pytest.mark.parametrize(
    ("config", "text"),
    [
        (b"", "truncated"),
        (b"\x11", "truncated"),
        (bytes(MAX_CONFIG_BYTES + 1), "513 bytes"),
        (asc(object_type=1), "object type 1 is not supported"),
        (asc(object_type=42), "object type 42 is not supported"),
        (asc(object_type=5, core_type=1), "object type 1 is not supported"),
        (BitWriter().u(5, 2).u(4, 13).u(20, 0).bytes(), "frequency index 13"),
        (asc(999), "999 Hz"),
        (asc(96001), "96001 Hz"),
        (asc(channels=8), "channel configuration 8"),
        (EMPTY_PROGRAM.bytes(stop_bit=False), "no channel"),
        (program_config([1], comment=b"hello")[:-1], "truncated"),
        (asc(24000, 2, sync_extension="sbr")[:-3], "truncated"),
    ],
)
def test_what_is_wrong_is_said(config: bytes, text: str) -> None:
    with pytest.raises(MediaError, match=text):
        AacConfig.parse(config)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_configuration_or_a_media_error(data: bytes) -> None:
    for config in (data, b"\x10\x00" + data, b"\x11\x80" + data):
        try:
            parsed = AacConfig.parse(config)
        except MediaError:
            continue
        assert parsed.channels > 0
        assert parsed.sample_rate > 0
