"""Read the sockets of all publishers in one task, because waking a task costs more than its work.

A media message takes some 6 us from bytes to stored sample; waking a Trio task for it, trying the
socket, waiting and trying again took 40 to 70 us, 77 times a second for each publisher. So whoever
waits for bytes leaves its socket here: one task waits for one selector, reads what is ready and
calls each owner synchronously, then pauses for `PAUSE_S`, so that a crowd of publishers is served
in few and full rounds. An owner's task sleeps on until there is something that only a task can do.

Not here: what the bytes mean, and how they are read (`origin.rtmp.transport`: in clear or through
TLS). The pump never parses, sends or closes.

Invariants: an owner is called only while its task waits in `Pump.attend`, thus never beside it; an
exception of an owner is that owner's; a round yields to other tasks every `TURN_S`.

May import trio.
"""

import selectors
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

import trio

PAUSE_S: Final = 0.005
"""Between two rounds: the most by which a message is late for the sake of the others."""

TURN_S: Final = 0.003
"""Work between two checkpoints."""

READ_BYTES: Final = 65_536
"""As `origin.rtmp.driver.RECEIVE_BYTES`: what one read can put on our heap."""

ROUND_BYTES: Final = 4 * READ_BYTES
"""Read of one source in a round: 400 Mbit/s for one publisher, and no more for a flood."""


class Source(Protocol):
    """What the pump reads."""

    @property
    def descriptor(self) -> int:
        """Readable when bytes come; open while the pump has it."""
        ...

    @property
    def holds_back(self) -> bool:
        """Whether it may hold bytes that its descriptor does not show any more."""
        ...

    def read_nowait(self) -> bytes | None:
        """Read at most `READ_BYTES`, ``b""`` at the end; None if nothing is there.

        Raises:
            trio.BrokenResourceError: The connection broke.
        """
        ...


Take = Callable[[bytes], bool]
"""Takes what was read, ``b""`` at the end; False wakes the task that waits in `Pump.attend`."""


@dataclass(slots=True, eq=False)
class _Guest:
    """A source, its owner, and what became of it."""

    source: Source
    descriptor: int
    take: Take
    woken: trio.Event = field(default_factory=trio.Event)
    error: Exception | None = None


class Pump:
    """One selector for any number of sources. `run` must run in the nursery that owns them."""

    def __init__(self) -> None:
        self._selector = selectors.DefaultSelector()

    async def run(self) -> None:
        """Read for everybody, until cancelled."""
        selector_descriptor: int = self._selector.fileno()
        try:
            while True:
                await trio.lowlevel.wait_readable(selector_descriptor)
                await self._serve_round()
                await trio.sleep(PAUSE_S)
        finally:
            for key in list(self._selector.get_map().values()):
                key.data.woken.set()  # their tasks are cancelled with this one, in any order
            self._selector.close()

    async def attend(self, source: Source, take: Take) -> None:
        """Read a source and give what comes to `take`, until it returns False.

        One that holds back must have nothing when this is called: its descriptor would not tell.
        It is given up, too, when it may hold more than its share of a round; then its owner reads
        on by itself, and comes back.

        Args:
            source: Nobody else may read it meanwhile.
            take: Called synchronously by another task; must not block.

        Raises:
            trio.BrokenResourceError: The connection broke.
            Exception: Whatever `take` raised.

        Cancellation: safe; nothing that was read is lost, for `take` has it.
        """
        guest = _Guest(source, source.descriptor, take)
        self._selector.register(guest.descriptor, selectors.EVENT_READ, guest)
        try:
            await guest.woken.wait()
        finally:
            self._dismiss(guest)
        if guest.error is not None:
            raise guest.error

    async def _serve_round(self) -> None:
        turn_ends_s = trio.current_time() + TURN_S
        for key, _ in self._selector.select(0):
            guest: _Guest = key.data
            if guest.woken.is_set():
                continue  # cancelled while we yielded; its descriptor may be another's by now
            try:
                going_on = _read(guest, turn_ends_s)
            except Exception as error:
                guest.error = error
                going_on = False
            if not going_on:
                self._dismiss(guest)
            if trio.current_time() >= turn_ends_s:
                await trio.lowlevel.checkpoint()
                turn_ends_s = trio.current_time() + TURN_S

    def _dismiss(self, guest: _Guest) -> None:
        """Stop reading for a guest, and wake its task. Idempotent."""
        if not guest.woken.is_set():
            self._selector.unregister(guest.descriptor)
            guest.woken.set()


def _read(guest: _Guest, turn_ends_s: float) -> bool:
    """Read for a guest, at most its share of the round; say whether to go on with the next one."""
    source = guest.source
    left_bytes = ROUND_BYTES
    while left_bytes > 0:
        data = source.read_nowait()
        if data is None:
            return True
        if not guest.take(data):
            return False
        left_bytes -= len(data)
        if len(data) < READ_BYTES and not source.holds_back:
            return True  # that was all
        if trio.current_time() >= turn_ends_s:
            break
    return not source.holds_back  # the selector will say when a socket's turn has come again
