"""Drive one `rtmpcore.Connection` over one Trio stream: the only place where their bytes meet.

Mechanical on purpose, for both roles. The order never varies: take the events that are there,
flush what answering them queued, then read. So replies are on the wire before anything waits for
the peer.

Not here: what an event means, and when patience ends. Deadlines belong to phases (CONTRIBUTING,
Cancellation 1), so the caller holds the cancel scope. The one time-out in this file guards a write,
since a peer that asks and never reads would else hold its task for ever.

Invariants:

* Bytes leave in the order in which the protocol queued them: drained inside the send lock.
* After any exception in `send_all`, `Cancelled` too, nobody knows what was sent, so the protocol is
  latched into its error state and the connection is finished.
* No burst from one peer holds the event loop for more than `EVENTS_PER_SLICE` events, nor, where
  events are dear, for much more than `SLICE_S`.
* Waiting for bytes is the pump's business when there is one (`origin.rtmp.pump`); the order of all
  the rest is the same.

May import rtmpcore, trio, and of origin.rtmp what moves bytes.
"""

from collections.abc import Callable
from contextvars import copy_context
from typing import Final

import trio

from origin.rtmp.pump import Pump
from origin.rtmp.transport import source_of
from rtmpcore import Connection, Event, RemoteProtocolError, Signal, State

RECEIVE_BYTES: Final = 65_536
"""Most bytes taken from the kernel at once: bounds what one read can put on our heap."""

EVENTS_PER_SLICE: Final = 64
"""Events between two checkpoints: at some 30 us each, 2 ms for which nobody else has a turn."""

SLICE_S: Final = 0.002
"""Time between two checkpoints, for events that cost more."""

EVENTS_PER_LOOK: Final = 8
"""Events between two looks at the clock."""

CLOSE_TIMEOUT_S: Final = 1.0
"""Patience for a refused peer to read why and hang up."""

CLOSE_DRAIN_BYTES: Final = 262_144
"""Most bytes read and thrown away meanwhile; a peer that pours on is cut off."""


Take = Callable[[Event], bool]
"""Deals with an event synchronously and returns True, or returns False to have it handed out."""


