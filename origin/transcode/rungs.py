"""The quality ladder: what its rungs are, and which of them a source gets.

A *rung* is a name with a height, a bitrate and a cap on pictures per second. Rungs are
configuration; the ladder is the choice of some of them by name. For one source, `rungs_for` turns
the ladder into plans: exact picture size, rate and encoder settings of each rung below the source.

The height of a rung is the length of the picture's *shorter* side: "720p" of a phone held upright
is 720x1280, as viewers of portrait video know it. For everything else that is the height. Pictures
of rungs have square pixels, so sizes are computed from the source's display width.

Pure; imports msgspec and `wire`. Not here: whether the machine can do it
(`capacity`), the encoders' options (`encode`).
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import msgspec

from origin.transcode.wire import MAX_DIMENSION, MAX_RUNGS

EncoderName = Literal[
    "libx264",
    "h264_nvenc",
    "h264_qsv",
    "h264_amf",
    "h264_vaapi",
    "libx265",
    "hevc_nvenc",
    "libsvtav1",
]
"""An encoder by FFmpeg's name."""

NO_LADDER: Final = "none"
"""The ladder that transcodes nothing."""

MAX_LADDER: Final = MAX_RUNGS - 1
"""Rungs of a ladder. A worker takes one more, which stands in for the source."""

MAX_CONFIGURED: Final = 32
"""Rungs that a configuration may define; a ladder chooses from them."""

MAX_DIVISOR: Final = 127
"""It travels as one byte, and is doubled to save time (`pressure`)."""

RATE_TOLERANCE: Final = 1.1
"""How far above its cap a rung may run before pictures are left out: 31 a second pass a cap of 30.
Halving them would look worse than it saves."""

#: Bits grow slower than pictures and pixels: neighbours are alike. Twice the pictures take 1.5
#: times the bits (Twitch and YouTube advise 4.5 and 3 Mbit/s for 720p60 and 720p30), and a picture
#: larger than every rung takes pixels to this power.
_RATE_EXPONENT: Final = 0.585
_PIXELS_EXPONENT: Final = 0.75

_MIN_BITRATE_BPS: Final = 100_000

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,15}")

#: Renditions and words that are no rungs.
_RESERVED: Final = frozenset({"source", "none", "auto", "audio"})


@dataclass(frozen=True, slots=True)
class EncoderTraits:
    """What the ladder must know about an encoder."""

    codec: str
    """"h264", "hevc" or "av1"."""
    presets: tuple[str, ...]
    """Names it takes, slowest first; empty: it has none."""
    default: str
    """Preset of a rung of up to 720 lines."""
    default_large: str
    """Preset of a larger one."""


_X26X_PRESETS: Final = (
    *("veryslow", "slower", "slow", "medium", "fast", "faster"),
    *("veryfast", "superfast", "ultrafast"),
)
_NVENC_PRESETS: Final = ("p7", "p6", "p5", "p4", "p3", "p2", "p1")

ENCODERS: Final[Mapping[str, EncoderTraits]] = {
    "libx264": EncoderTraits("h264", _X26X_PRESETS, "veryfast", "superfast"),
    "h264_nvenc": EncoderTraits("h264", _NVENC_PRESETS, "p4", "p4"),
    "h264_qsv": EncoderTraits("h264", _X26X_PRESETS[:-2], "veryfast", "veryfast"),
    "h264_amf": EncoderTraits("h264", ("quality", "balanced", "speed"), "balanced", "speed"),
    "h264_vaapi": EncoderTraits("h264", (), "", ""),
    "libx265": EncoderTraits("hevc", _X26X_PRESETS, "superfast", "ultrafast"),
    "hevc_nvenc": EncoderTraits("hevc", _NVENC_PRESETS, "p4", "p4"),
    "libsvtav1": EncoderTraits("av1", tuple(map(str, range(14))), "10", "11"),
}
"""Every `EncoderName`."""

HARDWARE: Final = frozenset({"h264_nvenc", "hevc_nvenc", "h264_qsv", "h264_amf", "h264_vaapi"})
"""The encoders that work on a device of their own."""

AUTO: Final = "auto"
"""As the encoder: the first of `AUTO_ORDER` that works here."""

AUTO_ORDER: Final = ("h264_nvenc", "h264_qsv", "h264_amf", "h264_vaapi", "libx264")

FALLBACK_ENCODER: Final = "libx264"
"""What "auto" is until it is known: part of every build, and it needs no device."""


