"""`headrace-edge` as its user has it: real processes between a tiny upstream and real connections.

What single parts do at their bounds is tested where they are; here they are together.
"""

import http.client
import itertools
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from certificates import make_pair
from child_process import wait_until
from edge_process import Node, running_edge
from origin_process import Answer, HttpClient

MASTER = "/api/streams/one/master.m3u8"
SLOW_S = 0.1
PART = "/api/streams/one/source/part-tok-{}.0.m4s"

pytestmark = [pytest.mark.e2e, pytest.mark.long]


class Upstream(BaseHTTPRequestHandler):
    """Has one stream, and every part of it that anybody asks for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        kind, age_s = "video/mp4", 60
        if self.path == "/health":
            body = b"{}"
        elif self.path == MASTER:
            body, kind, age_s = b"#EXTM3U\n", "application/vnd.apple.mpegurl", 1
        else:
            body = self.path.encode() * 50
            if "slow" in self.path:
                time.sleep(SLOW_S)
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Cache-Control", f"public, max-age={age_s}")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def running_upstream() -> Iterator[str]:
    """Run one; its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def upstream() -> Iterator[str]:
    with running_upstream() as url:
        yield url


@contextmanager
def running(folder: Path, upstream: str, toml: str = "", *, workers: int = 2) -> Iterator[Node]:
    """Run an edge; on a clean way out it must end with 0, and without a traceback."""
    (folder / "edge.toml").write_text(toml)
    arguments = (f"--upstream={upstream}", f"--config={folder / 'edge.toml'}")
    with running_edge(folder, workers=workers, arguments=arguments) as node:
        yield node


def get(node: Node, path: str) -> Answer:
    """GET on a connection of its own."""
    client = HttpClient(node.http, timeout_s=10.0)
    try:
        return client.get(path)
    finally:
        client.close()


def readiness(node: Node, status: int) -> Answer:
    """Wait for this status of `/ready`."""

    def look() -> Answer | None:
        answer = get(node, "/ready")
        return answer if answer.status == status else None

    return wait_until(look, timeout_s=5, what=f"/ready says {status}")


@dataclass
class Load:
    """Viewers who ask on kept connections, one after the other, without a pause.

    They ask for parts that the edge does not have, of an upstream that takes its time: so most of
    them are held when a worker is told to go.
    """

    address: str
    answers: int = 0
    failures: list[str] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self, viewers: int = 4) -> Iterator[None]:
        threads = [threading.Thread(target=self._view) for _ in range(viewers)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def _view(self) -> None:
        client = HttpClient(self.address, timeout_s=10.0)
        while not self._stop.is_set():
            target = PART.format(f"slow-{next(self._numbers)}")
            try:
                answer = client.get(target)
            except Exception as error:
                self.failures.append(repr(error))
                continue
            if answer.status == 200 and answer.body == target.encode() * 50:
                self.answers += 1
            else:
                self.failures.append(f"{answer.status} {answer.text[:80]}")
        client.close()

    def more(self, count: int = 40) -> None:
        """Wait for more answers."""
        enough = self.answers + count
        wait_until(lambda: self.answers >= enough, timeout_s=10, what=f"{count} more answers")


def test_it_serves_what_its_upstream_has_and_tells_how_it_is(tmp_path: Path, upstream: str) -> None:
    with running(tmp_path, upstream) as node:
        assert get(node, MASTER).body == b"#EXTM3U\n"
        assert get(node, PART.format(7)).body == PART.format(7).encode() * 50
        assert get(node, "/health").status == 200
        assert readiness(node, 200).json()["status"] == "ready"
        assert b"<html" in get(node, "/watch/one").body

        def figures() -> bool:
            lines = get(node, "/metrics").text.splitlines()
            asked = [
                line for line in lines if line.startswith("headrace_edge_upstream_requests_total{")
            ]
            return len(asked) == 2 and sum(float(line.split()[1]) for line in asked) >= 2

        wait_until(figures, timeout_s=5, what="either worker tells of both")


def test_over_tls_all_workers_have_the_certificate(tmp_path: Path, upstream: str) -> None:
    pair = make_pair()
    chain, key = pair.write(tmp_path)
    toml = f'https = "127.0.0.1:0"\ntls_certificate = "{chain}"\ntls_key = "{key}"'
    with running(tmp_path, upstream, toml) as node:
        port = int(node.child.wait_for_log(r"\bhttps=127\.0\.0\.1:(\d+)", timeout_s=1).group(1))
        for _ in range(8):  # of which each worker gets some
            client = http.client.HTTPSConnection(
                "localhost", port, timeout=10, context=pair.client()
            )
            client.request("GET", PART.format(2))
            assert client.getresponse().read() == PART.format(2).encode() * 50
            client.close()


def test_a_roll_under_load_loses_no_request(tmp_path: Path, upstream: str) -> None:
    with running(tmp_path, upstream) as node:
        load = Load(node.http)
        with load.running():
            load.more()
            before = set(node.workers())
            for roll in (1, 2):
                node.child.send_signal(signal.SIGHUP)
                node.child.wait_for_log(rf"(?s)(rolled.*){{{roll}}}", timeout_s=20)
                load.more()
            after = set(node.workers())
        assert load.failures == []
        assert len(before) == len(after) == 2
        assert not before & after


def test_a_killed_worker_is_replaced_while_the_other_serves(tmp_path: Path, upstream: str) -> None:
    with running(tmp_path, upstream) as node:
        first, second = node.workers()
        os.kill(first, signal.SIGKILL)
        wait_until(
            lambda: len(workers := node.workers()) == 2 and first not in workers,
            timeout_s=5,
            what="a successor",
        )
        assert second in node.workers()
        load = Load(node.http)
        with load.running(viewers=8):
            load.more()
        assert load.failures == []


def test_nothing_is_left_of_a_killed_supervisor(tmp_path: Path, upstream: str) -> None:
    with running(tmp_path, upstream, "drain_timeout_s = 0.5") as node:
        pid, workers = node.child.pid, node.workers()
        os.kill(pid, signal.SIGKILL)
        node.child.wait(5)
        wait_until(
            lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers),
            timeout_s=10,
            what="the workers end",
        )
        node.end()


def test_before_a_stop_a_balancer_is_told(tmp_path: Path, upstream: str) -> None:
    with running(tmp_path, upstream, "farewell_s = 1.5") as node:
        readiness(node, 200)
        node.child.send_signal(signal.SIGTERM)
        told = readiness(node, 503).json()
        assert (told["status"], told["error"]) == ("unready", "draining")
        assert told["checks"]["upstream"] == {"ok": True}
        assert get(node, MASTER).status == 200
        assert node.child.wait(10) == 0
        node.end()


def test_past_its_bound_it_refuses_new_viewers_and_serves_the_others(
    tmp_path: Path, upstream: str
) -> None:
    bounds = "max_connections = 20\nshed_connections = 0.5"
    with running(tmp_path, upstream, bounds, workers=1) as node, ExitStack() as idle:
        host, port = node.http.rsplit(":", 1)
        readiness(node, 200)
        for _ in range(10):
            idle.enter_context(socket.create_connection((host, int(port))))
        answer = readiness(node, 503)
        assert answer.json()["checks"]["load"]["reason"] == (
            "no new viewers: too much load (connections)"
        )
        refused = get(node, MASTER)
        assert (refused.status, refused.headers["retry-after"]) == (503, "5")
        assert get(node, PART.format(1)).status == 200
