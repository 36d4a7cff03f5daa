"""A worker of an edge that is none: speaks the supervisor's language, serves its own process id.

Run as a program; stdlib only. `FAKE_WORKER` names a file whose word says how it behaves from its
next start on:

    serve     says "ready", answers each connection with `PID LOG_LEVEL`, ends at the end of stdin
    slow      the same, but a request waits until `DRAIN_S` after the end of stdin
    deaf      the same as serve, but does not end when told
    refuse    says "refused no luck today"
    die       ends without a word
    hang      says nothing, and does not end
"""

import json
import os
import select
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

DRAIN_S = 0.4


def main() -> None:
    """Behave."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    mode = Path(os.environ["FAKE_WORKER"]).read_text()
    order = json.loads(sys.stdin.readline())
    match mode:
        case "refuse":
            print("refused no luck today", flush=True)
            sys.exit(2)
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "hang":
            signal.pause()
    (listener,) = (socket.socket(fileno=descriptor) for descriptor in order["http"])
    listener.setblocking(False)
    print("ready", flush=True)
    _serve(listener, order, mode)


def _serve(listener: socket.socket, order: dict[str, Any], mode: str) -> None:
    waiting: list[socket.socket] = []
    watched: list[socket.socket | int] = [listener, 0]
    while True:
        readable, _, _ = select.select(watched, [], [])
        if 0 in readable:
            if mode == "deaf":
                signal.pause()
            break
        try:
            connection, _ = listener.accept()
        except BlockingIOError:  # another worker on this slot was faster
            continue
        waiting.append(connection)
        if mode != "slow":
            _answer(waiting, order)
    listener.close()
    if mode == "slow":
        time.sleep(DRAIN_S)
    _answer(waiting, order)


def _answer(waiting: list[socket.socket], order: dict[str, Any]) -> None:
    while waiting:
        connection = waiting.pop()
        connection.setblocking(True)
        text = f"{os.getpid()} {order['settings']['log_level']}"
        connection.recv(1)
        connection.sendall(text.encode())
        connection.close()


if __name__ == "__main__":
    main()
