"""What an operation of the API is: one row of a table that is routed, guarded and documented from.

Whoever offers something by HTTP makes `Operation`s and hands them to `edge.api.router`. A handler
is called when everything that the row says has been checked: the credential, the path, the query
and the body. What the row does not say, nobody may rely on; the OpenAPI document is made of the
same rows.

May import: `edge.http.messages`, `edge.http.response`.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal, Protocol, TypeAlias, get_args

import msgspec
import trio

from edge.http.messages import Request
from edge.http.response import Response

Scope: TypeAlias = Literal["read", "streams", "moderate", "hooks", "config", "edge"]
"""What an admin token may be limited to: read everything; create, change and end streams, their
keys and recordings; moderate chat; webhooks; settings and other tokens; speak for an edge node."""

ALL_SCOPES: frozenset[str] = frozenset(get_args(Scope))

Method: TypeAlias = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]


class Need(Enum):
    """Whom an operation serves."""

    ANYBODY = "anybody"
    STREAM = "stream"
    """Whoever holds a key of the stream that the path names, or an admin token with the scope."""
    CHAT = "chat"
    """The same, or whoever holds a chat token of that stream and has the role for it: what answers
    looks at that itself, so only rows without a handler say this."""
    ADMIN = "admin"
    """Whoever holds an admin token with the scope."""


@dataclass(frozen=True, slots=True)
class Principal:
    """Who asks."""

    name: str = "anonymous"
    """For logs and the audit; never a secret."""
    stream_id: str | None = None
    """The stream whose key was shown."""
    scopes: frozenset[str] = frozenset()
    """Of an admin token."""

    def may(self, scope: Scope) -> bool:
        """Whether an admin token with this scope was shown."""
        return scope in self.scopes


ANONYMOUS = Principal()


class Access(Protocol):
    """Knows the credentials."""

    async def identify(
        self, credential: str, *, stream_id: str | None, client: str
    ) -> Principal | None:
        """Say whose a credential is; None: nobody's, or another stream's.

        Args:
            credential: What was shown, of any content.
            stream_id: The stream that is asked about, if one is: only its keys count.
            client: The client's address, for the bound on guesses.

        Raises:
            HttpError: 429, too many wrong ones from there.
            BackendError: It cannot be told now.
        """
        ...

    async def knows_stream(self, stream_id: str) -> bool:
        """Whether there is such a stream."""
        ...


@dataclass(frozen=True, slots=True)
class Asked:
    """One call of an operation, everything checked."""

    request: Request
    params: Mapping[str, str]
    """Of the path, unescaped."""
    query: Any
    """An instance of `Operation.query`, or None."""
    body: Any
    """Of the type `Operation.body`, or None."""
    principal: Principal

    @property
    def stream_id(self) -> str:
        """The stream that the path names."""
        return self.params["streamId"]


FindStream: TypeAlias = Callable[[Request, Mapping[str, str]], Awaitable[str | None]]
"""From a request and the parameters of its path to the stream that it is about; None: none that
there is. May raise what a handler may."""

Handler: TypeAlias = Callable[[Asked], Awaitable[Response]]
"""May raise `HttpError` or `edge.errors.BackendError`."""

Take: TypeAlias = Callable[[Asked, trio.abc.Stream], Awaitable[None]]
"""Serves the connection to its end, its head included; before it has touched the stream it may
raise what a handler may."""


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a request's head that an operation heeds."""

    name: str
    description: str
    max_length: int | None = None
    """Characters; more is 400, and none at all. None: whatever it says, it is no mistake."""
    brings: int | None = None
    """A status that only who sends it may get: 304, 206."""


IF_NONE_MATCH = Field(
    "If-None-Match", "ETags that are known: 304 if one is right still.", None, 304
)
RANGE = Field("Range", "Which bytes (RFC 9110, section 14.2).", None, 206)


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path."""

    name: str
    """Unique, in camelCase: the document's operationId, and the client's method."""
    method: Method
    path: str
    """With `{names}` for whole segments: ``/api/streams/{streamId}/keys/{keyId}``. The name
    ``streamId`` stands for a stream, which must exist."""
    handler: Handler | None
    """None: it is only documented here, and answered elsewhere (playlists, media), or by `take`."""
    take: Take | None = None
    """Instead of a handler: gets the connection itself, for an answer without an end. Of a GET, and
    over HTTP/1.1 only (`edge.http.messages.HandOver`)."""
    summary: str
    """A line for the document."""
    description: str = ""
    tag: str
    """Under which heading it is documented."""
    need: Need = Need.ANYBODY
    scope: Scope = "streams"
    """What an admin token needs."""
    stream_of: FindStream | None = None
    """Where the path does not name the stream: finds it, so that its keys count."""
    query: type[msgspec.Struct] | None = None
    """Parameters; every field is a str, int, float, bool or Literal, and has a default or is UNSET:
    never None, which a text cannot say."""
    fields: tuple[Field, ...] = ()
    """Of the head, besides those that all operations heed."""
    body: Any = None
    """Type of the JSON body."""
    body_optional: bool = False
    """Whether the body may be left out; the handler gets None then."""
    key_in_body: bool = False
    """Whether a ``streamKey`` in the body serves as credential too (start and end)."""
    answer: Any = None
    """Type of the JSON answer."""
    status: int = 200
    """Of success."""
    also: tuple[int, ...] = ()
    """Other statuses of success, with the same answer."""
    answer_fields: tuple[str, ...] = ()
    """Fields of the head of its success: ETag, Location."""
    media_type: str = "application/json"
    """Of the answer; "": it has no body that could be described."""
    errors: tuple[int, ...] = field(default=())
    """Statuses besides those that follow from the rest (400, 401, 403, 404, 429, 503)."""
