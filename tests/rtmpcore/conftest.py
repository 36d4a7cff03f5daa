"""A server and a client joined back to back, and a server alone at any point of a session."""

from collections.abc import Callable

import pytest

from rtmpcore import (
    Connect,
    ConnectAccepted,
    Connection,
    CreateStream,
    Event,
    Limits,
    Play,
    PlayStarted,
    Publish,
    PublishStarted,
    Role,
    Signal,
    StreamCreated,
)

RANDOM = bytes(range(256)) * 12

CONNECT = Connect(
    app="live",
    tc_url="rtmp://host/live",
    flash_version="test",
    properties={"type": "nonprivate"},
)
PUBLISH = Publish(stream_id=1, name="live_key")
PLAY = Play(stream_id=1, name="monitor", query="token=abc")
STARTED = PublishStarted(stream_id=1, description="go")


def drain(connection: Connection) -> list[Event]:
    """Pull events until there is none."""
    events = []
    while (event := connection.next_event()) not in (Signal.NEED_DATA, Signal.CLOSED):
        if isinstance(event, Signal):  # a pause
            continue
        events.append(event)
    return events


class ConnectionPair:
    """A server and a client whose bytes reach each other, by default whole."""

    CONNECT = CONNECT
    PUBLISH = PUBLISH
    PLAY = PLAY
    drain = staticmethod(drain)

    def __init__(self, limits: Limits | None = None) -> None:
        limits = limits or Limits()
        self.server = Connection(Role.SERVER, random_bytes=RANDOM, limits=limits)
        self.client = Connection(Role.CLIENT, random_bytes=RANDOM, limits=limits)
        self.piece_bytes = 1 << 30
        assert self.exchange() == []

    def exchange(self) -> list[Event]:
        """Carry bytes both ways until both are silent; return all events, in order."""
        events = []
        silent = 0
        ends = (self.client, self.server)
        while silent < 2:
            data = ends[0].data_to_send()
            silent = 0 if data else silent + 1
            for start in range(0, len(data), self.piece_bytes):
                ends[1].receive_data(data[start : start + self.piece_bytes])
                events += drain(ends[1])
            ends = (ends[1], ends[0])
        return events

    def send(self, sender: Connection, event: Event, expect: list[Event] | None = None) -> None:
        """Send an event; by default what went in comes out at the other end, and nothing else."""
        sender.send(event)
        assert self.exchange() == ([event] if expect is None else expect)

    def connect(self) -> None:
        """Go to IDLE."""
        self.send(self.client, CONNECT)
        self.send(self.server, ConnectAccepted())

    def publish(self) -> None:
        """Go on to PUBLISHING on message stream 1."""
        self.connect()
        self.send(self.client, CreateStream(name="live_key"), [StreamCreated(stream_id=1)])
        self.send(self.client, PUBLISH)
        self.send(self.server, STARTED)

    def ask_to_play(self) -> None:
        """Go on to WAIT_PLAY_ANSWER on message stream 1."""
        self.connect()
        self.send(self.client, CreateStream(), [StreamCreated(stream_id=1)])
        self.send(self.client, PLAY)

    def play(self) -> None:
        """Go on to PLAYING on message stream 1."""
        self.ask_to_play()
        self.send(self.server, PlayStarted(stream_id=1, description="go"))


@pytest.fixture
def pair() -> ConnectionPair:
    """A pair after the handshake."""
    return ConnectionPair()


@pytest.fixture(scope="session")
def make_pair() -> Callable[..., ConnectionPair]:
    """Make pairs, of other limits too."""
    return ConnectionPair
