"""A process that holds many connections open and says no more than it was told to say.

It reads one line of JSON (port, connections, what each sends and what must come back, in hex),
prints "open" when it has come to all of them, and holds everything until its standard input ends.
It shares no code with what it tests.
"""

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

CONNECTING = 200
"""At one time; a queue of the kernel that overflows would cost a second."""


@contextmanager
def half_open_peers(port: int, connections: int, sent: bytes, answer: bytes) -> Iterator[None]:
    """Run this file while the block runs, which begins when all have got the answer."""
    plan = json.dumps(
        {
            "port": port,
            "connections": connections,
            "sent": sent.hex(),
            "answer": answer.hex(),
        }
    )
    with subprocess.Popen(
        [sys.executable, str(Path(__file__))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(plan + "\n")
            process.stdin.flush()
            assert process.stdout is not None
            assert process.stdout.readline() == "open\n"
            yield
        finally:
            process.kill()


def main() -> None:
    """Do what the line on standard input says."""
    plan = json.loads(sys.stdin.readline())
    sent, answer = bytes.fromhex(plan["sent"]), bytes.fromhex(plan["answer"])
    held: list[socket.socket] = []
    while len(held) < plan["connections"]:
        count = min(CONNECTING, plan["connections"] - len(held))
        group = [socket.create_connection(("127.0.0.1", plan["port"])) for _ in range(count)]
        for peer in group:
            peer.sendall(sent)
        for peer in group:
            received = b""
            while answer not in received:
                data = peer.recv(65_536)
                if not data:
                    raise SystemExit("a connection was closed")
                received += data
        held += group
    print("open", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
