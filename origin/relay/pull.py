"""Publish into a stream what another RTMP server plays: the stream's `pull`.

::

    far server --RTMP--> Player --> Pull --> the stream's publication, as if a publisher sent it

A pull is tried for as long as it is set, with growing pauses (`origin.relay.backoff`): a far server
that has nothing to play yet, a stream that somebody publishes here already, a lost line. What a
lost line means for the broadcast is the same as for a publisher: it waits for what comes next.

It ends when its broadcast is ended here, by the API say: else the next attempt would begin the
broadcast anew. Setting it again starts it again.

Bounds: one pull of a stream; one message at a time in its hands; `SILENCE_S` without media.

May import control, edge's words for it, origin's own, trio and structlog.
"""

import ssl
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final, Protocol

import structlog
import trio

from control import StoreError
from edge.process.log import start_apart
from edge.relays import RelayInfo
from origin.relay.attempts import Attempts
from origin.relay.backoff import Backoff
from origin.relay.tap import MediaMessage, Message, MetadataValues
from origin.relay.target import Target, parse_target
from origin.rtmp.play_client import PlayError, open_player
from origin.rtmp.publisher import Peer, PublishDeniedError, PublishStoppedError
from rtmpcore import Metadata, RemoteProtocolError

SILENCE_S: Final = 20.0
"""Most silence of a far server that plays, as from a publisher."""

LIST_RETRY_S: Final = 5.0
"""Pause before the pulls are asked for again, if the store fails at the start."""

log = structlog.get_logger("pull")


class Source(Protocol):
    """What a far server plays."""

    async def receive(self) -> Message | None:
        """Return the next message, or None when it has ended.

        Raises:
            PlayError: The connection was lost, or broke the protocol.
        """
        ...


class Sink(Protocol):
    """Where it goes: one publication here. Every call is synchronous."""

    def push(self, message: MediaMessage) -> None:
        """Take one message; may raise `RemoteProtocolError` or `PublishStoppedError`."""
        ...

    def describe(self, values: MetadataValues) -> None:
        """Take the metadata."""
        ...

    def close(self, *, goodbye: bool) -> None:
        """There is no more; called exactly once."""
        ...


Connect = Callable[[Target], AbstractAsyncContextManager[Source]]
"""Plays a target for as long as the block lasts; raises `PlayError`."""

TakeStream = Callable[[str, Peer], Sink]
"""From a stream's id, and what hangs up, to a publication; raises `PublishDeniedError`."""


def play_trusting(trusted: ssl.SSLContext) -> Connect:
    """Return what plays by RTMP, and by RTMPS from whom `trusted` trusts."""

    def connect(target: Target) -> AbstractAsyncContextManager[Source]:
        tls = trusted if target.secure else None
        return open_player(target.host, target.port, target.app, target.key, tls=tls)

    return connect


