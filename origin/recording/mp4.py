"""What a recording's media files need besides the parts as viewers saw them.

* A broadcast's media time counts from a midnight; a file of its own begins at zero (`TimeShift`).
* A file that is downloaded begins with an index of its parts (`part_index`), from which players
  learn how long it is and where to seek, without reading it.

Pure: bytes in, bytes out. May import hls's errors and `origin.recording.index`.
Spec: ISO/IEC 14496-12, 8.3.2 (tkhd), 8.4.2 (mdhd), 8.8.7 (tfhd), 8.8.12 (tfdt), 8.16.3 (sidx).
"""

import struct
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Final

from hls import UsageError
from origin.recording.index import MediaFile

MAX_REFERENCES: Final = 0xFFFF
"""Of one sidx; a recording of more parts than that (3.6 hours) names several with one."""

_BOX: Final = struct.Struct(">I4s")


class TimeShift:
    """Moves the fragments of one file so that the first one begins at zero.

    Args:
        init: Its init section.

    Raises:
        UsageError: It has no track.
    """

    def __init__(self, init: bytes) -> None:
        self._timescales = dict(_timescales(init))
        self._base_s: Fraction | None = None
        if not self._timescales:
            raise UsageError("an init section has no track")
        self.track_id, self.timescale = next(iter(self._timescales.items()))
        """Of its first track: the video, if there is one."""

    def shift(self, part: bytes) -> bytes:
        """Return the part on the file's time; parts are given in order, each once.

        Raises:
            UsageError: It is no fragment.

        Cost: one copy, and some ten microseconds.
        """
        times = list(_decode_times(part))
        if self._base_s is None:
            self._base_s = min(
                (Fraction(time, self._timescales[track]) for _, track, time in times),
                default=None,
            )
        if self._base_s is None:
            return part
        moved = bytearray(part)
        for at, track, time in times:
            # A track that joins late may have begun a moment before the first part.
            at_base = int(self._base_s * self._timescales[track])
            struct.pack_into(">Q", moved, at, max(0, time - at_base))
        return bytes(moved)


def part_index(media: MediaFile) -> bytes:
    """Make the sidx of a file, which stands between its init section and its first segment.

    Each part is named: FFmpeg (5.1) seeks past those that are not.
    """
    rows: list[tuple[int, int, int]] = []  # where it begins, in ticks; its size; how
    first_ms = media.segments[0].epoch_ms
    timescale, now_us = media.line.timescale, 0
    for segment in media.segments:
        if segment.discontinuity:  # time goes on while nobody publishes
            now_us = max(now_us, (segment.epoch_ms - first_ms) * 1000)
        # It begins with a picture that needs no other one (SAP type 1), or nobody knows.
        how = 0x9000_0000 if segment.independent else 0
        for size_bytes, duration_us in segment.pieces:
            # In ticks of the track: FFmpeg takes the box's own for those.
            rows.append((now_us * timescale // 1_000_000, size_bytes, how))
            now_us += duration_us
            how = 0
    step = -(-len(rows) // MAX_REFERENCES)
    groups = [rows[first : first + step] for first in range(0, len(rows), step)]
    starts = [group[0][0] for group in groups] + [now_us * timescale // 1_000_000]
    table = b"".join(
        struct.pack(
            ">3I",
            sum(size_bytes for _, size_bytes, _ in group),
            min(after - start, 0xFFFF_FFFF),
            group[0][2],
        )
        for group, (start, after) in zip(groups, pairwise(starts), strict=True)
    )
    # Version 1; the first part begins at 0, right behind this box.
    line = media.line
    head = struct.pack(">3I2Q2H", 1 << 24, line.track_id, timescale, 0, 0, 0, len(groups))
    return _BOX.pack(_BOX.size + len(head) + len(table), b"sidx") + head + table


def _timescales(init: bytes) -> Iterator[tuple[int, int]]:
    """Yield each track's id and ticks a second."""
    for kind, start, end in _boxes(init, 0, len(init)):
        if kind == b"moov":
            for inner, trak, trak_end in _boxes(init, start, end):
                if inner == b"trak":
                    yield _track(init, trak, trak_end)


def _track(init: bytes, start: int, end: int) -> tuple[int, int]:
    track_id = timescale = 0
    for kind, at, box_end in _boxes(init, start, end):
        if kind == b"tkhd":
            (track_id,) = struct.unpack_from(">I", init, at + (20 if init[at] else 12))
        elif kind == b"mdia":
            for inner, mdhd, _ in _boxes(init, at, box_end):
                if inner == b"mdhd":
                    (timescale,) = struct.unpack_from(">I", init, mdhd + (20 if init[mdhd] else 12))
    return track_id, timescale


def _decode_times(part: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield, for each track of a fragment, where its decode time stands, its id, and the time."""
    for kind, start, end in _boxes(part, 0, len(part)):
        if kind == b"moof":
            for inner, traf, traf_end in _boxes(part, start, end):
                if inner == b"traf":
                    yield _traf(part, traf, traf_end)


def _traf(part: bytes, start: int, end: int) -> tuple[int, int, int]:
    track_id = at = 0
    for kind, payload, _ in _boxes(part, start, end):
        if kind == b"tfhd":
            (track_id,) = struct.unpack_from(">I", part, payload + 4)
        elif kind == b"tfdt":
            if not part[payload]:
                raise UsageError("a tfdt of 32 bits is none of ours")
            at = payload + 4
    (time,) = struct.unpack_from(">Q", part, at)
    return at, track_id, time


def _boxes(data: bytes, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Yield the boxes between two positions: kind, start and end of the payload."""
    while start < end:
        if end - start < _BOX.size:
            raise UsageError("a box header is cut off")
        size, kind = _BOX.unpack_from(data, start)
        if not _BOX.size <= size <= end - start:
            raise UsageError(f"a box {kind!r} has {size} bytes")
        yield kind, start + _BOX.size, start + size
        start += size
