"""``headrace viewers`` and ``headrace health``: how a broadcast fares, once or as it goes on.

`Fate` gathers what is heard of a broadcast; what is printed is made of it alone. On a terminal one
table is drawn over and over; elsewhere there is a line for each second's figures.

May import: click, rich, msgspec, trio, `edge`'s types, `origin.health`'s, `origin.tools`.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, aclosing, nullcontext
from typing import Any, Final

import click
import msgspec
import trio

from edge.api.asker import ApiError
from edge.api.calls import Call
from edge.api.client import Client
from edge.api.event_reader import ServerEvent
from edge.audience.api import Percentiles, ViewerFigures
from edge.events import PlatformEvent
from origin.health.alerts import Alert
from origin.health.report import Figures, HealthReport, PublisherInfo
from origin.tools import show
from origin.tools.session import Session, asks

GET_HEALTH: Final = Call("getHealth", "GET", "/api/streams/{streamId}/health", HealthReport)

EVERY_S: Final = 2.0
"""Between two looks at the viewers."""

Row = tuple[str, object]


# -- viewers


@click.command("viewers")
@click.argument("stream_id", metavar="ID")
@click.option("--watch", is_flag=True, help="Go on, until interrupted.")
@click.option(
    "--history", type=click.IntRange(1, 1440), metavar="MINUTES", help="Minute by minute instead."
)
@click.option("--quality", is_flag=True, help="How their players fare, by their own word, instead.")
@asks
def viewers(
    session: Session, stream_id: str, watch: bool, history: int | None, quality: bool
) -> None:
    """Say how many watch."""
    if watch + quality + (history is not None) > 1:
        raise click.UsageError("--history, --quality and --watch do not go together")
    if history is not None:
        _show_history(session, stream_id, history)
        return
    if quality:
        _show_quality(session, stream_id)
        return

    async def count(client: Client) -> None:
        with _screen(session, watch) as draw:
            while True:
                found = await client.count_viewers(stream_id)
                if session.as_json:
                    show.json(found)
                elif draw is not None:
                    draw(viewer_rows(found))
                elif watch:
                    show.line(f"{found.count} watching, {found.peak} at most")
                else:
                    show.pairs(viewer_rows(found))
                if not watch:
                    return
                await trio.sleep(EVERY_S)

    session.run(count)


def viewer_rows(found: ViewerFigures) -> list[Row]:
    """The figures, named."""
    return [
        ("watching", found.count),
        ("at most", found.peak),
        ("watched", f"{found.watch_minutes:g} minutes"),
    ]


def _show_history(session: Session, stream_id: str, minutes: int) -> None:
    found = session.run(lambda client: client.get_viewer_history(stream_id, minutes=minutes))
    if session.as_json:
        show.json(found)
    else:
        rows = [(point.at, point.count, point.peak) for point in found.points]
        show.table(("at", "watching", "at most"), rows)


def _show_quality(session: Session, stream_id: str) -> None:
    found = session.run(lambda client: client.get_quality(stream_id))
    if session.as_json:
        show.json(found)
        return
    show.pairs(
        [
            ("who say so", found.viewers),
            ("rebuffering", show.number(found.rebuffering * 100, "%")),
            ("bitrate", _spread(found.bitrate_kbps, "kbit/s")),
            ("buffer", _spread(found.buffer_ms, "ms")),
            ("throughput", _spread(found.throughput_kbps, "kbit/s")),
        ]
    )


def _spread(found: Percentiles | None, unit: str) -> str:
    """The lowest, the usual and the highest, but for 5 % at either end."""
    return "-" if found is None else f"{found.p5:g}, {found.p50:g}, {found.p95:g} {unit}"


# -- health


class Fate:
    """What is known of a broadcast."""

    def __init__(self) -> None:
        self.publisher: PublisherInfo | None = None
        self.figures: Figures | None = None
        self.alerts: dict[str, Alert] = {}
        self.is_live = False

    def take(self, report: HealthReport) -> None:
        """Begin with a report."""
        self.is_live = True
        self.publisher = report.publisher
        self.figures = report.figures
        self.alerts = {alert.code: alert for alert in report.alerts}

    def hear(self, event: ServerEvent) -> bool:
        """Follow an event; returns whether it was figures.

        Raises:
            msgspec.DecodeError: It is none of this version's.
        """
        if event.type == "health":
            self.is_live = True
            self.figures = msgspec.json.decode(event.data, type=Figures)
            return True
        told = msgspec.json.decode(event.data, type=PlatformEvent)
        if event.type == "alert.started":
            alert = msgspec.convert(told.data, Alert)
            self.alerts[alert.code] = alert
        elif event.type == "alert.ended":
            self.alerts.pop(str(told.data.get("code")), None)
        elif event.type == "stream.ended":
            self.is_live, self.figures, self.publisher = False, None, None
            self.alerts.clear()
        return False

    def rows(self) -> list[Row]:
        """All of it, named."""
        if not self.is_live:
            return [("status", "not live")]
        return [*publisher_rows(self.publisher), *figure_rows(self.figures), *self._alert_rows()]

    def _alert_rows(self) -> list[Row]:
        if not self.alerts:
            return [("alerts", "none")]
        return [(alert.severity, f"{alert.text} {alert.advice}") for alert in self.alerts.values()]

    def line(self) -> str:
        """The newest figures in a line."""
        now = self.figures
        if now is None:
            return "not live" if not self.is_live else "no figures yet"
        codes = " ".join(self.alerts) or "no alerts"
        return (
            f"{show.moment(now.at)}  {show.number(now.bitrate_kbps, 'kbit/s')}"
            f"  {show.number(now.fps, 'fps')}  {now.dropped_frames} dropped"
            f"  {now.late_frames} late  {codes}"
        )


def publisher_rows(publisher: PublisherInfo | None) -> list[Row]:
    """Who publishes what."""
    if publisher is None:
        return []
    video, audio = publisher.video, publisher.audio
    rows: list[Row] = [
        ("publisher", "connected" if publisher.connected else "lost"),
        ("encoder", publisher.encoder),
    ]
    if video is not None:
        rate = show.number(video.frame_rate, "fps", 2)
        rows.append(("picture", f"{video.width}x{video.height} {rate} {video.codec}"))
    if audio is not None:
        rows.append(("sound", f"{audio.sample_rate} Hz, {audio.channels} channels, {audio.codec}"))
    return rows


def figure_rows(now: Figures | None) -> list[Row]:
    """How it goes."""
    if now is None:
        return [("figures", "none yet")]
    rows: list[Row] = [
        ("bitrate", show.number(now.bitrate_kbps, "kbit/s")),
        ("frame rate", show.number(now.fps, "fps")),
        ("dropped, late", f"{now.dropped_frames}, {now.late_frames}"),
        ("keyframes every", show.number(now.keyframe_interval_seconds, "s")),
        ("sound less picture", show.number(now.av_skew_ms, "ms")),
        ("clock", show.number(now.drift_ppm, "ppm fast")),
        (
            "jitter, round trip",
            f"{show.number(now.jitter_ms, 'ms')}, {show.number(now.rtt_ms, 'ms')}",
        ),
    ]
    ladder = now.transcode
    if ladder is not None:
        rows += [
            ("ladder", " ".join(ladder.renditions) or "none"),
            (
                "ladder's speed, lag",
                f"{show.number(ladder.speed)}, {show.number(ladder.lag_seconds, 's')}",
            ),
        ]
    return rows


@click.command("health")
@click.argument("stream_id", metavar="ID")
@click.option("--watch", is_flag=True, help="Go on, until interrupted: every second, and events.")
@asks
def health(session: Session, stream_id: str, watch: bool) -> None:
    """Say how a broadcast fares, and what to do about it."""

    async def once(client: Client) -> None:
        report = await _report(client, stream_id)
        if session.as_json:
            show.json(report)
            return
        fate = Fate()
        fate.take(report)
        show.pairs(fate.rows())

    async def follow(client: Client) -> None:
        fate = Fate()
        try:
            fate.take(await _report(client, stream_id))
        except ApiError as error:
            if error.code != "notLive":
                raise
        with _screen(session, watch) as draw:
            if draw is not None:
                draw(fate.rows())
            async with aclosing(client.stream_events(stream_id)) as events:
                async for event in events:
                    await _tell(session, client, stream_id, fate, event, draw)

    session.run(follow if watch else once)


async def _report(client: Client, stream_id: str) -> HealthReport:
    return await client.ask(GET_HEALTH, query={"historySeconds": 0}, streamId=stream_id)


async def _tell(
    session: Session,
    client: Client,
    stream_id: str,
    fate: Fate,
    event: ServerEvent,
    draw: Callable[[Sequence[Row]], None] | None,
) -> None:
    """Show what an event has changed."""
    try:
        is_figures = fate.hear(event)
    except (msgspec.DecodeError, msgspec.ValidationError):
        return  # of a newer server
    if session.as_json:
        show.json({"type": event.type, "data": msgspec.Raw(event.data)})
        return
    if fate.publisher is None and fate.is_live:  # it has gone live since we began
        try:
            fate.take(await _report(client, stream_id))
        except ApiError:
            return  # and has ended already
    if draw is not None:
        draw(fate.rows())
    else:
        show.line(fate.line() if is_figures else _event_line(event))


def _event_line(event: ServerEvent) -> str:
    told = msgspec.json.decode(event.data, type=PlatformEvent)
    text = told.data.get("text") or told.data.get("reason") or ""
    return f"{show.moment(told.at)}  {told.type}  {text}".rstrip()


def _screen(
    session: Session, watch: bool
) -> AbstractContextManager[Callable[[Sequence[Row]], None] | None]:
    """A function that draws rows over the ones before, on a terminal; elsewhere None."""
    if not watch or session.as_json or not show.is_terminal():
        return nullcontext(None)
    return _Live()


class _Live(AbstractContextManager[Callable[[Sequence[Row]], None]]):
    def __init__(self) -> None:
        from rich.live import Live

        self._live = Live(auto_refresh=False)

    def __enter__(self) -> Callable[[Sequence[Row]], None]:
        self._live.__enter__()
        return self._draw

    def _draw(self, rows: Sequence[Row]) -> None:
        made: Any = show.drawn(("", ""), show.rows_of(rows))
        made.show_header = False
        self._live.update(made, refresh=True)

    def __exit__(self, *error: Any) -> None:
        self._live.__exit__(*error)
