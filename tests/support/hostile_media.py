"""A publisher's media, spoiled: deterministic by seed, from real H.264 and AAC.

`spoil` rewrites the tags of an `rtmp_publishers.Media`, which can then be sent over RTMP, pushed
through the bridge or fed to a decoder::

    for timestamp, data in spoil(good_media(), seed=7).messages(): ...

There are three kinds of attacks, each by name:

* `BROKEN`: a video sample whose NAL units do not add up. A packager refuses the publisher.
* `POISON`: a video sample that adds up and is a decoder's own problem. It passes through.
* `SOUND`: an AAC frame. Nobody but a decoder looks into it.

and `RECORDS` for decoder configurations. Each takes a random generator and the good bytes.
`spoil` also duplicates, drops, swaps and misdates tags (`ORDER`).
"""

import random
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from media_clips import ClipSpec, make_clip
from media_samples import PPS, BitWriter, SpsFields, escaped, nal
from rtmp_publishers import Media, load_media

Attack = Callable[[random.Random, bytes], bytes]
Tag = tuple[str, int, bytes]

SMALL = ClipSpec(
    name="small", width=160, height=90, duration_s=3, keyint_s=0.5, b_frames=2, channels=1
)
"""What attacks start from: six GOPs in some 60 KB."""


@cache
def good_media() -> Media:
    """A publisher of `SMALL`, made once. No fixture: Hypothesis prints those with each failure."""
    with tempfile.TemporaryDirectory() as folder:
        return load_media(make_clip(SMALL, Path(folder)).path)


_HEADER_BYTES = {"video": 5, "audio": 2}  # of an FLV tag body that holds a frame


# -- NAL units


def units_of(sample: bytes) -> list[bytes]:
    """The NAL units of a good sample with 4-byte lengths."""
    units = []
    position = 0
    while position < len(sample):
        size = int.from_bytes(sample[position : position + 4], "big")
        units.append(sample[position + 4 : position + 4 + size])
        position += 4 + size
    return units


def sample_of(units: Sequence[bytes]) -> bytes:
    """Units with their lengths."""
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in units)


def kind_of(unit: bytes) -> int:
    return unit[0] & 0x1F if unit else 0


def _flipped(rng: random.Random, data: bytes, flips: int, start: int = 0) -> bytes:
    out = bytearray(data)
    for _ in range(flips):
        if len(out) > start:
            out[rng.randrange(start, len(out))] ^= 1 << rng.randrange(8)
    return bytes(out)


def _on_slices(change: Callable[[random.Random, bytes], bytes]) -> Attack:
    """Change each slice, and keep the rest."""

    def attack(rng: random.Random, sample: bytes) -> bytes:
        return sample_of(
            [change(rng, unit) if kind_of(unit) in (1, 5) else unit for unit in units_of(sample)]
        )

    return attack


def _before(make: Callable[[random.Random], bytes]) -> Attack:
    """Put something with its own lengths before the units."""
    return lambda rng, sample: make(rng) + sample


# -- samples that do not add up


def _cut(rng: random.Random, sample: bytes) -> bytes:
    """The end is missing; the lengths still speak of it."""
    return sample[: rng.randrange(1, len(sample))]


def _flips_anywhere(rng: random.Random, sample: bytes) -> bytes:
    """Flipped bits, at least one of them in a length."""
    length = int.from_bytes(sample[:4], "big") ^ (1 << rng.randrange(32))
    return length.to_bytes(4, "big") + _flipped(rng, sample[4:], rng.randrange(20))


def _huge_length(_rng: random.Random, sample: bytes) -> bytes:
    return b"\xff\xff\xff\xff" + sample[4:]


def _half_a_length(rng: random.Random, sample: bytes) -> bytes:
    return sample + bytes(rng.randrange(1, 4))


def _too_many_units(_rng: random.Random, sample: bytes) -> bytes:
    return bytes(4 * 20_000) + sample


BROKEN: Mapping[str, Attack] = {
    "cut": _cut,
    "flips anywhere": _flips_anywhere,
    "huge length": _huge_length,
    "half a length": _half_a_length,
    "too many units": _too_many_units,
}


# -- samples that add up


def _cut_slice(rng: random.Random, unit: bytes) -> bytes:
    return unit[: rng.randrange(1, len(unit))]


def _flip_slice(rng: random.Random, unit: bytes) -> bytes:
    return _flipped(rng, unit, rng.randint(1, 20), start=1)


def _flip_slice_header(rng: random.Random, unit: bytes) -> bytes:
    return unit[:1] + _flipped(rng, unit[1:9], rng.randint(1, 6)) + unit[9:]


def _forge_slice_header(rng: random.Random, unit: bytes) -> bytes:
    """Fields that are well coded and wrong: macroblock, type, parameter set, frame number."""
    writer = BitWriter()
    for bound in (1 << rng.randrange(20), 12, 1 << rng.randrange(9), 1 << 16):
        writer.ue(rng.randrange(bound))
    return unit[:1] + escaped(writer.bytes(stop_bit=False)) + unit[6:]


