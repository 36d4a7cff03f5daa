"""MPEG-2 Transport Stream packets: tables, clocks, PES headers, and payloads laid out in rows.

Knows what packets look like and nothing of codecs, samples or segments; `ts` says what goes in::

    packet    47 | PID, payload_unit_start | counter | [adaptation field] | payload      188 bytes
    Unit      one PES packet, one table, or a clock reference alone: one or more packets
    segment   PAT, PMT, then Units in the order given

Continuity. A counter of four bits runs through the packets of each PID, and it has to run on from
segment to segment, although every segment is made alone, whenever it is asked for, and may follow
one of another rendition. So each segment has a multiple of sixteen packets of each PID (up to
fifteen packets are split in two; nothing is added to the media) and its counters begin at 0. Of the
two tables there is one packet a segment, and the counter is the media sequence number. A packet
without payload does not count and repeats the counter before it (2.4.3.3).

Packets are laid out in bulk: one `bytes.join` of payloads and adaptation fields, one strided copy
into rows of 188 bytes, headers by column.

May import numpy. Spec: ISO/IEC 13818-1, 2.4.3.2 (packet), 2.4.3.4 (adaptation field), 2.4.3.6
(PES), 2.4.4.3 (PAT), 2.4.4.8 (PMT), annex A (CRC).
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

PACKET_BYTES: Final = 188
BODY_BYTES: Final = 184
"""Of a packet, behind its header of four: adaptation field and payload."""

PAT_PID: Final = 0
PMT_PID: Final = 0x1000

BLOCK_PACKETS: Final = 1024
"""Packets that are laid out at once, and up to a unit more: 190 KB and a picture."""

COUNTER_STEPS: Final = 16
"""Packets after which a continuity counter is where it was."""

_PROGRAM: Final = 1
_TIMESTAMP_MASK: Final = (1 << 33) - 1
_PCR_FIELD_BYTES: Final = 8
# payload_unit_start; adaptation_field_control: payload alone, field alone, both.
_BEGINS: Final = 0x40
_PAYLOAD, _FIELD_ONLY, _FIELD_AND_PAYLOAD = 0x10, 0x20, 0x30
_MAX_STUFFING: Final = BODY_BYTES - 1

# Adaptation fields of n bytes that say nothing: the length of what follows, no flags, stuffing.
_STUFFING: Final = (b"", b"\0", *(bytes((n - 1, 0)) + b"\xff" * (n - 2) for n in range(2, 185)))


class Unit(NamedTuple):
    """What begins with a packet of its own."""

    pid: int

    field: bytes
    """Adaptation field of the first packet; may be empty if there is payload."""

    pieces: Sequence[bytes | memoryview]
    """What the packets carry, PES header included; none for a clock reference alone."""

    size_bytes: int
    """Sum of the lengths of the pieces."""


def clock_field(clock: int, *, random_access: bool = False) -> bytes:
    """Return an adaptation field with a programme clock reference.

    Args:
        clock: In ticks of 90 kHz, of any size: the field has 33 bits of it.
        random_access: Decoding can start with the picture that begins here.

    Spec: 2.4.3.4, 2.4.3.5.
    """
    flags = 0x50 if random_access else 0x10
    reserved = 0x3F << 9  # and an extension of 0: ticks of 27 MHz between those of 90 kHz
    reference = ((clock & _TIMESTAMP_MASK) << 15 | reserved).to_bytes(6, "big")
    return bytes((_PCR_FIELD_BYTES - 1, flags)) + reference


def pes_header(stream_id: int, pts: int, dts: int, size_bytes: int | None) -> bytes:
    """Return the header of a PES packet.

    Args:
        stream_id: ``0xE0`` for video, ``0xC0`` for audio.
        pts: Presentation time in ticks of 90 kHz, of any size: the header has 33 bits of it.
        dts: Decode time; it is only written where it differs.
        size_bytes: Of what follows the header, at most 65,000; None to leave it open (video).

    Spec: 2.4.3.6, 2.4.3.7.
    """
    if pts == dts:
        times = _timestamp(2, pts)
        flags = 0x80
    else:
        times = _timestamp(3, pts) + _timestamp(1, dts)
        flags = 0xC0
    length = 0 if size_bytes is None else 3 + len(times) + size_bytes
    # 0x84: data_alignment_indicator, as an access unit follows at once.
    head = bytes((0, 0, 1, stream_id, length >> 8, length & 0xFF, 0x84, flags, len(times)))
    return head + times


def _timestamp(prefix: int, ticks: int) -> bytes:
    ticks &= _TIMESTAMP_MASK
    high, middle, low = ticks >> 30, ticks >> 15 & 0x7FFF, ticks & 0x7FFF
    return (prefix << 36 | high << 33 | middle << 17 | low << 1 | 0x1_0001_0001).to_bytes(5, "big")


def program_association() -> Unit:
    """Return the PAT: one programme, whose map is on `PMT_PID`."""
    program = _PROGRAM.to_bytes(2, "big") + (0xE000 | PMT_PID).to_bytes(2, "big")
    return _table(PAT_PID, 0, 1, 0, program)


def program_map(version: int, clock_pid: int, streams: Sequence[tuple[int, int]]) -> Unit:
    """Return the PMT.

    Args:
        version: 0 to 31; a PMT that says something else has another one.
        clock_pid: PID of the packets that carry the clock.
        streams: stream_type and PID of each.
    """
    body = (0xE000 | clock_pid).to_bytes(2, "big") + b"\xf0\x00"  # no programme_info
    for stream_type, pid in streams:
        body += bytes((stream_type,)) + (0xE000 | pid).to_bytes(2, "big") + b"\xf0\x00"
    return _table(PMT_PID, 2, _PROGRAM, version, body)


def _table(pid: int, table_id: int, number: int, version: int, body: bytes) -> Unit:
    """A section in one packet: 4.4.4 syntax, current, the only one of its table."""
    length = 5 + len(body) + 4
    head = bytes((table_id, 0xB0 | length >> 8, length & 0xFF))
    head += number.to_bytes(2, "big") + bytes((0xC1 | version << 1, 0, 0))
    section = head + body
    section += crc32_mpeg(section).to_bytes(4, "big")
    payload = b"\0" + section.ljust(BODY_BYTES - 1, b"\xff")  # pointer_field first
    return Unit(pid, b"", (payload,), BODY_BYTES)


def crc32_mpeg(data: bytes) -> int:
    """CRC-32/MPEG-2 (annex A), bit by bit: it is for some twenty bytes a segment."""
    crc = 0xFFFF_FFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C1_1DB7 if crc & 0x8000_0000 else 0)) & 0xFFFF_FFFF
    return crc


def lay_out(tables: Sequence[Unit], units: Sequence[Unit], table_counter: int) -> memoryview:
    """Return the packets of a segment, read-only.

    Args:
        tables: One packet each, written first.
        units: In the order of sending. The largest unit of a PID needs 16 bytes or more.
        table_counter: Continuity counter of the tables, of any size.

    Cost: three copies of the payload, about 5 us a unit. Memory that is new to the process costs
        more than the copies do, hence the blocks: only the result is as large as the segment.
    """
    everything = [*tables, *units]
    counts = [max(1, -(-(len(unit.field) + unit.size_bytes) // BODY_BYTES)) for unit in everything]
    _round_up(everything, counts, first=len(tables))
    rows = np.empty((sum(counts), PACKET_BYTES), np.uint8)
    pieces: list[bytes | memoryview] = []
    with_field: list[int] = []
    begun = row = 0
    for unit, count in zip(everything, counts, strict=True):
        if row - begun >= BLOCK_PACKETS:
            _fill(rows[begun:row], pieces)
            begun, pieces = row, []
        _split(unit, count, row, pieces, with_field)
        row += count
    _fill(rows[begun:], pieces)
    rows[:, :4] = _headers(everything, counts, with_field, table_counter)
    return rows.reshape(-1).data.toreadonly()


def _fill(rows: npt.NDArray[np.uint8], pieces: Sequence[bytes | memoryview]) -> None:
    """Put the bodies into packets."""
    bodies = np.frombuffer(b"".join(pieces), np.uint8)
    rows[:, 4:] = bodies.reshape(len(rows), BODY_BYTES)


def _headers(
    units: Sequence[Unit], counts: Sequence[int], with_field: Sequence[int], table_counter: int
) -> npt.NDArray[np.uint8]:
    """Return the four bytes that begin each packet (2.4.3.2).

    Args:
        units: All there are.
        counts: Packets of each.
        with_field: Numbers of the packets with an adaptation field.
        table_counter: As for `lay_out`.
    """
    sizes = np.array(counts)
    starts = np.cumsum(sizes) - sizes
    is_empty = np.array([not unit.size_bytes for unit in units])
    pids = np.repeat(np.array([unit.pid for unit in units], np.uint16), sizes)
    control = np.full(len(pids), _PAYLOAD, np.uint8)
    control[with_field] = _FIELD_AND_PAYLOAD
    control[starts[is_empty]] = _FIELD_ONLY
    for pid in {unit.pid for unit in units}:
        of_pid = pids == pid
        counters = np.cumsum(control[of_pid] & _PAYLOAD != 0) - 1
        if pid in (PAT_PID, PMT_PID):
            counters += table_counter % COUNTER_STEPS
        control[of_pid] |= (counters % COUNTER_STEPS).astype(np.uint8)
    headers = np.empty((len(pids), 4), np.uint8)
    headers[:, 0] = 0x47
    headers[:, 1] = pids >> 8
    headers[starts[~is_empty], 1] |= _BEGINS
    headers[:, 2] = pids & 0xFF
    headers[:, 3] = control
    return headers


def _round_up(units: Sequence[Unit], counts: list[int], first: int) -> None:
    """Give the largest unit of each PID so many packets that the PID has a multiple of 16.

    Spread over several units they would be no better off; in the largest they cost the least, and
    its PES header stays in one packet: that would need less than 34 bytes.
    """
    totals: dict[int, int] = {}
    largest: dict[int, int] = {}
    for index in range(first, len(units)):
        unit = units[index]
        if unit.size_bytes:
            totals[unit.pid] = totals.get(unit.pid, 0) + counts[index]
            best = largest.setdefault(unit.pid, index)
            if unit.size_bytes > units[best].size_bytes:
                largest[unit.pid] = index
    for pid, total in totals.items():
        counts[largest[pid]] += -total % COUNTER_STEPS


def _split(
    unit: Unit, count: int, row: int, pieces: list[bytes | memoryview], with_field: list[int]
) -> None:
    """Append a unit's packets, without their headers of four bytes, as ``count`` full bodies.

    What they hold too much is stuffing in the last packet, and in those before it once that has
    only one byte of payload left; in the first packet at last.
    """
    field, payload = unit.field, memoryview(b"".join(unit.pieces))
    slack = count * BODY_BYTES - len(field) - len(payload)
    stuffed = min(count - 1, -(-slack // _MAX_STUFFING))
    tail: list[bytes | memoryview] = []
    end = len(payload)
    for index in range(count - 1, count - 1 - stuffed, -1):
        stuffing = min(slack, _MAX_STUFFING)
        slack -= stuffing
        begin = end - (BODY_BYTES - stuffing)
        tail += (payload[begin:end], _STUFFING[stuffing])  # backwards
        with_field.append(row + index)
        end = begin
    if slack:
        if field:
            field = bytes((field[0] + slack,)) + field[1:] + b"\xff" * slack
        else:
            field = _STUFFING[slack]
    if field:
        with_field.append(row)
        pieces.append(field)
    pieces.append(payload[:end])
    pieces += reversed(tail)
