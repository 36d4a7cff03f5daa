"""Kernels: the Cython build and the Python twin do the same, and neither changes its input.

The same messages or bytes, the same exception type and text, the same properties afterwards. Only
the exceptions that the docstrings name may be raised at all.

Input: byte 0 chooses the kernel. Even: the chunk reader, whose limits are raised after the first
feed if bit 1 is set; byte 1 is the size of the feeds less one, the rest is the chunk stream. Odd:
the fragment writer; the rest is records of a sample each, see `runs_of`.
"""

import struct
from array import array
from collections.abc import Callable, Sequence

from native import (
    ChunkError,
    FragmentSample,
    RawMessage,
    TrackRun,
    _chunk,
    _chunk_py,
    _fragment,
    _fragment_py,
)

RECORD = struct.Struct(
    ">BIqIiI"
)  # size and marks; track, time (for a new run); duration, cts, flags


def read(
    reader_type: type[_chunk.ChunkReader] | type[_chunk_py.ChunkReader],
    pieces: "Sequence[array[int]]",
    *,
    raised: bool,
) -> list[object]:
    reader = reader_type(
        max_message_bytes=4096,
        max_buffered_bytes=6000,
        max_chunk_streams=8,
        max_messages_per_feed=20,
    )
    trace: list[object] = []
    for piece in pieces:
        out: list[RawMessage] = []
        try:
            reader.feed(piece, out)
        except ChunkError as error:  # the peer's fault
            trace.append(str(error))
        trace += [out, reader.chunk_size, reader.buffered_bytes]
        if raised and piece is pieces[0]:
            reader.set_limits(
                max_message_bytes=8192, max_buffered_bytes=12_000, max_chunk_streams=16
            )
    return trace


def runs_of(data: bytes) -> list[TrackRun]:
    """Make runs of records; the top bit of a record's size begins a new run."""
    runs: list[TrackRun] = []
    while len(data) >= RECORD.size:
        size, track_id, time, duration, offset, flags = RECORD.unpack_from(data)
        data = data[RECORD.size :]
        if size & 0x80 or not runs:
            runs.append(TrackRun(track_id, time, []))
        samples = runs[-1].samples
        assert isinstance(samples, list)
        samples.append(FragmentSample(memoryview(data)[: size & 0x7F], duration, offset, flags))
        data = data[size & 0x7F :]
    return runs


def write(
    write_fragment: Callable[[int, Sequence[TrackRun]], bytes], runs: Sequence[TrackRun]
) -> object:
    try:
        return write_fragment(1, runs)
    except ValueError as error:  # a number outside its range, or no run
        return str(error)


def test_one_input(data: bytes) -> None:
    before = bytes(bytearray(data))
    if data[:1] and data[0] % 2 == 0 and len(data) > 1:
        step = data[1] + 1
        # Arrays end where their memory does, bytes one before: a sanitizer sees any byte too many.
        pieces = [array("B", data[i : i + step]) for i in range(2, len(data), step)]
        raised = bool(data[0] & 2)
        assert read(_chunk.ChunkReader, pieces, raised=raised) == read(
            _chunk_py.ChunkReader, pieces, raised=raised
        )
    elif data:
        runs = runs_of(data[1:])
        result = write(_fragment.write_fragment, runs)
        assert result == write(_fragment_py.write_fragment, runs)
        assert isinstance(result, bytes | str)
    assert data == before
