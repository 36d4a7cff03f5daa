"""An upstream in memory: answers by script, counts who asks for what, fails on demand.

Stands where httpx's transport does; shares no code with `edge`.
"""

from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import httpx
import trio


@dataclass
class Script:
    """How one target is answered."""

    body: bytes = b""
    status: int = 200
    fields: dict[str, str] = field(default_factory=dict)
    after: trio.Event | None = None
    """Answered when this is set; None: at once."""
    error: Exception | None = None
    """Raised instead of an answer."""
    cut_at: int | None = None
    """Only so many bytes of the body come, whatever Content-Length says."""
    pieces: int = 1
    """The body comes in so many, with a checkpoint before each."""
    is_framed: bool = True
    """Content-Length is sent."""


class ScriptedUpstream(httpx.AsyncBaseTransport):
    """One server; `open` is what opens connections to it."""

    def __init__(self) -> None:
        self.scripts: dict[str, Script] = {"/health": Script(b"{}")}
        self.asked: list[str] = []
        """Targets, in order, without /health."""
        self.requests: list[httpx.Request] = []
        """The same, whole."""
        self.under_way: Counter[str] = Counter()
        self.is_down = False
        """Refuses connections."""
        self.probes = 0
        self.opened = 0
        self.closed = 0
        self.otherwise: Callable[[str], Script] = lambda _target: Script(b"no", status=404)

    def open(self) -> httpx.AsyncBaseTransport:
        """Open a transport; all are the same one."""
        self.opened += 1
        return self

    def put(self, target: str, body: bytes = b"", **how: object) -> Script:
        """Say how a target is answered from now on."""
        script = self.scripts[target] = Script(body, **how)  # type: ignore[arg-type]
        return script

    def count(self, target: str) -> int:
        """How often a target was asked for."""
        return self.asked.count(target)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer by the script."""
        target = request.url.raw_path.decode()
        if target == "/health":
            self.probes += 1
        else:
            self.asked.append(target)
            self.requests.append(request)
        await trio.lowlevel.checkpoint()
        if self.is_down:
            raise httpx.ConnectError("refused")
        script = self.scripts.get(target) or self.otherwise(target)
        self.under_way[target] += 1
        try:
            if script.after is not None:
                await script.after.wait()
            if script.error is not None:
                raise script.error
        finally:
            self.under_way[target] -= 1
        fields = dict(script.fields)
        if script.is_framed:
            fields.setdefault("Content-Length", str(len(script.body)))
        return httpx.Response(
            script.status,
            headers=fields,
            stream=_Body(script),
            extensions={"http_version": b"HTTP/1.1"},
        )

    async def aclose(self) -> None:
        """Note it."""
        self.closed += 1
        await trio.lowlevel.checkpoint()


class _Body(httpx.AsyncByteStream):
    def __init__(self, script: Script) -> None:
        self._script = script

    async def __aiter__(self) -> AsyncIterator[bytes]:
        script = self._script
        body = script.body if script.cut_at is None else script.body[: script.cut_at]
        size = -(-len(body) // script.pieces) or 1
        for at in range(0, len(body), size):
            await trio.lowlevel.checkpoint()
            yield body[at : at + size]
