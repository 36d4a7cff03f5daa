"""Connection, both roles: only `RemoteProtocolError` escapes, whatever comes after the handshake.

Further invariants: how the bytes are cut changes neither the events nor the error; after an error
the connection stays in ERROR and raises the same; what it queues is bounded.

Input: byte 0 chooses who speaks (even: a client to our server, odd: a server to our client, which
plays if bit 1 is set and publishes otherwise), byte 1 is the size of the pieces less one, the rest
is the peer's chunk stream. At most 8000 bytes are used: a feed may complete 8192 messages, and that
bound alone depends on how the bytes are cut.
"""

from collections.abc import Iterable

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
    RemoteProtocolError,
    Role,
    Signal,
    State,
    StreamCreated,
)

RANDOM = bytes(range(256)) * 12
HANDSHAKE = b"\x03" + bytes(1536) * 2
MAX_INPUT_BYTES = 8000
MAX_QUEUED_BYTES = 300_000
# The same before and after publish: what came in one piece with a publish was read by the bounds
# before it, so different bounds would let the cuts be seen.
LIMITS = Limits(
    max_message_bytes_publishing=65_536,
    max_buffered_bytes_publishing=262_144,
    max_chunk_streams_publishing=16,
)


def answer(connection: Connection, event: Event, plays: bool) -> None:
    """Say what a willing application would."""
    match event:
        case Connect():
            connection.send(ConnectAccepted())
        case Publish():
            connection.send(PublishStarted(stream_id=event.stream_id))
        case Play():
            connection.send(PlayStarted(stream_id=event.stream_id))
        case ConnectAccepted():
            connection.send(CreateStream(name="" if plays else "key"))
        case StreamCreated() if plays:
            connection.send(Play(stream_id=event.stream_id, name="key"))
        case StreamCreated():
            connection.send(Publish(stream_id=event.stream_id, name="key"))


def converse(role: Role, plays: bool, pieces: Iterable[bytes]) -> tuple[list[Event], str | None]:
    connection = Connection(role, random_bytes=RANDOM, limits=LIMITS)
    connection.receive_data(HANDSHAKE)
    assert connection.next_event() is Signal.NEED_DATA
    if role is Role.CLIENT:
        connection.send(Connect(app="live", tc_url="rtmp://host/live"))
    events: list[Event] = []
    for piece in pieces:
        connection.receive_data(piece)
        error = read(connection, events, plays)
        assert len(connection.data_to_send()) < MAX_QUEUED_BYTES
        if error is not None:
            assert connection.state is State.ERROR
            assert read(connection, [], plays) is error
            assert connection.data_to_send() == b""
            return events, str(error)
    connection.receive_data(b"")
    assert connection.next_event() is Signal.CLOSED
    return events, None


def read(connection: Connection, events: list[Event], plays: bool) -> RemoteProtocolError | None:
    """Take the events that there are; return what ended them, if it was the peer's fault."""
    try:
        while (event := connection.next_event()) not in (Signal.NEED_DATA, Signal.CLOSED):
            if isinstance(event, Signal):  # a pause
                continue
            events.append(event)
            answer(connection, event, plays)
    except RemoteProtocolError as error:
        return error
    return None


def test_one_input(data: bytes) -> None:
    if len(data) < 3:
        return
    role = Role.CLIENT if data[0] & 1 else Role.SERVER
    step, stream = data[1] + 1, data[2:MAX_INPUT_BYTES]
    plays = bool(data[0] & 2)
    whole = converse(role, plays, [stream])
    # Values may be NaN, which is not equal to itself; its repr is.
    cut = converse(role, plays, (stream[i : i + step] for i in range(0, len(stream), step)))
    assert repr(cut) == repr(whole)
