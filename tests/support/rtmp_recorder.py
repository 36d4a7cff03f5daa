"""An RTMP server that takes any publish and keeps what the client sent, from C0 to its last byte.

For recordings of real clients (`tests/data/rtmp/`). It reads no chunk: what a client waits for is
found by its words, and what is sent was written from the specification. Shares no code with what
its recordings are fed to.
"""

import socket
import struct
import threading
from types import TracebackType
from typing import Self

from rtmp_publishers import CHUNK_BYTES, PUBLISH_START, STREAM_ID, amf, command, message

TIMEOUT_S = 30.0
"""For one connection to come, and for each read."""

_BLOCK_BYTES = 1536
_NUMBER_BYTES = 9


class RtmpRecorder:
    """Records one connection, on a thread, to the client's end; `data` is there after leaving.

    What comes after `max_bytes` is read and forgotten, so that clients which cannot be told to stop
    early end as they always do.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self.data = b""
        self._max_bytes = max_bytes
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(TIMEOUT_S)
        self._thread = threading.Thread(target=self._record, name="rtmp-recorder", daemon=True)
        self._full = threading.Event()

    @property
    def url(self) -> str:
        """Where to publish, without the key."""
        return f"rtmp://127.0.0.1:{self._listener.getsockname()[1]}/live"

    def wait_until_full(self, timeout_s: float) -> bool:
        """Wait until `max_bytes` are there, or the client has ended; say whether they are."""
        return self._full.wait(timeout_s)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._thread.join(TIMEOUT_S)
        self._listener.close()

    def _record(self) -> None:
        connection, _ = self._listener.accept()
        with connection:
            connection.settimeout(TIMEOUT_S)
            self._converse(connection)
        self._full.set()

    def _converse(self, connection: socket.socket) -> None:
        heard = b""
        answers = iter(_ANSWERS)
        awaited = next(answers, None)
        while received := self._receive(connection):
            heard += received[: self._max_bytes - len(heard)]
            self.data = heard
            if len(heard) == self._max_bytes:
                self._full.set()
            while awaited is not None and (reply := awaited(heard)):
                connection.sendall(reply)
                awaited = next(answers, None)

    def _receive(self, connection: socket.socket) -> bytes:
        try:
            return connection.recv(65536)
        except ConnectionResetError:  # ffmpeg leaves with replies unread
            return b""


def _handshake(heard: bytes) -> bytes:
    c1 = heard[1 : 1 + _BLOCK_BYTES]
    # A version of zero says that this server has no digests; then the client's block comes back.
    return b"\x03" + bytes(_BLOCK_BYTES) + c1 if len(c1) == _BLOCK_BYTES else b""


def _connect(heard: bytes) -> bytes:
    if b"connect" not in heard:
        return b""
    status = {"level": "status", "code": "NetConnection.Connect.Success", "description": "Yes."}
    return (
        message(5, struct.pack(">I", 2_500_000), chunk_stream_id=2)
        + message(6, struct.pack(">IB", 2_500_000, 2), chunk_stream_id=2)
        + message(1, struct.pack(">I", CHUNK_BYTES), chunk_stream_id=2)
        + command("_result", 1, {"fmsVer": "FMS/3,0,1,123", "capabilities": 31}, status)
    )


def _create_stream(heard: bytes) -> bytes:
    # The transaction is the number behind the name.
    _, name, rest = heard.partition(b"createStream")
    if not name or len(rest) < _NUMBER_BYTES:
        return b""
    return message(20, amf("_result") + rest[:_NUMBER_BYTES] + amf(None, STREAM_ID))


def _publish(heard: bytes) -> bytes:
    if b"\x00\x07publish" not in heard:
        return b""
    status = {"level": "status", "code": PUBLISH_START.decode(), "description": "Go."}
    return command("onStatus", 0, None, status, stream_id=STREAM_ID)


_ANSWERS = (_handshake, _connect, _create_stream, _publish)