class Pull:
    """One stream's pull; to its stream it is a publisher, and so a `Peer`.

    Args:
        target: Where from.
        stream_id: Where to.
        connect: Plays the target.
        take: Takes the stream.
        backoff: The pauses between attempts.
    """

    def __init__(
        self,
        target: Target,
        *,
        stream_id: str,
        connect: Connect,
        take: TakeStream,
        backoff: Backoff | None = None,
    ) -> None:
        self.target = target
        """Where from. Read-only."""
        self._stream_id = stream_id
        self._connect = connect
        self._take = take
        self._attempts = Attempts(target, log=log.bind(stream=stream_id), backoff=backoff)
        self._hung_up: str | None = None
        self._scope = trio.CancelScope()
        self._heard_s = 0.0  # when the last message came
        self.address = ""
        """See `Peer`: it is we who have connected."""
        self.app = ""
        """See `Peer`."""
        self.encoder = ""
        """See `Peer`."""

    @property
    def silent_s(self) -> float:
        """See `Peer`."""
        return trio.current_time() - self._heard_s

    @property
    def heard_s(self) -> float:
        """See `Peer`."""
        return self._heard_s

    def tcp_figures(self) -> None:
        """See `Peer`: the far server's line is not the broadcaster's."""

    def disconnect(self, reason: str, *, for_good: bool = False) -> None:
        """See `Peer`; whatever the reason, nothing is fetched until it is set again."""
        self._hung_up = reason
        self._scope.cancel(reason=reason)

    def info(self) -> RelayInfo:
        """Return how it fares."""
        return self._attempts.info()

    async def run(self) -> None:
        """Fetch until the broadcast is ended here."""
        while self._hung_up is None:
            self._attempts.begin()
            try:
                with trio.CancelScope() as self._scope:
                    await self._fetch()
                continue  # hung up
            except (PlayError, PublishDeniedError, PublishStoppedError) as error:
                reason = str(error)
            except RemoteProtocolError as error:
                reason = f"protocol error: {error}"
            if self._hung_up is None:
                await trio.sleep(self._attempts.fail(reason))
        self._attempts.end(self._hung_up)

    def give_up(self, reason: str) -> None:
        """Say that nobody runs it any more."""
        self._attempts.end(reason)

    async def _fetch(self) -> None:
        """Publish what one connection plays; always raises."""
        async with self._connect(self.target) as source:
            self._heard_s = trio.current_time()
            sink = self._take(self._stream_id, self)
            try:
                self._attempts.succeed()
                while True:
                    self._pass_on(await _next(source), sink)
            finally:  # to the broadcast it is a publisher that was lost, whatever the far end said
                sink.close(goodbye=False)

    def _pass_on(self, message: Message, sink: Sink) -> None:
        self._heard_s = trio.current_time()
        if isinstance(message, Metadata):
            sink.describe(message.values)
        else:
            sink.push(message)
        self._attempts.count(message)


class Pulls:
    """The pulls of a process.

    Args:
        list_urls: Gives the URLs by stream id, once; may raise `StoreError`.
        connect: Plays a target.
        take: Takes a stream.
    """

    def __init__(
        self,
        *,
        list_urls: Callable[[], Awaitable[Mapping[str, str]]],
        connect: Connect,
        take: TakeStream,
    ) -> None:
        self._list_urls = list_urls
        self._make = partial(Pull, connect=connect, take=take)
        self._nursery: trio.Nursery | None = None
        self._pulls: dict[str, tuple[Pull, trio.CancelScope]] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Pull until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            task_status.started()
            while True:
                try:
                    urls = await self._list_urls()
                    break
                except StoreError as error:
                    log.error("cannot look up pulls", reason=str(error))
                    await trio.sleep(LIST_RETRY_S)
            for stream_id, url in urls.items():
                if stream_id not in self._pulls:  # else it was set meanwhile
                    self.set(stream_id, url)
            await trio.sleep_forever()

    def set(self, stream_id: str, url: str | None) -> None:
        """Begin a stream's pull, or (None) end it; the one that runs already goes on."""
        target = None if url is None else parse_target(url)
        previous = self._pulls.get(stream_id)
        if previous is not None:
            pull, scope = previous
            if pull.target == target and pull.info().state != "ended":
                return
            scope.cancel(reason="pull changed")
            del self._pulls[stream_id]
        if target is not None:
            assert self._nursery is not None
            pull = self._make(target, stream_id=stream_id)
            scope = trio.CancelScope()
            self._pulls[stream_id] = pull, scope
            start_apart(self._nursery, self._run, pull, scope, stream_id)

    def info(self, stream_id: str) -> RelayInfo | None:
        """Return how a stream's pull fares; None if it has none."""
        found = self._pulls.get(stream_id)
        return None if found is None else found[0].info()

    async def _run(self, pull: Pull, scope: trio.CancelScope, stream_id: str) -> None:
        """Run one pull; a bug here costs that pull, not the process."""
        try:
            with scope:
                await pull.run()
        except Exception:
            log.exception("pull failed", stream=stream_id)
            pull.give_up("internal error")


async def _next(source: Source) -> Message:
    with trio.move_on_after(SILENCE_S):
        message = await source.receive()
        if message is None:
            raise PlayError("the server ended it")
        return message
    raise PlayError(f"no media for {SILENCE_S:g} s")
