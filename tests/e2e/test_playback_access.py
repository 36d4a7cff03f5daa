"""A stream that not everybody may watch: Chromium and plain clients, at the origin and an edge.

The demo publishes. Without a token nothing of it comes from anywhere; with one it plays; and the
token is in no log.
"""

import json
import threading
import time
from base64 import urlsafe_b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from child_process import wait_until
from chromium_player import Viewers
from edge_process import Node, running_edge
from origin_process import Answer, CreatedStream, HttpClient, Origin, running_origin

pytestmark = [pytest.mark.e2e, pytest.mark.long]

LOGS = {"HEADRACE_ACCESS_LOG": "all", "HEADRACE_LOG_LEVEL": "debug"}
"""Every request has its line."""

HOLDS_S = 5.0
"""A change of policy holds at an edge by then."""


@dataclass
class Show:
    """A protected broadcast, and an edge behind an edge."""

    origin: Origin
    edge: Node
    stream: CreatedStream
    shield: Node
    """The edge between the two."""
    tokens: set[str] = field(default_factory=set)

    def set(self, policy: str, url: str | None = None) -> None:
        body = {"policy": policy} | ({"webhookUrl": url} if url else {})
        path = f"/api/streams/{self.stream.id}/playback"
        answer = self.origin.call("PUT", path, body, token=self.origin.admin_token())
        assert answer.status == 200, answer.text

    def mint(self, stream_id: str = "", **wanted: object) -> str:
        path = f"/api/streams/{stream_id or self.stream.id}/playback"
        answer = self.origin.post(path, wanted, token=self.origin.admin_token())
        assert answer.status == 201, answer.text
        token = str(answer.json()["token"])
        self.tokens.add(token)
        return token

    def ask(self, address: str, path: str, token: str | None = None) -> Answer:
        """GET something of the stream."""
        client = HttpClient(address)
        try:
            segment = "" if token is None else f"/~{token}"
            return client.get(f"/api/streams/{self.stream.id}{segment}/{path}")
        finally:
            client.close()

    def places(self) -> list[str]:
        return [self.origin.http, self.shield.http, self.edge.http]

    def media(self, token: str) -> list[str]:
        """Paths of one of each kind of what players fetch."""
        playlist = self.ask(self.origin.http, "source/playlist.m3u8", token)
        assert playlist.status == 200, playlist.text
        lines = playlist.text.splitlines()
        segment = next(line for line in lines if line.startswith("seg-"))
        init = next(line for line in lines if line.startswith("#EXT-X-MAP")).split('"')[1]
        part = [line for line in lines if line.startswith("#EXT-X-PART:")][-1].split('URI="')[1]
        ts = self.ask(self.origin.http, "source/ts.m3u8", token).text.splitlines()
        files = [segment, init, part.split('"')[0], next(one for one in ts if one.endswith(".ts"))]
        return [
            "master.m3u8",
            "master.m3u8?container=ts",
            *(f"source/{name}" for name in ("playlist.m3u8", "iframes.m3u8", "ts.m3u8", *files)),
        ]


@pytest.fixture(scope="module")
def show(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Show]:
    """The demo is the publisher."""
    folder = tmp_path_factory.mktemp("playback")
    with running_origin(folder, "--demo", env=LOGS) as origin:
        found = origin.child.wait_for_log(r"http://\S+/watch/([^\s\"]+)", timeout_s=15)
        stream = CreatedStream(found.group(1), "")
        token = origin.create_token(["edge"])
        config = folder / "edge.toml"
        config.write_text(f'upstream_token = "{token}"\nlog_level = "debug"\n')
        more = ("--config", str(config))
        with (
            running_edge(folder, origin.url(""), workers=2, arguments=more) as shield,
            running_edge(folder, shield.url(""), arguments=more, name="outer") as edge,
        ):
            show = Show(origin, edge, stream, shield)
            wait_until(
                lambda: show.ask(origin.http, "source/playlist.m3u8").status == 200,
                timeout_s=15,
                what="the demo is live",
            )
            yield show
        logs = [path.read_text() for path in folder.glob("*.log")]
        logs.append(origin.child.log_text())
    assert show.tokens, "somebody got one"
    for text in logs:
        assert token not in text
        for one in show.tokens:
            assert one not in text, "a playback token is in a log"
            assert one.rpartition(".")[2] not in text


@pytest.fixture
def protected(show: Show) -> Iterator[Show]:
    show.set("token")
    yield show
    show.set("public")


def test_nothing_comes_without_a_token(protected: Show) -> None:
    good = protected.mint()
    other = protected.mint(protected.origin.create_stream("other").id)
    elsewhere = protected.mint(net="192.0.2.0/24")
    paths = protected.media(good)
    assert len(paths) == 9
    for address in protected.places():
        wait_until(  # an edge may have served the public stream a moment ago
            lambda address=address: all(  # type: ignore[misc]
                protected.ask(address, path).status == 401 for path in paths
            ),
            timeout_s=HOLDS_S,
            what="nothing comes without a token",
        )
        for path in paths:
            served = protected.ask(address, path, good)
            assert served.status == 200, (address, path, served.text)
            assert "public" not in served.headers["cache-control"]
            assert protected.ask(address, path).status == 401, (address, path)
            for wrong in (other, elsewhere, f"{good[:-2]}AA", "x"):
                refused = protected.ask(address, path, wrong)
                assert refused.status == 403, (address, path, refused.text)
                assert set(refused.json()) == {"error", "code"}
        assert protected.ask(address, "source.flv").status == 401
        assert protected.ask(address, "source.flv", good).status == 404, "it is for who runs it"


