"""The parent's side of the demo: its stream, its child process, and the restarts of that.

`run_demo` is one task for the app's nursery: it returns never, raises `StoreError` only, and
takes its child with it when cancelled.
"""

import contextlib
import os
import subprocess
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Final, Literal

import structlog
import trio

from control import Store, Stream
from edge.process.address import Address

DEMO_TITLE: Final = "Headrace demo"
DEMO_BROADCASTER: Final = "headrace-demo"

#: First and longest pause before a restart, doubled from one to the other.
RESTART_MIN_S: Final = 1.0
RESTART_MAX_S: Final = 30.0

#: Who lived that long starts with the shortest pause again.
HEALTHY_S: Final = 30.0

#: From the end of its stdin, the child's time to unpublish; then as much again from SIGTERM to
#: SIGKILL.
STOP_TIMEOUT_S: Final = 2.0

#: Where this very tree's packages are: the child must import the same ones.
_ROOT: Final = Path(__file__).resolve().parents[2]

log = structlog.get_logger()


async def run_demo(
    store: Store, *, rtmp: Address, http: Address, log_format: Literal["text", "json"] = "text"
) -> None:
    """Publish the demo broadcast to this origin until cancelled, and print where to watch it.

    Args:
        store: Where the stream "Headrace demo" is found or made; its key is replaced on each start.
        rtmp: Where the origin listens for publishers: the actual port, not 0.
        http: Where it serves viewers: the actual port, not 0.
        log_format: Passed on to the child, which shares our stderr.

    Raises:
        StoreError: The stream could not be prepared.
    """
    stream, key = await prepare_stream(store)
    watch_url = f"http://{http.reachable}/watch/{stream.id}"
    log.info("demo", stream=stream.id, watch=watch_url)
    with contextlib.suppress(OSError):  # nobody may be reading stdout
        print(f"Demo broadcast: {watch_url}", flush=True)
    url = f"rtmp://{rtmp.reachable}/live"
    await supervise([sys.executable, "-m", "origin.demo", "--log-format", log_format, url], key)


async def prepare_stream(store: Store) -> tuple[Stream, str]:
    """Find or make the demo's stream, under the same id on every start.

    Returns:
        The stream and a new key: the old one was never kept.
    """
    for stream in await store.list_streams():
        if stream.broadcaster_id == DEMO_BROADCASTER and stream.title == DEMO_TITLE:
            return await store.rotate_key(stream.id)
    return await store.create_stream(broadcaster_id=DEMO_BROADCASTER, title=DEMO_TITLE)


async def supervise(command: Sequence[str], key: str) -> None:
    """Keep a child running, with growing pauses while it keeps failing.

    Args:
        command: Program and arguments; none of them secret.
        key: Written to the child's stdin as one line. Stdin stays open after it.

    Cancellation: the child is asked to end by the end of its stdin, then terminated, then killed;
    returns within twice `STOP_TIMEOUT_S`, and leaves no process behind.
    """
    pause_s = RESTART_MIN_S
    while True:
        started_s = trio.current_time()
        exit_code = await _run_child(command, key)
        lived_s = trio.current_time() - started_s
        if lived_s >= HEALTHY_S:
            pause_s = RESTART_MIN_S
        log.warning("demo ended", exit_code=exit_code, lived_s=round(lived_s), pause_s=pause_s)
        await trio.sleep(pause_s)
        pause_s = min(2 * pause_s, RESTART_MAX_S)


async def _run_child(command: Sequence[str], key: str) -> int | str:
    """Run the child once.

    Returns:
        Its exit code (negative: the signal that ended it), or why it could not start.
    """
    environment = {k: v for k, v in os.environ.items() if k != "HEADRACE_ADMIN_TOKEN"}
    start = partial(
        trio.run_process,
        list(command),
        stdin=subprocess.PIPE,
        check=False,
        deliver_cancel=_stop,
        cwd=_ROOT,
        env=environment,
    )
    async with trio.open_nursery() as nursery:
        try:
            process: trio.Process = await nursery.start(start)
        except OSError as error:
            return str(error)
        assert process.stdin is not None
        # A child that dies at once breaks the pipe; its exit code tells more.
        with contextlib.suppress(trio.BrokenResourceError):
            await process.stdin.send_all(key.encode() + b"\n")
    assert process.returncode is not None
    return process.returncode


async def _stop(process: trio.Process) -> None:
    """End a child; trio runs this shielded, and cancels it when the child is gone."""
    assert process.stdin is not None
    await process.stdin.aclose()
    await trio.sleep(STOP_TIMEOUT_S)
    process.terminate()
    await trio.sleep(STOP_TIMEOUT_S)
    process.kill()
