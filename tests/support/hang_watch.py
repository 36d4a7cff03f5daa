"""Running what may hang for ever, in a process of its own that can be killed.

A library's call that never returns cannot be interrupted in this process, and would hold up the
whole run. What hung is said in the run's output, and tried again.
"""

import multiprocessing
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

TRIES = 3


def run_apart(work: Callable[[], T], *, timeout_s: float) -> T:
    """Return what `work` returns; it is tried anew when it takes too long.

    Args:
        work: Returns something that can be pickled. The process is a fork of this one, so there
            should be no threads that it needs.
        timeout_s: How long each of `TRIES` may take.

    Raises:
        TimeoutError: It hung each time.
        RuntimeError: It failed.
    """
    context = multiprocessing.get_context("fork")
    for attempt in range(TRIES):
        ours, theirs = context.Pipe(duplex=False)
        process = context.Process(target=lambda end=theirs: end.send(work()))
        process.start()
        theirs.close()
        try:
            if ours.poll(timeout_s):
                return ours.recv()  # type: ignore[no-any-return]  # our own bytes
        except EOFError:
            raise RuntimeError("it failed; see its traceback") from None
        finally:
            process.kill()
            process.join()
            ours.close()
        print(f"hung for {timeout_s:g} s, attempt {attempt + 1} of {TRIES}")
    raise TimeoutError(f"it hung {TRIES} times")
