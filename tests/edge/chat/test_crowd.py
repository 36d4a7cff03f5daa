"""The crowd: what members send and are sent, how they come and go, and who pays for whose faults.

Over pairs of sockets. Where time matters it is Trio's mock clock; nothing sleeps.
"""

import os
from pathlib import Path

import pytest
import trio
import trio.testing
import wsproto.connection
import wsproto.events
from byte_pieces import single, split
from certificates import make_pair
from crowd_rig import PATIENCE_S, Ear, Peer, crowd_rig, settle, socket_pair
from hypothesis import given, settings
from hypothesis import strategies as st
from ws_frames import (
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    ServerFrame,
    client_frame,
    text,
)

import native
from edge.chat.crowd import (
    EVENTS_AT_ONCE,
    MAX_CLOSE_REASON_BYTES,
    CrowdSettings,
    can_adopt,
    close_frame,
    text_frame,
)
from native import FanoutCounters

if native.IMPLEMENTATION == "c":
    from edge.http.tls import make_native_context
    from edge.http.tls_stream import TlsStream
    from native import TlsSocket

needs_tls = pytest.mark.skipif(
    native.IMPLEMENTATION == "py", reason="HEADRACE_PURE=1: TLS is Python's ssl"
)

NORMAL_END = ServerFrame(CLOSE, b"\x03\xe8bye")


async def test_the_greeting_comes_first() -> None:
    class Talker(Ear):
        def attached(self, tag: int) -> None:
            super().attached(tag)
            rig.crowd.send(tag, b"attached")
            rig.crowd.broadcast(1, b"somebody came")

    async with crowd_rig() as rig:
        peer, ear = rig.join(greeting=b"welcome", ear=Talker())
        rig.crowd.broadcast(1, b"talk")
        assert len(ear.tags) == 1
        assert len(rig.crowd) == 1
        expected = [b"welcome", b"attached", b"somebody came", b"talk"]
        assert await peer.texts(4) == expected


async def test_nobody_is_greeted_with_nothing() -> None:
    async with crowd_rig() as rig:
        peer, ear = rig.join()
        assert rig.crowd.send(ear.tags[0], b"first")
        assert await peer.texts(1) == [b"first"]


@pytest.mark.parametrize("at", [0, 1, 5, 11])
async def test_what_was_read_before_is_heard(at: int) -> None:
    data = text("hello")
    async with crowd_rig() as rig:
        peer, ear = rig.join(received=data[:at])
        await settle()
        await peer.send(data[at:] + text("again"))
        await settle()
        assert ear.texts == ["hello", "again"]


TALK = b"".join(
    (
        text("one"),
        client_frame(TEXT, b"tw", final=False),
        client_frame(PING, b"in between"),
        client_frame(CONTINUATION, b"", final=False),
        client_frame(PONG, b"unasked"),
        client_frame(CONTINUATION, b"o"),
        text("drei \N{EURO SIGN}"),
        client_frame(TEXT, b""),
        client_frame(PING),
    )
)
HEARD = ["one", "two", "drei \N{EURO SIGN}", ""]
PONGS = [ServerFrame(PONG, b"in between"), ServerFrame(PONG, b"")]


async def hear_talk(pieces: list[bytes]) -> None:
    async with crowd_rig() as rig:
        peer, ear = rig.join()
        for piece in pieces:
            await peer.send(piece)
            await settle()
        assert ear.texts == HEARD
        assert await peer.frames(2) == PONGS


async def test_messages_are_heard_and_pings_answered() -> None:
    await hear_talk([TALK])


async def test_byte_by_byte() -> None:
    await hear_talk(single(TALK))


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(0, 200), max_size=8))
def test_in_any_pieces(cuts: list[int]) -> None:
    trio.run(hear_talk, split(TALK, cuts))


async def test_half_a_frame_is_no_answer_to_a_ping() -> None:
    """The fan-out swallows pongs without Python; within a frame the same bytes are a message."""
    mask = bytes((0x8A ^ ord("A"), 0x80 ^ ord("A"), 0, 0))
    message = client_frame(TEXT, b"AAAAAA", mask=mask)
    assert message[6:8] == b"\x8a\x80"
    async with crowd_rig() as rig:
        peer, ear = rig.join()
        await peer.send(message[:6])
        await settle()
        await peer.send(message[6:])
        await settle()
        assert ear.texts == ["AAAAAA"]
        await peer.send(client_frame(PONG) + text("later"))
        await settle()
        assert ear.texts == ["AAAAAA", "later"]


async def test_between_fragments_an_answer_to_a_ping_is_one() -> None:
    async with crowd_rig() as rig:
        peer, ear = rig.join()
        for piece in (
            client_frame(TEXT, b"a", final=False),
            client_frame(PONG),
            client_frame(CONTINUATION, b"b"),
        ):
            await peer.send(piece)
            await settle()
        assert ear.texts == ["ab"]


