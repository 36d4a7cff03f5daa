"""Push a stream's source to other services while it has a publisher (simulcast).

::

    Taps --opened--> Forwards -- one task per publication --> Forward -- one per target
                                   ^                             |  connect, publish, send
                               urls of the stream                '- lost: pause, again

A far end sees one RTMP publication for each publisher here, with that publisher's own timestamps
and headers. When it refuses, hangs up or is too slow, only its own forward knows: messages are
dropped up to the next keyframe (`origin.relay.tap`), the connection is tried again with growing
pauses (`origin.relay.backoff`) for as long as there is something to send, and neither the publisher
nor another forward is held up. A publisher's goodbye is passed on by unpublishing.

Bounds: `MAX_FORWARDS` of one stream; of each one queue (`tap.QUEUE_BYTES`) and one connection.

Never in a log line, an error or an answer of the API: the key of a far service (`Target.hide`).

May import control, edge's words for it, origin's own, trio and structlog.
"""

import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Final

import structlog
import trio

from control import StoreError
from edge.process.log import start_apart
from edge.relays import RelayInfo
from origin.relay.attempts import Attempts
from origin.relay.backoff import Backoff
from origin.relay.tap import Tap, TapError, Taps
from origin.relay.target import Target, parse_target
from origin.rtmp.client import Publisher, PublisherError, open_publisher

MAX_FORWARDS: Final = 8
"""Targets of one stream."""

URLS_RETRY_S: Final = 5.0
"""Pause before the targets of a stream are asked for again, if the store fails."""

UrlsOf = Callable[[str], Awaitable[Sequence[str]]]
"""From a stream's id to the URLs that it is forwarded to; none of them is malformed."""

Connect = Callable[[Target], AbstractAsyncContextManager[Publisher]]
"""Publishes to a target for as long as the block lasts; raises `PublisherError`."""

log = structlog.get_logger("forward")


def connect_trusting(trusted: ssl.SSLContext) -> Connect:
    """Return what publishes by RTMP, and by RTMPS to whom `trusted` trusts."""

    def connect(target: Target) -> AbstractAsyncContextManager[Publisher]:
        tls = trusted if target.secure else None
        return open_publisher(target.host, target.port, target.app, target.key, tls=tls)

    return connect


class Forward:
    """One target of one publication.

    Args:
        target: Where to.
        stream_id: The stream, for the log.
        connect: Publishes there.
        backoff: The pauses between attempts.
    """

    def __init__(
        self,
        target: Target,
        *,
        stream_id: str,
        connect: Connect,
        backoff: Backoff | None = None,
    ) -> None:
        self._target = target
        self._connect = connect
        self._attempts = Attempts(target, log=log.bind(stream=stream_id), backoff=backoff)

    def info(self) -> RelayInfo:
        """Return how it fares, since its publisher came."""
        return self._attempts.info()

    async def run(self, tap: Tap) -> None:
        """Push until the tap is closed, over as many connections as it takes."""
        attempts = self._attempts
        while not tap.is_closed:
            attempts.begin()
            try:
                await self._push(tap)
            except (PublisherError, TapError) as error:
                if not tap.is_closed:
                    with trio.move_on_after(attempts.fail(str(error))):
                        await tap.wait_closed()
        attempts.end("publisher gone")

    async def _push(self, tap: Tap) -> None:
        """Publish over one connection; returns when the tap is closed."""
        attempts = self._attempts
        async with self._connect(self._target) as publisher:
            attempts.succeed()
            dropped_before = attempts.dropped_messages
            with tap.follow() as follower:
                while batch := await follower.receive():
                    attempts.dropped_messages = dropped_before + follower.dropped_messages
                    for message in batch:
                        await publisher.relay(message)
                        attempts.count(message)


class Forwards:
    """The forwards of a process.

    Args:
        taps: Whose streams are forwarded.
        urls_of: Where to; asked when a publisher comes, and after `refresh`. It may raise
            `StoreError`.
        connect: Publishes to a target.
    """

    def __init__(self, *, taps: Taps, urls_of: UrlsOf, connect: Connect) -> None:
        self._taps = taps
        self._urls_of = urls_of
        self._connect = connect
        self._nursery: trio.Nursery | None = None
        # Of streams that have a publisher and targets:
        self._scopes: dict[str, trio.CancelScope] = {}
        self._forwards: dict[str, list[Forward]] = {}

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Forward until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._taps.watch(self._begin)
            task_status.started()
            await trio.sleep_forever()

    def refresh(self, stream_id: str) -> None:
        """Take notice that a stream's targets have changed: all of them begin anew."""
        if stream_id in self._scopes:
            self._scopes[stream_id].cancel(reason="targets changed")
            self._forwards.pop(stream_id, None)
        tap = self._taps.get(stream_id)
        if tap is not None:
            self._begin(stream_id, tap)

    def infos(self, stream_id: str) -> list[RelayInfo]:
        """Return how the forwards of a stream fare; empty while it has no publisher."""
        return [forward.info() for forward in self._forwards.get(stream_id, [])]

    def _begin(self, stream_id: str, tap: Tap) -> None:
        assert self._nursery is not None
        scope = self._scopes[stream_id] = trio.CancelScope()
        start_apart(self._nursery, self._serve, stream_id, tap, scope)

    async def _serve(self, stream_id: str, tap: Tap, scope: trio.CancelScope) -> None:
        """Forward one publication; a bug here costs its forwards, not the process."""
        forwards: list[Forward] = []
        try:
            with scope:
                forwards = await self._forwards_of(stream_id, tap)
                if forwards:
                    self._forwards[stream_id] = forwards
                    async with trio.open_nursery() as nursery:
                        for forward in forwards:
                            nursery.start_soon(forward.run, tap)
        except Exception:
            log.exception("forwards failed", stream=stream_id)
        finally:
            if self._scopes.get(stream_id) is scope:  # else the next publisher's stand there
                del self._scopes[stream_id]
            if self._forwards.get(stream_id) is forwards:
                del self._forwards[stream_id]

    async def _forwards_of(self, stream_id: str, tap: Tap) -> list[Forward]:
        while not tap.is_closed:
            try:
                urls = await self._urls_of(stream_id)
            except StoreError as error:
                log.error("cannot look up forwards", stream=stream_id, reason=str(error))
                with trio.move_on_after(URLS_RETRY_S):
                    await tap.wait_closed()
            else:
                make = partial(Forward, stream_id=stream_id, connect=self._connect)
                return [make(parse_target(url)) for url in urls[:MAX_FORWARDS]]
        return []
