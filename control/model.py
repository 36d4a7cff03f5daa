"""The records of the store, as values. Times are UTC seconds since 1970."""

import enum

import msgspec


class StreamStatus(enum.StrEnum):
    """Where a stream is in its life; the values are the API's words."""

    #: Never broadcast so far.
    IDLE = "idle"
    #: A broadcast is running.
    LIVE = "live"
    #: The last broadcast is over; the stream may go live again.
    ENDED = "ended"


class Stream(msgspec.Struct, frozen=True, kw_only=True):
    """A broadcaster's channel as stored. The key is no part of it."""

    id: str
    """Short public name, 12 characters of ``control.keys.ID_ALPHABET``; part of every URL."""

    broadcaster_id: str
    """Whose stream it is; the caller's own identifier, opaque here."""

    title: str
    """Human text, shown to viewers."""

    chat_enabled: bool
    """Whether viewers may write."""

    recording_enabled: bool
    """Whether broadcasts are kept."""

    status: StreamStatus
    """Life cycle, see `StreamStatus`."""

    started_at: float | None
    """When the current or last broadcast began; None before the first."""

    ended_at: float | None
    """When the last broadcast ended; None before the first and while live."""

    created_at: float
    """When the stream was made."""


class Relays(msgspec.Struct, frozen=True, kw_only=True):
    """Where a stream is sent to, and fetched from. The URLs hold the keys of far services."""

    forward: tuple[str, ...] = ()
    """RTMP URLs that its source is pushed to, in the order in which they were given."""

    pull: str | None = None
    """RTMP URL that it is fetched from while nobody publishes it; None: from nowhere."""

    def __repr__(self) -> str:
        return f"Relays(forward={len(self.forward)}, pull={int(self.pull is not None)})"
