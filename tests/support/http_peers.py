"""HTTP peers for tests: bytes out, parsed answers in, over any Trio stream.

A deliberately naive client: it knows status line, fields and Content-Length and nothing else, and
shares no code with `edge` (nor with h11).
"""

import json
from dataclasses import dataclass
from typing import TypeAlias

import trio
import trio.testing

MemoryStream: TypeAlias = trio.StapledStream[
    trio.testing.MemorySendStream, trio.testing.MemoryReceiveStream
]
"""One end of a `trio.testing.memory_stream_pair`."""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """One response off the wire."""

    status: int
    fields: dict[str, str]
    """By lower-case name; the last of equal ones."""
    body: bytes


class HttpPeer:
    """A client on one connection.

    Args:
        stream: Its end of the connection.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._received = bytearray()

    async def send(self, data: bytes | str) -> None:
        """Send raw bytes; text goes out as Latin-1."""
        await self.stream.send_all(data.encode("latin-1") if isinstance(data, str) else data)

    async def get(self, target: str, *, method: str = "GET", fields: str = "") -> HttpAnswer:
        """Send a request without a body and read its answer.

        Args:
            target: Path and query.
            method: Any method.
            fields: Further header lines, each with its CRLF.
        """
        await self.send(f"{method} {target} HTTP/1.1\r\nHost: test\r\n{fields}\r\n")
        return await self.answer(head_only=method == "HEAD")

    async def post(self, target: str, body: bytes | str, *, token: str = "") -> HttpAnswer:
        """Send a request with a body and read its answer."""
        data = body.encode() if isinstance(body, str) else body
        bearer = f"Authorization: Bearer {token}\r\n" if token else ""
        await self.send(
            f"POST {target} HTTP/1.1\r\nHost: test\r\n{bearer}"
            f"Content-Length: {len(data)}\r\n\r\n".encode()
            + data
        )
        return await self.answer()

    async def answer(self, *, head_only: bool = False) -> HttpAnswer:
        """Read one response.

        Raises:
            EOFError: The server closed before a whole one came.
        """
        while (end := self._received.find(b"\r\n\r\n")) < 0:
            await self._more()
        head = bytes(self._received[:end]).decode("latin-1")
        del self._received[: end + 4]
        status_line, *lines = head.split("\r\n")
        fields = {}
        for line in lines:
            name, _, value = line.partition(":")
            fields[name.lower()] = value.strip()
        size = 0 if head_only else int(fields.get("content-length", "0"))
        while len(self._received) < size:
            await self._more()
        body = bytes(self._received[:size])
        del self._received[:size]
        return HttpAnswer(int(status_line.split()[1]), fields, body)

    async def closed(self) -> bool:
        """Wait for the server's next byte or its end; say whether it was the end."""
        if self._received:
            return False
        try:
            return not await self.stream.receive_some()
        except trio.BrokenResourceError:
            return True

    async def _more(self) -> None:
        data = await self.stream.receive_some()
        if not data:
            raise EOFError(f"closed after {bytes(self._received)!r}")
        self._received += data


class MemoryListener(trio.abc.Listener[trio.abc.Stream]):
    """Accepts what `connect` opens; an OSError put into it is raised by accept."""

    def __init__(self) -> None:
        self._send, self._receive = trio.open_memory_channel[trio.abc.Stream | OSError](1000)
        self.closed = False

    def open_stream(self) -> MemoryStream:
        """Connect; return the client's end."""
        ours, theirs = trio.testing.memory_stream_pair()
        self._send.send_nowait(theirs)
        return ours

    def connect(self) -> HttpPeer:
        """Connect with a client of HTTP/1.1."""
        return HttpPeer(self.open_stream())

    def fail(self, error: OSError) -> None:
        """Let the next accept raise this."""
        self._send.send_nowait(error)

    async def accept(self) -> trio.abc.Stream:
        """Return the server's end of what was opened first."""
        got = await self._receive.receive()
        if isinstance(got, OSError):
            raise got
        return got

    async def aclose(self) -> None:
        """Note that it was closed."""
        self.closed = True
        await trio.lowlevel.checkpoint()


def dribble(sender: MemoryStream, receiver: MemoryStream) -> None:
    """Make bytes arrive one by one, each taken before the next comes.

    Args:
        sender: One end of a `memory_stream_pair`.
        receiver: The other end.
    """

    async def pump() -> None:
        while trio.testing.memory_stream_pump(
            sender.send_stream, receiver.receive_stream, max_bytes=1
        ):
            await trio.testing.wait_all_tasks_blocked()

    sender.send_stream.send_all_hook = pump


def error_of(answer: HttpAnswer) -> str:
    """Return the text of an error answer, whose form is the same everywhere."""
    assert answer.fields["content-type"] == "application/json"
    kept = "public, max-age=1" if answer.status == 404 else "no-store"
    assert answer.fields["cache-control"] in ("no-store", kept)
    assert answer.fields["access-control-allow-origin"] == "*"
    value = json.loads(answer.body)
    assert list(value) == ["error", "code"]
    return str(value["error"])
