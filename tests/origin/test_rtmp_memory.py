"""What a connection costs in memory, measured: ten thousand that get nowhere, hoarders, publishers.

The server is a process of its own, this file run as a program, and so are its peers, since each
connection is a descriptor at both ends. What is asserted is what the server's resident memory grew
by, thus whatever holds it: objects, OpenSSL, the allocator. The kernel's buffers are the kernel's.
"""

import gc
import logging
import os
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import rtmp_publishers as wire
import structlog
import trio
from half_open_peers import half_open_peers

from origin.rtmp.publisher import Peer
from origin.rtmp.server import RtmpServer, RtmpServerSettings
from rtmpcore import AudioMessage, VideoMessage
from rtmpcore.limits import Limits

KEY = "live_0123456789abcdef0123456789abcdef"
WARM_UP = 1
"""Connections before the measurement, so that what is made once is there."""

PATIENCE_S = 30.0

HALF_A_CONNECT = wire.C0_C1 + wire.C2 + wire.connect()[:40]
HANDSHAKE_ANSWER = wire.C0_C1[9:]
"""The end of S2."""
PUBLISHING = wire.opening(KEY) + wire.audio(b"\xaf\x01sound")


def hoard() -> bytes:
    """After a handshake, as many bytes of messages that never end as may be held before publish."""
    limits = Limits()
    size_bytes = limits.max_message_bytes  # of which a chunk holds all but one
    held = wire.C0_C1 + wire.C2 + bytes.fromhex("02 000000 000004 01 00000000 0000ffff")
    for chunk_stream_id in range(3, 3 + limits.max_buffered_bytes // size_bytes):
        head = bytes([chunk_stream_id]) + bytes(3) + size_bytes.to_bytes(3, "big")
        held += head + b"\x14" + bytes(4) + bytes(size_bytes - 1)
    return held


@pytest.mark.slow
@pytest.mark.parametrize(
    ("connections", "sent", "answer", "least_bytes", "bound_bytes"),
    [
        pytest.param(10_000, HALF_A_CONNECT, HANDSHAKE_ANSWER, 5_000, 16_000, id="half open"),
        pytest.param(100, hoard(), HANDSHAKE_ANSWER, 250_000, 400_000, id="hoarding"),
        pytest.param(1_000, PUBLISHING, wire.PUBLISH_START, 5_000, 20_000, id="publishing"),
    ],
)
def test_a_connection_costs_no_more_than(
    connections: int, sent: bytes, answer: bytes, least_bytes: int, bound_bytes: int
) -> None:
    """And no less than what it has sent: else it was not held."""
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    if limit < connections + 200:
        pytest.skip(f"the limit of open files, {limit}, is too low for {connections} connections")
    with lone_server() as server:
        port = int(ask(server, "port"))
        with half_open_peers(port, WARM_UP, sent, answer):
            pass
        while int(ask(server, "connections")):  # it has not seen yet that they are gone
            time.sleep(0.01)
        before_bytes = int(ask(server, "bytes"))
        with half_open_peers(port, connections, sent, answer):
            assert int(ask(server, "connections")) == connections
            each_bytes = 0.0
            ends_s = time.monotonic() + PATIENCE_S
            while each_bytes < least_bytes:  # it has not read all of it yet
                assert time.monotonic() < ends_s, each_bytes
                each_bytes = (int(ask(server, "bytes")) - before_bytes) / connections
    print(f"\n{connections} connections: {each_bytes:.0f} bytes each")
    assert each_bytes < bound_bytes


@contextmanager
def lone_server() -> Iterator["subprocess.Popen[str]"]:
    with subprocess.Popen(
        [sys.executable, __file__],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(server: "subprocess.Popen[str]", question: str) -> str:
    assert server.stdin is not None
    assert server.stdout is not None
    server.stdin.write(question + "\n")
    server.stdin.flush()
    answer = server.stdout.readline()
    assert answer, "the server is gone"
    return answer.strip()


# -- the server's process


class Sink:
    """Takes everything and keeps nothing."""

    stream_id = "stream-1"

    def push(self, message: VideoMessage | AudioMessage) -> None:
        """See `origin.rtmp.server.Sink`."""

    def describe(self, values: Mapping[str, object]) -> None:
        pass

    def cue(self, values: Mapping[str, object]) -> None:
        """See `origin.rtmp.server.Sink`."""

    def close(self, *, goodbye: bool) -> None:
        """See `origin.rtmp.server.Sink`."""


async def admit(_key: str, _peer: Peer) -> Sink:
    await trio.lowlevel.checkpoint()
    return Sink()


def resident_bytes() -> int:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


async def serve() -> None:
    """Serve, and answer one question a line on standard input."""
    server = RtmpServer(
        admit=admit,
        settings=RtmpServerSettings(
            handshake_timeout_s=300, publish_timeout_s=300, max_connections=20_000
        ),
    )
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=1024)
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, listeners)
        while question := (await trio.to_thread.run_sync(sys.stdin.readline)).strip():
            if question == "port":
                answer = listeners[0].socket.getsockname()[1]
            elif question == "connections":
                answer = server.connections
            else:
                answer = resident_bytes()
            print(answer, flush=True)
        nursery.cancel_scope.cancel()


if __name__ == "__main__":
    # Its standard output is for answers: nobody reads it while the peers connect.
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    trio.run(serve)
