"""Admission: which rungs a broadcast may have, by what this machine has left.

Everything is counted in *cores*: CPU seconds a second. What one megapixel costs to decode, to scale
and to encode is measured once (`measure`); from these costs, the source and a rung's plan follows
how many cores it takes. A broadcast gets its rungs from the lowest up: 360p is for the phone on a
bad link, which cannot watch at all without it, and it costs the least. When a rung does not fit,
first the taller ones go to a faster preset, if theirs was not configured, then they get half of the
pictures, if that leaves enough of them; only then the rung is left out, with a reason for people.

Encoders with a device of their own are also counted by the device's time, one device per encoder.

Pure and synchronous; imports `rungs` and msgspec. Not here: what happens when a booking proves too
low (the supervisor sheds rungs by lag, whatever was booked).
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, Final

import msgspec

from origin.transcode.rungs import HARDWARE, RungPlan

RESERVE: Final = 0.18
"""Share of the cores that is not booked: ingest, packaging, delivery, and pictures that are busier
than the one that was measured."""

DEVICE_RESERVE: Final = 0.1
"""Share of a device's time that is not booked."""

MIN_HALVED_RATE: Final = 23.0
"""Pictures a second that a rung must keep if it gets only half of them: 60, 50 and 48 can."""

PICTURE_S: Final = 0.001
"""CPU seconds that a picture costs at any size, in the decoder and again in each encoder: pipe,
scheduling, Python; seen in a worker that was fed 640 by 360 pixels in real time."""

Cost = Annotated[float, msgspec.Meta(ge=0, le=10)]
"""Seconds a megapixel. A file that says more is not ours."""


