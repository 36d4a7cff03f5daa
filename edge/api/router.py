"""From a request to its operation: path, credential, query and body, checked in this order.

Who shows no credential where one is needed, or one that opens nothing here, gets 401; an admin
token that lacks the scope gets 403; to all others an unknown stream is 404. Only then are the query
and the body looked at, so that a stranger learns nothing about them.

Synchronous to the choice of the handler.

May import: `edge.api.operation`, `edge.http`, `edge.errors`.
Spec: RFC 6750 (bearer tokens), RFC 9110 (status codes).
"""

import re
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any, TypeVar
from urllib.parse import parse_qsl, unquote

import msgspec
import trio

from edge.api.operation import ANONYMOUS, Access, Asked, Need, Operation, Principal
from edge.errors import (
    AlreadyLive,
    BackendError,
    NoSuchStream,
    NotLive,
    Unavailable,
    WrongKey,
)
from edge.http.messages import Answer, Call, HandOver, HttpError, Request
from edge.http.response import Response, error_response

# What msgspec quotes of a body: longer than any field name of ours.
_LONG_NAME = re.compile(r"`[^`]{25,}`")

MAX_QUERY_FIELDS = 32

_REFUSALS: dict[type[BackendError], tuple[int, str]] = {
    NoSuchStream: (404, "noSuchStream"),
    WrongKey: (401, "unauthorized"),
    AlreadyLive: (409, "alreadyLive"),
    NotLive: (409, "notLive"),
    Unavailable: (503, "unavailable"),
}

T = TypeVar("T")


class ApiRouter:
    """All operations of a process.

    Args:
        access: Knows the credentials.
        operations: The rows; those without a handler are left out.
    """

    def __init__(self, access: Access, operations: Iterable[Operation]) -> None:
        self.operations = tuple(operations)
        """All rows, for the document."""
        self._access = access
        self._by_shape: dict[tuple[str | None, ...], dict[str, Operation]] = {}
        for operation in self.operations:
            if operation.handler is None and operation.take is None:
                continue
            methods = self._by_shape.setdefault(_shape(operation.path), {})
            if operation.method in methods:
                raise ValueError(f"{operation.method} {operation.path} is there twice")
            methods[operation.method] = operation

    def route(self, request: Request, path: str | None = None) -> Answer | None:
        """Find the operation of a request; None: the path is not one of ours.

        Args:
            request: The request.
            path: Its path without what the application has taken out of it; None: as it is.
        """
        segments = tuple((request.path if path is None else path).split("/"))
        methods = self._find(segments)
        if methods is None:
            return None
        operation = methods.get("GET" if request.method == "HEAD" else request.method)
        if operation is None:
            allowed = (*methods, "HEAD") if "GET" in methods else tuple(methods)
            return error_response(
                405, "method not allowed here", extra={"Allow": ", ".join((*allowed, "OPTIONS"))}
            )
        if operation.take is not None:
            return HandOver(partial(self._hand_over, operation, segments, request))
        return Call(partial(self._run, operation, segments))

    def _find(self, segments: tuple[str, ...]) -> Mapping[str, Operation] | None:
        """The operations of a path: of those that fit, the one with the most literal segments."""
        found = self._by_shape.get(segments)
        if found is not None:
            return found
        best: tuple[str | None, ...] | None = None
        for shape in self._by_shape:
            if (
                len(shape) == len(segments)
                and all(
                    (part is None and given) or part == given
                    for part, given in zip(shape, segments, strict=True)
                )
                and (best is None or shape.count(None) < best.count(None))
            ):
                best = shape
        return None if best is None else self._by_shape[best]

    async def _run(
        self, operation: Operation, segments: tuple[str, ...], request: Request, body: bytes
    ) -> Response:
        assert operation.handler is not None
        try:
            return await operation.handler(await self._check(operation, segments, request, body))
        except BackendError as error:
            raise refusal(error) from None

    async def _hand_over(
        self,
        operation: Operation,
        segments: tuple[str, ...],
        request: Request,
        stream: trio.abc.Stream,
        _received: bytes,
    ) -> None:
        assert operation.take is not None
        try:
            await operation.take(await self._check(operation, segments, request, b""), stream)
        except BackendError as error:
            raise refusal(error) from None

    async def _check(
        self, operation: Operation, segments: tuple[str, ...], request: Request, body: bytes
    ) -> Asked:
        """Look at all that the row says."""
        params = {
            name[1:-1]: unquote(given)
            for name, given in zip(operation.path.split("/"), segments, strict=True)
            if name.startswith("{")
        }
        stream_id = params.get("streamId")
        if operation.stream_of is not None:
            stream_id = await operation.stream_of(request, params)
        principal = await self._identify(operation, stream_id, request, body)
        if stream_id is not None and not await self._access.knows_stream(stream_id):
            raise NoSuchStream
        query = None if operation.query is None else read_query(request, operation.query)
        return Asked(request, params, query, _read_body(operation, body), principal)

    async def _identify(
        self, operation: Operation, stream_id: str | None, request: Request, body: bytes
    ) -> Principal:
        """Who asks, if they may."""
        shown = [request.bearer]
        if operation.key_in_body and body:
            shown.insert(0, _key_in(body))
        principal = None
        for credential in shown:
            if credential is not None and principal is None:
                principal = await self._access.identify(
                    credential, stream_id=stream_id, client=request.client
                )
        if operation.need is Need.ANYBODY:
            return principal or ANONYMOUS
        if principal is None:
            raise WrongKey
        if operation.need is Need.STREAM and principal.stream_id == stream_id is not None:
            return principal
        if principal.may(operation.scope):
            return principal
        if principal.stream_id is not None:
            raise HttpError(403, "this needs an admin token")
        raise HttpError(403, f"this token lacks the scope {operation.scope!r}")


