"""An independent reader of transport stream segments: packets, tables, PES, access units.

Strict: every byte of every packet must be what ISO/IEC 13818-1 lets it be, every reserved bit as it
should, every CRC right, every PES packet begin in a packet of its own. It shares no code with hls
and raises `AssertionError` on anything odd.

`read_segment` takes one segment; `Continuity` takes segments in the order in which a player gets
them, and counts on through them.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

PACKET = 188
WRAP = 1 << 33


@dataclass(frozen=True)
class Packet:
    pid: int
    begins: bool
    counter: int
    has_payload: bool
    payload: bytes
    random_access: bool
    clock: int | None
    """PCR in 90 kHz; its extension is 0."""
    field_bytes: int
    """Of the adaptation field, with its length byte."""


def read_packets(data: bytes) -> list[Packet]:
    assert len(data) % PACKET == 0, "not whole packets"
    return [_packet(data[at : at + PACKET]) for at in range(0, len(data), PACKET)]


def _packet(raw: bytes) -> Packet:
    assert raw[0] == 0x47, "no sync byte"
    assert raw[1] & 0xA0 == 0, "transport error or priority"
    assert raw[3] & 0xC0 == 0, "scrambled"
    control = raw[3] >> 4 & 3
    assert control, "adaptation_field_control is reserved"
    at = 4
    clock, random_access = None, False
    if control & 2:
        size = raw[4]
        assert size <= 182 if control == 3 else size == 183, "adaptation field too long"
        at = 5 + size
        clock, random_access = _adaptation(raw[5:at])
    return Packet(
        pid=(raw[1] & 0x1F) << 8 | raw[2],
        begins=bool(raw[1] & 0x40),
        counter=raw[3] & 15,
        has_payload=bool(control & 1),
        payload=raw[at:] if control & 1 else b"",
        random_access=random_access,
        clock=clock,
        field_bytes=at - 4,
    )


def _adaptation(body: bytes) -> tuple[int | None, bool]:
    if not body:
        return None, False
    flags, rest, clock = body[0], body[1:], None
    assert flags & ~0x50 == 0, "an unexpected flag"
    if flags & 0x10:
        value = int.from_bytes(rest[:6], "big")
        assert value & 0x7FFF == 0x7E00, "reserved bits or extension of a clock reference"
        clock, rest = value >> 15, rest[6:]
    assert rest == b"\xff" * len(rest), "stuffing is not 0xff"
    return clock, bool(flags & 0x40)


def crc_mpeg(data: bytes) -> int:
    """Polynomial division of the whole section, as one long number."""
    number = (int.from_bytes(data, "big") << 32) ^ (0xFFFF_FFFF << 8 * len(data))
    divisor = 0x1_04C1_1DB7
    for bit in range(8 * len(data) - 1, -1, -1):
        if number >> (bit + 32) & 1:
            number ^= divisor << bit
    return number


@dataclass(frozen=True)
class Section:
    table_id: int
    number: int
    version: int
    body: bytes


def read_section(packet: Packet) -> Section:
    """A table that fits one packet."""
    assert packet.begins
    assert packet.payload[0] == 0, "pointer_field"
    section = packet.payload[1:]
    length = int.from_bytes(section[1:3], "big")
    assert length >> 12 == 0b1011
    size = 3 + (length & 0xFFF)
    assert section[size:] == b"\xff" * (len(section) - size)
    section = section[:size]
    assert crc_mpeg(section) == 0, "CRC"
    assert section[5] & 0xC1 == 0xC1, "reserved bits, current_next_indicator"
    assert section[6:8] == b"\0\0", "section number"
    return Section(
        section[0], int.from_bytes(section[3:5], "big"), section[5] >> 1 & 31, section[8:-4]
    )


@dataclass(frozen=True)
class Pes:
    pid: int
    pts: int
    dts: int
    data: bytes
    random_access: bool
    clock: int | None
    packet: int
    """Number of its first packet in the segment."""


def read_pes(pid: int, packets: list[tuple[int, Packet]]) -> Pes:
    number, first = packets[0]
    data = b"".join(packet.payload for _, packet in packets)
    assert data[:3] == b"\0\0\1", "packet_start_code_prefix"
    stream_id, length, flags, times, size = (
        data[3],
        int.from_bytes(data[4:6], "big"),
        data[6],
        data[7],
        data[8],
    )
    assert flags == 0x84
    assert (times, size) in ((0x80, 5), (0xC0, 10))
    assert stream_id in (0xE0, 0xC0)
    assert length in (0, len(data) - 6)
    assert length or stream_id == 0xE0, "only video may leave its length open"
    pts = _timestamp(data[9:14], 2 if size == 5 else 3)
    dts = _timestamp(data[14:19], 1) if size == 10 else pts
    return Pes(pid, pts, dts, data[9 + size :], first.random_access, first.clock, number)


def _timestamp(raw: bytes, prefix: int) -> int:
    value = int.from_bytes(raw, "big")
    assert value >> 36 == prefix
    assert value & 0x1_0001_0001 == 0x1_0001_0001, "marker bits"
    return (value >> 33 & 7) << 30 | (value >> 17 & 0x7FFF) << 15 | value >> 1 & 0x7FFF


@dataclass
class TsSegment:
    packets: list[Packet]
    clock_pid: int
    version: int
    streams: dict[int, int]
    """PID by stream_type."""
    units: list[Pes] = field(default_factory=list)
    """In the order of their first packets."""

    def of(self, stream_type: int) -> list[Pes]:
        pid = self.streams[stream_type]
        return [unit for unit in self.units if unit.pid == pid]

    @property
    def clocks(self) -> list[tuple[int, int]]:
        """(packet number, PCR)."""
        return [(n, p.clock) for n, p in enumerate(self.packets) if p.clock is not None]


def read_segment(data: bytes) -> TsSegment:
    packets = read_packets(data)
    association, program = packets[0], packets[1]
    assert association.pid == 0
    pat = read_section(association)
    assert (pat.table_id, pat.number, len(pat.body)) == (0, 1, 4)
    assert pat.body[:2] == b"\0\1", "program 1"
    assert int.from_bytes(pat.body[2:], "big") == 0xE000 | program.pid
    pmt = read_section(program)
    assert (pmt.table_id, pmt.number) == (2, 1)
    assert pmt.body[0] & 0xE0 == 0xE0
    assert pmt.body[2:4] == b"\xf0\0"
    streams = {}
    for at in range(4, len(pmt.body), 5):
        kind, high, low, *info = pmt.body[at : at + 5]
        assert high & 0xE0 == 0xE0
        assert info == [0xF0, 0]
        streams[kind] = (high & 0x1F) << 8 | low
    segment = TsSegment(packets, int.from_bytes(pmt.body[:2], "big") & 0x1FFF, pmt.version, streams)
    open_units: dict[int, list[tuple[int, Packet]]] = {}
    for number, packet in enumerate(packets[2:], 2):
        assert packet.pid in streams.values(), f"PID {packet.pid:#x} is in no table"
        assert packet.clock is None or packet.pid == segment.clock_pid
        if not packet.has_payload:
            assert not packet.begins
            assert packet.clock is not None, "an empty packet for nothing"
        elif packet.begins:
            if packet.pid in open_units:
                segment.units.append(read_pes(packet.pid, open_units[packet.pid]))
            open_units[packet.pid] = [(number, packet)]
        else:
            open_units[packet.pid].append((number, packet))
    segment.units += [read_pes(pid, found) for pid, found in open_units.items()]
    segment.units.sort(key=lambda unit: unit.packet)
    return segment


class Continuity:
    """Counts the packets of each PID, through any number of segments."""

    def __init__(self) -> None:
        self._last: dict[int, int] = {}

    def add(self, segment: TsSegment) -> None:
        for number, packet in enumerate(segment.packets):
            if packet.pid in self._last:
                expected = (self._last[packet.pid] + packet.has_payload) % 16
                assert packet.counter == expected, f"packet {number} of PID {packet.pid:#x}"
            self._last[packet.pid] = packet.counter


def nal_units(data: bytes) -> list[bytes]:
    """The NAL units of a byte stream, which begins with a start code of four bytes."""
    assert data[:4] == b"\0\0\0\1"
    return re.split(rb"\x00{2,3}\x01", data)[1:]


@dataclass(frozen=True)
class AdtsFrame:
    rate_index: int
    channels: int
    data: bytes


def adts_frames(data: bytes) -> Iterator[AdtsFrame]:
    while data:
        header = f"{int.from_bytes(data[:7], 'big'):056b}"
        assert header[:12] == "1" * 12, "syncword"
        assert header[12:16] == "0001", "MPEG-4, layer 0, no CRC"
        assert header[16:18] == "01", "AAC-LC"
        assert header[22] == "0"
        assert header[26:30] == "0000"
        assert header[43:] == "1" * 11 + "00", "variable rate, one raw data block"
        size = int(header[30:43], 2)
        assert 7 < size <= len(data)
        yield AdtsFrame(int(header[18:22], 2), int(header[23:26], 2), data[7:size])
        data = data[size:]