class RungSettings(msgspec.Struct, frozen=True, kw_only=True):
    """A rung as somebody configured it."""

    name: str
    """Part of its URLs, and of the player's menu."""
    height: int
    """Pixels of the picture's shorter side."""
    bitrate_kbps: int
    """What the encoder aims at, kbit/s, for up to `max_fps` pictures a second. Video only."""
    max_fps: float
    """Above it, every second (third, ...) picture is encoded."""
    preset: str | None = None
    """One of the encoder's; None: the fitting default, or a faster one on a slow machine."""
    encoder: EncoderName | None = None
    """None: the one that is set for all rungs."""


class RungOverride(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One entry of the setting `rungs`: changes the rung of that name, or adds it."""

    name: str
    height: Annotated[int, msgspec.Meta(ge=64, le=4320)] | None = None
    bitrate_kbps: Annotated[int, msgspec.Meta(ge=50, le=100_000)] | None = None
    max_fps: Annotated[float, msgspec.Meta(ge=1, le=240)] | None = None
    preset: str | None = None
    encoder: EncoderName | None = None


DEFAULT_MAX_FPS: Final = 60.0
"""Of a rung that is added without one."""

DEFAULT_RUNGS: Final = (
    RungSettings(name="1080p", height=1080, bitrate_kbps=5000, max_fps=60),
    RungSettings(name="720p", height=720, bitrate_kbps=2500, max_fps=60),
    RungSettings(name="480p", height=480, bitrate_kbps=1000, max_fps=30),
    RungSettings(name="360p", height=360, bitrate_kbps=500, max_fps=30),
)

DEFAULT_LADDER: Final = ",".join(rung.name for rung in DEFAULT_RUNGS)


class RungError(ValueError):
    """Rungs or a ladder that cannot be.

    Args:
        reason: One line.
        where: The entry of `rungs` at fault and its field, as in ``[1].height``; "" for all.
    """

    def __init__(self, reason: str, where: str = "") -> None:
        super().__init__(reason)
        self.where = where


@dataclass(frozen=True, slots=True)
class Ladder:
    """The rungs that were chosen, and those that could have been."""

    rungs: tuple[RungSettings, ...]
    """Highest first; empty: nothing is transcoded."""
    known: tuple[RungSettings, ...]
    """Every configured rung, highest first: what a bitrate is interpolated from."""
    encoder: str
    """An `EncoderName` or "auto", of the rungs that name none."""

    @property
    def needs_auto(self) -> bool:
        """Whether somebody has to find out what "auto" is before the ladder is exact."""
        return self.encoder == AUTO

    def with_encoder(self, encoder: str) -> "Ladder":
        """The same ladder with another encoder for the rungs that name none."""
        return Ladder(self.rungs, self.known, encoder)

    def encoder_of(self, rung: RungSettings) -> str:
        """The encoder of a rung; `FALLBACK_ENCODER` as long as "auto" is not replaced."""
        if rung.encoder is not None:
            return rung.encoder
        return FALLBACK_ENCODER if self.encoder == AUTO else self.encoder


@dataclass(frozen=True, slots=True, kw_only=True)
class RungPlan:
    """A rung for one source, exact enough to open its encoder."""

    name: str
    width: int
    """Even, in square pixels."""
    height: int
    """Even."""
    bitrate_bps: int
    encoder: str
    preset: str
    frame_rate: float
    """Of the source, pictures a second."""
    divisor: int
    """Every so many pictures of the source one is encoded; at least 1."""
    faster_preset: str | None = None
    """What may replace `preset` on a machine that is too slow for it; None if it was configured."""

    @property
    def megapixels_per_s(self) -> float:
        """What the encoder must take."""
        return self.width * self.height * self.frame_rate / self.divisor / 1e6


def configured_rungs(overrides: Sequence[RungOverride]) -> tuple[RungSettings, ...]:
    """Apply the setting `rungs` to the defaults.

    Args:
        overrides: Entries that each hold their own bounds.

    Returns:
        All rungs, highest first.

    Raises:
        RungError: A name is none, reserved, there twice or says another height, or a new rung
            lacks what it needs.
    """
    rungs = {rung.name: rung for rung in DEFAULT_RUNGS}
    seen: set[str] = set()
    for index, entry in enumerate(overrides):
        place = f"[{index}].name"
        if not _NAME.fullmatch(entry.name):
            raise RungError("expected up to 16 characters of a-z 0-9 _ -", place)
        if entry.name in _RESERVED:
            raise RungError(f"{entry.name!r} cannot be the name of a rung", place)
        if entry.name in seen:
            raise RungError(f"{entry.name!r} is there already", place)
        seen.add(entry.name)
        given = {
            name: value
            for name, value in msgspec.structs.asdict(entry).items()
            if value is not None
        }
        if entry.name in rungs:
            rung = msgspec.structs.replace(rungs[entry.name], **given)
        elif entry.height is None or entry.bitrate_kbps is None:
            lacking = "height" if entry.height is None else "bitrate_kbps"
            raise RungError(f"a new rung needs {lacking}", f"[{index}]")
        else:
            rung = RungSettings(**{"max_fps": DEFAULT_MAX_FPS} | given)
        # The name is what viewers see; and the top rung is named by its height.
        if re.fullmatch(r"[0-9]+p", rung.name) and rung.name != f"{rung.height}p":
            raise RungError(f"{rung.name!r} says another height than {rung.height}", place)
        rungs[rung.name] = rung
    return tuple(sorted(rungs.values(), key=_order, reverse=True))


def parse_ladder(
    spec: str, *, rungs: Sequence[RungSettings] = DEFAULT_RUNGS, encoder: str = FALLBACK_ENCODER
) -> Ladder:
    """Read what goes behind ``--ladder``.

    Args:
        spec: "none", or names of rungs with commas between them, in any order.
        rungs: The rungs there are.
        encoder: An `EncoderName` or "auto", for the rungs that name none.

    Returns:
        The ladder.

    Raises:
        RungError: No names, too many, one twice, or one that no rung has.
    """
    known = tuple(sorted(rungs, key=_order, reverse=True))
    names = [] if spec == NO_LADDER else [name.strip() for name in spec.split(",")]
    by_name = {rung.name: rung for rung in known}
    for name in names:
        if name not in by_name:
            choice = ", ".join(rung.name for rung in known)
            raise RungError(f'no rung is named {name!r}; choose from {choice}, or say "none"')
    if len(set(names)) < len(names):
        raise RungError("it names a rung twice")
    if len(names) > MAX_LADDER:
        raise RungError(f"at most {MAX_LADDER} rungs")
    return Ladder(tuple(rung for rung in known if rung.name in names), known, encoder)


def check_presets(ladder: Ladder) -> None:
    """Check that every rung's preset is one of its encoder's, or of the fallback's for "auto".

    Raises:
        RungError: One is not.
    """
    for rung in ladder.known:
        encoder = ladder.encoder_of(rung)
        presets = ENCODERS[encoder].presets
        if rung.preset is not None and rung.preset not in presets:
            choice = ", ".join(presets) or "none"
            raise RungError(
                f"{encoder} has no preset {rung.preset!r} (rung {rung.name}), but {choice}"
            )


def rungs_for(
    *, display_width: int, height: int, frame_rate: float, ladder: Ladder
) -> list[RungPlan]:
    """The rungs of a source: those of the ladder that are strictly smaller than it.

    Args:
        display_width: Of the source, in square pixels.
        height: Of the source.
        frame_rate: Of the source, measured or claimed, pictures a second; above zero.
        ladder: What was chosen.

    Returns:
        Plans, highest first; perhaps none. A rung that would be wider (or taller) than what a
        worker takes is left out.
    """
    plans = []
    for rung in ladder.rungs:
        size = _scaled(display_width, height, rung.height)
        if rung.height < _even(min(display_width, height)) and max(size) <= MAX_DIMENSION:
            plans.append(
                _plan(
                    rung.name,
                    *size,
                    bitrate_bps=rung.bitrate_kbps * 1000,
                    frame_rate=frame_rate,
                    divisor=divisor_for(frame_rate, rung.max_fps),
                    rung=rung,
                    ladder=ladder,
                )
            )
    return plans


def top_rung(*, display_width: int, height: int, frame_rate: float, ladder: Ladder) -> RungPlan:
    """The rung that stands in for a source which cannot be passed through.

    It has the source's size (even, in square pixels, at most `MAX_DIMENSION` a side) and rate, the
    latter down to the highest that any rung allows. Encoder and preset are those of the next larger
    rung, or of the largest. The bitrate is a rung's if one fits exactly, else interpolated by
    pixels.

    Args:
        display_width: Of the source, in square pixels.
        height: Of the source.
        frame_rate: Of the source, pictures a second; above zero.
        ladder: What was chosen.

    Returns:
        A plan, named by its shorter side.
    """
    width, height = (
        _even(side * MAX_DIMENSION // max(display_width, height, MAX_DIMENSION))
        for side in (display_width, height)
    )
    shorter = min(width, height)
    larger = [rung for rung in ladder.known if rung.height >= shorter]
    divisor = divisor_for(frame_rate, max(rung.max_fps for rung in ladder.known))
    return _plan(
        f"{shorter}p",
        width,
        height,
        bitrate_bps=_interpolated_bps(width, height, frame_rate / divisor, ladder.known),
        frame_rate=frame_rate,
        divisor=divisor,
        rung=larger[-1] if larger else ladder.known[0],
        ladder=ladder,
    )


def divisor_for(frame_rate: float, max_fps: float) -> int:
    """How many pictures of the source there are to one of the rung: the least that keeps the cap.

    The cap has `RATE_TOLERANCE`. 60, 59.94 and 50 under 30 are halved; 31 stays.
    """
    divisor = 1
    while divisor < MAX_DIVISOR and frame_rate / divisor > max_fps * RATE_TOLERANCE:
        divisor += 1
    return divisor


def default_preset(encoder: str, shorter_side: int) -> str:
    """The preset of a rung that names none."""
    traits = ENCODERS[encoder]
    return traits.default if shorter_side <= 720 else traits.default_large


def faster_preset(encoder: str, preset: str) -> str | None:
    """The next faster preset; None if there is none."""
    presets = ENCODERS[encoder].presets
    index = presets.index(preset) + 1 if preset else len(presets)
    return presets[index] if index < len(presets) else None


def _order(rung: RungSettings) -> tuple[int, int, str]:
    return rung.height, rung.bitrate_kbps, rung.name


def _plan(
    name: str,
    width: int,
    height: int,
    *,
    bitrate_bps: int,
    frame_rate: float,
    divisor: int,
    rung: RungSettings,
    ladder: Ladder,
) -> RungPlan:
    encoder = ladder.encoder_of(rung)
    presets = ENCODERS[encoder].presets
    if rung.preset in presets:
        preset, faster = str(rung.preset), None
    else:  # none was named; or "auto" became an encoder that has other names for them
        preset = default_preset(encoder, min(width, height))
        faster = faster_preset(encoder, preset)
    return RungPlan(
        name=name,
        width=width,
        height=height,
        bitrate_bps=bitrate_bps,
        encoder=encoder,
        preset=preset,
        frame_rate=frame_rate,
        divisor=divisor,
        faster_preset=faster,
    )


def _scaled(width: int, height: int, shorter: int) -> tuple[int, int]:
    """The size with that shorter side and, as near as even numbers come, the same proportions."""
    shorter = _even(shorter)
    longer = _even_nearest(shorter * max(width, height), min(width, height))
    return (longer, shorter) if width >= height else (shorter, longer)


def _even(pixels: int) -> int:
    return max(2, pixels // 2 * 2)


def _even_nearest(numerator: int, denominator: int) -> int:
    return max(2, (numerator + denominator) // (2 * denominator) * 2)


def _interpolated_bps(width: int, height: int, rate: float, known: Sequence[RungSettings]) -> int:
    """Bitrate for a picture between two rungs: linear in the pixels of their pictures."""
    pixels = width * height
    points: list[tuple[float, float]] = []  # (pixels, bit/s), ascending
    for rung in reversed(known):
        rung_width, rung_height = _scaled(width, height, rung.height)
        bps = rung.bitrate_kbps * 1000.0
        if rate > rung.max_fps * RATE_TOLERANCE:
            bps *= (rate / rung.max_fps) ** _RATE_EXPONENT
        points.append((rung_width * rung_height, bps))
    below = [point for point in points if point[0] <= pixels]
    above = [point for point in points if point[0] >= pixels]
    if not below:
        (x, y) = above[0]
        bps = y * pixels / x
    elif not above:
        (x, y) = below[-1]
        bps = y * (pixels / x) ** _PIXELS_EXPONENT
    else:
        (x0, y0), (x1, y1) = below[-1], above[0]
        bps = y0 if x1 == x0 else y0 + (y1 - y0) * (pixels - x0) / (x1 - x0)
    return max(_MIN_BITRATE_BPS, round(bps / 1000) * 1000)