def _random_slice(rng: random.Random, unit: bytes) -> bytes:
    return unit[:1] + escaped(rng.randbytes(len(unit)))


def _unescaped_slice(rng: random.Random, unit: bytes) -> bytes:
    """Start codes and runs of zeros where none may be."""
    middle = rng.randrange(1, len(unit))
    return unit[:middle] + rng.choice((b"\0\0\1\x65", b"\0\0\0\1", bytes(64))) + unit[middle:]


def _other_kinds(rng: random.Random, sample: bytes) -> bytes:
    units = units_of(sample)
    return sample_of(
        [bytes((unit[0] & 0xE0 | rng.randrange(32),)) + unit[1:] for unit in units if unit]
    )


def _shuffled(rng: random.Random, sample: bytes) -> bytes:
    units = units_of(sample) * rng.randint(1, 3)
    rng.shuffle(units)
    return sample_of(units[: rng.randint(1, len(units))])


def _empty_units(rng: random.Random, sample: bytes) -> bytes:
    units = units_of(sample)
    for _ in range(rng.randint(1, 50)):
        units.insert(rng.randrange(len(units) + 1), b"")
    return sample_of(units)


def _nothing(rng: random.Random, _sample: bytes) -> bytes:
    """A picture without a byte, or of empty units alone."""
    return bytes(4 * rng.randrange(3))


def _sei_flood(rng: random.Random) -> bytes:
    """Thousands of messages, some of which promise more than there is."""
    return b"".join(
        nal(6, bytes((rng.randrange(256), rng.choice((1, 16, 255)))) + rng.randbytes(16))
        for _ in range(3_000)
    )


def _long_sei(rng: random.Random) -> bytes:
    return nal(6, b"\x05" + b"\xff" * 2_000 + b"\x00" + rng.randbytes(2_000))


def _filler(_rng: random.Random) -> bytes:
    return nal(12, b"\xff" * 200_000 + b"\x80")


def _ends(rng: random.Random) -> bytes:
    """End of sequence, end of stream, delimiters."""
    return b"".join(nal(rng.choice((9, 10, 11)), b"\xf0") for _ in range(20))


def huge_sps(width_mbs: int = 512, height_mbs: int = 512) -> bytes:
    """An SPS for pictures of up to 8192 by 8192, 100 MB each, of which 16 are to be kept."""
    return SpsFields(level=62, width_mbs=width_mbs, height_map_units=height_mbs, vui=False).unit()


def _huge_picture(rng: random.Random) -> bytes:
    """Parameter sets in the stream that make the picture a thousand times as large."""
    sps = huge_sps(rng.choice((256, 512, 1055)), rng.choice((256, 512, 1055)))
    return sample_of([sps, PPS])


def _parameter_storm(rng: random.Random) -> bytes:
    """Hundreds of parameter sets, of any number and content."""
    out = []
    for _ in range(300):
        writer = BitWriter()
        for _ in range(8):
            writer.ue(rng.randrange(1 << rng.randrange(8)))
        out.append(nal(rng.choice((7, 8, 8, 8, 15)), escaped(writer.bytes() + rng.randbytes(20))))
    return b"".join(out)


POISON: Mapping[str, Attack] = {
    "cut slice": _on_slices(_cut_slice),
    "flipped slice": _on_slices(_flip_slice),
    "flipped slice header": _on_slices(_flip_slice_header),
    "forged slice header": _on_slices(_forge_slice_header),
    "random slice": _on_slices(_random_slice),
    "unescaped slice": _on_slices(_unescaped_slice),
    "other kinds": _other_kinds,
    "shuffled units": _shuffled,
    "empty units": _empty_units,
    "nothing": _nothing,
    "SEI flood": _before(_sei_flood),
    "long SEI": _before(_long_sei),
    "filler": _before(_filler),
    "ends": _before(_ends),
    "huge picture": _before(_huge_picture),
    "parameter storm": _before(_parameter_storm),
}

PARAMETER_ATTACKS = frozenset(("huge picture", "parameter storm", "other kinds", "shuffled units"))
"""Those that may leave other parameter sets in a decoder."""


# -- sound, records


def _flip_sound(rng: random.Random, frame: bytes) -> bytes:
    return _flipped(rng, frame, rng.randint(1, 20))


SOUND: Mapping[str, Attack] = {
    "cut frame": lambda rng, frame: frame[: rng.randrange(1, len(frame))],
    "flipped frame": _flip_sound,
    "random frame": lambda rng, frame: rng.randbytes(len(frame)),
    "long frame": lambda rng, frame: frame + rng.randbytes(8_000),
    "zeros": lambda rng, frame: bytes(rng.randint(1, 2_000)),
    "one byte": lambda rng, _frame: rng.randbytes(1),
    "ADTS": lambda rng, frame: bytes.fromhex("fff14c80") + rng.randbytes(3) + frame,
}


