"""Clients that mean no good, many at once in a process of their own.

    python hostile_viewers.py PORT KIND=COUNT...

`idle` asks once and then keeps its connection; `head` and `body` send a byte of theirs every
second and never end; `reader` asks for much, reads nothing, and sends a byte now and then to learn
when it is cut; `flood` pipelines requests without end, and connects again when it is thrown out.
They come in the order of the kinds. It prints "ready" when all have begun, and when its input ends,
one line of JSON: for each kind how many connections the server has ended.

Shares no code with what it attacks.
"""

import json
import sys
from collections import Counter

import trio

ROOT = b"/api/streams/s/source/"
ASK_SMALL = b"GET " + ROOT + b"playlist.m3u8 HTTP/1.1\r\nHost: x\r\n\r\n"
ASK_LARGE = b"GET " + ROOT + b"part.m4s HTTP/1.1\r\nHost: x\r\n\r\n"
CONNECTING_AT_ONCE = 100
READ_BYTES = 65_536


class Crowd:
    """All clients of this process.

    Args:
        port: Whom they attack.
    """

    def __init__(self, port: int) -> None:
        self.ended: Counter[str] = Counter()
        self._port = port
        self._gate = trio.CapacityLimiter(CONNECTING_AT_ONCE)

    async def attack(
        self, kind: str, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Be one client; it has begun when it is connected and has had its first say."""
        async with self._gate:
            stream = await trio.open_tcp_stream("127.0.0.1", self._port)
            await stream.send_all(OPENINGS[kind])
            if kind in ("idle", "flood"):
                await stream.receive_some(READ_BYTES)
        task_status.started()
        while True:
            try:
                if kind == "idle":
                    while await stream.receive_some(READ_BYTES):
                        pass
                elif kind == "flood":
                    await flood(stream)
                else:
                    await drip(stream)
            except* trio.BrokenResourceError:
                pass
            self.ended[kind] += 1
            await trio.aclose_forcefully(stream)
            if kind != "flood":
                return
            stream = await trio.open_tcp_stream("127.0.0.1", self._port)


OPENINGS = {
    "idle": ASK_SMALL,
    "head": b"GET " + ROOT + b"playlist.m3u8 HTTP/1.1\r\nHost: x\r\nX-Slow: ",
    "body": b"POST " + ROOT + b"playlist.m3u8 HTTP/1.1\r\nHost: x\r\nContent-Length: 9999\r\n\r\n",
    "reader": ASK_LARGE * 20,
    "flood": ASK_SMALL,
}


async def drip(stream: trio.SocketStream) -> None:
    """Send a byte each second, until the server has had enough."""
    while True:
        await trio.sleep(1.0)
        await stream.send_all(b"x")


async def flood(stream: trio.SocketStream) -> None:
    """Pipeline requests, and drop what comes, until the server has had enough."""
    async with trio.open_nursery() as nursery:

        async def ask() -> None:
            while True:
                await stream.send_all(ASK_SMALL * 100)

        nursery.start_soon(ask)
        while await stream.receive_some(READ_BYTES):
            pass
        nursery.cancel_scope.cancel()


async def main(port: int, counts: dict[str, int]) -> None:
    """Attack until the input ends."""
    crowd = Crowd(port)
    async with trio.open_nursery() as nursery:
        for kind, count in counts.items():
            async with trio.open_nursery() as starting:
                for _ in range(count):
                    starting.start_soon(nursery.start, crowd.attack, kind)
        print("ready", flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)
        print(json.dumps(crowd.ended), flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    words = [word.split("=") for word in sys.argv[2:]]
    trio.run(main, int(sys.argv[1]), {kind: int(count) for kind, count in words})
