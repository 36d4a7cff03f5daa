"""Where Prometheus' figures come from: the parts of an origin, and counts of what happened.

May import everything of ours, but only reads.
"""

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from edge.audience.api import Audience
from edge.chat.service import ChatService
from edge.events import PlatformEvent
from edge.guesses import Guesses
from edge.http.access_log import AccessLog
from edge.process.pulse import Pulse
from origin.broadcast import Broadcasts
from origin.health.live_events import LiveEvents
from origin.health.monitor import HealthMonitor
from origin.observe.names import OTHER, NamedStreams
from origin.observe.readiness import Readiness
from origin.rtmp.server import RtmpServer

if TYPE_CHECKING:
    from control import SqliteStore
    from edge.http.server import Figures as HttpFigures
    from edge.playback.gate import Gate
    from origin.hooks.service import Hooks
    from origin.recording.recorder import Recorder

MAX_EVENT_TYPES: Final = 64
"""Types are ours, and a score; should there be more, they are "other"."""


class EventCounts:
    """How often what has happened on the platform. A listener of an `EventBus`."""

    def __init__(self) -> None:
        self.types: Counter[str] = Counter()
        self.alerts: Counter[str] = Counter()
        """Alerts that began, by code."""

    def on_event(self, event: PlatformEvent) -> None:
        """Count one."""
        known = event.type in self.types or len(self.types) < MAX_EVENT_TYPES
        self.types[event.type if known else OTHER] += 1
        if event.type == "alert.started":
            self.alerts[str(event.data.get("code"))] += 1


@dataclass(slots=True, kw_only=True)
class Sources:
    """Where the figures come from. What is None is not there yet, or not at all."""

    names: NamedStreams
    events: EventCounts
    pulse: Pulse
    requests: AccessLog
    broadcasts: Broadcasts
    health: HealthMonitor
    audience: Audience
    guesses: Guesses
    rtmp: RtmpServer
    chat: ChatService
    store: "SqliteStore"
    readiness: Readiness
    http: "HttpFigures | None" = None
    listeners: LiveEvents | None = None
    hooks: "Hooks | None" = None
    recorder: "Recorder | None" = None
    playback: "Gate | None" = None
