"""Players without a page, many in one cheap process that is told what to do.

`BarePlayers` starts it.

Each keeps its connections, as players do: one for playlists, one for media. Kinds: *blocking* ones
ask for the playlist that will hold the next part, are held, and fetch the part; *plain* ones ask
once a target duration and fetch the newest segment; *named* ones block and say who they are by CMCD
in all that they ask for. Any may come through a proxy that names an address.

Orders come as lines of JSON on stdin, and the end of stdin is the end. Shares no code with what it
watches.
"""

import asyncio
import contextlib
import itertools
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_HINT = re.compile(rb'PRELOAD-HINT:TYPE=PART,URI="part-[0-9a-f]+-(\d+)\.(\d+)\.m4s"')
_PART = re.compile(rb'EXT-X-PART:[^\n]*URI="([^"]+)"')
_SEGMENT = re.compile(rb"^(seg[^\n#]*)$|^([^#\n]+\.m4s)$", re.MULTILINE)
_TARGET = re.compile(rb"TARGETDURATION:(\d+)")
_LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n", re.IGNORECASE)


@dataclass(frozen=True)
class Crowd:
    """Some players of one kind."""

    kind: str
    """blocking, plain or named."""
    count: int
    http: str
    """HOST:PORT of who serves them."""
    stream_id: str
    agent: str = "BarePlayer/1.0"
    address: str = ""
    """Of whom a proxy speaks; empty: there is none."""
    quality: str = "source"


class BarePlayers:
    """The process, from outside.

    Args:
        folder: For its log.
    """

    def __init__(self, folder: Path) -> None:
        self.log = folder / "bare-players.log"
        with self.log.open("w") as log:
            self._process = subprocess.Popen(
                [sys.executable, __file__], stdin=subprocess.PIPE, stderr=log, stdout=log, text=True
            )

    def begin(self, name: str, crowd: Crowd) -> None:
        """Let them all come at once."""
        self._say({"begin": name, **crowd.__dict__})

    def end(self, name: str) -> None:
        """Let a crowd leave: its connections are closed."""
        self._say({"end": name})

    def close(self) -> None:
        """End the process, with all that play."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @property
    def problems(self) -> str:
        """What it wrote; empty: all went well."""
        return self.log.read_text()

    def _say(self, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order) + "\n")
        self._process.stdin.flush()


@contextlib.contextmanager
def bare_players(folder: Path) -> Iterator[BarePlayers]:
    """Run the process."""
    players = BarePlayers(folder)
    try:
        yield players
    finally:
        players.close()


class _Connection:
    """One keep-alive connection, one request at a time."""

    def __init__(self, crowd: Crowd) -> None:
        self._crowd = crowd
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, target: str) -> bytes:
        """The body of an answer; raises ConnectionError for any but 200."""
        if self._streams is None:
            host, _, port = self._crowd.http.rpartition(":")
            self._streams = await asyncio.open_connection(host, int(port), limit=2**24)
        reader, writer = self._streams
        fields = f"Host: {self._crowd.http}\r\nUser-Agent: {self._crowd.agent}\r\n"
        if self._crowd.address:
            fields += f"X-Forwarded-For: {self._crowd.address}\r\n"
        writer.write(f"GET {target} HTTP/1.1\r\n{fields}\r\n".encode())
        head = await reader.readuntil(b"\r\n\r\n")
        length = _LENGTH.search(head)
        body = await reader.readexactly(int(length[1]) if length else 0)
        if not head.startswith(b"HTTP/1.1 200"):
            raise ConnectionError(f"{head[:60]!r} for {target}")
        return body

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()


async def _play(crowd: Crowd, number: int) -> None:
    lists, media = _Connection(crowd), _Connection(crowd)
    try:
        if crowd.kind == "plain":
            await _play_plain(crowd, lists, media)
        else:
            await _play_blocking(crowd, number, lists, media)
    except (OSError, EOFError) as error:
        print(f"{crowd.kind} {number}: {error!r}", flush=True)
    finally:
        lists.close()
        media.close()


async def _play_plain(crowd: Crowd, lists: _Connection, media: _Connection) -> None:
    base = f"/api/streams/{crowd.stream_id}/{crowd.quality}"
    while True:
        text = await lists.get(f"{base}/playlist.m3u8")
        segments = [one[0] or one[1] for one in _SEGMENT.findall(text)]
        if segments:
            await media.get(f"{base}/{segments[-1].decode()}")
        target = _TARGET.search(text)
        await asyncio.sleep(int(target[1]) if target else 2)


async def _play_blocking(crowd: Crowd, number: int, lists: _Connection, media: _Connection) -> None:
    base = f"/api/streams/{crowd.stream_id}/{crowd.quality}"
    said = ""
    if crowd.kind == "named":
        sid = f"{crowd.agent[:8].replace('/', '-')}-{number}-{crowd.address}"
        said = f"CMCD=br%3D2500%2Cbl%3D800%2Cmtp%3D20000%2Csid%3D%22{sid}%22"
    reload = said
    async with asyncio.TaskGroup() as group:
        fetched: asyncio.Task[bytes] | None = None
        while True:
            text = await lists.get(f"{base}/playlist.m3u8?{reload}".rstrip("?"))
            parts = _PART.findall(text)
            if parts and (fetched is None or fetched.done()):
                fetched = group.create_task(
                    media.get(f"{base}/{parts[-1].decode()}?{said}".rstrip("?"))
                )
            hint = _HINT.search(text)
            if hint is None:
                return
            reload = f"_HLS_msn={int(hint[1])}&_HLS_part={int(hint[2])}"
            reload += f"&{said}" if said else ""


async def _main() -> None:
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    crowds: dict[str, list[asyncio.Task[None]]] = {}
    numbers = itertools.count()
    while line := await reader.readline():
        order = json.loads(line)
        if "end" in order:
            for task in crowds.pop(order["end"]):
                task.cancel()
        else:
            name = order.pop("begin")
            crowd = Crowd(**order)
            crowds[name] = [
                asyncio.create_task(_play(crowd, next(numbers))) for _ in range(crowd.count)
            ]
    for tasks in crowds.values():
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(_main())
