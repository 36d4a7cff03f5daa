"""The API's rows on health: how a stream fares, and what happens to it as it happens.

Both show the encoder and its line, so they need a key of the stream or an admin token that may
read.

May import edge and origin.health.
"""

from collections.abc import Sequence
from typing import Annotated

import msgspec

from edge.api.operation import Asked, Field, Need, Operation
from edge.errors import NotLive
from edge.http.response import Response, json_response
from origin.health.history import ROWS
from origin.health.live_events import LiveEvents
from origin.health.monitor import HealthMonitor
from origin.health.report import HealthReport


class HealthQuery(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """How much of the history is wanted."""

    history_seconds: Annotated[int, msgspec.Meta(ge=0, le=ROWS)] = ROWS
    """0: none of it."""


class HealthApi:
    """The handlers.

    Args:
        monitor: Knows how streams fare.
        events: Tells listeners.
    """

    def __init__(self, monitor: HealthMonitor, events: LiveEvents) -> None:
        self._monitor = monitor
        self._events = events

    @property
    def operations(self) -> Sequence[Operation]:
        """The rows."""
        return (
            Operation(
                name="getHealth",
                method="GET",
                path="/api/streams/{streamId}/health",
                handler=self._health,
                summary="How the broadcast fares",
                description="What comes from the encoder and how, what is wrong with it and what to"
                " do about that, and the figures of the last ten minutes.",
                tag="Health",
                need=Need.STREAM,
                scope="read",
                query=HealthQuery,
                answer=HealthReport,
                errors=(409,),
            ),
            Operation(
                name="streamEvents",
                method="GET",
                path="/api/streams/{streamId}/events",
                handler=None,
                take=self._events.serve,
                summary="What happens to the stream, as it happens",
                description="Server-sent events: `health` with the newest figures once a second,"
                " and every event that webhooks get but chat. `Last-Event-ID` goes on behind that"
                " event. The connection ends after 15 minutes: come again. HTTP/1.1 only.",
                tag="Health",
                need=Need.STREAM,
                scope="read",
                media_type="text/event-stream",
                fields=(Field("Last-Event-ID", "Go on behind this event."),),
            ),
        )

    async def _health(self, asked: Asked) -> Response:
        report = self._monitor.report(asked.stream_id, history_s=asked.query.history_seconds)
        if report is None:
            raise NotLive
        return json_response(200, report)