def refusal(error: BackendError) -> HttpError:
    """Turn a backend's refusal into the HTTP error that says so."""
    status, code = _REFUSALS.get(type(error), (400, "badRequest"))
    if status == 401:
        return HttpError(401, str(error), WWW_Authenticate="Bearer")
    if status == 503:
        return HttpError(503, str(error), Retry_After="5")
    return HttpError(status, str(error), code=code)


def _shape(path: str) -> tuple[str | None, ...]:
    return tuple(None if part.startswith("{") else part for part in path.split("/"))


def _key_in(body: bytes) -> str | None:
    try:
        return msgspec.json.decode(body, type=_Key).stream_key
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None  # said when the body is read


class _Key(msgspec.Struct, rename="camel"):
    stream_key: str | None = None

    def __repr__(self) -> str:
        return "_Key(...)"  # a repr goes into logs


def read_query(request: Request, kind: type[T]) -> T:
    """Read the parameters; unknown ones are passed over, as the web does. Raises HttpError."""
    try:
        pairs = parse_qsl(
            request.query,
            keep_blank_values=True,
            max_num_fields=MAX_QUERY_FIELDS,
            errors="strict",
        )
        names = {field.encode_name for field in msgspec.structs.fields(kind)}  # type: ignore[arg-type]
        given = {name: value for name, value in pairs if name in names}
        if len(given) < sum(name in names for name, _ in pairs):
            raise HttpError(400, "bad query: a parameter is there twice")
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise HttpError(400, f"bad query: {_LONG_NAME.sub('`...`', str(error))}") from None
    except ValueError:
        raise HttpError(400, "bad query") from None


def _read_body(operation: Operation, body: bytes) -> Any:
    if operation.body is None:
        return None
    if not body:
        if operation.body_optional:
            return None
        raise HttpError(400, "a JSON body is missing")
    return decode_json(body, operation.body)


def decode_json(body: bytes, kind: type[T]) -> T:
    """Read a JSON body; raises HttpError, whose text repeats no long text of a client."""
    try:
        try:
            return msgspec.json.decode(body, type=kind)
        except msgspec.ValidationError:
            # JSON has one kind of number: 5.0 is an integer too, where one is wanted.
            return msgspec.convert(_whole(msgspec.json.decode(body)), kind)
    except RecursionError:
        raise HttpError(400, "bad JSON body: it is nested too deeply") from None
    except msgspec.DecodeError as error:  # ValidationError too; the text names the field
        # The name of an unknown field is the client's text: a typo is short, a misplaced key long.
        reason = _LONG_NAME.sub("`...`", str(error))
        raise HttpError(400, f"bad JSON body: {reason}") from None
    except UnicodeDecodeError:
        raise HttpError(400, "bad JSON body: it is not UTF-8") from None


def _whole(value: Any) -> Any:
    """The same value, its whole numbers as int."""
    if isinstance(value, float):
        return int(value) if value.is_integer() and abs(value) < 2**53 else value
    if isinstance(value, list):
        return [_whole(one) for one in value]
    if isinstance(value, dict):
        return {name: _whole(one) for name, one in value.items()}
    return value
