"""The fragment writer, both twins, read back by a box walker that knows only ISO/IEC 14496-12."""

import gc
import mmap
import struct
import sys
import tracemalloc
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from native import FragmentSample, TrackRun

if TYPE_CHECKING:
    from typing_extensions import Buffer

    from .conftest import Twin


# The reader of fragments: strict, and independent of the writer.


def boxes(data: bytes, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    """Walk the boxes in data[start:end], which they must fill; yield name, body start, end."""
    while start < end:
        assert end - start >= 8
        size, name = struct.unpack_from(">I4s", data, start)
        assert 8 <= size <= end - start
        yield name.decode("ascii"), start + 8, start + size
        start += size


@dataclass
class ReadRun:
    track_id: int
    base_decode_time: int
    samples: list[tuple[bytes, int, int, int]] = field(default_factory=list)
    flags: int = 0
    first_byte: int = 0


def read_fragment(data: bytes) -> tuple[int, list[ReadRun]]:
    """Return the sequence number and the runs of a fragment that is one moof and one mdat."""
    (moof, moof_start, moof_end), (mdat, mdat_start, mdat_end) = boxes(data, 0, len(data))
    assert (moof, mdat) == ("moof", "mdat")
    (mfhd, at, end), *trafs = boxes(data, moof_start, moof_end)
    assert mfhd == "mfhd"
    assert end - at == 8
    version_flags, sequence_number = struct.unpack_from(">II", data, at)
    assert version_flags == 0
    runs = []
    for name, start, end in trafs:
        assert name == "traf"
        runs.append(read_traf(data, start, end))
    covered = mdat_start
    for run in runs:
        assert run.first_byte == covered, "runs lie one after another"
        covered += sum(len(sample[0]) for sample in run.samples)
    assert covered == mdat_end, "mdat holds the samples and nothing else"
    return sequence_number, runs


def read_traf(data: bytes, start: int, end: int) -> ReadRun:
    (tfhd, tfhd_at, tfhd_end), (tfdt, tfdt_at, tfdt_end), (trun, at, trun_end) = boxes(
        data, start, end
    )
    assert (tfhd, tfdt, trun) == ("tfhd", "tfdt", "trun")
    flags, track_id = struct.unpack_from(">II", data, tfhd_at)
    assert flags == 0x020000  # version 0, default-base-is-moof, no other field
    assert tfhd_end - tfhd_at == 8
    version, base_decode_time = struct.unpack_from(">IQ", data, tfdt_at)
    assert version == 0x01000000
    assert tfdt_end - tfdt_at == 12
    version_flags, count, data_offset = struct.unpack_from(">IIi", data, at)
    run = ReadRun(track_id, base_decode_time, flags=version_flags & 0xFFFFFF)
    assert version_flags >> 24 == 1
    assert run.flags in (0x000701, 0x000F01)
    run.first_byte = payload = data_offset  # from the first byte of moof, which is byte 0
    at += 12
    for _ in range(count):
        duration, size, sample_flags = struct.unpack_from(">III", data, at)
        at += 12
        composition_offset = 0
        if run.flags & 0x000800:
            (composition_offset,) = struct.unpack_from(">i", data, at)
            at += 4
        sample = data[payload : payload + size]
        assert len(sample) == size
        run.samples.append((sample, duration, composition_offset, sample_flags))
        payload += size
    assert at == trun_end
    return run


def plain(runs: Sequence[TrackRun]) -> list[tuple[int, int, list[tuple[bytes, int, int, int]]]]:
    return [
        (run.track_id, run.base_decode_time, [(bytes(s[0]), s[1], s[2], s[3]) for s in run.samples])
        for run in runs
    ]


def check(twin: "Twin", sequence_number: int, runs: Sequence[TrackRun]) -> bytes:
    fragment = twin.write_fragment(sequence_number, runs)
    assert type(fragment) is bytes
    read_number, read_runs = read_fragment(fragment)
    assert read_number == sequence_number
    assert plain(runs) == [(r.track_id, r.base_decode_time, r.samples) for r in read_runs]
    for run, read_run in zip(runs, read_runs, strict=True):
        listed = any(sample.composition_offset for sample in run.samples)
        assert bool(read_run.flags & 0x000800) == listed
    return fragment


SAMPLE = FragmentSample(b"abc", 3000, 0, 0x02000000)
RUN = TrackRun(1, 0, [SAMPLE])

SAMPLES = st.builds(
    FragmentSample,
    data=st.binary(max_size=40),
    duration=st.integers(0, 2**32 - 1),
    composition_offset=st.just(0) | st.integers(-(2**31), 2**31 - 1),
    flags=st.integers(0, 2**32 - 1),
)
RUNS = st.builds(
    TrackRun,
    track_id=st.integers(1, 2**32 - 1),
    base_decode_time=st.integers(0, 2**63 - 1),
    samples=st.lists(SAMPLES, min_size=1, max_size=12),
)


def test_known_bytes(twin: "Twin") -> None:
    runs = [
        TrackRun(1, 0x1_0000_0002, [FragmentSample(b"VV", 3000, -1, 0x02000000)]),
        TrackRun(2, 48000, [FragmentSample(b"A", 1024, 0, 0), FragmentSample(b"", 1024, 0, 0)]),
    ]
    assert twin.write_fragment(7, runs) == b"".join(
        [
            bytes.fromhex("000000C0") + b"moof",
            bytes.fromhex("00000010") + b"mfhd" + bytes.fromhex("00000000 00000007"),
            bytes.fromhex("00000050") + b"traf",
            bytes.fromhex("00000010") + b"tfhd" + bytes.fromhex("00020000 00000001"),
            bytes.fromhex("00000014") + b"tfdt" + bytes.fromhex("01000000 0000000100000002"),
            bytes.fromhex("00000024") + b"trun" + bytes.fromhex("01000F01 00000001 000000C8"),
            bytes.fromhex("00000BB8 00000002 02000000 FFFFFFFF"),
            bytes.fromhex("00000058") + b"traf",
            bytes.fromhex("00000010") + b"tfhd" + bytes.fromhex("00020000 00000002"),
            bytes.fromhex("00000014") + b"tfdt" + bytes.fromhex("01000000 000000000000BB80"),
            bytes.fromhex("0000002C") + b"trun" + bytes.fromhex("01000701 00000002 000000CA"),
            bytes.fromhex("00000400 00000001 00000000"),
            bytes.fromhex("00000400 00000000 00000000"),
            bytes.fromhex("0000000B") + b"mdat" + b"VVA",
        ]
    )


@given(number=st.integers(0, 2**32 - 1), runs=st.lists(RUNS, min_size=1, max_size=4))
def test_reads_back(twin: "Twin", number: int, runs: list[TrackRun]) -> None:
    check(twin, number, runs)


@given(number=st.integers(0, 2**32 - 1), runs=st.lists(RUNS, min_size=1, max_size=4))
def test_twins_write_the_same(
    python_twin: "Twin", c_twin: "Twin", number: int, runs: list[TrackRun]
) -> None:
    assert c_twin.write_fragment(number, runs) == python_twin.write_fragment(number, runs)


def _sample_of(data: Any) -> FragmentSample:
    return SAMPLE._replace(data=data)


WILD_INTEGERS = st.integers(-(2**70), 2**70) | st.sampled_from(
    [-1, 0, 1, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**32 - 1, 2**32, 2**63 - 1, 2**63, 2**64]
)
WILD = WILD_INTEGERS | st.sampled_from([None, 1.0, True, "1", b"1"])
WILD_SAMPLES = (
    st.builds(
        FragmentSample,
        data=st.binary(max_size=4) | st.sampled_from([None, "text", memoryview(b"abcd")[::2]]),
        duration=WILD | st.just(1),
        composition_offset=WILD | st.just(0),
        flags=WILD | st.just(0),
    )
    | st.just(SAMPLE)
    | st.sampled_from([None, (b"", 0, 0, 0)])
)
WILD_RUNS = (
    st.builds(
        TrackRun,
        track_id=WILD | st.just(1),
        base_decode_time=WILD | st.just(0),
        samples=st.lists(WILD_SAMPLES, max_size=3) | st.none(),
    )
    | st.just(RUN)
    | st.sampled_from([None, (1, 0, [SAMPLE])])
)


@example(number=1, runs=[RUN._replace(samples=[_sample_of(None)])])
@example(number=1, runs=[RUN._replace(samples=[_sample_of("text")])])
@example(number=1, runs=[RUN._replace(samples=[_sample_of(memoryview(b"abcd")[::2])])])
@given(number=WILD | st.just(1), runs=st.lists(WILD_RUNS, max_size=3) | st.none())
def test_twins_refuse_the_same(python_twin: "Twin", c_twin: "Twin", number: Any, runs: Any) -> None:
    def attempt(twin: "Twin") -> bytes | tuple[str, str]:
        try:
            return twin.write_fragment(number, runs)
        except Exception as error:
            return type(error).__name__, str(error)

    assert attempt(c_twin) == attempt(python_twin)


@pytest.mark.parametrize(
    ("number", "run", "text"),
    [
        (-1, RUN, "sequence_number -1 is outside 0..4294967295"),
        (2**32, RUN, "sequence_number 4294967296 is outside 0..4294967295"),
        (1, RUN._replace(track_id=0), "track_id 0 is outside 1..4294967295"),
        (1, RUN._replace(track_id=2**32), "track_id 4294967296 is outside 1..4294967295"),
        (
            1,
            RUN._replace(base_decode_time=-1),
            "base_decode_time -1 is outside 0..9223372036854775807",
        ),
        (
            1,
            RUN._replace(base_decode_time=2**63),
            "base_decode_time 9223372036854775808 is outside 0..9223372036854775807",
        ),
        (1, RUN._replace(samples=[]), "a run needs a sample"),
        (
            1,
            RUN._replace(samples=[SAMPLE, SAMPLE._replace(duration=-1)]),
            "duration -1 is outside 0..4294967295",
        ),
        (
            1,
            RUN._replace(samples=[SAMPLE._replace(duration=2**32)]),
            "duration 4294967296 is outside 0..4294967295",
        ),
        (
            1,
            RUN._replace(samples=[SAMPLE._replace(composition_offset=2**31)]),
            "composition_offset 2147483648 is outside -2147483648..2147483647",
        ),
        (
            1,
            RUN._replace(samples=[SAMPLE._replace(composition_offset=-(2**31) - 1)]),
            "composition_offset -2147483649 is outside -2147483648..2147483647",
        ),
        (
            1,
            RUN._replace(samples=[SAMPLE._replace(flags=2**32)]),
            "flags 4294967296 is outside 0..4294967295",
        ),
    ],
)
def test_ranges(twin: "Twin", number: int, run: TrackRun, text: str) -> None:
    with pytest.raises(ValueError) as caught:
        twin.write_fragment(number, [RUN, run])
    assert str(caught.value) == text


def test_a_fragment_needs_a_run(twin: "Twin") -> None:
    with pytest.raises(ValueError, match=r"^a fragment needs a run$"):
        twin.write_fragment(1, [])


def test_types(twin: "Twin") -> None:
    with pytest.raises(TypeError, match=r"^a run must be a TrackRun, not tuple$"):
        twin.write_fragment(1, [(1, 0, [SAMPLE])])  # type: ignore[list-item]
    with pytest.raises(TypeError, match=r"^a sample must be a FragmentSample, not bytes$"):
        twin.write_fragment(1, [RUN._replace(samples=[b"abc"])])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="interpreted as an integer"):
        twin.write_fragment(1, [RUN._replace(track_id=1.0)])  # type: ignore[arg-type]
    text = SAMPLE._replace(data="text")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="bytes-like object is required, not 'str'"):
        twin.write_fragment(1, [RUN._replace(samples=[text])])
    gap = SAMPLE._replace(data=memoryview(b"abcd")[::2])
    with pytest.raises(BufferError, match="not C-contiguous"):
        twin.write_fragment(1, [RUN._replace(samples=[gap])])


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview, lambda data: array("H", data)])
def test_takes_any_buffer(twin: "Twin", wrap: "Callable[[bytes], Buffer]") -> None:
    fragment = check(twin, 1, [RUN._replace(samples=[SAMPLE._replace(data=b"wxyz"), SAMPLE])])
    wrapped = RUN._replace(samples=(SAMPLE._replace(data=wrap(b"wxyz")), SAMPLE))
    assert twin.write_fragment(1, (wrapped,)) == fragment