async def test_a_room_is_sent_what_is_for_it() -> None:
    async with crowd_rig() as rig:
        (first, first_ear), (second, _), (other, _) = rig.join(1), rig.join(1), rig.join(2)
        await settle()
        assert rig.crowd.broadcast(1, b"all") == 2
        assert rig.crowd.broadcast(2, b"other") == 1
        assert rig.crowd.broadcast(3, b"nobody") == 0
        assert rig.crowd.send(first_ear.tags[0], b"one")
        assert await first.texts(2) == [b"all", b"one"]
        assert await second.texts(1) == [b"all"]
        assert await other.texts(1) == [b"other"]
        counters = rig.crowd.counters
        assert isinstance(counters, FanoutCounters)
        assert (counters.members, counters.delivered) == (3, 4)


async def test_a_listener_may_answer_at_once() -> None:
    async with crowd_rig() as rig:
        peer, _ = rig.join(ear=Ear(rig.crowd))
        await peer.send(text("echo") + text("again"))
        assert await peer.texts(2) == [b"echo", b"again"]


async def test_tags_are_not_used_again() -> None:
    async with crowd_rig() as rig:
        tags = []
        for _ in range(3):
            peer, ear = rig.join()
            tags += ear.tags
            await peer.stream.aclose()
            await settle()
        assert len(set(tags)) == 3


async def test_who_is_closed_gets_what_is_queued_and_the_reason() -> None:
    async with crowd_rig() as rig:
        peer, ear = rig.join()
        rig.crowd.broadcast(1, b"banned")
        rig.crowd.close(ear.tags[0], 4003, "banned")
        rig.crowd.close(ear.tags[0], 1000, "too late")
        assert not rig.crowd.send(ear.tags[0], b"too late")
        await peer.send(text("not heard"))
        assert await peer.to_end() == [
            ServerFrame(TEXT, b"banned"),
            ServerFrame(CLOSE, b"\x0f\xa3banned"),
        ]
        assert ear.reasons == []
        await peer.stream.aclose()
        await settle()
        assert ear.reasons == ["closed with 4003: banned"]
        assert ear.texts == []
        assert len(rig.crowd) == 0
        rig.crowd.close(ear.tags[0], 1000, "gone already")


async def test_nothing_is_heard_behind_the_message_that_closes() -> None:
    class Once(Ear):
        def heard(self, text: str) -> None:
            super().heard(text)
            rig.crowd.close(self.tags[0], 4009, "enough")

    async with crowd_rig() as rig:
        peer, ear = rig.join(ear=Once())
        await peer.send(text("one") + text("two"))
        assert await peer.to_end() == [ServerFrame(CLOSE, b"\x0f\xa9enough")]
        assert ear.texts == ["one"]


async def test_who_does_not_go_is_cut(autojump_clock: trio.testing.MockClock) -> None:
    async with crowd_rig(CrowdSettings(linger_timeout_s=3)) as rig:
        peer, ear = rig.join()
        rig.crowd.close(ear.tags[0], 1000, "bye")
        assert await peer.to_end() == [NORMAL_END]
        began_s = trio.current_time()
        await ear.is_gone.wait()
        assert trio.current_time() - began_s == pytest.approx(3, abs=0.1)


@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe9going", b"\x0f\xa0mine"])
async def test_a_close_is_answered_in_kind(payload: bytes) -> None:
    async with crowd_rig() as rig:
        peer, ear = rig.join()
        await peer.send(text("last") + client_frame(CLOSE, payload) + text("not heard"))
        assert await peer.to_end() == [ServerFrame(CLOSE, payload)]
        await peer.stream.aclose()
        await settle()
        assert ear.texts == ["last"]
        code = int.from_bytes(payload[:2], "big") or 1005
        assert ear.reasons == [f"closed by the peer with {code}"]


async def test_who_just_leaves_is_gone() -> None:
    async with crowd_rig() as rig:
        (peer, ear), (_, other) = rig.join(), rig.join()
        await peer.send(text("last"))
        await peer.stream.aclose()
        await settle()
        assert ear.texts == ["last"]
        assert ear.reasons == ["left"]
        assert other.reasons == []
        assert not rig.crowd.send(ear.tags[0], b"too late")


