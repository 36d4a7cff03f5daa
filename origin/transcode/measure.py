"""What this machine takes to transcode: measured once, and kept in the data folder.

The trial itself is `origin.transcode.trial`, in a child process; here it is started, bounded and
believed. Its result is kept in ``encode-speed.json`` with a *fingerprint* of all that it depends
on: processor, cores, devices, PyAV and our own code. A file with another fingerprint, one that does
not hold what the ladder needs, and one that is broken or not ours at all count as none.

A start with a ladder and no file measures while the origin already serves. Until then broadcasts
are admitted by `capacity.ESTIMATE`, whatever "auto" names is `rungs.FALLBACK_ENCODER`, and a trial
that fails leaves it at that; the next start tries again.

May import trio and origin's own; not av, which only the child loads.
"""

import hashlib
import importlib.metadata
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Annotated, Final

import msgspec
import structlog
import trio

from origin.transcode.capacity import Capacity, Costs
from origin.transcode.child import ChildError, run_child
from origin.transcode.machine import processor_name, usable_cores, video_devices
from origin.transcode.rungs import (
    AUTO_ORDER,
    ENCODERS,
    Ladder,
    default_preset,
    faster_preset,
)

SPEED_NAME: Final = "encode-speed.json"
"""The file in the data folder."""

MAX_FILE_BYTES: Final = 64 * 1024
"""Ours has one or two."""

TRIAL_TIMEOUT_S: Final = 60.0
"""For a trial of `trial.BUDGET_S` that gets what live broadcasts leave."""

TRY_TIMEOUT_S: Final = 15.0
"""For one encoder to show that it works."""

MAX_OUTPUT_BYTES: Final = 64 * 1024
"""Of a trial: its result is JSON of one or two."""

TRIAL: Final = "origin.transcode.trial"

_FORMAT: Final = 1

#: Whatever changes what a trial measures.
_MEASURED_SOURCES: Final = ("trial.py", "child.py", "decode.py", "encode.py", "scale.py")


log = structlog.get_logger("transcode")


