"""Ten thousand viewers ask an edge for the same at one time: its upstream is asked once.

Real sockets, in this process; a real edge, with one worker, for each worker has a cache of its own.
The upstream is a script that counts, and answers when it is told to, so that everybody who is to
wait does wait.
"""

import resource
import selectors
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from child_process import wait_until
from edge_process import Node, running_edge
from origin_process import HttpClient

pytestmark = [pytest.mark.e2e, pytest.mark.long]

VIEWERS = 10_000
AT_ONCE = 500
TIMEOUT_S = 60.0
ROOT = "/api/streams/one/source/"
COLD, WARM = ROOT + "part-tok-7.0.m4s", ROOT + "part-tok-6.0.m4s"
FUTURE = ROOT + "playlist.m3u8?_HLS_msn=8&_HLS_part=0"
PART = bytes(range(256)) * 600
PLAYLIST = (
    b"#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:7\n"
    b"#EXT-X-PART-INF:PART-TARGET=0.2\n"
    b"#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=0.6\n"
    b'#EXT-X-PART:DURATION=0.2,URI="part-tok-8.0.m4s",INDEPENDENT=YES\n'
)


class Upstream:
    """Counts what it is asked for; what is held is answered after `go`."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.go = threading.Event()
        upstream = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                upstream.asked[self.path] += 1
                if self.path in (COLD, FUTURE):
                    upstream.go.wait(TIMEOUT_S)
                is_playlist = "m3u8" in self.path
                body = b"{}" if self.path == "/health" else PLAYLIST if is_playlist else PART
                self.send_response(200)
                kind = "application/vnd.apple.mpegurl" if is_playlist else "video/mp4"
                self.send_header("Content-Type", kind)
                self.send_header("Cache-Control", "public, max-age=60")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    made = Upstream()
    thread = threading.Thread(target=made.server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield made
    finally:
        made.go.set()
        made.server.shutdown()
        thread.join()
        made.server.server_close()


class Viewers:
    """Many connections, each of which asks and gets one answer at a time."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        self._selector = selectors.DefaultSelector()
        self._sockets: list[socket.socket] = []
        for _ in range(VIEWERS // AT_ONCE):
            for _ in range(AT_ONCE):
                self._sockets.append(socket.create_connection((host, int(port)), TIMEOUT_S))
        for one in self._sockets:
            one.setblocking(False)
            self._selector.register(one, selectors.EVENT_READ, bytearray())

    def ask(self, target: str) -> None:
        data = f"GET {target} HTTP/1.1\r\nHost: edge\r\nUser-Agent: viewer\r\n\r\n".encode()
        for one in self._sockets:
            assert one.send(data) == len(data)

    def answers(self, body: bytes) -> int:
        """Read one answer of each; how many are 200 with this body."""
        waiting, right = set(self._sockets), 0
        while waiting:
            ready = self._selector.select(TIMEOUT_S)
            assert ready, f"{len(waiting)} viewers got nothing more"
            for key, _ in ready:
                assert isinstance(key.fileobj, socket.socket)
                data = key.fileobj.recv(1 << 18)
                assert data, "the edge closed a connection"
                received: bytearray = key.data
                received += data
                head, end, rest = bytes(received).partition(b"\r\n\r\n")
                if end and len(rest) >= len(body):
                    right += head.startswith(b"HTTP/1.1 200 ") and rest == body
                    received.clear()
                    waiting.discard(key.fileobj)
        return right

    def close(self) -> None:
        self._selector.close()
        for one in self._sockets:
            one.close()


@contextmanager
def watching(node: Node) -> Iterator[Viewers]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = VIEWERS + 500
    if hard < needed:
        pytest.skip(f"a process may hold {hard} descriptors here, {needed} are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, needed), hard))
    viewers = Viewers(node.http)
    try:
        yield viewers
    finally:
        viewers.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def figure(node: Node, name: str) -> float:
    """A figure of the edge's own, from `/metrics`, which is a second old at most."""
    client = HttpClient(node.http, timeout_s=10.0)
    try:
        lines = client.get("/metrics").text.splitlines()
    finally:
        client.close()
    return sum(float(line.split()[1]) for line in lines if line.startswith(name + "{"))


def test_ten_thousand_ask_and_the_upstream_is_asked_once(
    tmp_path: Path, upstream: Upstream
) -> None:
    arguments = (f"--upstream={upstream.url}", "--no-prefetch", "--max-connections=16384")
    with running_edge(tmp_path, workers=1, arguments=arguments) as node, watching(node) as viewers:
        for target, body in ((COLD, PART), (FUTURE, PLAYLIST)):
            upstream.go.clear()
            viewers.ask(target)
            wait_until(
                lambda: figure(node, "headrace_edge_requests_parked") >= VIEWERS,
                timeout_s=TIMEOUT_S,
                what="all viewers wait",
            )
            upstream.go.set()
            assert viewers.answers(body) == VIEWERS
            assert upstream.asked[target] == 1
        client = HttpClient(node.http, timeout_s=10.0)
        assert client.get(WARM).body == PART
        client.close()
        viewers.ask(WARM)
        assert viewers.answers(PART) == VIEWERS
        assert upstream.asked[WARM] == 1
