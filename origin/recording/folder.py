"""The folder of a recording: written part by part, read whole, repaired after a crash.

A part's bytes are in their file before the index names them. So whatever moment the process dies
at, the index up to its last whole line, and the files up to what it names, are a recording.
Everything is flushed to the disk every `SYNC_S` and at the end: a power cut costs as much.

Synchronous: for a worker thread. May import `origin.recording`'s index, mp4, tape.
"""

import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, Protocol

from hls import InitSegment
from origin.recording.index import (
    MAX_FILES,
    FileLine,
    Line,
    MediaFile,
    SegmentLine,
    encode_line,
    file_name,
    group_lines,
    join,
    read_lines,
)
from origin.recording.mp4 import TimeShift
from origin.recording.tape import TapePart

INDEX_NAME: Final = "index"

SYNC_S: Final = 5.0
"""Media time between two flushes to the disk, seconds."""


class RecordingStopped(Exception):
    """There is no room for more; the text says of what, and holds no path."""


def free_bytes(folder: Path) -> int:
    """Return the room on a folder's disk."""
    return shutil.disk_usage(folder).free


class Shift(Protocol):
    """What `TimeShift` is."""

    track_id: int
    timescale: int

    def shift(self, part: bytes) -> bytes:
        """Return the part on the file's time."""
        ...


class RecordingWriter:
    """Writes one recording; one thread at a time.

    Args:
        folder: Made by it; must not exist.
        min_free_bytes: Room that is left on the disk.
        measure_free: Tells the room on a disk.
        make_shift: From a file's init section to what moves its parts in time.

    Raises:
        OSError: The folder cannot be made.
    """

    def __init__(
        self,
        folder: Path,
        *,
        min_free_bytes: int,
        measure_free: Callable[[Path], int] = free_bytes,
        make_shift: Callable[[bytes], Shift] = TimeShift,
    ) -> None:
        self._folder = folder
        self._min_free_bytes = min_free_bytes
        self._measure_free = measure_free
        self._make_shift = make_shift
        self._shift: Shift | None = None  # of the present file
        self._media: BinaryIO | None = None
        self._init_index: int | None = None
        self._files = 0
        self._offset = 0
        self._unsynced_us = 0
        self._segment: SegmentLine | None = None  # which is open: its parts so far
        self._index_end = 0  # of its whole segments' lines
        folder.mkdir(parents=True, mode=0o700)
        self._index: BinaryIO = (folder / INDEX_NAME).open("xb", buffering=0)

    def append(self, parts: Sequence[TapePart]) -> None:
        """Write parts.

        Raises:
            RecordingStopped: The disk is nearly full, or the configuration changes too often.
            OSError: They cannot be written. After either, only `close` may follow, and `repair`.
        """
        size_bytes = sum(len(part.data) for part in parts)
        if self._measure_free(self._folder) < self._min_free_bytes + size_bytes:
            raise RecordingStopped("the disk is nearly full")
        for part in parts:
            self._append(part)

    def _append(self, part: TapePart) -> None:
        is_new = part.init.index != self._init_index
        if is_new or part.begins:
            self._end_segment()
        if is_new:
            self._open_media(part.init)
        assert self._media is not None
        assert self._shift is not None
        data = self._shift.shift(part.data)
        _write(self._media, data)
        line = SegmentLine(
            offset=self._offset,
            size_bytes=len(data),
            duration_us=part.duration_us,
            epoch_ms=part.epoch_ms,
            discontinuity=part.discontinuity,
            independent=part.independent,
            begins=self._segment is None,
        )
        _write(self._index, encode_line(line))
        self._segment = line if self._segment is None else join(self._segment, line)
        self._offset += len(data)
        self._unsynced_us += part.duration_us
        if self._unsynced_us >= SYNC_S * 1_000_000:
            self._sync()

    def _end_segment(self) -> None:
        """Put one line in the place of those of its parts.

        It is written over the first of them, whose end lies behind its own or in a part's line:
        what is torn between the two steps is a line behind it.
        """
        if self._segment is not None:
            line = encode_line(self._segment)
            _write_at(self._index, line, self._index_end)
            self._index_end += len(line)
            self._index.truncate(self._index_end)
            self._index.seek(self._index_end)
            self._segment = None

    def close(self) -> None:
        """Flush and close; raises OSError if that fails, and has closed all the same."""
        try:
            self._end_segment()
            self._sync()
        finally:
            self.drop()

    def drop(self) -> None:
        """Close as it is, as a crash would; no other thread may be in here."""
        self._index.close()
        if self._media is not None:
            self._media.close()

    def _open_media(self, init: InitSegment) -> None:
        if self._files == MAX_FILES:
            raise RecordingStopped("the configuration of the media has changed too often")
        if self._media is not None:
            self._sync()
            self._media.close()
        self._shift = shift = self._make_shift(init.data)
        self._media = (self._folder / file_name(self._files)).open("xb", buffering=0)
        _write(self._media, init.data)
        line = encode_line(
            FileLine(
                number=self._files,
                init_bytes=len(init.data),
                track_id=shift.track_id,
                timescale=shift.timescale,
                codecs=init.codecs,
                width=init.width,
                height=init.height,
                frame_rate=init.frame_rate,
                video_range=init.video_range,
            )
        )
        _write(self._index, line)
        self._index_end += len(line)
        self._files += 1
        self._offset = len(init.data)
        self._init_index = init.index

    def _sync(self) -> None:
        """Flush the media first: the index names what is there."""
        if self._media is not None:
            os.fsync(self._media.fileno())
        os.fsync(self._index.fileno())
        self._unsynced_us = 0


