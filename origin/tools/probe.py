"""``headrace probe encode``: what this machine encodes, measured and kept for the origin.

Settings come from where the origin takes them (`origin.config`), so that what is measured is what
it will need.

May import everything of ours.
"""

from pathlib import Path
from typing import Any, Final

import click
import msgspec
import trio

from origin.config import Settings, load_settings
from origin.tools import show
from origin.tools.errors import ToolError
from origin.transcode.capacity import Capacity, SourceLoad
from origin.transcode.machine import processor_name, usable_cores
from origin.transcode.measure import (
    SPEED_NAME,
    MeasureError,
    Speed,
    measure,
    open_capacity,
    write_speed,
)
from origin.transcode.rungs import (
    DEFAULT_LADDER,
    Ladder,
    RungPlan,
    configured_rungs,
    parse_ladder,
    rungs_for,
)

EXAMPLES: Final = {
    "1080p30": SourceLoad(1920, 1080, 30.0),
    "1080p60": SourceLoad(1920, 1080, 60.0),
    "720p60": SourceLoad(1280, 720, 60.0),
}
"""Sources that people know."""


class RungSpeed(msgspec.Struct, frozen=True, rename="camel"):
    """How fast one core encodes one rung."""

    name: str
    width: int
    height: int
    encoder: str
    preset: str
    frames_per_s: float | None
    """None: the encoder does not work here."""


class Fit(msgspec.Struct, frozen=True, rename="camel"):
    """What a broadcast alone on this machine would get."""

    source: str
    rungs: tuple[str, ...]
    cores: float
    left_out: tuple[str, ...]


class ProbeReport(msgspec.Struct, frozen=True, rename="camel"):
    """What ``probe encode`` found."""

    processor: str
    cores: float
    bookable_cores: float
    decode_ms_per_megapixel: float
    scale_ms_per_megapixel: float
    encoder: str
    rungs: tuple[RungSpeed, ...]
    fits: tuple[Fit, ...]
    broken: dict[str, str]
    """Encoders that do not work, each with the reason."""


@click.group("probe", no_args_is_help=False)
def probe() -> None:
    """Measure what this machine can do."""


@probe.command("encode")
@click.option("--config", type=click.Path(path_type=Path), metavar="FILE", help="TOML settings.")
@click.option("--data", metavar="DIR", help="Where to keep it.  [default: ./headrace-data]")
@click.option("--ladder", metavar="SPEC", help=f"Rungs.  [default: {DEFAULT_LADDER}]")
@click.option("--encoder", metavar="NAME", help='Of the rungs, or "auto".  [default: libx264]')
@click.option("--json", "as_json", is_flag=True, help="One JSON object in place of tables.")
def _probe_encode(config: Path | None, as_json: bool, **flags: Any) -> None:
    """Measure how fast this machine encodes, and keep it for the origin's next start.

    It takes some seconds, and is best done while nothing else runs.
    """
    settings = load_settings(config_file=config, flags=flags)
    ladder = _ladder(settings)
    try:
        speed = trio.run(measure, ladder)
    except MeasureError as error:
        raise ToolError(str(error)) from None
    path = settings.data / SPEED_NAME
    write_speed(path, speed)
    report = probe_report(speed, ladder, open_capacity(settings.transcode_cores, speed.costs))
    if as_json:
        click.echo(msgspec.json.encode(report))
    else:
        click.echo("\n".join([*report_lines(report), "", f"Written to {path}"]))


def _ladder(settings: Settings) -> Ladder:
    """What to measure: whoever asks while transcoding is off wants to know if it could be on."""
    ladder = settings.quality_ladder
    if ladder.rungs:
        return ladder
    rungs = configured_rungs(settings.rungs)
    return parse_ladder(DEFAULT_LADDER, rungs=rungs, encoder=settings.encoder)


def probe_report(speed: Speed, ladder: Ladder, capacity: Capacity) -> ProbeReport:
    """Say what a measurement means.

    Args:
        speed: The measurement.
        ladder: What it was made for.
        capacity: What may be booked, all of it free.
    """
    ladder = speed.applied_to(ladder)
    every = rungs_for(display_width=8192, height=4608, frame_rate=30.0, ladder=ladder)
    return ProbeReport(
        processor=processor_name(),
        cores=usable_cores(),
        bookable_cores=capacity.bookable_cores,
        decode_ms_per_megapixel=speed.costs.decode_s * 1000,
        scale_ms_per_megapixel=speed.costs.scale_s * 1000,
        encoder=ladder.encoder,
        rungs=tuple(_rung_speed(plan, speed) for plan in every),
        fits=tuple(_fit(name, source, ladder, capacity) for name, source in EXAMPLES.items()),
        broken=dict(speed.costs.broken),
    )


def _rung_speed(plan: RungPlan, speed: Speed) -> RungSpeed:
    cost = speed.costs.of(plan.encoder, plan.preset)
    seconds = plan.width * plan.height / 1e6 * max(cost.cpu_s, cost.device_s)
    return RungSpeed(
        name=plan.name,
        width=plan.width,
        height=plan.height,
        encoder=plan.encoder,
        preset=plan.preset,
        frames_per_s=None if plan.encoder in speed.costs.broken else 1 / seconds,
    )


def _fit(name: str, source: SourceLoad, ladder: Ladder, capacity: Capacity) -> Fit:
    plans = rungs_for(
        display_width=source.width,
        height=source.height,
        frame_rate=source.frame_rate,
        ladder=ladder,
    )
    admission = capacity.admit(name, source, plans)
    capacity.release(name)
    return Fit(
        source=name,
        rungs=tuple(_described(plan) for plan in admission.taken),
        cores=admission.cores,
        left_out=tuple(left.reason for left in admission.left_out),
    )


def _described(plan: RungPlan) -> str:
    return f"{plan.name}{plan.frame_rate / plan.divisor:g}"


def report_lines(report: ProbeReport) -> list[str]:
    """The report for people."""
    rungs = [("rung", "size", "encoder", "preset", "pictures/s a core")]
    rungs += [
        (
            rung.name,
            f"{rung.width}x{rung.height}",
            rung.encoder,
            rung.preset or "-",
            "-" if rung.frames_per_s is None else f"{rung.frames_per_s:.0f}",
        )
        for rung in report.rungs
    ]
    fits = [("source", "gets", "cores", "")]
    fits += [
        (
            fit.source,
            " ".join(fit.rungs) or "none",
            f"{fit.cores:.2f}",
            "; ".join(fit.left_out),
        )
        for fit in report.fits
    ]
    return [
        report.processor,
        f"{report.cores:g} cores, {report.bookable_cores:.2f} of them for transcoding",
        f"a megapixel takes {report.decode_ms_per_megapixel:.1f} ms to decode,"
        f" {report.scale_ms_per_megapixel:.1f} ms to scale",
        *(f"{encoder} does not work: {reason}" for encoder, reason in report.broken.items()),
        "",
        *show.aligned(rungs),
        "",
        *show.aligned(fits),
    ]
