"""The driver alone: one flush path, in order, and finished after any failed write."""

import time

import pytest
import rtmp_publishers as wire
import trio
from trio.testing import MockClock, lockstep_stream_pair, memory_stream_pair

from origin.rtmp.driver import EVENTS_PER_LOOK, EVENTS_PER_SLICE, SLICE_S, RtmpDriver
from rtmpcore import (
    Connect,
    ConnectAccepted,
    Connection,
    Event,
    LocalProtocolError,
    Publish,
    PublishRefusal,
    PublishRefused,
    PublishStarted,
    RemoteProtocolError,
    Role,
    State,
)


def make_driver(
    stream: trio.abc.HalfCloseableStream, role: Role = Role.SERVER
) -> tuple[RtmpDriver, Connection]:
    protocol = Connection(role, random_bytes=bytes(3072))
    return RtmpDriver(stream, protocol, send_timeout_s=5), protocol


async def test_replies_are_on_the_wire_before_the_next_read() -> None:
    peer, served = memory_stream_pair()
    driver, _ = make_driver(served)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.next_event)
        await peer.send_all(wire.C0_C1)
        assert len(await peer.receive_some()) == 1 + 2 * 1536
        nursery.cancel_scope.cancel()


async def test_events_come_one_by_one_and_the_end_is_none() -> None:
    peer, served = memory_stream_pair()
    driver, protocol = make_driver(served)
    await peer.send_all(wire.opening("key"))
    await peer.send_eof()
    assert isinstance(await driver.next_event(), Connect)
    await driver.send(ConnectAccepted())
    while not isinstance(event := await driver.next_event(), Publish):
        assert event is not None
    await driver.send(PublishStarted(stream_id=event.stream_id))
    assert wire.PUBLISH_START in await peer.receive_some()
    assert await driver.next_event() is None
    assert await driver.next_event() is None
    assert driver.bytes_received == protocol.bytes_received == len(wire.opening("key"))


async def test_what_the_peer_broke_is_raised() -> None:
    peer, served = memory_stream_pair()
    driver, _ = make_driver(served)
    await peer.send_all(b"GET / HTTP/1.1\r\n\r\n")
    with pytest.raises(RemoteProtocolError):
        await driver.next_event()
    with pytest.raises(RemoteProtocolError):
        await driver.next_event()


async def test_a_cancelled_write_finishes_the_connection() -> None:
    """An unknown part of it was sent: nothing may follow."""
    peer, served = lockstep_stream_pair()
    driver, protocol = make_driver(served)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(driver.next_event)
        await peer.send_all(wire.C0_C1)
        await trio.testing.wait_all_tasks_blocked()  # the reply waits for us to read
        nursery.cancel_scope.cancel()
    assert protocol.data_to_send() == b""
    assert await driver.next_event() is None


async def test_a_write_that_takes_too_long_finishes_the_connection(
    autojump_clock: MockClock,
) -> None:
    peer, served = lockstep_stream_pair()
    driver, protocol = make_driver(served)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(peer.send_all, wire.C0_C1)
        with pytest.raises(trio.TooSlowError):
            await driver.next_event()
    assert trio.current_time() == 5
    with pytest.raises(LocalProtocolError):
        protocol.send(ConnectAccepted())


async def test_writers_take_turns_and_bytes_keep_their_order() -> None:
    peer, served = lockstep_stream_pair()
    driver, protocol = make_driver(served, Role.CLIENT)
    greeting = 1 + 1536
    received = b""
    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(driver.flush)
        while len(received) < greeting:
            received += await peer.receive_some(100)
    assert len(received) == greeting
    assert protocol.data_to_send() == b""


async def test_a_handshake_brings_the_client_to_where_it_may_connect() -> None:
    ours, theirs = memory_stream_pair()
    client, protocol = make_driver(ours, Role.CLIENT)
    server, _ = make_driver(theirs)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(server.next_event)
        await client.shake_hands()
        assert protocol.state is State.WAIT_CONNECT
        nursery.cancel_scope.cancel()


async def test_a_server_that_hangs_up_during_the_handshake_is_a_broken_transport() -> None:
    ours, theirs = memory_stream_pair()
    client, _ = make_driver(ours, Role.CLIENT)
    await theirs.aclose()
    with pytest.raises(trio.BrokenResourceError):
        await client.shake_hands()


async def publish_of(peer: trio.abc.SendStream, driver: RtmpDriver) -> Publish:
    """Let a peer open its publication, up to the publish that waits for its answer."""
    await peer.send_all(wire.opening("key"))
    while not isinstance(event := await driver.next_event(), Publish):
        if isinstance(event, Connect):
            await driver.send(ConnectAccepted())
    return event


async def test_a_refusal_reaches_a_peer_that_is_still_sending() -> None:
    peer, served = memory_stream_pair()
    driver, _ = make_driver(served)
    event = await publish_of(peer, driver)
    await peer.send_all(wire.video(bytes(10_000)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(
            driver.refuse,
            PublishRefused(
                stream_id=event.stream_id, code=PublishRefusal.BAD_NAME, description="no"
            ),
        )
        received = b""
        while data := await peer.receive_some():
            received += data
        assert wire.BAD_NAME in received
        await peer.aclose()
    with pytest.raises(trio.ClosedResourceError):
        await served.receive_some()


async def test_a_refusal_survives_a_peer_that_is_gone() -> None:
    peer, served = memory_stream_pair()
    driver, _ = make_driver(served)
    event = await publish_of(peer, driver)
    await peer.aclose()
    await driver.refuse(
        PublishRefused(stream_id=event.stream_id, code=PublishRefusal.BAD_NAME, description="no")
    )
    with pytest.raises(trio.ClosedResourceError):
        await served.receive_some()


async def start_publishing(driver: RtmpDriver, peer: trio.abc.HalfCloseableStream) -> None:
    event = await publish_of(peer, driver)
    await driver.send(PublishStarted(stream_id=event.stream_id))


class Clockwork:
    """Counts how often other tasks had a turn."""

    def __init__(self) -> None:
        self.turns = 0

    async def run(self) -> None:
        while True:
            await trio.lowlevel.checkpoint()
            self.turns += 1


async def test_a_burst_of_idle_talk_leaves_others_their_turns(nursery: trio.Nursery) -> None:
    """An accepted publisher's 64 KiB of small AMF held everybody for a third of a second."""
    peer, served = memory_stream_pair()
    driver, _ = make_driver(served)
    await start_publishing(driver, peer)
    others = Clockwork()
    nursery.start_soon(others.run)
    await peer.send_all(wire.message(18, b"\x05", stream_id=1) * 800)
    await peer.send_eof()
    assert await driver.next_event() is None
    assert others.turns >= 40
    nursery.cancel_scope.cancel()


async def test_dear_events_leave_others_their_turns(nursery: trio.Nursery) -> None:
    peer, served = memory_stream_pair()
    driver, _ = make_driver(served)
    await start_publishing(driver, peer)
    others = Clockwork()
    turns: list[int] = []

    def take(_event: Event) -> bool:
        time.sleep(SLICE_S)
        turns.append(others.turns)
        return True

    nursery.start_soon(others.run)
    await peer.send_all(wire.video(b"\x17") * EVENTS_PER_SLICE)
    await peer.send_eof()
    assert await driver.relay(take) is None
    assert len(turns) == EVENTS_PER_SLICE
    # Tasks run in any order, so two slices may fall between two turns of another.
    assert len(set(turns)) >= EVENTS_PER_SLICE // EVENTS_PER_LOOK // 2
    nursery.cancel_scope.cancel()