class Fingerprint(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """All that a measurement depends on."""

    processor: str
    cores: float
    devices: tuple[str, ...]
    av: str
    code: str


class Speed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A measurement."""

    fingerprint: Fingerprint
    costs: Costs
    auto: str | None = None
    """What "auto" is on this machine; None: nobody has asked."""
    format: Annotated[int, msgspec.Meta(ge=_FORMAT, le=_FORMAT)] = _FORMAT

    def serves(self, ladder: Ladder) -> bool:
        """Whether it holds all that this ladder needs, measured here."""
        if self.fingerprint != fingerprint() or (ladder.needs_auto and self.auto is None):
            return False
        return self.costs.knows(needed_pairs(self.applied_to(ladder)))

    def applied_to(self, ladder: Ladder) -> Ladder:
        """The ladder with the encoder that "auto" is."""
        return ladder.with_encoder(self.auto) if ladder.needs_auto and self.auto else ladder


class MeasureError(Exception):
    """A trial gave no result; the text says why, in one line."""


def needed_pairs(ladder: Ladder) -> list[tuple[str, str]]:
    """Every (encoder, preset) that a broadcast with this ladder may take.

    That is more than its rungs' own: a stand-in for the source takes after any rung there is, and
    rungs without a preset may go to a faster one.
    """
    pairs: dict[tuple[str, str], None] = {}  # a set that keeps its order
    for rung in ladder.known if ladder.rungs else ():
        encoder = ladder.encoder_of(rung)
        if rung.preset in ENCODERS[encoder].presets:
            pairs[encoder, str(rung.preset)] = None
            continue
        for preset in {default_preset(encoder, side): None for side in (720, 721)}:
            pairs[encoder, preset] = None
            faster = faster_preset(encoder, preset)
            if faster is not None:
                pairs[encoder, faster] = None
    return list(pairs)


def read_speed(path: Path) -> Speed | None:
    """Read a measurement.

    Args:
        path: The file.

    Returns:
        What it holds; None if there is no file, or none of ours.
    """
    try:
        with path.open("rb") as file:
            content = file.read(MAX_FILE_BYTES + 1)
        if len(content) > MAX_FILE_BYTES:
            return None
        return msgspec.json.decode(content, type=Speed)
    except (OSError, ValueError):  # msgspec's errors are ValueErrors, and bad UTF-8 is one
        return None


def write_speed(path: Path, speed: Speed) -> None:
    """Keep a measurement: all of it or, when something fails, what was there before.

    Args:
        path: The file; it gets mode 0600. Its folder is made if missing.

    Raises:
        OSError: It cannot be written.
    """
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        descriptor = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(descriptor, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(speed)) + b"\n")
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
    except OSError:
        with suppress(OSError):
            aside.unlink()
        raise


async def measure(ladder: Ladder) -> Speed:
    """Measure what a ladder needs, and what "auto" is if it says so.

    Args:
        ladder: With at least one rung.

    Returns:
        The measurement.

    Raises:
        MeasureError: The trial crashed or took too long.

    Cancellation: kills the child.
    Cost: some 3 s of CPU time in a child, a second more for each device that is looked for.
    """
    auto = await find_encoder() if ladder.needs_auto else None
    if auto is not None:
        ladder = ladder.with_encoder(auto)
    words = [f"{encoder}:{preset}" for encoder, preset in needed_pairs(ladder)]
    output = await _trial("cost", *words, timeout_s=TRIAL_TIMEOUT_S)
    try:
        costs = msgspec.json.decode(output, type=Costs)
    except ValueError as error:
        raise MeasureError(f"the trial's result makes no sense: {error}") from error
    return Speed(fingerprint=fingerprint(), costs=costs, auto=auto)


async def find_encoder(order: Sequence[str] = AUTO_ORDER) -> str:
    """Find the first encoder that really encodes on this machine.

    Args:
        order: What to try. The last one needs no trial.

    Returns:
        Its name.
    """
    for name in order[:-1]:
        try:
            reason = await _trial("works", name, timeout_s=TRY_TIMEOUT_S)
        except MeasureError as error:  # a driver that crashes or hangs is one that does not work
            reason = str(error).encode()
        if not reason:
            return name
        log.debug("encoder does not work", encoder=name, reason=reason.decode(errors="replace"))
    return order[-1]


async def calibrate(folder: Path, ladder: Ladder) -> Speed | None:
    """Measure, say so, and keep the result.

    Args:
        folder: The data folder.
        ladder: With at least one rung.

    Returns:
        The measurement; None if there is none, which is logged.
    """
    began_s = trio.current_time()
    try:
        speed = await measure(ladder)
    except MeasureError as error:
        log.warning("encoding speed not measured", reason=str(error))
        return None
    log.info(
        "encoding speed measured",
        took_s=round(trio.current_time() - began_s, 1),
        **({"encoder": speed.auto} if speed.auto else {}),
    )
    for encoder, reason in speed.costs.broken.items():
        log.error("encoder does not work here", encoder=encoder, reason=reason)
    try:
        await trio.to_thread.run_sync(write_speed, folder / SPEED_NAME, speed)
    except OSError as error:  # a full disk costs the next start a measurement
        log.warning("encoding speed not kept", reason=error.strerror or str(error))
    return speed


def load(folder: Path, ladder: Ladder) -> Speed | None:
    """The measurement that an earlier start kept, if it holds for this machine and this ladder."""
    speed = read_speed(folder / SPEED_NAME)
    return speed if speed is not None and speed.serves(ladder) else None


def open_capacity(transcode_cores: float, costs: Costs) -> Capacity:
    """What transcoding may book.

    Args:
        transcode_cores: The setting; 0: the machine's, but for the reserve.
        costs: Measured or estimated.
    """
    if transcode_cores > 0:
        return Capacity(transcode_cores, costs, reserve=0.0)
    return Capacity(usable_cores(), costs)


async def _trial(*words: str, timeout_s: float) -> bytes:
    """Run `trial` in a child.

    Returns:
        What it printed.

    Raises:
        MeasureError: It could not be started, did not end well, or not in time.
    """
    try:
        return await run_child(TRIAL, *words, timeout_s=timeout_s, max_bytes=MAX_OUTPUT_BYTES)
    except ChildError as error:
        raise MeasureError(f"a trial {error}") from error


def fingerprint() -> Fingerprint:
    """All that a measurement made now depends on. Reads a few small files."""
    code = hashlib.sha256()
    for name in _MEASURED_SOURCES:
        code.update(Path(__file__).with_name(name).read_bytes())
    return Fingerprint(
        processor=processor_name(),
        cores=usable_cores(),
        devices=video_devices(),
        av=importlib.metadata.version("av"),
        code=code.hexdigest()[:16],
    )
