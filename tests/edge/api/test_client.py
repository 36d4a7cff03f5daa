"""The client: its calls are the API's rows, what it asks again, what it makes of answers."""

import inspect
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import httpx
import msgspec
import pytest
import trio
from api_app import make_app
from api_rows import every_row
from trio.testing import MockClock

from edge.api import calls
from edge.api.asker import ATTEMPTS, MAX_ANSWER_BYTES, MAX_WAIT_S, Asker
from edge.api.calls import Call
from edge.api.client import ApiError, Client
from edge.api.event_reader import MAX_EVENT_BYTES
from edge.api.keys import KeyRequest
from edge.backend import CreateStreamRequest, StreamChanges, StreamInfo
from edge.http.server import serve_http
from edge.live import LiveStreams
from origin.tools import config, hooks, recordings, watching

# httpx nests generators: who stops reading closes the outermost, and the response.
pytestmark = pytest.mark.filterwarnings("ignore:Async generator 'http(x|core):ResourceWarning")

SERVER = "http://origin.test:8080"
TOKEN = "admin_0123456789abcdef0123456789abcdef"
STREAM = StreamInfo(id="s", title="t", status="idle", broadcaster_id="b")

Reply = Callable[[httpx.Request], httpx.Response] | httpx.Response | Exception


class Script(httpx.AsyncBaseTransport):
    """Answers in turn; the last answer is given for ever."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)
        self.asked: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await trio.lowlevel.checkpoint()
        self.asked.append(request)
        reply = self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]
        if isinstance(reply, Exception):
            raise reply
        made = reply(request) if callable(reply) else reply
        if not made.is_stream_consumed:
            return made
        return httpx.Response(  # as if it came off a wire: not read yet
            made.status_code, headers=made.headers, stream=httpx.ByteStream(made.content)
        )

    def client(self, credential: str | None = TOKEN) -> Client:
        return Client(SERVER, credential=credential, transport=self)


def json_of(value: object, status: int = 200, **fields: str) -> Callable[..., httpx.Response]:
    """An answer, anew each time."""
    headers = {name.replace("_", "-"): text for name, text in fields.items()}
    return lambda _request: httpx.Response(
        status, content=msgspec.json.encode(value), headers=headers
    )


def problem(status: int, code: str, **fields: str) -> Callable[..., httpx.Response]:
    return json_of({"error": "that is how it is", "code": code}, status, **fields)


LOST = httpx.ReadError("lost")
SLOW = httpx.ReadTimeout("slow")
DOWN = httpx.ConnectError("[Errno 111] Connection refused")
BUSY = problem(503, "unavailable", Retry_After="1")

# -- it cannot drift


def every_call() -> list[Call[Any]]:
    return [
        value
        for module in (calls, watching, hooks, recordings, config)
        for value in vars(module).values()
        if isinstance(value, Call)
    ]


@pytest.mark.parametrize("call", every_call(), ids=lambda call: call.name)
def test_every_call_is_a_row(call: Call[Any]) -> None:
    (row,) = [row for row in every_row() if row.name == call.name]
    assert (call.method, call.path) == (row.method, row.path)
    assert call.answer is (type(None) if row.answer is None else row.answer)


def test_every_call_of_the_edge_is_a_method() -> None:
    own = {name for name, value in vars(Client).items() if inspect.isfunction(value)}
    named = {re.sub("([A-Z])", r"_\1", one.name).lower() for one in vars(calls).values()
             if isinstance(one, Call)}  # fmt: skip
    assert own == named | {"all_streams"}


async def test_every_method_makes_its_call() -> None:
    """Whatever the arguments: the request is that of the row."""
    script = Script(problem(418, "teapot"))
    async with script.client() as client:
        for name, method in vars(Client).items():
            if not inspect.isfunction(method) or name in ("all_streams", "stream_events"):
                continue
            needed = [
                parameter
                for parameter in list(inspect.signature(method).parameters.values())[1:]
                if parameter.default is parameter.empty
            ]
            values = [
                "x" if parameter.annotation is str else {"any": "thing"} for parameter in needed
            ]
            with pytest.raises(ApiError):
                await getattr(client, name)(*values)
            call = getattr(calls, name.upper())
            asked = script.asked[-1]
            assert asked.method == call.method
            assert asked.url.path == re.sub(r"{\w+}", "x", call.path)
            assert asked.headers["authorization"] == f"Bearer {TOKEN}"


# -- what is asked again

ONCE, ALWAYS = 1, ATTEMPTS


@pytest.mark.parametrize(
    ("reply", "get", "post", "delete", "create"),
    [
        (DOWN, ALWAYS, ALWAYS, ALWAYS, ALWAYS),
        (httpx.ConnectTimeout("x"), ALWAYS, ALWAYS, ALWAYS, ALWAYS),
        (LOST, ALWAYS, ONCE, ALWAYS, ALWAYS),
        (SLOW, ALWAYS, ONCE, ALWAYS, ALWAYS),
        (httpx.RemoteProtocolError("x"), ALWAYS, ONCE, ALWAYS, ALWAYS),
        (BUSY, ALWAYS, ONCE, ALWAYS, ALWAYS),
        (problem(429, "rateLimited", Retry_After="2"), ALWAYS, ONCE, ALWAYS, ALWAYS),
        (problem(500, "internal"), ONCE, ONCE, ONCE, ONCE),
        (problem(409, "conflict"), ONCE, ONCE, ONCE, ONCE),
        (problem(503, "unavailable", Retry_After="60"), ONCE, ONCE, ONCE, ONCE),
        (json_of({}), ONCE, ONCE, None, ONCE),
        (httpx.Response(302, headers={"location": "http://elsewhere.test/"}), 1, 1, 1, 1),
    ],
)
async def test_what_does_no_harm_is_asked_again(
    autojump_clock: MockClock,
    reply: Reply,
    get: int,
    post: int,
    delete: int | None,
    create: int,
) -> None:
    wanted = CreateStreamRequest(broadcaster_id="b", title="t")
    asks: list[tuple[int | None, Callable[[Client], Awaitable[object]]]] = [
        (get, lambda client: client.get_stream("s")),
        (post, lambda client: client.create_key("s", KeyRequest(label="l"))),
        (delete, lambda client: client.delete_stream("s")),
        (create, lambda client: client.create_stream(wanted)),
    ]
    for times, ask in asks:
        script = Script(reply)
        async with script.client() as client:
            if times is None:
                await ask(client)
                continue
            with pytest.raises(ApiError) as raised:
                await ask(client)
        assert len(script.asked) == times
        assert TOKEN not in str(raised.value) + repr(raised.value) + repr(client)
        assert all(str(one.url).startswith(SERVER) for one in script.asked)
        assert len({one.headers.get("idempotency-key") for one in script.asked}) == 1


async def test_who_wants_to_know_at_once_asks_once() -> None:
    script = Script(BUSY)
    async with Client(SERVER, attempts=1, transport=script) as client:
        with pytest.raises(ApiError, match="that is how it is"):
            await client.get_ready()
    assert len(script.asked) == 1


async def test_a_creation_is_named_and_another_has_another_name(autojump_clock: MockClock) -> None:
    created = json_of(
        {"id": "s", "title": "t", "status": "idle", "broadcasterId": "b", "streamKey": "k"}, 201
    )
    script = Script(LOST, created, created)
    wanted = CreateStreamRequest(broadcaster_id="b", title="t")
    async with script.client() as client:
        assert (await client.create_stream(wanted)).stream_key == "k"
        await client.create_stream(wanted)
    first, again, second = (one.headers["idempotency-key"] for one in script.asked)
    assert first == again != second


async def test_a_pause_is_as_long_as_the_server_says(autojump_clock: MockClock) -> None:
    script = Script(problem(503, "unavailable", Retry_After=f"{MAX_WAIT_S:g}"), json_of(STREAM))
    began_s = trio.current_time()
    async with script.client() as client:
        assert await client.get_stream("s") == STREAM
    assert trio.current_time() - began_s == pytest.approx(MAX_WAIT_S)


async def test_what_was_removed_by_a_lost_attempt_is_removed(autojump_clock: MockClock) -> None:
    gone = problem(404, "noSuchStream")
    async with Script(LOST, gone).client() as client:
        await client.delete_stream("s")
    for replies in ([gone], [DOWN, gone]):
        async with Script(*replies).client() as client:
            with pytest.raises(ApiError):
                await client.delete_stream("s")


# -- what is made of answers


@pytest.mark.parametrize(
    ("reply", "status", "code", "text"),
    [
        (problem(409, "alreadyLive"), 409, "alreadyLive", "that is how it is"),
        (httpx.Response(502, content=b"<html>"), 502, "error", "502 Bad Gateway"),
        (httpx.Response(404, content=b"[]"), 404, "error", "404 Not Found"),
        (httpx.Response(200, content=b"\xff"), 200, "badAnswer", "answers getStream with"),
        (json_of({"id": 1}), 200, "badAnswer", "Expected `str`, got `int`"),
        (httpx.Response(200, content=bytes(MAX_ANSWER_BYTES + 1)), 200, "badAnswer", "too large"),
        (DOWN, 0, "unreachable", f"cannot reach {SERVER}: Connection refused"),
        (SLOW, 0, "timeout", "does not answer in time"),
        (LOST, 0, "lost", "was lost"),
    ],
)
async def test_whatever_goes_wrong_is_one_type(
    autojump_clock: MockClock, reply: Reply, status: int, code: str, text: str
) -> None:
    async with Script(reply).client() as client:
        with pytest.raises(ApiError) as raised:
            await client.get_stream("s")
    error = raised.value
    assert (error.status, error.code) == (status, code)
    assert text in error.message == str(error)


async def test_why_there_is_no_connection_is_the_systems_word() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
    await listener.aclose()
    async with Client(server, attempts=1) as client:
        with pytest.raises(ApiError, match=f"^cannot reach {server}: Connection refused$"):
            await client.get_alive()


async def test_what_is_odd_in_a_name_is_escaped() -> None:
    script = Script(json_of({"ok": True}))
    async with script.client() as client:
        await client.unban_user("s/../t", "a b?c#d/é%")
    assert script.asked[0].url.raw_path == (
        b"/api/streams/s%2F..%2Ft/chat/bans/a%20b%3Fc%23d%2F%C3%A9%25"
    )


@pytest.mark.parametrize(
    ("server", "credential"),
    [
        ("origin.test:8080", None),
        ("ftp://origin.test", None),
        ("http://", None),
        ("http://user:pass@origin.test", None),
        (SERVER, "two words"),
        (SERVER, "a\nb"),
        (SERVER, ""),
        (SERVER, "clé"),
    ],
)
def test_what_cannot_be_asked_is_said_at_once(server: str, credential: str | None) -> None:
    with pytest.raises(ApiError) as raised:
        Client(server, credential=credential)
    assert raised.value.code == "badRequest"
    assert "pass" not in str(raised.value)


async def test_all_streams_are_gone_through_page_by_page() -> None:
    def page(request: httpx.Request) -> httpx.Response:
        after = int(request.url.params.get("after", "0"))
        streams = [msgspec.structs.replace(STREAM, id=str(after + n)) for n in (1, 2)]
        return json_of({"streams": streams, "next": None if after == 4 else str(after + 2)})(0)

    script = Script(page)
    async with script.client() as client:
        found = [one.id async for one in client.all_streams(status="live", page=2)]
        assert found == ["1", "2", "3", "4", "5", "6"]
        assert [one.url.params["limit"] for one in script.asked] == ["2"] * 3
        assert {one.url.params["status"] for one in script.asked} == {"live"}


async def test_a_list_that_leads_back_to_itself_is_refused() -> None:
    async with Script(json_of({"streams": [STREAM], "next": "x"})).client() as client:
        with pytest.raises(ApiError, match="no end"):
            async for _ in client.all_streams():
                pass


# -- events


def events(*pieces: bytes | Exception, kind: str = "text/event-stream; charset=utf-8") -> Reply:
    async def body() -> AsyncIterator[bytes]:
        for piece in pieces:
            await trio.lowlevel.checkpoint()
            if isinstance(piece, Exception):
                raise piece
            yield piece

    return lambda _request: httpx.Response(200, content=body(), headers={"content-type": kind})


async def test_events_go_on_behind_the_last_one(autojump_clock: MockClock) -> None:
    script = Script(
        events(b"retry: 500\n\nid: a-1\nevent: e\ndata: 1\n\n", b"data: 2\n\n"),
        events(b"id: a-2\nda", b"ta: 3\n\n", LOST),
        BUSY,
        DOWN,
        events(b"data: 4\n\n"),
    )
    found = []
    async with script.client() as client, aclosing(client.stream_events("s")) as listening:
        async for event in listening:
            found.append(event.data)
            if event.data == b"4":
                break
    assert found == [b"1", b"2", b"3", b"4"]
    last = [request.headers.get("last-event-id") for request in script.asked]
    assert last == [None, "a-1", "a-2", "a-2", "a-2"]
    assert {request.headers["accept"] for request in script.asked} == {"text/event-stream"}


@pytest.mark.parametrize(
    ("replies", "asked", "code"),
    [
        ([problem(401, "unauthorized")], 1, "unauthorized"),
        ([events(b"data: 1\n\n"), problem(404, "noSuchStream")], 2, "noSuchStream"),
        ([DOWN], ATTEMPTS, "unreachable"),
        ([events(b"data: 1\n\n", LOST), LOST], 1 + ATTEMPTS, "lost"),
        ([events(b"{}", kind="application/json")], 1, "badAnswer"),
        ([events(bytes(MAX_EVENT_BYTES + 1))], 1, "badAnswer"),
    ],
)
async def test_events_that_cannot_be_had_end(
    autojump_clock: MockClock, replies: list[Reply], asked: int, code: str
) -> None:
    script = Script(*replies)
    async with script.client() as client, aclosing(client.stream_events("s")) as listening:
        with pytest.raises(ApiError) as raised:
            async for _ in listening:
                pass
    assert raised.value.code == code
    assert len(script.asked) == asked


async def test_who_is_cancelled_while_listening_leaves_at_once(autojump_clock: MockClock) -> None:
    was_closed = trio.Event()

    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"data: 1\n\n"
            await trio.sleep_forever()
        finally:
            was_closed.set()

    script = Script(
        lambda _request: httpx.Response(
            200, content=body(), headers={"content-type": "text/event-stream"}
        )
    )
    with trio.move_on_after(5) as scope:
        async with script.client() as client, aclosing(client.stream_events("s")) as listening:
            async for _ in listening:
                pass
    assert scope.cancelled_caught
    assert was_closed.is_set()


async def test_a_download_is_read_as_it_comes(autojump_clock: MockClock) -> None:
    script = Script(httpx.Response(206, content=b"x" * 10))
    async with script.client() as client:
        part = {"Range": "bytes=5-"}
        async with client.download("/a%20b?c=1", headers=part) as download:
            assert download.status == 206
            assert [piece async for piece in download.pieces] == [b"x" * 10]
    assert script.asked[0].headers["range"] == "bytes=5-"
    assert script.asked[0].url.raw_path == b"/a%20b?c=1"
    async with Script(events(b"x", LOST)).client() as client:
        with pytest.raises(ApiError, match="was lost"):  # noqa: PT012
            async with client.download("/x") as download:
                async for _ in download.pieces:
                    pass
    async with Script(problem(404, "notFound")).client() as client:
        with pytest.raises(ApiError, match="that is how it is"):
            async with client.download("/x"):
                pass


# -- a real server


async def test_a_life_cycle_over_a_socket(live: LiveStreams, backend: Any) -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listener.socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        await nursery.start(serve_http, [listener], make_app(live, backend))
        async with Client(f"http://127.0.0.1:{port}/", credential="admin") as client:
            wanted = CreateStreamRequest(broadcaster_id="me", title="first")
            created = await client.create_stream(wanted)
            assert created.stream_key
            changed = await client.change_stream(created.id, StreamChanges(title="new"))
            assert changed.title == "new"
            assert (await client.get_settings(created.id)).title == "new"
            assert (await client.start_stream(created.id)).status == "live"
            assert created.id in [one.id for one in (await client.list_live_streams()).streams]
            with pytest.raises(ApiError) as raised:
                await client.start_stream(created.id)
            assert (raised.value.status, raised.value.code) == (409, "alreadyLive")
            await client.end_stream(created.id)
            assert created.id in [one.id async for one in client.all_streams(page=1)]
            await client.delete_stream(created.id)
            with pytest.raises(ApiError, match="no such stream"):
                await client.get_stream(created.id)
            assert (await client.get_alive()).status == "ok"
        async with Client(f"http://127.0.0.1:{port}") as stranger:
            with pytest.raises(ApiError) as raised:
                await stranger.list_streams()
            assert raised.value.status == 401
        nursery.cancel_scope.cancel()


def test_the_asker_is_no_client_of_anything_in_particular() -> None:
    assert not {name for name in vars(Asker) if name.startswith(("get_", "list_"))}
