"""What members may cost, and who pays for whose faults: every bound of the crowd is reached here.

Over pairs of sockets. Where time matters it is Trio's mock clock; nothing sleeps but on that.
"""

import pytest
import structlog
import trio
import trio.testing
from byte_pieces import single
from crowd_rig import Ear, Peer, crowd_rig, settle, socket_pair
from ws_frames import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    ServerFrame,
    client_frame,
    text,
)

from edge.chat.crowd import (
    CrowdSettings,
    can_adopt,
)

EMPTY_FRAME_BYTES = 6

FAULTS = {
    "binary": (client_frame(BINARY, b"x"), 1003),
    "binary in fragments": (client_frame(BINARY, b"x", final=False), 1003),
    "too big": (client_frame(TEXT, length=4097), 1009),
    "no UTF-8": (client_frame(TEXT, b"\xff"), 1007),
    "not masked": (client_frame(TEXT, b"x", mask=None), 1002),
    "not masked and long": (client_frame(TEXT, b"x" * 200, mask=None), 1002),
    "nothing to continue": (client_frame(CONTINUATION, b"x"), 1002),
    "an end of one byte": (client_frame(CLOSE, b"x"), 1002),
    "too many bytes to ping": (client_frame(PING, b"x" * 126), 1002),
}


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("piecewise", [False, True])
async def test_a_fault_closes_with_its_code(fault: str, piecewise: bool) -> None:
    data, code = FAULTS[fault]
    async with crowd_rig() as rig:
        (peer, ear), (other, _) = rig.join(), rig.join()
        for piece in single(data) if piecewise else [data + text("not heard")]:
            await peer.send(piece)
            await settle()
        assert rig.crowd.broadcast(1, b"here?") == 1
        (last,) = await peer.to_end()
        assert last.code == code
        assert ear.texts == []
        assert (await other.texts(1)) == [b"here?"]
        await peer.stream.aclose()
        await settle()
        assert ear.reasons
        assert ear.reasons[0].startswith(f"closed with {code}: ")


async def test_the_largest_message_is_heard() -> None:
    async with crowd_rig(CrowdSettings(max_message_bytes=200)) as rig:
        peer, ear = rig.join()
        await peer.send(text("\N{EURO SIGN}" * 66 + "xx") + text("x" * 201))
        assert (await peer.to_end())[0].code == 1009
        assert ear.texts == ["\N{EURO SIGN}" * 66 + "xx"]


@pytest.mark.parametrize(
    "noise",
    [
        client_frame(PING),
        client_frame(PONG, b"x"),
        client_frame(TEXT, b"", final=False) + client_frame(CONTINUATION, b"", final=False),
    ],
)
async def test_noise_is_bounded(noise: bytes, autojump_clock: trio.testing.MockClock) -> None:
    bounds = CrowdSettings(noise_burst=10, noise_per_s=2, pong_timeout_s=60)
    async with crowd_rig(bounds) as rig:
        (peer, ear), (quiet, quiet_ear) = rig.join(), rig.join()
        once = noise[-EMPTY_FRAME_BYTES:] if noise[0] == TEXT else noise
        await peer.send(noise + once * (8 if noise[0] == TEXT else 9))
        await settle()
        assert rig.crowd.broadcast(1, b"here") == 2
        await trio.sleep(2)
        await peer.send(once * 4)
        await settle()
        assert rig.crowd.broadcast(1, b"here") == 2
        await peer.send(once)
        await settle()
        assert rig.crowd.broadcast(1, b"here") == 1
        assert (await peer.to_end())[-1].code == 4009
        await quiet.send(text("x") * 20)
        await settle()
        assert len(quiet_ear.texts) == 20, "messages are no noise"
        await peer.stream.aclose()
        await settle()
        assert ear.reasons == ["closed with 4009: too many frames"]


