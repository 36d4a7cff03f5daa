"""A transcode worker that encodes nothing: ``python fake_transcoder.py MODE [FILE]``.

It answers each picture at once, in each rung, with made-up bytes, and can go wrong on purpose. It
has the frames of the pipe written out by hand, so that it shares no code with what it tests.

FILE, if given, counts its starts, a byte for each, so that a mode may be for the first start only:
``crash-once`` is ``crash`` at the first start and ``good`` from then on.

Modes: good; deaf (never reads); mute (never writes); hang (stops itself after 10 pictures);
crash (kills itself after 10 pictures); fault (says why, exit code 1); garbage (bytes that are no
frame); alien (a configuration that makes no sense); busy (reads, beats, never answers);
slow (takes a quarter of a second for a picture).
"""

import json
import os
import select
import signal
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Any, BinaryIO

sys.path.insert(0, str(Path(__file__).resolve().parent))

from media_samples import avc_record, picture

GREETING = b"HRTX\0\0\0\2"
SETUP, VIDEO_CONFIG, PICTURE, RUNG_RATE = 1, 2, 3, 6
READY, RUNG_CONFIG, CODED, STATUS, FAULT = 65, 66, 67, 68, 69
AFTER = 10


def frame(kind: int, payload: bytes) -> bytes:
    return struct.pack(">II", kind << 24, len(payload)) + payload


def status(rungs: int) -> bytes:
    rung = {"frames": 1, "bytes": 1, "encode_s": 0.1, "newest_pts_ticks": None}
    return frame(
        STATUS,
        json.dumps(
            {
                "decoded": 1, "decode_errors": 2, "lost": 0, "newest_pts_ticks": None,
                "rungs": [rung] * rungs, "black": False, "frozen": True, "silent": None,
                "av_drift_s": 0.25, "busy_s": 0.0, "rss_bytes": 1000,
            }
        ).encode(),
    )  # fmt: skip


class Worker:
    def __init__(self, mode: str, source: BinaryIO, sink: BinaryIO) -> None:
        self.mode = mode
        self.source = source
        self.sink = sink
        self.lock = threading.Lock()
        self.rungs: list[dict[str, Any]] = []
        self.pictures = 0
        self.configured = False

    def write(self, data: bytes) -> None:
        with self.lock:
            self.sink.write(data)
            self.sink.flush()

    def read(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            more = self.source.read(size - len(data))
            if not more:
                raise EOFError
            data += more
        return data

    def run(self) -> int:
        if self.mode == "deaf":
            self.write(GREETING)
            self.beat()
            return 0
        if self.mode == "mute":
            select.select([], [], [], 60)
            return 0
        assert self.read(8) == GREETING
        self.write(GREETING + (b"\xff" * 8 if self.mode == "garbage" else b""))
        threading.Thread(target=self.beat, daemon=True).start()
        try:
            while True:
                first, size = struct.unpack(">II", self.read(8))
                self.take(first >> 24, self.read(size))
        except EOFError:
            return 0

    def beat(self) -> None:
        for _ in range(240):
            if self.rungs or self.mode == "deaf":
                self.write(status(len(self.rungs)))
            time.sleep(0.25)  # a heartbeat, not a condition

    def take(self, kind: int, payload: bytes) -> None:
        if kind == SETUP:
            self.rungs = json.loads(payload)["rungs"]
            names = [rung["encoder"] for rung in self.rungs]
            self.write(frame(READY, json.dumps({"encoders": names}).encode()))
        elif kind == RUNG_RATE:
            rung, divisor = payload
            self.rungs[rung]["divisor"] = divisor
        elif kind == PICTURE and self.mode != "busy":
            self.answer(payload)

    def answer(self, payload: bytes) -> None:
        number, pts, flags = struct.unpack_from(">QqB", payload)
        self.pictures += 1
        if self.pictures > AFTER:
            self.go_wrong()
        if self.mode == "slow":
            time.sleep(0.25)  # this is what it is for
        out = b""
        for index, rung in enumerate(self.rungs):
            if not rung["divisor"]:
                continue
            if not self.configured:
                record = b"nonsense" if self.mode == "alien" else avc_record()
                out += frame(RUNG_CONFIG, struct.pack(">B4s", index, b"avc1") + record)
            idr = bool(flags & 1) or not self.configured
            data = picture(idr=idr, number=number)
            out += frame(CODED, struct.pack(">BQqB", index, number, pts, idr) + data)
        self.configured = True
        self.write(out)

    def go_wrong(self) -> None:
        if self.mode == "hang":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif self.mode == "crash":
            os.kill(os.getpid(), signal.SIGKILL)
        elif self.mode == "fault":
            self.write(frame(FAULT, b"out of memory"))
            os._exit(1)


def main() -> int:
    mode = sys.argv[1]
    if len(sys.argv) > 2:
        count = Path(sys.argv[2])
        with count.open("ab") as file:
            file.write(b".")
        if mode.endswith("-once"):
            mode = mode.removesuffix("-once") if count.stat().st_size == 1 else "good"
    return Worker(mode, sys.stdin.buffer, sys.stdout.buffer).run()


if __name__ == "__main__":
    sys.exit(main())