@needs_tls
async def test_members_over_tls(tmp_path: Path) -> None:
    pair = make_pair()
    context = make_native_context(*pair.write(tmp_path))
    ours, theirs = socket_pair()
    tls = TlsStream(TlsSocket(context, ours.socket.detach()))
    client = trio.SSLStream(theirs, pair.client("http/1.1"), server_hostname="localhost")
    with trio.fail_after(PATIENCE_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(client.do_handshake)
            await tls.do_handshake()
        async with crowd_rig() as rig:
            assert can_adopt(tls)
            ear, peer = Ear(rig.crowd), Peer(client)
            rig.crowd.adopt(tls, text("early"), room=1, listener=ear, greeting=b"welcome")
            assert await peer.texts(2) == [b"welcome", b"early"]
            await peer.send(text("secret"))
            assert await peer.texts(1) == [b"secret"]
            rig.crowd.close(ear.tags[0], 1000, "bye")
            assert await peer.to_end() == [NORMAL_END]
            await theirs.aclose()
            await ear.is_gone.wait()


@needs_tls
async def test_tls_that_cannot_be_watched_is_closed(tmp_path: Path) -> None:
    context = make_native_context(*make_pair().write(tmp_path))
    ours, theirs = socket_pair()
    async with crowd_rig() as rig:
        tls = TlsStream(TlsSocket(context, ours.socket.detach()))
        with pytest.raises(ValueError):
            rig.crowd.adopt(tls, bytes(1 << 20), room=1, listener=Ear())
        assert await theirs.receive_some() == b""
        await theirs.aclose()


async def test_draining_closes_everybody_and_ends() -> None:
    async with crowd_rig() as rig:
        members = [rig.join(room) for room in (1, 1, 2)]
        rig.crowd.drain()
        ours, theirs = socket_pair()
        with pytest.raises(OverflowError):
            rig.crowd.adopt(ours, b"", room=1, listener=Ear())
        await ours.aclose()
        await theirs.aclose()
        for peer, _ in members:
            assert [frame.code for frame in await peer.to_end()] == [1001]
            await peer.stream.aclose()
        with trio.fail_after(5):
            while not rig.has_ended:
                await trio.lowlevel.checkpoint()
        assert all(
            ear.reasons == ["closed with 1001: the server is stopping"] for _, ear in members
        )


async def test_draining_nobody_ends_at_once() -> None:
    async with crowd_rig() as rig:
        await settle()
        rig.crowd.drain()
        await settle()
        assert rig.has_ended


async def test_cancelling_cuts_everybody_and_tells() -> None:
    class Farewell(Ear):
        def gone(self, reason: str) -> None:
            super().gone(reason)
            sent.append(rig.crowd.send(self.tags[0], b"x"))
            sent.append(rig.crowd.broadcast(1, b"x"))
            rig.crowd.close(self.tags[0], 1000, "x")

    sent: list[object] = []
    async with crowd_rig() as rig:
        members = [rig.join(ear=Farewell()) for _ in range(3)]
        rig.crowd.close(members[0][1].tags[0], 1000, "bye")
    assert [ear.reasons for _, ear in members] == [["closed with 1000: bye"], ["cut"], ["cut"]]
    assert sent == [False, 0] * 3
    ours, theirs = socket_pair()
    async with ours, theirs:
        with pytest.raises(OverflowError):
            rig.crowd.adopt(ours, b"", room=1, listener=Ear())


def write(peer: Peer, data: bytes) -> None:
    assert isinstance(peer.stream, trio.SocketStream)
    assert os.write(peer.stream.socket.fileno(), data) == len(data)


async def test_who_was_closed_in_the_same_step_is_not_heard() -> None:
    class Bouncer(Ear):
        def heard(self, text: str) -> None:
            super().heard(text)
            rig.crowd.close(ears[1 - ears.index(self)].tags[0], 4003, "banned")

    async with crowd_rig() as rig:
        ears = [Bouncer(), Bouncer()]
        peers = [rig.join(ear=ear)[0] for ear in ears]
        for peer in peers:
            write(peer, text("you first"))
        await settle()
        assert sorted(ear.texts for ear in ears) == [[], ["you first"]]


async def test_many_may_talk_at_once() -> None:
    async with crowd_rig() as rig:
        members = [rig.join() for _ in range(2 * EVENTS_AT_ONCE + 3)]
        for number, (peer, _) in enumerate(members):
            write(peer, text(str(number)))  # before the crowd has its turn
        await settle()
        assert [ear.texts for _, ear in members] == [[str(n)] for n in range(len(members))]


def read_as_client(data: bytes) -> list[wsproto.events.Event]:
    client = wsproto.connection.Connection(wsproto.connection.CLIENT)
    client.receive_data(data)
    return list(client.events())


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535, 65_536, 100_000])
def test_texts_are_framed_as_clients_expect(size: int) -> None:
    (event,) = read_as_client(text_frame(b"x" * size))
    assert event == wsproto.events.TextMessage(data="x" * size)


@given(code=st.integers(3000, 4999), reason=st.text(max_size=200))
def test_closes_are_framed_as_clients_expect(code: int, reason: str) -> None:
    (event,) = read_as_client(close_frame(code, reason))
    assert isinstance(event, wsproto.events.CloseConnection)
    assert event.code == code
    assert reason.startswith(event.reason or "")
    assert len(reason.encode()) - len((event.reason or "").encode()) <= max(
        0, len(reason.encode()) - MAX_CLOSE_REASON_BYTES + 3
    )
