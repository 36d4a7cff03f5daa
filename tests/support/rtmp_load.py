"""Many publishers from one cheap process: `python rtmp_load.py`, the plan as JSON on stdin.

All send the same clip, whose chunks are computed once for the whole run, each message by itself at
its time, as encoders do; the publishers are spread evenly over one frame interval, and over one
part. Nothing that the server says is parsed once the publication has started.

Prints two lines: ``started``, and at the end what happened as JSON (`Report`).
"""

import json
import select
import socket
import sys
import time
from collections import defaultdict
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import rtmp_publishers as wire

SPREAD_MS = 200
START_TIMEOUT_S = 20.0


@dataclass
class Report:
    """What a run came to."""

    messages: int = 0
    late_ms_max: float = 0.0
    """Most that the generator itself was behind its schedule."""
    blocked: int = 0
    """Sends that the kernel took only in part: the server did not keep up."""
    lost: list[int] = field(default_factory=list)
    """Publishers, by index, that the server disconnected."""
    cpu_s: float = 0.0


class Publisher:
    """One connection."""

    def __init__(self, port: int, key: str) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=START_TIMEOUT_S)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.sendall(wire.opening(key))
        self.pending = b""
        self.lost = False

    def wait_started(self, headers: bytes) -> None:
        """Wait for consent, then send the sequence headers."""
        received = b""
        while wire.PUBLISH_START not in received:
            data = self.socket.recv(65_536)
            if not data:
                raise SystemExit("refused: " + repr(received[-200:]))
            received += data
        self.socket.sendall(headers)
        self.socket.setblocking(False)

    def send(self, data: bytes) -> bool:
        """Send what can be sent; False if some had to wait."""
        if self.pending:
            data = self.pending + data
        try:
            sent = self.socket.send(data)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.lost = True
            return True
        self.pending = data[sent:]
        return not self.pending


def run(port: int, keys: list[str], clip: Path, duration_s: float) -> Report:
    """Publish with every key for so long, or until there is another line on stdin."""
    media = wire.load_media(clip)
    schedule: dict[int, list[bytes]] = defaultdict(list)
    for start_ms in range(0, round(duration_s * 1000), media.duration_ms):
        for due_ms, data in media.messages(offset_ms=start_ms):
            schedule[due_ms].append(data)
    publishers = [Publisher(port, key) for key in keys]
    for publisher in publishers:
        publisher.wait_started(media.headers)
    print("started", flush=True)

    report = Report()
    by_phase: dict[int, list[Publisher]] = defaultdict(list)
    for index, publisher in enumerate(publishers):
        by_phase[index * SPREAD_MS // len(publishers)].append(publisher)
    phases = sorted(by_phase.items())
    stop = select.poll()
    stop.register(sys.stdin, select.POLLIN)
    cpu_before = time.process_time()
    started = time.monotonic()
    for now_ms in range(round(duration_s * 1000) + SPREAD_MS):
        if stop.poll(0):
            break
        late_s = time.monotonic() - started - now_ms / 1000
        if late_s < 0:
            time.sleep(-late_s)
        elif late_s * 1000 > report.late_ms_max:
            report.late_ms_max = late_s * 1000
        for phase_ms, group in phases:
            for data in schedule.get(now_ms - phase_ms, ()):
                for publisher in group:
                    report.messages += 1
                    report.blocked += not publisher.send(data)
    report.cpu_s = time.process_time() - cpu_before
    watched = select.poll()
    for index, publisher in enumerate(publishers):
        watched.register(publisher.socket, select.POLLRDHUP | select.POLLHUP)
        if publisher.lost or watched.poll(0):
            report.lost.append(index)
        watched.unregister(publisher.socket)
    return report


def main() -> None:
    """Read the plan from stdin and run it."""
    plan: dict[str, Any] = json.loads(sys.stdin.readline())
    report = run(plan["port"], plan["keys"], Path(plan["clip"]), plan["duration_s"])
    print(json.dumps(asdict(report)), flush=True)


if __name__ == "__main__":
    main()
