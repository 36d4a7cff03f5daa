"""Receivers of webhooks on real sockets: good, slow, lying, or down.

Each keeps what came to it and what it took; `mood` says how it answers. One that is down has closed
its port, and comes back on it.
"""

import hashlib
import hmac
import itertools
import json
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

SLOW_S = 10.0


class Server(ThreadingHTTPServer):
    """Comes back on the port that it had."""

    allow_reuse_address = True
    daemon_threads = True


class HookServer:
    """A program that is sent events; use it as a context."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.mood = "good"
        self.secret = ""
        self.events: list[dict[str, Any]] = []
        """Those that were answered with success, repetitions left out."""
        self.asked = 0
        self.repeated = 0
        self.problems: list[str] = []
        self._seen: set[str] = set()
        self._lies = itertools.cycle(("status", "garbage", "endless", "redirect"))
        self._lock = threading.Lock()
        self._server: Server | None = None
        self._thread: threading.Thread | None = None
        self._port = 0

    @property
    def url(self) -> str:
        """Where it listens, or will again."""
        return f"http://127.0.0.1:{self._port}/{self.name}"

    def __enter__(self) -> "HookServer":
        self.up()
        return self

    def __exit__(self, *_error: object) -> None:
        self.down()

    def up(self) -> None:
        """Listen."""
        hook = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                with suppress(ConnectionError):
                    hook.serve(self)

            def log_message(self, *_args: object) -> None:
                """Say nothing."""

        self._server = Server(("127.0.0.1", self._port), Handler)
        self._port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def down(self) -> None:
        """Close the port: connections are refused."""
        if self._server is not None:
            assert self._thread is not None
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(5)
            self._server = None

    def serve(self, request: BaseHTTPRequestHandler) -> None:
        """Answer one request as the mood is."""
        body = request.rfile.read(int(request.headers["Content-Length"]))
        self._verify(body, request.headers["Headrace-Signature"])
        with self._lock:
            self.asked += 1
            mood = next(self._lies) if self.mood == "lying" else self.mood
        event = json.loads(body)
        if mood == "slow":
            time.sleep(SLOW_S)  # that is what slow means here
        if mood in ("good", "slow"):
            with self._lock:
                if event["id"] in self._seen:
                    self.repeated += 1
                else:
                    self._seen.add(event["id"])
                    self.events.append(event)
            self._answer(request, 200)
        elif mood == "status":
            self._answer(request, 500)
        elif mood == "redirect":
            self._answer(request, 302, Location=self.url + "/elsewhere")
        elif mood == "garbage":
            request.wfile.write(b"\x00\xff" * 5000)
            request.close_connection = True
        else:
            request.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            while self.mood == "lying":
                request.wfile.write(b"1\r\nx\r\n")
                time.sleep(0.05)  # so that it is the time that ends it, or the size
            request.close_connection = True

    def numbers(self, stream_id: str) -> list[int]:
        """The numbers in the titles that it was told of, in the order in which they came."""
        return [
            int(event["data"]["title"])
            for event in list(self.events)
            if event["type"] == "stream.updated" and event["streamId"] == stream_id
        ]

    def types(self, stream_id: str) -> list[str]:
        """The other events of a stream, in order."""
        return [
            event["type"]
            for event in list(self.events)
            if event["type"] != "stream.updated" and event["streamId"] == stream_id
        ]

    def ids(self, stream_id: str) -> list[str]:
        """The ids of a stream's events, in the order in which they came."""
        return [event["id"] for event in list(self.events) if event["streamId"] == stream_id]

    def _answer(self, request: BaseHTTPRequestHandler, status: int, **fields: str) -> None:
        request.send_response(status)
        for name, value in fields.items():
            request.send_header(name, value)
        request.send_header("Content-Length", "0")
        request.send_header("Connection", "close")  # one that is down shall not go on by an old one
        request.end_headers()

    def _verify(self, body: bytes, signature: str) -> None:
        stamp, _, mac = signature.partition(",v1=")
        signed = stamp.removeprefix("t=").encode() + b"." + body
        expected = hmac.new(self.secret.encode(), signed, hashlib.sha256).hexdigest()
        if not hmac.compare_digest(mac, expected):
            self.problems.append("a wrong signature")
        if abs(time.time() - int(stamp.removeprefix("t="))) > 60:
            self.problems.append("an old signature")


class AskServer:
    """A program that is asked who may publish, and answers as told; use it as a context."""

    def __init__(self) -> None:
        self.answer: dict[str, Any] = {"action": "allow"}
        self.asked: list[dict[str, Any]] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                server.asked.append(json.loads(body))
                payload = json.dumps(server.answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(payload)))
                self.end_headers()
                self.wfile.write(payload)

            def log_message(self, *_args: object) -> None:
                """Say nothing."""

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_address[1]}/publish"

    def __enter__(self) -> "AskServer":
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