def test_guesses_are_bounded_but_for_this_machine(protected: Show) -> None:
    """Loopback is exempt, as everywhere; the bound itself is `tests/edge/playback`'s."""
    for _ in range(60):
        assert protected.ask(protected.origin.http, "master.m3u8", "x").status == 403


def test_a_token_ends(protected: Show) -> None:
    ending = protected.mint(lifetimeS=10)
    answer = protected.ask(protected.origin.http, "master.m3u8", ending)
    assert answer.status == 200
    body = json.loads(urlsafe_b64decode(ending.split(".")[1] + "=="))
    assert body["exp"] - time.time() <= 10
    assert set(body) == {"sub", "exp"}


def test_a_policy_changes_while_live(show: Show) -> None:
    playlist = "source/playlist.m3u8"
    for address in show.places():
        wait_until(
            lambda address=address: show.ask(address, playlist).status == 200,  # type: ignore[misc]
            timeout_s=HOLDS_S,
            what="it is public",
        )
    token = show.mint()
    init = next(path for path in show.media(token) if "init-" in path)
    clients = {address: HttpClient(address) for address in show.places()}

    def statuses(address: str) -> set[int]:
        """On one connection that stays: the reactor has it, and what it has served before."""
        root = f"/api/streams/{show.stream.id}"
        return {clients[address].get(f"{root}/{path}").status for path in (playlist, init)}

    for address in show.places():
        for _ in range(3):
            assert statuses(address) == {200}
    stop = threading.Event()

    def watch() -> None:  # somebody with a token goes on watching, so the edge hears of it
        while not stop.wait(0.1):
            for address in show.places():
                show.ask(address, playlist, token)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        for policy, status in (("token", 401), ("public", 200)):
            show.set(policy)
            assert statuses(show.origin.http) == {status}, "at once"
            wait_until(
                lambda status=status: statuses(show.edge.http) == {status},  # type: ignore[misc]
                timeout_s=HOLDS_S,
                what=f"{policy} holds at the edge",
            )
    finally:
        stop.set()
        watcher.join()
        for client in clients.values():
            client.close()


@pytest.mark.hard_cap(90)
@pytest.mark.parametrize("at_edge", [False, True], ids=["origin", "edge"])
def test_chromium_plays_with_a_token_and_is_told_without(
    protected: Show, viewers: Viewers, at_edge: bool
) -> None:
    node = protected.edge if at_edge else protected.origin
    page = node.url(f"/watch/{protected.stream.id}")
    token = protected.mint(lifetimeS=600)
    with viewers.viewer("guest") as guest:
        guest.open(page)
        guest.page.locator("#message", has_text="not public").wait_for(timeout=10_000)
        assert guest.page.locator("#badge").inner_text().lower() == "not public"
        # An embedding page puts a token into the fragment: it plays without being loaded again.
        guest.page.evaluate("token => { location.hash = `token=${token}` }", token)
        guest.wait_playing()
        renewed = protected.mint(lifetimeS=700)
        guest.page.evaluate("token => { location.hash = `token=${token}` }", renewed)
        playback = guest.watch_on(10.0)
        assert playback.played_s() > 8.0, playback.summary()
        assert not playback.stalls(), playback.summary()
        asked = guest.page.evaluate(
            "performance.getEntriesByType('resource').map(({ name }) => name)"
        )
        assert any(renewed in one for one in asked), "the new token is used"


class Judge:
    """The operator's program: lets in who has the right ticket, for ten seconds."""

    def __init__(self) -> None:
        self.asked: list[Any] = []
        judge = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                judge.asked.append((json.loads(body), self.headers["Headrace-Signature"]))
                is_good = judge.asked[-1][0]["credential"] == "ticket-5"
                answer = (
                    {"action": "allow", "lifetimeS": 10, "net": "address"}
                    if is_good
                    else {"action": "deny", "reason": "No ticket for tonight."}
                )
                data = json.dumps(answer).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/may"

    @contextmanager
    def running(self) -> Iterator["Judge"]:
        thread = threading.Thread(target=self.server.serve_forever)
        thread.start()
        try:
            yield self
        finally:
            self.server.shutdown()
            thread.join()
            self.server.server_close()


@pytest.mark.hard_cap(90)
def test_a_program_lets_in_and_the_page_renews_its_token(show: Show, viewers: Viewers) -> None:
    with Judge().running() as judge, viewers.viewer("guest") as guest:
        show.set("webhook", judge.url)
        try:
            page = show.edge.url(f"/watch/{show.stream.id}")
            guest.open(f"{page}#credential=wrong")
            guest.page.locator("#message", has_text="No ticket for tonight.").wait_for(
                timeout=10_000
            )
            guest.page.evaluate("() => { location.hash = 'credential=ticket-5' }")
            guest.wait_playing()
            playback = guest.watch_on(16.0)
            assert playback.played_s() > 14.0, playback.summary()
            assert not playback.stalls(), playback.summary()
            allowed = [one for one, _ in judge.asked if one["credential"] == "ticket-5"]
            assert len(allowed) >= 2, "it asked again before its token ended"
            assert all(signature.startswith("t=") for _, signature in judge.asked)
            assert {one["address"] for one in allowed} == {"127.0.0.1"}
        finally:
            show.set("public")
