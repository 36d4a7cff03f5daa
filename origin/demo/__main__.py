"""The demo publisher's process: ``python -m origin.demo [--log-format json] rtmp://HOST:PORT/APP``.

The stream key is the first line of stdin: arguments and environment are open to other users.
Stdin then stays open for as long as the demo shall run; its end (also by the parent's death) ends
the publication.

Exit codes: 0 when stdin ended; 1 when publishing failed, with a logged reason; 2 for wrong
arguments.
"""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Sequence
from typing import Final, Literal, NamedTuple, cast

import structlog
import trio

from edge.process.address import Address, parse_address
from edge.process.log import configure_logging
from origin.demo.encoder import FRAME_RATE, DemoEncoder
from origin.demo.pacing import Pacer
from origin.rtmp.client import Publisher, PublisherError, open_publisher

#: A key has 37 characters.
_MAX_KEY_BYTES: Final = 256

_URL: Final = re.compile(r"rtmp://(?P<address>[^/]+)/(?P<app>[^/?#]+)/?")

log = structlog.get_logger()


class Target(NamedTuple):
    """Where to publish: an address and an application name, without the key."""

    address: Address
    app: str


def parse_target(url: str) -> Target:
    """Read ``rtmp://HOST:PORT/APP``.

    Raises:
        ValueError: It has another form.
    """
    match = _URL.fullmatch(url)
    if match is None:
        raise ValueError("expected rtmp://HOST:PORT/APP")
    return Target(parse_address(match["address"]), match["app"])


async def run_child(target: Target, stdin: trio.abc.ReceiveStream) -> int:
    """Publish until stdin ends.

    Args:
        target: Where to publish.
        stdin: Gives the key and a newline, then nothing, then its end.

    Returns:
        The exit code.
    """
    key = await _read_key(stdin)
    if not key:
        return 0  # the parent died before it said anything
    exit_code = 0
    async with trio.open_nursery() as nursery:

        async def watch_parent() -> None:
            while await stdin.receive_some():
                pass
            nursery.cancel_scope.cancel(reason="stdin ended")

        nursery.start_soon(watch_parent)
        encoder = await trio.to_thread.run_sync(DemoEncoder)  # some 50 ms of painting
        try:
            async with open_publisher(
                target.address.host, target.address.port, target.app, key
            ) as publisher:
                log.info("demo publishing", server=str(target.address))
                await publish(publisher, encoder)
        except PublisherError as error:
            log.warning("demo publisher failed", reason=str(error))
            exit_code = 1
        nursery.cancel_scope.cancel(reason="done")
    return exit_code


async def publish(publisher: Publisher, encoder: DemoEncoder) -> None:
    """Send the broadcast in real time; ends by cancellation only.

    Args:
        publisher: An open publication.
        encoder: Fresh: its frame 0 is now.

    Raises:
        PublisherError: The publication ended at the server's side.
    """
    await publisher.send_metadata(encoder.metadata)
    await publisher.send_video_config(encoder.video_config)
    await publisher.send_audio_config(encoder.audio_config)
    pacer = Pacer(trio.current_time(), FRAME_RATE)
    while True:
        frame, due_s = pacer.next_frame(trio.current_time())
        await trio.sleep_until(due_s)
        # Not abandoned when cancelled: a few ms, and the encoder is not to be used by two.
        for packet in await trio.to_thread.run_sync(encoder.encode, frame):
            if packet.kind == "video":
                await publisher.send_video(
                    packet.data, timestamp_ms=packet.timestamp_ms, keyframe=packet.keyframe
                )
            else:
                await publisher.send_audio(packet.data, timestamp_ms=packet.timestamp_ms)


async def _read_key(stdin: trio.abc.ReceiveStream) -> str:
    line = b""
    while b"\n" not in line and len(line) <= _MAX_KEY_BYTES:
        chunk = await stdin.receive_some(_MAX_KEY_BYTES)
        if not chunk:
            break
        line += chunk
    return line.partition(b"\n")[0].decode("ascii", "replace").strip()


def main(arguments: Sequence[str]) -> int:
    """Run the process; see the module's header.

    Args:
        arguments: The command line without the program's name.

    Returns:
        The exit code.
    """
    log_format: Literal["text", "json"] = "text"
    if arguments[:1] == ["--log-format"] and arguments[1:2] in (["text"], ["json"]):
        log_format = cast('Literal["text", "json"]', arguments[1])
        arguments = arguments[2:]
    configure_logging(log_format)
    try:
        (url,) = arguments
        target = parse_target(url)
    except ValueError:
        print(
            "usage: python -m origin.demo rtmp://HOST:PORT/APP, the key on stdin", file=sys.stderr
        )
        return 2

    async def run() -> int:
        # A copy, since closing it must not take fd 0 from under the interpreter.
        async with trio.lowlevel.FdStream(os.dup(sys.stdin.fileno())) as stdin:
            return await run_child(target, stdin)

    # Ctrl-C in a terminal reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(KeyboardInterrupt):
        return trio.run(run)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
