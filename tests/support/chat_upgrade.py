"""The request that asks for a chat's WebSocket, right or changed."""

from edge.http.messages import Request

TARGET = "/api/streams/one/chat/ws"
KEY = "dGhlIHNhbXBsZSBub25jZQ=="
"""RFC 6455, section 1.3, where the answer to it stands too."""

FIELDS = {
    b"host": b"chat.test:8080",
    b"upgrade": b"websocket",
    b"connection": b"Upgrade",
    b"sec-websocket-version": b"13",
    b"sec-websocket-key": KEY.encode(),
}


def upgrade(**changes: bytes | None) -> Request:
    """Make it, with other values for some fields; None: without that field."""
    fields = FIELDS | {name.replace("_", "-").encode(): value for name, value in changes.items()}
    headers = [(name, value) for name, value in fields.items() if value is not None]
    return Request("GET", TARGET, headers)
