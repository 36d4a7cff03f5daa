"""A file as an HTTP answer, piece by piece: a recording is larger than memory should be.

Each piece is read in a thread, for the disk may be slow, and sent before the next is read.

Bounds: `MAX_SENDS` answers at one time, `PIECE_BYTES` each; `MAX_READERS` threads;
`SEND_TIMEOUT_S` per piece.

Spec: RFC 9110 sections 13 (conditions), 14 (ranges). May import trio and edge.
"""

import threading
from collections.abc import Mapping
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path
from typing import BinaryIO, Final

import structlog
import trio

from edge.http.messages import HttpError, Request
from edge.http.representation import represent
from edge.http.response import DateLine, Response, derive_response, make_response

PIECE_BYTES: Final = 256 * 1024

MAX_SENDS: Final = 400
"""Answers that are being sent at one time, in a process; more are told to come again."""

MAX_READERS: Final = 4
"""Threads that read recordings at one time, in a process."""

SEND_TIMEOUT_S: Final = 15.0
"""For one piece to be taken by the client's side, as for every other answer."""

_CACHE: Final = "public, max-age=86400, immutable"

log = structlog.get_logger("recording")


class FileSender:
    """Sends files; one for a process."""

    def __init__(self) -> None:
        self._date = DateLine()
        self._threads = trio.CapacityLimiter(MAX_READERS)
        self._sends = 0

    async def send(
        self,
        stream: trio.abc.Stream,
        request: Request,
        path: Path,
        *,
        size_bytes: int,
        etag: str,
        is_public: bool,
        inserted: bytes = b"",
        inserted_at: int = 0,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        """Answer GET or HEAD with the first `size_bytes` of an MP4 file, or a range of them.

        Args:
            stream: The client's connection; it is closed by its owner afterwards.
            request: Its conditions and its range count.
            path: The file.
            size_bytes: How much of it there is to see.
            etag: Names its bytes for ever, with quotes.
            is_public: Caches may keep it.
            inserted: Bytes that are sent between those of the file.
            inserted_at: How many of the file's stand before them.
            extra: Further fields.

        Raises:
            HttpError: 404, the file is gone, or 503, too many are sent; the stream was not touched.
        """
        size_bytes += len(inserted)
        # A response whose body is elsewhere: what it says of it is right, for parts of it too.
        whole = replace(
            derive_response(
                make_response(
                    200,
                    content_type="video/mp4",
                    cache_control=_CACHE if is_public else "no-store",
                    accepts_ranges=True,
                    extra=extra,
                ),
                200,
                (),
                {"Content-Length": str(size_bytes), "ETag": etag},
            ),
            size_bytes=size_bytes,
            accepts_ranges=True,
        )
        answer = represent(whole, request)
        first, end = _extent(answer, size_bytes)
        head = answer.head + self._date.render() + b"Connection: close\r\n\r\n"
        if request.method == "HEAD" or answer.status not in (200, 206):
            await _send(
                stream, head + (b"" if request.method == "HEAD" else b"".join(answer.chunks))
            )
            return
        if self._sends >= MAX_SENDS:
            raise HttpError(503, "too many downloads, try again", Retry_After="5")
        self._sends += 1
        body = _Body(path, inserted, inserted_at)
        try:
            await self._send_pieces(stream, body, head, first, end)
        except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
            pass  # it left, or is as good as gone
        except FileNotFoundError:  # when it is opened, so nothing is out
            raise HttpError(404, "the recording is gone", code="noSuchRecording") from None
        except OSError as error:  # part of the answer may be out: all that is left is to close
            log.error("cannot read a recording", reason=error.strerror)
        finally:
            body.close()
            self._sends -= 1

    async def _send_pieces(
        self, stream: trio.abc.Stream, body: "_Body", data: bytes, first: int, end: int
    ) -> None:
        while first < end:
            piece = await trio.to_thread.run_sync(
                body.read, first, min(PIECE_BYTES, end - first),
                abandon_on_cancel=True, limiter=self._threads,
            )  # fmt: skip
            if not piece:
                return  # it was cut meanwhile: the client sees a body that is too short
            await _send(stream, data + piece)
            data = b""
            first += len(piece)


def _extent(answer: Response, size_bytes: int) -> tuple[int, int]:
    """Which bytes an answer has: the first, and the one behind the last."""
    if answer.status != HTTPStatus.PARTIAL_CONTENT:
        return 0, size_bytes
    told = dict(answer.fields)[b"content-range"].removeprefix(b"bytes ").partition(b"/")[0]
    first, _, last = told.partition(b"-")
    return int(first), int(last) + 1


async def _send(stream: trio.abc.Stream, data: bytes) -> None:
    with trio.fail_after(SEND_TIMEOUT_S):
        await stream.send_all(data)


class _Body:
    """What is sent: a file, with something in it that the file does not have.

    One thread reads at a time. After a cancellation it may be reading still, while its body is
    closed: then it closes the file itself, when it is done.
    """

    def __init__(self, path: Path, inserted: bytes, inserted_at: int) -> None:
        self._path = path
        self._inserted = inserted
        self._inserted_at = inserted_at
        self._file: BinaryIO | None = None
        self._reading = threading.Lock()
        self._is_closed = False

    def close(self) -> None:
        """Close the file, now or when the thread is done; does not wait for it."""
        self._is_closed = True
        self._close_if_unused()

    def read(self, offset: int, size: int) -> bytes:
        """Read some, perhaps less than asked for; nothing: the file is too short.

        Raises:
            FileNotFoundError: The file is gone; only at the first call.
            OSError: It cannot be read.
        """
        with self._reading:
            data = self._read(offset, size)
        if self._is_closed:
            self._close_if_unused()
        return data

    def _read(self, offset: int, size: int) -> bytes:
        if self._file is None:
            self._file = self._path.open("rb", buffering=0)
        into = offset - self._inserted_at
        if 0 <= into < len(self._inserted):
            return self._inserted[into : into + size]
        if into < 0:
            size = min(size, -into) if self._inserted else size
        else:
            offset -= len(self._inserted)
        self._file.seek(offset)
        return self._file.read(size)

    def _close_if_unused(self) -> None:
        # Whoever of the two comes last sees that the other is done.
        if self._reading.acquire(blocking=False):
            try:
                if self._file is not None:
                    self._file.close()
            finally:
                self._reading.release()
