"""A crowd that is pumped, and members of it over pairs of sockets: what tests of chat stand on."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio
import trio.testing
from ws_frames import ServerFrame, read_frames

from edge.chat.crowd import Crowd, CrowdSettings

PATIENCE_S = 20.0
"""For anything that a test waits for."""


class Ear:
    """A listener that remembers, and answers what it hears if `echoes_in` says with which crowd."""

    def __init__(self, echoes_in: Crowd | None = None) -> None:
        self.tags: list[int] = []
        self.texts: list[str] = []
        self.reasons: list[str] = []
        self.is_gone = trio.Event()
        self._crowd = echoes_in

    def attached(self, tag: int) -> None:
        self.tags.append(tag)

    def heard(self, text: str) -> None:
        assert self.tags
        assert not self.reasons
        self.texts.append(text)
        if self._crowd is not None:
            self._crowd.send(self.tags[0], text.encode())

    def gone(self, reason: str) -> None:
        self.reasons.append(reason)
        self.is_gone.set()


class Peer:
    """A client, which reads frames.

    Args:
        stream: Its end of the connection.
    """

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._held = b""
        self._frames: list[ServerFrame] = []

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        await self.stream.send_all(data)

    async def frames(self, count: int) -> list[ServerFrame]:
        """Read so many frames.

        Raises:
            EOFError: The server has ended before.
        """
        with trio.fail_after(PATIENCE_S):
            while len(self._frames) < count:
                data = await self.stream.receive_some()
                if not data:
                    raise EOFError(self._frames)
                self._take(data)
        got, self._frames = self._frames[:count], self._frames[count:]
        return got

    async def texts(self, count: int) -> list[bytes]:
        """Read so many frames, which are texts."""
        frames = await self.frames(count)
        assert {frame.opcode for frame in frames} <= {1}, frames
        return [frame.payload for frame in frames]

    async def to_end(self) -> list[ServerFrame]:
        """Read the frames that come until the server ends."""
        with trio.fail_after(PATIENCE_S):
            while data := await self.stream.receive_some():
                self._take(data)
        assert not self._held
        got, self._frames = self._frames, []
        return got

    def _take(self, data: bytes | bytearray) -> None:
        frames, self._held = read_frames(self._held + data)
        self._frames += frames


def socket_pair(*, buffer_bytes: int | None = None) -> tuple[trio.SocketStream, trio.SocketStream]:
    """Two connected streams, with small buffers if wanted."""
    ends = socket.socketpair()
    for end in ends:
        end.setblocking(False)
        if buffer_bytes is not None:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffer_bytes)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer_bytes)
    ours, theirs = (trio.SocketStream(trio.socket.from_stdlib_socket(end)) for end in ends)
    return ours, theirs


class CrowdRig:
    """A crowd and its members."""

    def __init__(self, crowd: Crowd, nursery: trio.Nursery) -> None:
        self.crowd = crowd
        self.nursery = nursery
        self.has_ended = False
        self._streams: list[trio.SocketStream] = []

    async def pump(self, *, task_status: trio.TaskStatus[None]) -> None:
        """Run the crowd, and say when it has ended."""
        await self.crowd.run(task_status=task_status)
        self.has_ended = True

    def join(
        self,
        room: int = 1,
        *,
        received: bytes = b"",
        greeting: bytes = b"",
        ear: Ear | None = None,
        buffer_bytes: int | None = None,
    ) -> tuple[Peer, Ear]:
        """Let somebody into a room."""
        ours, theirs = socket_pair(buffer_bytes=buffer_bytes)
        self._streams += ours, theirs
        ear = ear or Ear()
        self.crowd.adopt(ours, received, room=room, listener=ear, greeting=greeting)
        return Peer(theirs), ear

    def close(self) -> None:
        """Close what the test has left open."""
        for stream in self._streams:
            stream.socket.close()


@asynccontextmanager
async def crowd_rig(settings: CrowdSettings | None = None) -> AsyncIterator[CrowdRig]:
    """Pump a crowd until the block ends."""
    async with trio.open_nursery() as nursery:
        rig = CrowdRig(Crowd(settings), nursery)
        await nursery.start(rig.pump)
        try:
            yield rig
            nursery.cancel_scope.cancel()
        finally:
            rig.close()


async def settle() -> None:
    """Let everybody do what there is to do."""
    await trio.testing.wait_all_tasks_blocked()
