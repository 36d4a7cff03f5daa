"""The bit reader: fields across bytes, Exp-Golomb codes, and never past the end."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_samples import BitWriter

from hls.bits import BitReader
from hls.errors import MediaError


def test_fields_cross_byte_boundaries() -> None:
    bits = BitReader(bytes.fromhex("a5c3f0"), "test")
    assert [bits.read(n) for n in (3, 1, 9, 0, 11)] == [0b101, 0, 0b010111000, 0, 0b01111110000]
    assert bits.bits_left == 0


def test_align_moves_only_off_a_boundary() -> None:
    bits = BitReader(b"\x80\x01", "test")
    bits.align()
    assert bits.flag()
    bits.align()
    assert bits.read(8) == 1
    bits.align()
    assert bits.bits_left == 0


@pytest.mark.parametrize("ask", [lambda b: b.read(9), lambda b: b.skip(9), lambda b: b.unsigned()])
def test_the_end_is_an_error(ask) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MediaError, match="thing is truncated"):
        ask(BitReader(b"\x00", "thing"))


def test_an_endless_prefix_is_an_error() -> None:
    with pytest.raises(MediaError, match="more than 32 bits"):
        BitReader(bytes(10), "thing").unsigned()


@given(st.lists(st.tuples(st.booleans(), st.integers(-(2**31) + 1, 2**31 - 1))))
def test_exp_golomb_round_trip(values: list[tuple[bool, int]]) -> None:
    writer = BitWriter()
    for signed, value in values:
        writer = writer.se(value) if signed else writer.ue(abs(value))
    bits = BitReader(writer.bytes(), "test")
    for signed, value in values:
        assert (bits.signed() if signed else bits.unsigned()) == (value if signed else abs(value))


def test_the_longest_exp_golomb_code() -> None:
    assert BitReader(BitWriter().ue(2**32 - 2).bytes(), "test").unsigned() == 2**32 - 2
