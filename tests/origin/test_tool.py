"""``headrace``: what each command asks of a server, what it prints, the one line of a mistake."""

import json
import os
import re
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import click
import httpx
import msgspec
import pytest

from edge.api.asker import ATTEMPTS
from edge.api.client import Client
from edge.api.event_reader import ServerEvent
from edge.api.operation import ALL_SCOPES
from origin import tool
from origin.tools import show, watching
from origin.tools.session import find_credential, goes_open, is_here

# See tests/edge/api/test_client.py.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'http(x|core):ResourceWarning")

KEY = "live_0123456789abcdef0123456789abcdef"
TOKEN = "admin_0123456789abcdef0123456789abcdef"
ONE = "/api/streams/s1"
STREAM: dict[str, Any] = {
    "id": "s1",
    "title": "A \x1b[31mtitle\u202e",
    "status": "live",
    "broadcasterId": "bro",
    "startedAt": "2026-08-01T12:00:00.000Z",
    "quality": ["source", "720p"],
    "viewerCount": 3,
}
KEY_INFO = {"id": "k1", "label": "obs", "createdAt": "2026-08-01T12:00:00.000Z"}
TOKEN_INFO = {
    "id": "t1",
    "name": "ci",
    "scopes": ["read"],
    "createdAt": "2026-08-01T12:00:00.000Z",
}
MESSAGE = {
    "id": "0001",
    "streamId": "s1",
    "userId": "ann",
    "username": "Ann",
    "content": "hi \x07",
    "timestamp": 1_785_000_000_000,
    "role": "moderator",
}
FIGURES: dict[str, Any] = {
    "at": 1_785_000_000_000,
    "bitrateKbps": 2500.0,
    "fps": 30.0,
    "droppedFrames": 1,
    "lateFrames": 0,
    "keyframeIntervalSeconds": 2.0,
    "bFrames": False,
    "avSkewMs": 4.0,
    "driftPpm": None,
    "driftErrorPpm": None,
    "jitterMs": 1.5,
    "speed": 1.0,
    "rttMs": 0.2,
    "outOfOrderPackets": 0,
    "transcode": None,
}
ALERT = {
    "code": "fpsLow",
    "severity": "warning",
    "text": "The frame rate is low.",
    "advice": "Use a faster preset.",
    "value": 12.0,
    "threshold": 20.0,
    "startedAt": 1_785_000_000_000,
}
REPORT = {
    "streamId": "s1",
    "broadcastId": "b1",
    "publisher": {
        "connected": True,
        "encoder": "OBS 30.1",
        "video": {"codec": "avc1.64001f", "width": 1280, "height": 720, "frameRate": 30.0},
        "audio": {"codec": "mp4a.40.2", "sampleRate": 48000, "channels": 2},
    },
    "figures": FIGURES,
    "alerts": [ALERT],
    "recentAlerts": [],
    "history": {
        name: []
        for name in (
            *("at", "bitrateKbps", "fps", "droppedFrames", "lateFrames"),
            *("keyframeIntervalSeconds", "avSkewMs", "driftPpm", "jitterMs", "rttMs"),
        )
    },
}


SPREAD = {"p5": 1.0, "p25": 2.0, "p50": 3.0, "p75": 4.0, "p95": 5.0}
RECORDING = {
    "recordingId": "r1",
    "streamId": "s1",
    "broadcastId": "b1",
    "title": "A title",
    "status": "ready",
    "startedAt": "2026-08-01T12:00:00.000Z",
    "durationSeconds": 3723.0,
    "sizeBytes": 1_500_000_000,
    "playlistUrl": "/api/recordings/r1/master.m3u8",
}
HOOK = {
    "id": "h1",
    "url": "https://hook.test/",
    "events": ["*"],
    "streamId": None,
    "enabled": True,
    "description": "",
    "createdAt": "2026-08-01T12:00:00.000Z",
    "status": "failing",
    "pending": 2,
    "dead": 1,
    "dropped": 0,
    "lastFailure": "status 500",
    "lastSuccessAt": None,
}
DELIVERY = {
    "id": "7",
    "status": "dead",
    "eventId": "e",
    "type": "stream.live",
    "streamId": "s1",
    "at": "2026-08-01T12:00:00.000Z",
    "attempts": 3,
    "reason": "status 500",
    "event": {},
}


