"""The real `headrace-origin` as a child process, driven only by what a user has.

That is: its command line, its log, its HTTP API and its data folder. Each stream key and the admin
token met on the way are kept in `secrets`, each text the origin ever said in `texts`; leaving the
context stops the origin with SIGTERM, demands exit code 0 and searches log and texts for secrets.
"""

import http.client
import json
import os
import re
import signal
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from child_process import Child, wait_until

ROOT = Path(__file__).parent.parent.parent
START_TIMEOUT_S = 20.0
STOP_TIMEOUT_S = 10.0
"""More than the drain time-out, so that a drain that hangs is seen as such."""

COMMAND = [sys.executable, "-m", "origin"]
"""What the `headrace-origin` script does, without needing the package to be installed."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One HTTP answer, body complete."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""
    body: bytes

    @property
    def text(self) -> str:
        """The body as text; undecodable bytes become replacement characters."""
        return self.body.decode(errors="replace")

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class HttpClient:
    """One keep-alive connection, reopened when the server closed it. Not for several threads."""

    def __init__(self, address: str, *, timeout_s: float = 15.0) -> None:
        host, _, port = address.rpartition(":")
        self._connection = http.client.HTTPConnection(host, int(port), timeout=timeout_s)

    def request(
        self,
        method: str,
        path: str,
        *,
        body: object = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Send one request; `body` is sent as JSON."""
        sent = dict(headers or {})
        payload = None
        if body is not None:
            payload = json.dumps(body)
            sent["Content-Type"] = "application/json"
        try:
            self._connection.request(method, path, body=payload, headers=sent)
            response = self._connection.getresponse()
            content = response.read()
        except (http.client.RemoteDisconnected, ConnectionError):
            # A kept-alive connection may have been closed while it idled: once more, on a new one.
            self._connection.close()
            self._connection.request(method, path, body=payload, headers=sent)
            response = self._connection.getresponse()
            content = response.read()
        named = {name.lower(): text for name, text in response.getheaders()}
        return Answer(response.status, named, content)

    def get(self, path: str, headers: Mapping[str, str] | None = None) -> Answer:
        """GET `path`."""
        return self.request("GET", path, headers=headers)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


@dataclass(frozen=True, slots=True)
class CreatedStream:
    """A stream made for a test."""

    id: str
    key: str


@dataclass(slots=True)
class Origin:
    """A running origin."""

    child: Child
    data: Path
    http: str = ""
    """HOST:PORT of the HTTP listener."""
    rtmp: str = ""
    """HOST:PORT of the RTMP listener."""
    https: str = ""
    """HOST:PORT of the HTTPS listener; empty if it was not asked for."""
    secrets: set[str] = field(default_factory=set)
    texts: list[tuple[str, str]] = field(default_factory=list)
    """(where it came from, what it said) of every text met by anybody in the test."""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def rtmp_server(self) -> str:
        """What goes into OBS's "Server" field."""
        return f"rtmp://{self.rtmp}/live"

    def publish_url(self, key: str) -> str:
        """What goes behind ffmpeg's `-f flv`."""
        return f"{self.rtmp_server}/{key}"

    def url(self, path: str) -> str:
        """Absolute URL of `path`."""
        return f"http://{self.http}{path}"

    def watch_url(self, stream: CreatedStream) -> str:
        """Page that plays `stream`."""
        return self.url(f"/watch/{stream.id}")

    def saw(self, where: str, text: str) -> None:
        """Remember a text for the search for secrets. Any thread may call it."""
        with self._lock:
            self.texts.append((where, text))

    def get(self, path: str) -> Answer:
        """GET on a connection of its own; the body is remembered."""
        client = HttpClient(self.http)
        try:
            answer = client.get(path)
        finally:
            client.close()
        self.saw(f"GET {path}", answer.text)
        return answer

    def post(self, path: str, body: object, *, token: str | None = None) -> Answer:
        """POST JSON on a connection of its own. The answer is not remembered: it may hold a key."""
        return self.call("POST", path, body, token=token)

    def call(
        self, method: str, path: str, body: object = None, *, token: str | None = None
    ) -> Answer:
        """Ask for an operation of the API, like `post`."""
        client = HttpClient(self.http)
        try:
            headers = {"Authorization": f"Bearer {token}"} if token else {}
            return client.request(method, path, body=body, headers=headers)
        finally:
            client.close()

    def create_token(self, scopes: Sequence[str]) -> str:
        """Make an admin token that may do so much."""
        body = {"name": "tester", "scopes": list(scopes)}
        answer = self.post("/api/tokens", body, token=self.admin_token())
        assert answer.status == 201, answer.text
        token = str(answer.json()["token"])
        self.secrets.add(token)
        return token

    def admin_token(self) -> str:
        """The token that the origin wrote into its data folder, mode 0600."""
        path = self.data / "admin-token"
        assert path.stat().st_mode & 0o077 == 0, "admin-token is readable by others"
        token = path.read_text().strip()
        self.secrets.add(token)
        return token

    def create_stream(self, title: str) -> CreatedStream:
        """Create a stream through the API."""
        body = {"broadcasterId": "tester", "title": title}
        answer = self.post("/api/streams", body, token=self.admin_token())
        assert answer.status == 201, answer.text
        made = answer.json()
        stream = CreatedStream(made["id"], made["streamKey"])
        assert re.fullmatch(r"live_[0-9a-f]{32}", stream.key)
        self.secrets.add(stream.key)
        return stream

    def status(self, stream: CreatedStream) -> str:
        """idle, live or ended, as the API says."""
        answer = self.get(f"/api/streams/{stream.id}")
        assert answer.status == 200, answer.text
        return str(answer.json()["status"])

    def wait_status(self, stream: CreatedStream, status: str, *, timeout_s: float) -> None:
        """Wait until the API says `status`."""
        wait_until(
            lambda: self.status(stream) == status,
            timeout_s=timeout_s,
            what=f"stream {stream.id} is {status}",
        )

    def live_ids(self) -> list[str]:
        """Ids of the streams in the public list of live streams."""
        answer = self.get("/api/streams/live")
        assert answer.status == 200, answer.text
        return [str(stream["id"]) for stream in answer.json()["streams"]]

    def leaks(self) -> list[str]:
        """Where a secret was seen: in the log, in a text, in a process's command line."""
        places = [("the log", self.child.log_text()), *self.texts]
        return [
            f"{where} holds a secret ({secret[:9]}...)"
            for where, text in places
            for secret in self.secrets
            if secret in text
        ]

    def command_lines(self) -> list[str]:
        """Command lines of the origin and of every process it started (they share its group)."""
        lines = []
        for folder in Path("/proc").iterdir():
            if not folder.name.isdigit():
                continue
            try:
                if os.getpgid(int(folder.name)) == self.child.pid:
                    lines.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except (ProcessLookupError, FileNotFoundError):
                continue  # it ended meanwhile
        return lines


