"""An independent reader of fragmented MP4: boxes, init segments, fragments.

Strict: every byte must belong to a box, every size must fit, and what a fragment may say is what
CMAF allows. It shares no code with hls or native and raises `AssertionError` on anything odd.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

CONTAINERS = {b"moov", b"trak", b"mdia", b"minf", b"dinf", b"stbl", b"mvex", b"moof", b"traf"}
VIDEO_ENTRIES = {b"avc1", b"hvc1", b"av01", b"vp09"}
AUDIO_ENTRIES = {b"mp4a", b"Opus", b"fLaC", b"ac-3", b"ec-3"}


@dataclass(frozen=True)
class Box:
    kind: bytes
    offset: int
    """Of its first byte in what was walked."""
    payload: bytes
    children: tuple["Box", ...]

    def all(self, *path: bytes) -> list["Box"]:
        """Descendants by a path of kinds."""
        found = [self]
        for kind in path:
            found = [child for box in found for child in box.children if child.kind == kind]
        return found

    def one(self, *path: bytes) -> "Box":
        (box,) = self.all(*path)
        return box


def walk(data: bytes, base: int = 0) -> list[Box]:
    boxes = []
    position = 0
    while position < len(data):
        assert len(data) - position >= 8, "a box header is cut off"
        size, kind = struct.unpack_from(">I4s", data, position)
        assert 8 <= size <= len(data) - position, f"{kind!r} has size {size}"
        payload = data[position + 8 : position + size]
        children: list[Box] = []
        if kind in CONTAINERS:
            children = walk(payload, base + position + 8)
        elif kind == b"dref" or kind == b"stsd":
            children = walk(payload[8:], base + position + 16)
        elif kind in VIDEO_ENTRIES:
            children = walk(payload[78:], base + position + 86)
        elif kind in AUDIO_ENTRIES:
            children = walk(payload[28:], base + position + 36)
        boxes.append(Box(kind, base + position, payload, tuple(children)))
        position += size
    return boxes


def full_box(box: Box) -> tuple[int, int, bytes]:
    """Version, flags, rest."""
    word = int.from_bytes(box.payload[:4], "big")
    return word >> 24, word & 0xFFFFFF, box.payload[4:]


@dataclass(frozen=True)
class Track:
    track_id: int
    handler: bytes
    timescale: int
    display_size: tuple[int, int]
    entry: Box


@dataclass(frozen=True)
class Init:
    brands: tuple[bytes, ...]
    tracks: tuple[Track, ...]


def read_init(data: bytes) -> Init:
    """An init segment: ftyp, then moov without samples (`hls_rules`, MF-01)."""
    ftyp, moov = walk(data)
    assert (ftyp.kind, moov.kind) == (b"ftyp", b"moov")
    brands = tuple(
        ftyp.payload[at : at + 4] for at in (0, *range(8, len(ftyp.payload), 4)) if at != 4
    )
    _, _, mvhd = full_box(moov.one(b"mvhd"))
    assert struct.unpack_from(">I", mvhd, 12) == (0,), "mvhd has a duration"
    assert len(mvhd) == 96
    next_track_id = struct.unpack_from(">I", mvhd, 92)[0]
    tracks = []
    for trak in moov.all(b"trak"):
        version, flags, tkhd = full_box(trak.one(b"tkhd"))
        assert (version, flags & 1, len(tkhd)) == (0, 1, 80)
        track_id, _, duration = struct.unpack_from(">3I", tkhd, 8)
        assert duration == 0
        assert track_id < next_track_id
        mdhd = full_box(trak.one(b"mdia", b"mdhd"))[2]
        stbl = trak.one(b"mdia", b"minf", b"stbl")
        for kind in (b"stts", b"stsc", b"stco"):
            assert full_box(stbl.one(kind)) == (0, 0, bytes(4))
        assert full_box(stbl.one(b"stsz")) == (0, 0, bytes(8))
        assert full_box(trak.one(b"mdia", b"minf", b"dinf", b"dref", b"url ")) == (0, 1, b"")
        (entry,) = stbl.one(b"stsd").children
        width, height = struct.unpack_from(">2I", tkhd, 72)
        tracks.append(
            Track(
                track_id=track_id,
                handler=full_box(trak.one(b"mdia", b"hdlr"))[2][4:8],
                timescale=struct.unpack_from(">I", mdhd, 8)[0],
                display_size=(width >> 16, height >> 16),
                entry=entry,
            )
        )
    trexes = [full_box(box)[2] for box in moov.all(b"mvex", b"trex")]
    assert [struct.unpack(">5I", trex)[:2] for trex in trexes] == [(t.track_id, 1) for t in tracks]
    return Init(brands, tuple(tracks))


@dataclass(frozen=True)
class FragmentedSample:
    track_id: int
    time: int
    duration: int
    offset: int
    flags: int
    data: bytes

    @property
    def is_sync(self) -> bool:
        return not self.flags & 0x10000


@dataclass(frozen=True)
class Fragment:
    sequence_number: int
    samples: tuple[FragmentedSample, ...]

    def of(self, track_id: int) -> list[FragmentedSample]:
        return [sample for sample in self.samples if sample.track_id == track_id]


def read_fragments(data: bytes) -> Iterator[Fragment]:
    """Any number of (moof mdat) pairs, every sample inside its mdat (`hls_rules`, MF-02)."""
    boxes = walk(data)
    assert len(boxes) % 2 == 0
    for moof, mdat in zip(boxes[::2], boxes[1::2], strict=True):
        assert (moof.kind, mdat.kind) == (b"moof", b"mdat")
        _, _, sequence = full_box(moof.one(b"mfhd"))
        samples: list[FragmentedSample] = []
        used = 0
        for traf in moof.all(b"traf"):
            assert [box.kind for box in traf.children] == [b"tfhd", b"tfdt", b"trun"]
            _, flags, tfhd = full_box(traf.one(b"tfhd"))
            assert flags == 0x020000, "default-base-is-moof and nothing else"
            (track_id,) = struct.unpack(">I", tfhd)
            version, _, tfdt = full_box(traf.one(b"tfdt"))
            assert version == 1
            (time,) = struct.unpack(">Q", tfdt)
            version, flags, trun = full_box(traf.one(b"trun"))
            assert version == 1
            assert flags & ~0x800 == 0x701
            count, data_offset = struct.unpack_from(">Ii", trun)
            at = moof.offset + data_offset
            assert at == mdat.offset + 8 + used
            row = ">3Ii" if flags & 0x800 else ">3I"
            assert len(trun) == 8 + count * struct.calcsize(row)
            assert count > 0
            for fields in struct.iter_unpack(row, trun[8:]):
                duration, size, sample_flags, *offset = fields
                samples.append(
                    FragmentedSample(
                        track_id,
                        time,
                        duration,
                        offset[0] if offset else 0,
                        sample_flags,
                        mdat.payload[used : used + size],
                    )
                )
                assert len(samples[-1].data) == size
                time += duration
                used += size
        assert used == len(mdat.payload)
        assert samples
        yield Fragment(int.from_bytes(sequence, "big"), tuple(samples))