class Server(httpx.AsyncBaseTransport):
    """Answers what it was given; 404 for all else."""

    def __init__(self) -> None:
        self.answers: dict[str, tuple[int, Any]] = {}
        self.asked: list[tuple[str, Any]] = []
        self.tokens: list[str | None] = []
        self.urls: list[str] = []

    def put(self, what: str, value: Any = None, status: int = 200) -> None:
        """Answer `what` ("GET /path?query") so from now on."""
        self.answers[what] = status, value

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        what = f"{request.method} {request.url.raw_path.decode()}"
        body = json.loads(request.content) if request.content else None
        self.asked.append((what, body))
        self.tokens.append(request.headers.get("authorization"))
        self.urls.append(str(request.url))
        problem = {"error": "there is no such thing", "code": "notFound"}
        status, value = self.answers.get(what, (404, problem))
        if isinstance(value, Exception):
            raise value
        fields = {}
        if isinstance(value, bytes):
            data, fields = value, {"content-type": "text/event-stream"}
        else:
            data = b"" if value is None else json.dumps(value).encode()
        return httpx.Response(status, headers=fields, stream=httpx.ByteStream(data))


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _nothing_from_outside(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for variable in [name for name in os.environ if name.startswith("HEADRACE_")]:
        if variable != "HEADRACE_PURE":
            monkeypatch.delenv(variable)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Server:
    made = Server()

    def client(url: str, **more: Any) -> Client:
        return Client(url, transport=made, **more)

    monkeypatch.setattr("origin.tools.session.Client", client)
    return made


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_tool(*arguments: str) -> tuple[int, str, str]:
        code = tool.run(arguments)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_tool


DONE = {"ok": True}
PLAIN: list[tuple[str, str, Any, Any, list[str]]] = [
    # what is typed, what is asked, the body, the answer, what is printed
    (
        "stream create Show --broadcaster bro --record",
        "POST /api/streams",
        {"broadcasterId": "bro", "title": "Show", "chatEnabled": True, "recordingEnabled": True},
        STREAM | {"streamKey": KEY},
        ["stream  s1", f"key     {KEY}", "watch   http://127.0.0.1:8080/watch/s1"],
    ),
    (
        "stream list",
        "GET /api/streams?limit=200",
        None,
        {"streams": [STREAM], "next": None},
        ["s1  live    3        A \ufffd[31mtitle\ufffd  bro          2026-08-01T12:00:00.000Z"],
    ),
    (
        "stream list --status live --broadcaster bro --limit 1",
        "GET /api/streams?status=live&broadcasterId=bro&limit=1",
        None,
        {"streams": [STREAM], "next": "s1"},
        ["s1  live"],
    ),
    ("stream list --live", "GET /api/streams/live", None, {"streams": [STREAM]}, ["s1  live"]),
    ("stream show s1", f"GET {ONE}", None, STREAM, ["qualities    source 720p"]),
    ("stream start s1", f"POST {ONE}/start", None, STREAM, ["status       live"]),
    ("stream end s1", f"POST {ONE}/end", None, STREAM, ["viewers      3"]),
    (
        "stream update s1 --title New --no-chat",
        f"PATCH {ONE}",
        {"title": "New", "chatEnabled": False},
        STREAM,
        ["chat         yes"],
    ),
    ("stream delete s1 --yes", f"DELETE {ONE}", None, None, []),
    (
        "stream rotate-key s1 --grace 60 --label new",
        f"POST {ONE}/key",
        {"label": "new", "graceSeconds": 60},
        KEY_INFO | {"streamKey": KEY},
        [f"key    {KEY}"],
    ),
    ("stream keys list s1", f"GET {ONE}/keys", None, {"keys": [KEY_INFO]}, ["k1  obs", "never"]),
    (
        "stream keys create s1 --label obs --expires-in 60",
        f"POST {ONE}/keys",
        {"label": "obs", "expiresInSeconds": 60},
        KEY_INFO | {"streamKey": KEY},
        [f"key    {KEY}"],
    ),
    ("stream keys end s1 k1", f"DELETE {ONE}/keys/k1", None, None, []),
    (
        "viewers s1",
        f"GET {ONE}/viewers",
        None,
        {"count": 3, "peak": 9, "watchMinutes": 1.5},
        ["watching  3", "at most   9", "watched   1.5 minutes"],
    ),
    (
        "viewers s1 --history 2",
        f"GET {ONE}/viewers/history?minutes=2",
        None,
        {"points": [{"at": "2026-08-01T12:00:00.000Z", "count": 3, "peak": 4}]},
        ["2026-08-01T12:00:00.000Z  3         4"],
    ),
    (
        "health s1",
        f"GET {ONE}/health?historySeconds=0",
        None,
        REPORT,
        [
            "encoder             OBS 30.1",
            "picture             1280x720 30.00 fps avc1.64001f",
            "bitrate             2500.0 kbit/s",
            "clock               -",
            "warning             The frame rate is low. Use a faster preset.",
        ],
    ),
    (
        "chat tail s1 --once -n 5",
        f"GET {ONE}/chat?limit=5",
        None,
        {"messages": [MESSAGE]},
        ["0001  Ann (ann) [moderator]: hi \ufffd"],
    ),
    (
        "chat say s1 hello --as ben --name Ben",
        f"POST {ONE}/chat",
        {"content": "hello", "userId": "ben", "username": "Ben", "clientId": None},
        MESSAGE,
        ["Ann (ann)"],
    ),
    ("chat delete s1 0001", f"DELETE {ONE}/chat/messages/0001", None, DONE, []),
    ("chat clear s1 --yes", f"DELETE {ONE}/chat/messages", None, DONE, []),
    (
        "chat ban s1 ben --seconds 60 --reason spam",
        f"PUT {ONE}/chat/bans/ben",
        {"seconds": 60.0, "reason": "spam"},
        DONE,
        [],
    ),
    ("chat unban s1 ben", f"DELETE {ONE}/chat/bans/ben", None, DONE, []),
    (
        "chat bans s1",
        f"GET {ONE}/chat/bans",
        None,
        {
            "bans": [
                {"userId": "ben", "username": "Ben", "until": until}
                | {"by": "ann", "reason": "", "at": 1}
                for until in (None, 1_785_000_000_000)
            ]
        },
        ["ben   Ben   for ever", "until 2026-07-25T"],
    ),
    (
        "chat token s1 ann --name Ann --role moderator",
        f"POST {ONE}/chat/token",
        {"userId": "ann", "username": "Ann", "role": "moderator", "claims": []}
        | {"ttlSeconds": 43200},
        {"token": "a.b.c"},
        ["a.b.c"],
    ),
    (
        "token create ci --scope read --scope hooks",
        "POST /api/tokens",
        {"name": "ci", "scopes": ["read", "hooks"], "expiresInSeconds": None},
        TOKEN_INFO | {"token": TOKEN},
        [f"token   {TOKEN}"],
    ),
    ("token list", "GET /api/tokens", None, {"tokens": [TOKEN_INFO]}, ["t1  ci    read"]),
    ("token revoke t1", "DELETE /api/tokens/t1", None, None, []),
    (
        "viewers s1 --quality",
        f"GET {ONE}/quality",
        None,
        {"viewers": 3, "samples": 15, "rebuffering": 0.125, "bitrateKbps": SPREAD}
        | {"bufferMs": None, "throughputKbps": None},
        [
            "who say so   3",
            "rebuffering  12.5 %",
            "bitrate      1, 3, 5 kbit/s",
            "buffer       -",
        ],
    ),
    (
        "playback show s1",
        f"GET {ONE}/playback",
        None,
        {"policy": "token", "webhookUrl": None},
        ["policy   token"],
    ),
    (
        "playback set s1 webhook --webhook https://hook.test/",
        f"PUT {ONE}/playback",
        {"policy": "webhook", "webhookUrl": "https://hook.test/"},
        {"policy": "webhook", "webhookUrl": "https://hook.test/", "webhookSecret": "whsec_1"},
        ["program  https://hook.test/", "secret   whsec_1"],
    ),
    (
        "playback token s1 --lifetime 60 --net 192.0.2.0/24",
        f"POST {ONE}/playback",
        {"lifetimeS": 60, "net": "192.0.2.0/24", "credential": ""},
        {"token": "a.b.c", "path": f"{ONE}/~a.b.c/master.m3u8", "expiresAt": "2026-08-01T12:00:00Z"}
        | {"lifetimeS": 60},
        [f"url      http://127.0.0.1:8080{ONE}/~a.b.c/master.m3u8"],
    ),
    (
        "recording list --stream s1 --limit 5",
        "GET /api/recordings?streamId=s1&limit=5",
        None,
        {"recordings": [RECORDING], "next": None},
        ["r1  s1      2026-08-01T12:00:00.000Z  1:02:03  1.5 GB  A title"],
    ),
    (
        "recording show r1",
        "GET /api/recordings/r1",
        None,
        RECORDING,
        ["status     ready", "playlist   http://127.0.0.1:8080/api/recordings/r1/master.m3u8"],
    ),
    ("recording delete r1 --yes", "DELETE /api/recordings/r1", None, None, []),
    (
        "hook create https://hook.test/ --event stream.live --event alert.* --stream s1",
        "POST /api/hooks",
        {"url": "https://hook.test/", "events": ["stream.live", "alert.*"], "streamId": "s1"}
        | {"enabled": True, "description": ""},
        HOOK | {"secret": "whsec_1"},
        ["secret        whsec_1"],
    ),
    ("hook list", "GET /api/hooks", None, {"hooks": [HOOK]}, ["h1  failing  2        1     *"]),
    ("hook show h1", "GET /api/hooks/h1", None, HOOK, ["last failure  status 500"]),
    (
        "hook update h1 --off",
        "PATCH /api/hooks/h1",
        {"enabled": False},
        HOOK,
        ["stream        all"],
    ),
    ("hook delete h1 --yes", "DELETE /api/hooks/h1", None, None, []),
    (
        "hook rotate-secret h1",
        "POST /api/hooks/h1/secret",
        None,
        HOOK | {"secret": "whsec_1"},
        ["secret        whsec_1"],
    ),
    (
        "hook test h1",
        "POST /api/hooks/h1/test",
        None,
        {"delivered": True, "status": 204, "reason": "", "durationMs": 12},
        ["delivered in 12 ms, status 204"],
    ),
    (
        "hook deliveries h1 --status pending",
        "GET /api/hooks/h1/deliveries?status=pending&limit=200",
        None,
        {"deliveries": [DELIVERY], "next": None},
        ["7   stream.live  s1      2026-08-01T12:00:00.000Z  3         status 500"],
    ),
    (
        "hook retry h1 7",
        "POST /api/hooks/h1/deliveries/7/retry",
        None,
        DELIVERY | {"id": "8", "status": "pending"},
        ["stream.live waits as 8"],
    ),
    (
        "config running",
        "GET /api/config",
        None,
        {
            "settings": [
                {"name": "rungs", "value": [{"name": "360p"}], "source": "a", "isLive": True},
                {"name": "slate", "value": None, "source": "default", "isLive": False},
                {"name": "http", "value": "a:1", "source": "--http", "isLive": False},
            ],
            "needsRestart": ["http"],
        },
        ['rungs    [{ name = "360p" }]', "slate    -", "--http   restart"],
    ),
    (
        "config reload",
        "POST /api/config/reload",
        None,
        {
            "changed": [{"name": "max_height", "before": 0, "after": 720}],
            "needsRestart": ["http"],
        },
        ["max_height  0       720"],
    ),
    (
        "status",
        "GET /ready",
        None,
        {"status": "ready", "checks": {"store": {"ok": True}, "disk": {"ok": True}}},
        ["ready\n", "store  ok     -"],
    ),
    ("openapi", "GET /api/openapi.json", None, {"openapi": "3.1.1"}, ['{"openapi": "3.1.1"}']),
]


@pytest.mark.parametrize(
    ("typed", "asked", "body", "answer", "lines"), PLAIN, ids=[row[0] for row in PLAIN]
)
def test_a_command_is_one_call_and_its_answer(
    server: Server, run: Run, typed: str, asked: str, body: Any, answer: Any, lines: list[str]
) -> None:
    server.put(asked, answer)
    code, out, err = run(*typed.split())
    assert code == 0, err
    assert server.asked == [(asked, body)]
    for line in lines:
        assert line in out
    assert "\x1b" not in out + err
    assert "\u202e" not in out
    if "watch" not in typed and answer not in (None, DONE):
        code, out, err = run(*typed.split(), "--json")
        assert (code, err) == (0, "")
        read = json.loads(out)
        told = json.dumps(read)
        for value in ("s1", KEY, TOKEN, "whsec_1", "a.b.c"):
            assert (value in told) is (value in json.dumps(answer)), "all of the answer"


def every_command(group: click.Group, *path: str) -> list[tuple[str, ...]]:
    """The paths of all commands below a group."""
    found: list[tuple[str, ...]] = []
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found += every_command(command, *path, name)
        else:
            found.append((*path, name))
    return found


def test_every_command_is_in_the_table() -> None:
    local = {("config", name) for name in ("reference", "check", "show")}
    ours = {path for path in every_command(tool.headrace) if path[0] != "probe"} - local
    rows = [row[0] for row in PLAIN] + ["recording download"]  # below
    typed = {path for path in ours if any(row.startswith(" ".join(path)) for row in rows)}
    assert ours == typed


@pytest.mark.parametrize("path", [(), *every_command(tool.headrace)], ids=" ".join)
def test_every_command_has_help(run: Run, path: tuple[str, ...]) -> None:
    code, out, err = run(*path, "--help")
    assert (code, err) == (0, "")
    assert out.startswith("Usage: headrace")
    assert re.search(r"^  [A-Z]", out, re.MULTILINE), "a line that says what it does"


def test_the_scopes_to_choose_from_are_all(run: Run) -> None:
    _, out, _ = run("token", "create", "--help")
    assert set(re.search(r"--scope \[([a-z|]+)\]", out)[1].split("|")) == ALL_SCOPES  # type: ignore[index]


DOCUMENT = Path(__file__).parent.parent.parent / "docs" / "cli.md"


def test_the_document_has_every_command_and_no_other() -> None:
    text = DOCUMENT.read_text()
    told = {
        tuple(typed.split())
        for typed in re.findall(r"headrace ((?:[a-z-]+ ?)+)", text)
        if "-" not in typed.split()[0]
    }
    commands = set(every_command(tool.headrace))
    for path in commands:
        assert any(one[: len(path)] == path for one in told), f"{path} is not in docs/cli.md"
    groups = {path[:depth] for path in commands for depth in range(len(path) + 1)}
    for one in told:
        longest = max(depth for depth in range(len(one) + 1) if one[:depth] in groups)
        assert longest, f"there is no headrace {' '.join(one)}"


def test_the_document_names_no_option_that_is_not_there(run: Run) -> None:
    helps = " ".join(run(*path, "--help")[1] for path in every_command(tool.headrace))
    for option in set(re.findall(r"(?<![-\w])--[a-z][a-z-]*", DOCUMENT.read_text())):
        assert option in helps, option


# -- mistakes


@pytest.mark.parametrize(
    ("typed", "code", "line"),
    [
        ("stream", 2, "Missing command."),
        ("frobnicate list", 2, "No such command"),
        ("stream show", 2, "Missing argument 'ID'."),
        ("stream create x", 2, "Missing option '--broadcaster'."),
        ("stream update s1", 2, "name what to change"),
        ("stream list --live --status live", 2, "--live stands alone"),
        ("viewers s1 --watch --history 5", 2, "--history, --quality and --watch do not"),
        ("hook update h1", 2, "name what to change"),
        ("hook test h1", 1, "not delivered: status 500"),
        ("recording download r1 -o empty", 2, "empty is there already: say --force"),
        ("recording download r1", 1, "there is no such thing"),
        ("stream delete s1", 2, "this cannot be taken back: say --yes"),
        ("token create x --scope all", 2, "Invalid value for '--scope'"),
        ("stream show s1 --token-file nowhere", 2, "nowhere: No such file or directory"),
        ("stream show s1 --token-file empty", 2, "empty holds no token"),
        ("stream show s1 --server origin.test", 2, "the server's URL must be http://HOST:PORT"),
        (f"stream show s1 --server http://a:{KEY}@b", 2, "no credential belongs into"),
        (f"stream show s1 {KEY}", 2, "Got unexpected extra argument (live_[redacted])"),
        ("stream show s2", 1, "there is no such thing"),
        ("stream show down", 1, "cannot reach http://127.0.0.1:8080"),
        ("stream show odd", 1, "the server answers getStream with something else"),
        ("stream show mine", 1, "who are you?: set HEADRACE_TOKEN, or name a file"),
        ("health s1 --watch", 1, "there is no such thing"),
    ],
)
def test_a_mistake_is_one_line(
    server: Server, run: Run, monkeypatch: pytest.MonkeyPatch, typed: str, code: int, line: str
) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    Path("empty").write_text("\n")
    refused = {"delivered": False, "status": 500, "reason": "status 500", "durationMs": 1}
    server.put("POST /api/hooks/h1/test", refused)
    server.put("GET /api/streams/down", httpx.ConnectError("refused"))
    server.put("GET /api/streams/odd", {"id": 5})
    server.put("GET /api/streams/mine", {"error": "who are you?", "code": "unauthorized"}, 401)
    found, out, err = run(*typed.split())
    assert (found, out) == (code, "")
    assert err.startswith(f"headrace: {line}"), err
    assert err.count("\n") == 1
    assert KEY not in err


def test_an_interrupt_is_quiet(server: Server, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_arguments: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("origin.tools.session.trio.run", interrupted)
    assert run("stream", "show", "s1") == (130, "", "\n")  # a line of its own after the ^C


def test_an_interrupt_of_a_connection_that_is_made_is_quiet(
    server: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_arguments: Any) -> None:
        raise BaseExceptionGroup("x", [BaseExceptionGroup("y", [KeyboardInterrupt()])])

    monkeypatch.setattr("origin.tools.session.trio.run", interrupted)
    assert run("stream", "show", "s1") == (130, "", "\n")  # a line of its own after the ^C


# -- who asks whom


def test_a_token_comes_from_a_file_or_the_environment(
    server: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put(f"GET {ONE}", STREAM)
    run("stream", "show", "s1")
    folder = Path("headrace-data")
    folder.mkdir()
    (folder / "admin-token").write_text("from-data\n")
    run("stream", "show", "s1")
    monkeypatch.setenv("HEADRACE_TOKEN", "from-environment")
    run("stream", "show", "s1")
    Path("file").write_text("from-file\n")
    run("stream", "show", "s1", "--token-file", "file")
    assert server.tokens == [
        None,
        "Bearer from-data",
        "Bearer from-environment",
        "Bearer from-file",
    ]


def test_no_option_takes_a_token(run: Run) -> None:
    """A command line can be read by everybody on the machine."""
    for path in every_command(tool.headrace):
        assert "--token " not in run(*path, "--help")[1]


def test_this_machines_token_goes_nowhere_else(
    server: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path("d")
    folder.mkdir()
    (folder / "admin-token").write_text(TOKEN)
    monkeypatch.setenv("HEADRACE_DATA", "d")
    for here in (
        "http://localhost:1",
        "https://127.0.0.1",
        "http://[::1]:8080",
        "HTTP://LOCALHOST",
    ):
        assert find_credential(here, None, folder) == TOKEN, here
        assert not goes_open(here)
    for there in ("http://origin.test", "https://127.0.0.1.evil.test", "http://[", "x"):
        assert find_credential(there, None, folder) is None, there
        assert not is_here(there)
    server.put(f"GET {ONE}", STREAM)
    monkeypatch.setenv("HEADRACE_SERVER", "http://origin.test:81/base/")
    code, _, err = run("stream", "show", "s1")
    assert (code, err) == (1, "headrace: there is no such thing\n")
    assert server.tokens == [None]
    assert server.urls == ["http://origin.test:81/base/api/streams/s1"]


def test_a_token_that_can_be_read_on_the_way_is_warned_of(
    server: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put(f"GET {ONE}", STREAM)
    monkeypatch.setenv("HEADRACE_TOKEN", TOKEN)
    code, out, err = run("stream", "show", "s1", "--server", "http://origin.test")
    assert (code, err.count("\n")) == (0, 1)
    assert "unencrypted" in err
    assert TOKEN not in out + err
    assert run("stream", "show", "s1", "--server", "https://origin.test")[2] == ""


# -- what goes on


def sse(kind: str, data: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n".encode()


def told(kind: str, **data: Any) -> bytes:
    event = {"id": "e", "type": kind, "streamId": "s1", "at": 1_785_000_000_000, "data": data}
    return sse(kind, event)


EVENTS = (
    sse("health", FIGURES)
    + told("alert.ended", **ALERT, endedAt=2)
    + sse("health", FIGURES | {"fps": None})
    + told("alert.started", **ALERT)
    + sse("health", FIGURES)
    + sse("health", {"of": "another version"})
    + told("stream.ended", reason="by the broadcaster")
)


def test_health_goes_on_line_by_line(
    server: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put(f"GET {ONE}/health?historySeconds=0", REPORT)
    server.put(f"GET {ONE}/events", EVENTS)

    async def interrupted(_s: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edge.api.asker.trio.sleep", interrupted)  # before it comes again
    code, out, err = run("health", "s1", "--watch")
    assert (code, err) == (130, "\n")
    now = "17:20:00"
    assert out.splitlines() == [
        f"{now}  2500.0 kbit/s  30.0 fps  1 dropped  0 late  fpsLow",
        f"{now}  alert.ended  The frame rate is low.",
        f"{now}  2500.0 kbit/s  -  1 dropped  0 late  no alerts",
        f"{now}  alert.started  The frame rate is low.",
        f"{now}  2500.0 kbit/s  30.0 fps  1 dropped  0 late  fpsLow",
        f"{now}  stream.ended  by the broadcaster",
    ]
    code, out, err = run("health", "s1", "--watch", "--json")
    assert [json.loads(line)["type"] for line in out.splitlines()] == [
        *("health", "alert.ended", "health", "alert.started", "health", "stream.ended")
    ]


def test_a_stream_that_goes_live_is_watched_too(
    server: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    not_live = {"error": "the stream is not live", "code": "notLive"}
    server.put(f"GET {ONE}/health?historySeconds=0", not_live, 409)
    server.put(f"GET {ONE}/events", told("stream.live") + sse("health", FIGURES))

    async def interrupted(_s: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edge.api.asker.trio.sleep", interrupted)
    code, out, _ = run("health", "s1", "--watch")
    assert code == 130
    assert out.splitlines() == ["17:20:00  stream.live"]  # it had ended when it was asked about


def test_what_is_drawn_is_all_that_is_known() -> None:
    fate = watching.Fate()
    assert fate.rows() == [("status", "not live")]
    assert fate.line() == "not live"
    for event in (
        ServerEvent("health", msgspec.json.encode(FIGURES), ""),
        ServerEvent("alert.started", told("alert.started", **ALERT).split(b"data: ")[1], ""),
    ):
        fate.hear(event)
    rows = dict(fate.rows())
    assert rows["dropped, late"] == "1, 0"
    assert rows["warning"] == "The frame rate is low. Use a faster preset."
    fate.hear(ServerEvent("stream.ended", told("stream.ended").split(b"data: ")[1], ""))
    assert fate.rows() == [("status", "not live")]


def test_on_a_terminal_a_table_is_drawn_over_and_over(
    server: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.put(f"GET {ONE}/health?historySeconds=0", REPORT)
    server.put(f"GET {ONE}/events", EVENTS)
    monkeypatch.setattr(show, "is_terminal", lambda: True)

    async def interrupted(_s: float) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("edge.api.asker.trio.sleep", interrupted)
    code, out, _ = run("health", "s1", "--watch")
    assert code == 130
    assert "not live" in out


def test_viewers_go_on(server: Server, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    server.put(f"GET {ONE}/viewers", {"count": 3, "peak": 9, "watchMinutes": 1.5})
    looks = iter([None, None])

    async def sleep(_s: float) -> None:
        try:
            next(looks)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("origin.tools.watching.trio.sleep", sleep)
    code, out, _ = run("viewers", "s1", "--watch")
    assert (code, out) == (130, "3 watching, 9 at most\n" * 3)


def test_chat_goes_on_behind_the_last_message(
    server: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = MESSAGE | {"id": "0002", "content": "new", "role": "viewer"}
    server.put(f"GET {ONE}/chat?limit=1", {"messages": [MESSAGE]})
    server.put(f"GET {ONE}/chat?limit=1000&after=0001", {"messages": [second]})
    server.put(f"GET {ONE}/chat?limit=1000&after=0002", {"messages": []})
    looks = iter([None, None])

    async def sleep(_s: float) -> None:
        try:
            next(looks)
        except StopIteration:
            raise KeyboardInterrupt from None

    monkeypatch.setattr("origin.tools.chat.trio.sleep", sleep)
    code, out, _ = run("chat", "tail", "s1", "--lines", "0")
    assert code == 130
    (line,) = out.splitlines()
    assert line.endswith("0002  Ann (ann): new")


# -- downloads

FILE = bytes(range(256)) * 8
WHERE = "/api/recordings/r1/download.mp4"


class Line(httpx.AsyncBaseTransport):
    """Serves a file by ranges, in pieces; the line breaks where it is told to."""

    def __init__(self, breaks_at: list[int], *, changes: bool = False) -> None:
        self.breaks_at = breaks_at
        self.changes = changes
        self.asked: list[tuple[str, str | None]] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        wanted = request.headers.get("range")
        self.asked.append((request.url.raw_path.decode(), wanted))
        etag = '"2"' if self.changes and wanted else '"1"'
        first = 0
        if wanted and request.headers["if-range"] == etag:
            first = int(wanted.removeprefix("bytes=").removesuffix("-"))
        end = self.breaks_at.pop(0) if self.breaks_at else len(FILE)

        async def body() -> AsyncIterator[bytes]:
            for at in range(first, max(first, end), 100):
                yield FILE[at : min(at + 100, end)]
            if end < len(FILE):
                raise httpx.ReadError("cut")

        fields = {"etag": etag, "content-length": str(len(FILE) - first)}
        return httpx.Response(206 if first else 200, headers=fields, content=body())


@pytest.fixture
def line(monkeypatch: pytest.MonkeyPatch) -> Callable[[Line], Line]:
    def put(made: Line) -> Line:
        def client(url: str, **more: Any) -> Client:
            return Client(url, transport=made, **more)

        monkeypatch.setattr("origin.tools.session.Client", client)
        monkeypatch.setattr("origin.tools.recordings.PAUSE_S", 0.0)
        return made

    return put


@pytest.mark.parametrize(
    ("breaks_at", "changes", "ranges"),
    [
        ([], False, [None]),
        ([700, 700, 1500], False, [None, "bytes=700-", "bytes=700-", "bytes=1500-"]),
        ([700], True, [None, "bytes=700-"]),
        ([0], False, [None, None]),
    ],
)
def test_a_download_goes_on_where_the_line_broke(
    run: Run,
    line: Callable[[Line], Line],
    breaks_at: list[int],
    changes: bool,
    ranges: list[str | None],
) -> None:
    served = line(Line(breaks_at, changes=changes))
    code, out, err = run("recording", "download", "r1", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {"file": "r1.mp4", "sizeBytes": len(FILE)}
    assert Path("r1.mp4").read_bytes() == FILE
    assert served.asked == [(WHERE, wanted) for wanted in ranges]
    assert not list(Path().glob("*.part"))


def test_a_line_that_breaks_again_and_again_leaves_nothing(
    run: Run, line: Callable[[Line], Line]
) -> None:
    served = line(Line([500] * 10))
    code, out, err = run("recording", "download", "r1", "-o", "x.mp4", "--file", "2")
    assert (code, out) == (1, "")
    assert err == "headrace: the connection to http://127.0.0.1:8080 was lost\n"
    assert len(served.asked) == ATTEMPTS
    assert served.asked[0] == (f"{WHERE}?file=2", None)
    assert not list(Path().iterdir())


def test_a_file_that_is_there_is_overwritten_only_when_told(
    run: Run, line: Callable[[Line], Line]
) -> None:
    line(Line([]))
    Path("r1.mp4").write_bytes(b"mine")
    assert run("recording", "download", "r1")[0] == 2
    assert Path("r1.mp4").read_bytes() == b"mine"
    assert run("recording", "download", "r1", "--force") == (0, "r1.mp4  2.0 kB\n", "")
    assert Path("r1.mp4").read_bytes() == FILE
    assert run("recording", "download", "../../r1", "--force")[1] == "------r1.mp4  2.0 kB\n"


def test_a_terminal_sees_how_far_it_is(
    run: Run, line: Callable[[Line], Line], monkeypatch: pytest.MonkeyPatch
) -> None:
    line(Line([]))
    monkeypatch.setattr("origin.tools.recordings.is_drawn", lambda: True)
    _, out, err = run("recording", "download", "r1")
    assert out == "r1.mp4  2.0 kB\n"
    assert "2.0/2.0 kB" in err


# -- how it looks


def test_a_strangers_words_are_no_commands_to_a_terminal() -> None:
    words = "a\x1b]0;title\x07b\nc\rd\u202ee\u2066f\u00a0g\u200bh"
    shown = show.clean(words)
    assert shown.isprintable() or "\u00a0" in shown
    assert [one for one in shown if one.isalnum()] == list("a0titlebcdefgh")
    assert show.clean(None) == "-"
    assert len(show.clean("x" * 10_000)) == show.MAX_CELL_CHARS


def test_a_table_on_a_terminal_is_drawn_and_marks_nothing_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(show, "is_terminal", lambda: True)
    show.table(("title",), [("[bold]x[/bold]",)])
    assert "[bold]x[/bold]" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (show.size(999), "999 bytes"),
        (show.size(1_500_000), "1.5 MB"),
        (show.size(2e15), "2000.0 TB"),
        (show.span(3661), "1:01:01"),
        (show.span(None), "-"),
        (show.number(None, "s"), "-"),
        (show.number(3, "s"), "3 s"),
        (show.yes(None), "-"),
    ],
)
def test_figures_have_units(shown: str, text: str) -> None:
    assert shown == text


def test_whoever_stops_reading_gets_no_traceback(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_arguments: Any) -> None:
        raise BrokenPipeError

    ended: list[int] = []
    monkeypatch.setattr("origin.tools.session.trio.run", broken)
    monkeypatch.setattr("origin.tool.os.dup2", lambda _new, old: ended.append(old))
    monkeypatch.setattr(sys, "stdout", sys.__stdout__)
    assert tool.run(["stream", "show", "s1"]) == 1
    assert len(ended) == 1