class RtmpDriver:
    """One connection: a stream, the protocol's state machine, one flush path.

    Args:
        stream: The transport; the driver closes it in `close` and `refuse` only.
        protocol: A fresh `rtmpcore.Connection` of either role.
        send_timeout_s: Most time for one flush; past it the peer is taken for dead.
        pump: Reads the transport, if that has a descriptor; None to read it here.
    """

    def __init__(
        self,
        stream: trio.abc.Stream,
        protocol: Connection,
        *,
        send_timeout_s: float,
        pump: Pump | None = None,
    ) -> None:
        self._stream = stream
        self._protocol = protocol
        self._send_timeout_s = send_timeout_s
        self._send_lock = trio.StrictFIFOLock()
        self._pump = pump
        # What the pump reads; None: no pump, or nothing that it could read.
        self._source = source_of(stream) if pump else None
        # Between the pump's call and its task's next step: what the call came to, and what the
        # protocol had queued by then.
        self._pulled: Event | Signal | None = None
        self._unsent = b""
        self.heard_s = trio.current_time()
        """When the last bytes came, in Trio's time."""

    @property
    def bytes_received(self) -> int:
        """Bytes that came from the peer so far."""
        return self._protocol.bytes_received

    async def shake_hands(self) -> None:
        """Go through the handshake, as a client: `Connect` can be sent after it.

        Raises:
            As `next_event`; `trio.BrokenResourceError` too when the server hangs up.
        """
        while self._protocol.state in (State.WAIT_S0S1, State.WAIT_S2):
            await self.flush()
            await self._receive()
            if self._protocol.next_event() is Signal.CLOSED:
                raise trio.BrokenResourceError("closed during the handshake")

    async def next_event(self) -> Event | None:
        """Return the next event, reading from the peer as needed; None after its end.

        Raises, Cancellation: As `relay`.
        """
        return await self.relay(_take_nothing)

    async def relay(self, take: Take) -> Event | None:
        """Give events to `take` for as long as it takes them; return the first that it does not.

        Args:
            take: Called for every event, within at most `EVENTS_PER_SLICE` calls from one
                checkpoint to the next.

        Returns:
            The event that `take` left, or None after the peer's end.

        Raises:
            rtmpcore.RemoteProtocolError: The peer broke the protocol; the reply, if there is one,
                was sent as far as the peer would take it.
            trio.BrokenResourceError: The transport broke.
            trio.TooSlowError: The peer did not take its replies in time.
            Exception: Whatever `take` raised.

        Cancellation: safe between events; inside a flush the connection is finished.
        """
        try:
            event = self._pull(take)
            while True:
                if event is None or event is Signal.PAUSE:
                    await self.flush()
                    await trio.lowlevel.checkpoint()
                    event = self._pull(take)
                elif event is Signal.NEED_DATA:
                    await self.flush()
                    event = await self._wait_and_pull(take)
                elif event is Signal.CLOSED:
                    return None
                else:
                    return event
        except RemoteProtocolError:
            await self._flush_last_words()
            raise

    def _pull(self, take: Take) -> Event | Signal | None:
        """Go through the events that are there; None when the slice is over before they are."""
        next_event = self._protocol.next_event
        ends_s = trio.current_time() + SLICE_S
        for _ in range(EVENTS_PER_SLICE // EVENTS_PER_LOOK):
            for _ in range(EVENTS_PER_LOOK):
                event = next_event()
                if isinstance(event, Signal) or not take(event):
                    return event
            if trio.current_time() >= ends_s:
                break
        return None

    async def _wait_and_pull(self, take: Take) -> Event | Signal | None:
        source = self._source
        if self._pump is None or source is None:
            await self._receive()
            return self._pull(take)
        if source.holds_back and (held := source.read_nowait()) is not None:
            await trio.lowlevel.checkpoint()
            self._receive_data(held)
            return self._pull(take)

        def take_data(data: bytes) -> bool:
            self._receive_data(data)
            self._pulled = self._pull(take)
            self._unsent = self._protocol.data_to_send()
            return self._pulled is Signal.NEED_DATA and not self._unsent

        # The pump's task calls it, and what is logged then is of this connection all the same.
        context = copy_context()
        await self._pump.attend(source, lambda data: context.run(take_data, data))
        pulled, self._pulled = self._pulled, None
        return pulled

    async def send(self, event: Event) -> None:
        """Queue one event and put everything queued on the wire.

        Raises:
            rtmpcore.LocalProtocolError: The event is not legal now; nothing was queued.
            trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError: As `flush`.
        """
        self._protocol.send(event)
        await self.flush()

    async def flush(self) -> None:
        """Send everything that the protocol has queued; the only place that writes.

        Not a checkpoint when nothing is queued, which is nearly always: it runs once a read.

        Raises:
            trio.BrokenResourceError, trio.ClosedResourceError: The transport is gone.
            trio.TooSlowError: The peer took longer than the send time-out to read.
        """
        try:
            self._send_lock.acquire_nowait()
        except trio.WouldBlock:
            await self._send_lock.acquire()
        try:
            unsent, self._unsent = self._unsent, b""
            data = unsent + self._protocol.data_to_send()
            if data:
                await self._send(data)
        finally:
            self._send_lock.release()

    def _receive_data(self, data: bytes) -> None:
        self.heard_s = trio.current_time()
        self._protocol.receive_data(data)

    async def _receive(self) -> None:
        # b"" is the peer's end, for the stream and for the protocol. Trio's streams give bytes;
        # their interface says bytearray too, so `bytes` is there for mypy and copies nothing.
        self._receive_data(bytes(await self._stream.receive_some(RECEIVE_BYTES)))

    async def _send(self, data: bytes) -> None:
        try:
            with trio.fail_after(self._send_timeout_s):
                await self._stream.send_all(data)
        except BaseException:  # Cancelled too: an unknown part of it was sent
            self._protocol.send_failed()
            raise

    async def refuse(self, event: Event) -> None:
        """Send a refusal so that the peer can read it, then close.

        Half-closes and discards what the peer had under way, for at most `CLOSE_TIMEOUT_S` and
        `CLOSE_DRAIN_BYTES`: closing with unread input would reset the connection and take the
        refusal with it.
        """
        self._protocol.send(event)
        await self._flush_last_words()
        with trio.move_on_after(CLOSE_TIMEOUT_S):
            await self._linger()
        await trio.aclose_forcefully(self._stream)

    async def close(self) -> None:
        """Close the transport without another word."""
        await trio.aclose_forcefully(self._stream)

    async def _flush_last_words(self) -> None:
        """Flush, forgiving a peer that no longer takes anything: there is worse news on its way."""
        try:
            with trio.move_on_after(CLOSE_TIMEOUT_S):
                await self.flush()
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass

    async def _linger(self) -> None:
        try:
            if isinstance(self._stream, trio.abc.HalfCloseableStream):  # trio.SSLStream is not
                await self._stream.send_eof()
            left = CLOSE_DRAIN_BYTES
            while left > 0 and (data := await self._stream.receive_some(RECEIVE_BYTES)):
                left -= len(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass


def _take_nothing(_event: Event) -> bool:
    return False
