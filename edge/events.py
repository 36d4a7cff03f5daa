"""What happens on the platform, told to whoever listens in this process: webhooks, logs, figures.

One `EventBus` a process. `emit` is synchronous and never fails its caller: what a listener cannot
do at once, it queues itself. Types are names with a dot, as webhooks have them: ``stream.live``,
``stream.ended``, ``publisher.connected``, ``publisher.disconnected``, ``recording.ready``,
``alert.started``, ``alert.ended``, ``chat.message``, ``chat.deleted``, ``chat.banned`` ...;
`origin.hooks.catalog` has all of them.

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
Wants = Callable[[str], bool]


def is_no_chat(kind: str) -> bool:
    """Whether a type is none of chat's."""
    return not kind.startswith("chat.")


class EventBus:
    """Tells everybody, in order.

    Args:
        clock: Gives UTC seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._listeners: list[tuple[Listener, Wants]] = []

    def listen(self, listener: Listener, *, wants: Wants = is_no_chat) -> None:
        """Have a function called with every event from now on; it must not block.

        Args:
            listener: It.
            wants: Whether it listens to a type now; if not said, to all but chat's, which come by
                the hundred.
        """
        self._listeners.append((listener, wants))

    def is_heard(self, kind: str) -> bool:
        """Whether anybody listens to a type now."""
        return any(wants(kind) for _, wants in self._listeners)

    def emit(self, kind: str, stream_id: str, **data: Any) -> None:
        """Tell what has happened. Synchronous; a bug in a listener is logged, and its own."""
        listeners = [listener for listener, wants in self._listeners if wants(kind)]
        if not listeners:
            return
        event = PlatformEvent(
            id=token_hex(8),
            type=kind,
            stream_id=stream_id,
            at=round(self._clock() * 1000),
            data=data,
        )
        for listener in listeners:
            try:
                listener(event)
            except Exception:
                _logger.exception("event not heard", type=kind, stream=stream_id)
