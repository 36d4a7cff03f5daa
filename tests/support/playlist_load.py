"""Many blocked playlist requests from one cheap process: `python playlist_load.py`, plan on stdin.

Each viewer keeps one connection and does what hls.js does: it asks for the playlist that will hold
the next part (the one that the preload hint names), is held until that part exists, and asks on.

Prints one line at the end: what happened, as JSON (`Report`).
"""

import json
import re
import select
import socket
import sys
import time
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

HINT = re.compile(rb'PRELOAD-HINT:TYPE=PART,URI="(part-[0-9a-f]+-(\d+)\.(\d+)\.m4s)"')
LENGTH = re.compile(rb"\r\nContent-Length: (\d+)\r\n")
PART_S = 0.2
LOOK_S = 0.25
"""How often to look whether everything has been seen."""


@dataclass
class Report:
    """What a run came to."""

    answers: list[int] = field(default_factory=list)
    """Answers that each viewer got."""
    errors: list[str] = field(default_factory=list)
    """What was wrong with any of them."""
    last_msn: dict[str, int] = field(default_factory=dict)
    """The newest msn that anybody saw, by stream."""
    held_at_end: int = 0
    """Viewers that were held when the run ended."""
    lateness_ms: dict[str, float] = field(default_factory=dict)
    """From the instant at which a part's media was complete to the answer that lists it:
    percentiles. A negative value is impossible but for the publisher's own jitter."""
    watched_s: float = 0.0
    cpu_s: float = 0.0


class Viewer:
    """One connection, one request at a time."""

    def __init__(self, port: int, stream: str) -> None:
        self.stream = stream
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=10)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.asked = b""
        self.answers = 0
        self.ended = False
        self._path = f"/api/streams/{stream}/source/playlist.m3u8"

    def ask(self, query: str = "") -> None:
        """Send one request."""
        request = f"GET {self._path}{query} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
        self.socket.sendall(request.encode())

    def take(self) -> bytes | None:
        """Read; the whole answer if it is complete now. Raises ConnectionError."""
        data = self.socket.recv(65_536)
        if not data:
            raise ConnectionError("closed")
        self.received += data
        head, found, body = self.received.partition(b"\r\n\r\n")
        length = LENGTH.search(head)
        if not found or length is None or len(body) < int(length[1]):
            return None
        answer, self.received = self.received, b""
        return answer

    def judge(self, answer: bytes, report: Report) -> float | None:
        """Check an answer, ask on; returns its lateness in seconds, None when it has none."""
        now_s = time.time()
        self.answers += 1
        if not answer.startswith(b"HTTP/1.1 200 "):
            report.errors.append(f"{self.stream}: {answer[:60]!r}")
            self.ended = True
            return None
        if self.asked and b'URI="%b"' % self.asked not in answer.partition(b"#EXT-X-PRELOAD")[0]:
            report.errors.append(f"{self.stream}: no {self.asked!r}")
        first, self.asked = not self.asked, b""
        hint = HINT.search(answer)
        if hint is None:
            self.ended = True  # ENDLIST
            return None
        self.asked = hint[1]
        msn, part = int(hint[2]), int(hint[3])
        report.last_msn[self.stream] = max(msn, report.last_msn.get(self.stream, 0))
        self.ask(f"?_HLS_msn={msn}&_HLS_part={part}")
        if first:
            return None
        at = answer.rindex(b"PROGRAM-DATE-TIME:") + 18
        begun_s = datetime.fromisoformat(answer[at : at + 24].decode()).timestamp()
        return now_s - begun_s - PART_S * answer.count(b"#EXT-X-PART:", at)


def run(
    port: int, streams: list[str], viewers: int, *, watch_s: float, until_msn: int, most_s: float
) -> Report:
    """Keep so many viewers held, spread over the streams.

    Args:
        port: HTTP port of the origin.
        streams: Stream ids.
        viewers: How many in all.
        watch_s: Watch for so long, and
        until_msn: until every stream has come to this msn and every viewer to that many answers,
        most_s: but no longer than this.
    """
    report = Report()

    def has_seen_all() -> bool:
        return (
            len(report.last_msn) == len(streams)
            and min(report.last_msn.values()) >= until_msn
            and min(viewer.answers for viewer in crowd.values()) > until_msn
        )

    lateness: list[float] = []
    poll = select.epoll()
    crowd: dict[int, Viewer] = {}
    for index in range(viewers):
        viewer = Viewer(port, streams[index % len(streams)])
        viewer.ask()
        crowd[viewer.socket.fileno()] = viewer
        poll.register(viewer.socket, select.EPOLLIN)
    cpu_before = time.process_time()
    begun = time.monotonic()
    while (watched_s := time.monotonic() - begun) < most_s:
        if watched_s >= watch_s and has_seen_all():
            break
        for descriptor, _ in poll.poll(LOOK_S):
            viewer = crowd[descriptor]
            try:
                answer = viewer.take()
            except OSError as error:
                report.errors.append(f"{viewer.stream}: {error!r}")
                viewer.ended = True
            else:
                late_s = None if answer is None else viewer.judge(answer, report)
                if late_s is not None:
                    lateness.append(late_s)
            if viewer.ended:
                poll.unregister(descriptor)
    report.watched_s = time.monotonic() - begun
    report.cpu_s = time.process_time() - cpu_before
    report.answers = [viewer.answers for viewer in crowd.values()]
    report.held_at_end = sum(not viewer.ended for viewer in crowd.values())
    lateness.sort()
    for share in (0.5, 0.9, 0.99, 1.0):
        if lateness:
            value = lateness[min(len(lateness) - 1, int(share * len(lateness)))]
            report.lateness_ms[f"p{share * 100:g}"] = round(value * 1000, 1)
    return report


def main() -> None:
    """Read the plan from stdin and run it."""
    plan: dict[str, Any] = json.loads(sys.stdin.readline())
    report = run(**plan)
    print(json.dumps(asdict(report)), flush=True)


if __name__ == "__main__":
    main()
