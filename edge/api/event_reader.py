"""Server-sent events, read: bytes in, events out.

Pure; imports nothing of ours. Bounds: `MAX_EVENT_BYTES` of one event.
Spec: HTML, section 9.2.6 (interpreting an event stream), without the byte order mark, which no
server of ours sends.
"""

import re
from dataclasses import dataclass
from typing import Final

MAX_EVENT_BYTES: Final = 1024 * 1024
"""Of an event, its field names included. Ours have some kilobytes."""

_LINE_END: Final = re.compile(rb"\r\n|\n|\r(?!\Z)")  # a CR at the end may be half of a CRLF


class EventError(ValueError):
    """That is no stream of events, or one of an event without an end."""


@dataclass(frozen=True, slots=True)
class ServerEvent:
    """Something that a server tells."""

    type: str
    data: bytes
    """Its lines, joined with LF."""
    last_id: str
    """To go on behind it; that of an event before if it has none, or "" if that had none either."""


class EventReader:
    """Reads the events of one connection.

    Args:
        last_id: What the connection goes on behind.
    """

    def __init__(self, last_id: str = "") -> None:
        self.last_id = last_id
        self.retry_ms: int | None = None
        """How long to wait before coming again, if the server has said so."""
        self._rest = b""
        self._type = ""
        self._data: list[bytes] = []
        self._size_bytes = 0

    def feed(self, received: bytes) -> list[ServerEvent]:
        """Take what was received; returns the events that are complete now.

        Raises:
            EventError: An event is larger than `MAX_EVENT_BYTES`.

        Cost: O(received), if events are not much larger than what is received at once.
        """
        *lines, self._rest = _LINE_END.split(self._rest + received)
        if self._size_bytes + len(self._rest) > MAX_EVENT_BYTES:
            raise EventError("an event is too large")
        found = []
        for line in lines:
            if line:
                self._field(line)
                continue
            if self._data:
                data = b"\n".join(self._data)
                found.append(ServerEvent(self._type or "message", data, self.last_id))
            self._type, self._data, self._size_bytes = "", [], 0
        return found

    def _field(self, line: bytes) -> None:
        self._size_bytes += len(line)
        if self._size_bytes > MAX_EVENT_BYTES:
            raise EventError("an event is too large")
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._data.append(value)
        elif name == b"event":
            self._type = value.decode(errors="replace")
        elif name == b"id" and b"\0" not in value:
            self.last_id = value.decode(errors="replace")
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            self.retry_ms = int(value)