class EncodeCost(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What one encoder costs at one preset."""

    encoder: str
    preset: str
    cpu_s: Cost
    """CPU seconds a megapixel."""
    device_s: Cost = 0.0
    """Seconds of its device a megapixel; 0 for software."""


class Costs(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What this machine takes for a megapixel."""

    decode_s: Cost
    """CPU seconds, H.264 of a usual bitrate."""
    scale_s: Cost
    """CPU seconds a megapixel of the picture that is scaled."""
    encode: Annotated[tuple[EncodeCost, ...], msgspec.Meta(max_length=64)] = ()
    broken: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Encoders that do not work here, each with the reason."""

    def of(self, encoder: str, preset: str) -> EncodeCost:
        """What an encoder costs: measured, or estimated on the safe side."""
        for cost in self.encode:
            if (cost.encoder, cost.preset) == (encoder, preset):
                return cost
        if encoder in HARDWARE:
            ms = _ESTIMATED_HARDWARE_MS
        else:
            ms = _ESTIMATED_MS.get(encoder, {}).get(preset, _ESTIMATED_WORST_MS)
        return EncodeCost(encoder, preset, ms / 1000, ms / 1000 if encoder in HARDWARE else 0.0)

    def knows(self, pairs: Iterable[tuple[str, str]]) -> bool:
        """Whether each (encoder, preset) was measured, or found not to work."""
        measured = {(cost.encoder, cost.preset) for cost in self.encode}
        return all(pair in measured or pair[0] in self.broken for pair in pairs)


#: CPU milliseconds a megapixel until the machine is measured, and of what it has not measured:
#: those of a core half as fast as an EPYC of 2021.
_ESTIMATED_MS: Final[dict[str, dict[str, float]]] = {
    "libx264": {"faster": 70, "veryfast": 40, "superfast": 24, "ultrafast": 16},
    "libx265": {"ultrafast": 140},
    "libsvtav1": {"10": 50, "11": 40, "12": 40, "13": 40},
}
_ESTIMATED_HARDWARE_MS: Final = 6.0
"""Of any encoder with a device: the pictures still have to get there."""

_ESTIMATED_WORST_MS: Final = 250.0
"""Of a preset that the table does not have, because it is slower."""

ESTIMATE: Final = Costs(decode_s=0.012, scale_s=0.003)
"""The costs until the machine is measured, as conservative."""


@dataclass(frozen=True, slots=True)
class SourceLoad:
    """What has to be decoded."""

    width: int
    """Coded, not display."""
    height: int
    frame_rate: float

    @property
    def megapixels(self) -> float:
        """Of one picture."""
        return self.width * self.height / 1e6


@dataclass(frozen=True, slots=True)
class LeftOut:
    """A rung that a broadcast does not get."""

    name: str
    reason: str
    """For people: "720p left out: needs 0.6 of a core, 0.2 left"."""


@dataclass(frozen=True, slots=True)
class Admission:
    """What a broadcast gets."""

    taken: tuple[RungPlan, ...]
    """Highest first; presets may be faster, and pictures half as many, as those wanted."""
    left_out: tuple[LeftOut, ...]
    """Highest first."""
    cores: float
    """What is booked for `taken`, decoding included."""


class Capacity:
    """The cores for transcoding, and who has booked them.

    Args:
        cores: What the machine has.
        costs: What a megapixel takes on it.
        reserve: Share of the cores that is never booked.

    Bounds: one booking for each live broadcast, of at most as many rungs as a ladder has.
    """

    def __init__(self, cores: float, costs: Costs, *, reserve: float = RESERVE) -> None:
        self._bookable = cores * (1 - reserve)
        self._costs = costs
        self._bookings: dict[str, _Booking] = {}

    @property
    def broken(self) -> Mapping[str, str]:
        """Encoders that do not work here, and why; see `Costs`."""
        return self._costs.broken

    @property
    def bookable_cores(self) -> float:
        """What may be booked in all."""
        return self._bookable

    @property
    def booked_cores(self) -> float:
        """What is booked; more than `bookable_cores` if the costs proved higher than thought."""
        return sum(booking.load(self._costs).cores for booking in self._bookings.values())

    def recalibrate(self, costs: Costs) -> None:
        """Count with other costs from now on. What is admitted stays, at its new price."""
        self._costs = costs

    def admit(self, broadcast_id: str, source: SourceLoad, wanted: Sequence[RungPlan]) -> Admission:
        """Book what fits; an earlier booking of the same broadcast is given back first.

        Args:
            broadcast_id: Who; `release` takes the same.
            source: What it sends.
            wanted: Plans, in any order.

        Returns:
            What was booked and what not.

        Cost: a few sums for each rung.
        """
        self.release(broadcast_id)
        left = self._left()
        taken = _Booking(source, ())
        left_out: list[LeftOut] = []
        for plan in sorted(wanted, key=_size):
            if plan.encoder in self._costs.broken:
                why = self._costs.broken[plan.encoder]
                left_out.append(LeftOut(plan.name, f"{plan.name} left out: {why}"))
                continue
            larger = taken.with_rung(plan)
            fitting = next(
                (one for one in larger.variants() if one.load(self._costs).fits(left)), None
            )
            if fitting is not None:
                taken = fitting
            else:
                left_out.append(self._refusal(taken, larger, plan, left))
        if taken.plans:
            self._bookings[broadcast_id] = taken
        return Admission(
            taken=tuple(sorted(taken.plans, key=_size, reverse=True)),
            left_out=tuple(reversed(left_out)),
            cores=taken.load(self._costs).cores if taken.plans else 0.0,
        )

    def book(self, broadcast_id: str, source: SourceLoad, plans: Sequence[RungPlan]) -> None:
        """Book what a broadcast takes, whether it fits or not, in place of what it had."""
        self._bookings[broadcast_id] = _Booking(source, tuple(plans))

    def release(self, broadcast_id: str) -> None:
        """Give back what a broadcast has booked, if it has anything."""
        self._bookings.pop(broadcast_id, None)

    def _left(self) -> "_Load":
        loads = [booking.load(self._costs) for booking in self._bookings.values()]
        devices = dict.fromkeys(HARDWARE, 1 - DEVICE_RESERVE)
        for load in loads:
            for name, share in load.devices.items():
                devices[name] -= share
        return _Load(self._bookable - sum(load.cores for load in loads), devices)

    def _refusal(
        self, taken: "_Booking", larger: "_Booking", plan: RungPlan, left: "_Load"
    ) -> LeftOut:
        load, cheapest = taken.load(self._costs), larger.variants()[-1].load(self._costs)
        free = left.cores - load.cores
        if cheapest.cores <= left.cores:
            return LeftOut(plan.name, f"{plan.name} left out: {plan.encoder} has no time left")
        needed = cheapest.cores - taken.variants()[-1].load(self._costs).cores
        # Rounded apart, so that no reason says "needs 0.2, 0.2 left".
        needed, free = math.ceil(needed * 10) / 10, max(0.0, math.floor(free * 10) / 10)
        amount = f"{needed:.1f} of a core" if needed < 1 else f"{needed:.1f} cores"
        whole = "" if taken.plans else " with decoding"
        return LeftOut(plan.name, f"{plan.name} left out: needs {amount}{whole}, {free:.1f} left")


@dataclass(frozen=True, slots=True)
class _Load:
    """Cores, and shares of devices' time: used, or left."""

    cores: float
    devices: dict[str, float]

    def fits(self, left: "_Load") -> bool:
        return self.cores <= left.cores and all(
            share <= left.devices[name] for name, share in self.devices.items()
        )


@dataclass(frozen=True, slots=True)
class _Booking:
    """A source and its rungs, lowest first."""

    source: SourceLoad
    plans: tuple[RungPlan, ...]

    def with_rung(self, plan: RungPlan) -> "_Booking":
        return replace(self, plans=(*self.plans, plan))

    def load(self, costs: Costs) -> _Load:
        if not self.plans:
            return _Load(0.0, {})
        source = self.source
        cores = source.frame_rate * (source.megapixels * costs.decode_s + PICTURE_S)
        devices: dict[str, float] = {}
        scaled_from = source.width, source.height  # each rung is scaled from the next larger one
        for plan in sorted(self.plans, key=_size, reverse=True):
            size, rate = (plan.width, plan.height), plan.frame_rate / plan.divisor
            if size != scaled_from:
                cores += rate * scaled_from[0] * scaled_from[1] / 1e6 * costs.scale_s
            scaled_from = size
            encode = costs.of(plan.encoder, plan.preset)
            cores += plan.megapixels_per_s * encode.cpu_s + rate * PICTURE_S
            if plan.encoder in HARDWARE:
                share = plan.megapixels_per_s * encode.device_s
                devices[plan.encoder] = devices.get(plan.encoder, 0.0) + share
        return _Load(cores, devices)

    def variants(self) -> list["_Booking"]:
        """The same rungs, ever cheaper, the tallest first; the first is as wanted."""
        found = [self]
        plans = list(self.plans)
        for cheaper in (_faster, _halved):
            for index in reversed(range(len(plans))):
                plan = cheaper(plans[index])
                if plan is not None:
                    plans[index] = plan
                    found.append(replace(self, plans=tuple(plans)))
        return found


def _faster(plan: RungPlan) -> RungPlan | None:
    if plan.faster_preset is None:
        return None
    return replace(plan, preset=plan.faster_preset, faster_preset=None)


def _halved(plan: RungPlan) -> RungPlan | None:
    divisor = 2 * plan.divisor
    if plan.frame_rate / divisor < MIN_HALVED_RATE:
        return None
    return replace(plan, divisor=divisor)


def _size(plan: RungPlan) -> tuple[int, int]:
    return plan.width * plan.height, plan.bitrate_bps
