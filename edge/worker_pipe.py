"""What the supervisor and a worker say to each other, over the worker's stdin and stdout.

::

    supervisor                                  worker
        | -- order, one line of JSON ------------> |   settings, descriptors it inherited, its seat
        | <------------ "ready" or "refused TEXT" -|   it accepts connections, or why it cannot
        |                  ...                     |
        | -- "farewell" ------------------------> |    /ready says no from now on; then as below
        | -- end of stdin ----------------------> |    it drains, and exits with 0

The end of stdin is also what a worker sees when its supervisor is killed: none is left behind.

May import: msgspec, trio, `edge.config`, `edge.process`.
"""

from typing import Final

import msgspec
import trio

from edge.config import NodeSettings
from edge.process.settings import path_hook

READY: Final = b"ready"
REFUSED: Final = b"refused "
FAREWELL: Final = b"farewell"

MAX_LINE_BYTES: Final = 64 * 1024
"""Of an order: sixteen URLs and a few paths are far less."""


class WorkerOrder(msgspec.Struct, frozen=True, kw_only=True):
    """All that one worker is told at its start."""

    settings: NodeSettings
    seat: int
    """Its row of the board, and its name in logs and figures."""
    workers: int
    """How many share the node's bounds."""
    node_id: str
    http: tuple[int, ...]
    """Descriptors of listening sockets."""
    https: tuple[int, ...]
    board: int
    """Descriptor of the board."""
    board_rows: int

    def encode(self) -> bytes:
        """One line."""
        return msgspec.json.encode(self, enc_hook=str) + b"\n"

    @classmethod
    def decode(cls, line: bytes) -> "WorkerOrder":
        """Read what `encode` wrote.

        Raises:
            msgspec.DecodeError: It is something else.
        """
        return msgspec.json.decode(line, type=cls, dec_hook=path_hook)


class LineReader:
    """Lines from a pipe, without their ends.

    Args:
        stream: Our end of it.
    """

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._received = bytearray()

    async def next(self) -> bytes | None:
        """Return the next line; None when there is no more.

        Raises:
            ValueError: It is longer than `MAX_LINE_BYTES`.
            trio.BrokenResourceError: The pipe is broken.
        """
        while (end := self._received.find(b"\n")) < 0:
            if len(self._received) > MAX_LINE_BYTES:
                raise ValueError("a line too long")
            data = await self._stream.receive_some(4096)
            if not data:
                return None
            self._received += data
        line = bytes(self._received[:end])
        del self._received[: end + 1]
        return line
