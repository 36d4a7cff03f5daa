"""How a connection to one far server fares: state, figures, and when it is tried again.

Shared by forwards and pulls, which do the connecting. Each failure is one log line and one pause.

May import edge's words for it, trio's clock and structlog.
"""

import structlog
import trio

from edge.relays import RelayInfo, RelayState
from origin.relay.backoff import Backoff
from origin.relay.tap import Message
from origin.relay.target import Target
from rtmpcore import Metadata


class Attempts:
    """The attempts at one far server.

    Args:
        target: The server, and the key that must not be told.
        log: Bound to what they are for.
        backoff: The pauses between them.
    """

    dropped_messages: int
    """As `RelayInfo.dropped_messages`; written by whoever connects."""

    def __init__(
        self,
        target: Target,
        *,
        log: structlog.typing.FilteringBoundLogger,
        backoff: Backoff | None = None,
    ) -> None:
        self.dropped_messages = 0
        self._target = target
        self._log = log.bind(target=target.name)
        self._backoff = backoff or Backoff()
        self._state: RelayState = "idle"
        self._number = 0
        self._messages = 0
        self._size_bytes = 0
        self._live_since_s: float | None = None
        self._retry_at_s = 0.0
        self._error: str | None = None

    def begin(self) -> None:
        """Another attempt begins."""
        self._state = "connecting"
        self._number += 1

    def succeed(self) -> None:
        """The far server has agreed: media may flow."""
        self._state = "live"
        self._live_since_s = trio.current_time()
        self._log.info("relay began", attempt=self._number)

    def count(self, message: Message) -> None:
        """A message was passed on."""
        self._messages += 1
        if not isinstance(message, Metadata):
            self._size_bytes += len(message.payload)

    def fail(self, reason: str) -> float:
        """It failed or was lost; returns how long to wait before the next attempt, seconds.

        Args:
            reason: Why, in the far server's words perhaps: the key is taken out of them.
        """
        now_s = trio.current_time()
        worked_s = 0.0 if self._live_since_s is None else now_s - self._live_since_s
        pause_s = self._backoff.pause_s(worked_s)
        self._state = "waiting"
        self._live_since_s = None
        self._retry_at_s = now_s + pause_s
        self._error = self._target.hide(reason)
        self._log.warning("relay failed", reason=self._error, retry_s=round(pause_s, 1))
        return pause_s

    def end(self, reason: str) -> None:
        """There will be no further attempt."""
        self._state = "ended"
        self._live_since_s = None
        self._log.info(
            "relay ended", reason=reason, messages=self._messages, bytes=self._size_bytes
        )

    def info(self) -> RelayInfo:
        """Return the figures as they are now."""
        now_s = trio.current_time()
        is_waiting = self._state == "waiting"
        return RelayInfo(
            peer=self._target.name,
            state=self._state,
            attempts=self._number,
            messages=self._messages,
            size_bytes=self._size_bytes,
            dropped_messages=self.dropped_messages,
            live_s=0.0 if self._live_since_s is None else now_s - self._live_since_s,
            retry_in_s=max(self._retry_at_s - now_s, 0.0) if is_waiting else 0.0,
            error=self._error,
        )
