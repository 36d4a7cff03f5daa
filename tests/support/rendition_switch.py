"""Plays across a change of rendition as a browser does: one decoder up to the cut, one behind it.

A Media Source buffer gets initialization section and media of one rendition, then those of another;
at the second initialization section the decoder starts afresh. `play_across` does the same with
PyAV and reports what would be seen: a picture that cannot be decoded, a hole or a repetition in the
pictures or the sound.
"""

import io
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

import av
from hls_probe import libav_warnings
from rendition_media import Rendition


@dataclass(frozen=True, slots=True)
class Played:
    """What a decoder made of one side."""

    pictures: tuple[Fraction, ...]
    """Presentation times of the decoded pictures, in order."""
    sounds: tuple[Fraction, ...]
    """Of the decoded audio frames, the codec's own delay not taken off."""
    starts_with_key: bool
    packets: int
    """Coded pictures."""
    size: tuple[int, int]
    complaints: tuple[str, ...]


def decode(init: bytes, media: bytes) -> Played:
    """Demux and decode one rendition's media behind its initialization section."""
    pictures: list[Fraction] = []
    sounds: list[Fraction] = []
    keys: list[bool] = []
    size = (0, 0)
    with libav_warnings() as log, av.open(io.BytesIO(init + media), "r") as container:
        for packet in container.demux():
            is_flush = packet.size == 0
            if packet.stream.type == "audio":
                if packet.pts is not None and packet.time_base is not None and not is_flush:
                    sounds.append(packet.pts * packet.time_base)
                packet.decode()
                continue
            if not is_flush:
                keys.append(packet.is_keyframe)
            for frame in packet.decode():
                assert isinstance(frame, av.VideoFrame)
                assert frame.pts is not None
                assert frame.time_base is not None
                pictures.append(frame.pts * frame.time_base)
                size = (frame.width, frame.height)
    complaints = tuple(f"{name}: {text.strip()}" for _, name, text in log)
    return Played(tuple(pictures), tuple(sounds), keys[0], len(keys), size, complaints)


def play_across(
    before: Rendition, after: Rendition, msn: int, *, lead: int = 2, tail: int = 2
) -> list[str]:
    """Play `lead` segments of one rendition up to segment `msn`, from there on the other's.

    The media is joined from parts where they were seen, as a low-latency viewer gets it.

    Returns:
        What a viewer would notice; an empty list for a seamless change.
    """
    where = f"{before.name} to {after.name} at segment {msn}"
    sides = [(before, range(msn - lead, msn)), (after, range(msn, msn + tail))]
    for side, msns in sides:
        if not all(of in side.harvest.segments for of in msns):
            return [f"{where}: {side.name} has no media for all of {msns}"]
    first, second = (decode(side.init_data(msns[0]), _media(side, msns)) for side, msns in sides)
    faults = [f"{where}: {text}" for text in (*first.complaints, *second.complaints)]
    if not second.starts_with_key:
        faults.append(f"{where}: the first picture is no IDR picture")
    faults += [
        f"{where}: {len(played.pictures)} of {played.packets} pictures decoded"
        for played in (first, second)
        if len(played.pictures) != played.packets
    ]
    # The source has every picture's time; the halves must have them all, once.
    wanted = [time for side, msns in sides for time in _times(side, msns)]
    if list(first.pictures + second.pictures) != wanted:
        faults.append(f"{where}: pictures are not shown at their times")
    steps = [
        after - before for side in (first, second) for before, after in pairwise(side.pictures)
    ]
    hole = second.pictures[0] - first.pictures[-1]
    if not 0 < hole <= max(steps):
        faults.append(f"{where}: from picture to picture {float(hole):.4f} s")
    if first.sounds and second.sounds:
        frame = first.sounds[-1] - first.sounds[-2]
        hole = second.sounds[0] - first.sounds[-1]
        if hole != frame:
            faults.append(f"{where}: from sound to sound {float(hole):.4f} s, not {float(frame)}")
    elif first.sounds or second.sounds:
        faults.append(f"{where}: sound on one side only")
    return faults


def _media(rendition: Rendition, msns: range) -> bytes:
    pieces = []
    for msn in msns:
        parts = [
            part.data for (of, _), part in sorted(rendition.harvest.parts.items()) if of == msn
        ]
        pieces += parts or [rendition.harvest.segments[msn][2]]
    return b"".join(pieces)


def _times(rendition: Rendition, msns: range) -> list[Fraction]:
    times = [sample.shown for msn in msns for sample in rendition.segments[msn].video]
    return sorted(times)