@contextmanager
def running_origin(
    folder: Path, *arguments: str, env: Mapping[str, str] | None = None
) -> Iterator[Origin]:
    """Start an origin on free ports; on a clean way out demand a clean stop and no leak.

    Args:
        folder: Empty folder for the data and the log.
        arguments: More of the command line, say `--demo`.
        env: More of the environment.
    """
    data = folder / "data"
    argv = [*COMMAND, "--http", "127.0.0.1:0", "--rtmp", "127.0.0.1:0", "--data", str(data)]
    # HEADRACE_* are settings of the origin, and an unknown one stops its start: none of the
    # caller's may slip in, except the choice of the twins.
    environment = {
        name: text
        for name, text in os.environ.items()
        if name == "HEADRACE_PURE" or not name.startswith("HEADRACE_")
    }
    # Transcoding is off, and a lost publisher hardly waited for, unless a test is about it, which
    # then says so with a flag or in `env`.
    environment |= {"PYTHONWARNINGS": "default", "HEADRACE_LADDER": "none"}
    environment |= {"HEADRACE_RECONNECT_GRACE_S": "1", **(env or {})}
    child = Child(
        [*argv, *arguments],
        log=folder / "origin.log",
        env=environment,
        cwd=ROOT,
        stop_timeout_s=STOP_TIMEOUT_S,
    )
    with child:
        child.wait_for_log(r"listening\b", timeout_s=START_TIMEOUT_S)
        origin = Origin(child, data)
        origin.http = child.wait_for_log(r"\bhttp=(\S+)", timeout_s=1).group(1)
        origin.rtmp = child.wait_for_log(r"\brtmp=(\S+)", timeout_s=1).group(1)
        if "--https" in arguments:
            origin.https = child.wait_for_log(r"\bhttps=(\S+)", timeout_s=1).group(1)
        try:
            yield origin
        except BaseException as error:
            error.add_note(f"origin's log ends:\n{child.tail(40)}")
            raise
        for line in origin.command_lines():
            origin.saw("a command line", line)
        child.send_signal(signal.SIGTERM)  # to the origin alone: its children are its own business
        code = child.wait(STOP_TIMEOUT_S)
        assert code == 0, f"exit code {code} after SIGTERM:\n{child.tail()}"
        assert not origin.command_lines(), f"left behind: {origin.command_lines()}"
        log = child.log_text()
        assert "Traceback" not in log, f"the origin logged a traceback:\n{child.tail(60)}"
        assert "Warning" not in log, f"the origin logged a Python warning:\n{child.tail(60)}"
        assert not origin.leaks(), origin.leaks()
