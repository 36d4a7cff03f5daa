"""From a request to its operation: which one, who may, what is read, and in which order."""

from collections.abc import Mapping
from typing import Any

import msgspec
import pytest
import trio
from trio.testing import memory_stream_pair

from edge.api.operation import ANONYMOUS, Asked, Need, Operation, Principal
from edge.api.router import MAX_QUERY_FIELDS, ApiRouter
from edge.errors import AlreadyLive, BackendError, Unavailable
from edge.http.messages import Call, HandOver, HttpError, Request
from edge.http.response import Response, json_response


class Body(msgspec.Struct, rename="camel", forbid_unknown_fields=True):
    some_name: str


class Query(msgspec.Struct, rename="camel"):
    how_many: int = 7
    flag: bool | msgspec.UnsetType = msgspec.UNSET


class FakeAccess:
    """Knows the streams a and b, the keys key-a and key-b, and a token for each scope."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str | None, str]] = []

    async def identify(
        self, credential: str, *, stream_id: str | None, client: str
    ) -> Principal | None:
        await trio.lowlevel.checkpoint()
        self.asked.append((credential, stream_id, client))
        if credential == f"key-{stream_id}":
            return Principal("key", stream_id=stream_id)
        if credential.startswith("scope-"):
            return Principal("token", scopes=frozenset({credential[6:]}))
        return None

    async def knows_stream(self, stream_id: str) -> bool:
        await trio.lowlevel.checkpoint()
        return stream_id in ("a", "b")


class House:
    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.access = FakeAccess()
        self.raises: BackendError | None = None

    async def handle(self, asked: Asked) -> Response:
        await trio.lowlevel.checkpoint()
        if self.raises is not None:
            raise self.raises
        self.asked.append(asked)
        return json_response(200, {"ok": True})

    def row(self, **more: Any) -> Operation:
        row: dict[str, Any] = {
            "name": "x",
            "method": "GET",
            "path": "/api/x",
            "summary": "",
            "tag": "",
        }
        return Operation(handler=self.handle, **(row | more))

    async def call(
        self,
        row: Operation,
        *,
        path: str = "",
        token: str = "",
        body: bytes = b"",
        method: str = "",
    ) -> Response:
        fields = [(b"authorization", f"Bearer {token}".encode())] if token else []
        request = Request(method or row.method, path or row.path, fields)
        answer = ApiRouter(self.access, [row]).route(request)
        assert type(answer) is Call
        return await answer.handler(request, body)

    async def refused(self, row: Operation, **how: Any) -> tuple[int, str | None]:
        with pytest.raises(HttpError) as caught:
            await self.call(row, **how)
        return caught.value.status, caught.value.code


@pytest.fixture
def house() -> House:
    return House()


STREAM_PATH = "/api/streams/{streamId}/x"


@pytest.mark.parametrize(
    ("path", "found"),
    [
        ("/api/streams/live", "live"),
        ("/api/streams/a", "one"),
        ("/api/streams/a/keys", "keys"),
        ("/api/streams/a/keys/live", "key"),
        ("/api/streams/live/keys", "keys"),
        ("/api/streams", None),
        ("/api/streams/", None),
        ("/api/streams//keys", None),
        ("/api/streams/a/keys/", None),
        ("/api/streams/a/keys/b/c", None),
        ("/", None),
        ("", None),
    ],
)
def test_the_most_literal_path_that_fits(house: House, path: str, found: str | None) -> None:
    rows = [
        house.row(name="one", path="/api/streams/{streamId}"),
        house.row(name="live", path="/api/streams/live"),
        house.row(name="key", path="/api/streams/{streamId}/keys/{keyId}"),
        house.row(name="keys", path="/api/streams/{streamId}/keys"),
    ]
    answer = ApiRouter(house.access, rows).route(Request("GET", path))
    if found is None:
        assert answer is None
    else:
        assert type(answer) is Call
        row = answer.handler.args[0]  # type: ignore[attr-defined] # a partial
        assert row.name == found


def test_two_rows_of_one_place_are_a_mistake(house: House) -> None:
    with pytest.raises(ValueError, match=r"GET /api/\{b\} is there twice"):
        ApiRouter(house.access, [house.row(path="/api/{a}"), house.row(path="/api/{b}")])


def test_a_row_without_a_handler_is_only_described(house: House) -> None:
    row = Operation(name="x", method="GET", path="/api/x", handler=None, summary="", tag="")
    router = ApiRouter(house.access, [row])
    assert router.operations == (row,)
    assert router.route(Request("GET", "/api/x")) is None


@pytest.mark.parametrize(
    ("methods", "asked", "allow"),
    [
        (["GET"], "POST", "GET, HEAD, OPTIONS"),
        (["POST", "DELETE"], "GET", "POST, DELETE, OPTIONS"),
        (["POST"], "HEAD", "POST, OPTIONS"),
    ],
)
def test_another_method_is_405(house: House, methods: list[Any], asked: str, allow: str) -> None:
    router = ApiRouter(house.access, [house.row(name=one, method=one) for one in methods])
    answer = router.route(Request(asked, "/api/x"))
    assert type(answer) is Response
    assert answer.status == 405
    assert (b"allow", allow.encode()) in answer.fields


async def test_head_is_answered_as_get(house: House) -> None:
    assert (await house.call(house.row(), method="HEAD")).status == 200


@pytest.mark.parametrize(
    ("need", "path", "token", "outcome"),
    [
        (Need.ANYBODY, STREAM_PATH, "", 200),
        (Need.ANYBODY, STREAM_PATH, "wrong", 200),
        (Need.STREAM, STREAM_PATH, "", 401),
        (Need.STREAM, STREAM_PATH, "wrong", 401),
        (Need.STREAM, STREAM_PATH, "key-b", 401),
        (Need.STREAM, STREAM_PATH, "key-a", 200),
        (Need.STREAM, STREAM_PATH, "scope-streams", 200),
        (Need.STREAM, STREAM_PATH, "scope-read", 403),
        (Need.ADMIN, STREAM_PATH, "key-a", 403),
        (Need.ADMIN, STREAM_PATH, "scope-streams", 200),
        (Need.ADMIN, STREAM_PATH, "scope-hooks", 403),
        (Need.ADMIN, "/api/x", "", 401),
        (Need.ADMIN, "/api/x", "key-a", 401),
        (Need.ADMIN, "/api/x", "key-None", 403),
        (Need.ADMIN, "/api/x", "scope-streams", 200),
    ],
)
async def test_who_may(house: House, need: Need, path: str, token: str, outcome: int) -> None:
    row = house.row(path=path, need=need)
    asks: dict[str, Any] = {"path": path.replace("{streamId}", "a"), "token": token}
    if outcome == 200:
        await house.call(row, **asks)
        assert len(house.asked) == 1
        anonymous = token in ("", "wrong")
        assert (house.asked[0].principal is ANONYMOUS) is anonymous
    else:
        assert (await house.refused(row, **asks))[0] == outcome
        assert not house.asked


@pytest.mark.parametrize(("token", "status"), [("", 401), ("wrong", 401), ("scope-streams", 404)])
async def test_an_unknown_stream_is_404_to_who_may(house: House, token: str, status: int) -> None:
    row = house.row(path=STREAM_PATH, need=Need.STREAM)
    assert (await house.refused(row, path="/api/streams/c/x", token=token))[0] == status
    anybodys = house.row(path=STREAM_PATH)
    assert (await house.refused(anybodys, path="/api/streams/c/x", token=token))[0] == 404


async def test_a_stranger_learns_nothing_about_bodies(house: House) -> None:
    row = house.row(method="POST", need=Need.ADMIN, body=Body, query=Query)
    assert (await house.refused(row, path="/api/x?howMany=x", body=b"{"))[0] == 401


@pytest.mark.parametrize(
    ("body", "token", "tried"),
    [
        (b'{"streamKey": "key-a"}', "", ["key-a"]),
        (b'{"streamKey": "wrong"}', "key-a", ["wrong", "key-a"]),
        (b"", "key-a", ["key-a"]),
        (b"{}", "key-a", ["key-a"]),
    ],
)
async def test_a_key_in_the_body(house: House, body: bytes, token: str, tried: list[str]) -> None:
    row = house.row(
        method="POST", path=STREAM_PATH, need=Need.STREAM, key_in_body=True, body=dict,
        body_optional=True,
    )  # fmt: skip
    await house.call(row, path="/api/streams/a/x", body=body, token=token)
    assert [credential for credential, _, _ in house.access.asked] == tried


async def test_params_are_unescaped(house: House) -> None:
    row = house.row(path="/api/x/{userId}")
    await house.call(row, path="/api/x/a%2Fb%20c")
    assert house.asked[0].params == {"userId": "a/b c"}


@pytest.mark.parametrize(
    ("query", "read"),
    [
        ("", Query()),
        ("howMany=3&flag=true&other=x", Query(3, True)),
        ("howMany=3&howMany=4", None),
        ("howMany=null", None),
        ("flag=null", None),
        ("howMany=x", None),
        ("howMany=", None),
        ("flag=%ff", None),
        ("&".join(["a=b"] * (MAX_QUERY_FIELDS + 1)), None),
    ],
)
async def test_a_query_is_read(house: House, query: str, read: Query | None) -> None:
    row = house.row(query=Query)
    if read is None:
        assert await house.refused(row, path=f"/api/x?{query}") == (400, None)
    else:
        await house.call(row, path=f"/api/x?{query}")
        assert house.asked[0].query == read


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "a JSON body is missing"),
        (b"{", "JSON"),
        (b"[]", "Expected `object`"),
        (b"{}", "someName"),
        (b'{"someName": 1}', "someName"),
        (b'{"someName": "x", "live_0123456789abcdef0123456789abcdef": 1}', "unknown field `...`"),
        (b'{"someName": "\xff"}', "UTF-8"),
    ],
)
async def test_a_bad_body_says_what_is_wrong_and_repeats_no_secret(
    house: House, body: bytes, says: str
) -> None:
    row = house.row(method="POST", body=Body)
    with pytest.raises(HttpError, match=says) as caught:
        await house.call(row, body=body)
    assert caught.value.status == 400
    assert "live_" not in str(caught.value)


@pytest.mark.parametrize(
    ("body", "read"),
    [
        (b"7", 7),
        (b"7.0", 7),
        (b"7e1", 70),
        (b"7.5", None),
        (b'"7"', None),
        (b"1e300", None),
        (b"true", None),
    ],
)
async def test_a_whole_number_is_an_integer_however_it_is_written(
    house: House, body: bytes, read: int | None
) -> None:
    row = house.row(method="POST", body=dict[str, list[int]])
    body = b'{"a": [%b]}' % body
    if read is None:
        assert (await house.refused(row, body=body))[0] == 400
    else:
        await house.call(row, body=body)
        assert house.asked[0].body == {"a": [read]}


async def test_a_body_that_is_too_deep(house: House) -> None:
    row = house.row(method="POST", body=dict[str, list[int]])
    deep = b'{"a":' * 900 + b"1" + b"}" * 900
    assert (await house.refused(row, body=deep))[0] == 400


async def test_an_optional_body_may_be_left_out(house: House) -> None:
    row = house.row(method="POST", body=Body, body_optional=True)
    await house.call(row)
    await house.call(row, body=b'{"someName": "x"}')
    assert [asked.body for asked in house.asked] == [None, Body("x")]


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (AlreadyLive(), 409, "alreadyLive"),
        (Unavailable(), 503, None),
        (BackendError("no"), 400, "badRequest"),
    ],
)
async def test_a_refusal_of_the_backend(
    house: House, error: BackendError, status: int, code: str | None
) -> None:
    house.raises = error
    assert await house.refused(house.row()) == (status, code)


async def test_a_row_that_takes_the_connection_is_guarded_like_all_others(house: House) -> None:
    taken: list[tuple[Asked, trio.abc.Stream]] = []

    async def take(asked: Asked, stream: trio.abc.Stream) -> None:
        if house.raises is not None:
            raise house.raises
        taken.append((asked, stream))

    row = Operation(
        name="x",
        method="GET",
        path=STREAM_PATH,
        handler=None,
        take=take,
        summary="",
        tag="",
        need=Need.STREAM,
        query=Query,
    )
    ours, theirs = memory_stream_pair()

    async def call(token: str, query: str = "") -> None:
        request = Request(
            "GET", f"/api/streams/a/x{query}", [(b"authorization", f"Bearer {token}".encode())]
        )
        answer = ApiRouter(house.access, [row]).route(request)
        assert type(answer) is HandOver
        await answer.take(theirs, b"")

    for token, query, status in (
        ("wrong", "", 401),
        ("scope-read", "", 403),
        ("key-a", "?howMany=x", 400),
    ):
        with pytest.raises(HttpError) as caught:
            await call(token, query)
        assert caught.value.status == status
    house.raises = AlreadyLive()
    with pytest.raises(HttpError) as caught:
        await call("key-a")
    assert (caught.value.status, caught.value.code) == (409, "alreadyLive")
    assert taken == []
    house.raises = None
    await call("key-a", "?howMany=9")
    ((asked, stream),) = taken
    assert (asked.stream_id, asked.query.how_many, asked.principal.name) == ("a", 9, "key")
    assert stream is theirs
    await ours.aclose()


async def test_a_row_may_find_the_stream_that_its_path_does_not_name(house: House) -> None:
    async def find(_request: Request, params: Mapping[str, str]) -> str | None:
        await trio.lowlevel.checkpoint()
        return {"one": "a", "two": "gone"}.get(params["thing"])

    row = house.row(path="/api/things/{thing}", need=Need.STREAM, stream_of=find)
    await house.call(row, path="/api/things/one", token="key-a")
    assert house.asked[-1].principal.stream_id == "a"
    for path, token, status in (
        ("/api/things/one", "", 401),
        ("/api/things/one", "key-b", 401),
        ("/api/things/none", "key-a", 401),
        ("/api/things/two", "scope-streams", 404),
    ):
        assert (await house.refused(row, path=path, token=token))[0] == status
    await house.call(row, path="/api/things/none", token="scope-streams")  # the handler says so
