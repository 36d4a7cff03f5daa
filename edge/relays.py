"""What the API needs from the process that relays streams: where to, where from, and how it fares.

The origin implements `RelayBackend`; a process without relays has none. The API layer checks
credentials before it calls anything here. A far URL holds a key of its owner: it goes in, and never
comes out again.

The structs are the API's JSON: Python names here, camelCase on the wire.
"""

from typing import Annotated, Literal, Protocol

import msgspec

from edge.errors import BackendError

RelayState = Literal["idle", "connecting", "live", "waiting", "ended"]
"""Idle: there is nothing to do now. Waiting: it failed, and will try again."""

_Url = Annotated[str, msgspec.Meta(max_length=1024)]


class BadRelay(BackendError):
    """A URL cannot be relayed to or from (400); the text says why and repeats nothing of it."""


class RelaysRequest(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """The body of `PUT /api/streams/{id}/relays`: all of it, so what is left out is taken away."""

    forward: Annotated[tuple[_Url, ...], msgspec.Meta(max_length=8)] = ()
    """RTMP URLs that the source is pushed to while it has a publisher."""
    pull: _Url | None = None
    """RTMP URL that the stream is fetched from while nobody publishes it."""

    def __repr__(self) -> str:
        return "RelaysRequest(...)"  # a repr goes into logs


class RelayInfo(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """How one connection to a far server fares."""

    peer: str
    """Host and port of the far server."""
    state: RelayState
    attempts: int = 0
    """Connections tried since there was something to do."""
    messages: int = 0
    size_bytes: int = 0
    """Of media, sent or received."""
    dropped_messages: int = 0
    """That the far server was too slow for, up to the next keyframe."""
    live_s: float = 0.0
    """How long the present connection has carried media."""
    retry_in_s: float = 0.0
    """When it is tried again, if it waits."""
    error: str | None = None
    """Why it failed last."""


class RelaysInfo(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """The relays of one stream."""

    forward: list[RelayInfo]
    """In the order in which they were set."""
    pull: RelayInfo | None


class RelayBackend(Protocol):
    """The owner of the relays. All methods may be called from any Trio task.

    Each may raise `edge.errors.Unavailable`.
    """

    async def relays(self, stream_id: str) -> RelaysInfo:
        """Return the relays of a stream that there is."""
        ...

    async def set_relays(self, stream_id: str, request: RelaysRequest) -> RelaysInfo:
        """Replace the relays of a stream; forwards that run begin anew.

        Raises:
            NoSuchStream: There is none with this id.
            BadRelay: A URL is of no use.
        """
        ...