class Clumsy(Ear):
    """A listener with a bug."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self._where = where

    def attached(self, tag: int) -> None:
        super().attached(tag)
        self._stumble("attached")

    def heard(self, text: str) -> None:
        super().heard(text)
        self._stumble("heard")

    def gone(self, reason: str) -> None:
        super().gone(reason)
        self._stumble("gone")

    def _stumble(self, where: str) -> None:
        if where == self._where:
            raise ZeroDivisionError(where)


@pytest.mark.parametrize("where", ["attached", "heard", "gone"])
async def test_a_bug_of_a_listener_is_nobody_elses(where: str) -> None:
    with structlog.testing.capture_logs() as logs:
        async with crowd_rig() as rig:
            (peer, ear), (other, _) = rig.join(ear=Clumsy(where)), rig.join()
            await peer.send(text("x"))
            if where != "gone":
                assert (await peer.to_end())[-1].code == 1011
            await peer.stream.aclose()
            await settle()
            assert len(ear.reasons) == 1
            rig.crowd.broadcast(1, b"on")
            assert (await other.texts(1)) == [b"on"]
            assert len(rig.crowd) == 1
    assert [entry["event"] for entry in logs] == ["chat listener failed"]


async def test_no_more_than_there_may_be() -> None:
    async with crowd_rig(CrowdSettings(max_members=2)) as rig:
        rig.join()
        last, _ = rig.join()
        ours, theirs = socket_pair()
        ear = Ear()
        with pytest.raises(OverflowError):
            rig.crowd.adopt(ours, b"", room=1, listener=ear)
        await ours.send_all(b"still here")
        assert await theirs.receive_some() == b"still here"
        assert (ear.tags, ear.reasons) == ([], [])
        await last.stream.aclose()
        await settle()
        rig.crowd.adopt(ours, b"", room=1, listener=ear)
        assert ear.tags
        await theirs.aclose()
        await settle()


async def test_only_sockets_can_be_adopted() -> None:
    memory, _ = trio.testing.memory_stream_pair()
    async with crowd_rig() as rig:
        assert not can_adopt(memory)
        ear = Ear()
        with pytest.raises(TypeError):
            rig.crowd.adopt(memory, b"", room=1, listener=ear)
        assert len(rig.crowd) == 0
        assert (ear.tags, ear.reasons) == ([], [])


async def test_a_descriptor_that_cannot_be_watched_is_closed() -> None:
    async with crowd_rig() as rig:
        ours, theirs = socket_pair()
        with pytest.raises(ValueError):
            rig.crowd.adopt(ours, bytes(1 << 20), room=1, listener=Ear())
        assert await theirs.receive_some() == b""
        assert len(rig.crowd) == 0
        await theirs.aclose()


async def test_silence_is_asked_about_and_ends(autojump_clock: trio.testing.MockClock) -> None:
    bounds = CrowdSettings(ping_after_s=10, pong_timeout_s=5)
    async with crowd_rig(bounds) as rig:
        (peer, ear), (alive, alive_ear) = rig.join(), rig.join()
        assert await alive.frames(1) == [ServerFrame(PING, b"")]
        assert trio.current_time() == pytest.approx(10, abs=0.1)
        await alive.send(client_frame(PONG))
        assert await peer.to_end() == [ServerFrame(PING, b"")]
        assert trio.current_time() == pytest.approx(15, abs=0.1)
        await settle()
        assert (ear.reasons, alive_ear.reasons) == (["silent"], [])


async def test_who_lags_is_told_and_nobody_waits(autojump_clock: trio.testing.MockClock) -> None:
    bounds = CrowdSettings(queue_frames=8)
    async with crowd_rig(bounds) as rig:
        (slow, slow_ear), (quick, _) = rig.join(buffer_bytes=4096), rig.join()
        for number in range(100):
            rig.crowd.broadcast(1, b"%04d" % number + bytes(996))
            (payload,) = await quick.texts(1)
            assert payload[:4] == b"%04d" % number
        got = [frame.payload[:4] for frame in await read_until(slow, b'{"type":"lagged"}')]
        assert got == [b"%04d" % number for number in range(len(got))]
        assert len(got) < 100
        rig.crowd.broadcast(1, b"on")
        assert await slow.texts(1) == [b"on"]
        assert slow_ear.reasons == []


async def read_until(peer: Peer, payload: bytes) -> list[ServerFrame]:
    got: list[ServerFrame] = []
    while True:
        (frame,) = await peer.frames(1)
        if frame.payload == payload:
            return got
        got.append(frame)


async def test_who_lags_too_long_is_closed(autojump_clock: trio.testing.MockClock) -> None:
    bounds = CrowdSettings(queue_frames=8, lag_timeout_s=10)
    async with crowd_rig(bounds) as rig:
        _peer, ear = rig.join(buffer_bytes=4096)
        await settle()
        for _ in range(100):
            rig.crowd.broadcast(1, bytes(1000))
            await settle()
        began_s = trio.current_time()
        await ear.is_gone.wait()
        assert ear.reasons == ["slow"]
        assert trio.current_time() - began_s == pytest.approx(10, abs=0.1)
