"""Children of the end-to-end tests: started, watched and always ended.

Every program a test drives (the origin, OBS, ffmpeg, Xvfb) is one `Child`: a process group of its
own, its output in a file, its end in a `with`. Waiting is always for something that is seen (a log
line, an exit code, a predicate) and always has a deadline; the short pauses between two looks are
not conditions.

Shares no code with what it tests.
"""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

import pytest

POLL_S = 0.05
"""Pause between two looks at a condition."""

T = TypeVar("T")


def wait_until(look: Callable[[], T | None], *, timeout_s: float, what: str) -> T:
    """Look until `look` returns something true, and return that.

    Raises:
        AssertionError: Nothing true was seen within `timeout_s`; the text says `what`.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise AssertionError(f"not within {timeout_s:g} s: {what}")
        time.sleep(POLL_S)


#: Debian package of each program the suite drives, for the reason of a skip.
PACKAGES = {
    "obs": "obs-studio",
    "Xvfb": "xvfb",
    "dbus-run-session": "dbus",
    "chromium": "chromium",
    "ffmpeg": "ffmpeg",
    "ffprobe": "ffmpeg",
    "ffplay": "ffmpeg",
    "gst-launch-1.0": "gstreamer1.0-tools",
    "h2load": "nghttp2-client",
}


def need_programs(*names: str) -> None:
    """Skip the running test, with one line that says which program is missing."""
    for name in names:
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed (Debian: {PACKAGES.get(name, name)})")


class Child:
    """One running program in its own process group, both outputs in one file.

    Use as a context manager: leaving ends the whole group, by SIGTERM and after
    `stop_timeout_s` by SIGKILL.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        pass_fds: Sequence[int] = (),
        stop_timeout_s: float = 10.0,
    ) -> None:
        self.argv = list(argv)
        self.log = log
        self._stop_timeout_s = stop_timeout_s
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=dict(env) if env is not None else None,
                cwd=cwd,
                pass_fds=pass_fds,
                start_new_session=True,
                # A shell that runs these tests in the background ignores SIGINT, and so would this.
                preexec_fn=partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
            )

    @property
    def pid(self) -> int:
        """Process id, which is also the id of its group."""
        return self._process.pid

    def exit_code(self) -> int | None:
        """The exit code, or None while it runs."""
        return self._process.poll()

    def log_text(self) -> str:
        """Everything written so far."""
        return self.log.read_text(errors="replace")

    def wait(self, timeout_s: float) -> int:
        """Wait for the end; the exit code (negative: killed by that signal)."""
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            raise AssertionError(
                f"{self.argv[0]} still runs after {timeout_s:g} s; its log ends:\n{self.tail()}"
            ) from None

    def wait_for_log(self, pattern: str, *, timeout_s: float) -> re.Match[str]:
        """Wait for a line that matches; fail at once if the program ends without it."""

        def look() -> re.Match[str] | None:
            # Exit first, log second: what was written before the end is then seen.
            ended = self.exit_code()
            match = re.search(pattern, self.log_text())
            if match is None and ended is not None:
                raise AssertionError(
                    f"{self.argv[0]} ended with {ended}, no {pattern!r} in:\n{self.tail()}"
                )
            return match

        try:
            return wait_until(look, timeout_s=timeout_s, what=f"{pattern!r} in {self.log.name}")
        except AssertionError as error:
            error.add_note(self.tail())
            raise

    def tail(self, lines: int = 30) -> str:
        """The last lines of the log, for the text of a failure."""
        return "\n".join(self.log_text().splitlines()[-lines:])

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the program alone, not to its children."""
        self._process.send_signal(number)

    def stop(self) -> int:
        """SIGTERM to the whole group, SIGKILL if that is not enough; the exit code."""
        for number in (signal.SIGTERM, signal.SIGKILL):
            self._signal_group(number)
            try:
                code = self._process.wait(self._stop_timeout_s)
            except subprocess.TimeoutExpired:
                continue
            self._signal_group(signal.SIGKILL)  # children that outlived their parent
            return code
        raise AssertionError(f"{self.argv[0]} survives SIGKILL")

    def _signal_group(self, number: signal.Signals) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
