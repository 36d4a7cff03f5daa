"""Reads the demo's row of cells from a luma plane, as a page would from a canvas.

An oracle: written from the layout's description, it shares no code with `origin.demo.timecode`.
"""

from collections.abc import Sequence


def crc8(data: bytes) -> int:
    """CRC-8 by long division in GF(2): polynomial x^8 + x^2 + x + 1, nothing reflected."""
    remainder = int.from_bytes(data, "big") << 8
    for bit in range(remainder.bit_length() - 1, 7, -1):
        if remainder >> bit & 1:
            remainder ^= 0x107 << (bit - 8)
    return remainder


def read_cells(luma: Sequence[Sequence[int]]) -> list[int]:
    """Look at the 64 cells of a picture of any size: 1 for white, 0 for black."""
    height, width = len(luma), len(luma[0])
    row = luma[int(height * 0.975)]
    return [int(row[int((cell + 0.5) / 64 * width)] > 127) for cell in range(64)]


def decode_cells(cells: Sequence[int]) -> int | None:
    """Return the milliseconds that the cells say, or None when they are no timecode."""
    code = int("".join(map(str, cells)), 2).to_bytes(8, "big")
    if code[0] != 0b10100101 or crc8(code[1:7]) != code[7]:
        return None
    return int.from_bytes(code[1:7], "big")


def read_timecode(luma: Sequence[Sequence[int]]) -> int | None:
    """Return the milliseconds that a picture shows, or None."""
    return decode_cells(read_cells(luma))