def read_folder(folder: Path) -> list[MediaFile]:
    """Read what a folder has: files with at least one segment, as far as their bytes are there.

    Raises:
        OSError: It cannot be read.
    """
    lines, _ = read_lines((folder / INDEX_NAME).read_bytes())
    sizes = {
        line.number: _size(folder / file_name(line.number))
        for line in lines
        if isinstance(line, FileLine)
    }
    return [media for media in group_lines(_present(lines, sizes)) if media.segments]


def repair(folder: Path) -> list[MediaFile]:
    """Cut off what a crash left half written; returns what remains. May be repeated.

    Raises:
        OSError: It cannot be read or written; it can still be as `read_folder` finds it.
    """
    found = read_folder(folder)
    for media in found:
        os.truncate(folder / media.name, media.size_bytes)
    kept = {media.name for media in found}
    lines = b"".join(
        encode_line(media.line) + b"".join(map(encode_line, media.segments)) for media in found
    )
    # Files that have no segment leave no number out: the writer opens one with its first segment.
    for path in folder.iterdir():
        if path.name not in kept and path.name != INDEX_NAME:
            path.unlink()
    with (folder / INDEX_NAME).open("r+b", buffering=0) as file:
        # In its place, for a disk that is full: it can only become shorter. What is torn here is
        # as in `RecordingWriter._end_segment`.
        before = file.read()
        if before != lines:
            _write_at(file, lines, 0)
            file.truncate(len(lines))
            os.fsync(file.fileno())
    return found


def remove(folder: Path) -> None:
    """Delete a folder; one that is not there, or goes meanwhile, is fine. Raises OSError."""
    with suppress(FileNotFoundError):
        shutil.rmtree(folder)


def _present(lines: Sequence[Line], sizes: Mapping[int, int]) -> Iterator[Line]:
    """Yield lines up to the first whose bytes are not there: what came later hangs on nothing."""
    size_bytes = 0
    for line in lines:
        if isinstance(line, FileLine):
            size_bytes = sizes[line.number]
        elif line.offset + line.size_bytes > size_bytes:
            return
        yield line


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _write(file: BinaryIO, data: bytes) -> None:
    """Write all of it: a file without a buffer may take less at a time."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _write_at(file: BinaryIO, data: bytes, offset: int) -> None:
    file.seek(offset)
    _write(file, data)
