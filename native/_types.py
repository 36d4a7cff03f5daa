"""The values that cross the border of the kernels, shared by the C and the Python twin of each.

Plain records, one exception, and the checks of arguments that must read the same in both twins. No
protocol logic: that is in ``_chunk_py.py``, ``_fragment_py.py`` and ``_request_py.py`` (the
specifications) and in their Cython twins. Imports the standard library only.
"""

import operator
from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from typing_extensions import Buffer

_MAX_LIMIT = 0x7FFFFFFF  # what an RTMP length or a C int can hold; no useful limit is larger


class RawMessage(NamedTuple):
    """One complete RTMP message, as it came off the chunk stream.

    Spec: RTMP 1.0 §5.3.1.2 and §6.1.
    """

    chunk_stream_id: int
    """Chunk stream that carried it, 2 to 65599."""
    type_id: int
    """Message type, 0 to 255 (8 audio, 9 video, 20 AMF0 command ...)."""
    stream_id: int
    """Message stream, 0 to 2**32 - 1; 0 is the connection itself."""
    timestamp_ms: int
    """Absolute milliseconds modulo 2**32; deltas are already added."""
    payload: bytes
    """The message body without any chunk header."""


class ChunkError(ValueError):
    """The peer broke RTMP 1.0 §5.3, or exceeded a limit; the text says how."""


class FragmentSample(NamedTuple):
    """One coded picture or audio frame of a fragment."""

    data: "Buffer"
    """C-contiguous bytes, written to ``mdat`` as they are."""
    duration: int
    """Ticks of the track's timescale, 0 to 2**32 - 1."""
    composition_offset: int
    """pts - dts in ticks, signed 32 bits."""
    flags: int
    """``sample_flags`` of ISO/IEC 14496-12 §8.8.3.1, 32 bits."""


class TrackRun(NamedTuple):
    """The consecutive samples of one track in a fragment: one ``traf`` with one ``trun``."""

    track_id: int
    """Track of the init segment, 1 to 2**32 - 1."""
    base_decode_time: int
    """Decode time of the first sample in ticks, 0 to 2**63 - 1 (``tfdt`` version 1)."""
    samples: Sequence[FragmentSample]
    """In decode order, at least one."""


class NotPlain(Enum):
    """Why `scan_request` returns no request."""

    NEED_DATA = "need data"
    """The head is not complete, and may become plain."""
    ODD = "odd"
    """It is not plain, whatever follows: for h11 to judge."""


class PlainRequest(NamedTuple):
    """The head of one request that asks for a file and for nothing else."""

    head_bytes: int
    """From the request line to the blank line; the next request begins there."""
    is_head: bool
    """HEAD; otherwise GET."""
    accepts_gzip: bool
    """Whether Accept-Encoding names gzip."""
    keeps_alive: bool
    """False after ``Connection: close``: there is no next request."""
    key: bytes
    """``g`` or ``i`` (gzip accepted or not), the path, and the parameters an answer depends on.

    With a token, which is left out of the path, ``G`` or ``I``."""
    cmcd: bytes
    """Value of the query's CMCD (CTA-5004), still escaped; empty if there is none."""
    stream: bytes
    """The first segment behind the prefix, if it is not the file itself; else empty."""
    token: bytes
    """The segment after that, if it begins with ``~``, and without it; else empty. A secret."""
    agent: int
    """`fnv1a` of the first User-Agent; 0 if there is none."""
    forwarded: bytes
    """The last X-Forwarded-For, for who trusts the sender; empty if there is none."""


def checked_limit(name: str, value: int) -> int:
    """Return a limit of the chunk reader if it can be one.

    Args:
        name: What to call it in the error.
        value: Bytes or a count, 1 to 2**31 - 1.

    Raises:
        ValueError: The value is outside that range.
        TypeError: The value is no integer.
    """
    value = operator.index(value)
    if not 1 <= value <= _MAX_LIMIT:
        raise ValueError(f"{name} {value} is outside 1..{_MAX_LIMIT}")
    return value


def byte_view(data: "Buffer") -> memoryview:
    """Look at any C-contiguous buffer as bytes, without a copy; what ``PyBUF_SIMPLE`` is in C.

    Raises:
        TypeError: The object has no buffer.
        BufferError: The buffer has gaps.
    """
    try:
        view = memoryview(data)
    except TypeError as error:  # memoryview names itself in front of what C says
        raise TypeError(str(error).removeprefix("memoryview: ")) from None
    if not view.c_contiguous:
        raise BufferError("memoryview: underlying buffer is not C-contiguous")
    return view.cast("B")
