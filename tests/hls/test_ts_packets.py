"""Transport stream packets: tables, times and stuffing byte by byte, counters through segments."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ts_reader import Continuity, Packet, TsSegment, crc_mpeg, read_packets, read_section

from hls.ts_packets import (
    BLOCK_PACKETS,
    PAT_PID,
    PMT_PID,
    Unit,
    clock_field,
    crc32_mpeg,
    lay_out,
    pes_header,
    program_association,
    program_map,
)

PID = 0x100
CLOCK = clock_field(0)


def unit_of(pid: int, field: bytes, payload: bytes) -> Unit:
    """In two pieces, if there is enough."""
    pieces = [piece for piece in (payload[:5], payload[5:]) if piece]
    return Unit(pid, field, pieces, len(payload))


def laid_out(tables: Sequence[Unit], units: Sequence[Unit], counter: int) -> bytes:
    return bytes(lay_out(tables, units, counter))


def packets(*units: Unit, tables: Sequence[Unit] = (), counter: int = 0) -> list[Packet]:
    return read_packets(laid_out(tables, units, counter))


# Tables.


def test_program_association_as_ffmpeg_writes_it() -> None:
    (pid, field, (payload,), _) = program_association()
    assert (pid, field) == (PAT_PID, b"")
    assert payload == bytes.fromhex("00 00b00d 0001 c1 00 00 0001 f000 2ab104b2").ljust(
        184, b"\xff"
    )


def test_program_map_as_ffmpeg_writes_it() -> None:
    """But for the language and the version, which ffmpeg has and this has not."""
    (pid, field, (payload,), _) = program_map(0, 0x100, [(0x1B, 0x100), (0x0F, 0x101)])
    assert (pid, field) == (PMT_PID, b"")
    section = bytes.fromhex("02b017 0001 c1 00 00 e100 f000 1be100f000 0fe101f000")
    checked = section + bytes.fromhex("2f44b99b")
    assert payload == (b"\0" + checked).ljust(184, b"\xff")


@pytest.mark.parametrize("version", [0, 1, 5, 31])
def test_program_map_has_its_version(version: int) -> None:
    (packet,) = packets(tables=[program_map(version, 0x101, [(0x0F, 0x101)])])
    section = read_section(packet)
    assert (section.table_id, section.number, section.version) == (2, 1, version)
    assert section.body == bytes.fromhex("e101 f000 0f e101 f000")


@given(st.binary(max_size=40))
def test_crc_is_the_one_of_annex_a(data: bytes) -> None:
    assert crc_mpeg(data + crc32_mpeg(data).to_bytes(4, "big")) == 0


def test_crc_check_value() -> None:
    """CRC-32/MPEG-2 in the usual catalogue."""
    assert crc32_mpeg(b"123456789") == 0x0376E6E7


# Times.

TIMESTAMPS = [
    (0, "21 0001 0001"),
    (1, "21 0001 0003"),
    (0x7FFF, "21 0001 ffff"),
    (0x8000, "21 0003 0001"),
    (0x3FFF_FFFF, "21 ffff ffff"),
    (0x4000_0000, "23 0001 0001"),
    (900_000, "21 0037 7741"),
    ((1 << 33) - 1, "2f ffff ffff"),
    (1 << 33, "21 0001 0001"),
    ((1 << 40) + 1, "21 0001 0003"),
    (-1, "2f ffff ffff"),
]


@pytest.mark.parametrize(("ticks", "expected"), TIMESTAMPS)
def test_pts_alone(ticks: int, expected: str) -> None:
    head = bytes.fromhex("000001 c0 0012 84 80 05")
    assert pes_header(0xC0, ticks, ticks, 10) == head + bytes.fromhex(expected)


def test_pts_and_dts_where_they_differ() -> None:
    expected = bytes.fromhex("000001 e0 0000 84 c0 0a 31 0001 ffff 11 0001 0003")
    assert pes_header(0xE0, 0x7FFF, 1, None) == expected


def test_pes_length_counts_what_is_behind_it() -> None:
    assert pes_header(0xC0, 0, 0, 65_000)[4:6] == (65_000 + 8).to_bytes(2, "big")


CLOCKS = [
    (0, "00000000 7e00"),
    (1, "00000000 fe00"),
    (2, "00000001 7e00"),
    ((1 << 33) - 1, "ffffffff fe00"),
    (1 << 33, "00000000 7e00"),
    (-2, "ffffffff 7e00"),
]


@pytest.mark.parametrize(("ticks", "expected"), CLOCKS)
def test_clock_reference(ticks: int, expected: str) -> None:
    assert clock_field(ticks) == bytes.fromhex("07 10" + expected)
    assert clock_field(ticks, random_access=True) == bytes.fromhex("07 50" + expected)


# Packets.


def test_a_table_is_one_packet() -> None:
    data = laid_out([program_association()], [], 5)
    assert data[:4] == bytes.fromhex("47 4000 15")
    assert data[4:] == program_association().pieces[0]


def test_a_clock_alone_is_an_adaptation_field_as_long_as_the_packet() -> None:
    data = laid_out([], [unit_of(PID, CLOCK, b"")], 0)
    assert data == bytes.fromhex("47 0100 2f b7 10 000000007e00") + b"\xff" * 176


# Bytes of payload in the last of sixteen full packets, and what fills the rest.
LAST = [
    (184, ""),
    (183, "00"),
    (182, "01 00"),
    (181, "02 00 ff"),
    (2, "b5 00" + "ff" * 180),
    (1, "b6 00" + "ff" * 181),
]


@pytest.mark.parametrize(("left", "stuffing"), LAST, ids=[str(left) for left, _ in LAST])
def test_the_last_packet_is_stuffed(left: int, stuffing: str) -> None:
    payload = bytes(range(1, 185)) * 15 + b"\x55" * left
    data = laid_out([], [unit_of(PID, b"", payload)], 0)
    assert len(data) == 16 * 188
    assert data[:4] == bytes.fromhex("47 4100 10")
    assert data[4:188] == payload[:184]
    control = "3f" if stuffing else "1f"
    assert data[-188:] == bytes.fromhex("47 0100" + control + stuffing) + b"\x55" * left


# Payload bytes beside a clock in the first of sixteen packets.
FIRST = [
    (176, "07 10 000000007e00"),
    (175, "08 10 000000007e00 ff"),
    (2, "b5 10 000000007e00" + "ff" * 174),
]


@pytest.mark.parametrize(("payload_bytes", "field"), FIRST, ids=[str(n) for n, _ in FIRST])
def test_the_only_packet_is_stuffed_behind_its_clock(payload_bytes: int, field: str) -> None:
    """A unit of one packet; another of fifteen makes them sixteen."""
    units = [unit_of(PID, CLOCK, b"\x55" * payload_bytes), unit_of(PID, b"", b"\xaa" * 15 * 184)]
    data = laid_out([], units, 0)
    assert len(data) == 16 * 188
    assert data[:188] == bytes.fromhex("47 4100 30" + field) + b"\x55" * payload_bytes


@pytest.mark.parametrize("payload_bytes", [16, 17, 40, 183, 184, 185, 184 * 15 + 1])
def test_sixteen_packets_are_made_of_fewer(payload_bytes: int) -> None:
    payload = bytes(range(1, 251)) * (payload_bytes // 250 + 1)
    made = packets(unit_of(PID, b"", payload[:payload_bytes]))
    assert [packet.counter for packet in made] == list(range(16))
    assert [packet.begins for packet in made] == [True] + 15 * [False]
    assert b"".join(packet.payload for packet in made) == payload[:payload_bytes]
    assert all(packet.payload for packet in made)


def test_a_pes_header_stays_in_one_packet_where_that_is_possible() -> None:
    made = packets(unit_of(PID, CLOCK, bytes(34)))
    assert [len(packet.payload) for packet in made] == [19] + 15 * [1]


def test_the_largest_unit_is_split() -> None:
    made = packets(*(unit_of(PID, b"", bytes(size)) for size in (100, 170, 120)))
    assert len(made) == 16
    assert [number for number, packet in enumerate(made) if packet.begins] == [0, 1, 15]


def test_each_pid_is_rounded_up_by_itself() -> None:
    made = packets(
        unit_of(PID, CLOCK, bytes(17 * 184)),
        unit_of(PID + 1, b"", bytes(100)),
        unit_of(PID, clock_field(1), b""),
    )
    assert [packet.pid for packet in made].count(PID) == 33
    assert [packet.pid for packet in made].count(PID + 1) == 16


def test_blocks_of_whole_units_make_one_segment() -> None:
    sizes = [BLOCK_PACKETS - 1, 1, 5, BLOCK_PACKETS + 7, 3]
    units = [unit_of(PID, CLOCK, bytes((n,)) * (184 * size)) for n, size in enumerate(sizes)]
    made = packets(*units)
    assert b"".join(packet.payload for packet in made) == b"".join(
        bytes((n,)) * (184 * size) for n, size in enumerate(sizes)
    )
    assert [packet.counter for packet in made] == [n % 16 for n in range(len(made))]


def test_nobody_can_change_a_segment() -> None:
    assert lay_out([program_association()], [], 0).readonly


def test_tables_count_segments_and_media_begins_at_zero() -> None:
    tables = [program_association(), program_map(0, PID, [(0x1B, PID)])]
    for counter in (0, 15, 16, 35):
        made = packets(unit_of(PID, CLOCK, bytes(100)), tables=tables, counter=counter)
        assert [packet.counter for packet in made[:3]] == [counter % 16, counter % 16, 0]


def test_a_packet_without_payload_repeats_the_counter_before_it() -> None:
    made = packets(
        unit_of(PID, clock_field(1), b""),
        unit_of(PID, clock_field(2), bytes(100)),
        unit_of(PID, clock_field(3), b""),
        unit_of(PID, clock_field(4), bytes(14 * 184)),
        unit_of(PID, clock_field(5), b""),
    )
    counters = [15, 0, 0, *range(1, 16), 15]
    assert [packet.counter for packet in made] == counters
    assert [packet.clock for packet in made if packet.clock is not None] == [1, 2, 3, 4, 5]


UNITS = st.lists(
    st.tuples(
        st.sampled_from((PID, PID + 1)),
        st.sampled_from((b"", CLOCK, clock_field(7, random_access=True))),
        st.integers(0, 500),
    )
    .filter(lambda fields: bool(fields[1]) or fields[2] > 0)
    .map(lambda fields: unit_of(fields[0], fields[1], bytes(i % 251 for i in range(fields[2])))),
    min_size=1,
    max_size=12,
)


@given(st.lists(UNITS, min_size=1, max_size=3))
def test_segments_continue_each_other_and_hold_what_was_put_in(segments: list[list[Unit]]) -> None:
    last: dict[int, int] = {}
    for units in segments:
        for pid in (PID, PID + 1):  # as the contract has it
            sizes = [unit.size_bytes for unit in units if unit.pid == pid]
            if sizes and 0 < max(sizes) < 16:
                units.append(unit_of(pid, b"", bytes(16)))
        made = packets(*units)
        for packet in made:
            if packet.pid in last:
                assert packet.counter == (last[packet.pid] + packet.has_payload) % 16
            last[packet.pid] = packet.counter
        for pid in (PID, PID + 1):
            found: list[bytes] = []
            for packet in made:
                if packet.pid == pid and packet.has_payload:
                    if packet.begins:
                        found.append(b"")
                    found[-1] += packet.payload
            assert found == [
                b"".join(unit.pieces) for unit in units if unit.pid == pid and unit.size_bytes
            ]


def test_the_reader_sees_a_lost_packet() -> None:
    """The judge is not blind."""
    made = packets(unit_of(PID, CLOCK, bytes(20 * 184)))
    whole, torn = Continuity(), Continuity()
    whole.add(TsSegment(made, PID, 0, {}))
    with pytest.raises(AssertionError, match="packet 7 of PID 0x100"):
        torn.add(TsSegment(made[:7] + made[8:], PID, 0, {}))