def _huge_record(_rng: random.Random, record: bytes) -> bytes:
    """The first SPS is for pictures of 8192 by 8192; the PPS stays."""
    size = int.from_bytes(record[6:8], "big")
    sps = huge_sps()
    return record[:6] + len(sps).to_bytes(2, "big") + sps + record[8 + size :]


def _other_sps(rng: random.Random, record: bytes) -> bytes:
    size = int.from_bytes(record[6:8], "big")
    sps = _flipped(rng, record[8 : 8 + size], rng.randint(1, 8), start=1)
    return record[:8] + sps + record[8 + size :]


RECORDS: Mapping[str, Attack] = {
    "cut record": lambda rng, record: record[: rng.randrange(len(record))],
    "flipped record": lambda rng, record: _flipped(rng, record, rng.randint(1, 8)),
    "flipped SPS": _other_sps,
    "huge picture": _huge_record,
    "other length size": lambda rng, record: (
        record[:4] + bytes((0xFC | rng.choice((0, 1, 2)),)) + record[5:]
    ),
    "random record": lambda rng, record: b"\x01" + rng.randbytes(rng.randrange(100)),
}


# -- whole publishers


def _drop(_rng: random.Random, _tag: Tag) -> list[Tag]:
    return []


def _repeat(rng: random.Random, tag: Tag) -> list[Tag]:
    return [tag] * rng.randint(2, 10)


def _misdate(rng: random.Random, tag: Tag) -> list[Tag]:
    """Back, ahead, or to the end of RTMP's clock; and then it goes on as if nothing had been."""
    kind, timestamp, body = tag
    return [(kind, rng.choice((0, timestamp + 400, timestamp + 10_000, 0xFFFFFFFF)), body)]


def _misdate_picture(rng: random.Random, tag: Tag) -> list[Tag]:
    """Another composition time: shown long before, or after."""
    kind, timestamp, body = tag
    if kind != "video":
        return [tag]
    offset_ms = rng.choice((0, 40, -40, 1000, 8_388_607, -8_388_608)) & 0xFFFFFF
    return [(kind, timestamp, body[:2] + offset_ms.to_bytes(3, "big") + body[5:])]


def _miscall_picture(_rng: random.Random, tag: Tag) -> list[Tag]:
    """The tag's claim of a keyframe is turned about."""
    kind, timestamp, body = tag
    return [(kind, timestamp, bytes((body[0] ^ 0x30,)) + body[1:])] if kind == "video" else [tag]


ORDER: Mapping[str, Callable[[random.Random, Tag], list[Tag]]] = {
    "drop": _drop,
    "repeat": _repeat,
    "misdate": _misdate,
    "misdate picture": _misdate_picture,
    "miscall picture": _miscall_picture,
}

ALL = (*BROKEN, *POISON, *SOUND, *ORDER)
"""Names of everything that `spoil` can do to a frame."""

HARMLESS_TO_PACKAGING = (*POISON, *SOUND)
"""What no packager looks at: with these alone, the publisher stays."""


def spoil(
    media: Media,
    seed: int,
    *,
    share: float = 0.2,
    attacks: Sequence[str] = ALL,
    from_ms: int = 0,
    until_ms: int | None = None,
) -> Media:
    """Rewrite a publisher.

    Args:
        media: A good one.
        seed: Equal seeds spoil alike.
        share: How many of its frames are attacked.
        attacks: Names out of `ALL`, taken at random.
        from_ms: Earlier frames stay good.
        until_ms: Later frames, too; None for none.
    """
    rng = random.Random(seed)
    tags: list[Tag] = []
    for tag in media.tags:
        in_time = from_ms <= tag[1] and (until_ms is None or tag[1] < until_ms)
        if in_time and rng.random() < share:
            tags += _spoil_tag(rng, tag, attacks)
        else:
            tags.append(tag)
    return replace(media, tags=tags)


def _spoil_tag(rng: random.Random, tag: Tag, attacks: Sequence[str]) -> list[Tag]:
    kind, timestamp, body = tag
    of_kind = {**BROKEN, **POISON} if kind == "video" else SOUND
    fitting = [name for name in attacks if name in of_kind or name in ORDER]
    if not fitting:
        return [tag]
    name = rng.choice(fitting)
    if name in ORDER:
        return ORDER[name](rng, tag)
    head = _HEADER_BYTES[kind]
    return [(kind, timestamp, body[:head] + of_kind[name](rng, body[head:]))]


def pictures_of(media: Media) -> Iterator[tuple[int, int, bool, bytes]]:
    """(dts, pts, the tag's claim of a keyframe, sample) of each picture: a decoder's input."""
    for kind, timestamp, body in media.tags:
        if kind == "video":
            offset_ms = int.from_bytes(body[2:5], "big", signed=True)
            yield timestamp, timestamp + offset_ms, body[0] >> 4 == 1, body[5:]
