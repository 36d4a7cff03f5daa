"""The index of a recording's folder: which bytes of which file are which segment.

A file of lines, each written after the bytes that it names: a checksum, a space, JSON. A segment is
a line for each of its parts while it is being written (`begins` on the first), and one line as soon
as it is whole. What kill -9 or a full disk leaves is a torn last line, which is dropped; nothing
behind a line that is not whole counts.

Pure. May import msgspec.
"""

import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

MAX_FILES: Final = 1000
"""Media files of one recording: changes of its configuration."""


class FileLine(msgspec.Struct, tag="file", tag_field="t", frozen=True, kw_only=True):
    """A media file begins, with its init section."""

    number: int
    """From 0, one by one."""
    init_bytes: int
    """Length of the init section, at offset 0."""
    track_id: int
    """Of its first track."""
    timescale: int
    """Ticks a second of that."""
    codecs: tuple[str, ...]
    width: int | None
    height: int | None
    frame_rate: float | None
    video_range: str | None


class SegmentLine(msgspec.Struct, tag="segment", tag_field="t", frozen=True, kw_only=True):
    """A segment, or a part of one, in the file of the last `FileLine`."""

    offset: int
    size_bytes: int
    duration_us: int
    epoch_ms: int
    """UTC time of its first sample, milliseconds since 1970."""
    discontinuity: bool
    """It does not continue the one before it: something changed, or is missing."""
    independent: bool
    """It can be decoded without another one."""
    begins: bool = True
    """It begins a segment; else it belongs to the one before it."""
    parts: tuple[tuple[int, int], ...] = ()
    """Size in bytes and duration in microseconds of each of its parts; none: it is one."""

    @property
    def pieces(self) -> tuple[tuple[int, int], ...]:
        """Of all its parts."""
        return self.parts or ((self.size_bytes, self.duration_us),)


Line = FileLine | SegmentLine

_decode = msgspec.json.Decoder(Line).decode


@dataclass(frozen=True, slots=True)
class MediaFile:
    """One media file: an init section, and segments in order without a hole between them."""

    line: FileLine
    segments: Sequence[SegmentLine]

    @property
    def name(self) -> str:
        """Its name in the folder, and in the playlist."""
        return file_name(self.line.number)

    @property
    def size_bytes(self) -> int:
        """Up to the end of its last segment."""
        return self.line.init_bytes + sum(segment.size_bytes for segment in self.segments)

    @property
    def duration_us(self) -> int:
        """Of its segments."""
        return sum(segment.duration_us for segment in self.segments)


def join(segment: SegmentLine, part: SegmentLine) -> SegmentLine:
    """Return the segment with one more part behind it."""
    return msgspec.structs.replace(
        segment,
        size_bytes=segment.size_bytes + part.size_bytes,
        duration_us=segment.duration_us + part.duration_us,
        parts=segment.pieces + part.pieces,
    )


def file_name(number: int) -> str:
    """The name of a media file."""
    return f"media-{number}.mp4"


def encode_line(line: Line) -> bytes:
    """Write a line."""
    text = msgspec.json.encode(line)
    return b"%08x %b\n" % (zlib.crc32(text), text)


def read_lines(data: bytes) -> tuple[list[Line], int]:
    """Read an index as far as it is whole.

    Returns:
        Its lines, and how many bytes they are: what is behind is torn.
    """
    lines: list[Line] = []
    position = 0
    while (end := data.find(b"\n", position)) >= 0:
        line = _read_line(data[position:end])
        if line is None:
            break
        lines.append(line)
        position = end + 1
    return lines, position


def _read_line(text: bytes) -> Line | None:
    checksum, _, body = text.partition(b" ")
    if checksum != b"%08x" % zlib.crc32(body):
        return None
    try:
        line: Line = _decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return line


def group_lines(lines: Iterable[Line]) -> list[MediaFile]:
    """Group lines by media file, up to the first that does not continue the ones before it."""
    files: list[tuple[FileLine, list[SegmentLine]]] = []
    end = 0  # of what the last file has
    for line in lines:
        if isinstance(line, FileLine):
            if line.number != len(files) or line.number >= MAX_FILES:
                break
            files.append((line, []))
            end = line.init_bytes
        else:
            if not files or line.offset != end or line.size_bytes < 1 or line.duration_us < 1:
                break
            segments = files[-1][1]
            if line.begins:
                segments.append(line)
            elif segments:
                segments[-1] = join(segments[-1], line)
            else:
                break
            end += line.size_bytes
    return [MediaFile(line, segments) for line, segments in files]