def test_slices_of_a_message_need_no_copy(twin: "Twin") -> None:
    payload = b"\x17\x01\x00\x00\x00" + b"frame"
    check(twin, 1, [RUN._replace(samples=[SAMPLE._replace(data=memoryview(payload)[5:])])])


def test_buffers_are_released(twin: "Twin") -> None:
    data = bytearray(b"abcd")
    run = RUN._replace(samples=[SAMPLE._replace(data=data)])
    twin.write_fragment(1, [run])
    data.append(1)  # BufferError if an export were left
    with pytest.raises(ValueError):
        twin.write_fragment(1, [run._replace(samples=[*run.samples, SAMPLE._replace(flags=-1)])])
    gc.collect()
    data.append(1)


def test_references_are_released(twin: "Twin") -> None:
    data = bytes(bytearray(b"only here"))
    run = RUN._replace(samples=[SAMPLE._replace(data=data)])
    before = sys.getrefcount(data), sys.getrefcount(run)
    for _ in range(100):
        twin.write_fragment(1, [run])
    gc.collect()
    assert (sys.getrefcount(data), sys.getrefcount(run)) == before


def test_too_large_is_refused_before_allocation(twin: "Twin") -> None:
    with mmap.mmap(-1, 2**30) as large:  # never touched, so it costs no memory
        sample = SAMPLE._replace(data=large)
        tracemalloc.start()
        try:
            with pytest.raises(ValueError, match=r"^the fragment exceeds 2147483647 bytes$"):
                twin.write_fragment(1, [RUN, RUN._replace(samples=[sample, sample])])
            assert tracemalloc.get_traced_memory()[1] < 100_000
        finally:
            tracemalloc.stop()


def test_one_allocation_of_the_result(c_twin: "Twin") -> None:
    run = RUN._replace(samples=[SAMPLE._replace(data=bytes(100_000))] * 10)
    c_twin.write_fragment(1, [run])
    tracemalloc.start()
    try:
        fragment = c_twin.write_fragment(1, [run])
        assert tracemalloc.get_traced_memory()[1] < len(fragment) + 10_000
    finally:
        tracemalloc.stop()
