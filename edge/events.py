"""What happens on the platform, told to whoever listens in this process: webhooks, logs, figures.

One `EventBus` a process. `emit` is synchronous and never fails its caller: what a listener cannot
do at once, it queues itself. Types are names with a dot, as webhooks have them: ``stream.live``,
``stream.ended``, ``publisher.connected``, ``publisher.disconnected``, ``recording.ready``,
``alert.started``, ``alert.ended``, ``chat.message``, ``chat.deleted``, ``chat.banned`` ...

May import: nothing of ours.
"""

import time
from collections.abc import Callable
from secrets import token_hex
from typing import Any

import msgspec
import structlog

_logger = structlog.get_logger("events")


class PlatformEvent(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Something that has happened to a stream. The JSON of a webhook."""

    id: str
    """Unique."""
    type: str
    stream_id: str
    at: int
    """UTC, milliseconds since 1970."""
    data: dict[str, Any] = {}
    """More about it; JSON types, names in camelCase, never a secret."""


Listener = Callable[[PlatformEvent], None]


class EventBus:
    """Tells everybody, in order.

    Args:
        clock: Gives UTC seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._listeners: list[Listener] = []

    def listen(self, listener: Listener) -> None:
        """Have a function called with every event from now on; it must not block."""
        self._listeners.append(listener)

    def emit(self, kind: str, stream_id: str, **data: Any) -> None:
        """Tell what has happened. Synchronous; a bug in a listener is logged, and its own."""
        if not self._listeners:
            return
        event = PlatformEvent(
            id=token_hex(8),
            type=kind,
            stream_id=stream_id,
            at=round(self._clock() * 1000),
            data=data,
        )
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                _logger.exception("event not heard", type=kind, stream=stream_id)
