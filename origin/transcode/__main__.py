"""``python -m origin.transcode [ADDRESS_SPACE_BYTES]``: the worker process of one broadcast.

Told by its parent through stdin what to do (`wire.Setup`), it gives up its rights (`sandbox`) and
works (`worker`). It reads nothing else: no file, no setting, no environment. Exit code 0 when stdin
has ended and everything is written, 1 after a `wire.Fault`, or when nobody reads any more.

The setup is read before the rights are given up, for it decides which: an encoder in hardware opens
devices and drivers at its first picture.

SIGINT is ignored, because a terminal sends it to the whole group and the parent decides; SIGTERM
kills, as by default: nothing here needs cleaning up. At the end the process exits without a word
to the threads, one of which may be stuck in a codec.
"""

import contextlib
import os
import resource
import signal
import sys
from functools import partial
from typing import Final

# Linear algebra is not needed, and its threads would take 8 MiB of stack each.
os.environ["OPENBLAS_NUM_THREADS"] = "1"

import trio

from edge.process.memory import calm_collector, keep_pages
from origin.transcode import wire
from origin.transcode.encode import SOFTWARE
from origin.transcode.sandbox import confine
from origin.transcode.worker import READ_BYTES, Worker, fault_text, read_setup

DEFAULT_ADDRESS_SPACE_BYTES: Final = 4 * 1024**3
"""A ladder from 1080p has 1.5 GiB mapped, of which 0.3 are resident."""


def main(arguments: list[str]) -> int:
    """Run the worker.

    Returns:
        The exit code.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_pages()
    space_bytes = int(arguments[0]) if arguments else DEFAULT_ADDRESS_SPACE_BYTES
    try:
        received = read_setup(partial(os.read, 0, READ_BYTES))
        if received is None:
            return 0
        setup, reader, early = received
        memory = _open_memory()
        confinement = confine(
            address_space_bytes=space_bytes,
            opens_devices=any(rung.encoder not in SOFTWARE for rung in setup.rungs),
            keep=() if memory is None else (memory,),
        )
    except Exception as error:
        _say(fault_text(error))
        return 1

    async def work() -> int:
        worker = Worker(
            setup=setup,
            reader=reader,
            early=early,
            stdin=trio.lowlevel.FdStream(0),
            stdout=trio.lowlevel.FdStream(1),
            confinement=str(confinement),
            cores=len(os.sched_getaffinity(0)),
            resident_bytes=partial(_resident_bytes, memory),
        )
        return await worker.run()

    calm_collector()
    return trio.run(work)


def _open_memory() -> int | None:
    """A descriptor that tells how much memory is in use; it cannot be opened later."""
    try:
        return os.open("/proc/self/statm", os.O_RDONLY)
    except OSError:
        return None


def _resident_bytes(memory: int | None) -> int:
    """What is resident now; failing that, the most that ever was."""
    if memory is None:
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    os.lseek(memory, 0, os.SEEK_SET)
    return int(os.read(memory, 256).split()[1]) * resource.getpagesize()


def _say(fault: str) -> None:
    """Write a fault when there is no loop yet; the pipe is empty, so it takes it."""
    with contextlib.suppress(OSError):  # nobody reads
        os.write(1, wire.GREETING + wire.encode(wire.Fault(fault)))


if __name__ == "__main__":
    exit_code = 1
    try:
        exit_code = main(sys.argv[1:])
    except BaseException as error:  # a bug, and no traceback: it could hold media
        print(f"transcode worker: {fault_text(error)}", file=sys.stderr, flush=True)
    os._exit(exit_code)
