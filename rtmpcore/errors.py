"""The two error families of RTMP.

``LocalProtocolError`` means that *we* asked for something illegal: a bug on our side.
``RemoteProtocolError`` means that the *peer* broke the protocol: close that connection, log the
reason, and nothing else is touched. No other exception may leave `Connection.next_event`; one that
does is a bug of this package.

May import: nothing of ours at run time. After h11, which has the same two families, and wsproto,
whose errors carry the event to answer with.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rtmpcore.events import Event


class ProtocolError(Exception):
    """The abstract parent: the protocol was broken, by us or by the peer."""


class LocalProtocolError(ProtocolError):
    """We asked the connection for something that RTMP does not allow now.

    The connection is left as it was: nothing was queued and no state changed.
    """


class RemoteProtocolError(ProtocolError):
    """The peer broke the protocol; the connection is finished.

    Args:
        reason: One line for the log, in plain words. It never holds a stream key.
        spec: Where the broken rule is written, such as ``"RTMP 1.0 section 5.3.1"``.
        reply: The event that tells the peer before the close, or None. `Connection` has already
            queued it when the error leaves `Connection.next_event`, so a driver only flushes.
    """

    def __init__(self, reason: str, spec: str, *, reply: "Event | None" = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.spec = spec
        self.reply = reply

    def __str__(self) -> str:
        return f"{self.reason} ({self.spec})"


class AmfError(RemoteProtocolError):
    """The bytes are not AMF, or go beyond our bounds of depth and count."""


class FlvError(RemoteProtocolError):
    """An audio or video message is too short to hold what its first byte announces."""
