"""Opus, FLAC, AC-3 and MP3 headers and frames made by hand, bit by bit, independent of hls."""

import struct
from dataclasses import dataclass, field

from media_samples import BitWriter


def opus_head(
    *,
    version: int = 1,
    channels: int = 2,
    pre_skip: int = 312,
    rate: int = 48_000,
    gain: int = 0,
    family: int = 0,
    table: bytes = b"",
) -> bytes:
    fields = struct.pack("<BBHIhB", version, channels, pre_skip, rate, gain, family)
    return b"OpusHead" + fields + table


def opus_packet(configuration: int, *, code: int = 0, count: int = 1, stereo: bool = True) -> bytes:
    """A packet with the TOC given, and something behind it."""
    toc = configuration << 3 | stereo << 2 | code
    return bytes((toc,)) + (bytes((count,)) if code == 3 else b"") + b"\x5a" * 4


def stream_info(
    *,
    blocks: tuple[int, int] = (4_096, 4_096),
    rate: int = 48_000,
    channels: int = 2,
    bits: int = 16,
) -> bytes:
    w = BitWriter().u(16, blocks[0]).u(16, blocks[1]).u(24, 0).u(24, 0)
    w.u(20, rate).u(3, channels - 1).u(5, bits - 1).u(36, 0)
    return w.bytes(stop_bit=False) + bytes(range(16))


def flac_frame(code: int, *, number: bytes = b"\0", explicit: bytes = b"") -> bytes:
    """A frame header with a block size code, its number as coded, and an explicit block size."""
    return b"\xff\xf8" + bytes((code << 4 | 9, 0x18)) + number + explicit + b"\xa5" * 8


@dataclass(kw_only=True)
class Ac3Fields:
    rate_code: int = 0
    size_code: int = 20
    bsid: int = 8
    bsmod: int = 0
    acmod: int = 2
    lfe: int = 0

    def frame(self) -> bytes:
        w = BitWriter().u(16, 0x0B77).u(16, 0xBEEF).u(2, self.rate_code).u(6, self.size_code)
        w.u(5, self.bsid).u(3, self.bsmod).u(3, self.acmod)
        if self.acmod & 1 and self.acmod != 1:
            w.u(2, 3 - 2 * self.lfe)
        if self.acmod & 4:
            w.u(2, 3 - 2 * self.lfe)
        if self.acmod == 2:
            w.u(2, 3 - 2 * self.lfe)
        return w.u(1, self.lfe).bytes() + bytes(60)


@dataclass(kw_only=True)
class Eac3Fields:
    stream_type: int = 0
    substream: int = 0
    size_bytes: int = 64
    rate_code: int = 0
    block_code: int = 3
    acmod: int = 7
    lfe: int = 1
    bsid: int = 16
    compr: bool = True
    chanmap: int | None = None
    tail: bytes = field(default=b"")

    def frame(self) -> bytes:
        w = BitWriter().u(16, 0x0B77).u(2, self.stream_type).u(3, self.substream)
        w.u(11, self.size_bytes // 2 - 1).u(2, self.rate_code).u(2, self.block_code)
        w.u(3, self.acmod).u(1, self.lfe).u(5, self.bsid)
        for _ in range(1 if self.acmod else 2):
            w.u(5, 27).u(1, self.compr)
            if self.compr:
                w.u(8, 0x55)
        if self.stream_type == 1:
            w.u(1, self.chanmap is not None)
            if self.chanmap is not None:
                w.u(16, self.chanmap)
        return w.bytes().ljust(self.size_bytes, b"\0")


def mp3_frame(
    *, version: int = 3, layer: int = 1, bit_rate: int = 9, rate: int = 0, mode: int = 1
) -> bytes:
    w = BitWriter().u(11, 0x7FF).u(2, version).u(2, layer).u(1, 1)
    w.u(4, bit_rate).u(2, rate).u(2, 0).u(2, mode).u(6, 0)
    return w.bytes(stop_bit=False) + bytes(100)
