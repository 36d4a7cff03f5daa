"""A download that is cut off while a thread reads the disk leaves no file open."""

import threading
from pathlib import Path
from typing import BinaryIO

import pytest
import trio
from trio.testing import memory_stream_pair

from edge.http.messages import Request
from origin.recording.send_file import FileSender

TIMEOUT_S = 10.0


class Disk:
    """Opens files that can hang, at their opening or when they are read."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, hangs_at: str) -> None:
        self.hangs_at = hangs_at
        self.is_reached = threading.Event()
        self.goes_on = threading.Event()
        self.files: list[BinaryIO] = []
        self._open = Path.open
        monkeypatch.setattr(Path, "open", lambda path, *how, **more: self.open(path, *how, **more))

    def hang(self, where: str) -> None:
        if where == self.hangs_at:
            self.is_reached.set()
            assert self.goes_on.wait(TIMEOUT_S)

    def open(self, path: Path, *how: str, **more: int) -> BinaryIO:
        self.hang("open")
        disk = self
        file: BinaryIO = self._open(path, *how, **more)  # type: ignore[call-overload]

        class Slow:
            closed = property(lambda _self: file.closed)

            def seek(self, offset: int) -> int:
                return file.seek(offset)

            def read(self, size: int) -> bytes:
                disk.hang("read")
                return file.read(size)

            def close(self) -> None:
                file.close()

        slow = Slow()
        self.files.append(slow)  # type: ignore[arg-type]
        return slow  # type: ignore[return-value]


async def send(path: Path, stream: trio.abc.Stream) -> None:
    await FileSender().send(
        stream, Request("GET", "/"), path, size_bytes=6, etag='"x"', is_public=True
    )


@pytest.mark.parametrize("hangs_at", ["open", "read", "never"])
async def test_the_file_is_closed_whoever_comes_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, hangs_at: str
) -> None:
    path = tmp_path / "media"
    path.write_bytes(b"abcdef")
    disk = Disk(monkeypatch, hangs_at)
    ours, theirs = memory_stream_pair()
    with trio.fail_after(TIMEOUT_S):
        if hangs_at == "never":
            await send(path, theirs)
            assert (await ours.receive_some(1000)).endswith(b"\r\n\r\nabcdef")
        else:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(send, path, theirs)
                await trio.to_thread.run_sync(disk.is_reached.wait)
                nursery.cancel_scope.cancel()
            disk.goes_on.set()
        while not (disk.files and disk.files[0].closed):  # noqa: ASYNC110 - a thread does it
            await trio.sleep(0.001)
