"""Recordings as values. Times are UTC seconds since 1970."""

import enum

import msgspec


class RecordingStatus(enum.StrEnum):
    """Where a recording is in its life; the values are the API's words."""

    #: Its broadcast goes on, or the process that made it was killed.
    RECORDING = "recording"
    #: It is complete, as far as it goes, and can be watched.
    READY = "ready"
    #: There is nothing of it.
    FAILED = "failed"


class Recording(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a recording; its media is the recorder's."""

    id: str
    """Short public name, as a stream's; names its folder too."""

    stream_id: str
    """Whose broadcast it is of."""

    broadcast_id: str
    """Which one."""

    title: str
    """The stream's, when it began."""

    started_at: float
    """When it began."""

    ended_at: float | None = None
    """When it ended; None while it goes on."""

    duration_s: float = 0.0
    """Length of its media, seconds."""

    size_bytes: int = 0
    """Of its media."""

    status: RecordingStatus = RecordingStatus.RECORDING
    """See there."""

    reason: str = ""
    """Why it ended before its broadcast, or failed; else empty."""
