"""A lenient reader of initialization sections and fMP4 fragments: faults are noted.

Of media only a summary is kept (`Run`): where each track begins, how long it is, its sync samples,
and a short digest of each sample, so that ten minutes of a ladder fit into memory.

Spec: ISO/IEC 14496-12 (boxes), 14496-15 (avcC, hvcC), RFC 6381 (codec strings); the bindings of
AV1, VP9, Opus, FLAC, AC-3.
"""

import hashlib
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from tests.conformance.playlist import Fault

MAX_BOXES = 100_000
MAX_SAMPLES = 100_000
"""Of one response."""
DIGEST_BYTES = 8

_CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"stbl", b"mvex", b"moof", b"traf", b"edts"}


class BoxError(Exception):
    """The bytes cannot be read further."""


@dataclass(frozen=True, slots=True)
class Box:
    kind: bytes
    start: int
    """Of its header."""
    body: int
    end: int


def boxes(data: bytes, start: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes of a range, one after the other; raises `BoxError` at a torn one."""
    end = len(data) if end is None else end
    count = 0
    while start < end:
        if end - start < 8:
            raise BoxError("a box header is cut off")
        size, kind = struct.unpack_from(">I4s", data, start)
        body = start + 8
        if size == 1 and end - start >= 16:
            (size,) = struct.unpack_from(">Q", data, body)
            body += 8
        if not body - start <= size <= end - start:
            raise BoxError(f"box {kind!r} has size {size}")
        yield Box(kind, start, body, start + size)
        start += size
        count += 1
        if count > MAX_BOXES:
            raise BoxError("too many boxes")


def child(data: bytes, box: Box, *path: bytes) -> Box:
    """A descendant that must be there."""
    for kind in path:
        found = [item for item in boxes(data, box.body, box.end) if item.kind == kind]
        if not found:
            raise BoxError(f"no {kind!r} in {box.kind!r}")
        box = found[0]
    return box


def _unpack(layout: str, data: bytes, at: int, end: int) -> tuple[int, ...]:
    if at + struct.calcsize(layout) > end:
        raise BoxError("a box is too short")
    return struct.unpack_from(layout, data, at)


@dataclass(frozen=True, slots=True)
class Track:
    track_id: int
    handler: bytes
    timescale: int
    entry: str
    """Sample entry: avc1, mp4a ..."""
    codec: str
    """As CODECS must say it; of AV1 and VP9 as far as the bit depth, see `without_colours`."""
    size: tuple[int, int]
    """Display size of tkhd."""
    length_bytes: int
    """Of NAL unit lengths; 0 where there are none."""
    video_range: str
    """SDR, PQ or HLG, as its colr box has it; SDR without one."""
    defaults: tuple[int, int, int]
    """trex: duration, size, flags."""


@dataclass(frozen=True, slots=True)
class Init:
    tracks: tuple[Track, ...]
    faults: tuple[Fault, ...]

    @property
    def reference(self) -> Track | None:
        """The video track, or the audio track where there is none."""
        video = [track for track in self.tracks if track.handler == b"vide"]
        return next(iter([*video, *self.tracks]), None)

    @property
    def codecs(self) -> set[str]:
        return {track.codec for track in self.tracks}


def read_init(data: bytes) -> Init:
    """Read an initialization section (MF-01). Never raises."""
    faults: list[Fault] = []
    tracks: list[Track] = []
    try:
        top = list(boxes(data))
        kinds = [box.kind for box in top]
        if kinds[:1] != [b"ftyp"] or b"moov" not in kinds or {b"moof", b"mdat"} & set(kinds):
            faults.append(("MF-01", f"boxes are {kinds[:8]}"))
        moov = next((box for box in top if box.kind == b"moov"), None)
        if moov is not None:
            _read_moov(data, moov, tracks, faults)
    except (BoxError, IndexError) as error:
        faults.append(("MF-01", str(error)))
    return Init(tuple(tracks), tuple(faults))


def _read_moov(data: bytes, moov: Box, tracks: list[Track], faults: list[Fault]) -> None:
    mvhd = child(data, moov, b"mvhd")
    layout, at = (">I", 16) if data[mvhd.body] == 0 else (">Q", 24)
    if _unpack(layout, data, mvhd.body + at, mvhd.end)[0] != 0:
        faults.append(("MF-01", "mvhd has a duration"))
    trexes = {}
    for box in boxes(data, (mvex := child(data, moov, b"mvex")).body, mvex.end):
        if box.kind == b"trex":
            track_id, _, *rest = _unpack(">5I", data, box.body + 4, box.end)
            trexes[track_id] = (rest[0], rest[1], rest[2])
    for box in boxes(data, moov.body, moov.end):
        if box.kind == b"trak":
            track = _read_track(data, box, trexes, faults)
            tracks.append(track)
    if not tracks:
        faults.append(("MF-01", "no track"))


def _read_track(
    data: bytes, trak: Box, trexes: dict[int, tuple[int, int, int]], faults: list[Fault]
) -> Track:
    tkhd = child(data, trak, b"tkhd")
    wide = 12 if data[tkhd.body] else 0
    (track_id,) = _unpack(">I", data, tkhd.body + (20 if wide else 12), tkhd.end)
    layout, at = (">Q", 28) if wide else (">I", 20)
    if _unpack(layout, data, tkhd.body + at, tkhd.end)[0] != 0:
        faults.append(("MF-01", f"tkhd of track {track_id} has a duration"))
    width, height = _unpack(">2I", data, tkhd.body + 76 + wide, tkhd.end)
    mdhd = child(data, trak, b"mdia", b"mdhd")
    (timescale,) = _unpack(">I", data, mdhd.body + (20 if data[mdhd.body] else 12), mdhd.end)
    hdlr = child(data, trak, b"mdia", b"hdlr")
    stbl = child(data, trak, b"mdia", b"minf", b"stbl")
    for kind, at in ((b"stts", 4), (b"stsc", 4), (b"stco", 4), (b"stsz", 8)):
        table = child(data, stbl, kind)
        if _unpack(">I", data, table.body + at, table.end)[0] != 0:
            faults.append(("MF-01", f"{kind!r} of track {track_id} has entries"))
    if track_id not in trexes or timescale == 0:
        faults.append(("MF-01", f"track {track_id} has no trex, or timescale 0"))
    stsd = child(data, stbl, b"stsd")
    entry = next(iter(boxes(data, stsd.body + 8, stsd.end)))
    video = data[hdlr.body + 8 : hdlr.body + 12] == b"vide"
    codec, length_bytes = _codec(data, entry, entry.body + (78 if video else 28))
    return Track(
        track_id=track_id,
        handler=data[hdlr.body + 8 : hdlr.body + 12],
        timescale=timescale or 1,
        entry=entry.kind.decode("latin-1"),
        codec=codec,
        size=(width >> 16, height >> 16),
        length_bytes=length_bytes,
        video_range=_video_range(data, entry) if video else "SDR",
        defaults=trexes.get(track_id, (0, 0, 0)),
    )


def _codec(data: bytes, entry: Box, children: int) -> tuple[str, int]:
    """RFC 6381 string, and the size of NAL unit lengths."""
    name = entry.kind.decode("latin-1")
    for box in boxes(data, children, entry.end):
        record = data[box.body : box.end]
        if box.kind == b"avcC":
            return f"{name}.{record[1:4].hex().upper()}", (record[4] & 3) + 1
        if box.kind == b"hvcC":
            return f"{name}.{_hevc(record)}", (record[21] & 3) + 1
        if box.kind == b"av1C":
            tier = "H" if record[2] & 0x80 else "M"
            depth = 8 + 2 * (record[2] >> 6 & 1) + 2 * (record[2] >> 5 & 1)
            return f"{name}.{record[1] >> 5}.{record[1] & 31:02d}{tier}.{depth:02d}", 0
        if box.kind == b"vpcC":
            return f"{name}.{record[4]:02d}.{record[5]:02d}.{record[6] >> 4:02d}", 0
        if box.kind == b"esds":
            return f"{name}.{_aac(record[4:])}", 0
        if box.kind in (b"dOps", b"dfLa", b"dac3", b"dec3"):
            return name, 0
    raise BoxError(f"sample entry {name} without a codec configuration")


def without_colours(codec: str) -> str:
    """A codec string of AV1 or VP9 without what follows its bit depth: colours, which stand in the
    bitstream, or nothing. Others as they are."""
    parts = codec.split(".")
    return ".".join(parts[:4]) if parts[0] in ("av01", "vp09") else codec


def _video_range(data: bytes, entry: Box) -> str:
    for box in boxes(data, entry.body + 78, entry.end):
        if box.kind == b"colr" and data[box.body : box.body + 4] == b"nclx":
            (transfer,) = _unpack(">H", data, box.body + 6, box.end)
            return {16: "PQ", 18: "HLG"}.get(transfer, "SDR")
    return "SDR"


def _hevc(record: bytes) -> str:
    space = ["", "A", "B", "C"][record[1] >> 6]
    compatible = int(f"{int.from_bytes(record[2:6], 'big'):032b}"[::-1], 2)
    tier = "H" if record[1] & 0x20 else "L"
    constraints = record[6:12].rstrip(b"\0")
    words = [f"{space}{record[1] & 31}", f"{compatible:X}", f"{tier}{record[12]}"]
    return ".".join([*words, *(f"{byte:X}" for byte in constraints)])


def _descriptor(data: bytes, tag: int) -> bytes:
    if not data or data[0] != tag:
        raise BoxError(f"no descriptor {tag} in esds")
    size, at = 0, 1
    while at < 5:
        size, at = size << 7 | data[at] & 0x7F, at + 1
        if not data[at - 1] & 0x80:
            break
    return data[at : at + size]


def _aac(esds: bytes) -> str:
    config = _descriptor(_descriptor(esds, 3)[3:], 4)
    specific = _descriptor(config[13:], 5)
    kind = specific[0] >> 3
    if kind == 31:
        kind = 32 + ((specific[0] & 7) << 3 | specific[1] >> 5)
    return f"{config[0]:x}.{kind}"


@dataclass(slots=True)
class Run:
    """The samples of one track in one response."""

    start: int
    """tfdt of the first."""
    duration: int = 0
    count: int = 0
    shift: int = 0
    """Composition offset of the first."""
    shortest: int = 1 << 62
    longest: int = 0
    first_sync: bool = False
    first_random: bool | None = None
    """The bitstream says that the first sample is a random access point; None: not known."""
    syncs: int = 0
    digests: bytes = b""
    """`DIGEST_BYTES` of each sample: its duration, offset, sync flag and bytes."""


@dataclass(slots=True)
class Fragments:
    """Everything that is kept of a part or a segment."""

    runs: dict[int, Run] = field(default_factory=dict)
    sequences: list[int] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)


def read_fragments(data: bytes, init: Init) -> Fragments:
    """Read a part or a segment (MF-02). Never raises."""
    found = Fragments()
    tracks = {track.track_id: track for track in init.tracks}
    try:
        top = list(boxes(data))
        moof: Box | None = None
        for box in top:
            if box.kind == b"moof":
                if moof is not None:
                    found.faults.append(("MF-02", "moof without mdat"))
                moof = box
            elif box.kind == b"mdat":
                if moof is None:
                    raise BoxError("mdat without moof")
                _read_moof(data, moof, box, tracks, found)
                moof = None
            elif box.kind not in (b"styp", b"prft", b"emsg", b"sidx", b"free"):
                found.faults.append(("MF-02", f"box {box.kind!r}"))
        if moof is not None or not found.sequences:
            found.faults.append(("MF-02", "no moof and mdat, or moof without mdat"))
    except (BoxError, IndexError, struct.error) as error:
        found.faults.append(("MF-02", str(error)))
    return found


def _read_moof(
    data: bytes, moof: Box, mdat: Box, tracks: dict[int, Track], found: Fragments
) -> None:
    mfhd = child(data, moof, b"mfhd")
    found.sequences.append(_unpack(">I", data, mfhd.body + 4, mfhd.end)[0])
    used = 0
    for traf in boxes(data, moof.body, moof.end):
        if traf.kind != b"traf":
            continue
        tfhd = child(data, traf, b"tfhd")
        word, track_id = _unpack(">2I", data, tfhd.body, tfhd.end)
        flags = word & 0xFFFFFF
        track = tracks.get(track_id)
        if track is None:
            raise BoxError(f"track {track_id} is not in the initialization section")
        if flags & 1 or not flags & 0x20000:
            found.faults.append(("MF-02", f"tfhd flags {flags:#x}: base-data-offset"))
        at = tfhd.body + 8 + (8 if flags & 1 else 0) + (4 if flags & 2 else 0)
        defaults = list(track.defaults)
        for index, bit in enumerate((8, 0x10, 0x20)):
            if flags & bit:
                (defaults[index],) = _unpack(">I", data, at, tfhd.end)
                at += 4
        tfdt = child(data, traf, b"tfdt")
        layout = ">Q" if data[tfdt.body] else ">I"
        (time,) = _unpack(layout, data, tfdt.body + 4, tfdt.end)
        for trun in boxes(data, traf.body, traf.end):
            if trun.kind == b"trun":
                size, duration = _read_trun(data, moof, mdat, trun, track, defaults, time, found)
                used += size
                time += duration
    if used != mdat.end - mdat.body:
        text = f"samples are {used} bytes, mdat has {mdat.end - mdat.body}"
        found.faults.append(("MF-02", text))


def _read_trun(
    data: bytes,
    moof: Box,
    mdat: Box,
    trun: Box,
    track: Track,
    defaults: list[int],
    time: int,
    found: Fragments,
) -> tuple[int, int]:
    """Sizes and durations of its samples, summed."""
    word, count = _unpack(">2I", data, trun.body, trun.end)
    flags = word & 0xFFFFFF
    at = trun.body + 8
    if not flags & 1:
        raise BoxError("trun without data_offset")
    (offset,) = _unpack(">i", data, at, trun.end)
    at += 4
    first_flags: int | None = None
    if flags & 4:
        (first_flags,) = _unpack(">I", data, at, trun.end)
        at += 4
    names = [bit for bit in (0x100, 0x200, 0x400, 0x800) if flags & bit]
    if count > MAX_SAMPLES or at + 4 * len(names) * count > trun.end:
        raise BoxError(f"trun of {count} samples is cut off")
    run = found.runs.get(track.track_id)
    if run is None:
        run = found.runs[track.track_id] = Run(start=time)
    elif run.start + run.duration != time:
        found.faults.append(("MF-04", f"track {track.track_id} is not contiguous inside"))
    position, begun, total = moof.start + offset, moof.start + offset, 0
    digests = []
    for index in range(count):
        row = dict(zip(names, struct.unpack_from(f">{len(names)}I", data, at), strict=True))
        at += 4 * len(names)
        duration, size = row.get(0x100, defaults[0]), row.get(0x200, defaults[1])
        sample_flags = row.get(0x400, defaults[2])
        if index == 0 and first_flags is not None:
            sample_flags = first_flags
        shift = row.get(0x800, 0)
        shift -= (shift & 0x80000000) << 1 if data[trun.body] else 0
        if not mdat.body <= position <= position + size <= mdat.end:
            raise BoxError("a sample lies outside of its mdat")
        sample = data[position : position + size]
        sync = not sample_flags & 0x10000
        random = _is_random(sample, track)
        if random is not None and random != sync:
            text = f"sync flag {sync}, the bitstream says {random}"
            found.faults.append(("MF-05", f"sample {run.count} of track {track.track_id}: {text}"))
        if run.count == 0:
            run.shift, run.first_sync, run.first_random = shift, sync, random
        run.count += 1
        run.syncs += sync
        run.duration += duration
        run.shortest = min(run.shortest, duration)
        run.longest = max(run.longest, duration)
        described = struct.pack(">Qq?", duration, shift, sync) + sample
        digests.append(hashlib.blake2b(described, digest_size=DIGEST_BYTES).digest())
        position += size
        total += duration
    run.digests += b"".join(digests)
    return position - begun, total


def _is_random(sample: bytes, track: Track) -> bool | None:
    """The picture is IDR (AVC), IRAP (HEVC) or a key frame; None where that is not known."""
    if track.entry == "av01":
        return _is_av1_key(sample)
    if track.entry == "vp09":
        head = sample[0] << 1 if sample[0] & 0x30 == 0x30 else sample[0]
        return not head & 0x0C
    if not track.length_bytes or track.entry[:3] not in ("avc", "hvc", "hev"):
        return None
    at = 0
    while at + track.length_bytes < len(sample):
        size = int.from_bytes(sample[at : at + track.length_bytes], "big")
        at += track.length_bytes
        kind = sample[at] & 31 if track.entry[:3] == "avc" else sample[at] >> 1 & 63
        if track.entry[:3] == "avc" and kind in (1, 5):
            return kind == 5
        if track.entry[:3] != "avc" and kind < 32:
            return 16 <= kind <= 21
        at += size
    return False


def _is_av1_key(sample: bytes) -> bool:
    """An OBU walk as far as the first frame header: a key frame, and shown."""
    at = 0
    while at + 1 < len(sample):
        kind, sized = sample[at] >> 3 & 15, sample[at] & 2
        at += 2 if sample[at] & 4 else 1
        size, shift = len(sample) - at, 0
        if sized:
            size = 0
            while sample[at] & 0x80:
                size |= (sample[at] & 0x7F) << shift
                at, shift = at + 1, shift + 7
            size |= sample[at] << shift
            at += 1
        if kind in (3, 6):
            return sample[at] >> 4 == 1
        at += size
    return False
