"""AC-3 and E-AC-3: configurations out of frames."""

from dataclasses import replace

import pytest
from audio_records import Ac3Fields, Eac3Fields
from hypothesis import given
from hypothesis import strategies as st

from hls.ac3 import MAX_FRAMES, Ac3Config, Eac3Config
from hls.errors import MediaError

HEIGHTS = 1 << 15 - 11 | 1 << 15 - 12  # a pair and one more
BACK = Eac3Fields(stream_type=1, acmod=2, lfe=0, chanmap=1 << 15 - 6)


def test_ac3() -> None:
    config = Ac3Config.parse(Ac3Fields(acmod=7, lfe=1, size_code=28, bsmod=2).frame())
    assert (config.FOURCC, config.codec_string, config.BOX) == (b"ac-3", "ac-3", b"dac3")
    assert (config.sample_rate, config.channels, config.samples_per_frame) == (48_000, 6, 1_536)
    # fscod 0, bsid 8, bsmod 2, acmod 7, lfeon 1, bit_rate_code 14, 5 reserved.
    assert config.specific == config.record == bytes((0x10, 0xBD, 0xC0))


@pytest.mark.parametrize("acmod", range(8))
@pytest.mark.parametrize("lfe", [0, 1])
def test_channels(acmod: int, lfe: int) -> None:
    channels = (2, 1, 2, 3, 3, 4, 4, 5)[acmod] + lfe
    assert Ac3Config.parse(Ac3Fields(acmod=acmod, lfe=lfe).frame()).channels == channels
    for compr in (False, True):
        fields = Eac3Fields(acmod=acmod, lfe=lfe, compr=compr)
        assert Eac3Config.parse(fields.frame()).channels == channels
        both = fields.frame() + replace(fields, stream_type=1, chanmap=HEIGHTS).frame()
        assert Eac3Config.parse(both).channels == channels + 3


@pytest.mark.parametrize(("code", "rate"), list(enumerate((48_000, 44_100, 32_000))))
def test_rates(code: int, rate: int) -> None:
    assert Ac3Config.parse(Ac3Fields(rate_code=code).frame()).sample_rate == rate
    assert Eac3Config.parse(Eac3Fields(rate_code=code).frame()).sample_rate == rate
    half = Eac3Config.parse(Eac3Fields(rate_code=3, block_code=code).frame())
    assert half.sample_rate == rate // 2
    assert half.samples_in(Eac3Fields(rate_code=3, block_code=code).frame()) == 1_536


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "truncated"),
        (b"\x77\x0b" + bytes(20), "syncword"),
        (Ac3Fields().frame()[:6], "truncated"),
        (Ac3Fields(rate_code=3).frame(), "reserved"),
        (Ac3Fields(size_code=38).frame(), "reserved"),
        (Ac3Fields(bsid=9).frame(), "version 9"),
    ],
)
def test_ac3_that_is_refused(frame: bytes, reason: str) -> None:
    with pytest.raises(MediaError, match=reason):
        Ac3Config.parse(frame)


def test_an_ac3_frame_has_one_length() -> None:
    config = Ac3Config.parse(Ac3Fields().frame())
    assert config.samples_in(Ac3Fields().frame()) == 1_536
    assert config.samples_in(memoryview(Ac3Fields().frame())) == 1_536
    assert config.samples_in(b"\x0b") == config.samples_in(b"") == 0


def test_eac3() -> None:
    config = Eac3Config.parse(Eac3Fields(size_bytes=768).frame())
    assert (config.FOURCC, config.codec_string, config.BOX) == (b"ec-3", "ec-3", b"dec3")
    assert (config.channels, config.samples_per_frame) == (6, 1_536)
    # 192 kbit/s, one independent substream: fscod 0, bsid 16, acmod 7, lfeon 1, no dependent one.
    assert config.specific == bytes.fromhex("0600 200f00")


def test_eac3_with_a_dependent_substream() -> None:
    config = Eac3Config.parse(Eac3Fields(size_bytes=512).frame() + BACK.frame())
    assert config.channels == 8
    # One dependent substream, chan_loc with Lrs/Rrs.
    assert config.specific[2:] == bytes.fromhex("200f02 02")


def test_a_dependent_substream_that_says_no_place_adds_none() -> None:
    frames = Eac3Fields().frame() + replace(BACK, chanmap=None).frame()
    assert Eac3Config.parse(frames).channels == 6


def test_a_bit_rate_that_moves_is_no_other_configuration() -> None:
    small = Eac3Config.parse(Eac3Fields(size_bytes=512).frame())
    large = Eac3Config.parse(Eac3Fields(size_bytes=2_048).frame())
    assert small == large
    assert small.specific != large.specific
    assert small != Eac3Config.parse(Eac3Fields(acmod=2).frame())


@pytest.mark.parametrize(("code", "samples"), list(enumerate((256, 512, 768, 1_536))))
def test_blocks(code: int, samples: int) -> None:
    one = Eac3Fields(block_code=code)
    config = Eac3Config.parse(one.frame())
    assert config.samples_in(one.frame()) == samples
    assert config.samples_in(memoryview(one.frame() * 2)) == 2 * samples
    others = BACK.frame() + replace(one, substream=1).frame()
    assert config.samples_in(one.frame() + others) == samples


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (b"", "truncated"),
        (b"\x0b\x77\x00", "truncated"),
        (Ac3Fields().frame(), "version"),
        (Eac3Fields(bsid=10).frame(), "version 10"),
        (Eac3Fields(bsid=17).frame(), "version 17"),
        (Eac3Fields(rate_code=3).frame(), "reserved"),
        (Eac3Fields().frame() + b"\x0b\x78" + bytes(20), "syncword"),
        (BACK.frame(), "begins with a dependent"),
        (Eac3Fields().frame() * (MAX_FRAMES + 1), f"more than {MAX_FRAMES}"),
    ],
)
def test_eac3_that_is_refused(sample: bytes, reason: str) -> None:
    with pytest.raises(MediaError, match=reason):
        Eac3Config.parse(sample)


def test_a_sample_that_is_none() -> None:
    config = Eac3Config.parse(Eac3Fields().frame() * MAX_FRAMES)
    assert config.samples_in(b"") == 0
    assert config.samples_in(Eac3Fields().frame() * (MAX_FRAMES + 1)) == 0


def test_more_dependent_substreams_than_the_box_can_count() -> None:
    frames = b"".join(replace(BACK, substream=number).frame() for number in range(8)) * 2
    config = Eac3Config.parse(Eac3Fields().frame() + frames)
    assert config.record == bytes.fromhex("200f10 02")


@given(st.binary(max_size=200))
def test_whatever_the_bytes(data: bytes) -> None:
    for codec in (Ac3Config, Eac3Config):
        try:
            config = codec.parse(b"\x0b\x77" + data)
        except MediaError:
            continue
        assert 1 <= config.channels <= 16
        assert 0 <= config.samples_in(data) <= MAX_FRAMES * 1_536
