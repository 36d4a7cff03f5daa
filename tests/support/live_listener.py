"""A client of a stream's live events (SSE), written from the HTML standard."""

import http.client
import json
import threading
import time
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Heard:
    """One event."""

    at_s: float
    """time.monotonic() of its arrival."""
    type: str
    id: str
    data: Any


class LiveListener(threading.Thread):
    """Listens on a thread, as a context; `heard` grows.

    Args:
        address: HOST:PORT of the origin.
        stream_id: Whose events.
        token: What opens them.
        last_id: Where to go on.
    """

    def __init__(self, address: str, stream_id: str, token: str, *, last_id: str = "") -> None:
        super().__init__(name="live-listener", daemon=True)
        host, _, port = address.rpartition(":")
        self.heard: list[Heard] = []
        self._connection = http.client.HTTPConnection(host, int(port), timeout=30)
        headers = {"Authorization": f"Bearer {token}", "Accept": "text/event-stream"}
        if last_id:
            headers["Last-Event-ID"] = last_id
        self._connection.request("GET", f"/api/streams/{stream_id}/events", headers=headers)
        self._socket = self._connection.sock  # which the response takes with it
        self._response = self._connection.getresponse()
        assert self._response.status == 200, self._response.read()
        assert self._response.headers["Content-Type"] == "text/event-stream"

    def of_type(self, *types: str) -> list[Heard]:
        """The events of some types, in order."""
        return [event for event in list(self.heard) if event.type in types]

    def run(self) -> None:
        """Read to the end."""
        fields: dict[str, str] = {}
        try:
            while line := self._response.readline():
                name, _, text = line.decode().rstrip("\n").partition(": ")
                if name:
                    fields[name] = text
                elif "data" in fields:
                    data = json.loads(fields["data"])
                    self.heard.append(
                        Heard(time.monotonic(), fields["event"], fields.get("id", ""), data)
                    )
                    fields = {}
        except (OSError, ValueError, http.client.HTTPException):
            pass  # it was closed

    def __enter__(self) -> "LiveListener":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.shutdown(2)
        self.join(5)
        self._response.close()
        self._connection.close()
