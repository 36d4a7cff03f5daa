"""`h2`'s state machine of a server's connection, with what it leaves to its users done.

What it keeps without a bound is bounded, and what it ends too early goes on. Of `h2` itself, the
rest of `edge` knows the names of events and errors, and the verbs that send.

May import: `edge.http.settings`, `edge.http.messages`, the meter's frame size; no Trio.
Spec: RFC 9113 sections 6.5 (SETTINGS), 6.8 (GOAWAY), 8.3.1 (a request's fields); RFC 7541 section
4.2 (table size).
"""

import contextlib

from h2.config import H2Configuration
from h2.connection import ConnectionState, H2Connection
from h2.errors import ErrorCodes
from h2.events import RequestReceived
from h2.exceptions import ProtocolError
from h2.settings import SettingCodes, Settings

from edge.http.h2_meter import MAX_FRAME_BYTES
from edge.http.messages import Peer, Request
from edge.http.settings import Http2Settings

# What HPACK may remember for us, even if the peer would let it be more (Chromium: 64 KiB): hpack
# looks through all of it for every field.
_HPACK_TABLE_BYTES = 4096

_KNOWN_SETTINGS = frozenset(SettingCodes)


class H2Machine(H2Connection):
    """The server's side of one connection.

    Args:
        limits: What the peer is told, and held to.
    """

    # How each stream was closed: `h2` would remember 65,536 of them, megabytes for each viewer.
    MAX_CLOSED_STREAMS = 256

    def __init__(self, limits: Http2Settings) -> None:
        # What we send has the right form already; to have it checked costs as much as to encode it.
        super().__init__(
            H2Configuration(
                client_side=False, validate_outbound_headers=False, normalize_outbound_headers=False
            )
        )
        self.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.MAX_CONCURRENT_STREAMS: limits.max_streams,
                SettingCodes.MAX_HEADER_LIST_SIZE: limits.max_head_bytes,
                SettingCodes.MAX_FRAME_SIZE: MAX_FRAME_BYTES,
            },
        )
        self.decoder.max_header_list_size = limits.max_head_bytes

    def tame_settings(self) -> None:
        """Bound what the peer's SETTINGS let grow; call it when they have changed."""
        encoder = self.encoder
        if encoder.header_table_size > _HPACK_TABLE_BYTES:
            encoder.header_table_size = _HPACK_TABLE_BYTES
            encoder.table_size_changes = [  # what the next header block tells the peer
                size for size in encoder.table_size_changes if size <= _HPACK_TABLE_BYTES
            ]
        for code in [code for code in self.remote_settings if code not in _KNOWN_SETTINGS]:
            del self.remote_settings[code]  # kept for ever else, 65,000 of them

    def outlive_goaway(self) -> None:
        """Go on with the streams that are open; call it when the peer has said GOAWAY.

        It means that no new ones will come (6.8). `h2` takes it for the end of everything.
        """
        self.state_machine.state = ConnectionState.SERVER_OPEN

    def make_goaway(self) -> bytes:
        """Render a GOAWAY after which the open streams are finished; `h2`'s own would end them."""
        head = b"\0\0\x08\x07\0\0\0\0\0"  # eight bytes, GOAWAY, on the connection
        return head + self.highest_inbound_stream_id.to_bytes(4) + ErrorCodes.NO_ERROR.to_bytes(4)

    def try_reset(self, stream_id: int, code: ErrorCodes) -> None:
        """Reset a stream, unless the peer has done it."""
        with contextlib.suppress(ProtocolError):
            self.reset_stream(stream_id, code)

    def try_continue(self, stream_id: int) -> None:
        """Send `100 Continue`, unless the peer has reset the stream."""
        with contextlib.suppress(ProtocolError):
            self.send_headers(stream_id, ((b":status", b"100"),))


def make_request(event: RequestReceived, peer: Peer) -> Request:
    """Read a request out of its fields, which `h2` has checked."""
    method = target = b""
    fields: list[tuple[bytes, bytes]] = []
    for name, value in event.headers:
        if not name.startswith(b":"):
            fields.append((name, value))
        elif name == b":method":
            method = value
        elif name == b":path":
            target = value
    return Request(method.decode("latin-1"), target.decode("latin-1"), fields, peer)
