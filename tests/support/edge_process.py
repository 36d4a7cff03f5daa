"""Origins and edges that may be killed and started again: real programs on ports that they keep.

A `Node` is one program with all its children (an edge's workers, say), which share its process
group. It gets free ports at its first start and the same ones at the next. `kill` is what a power
cut is, `stop` what an administrator does; after a stop the exit code must be 0, and its logs must
hold no traceback and no Python warning.

Shares no code with what it drives.
"""

import contextlib
import os
import re
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from child_process import Child, wait_until
from origin_process import ROOT, START_TIMEOUT_S, STOP_TIMEOUT_S, Origin

KILL_TIMEOUT_S = 5.0


class Node:
    """One program of ours, running or not.

    Args:
        module: What `python -m` runs.
        listeners: Names of its listeners; each is a flag, and a word of its line `listening`.
        folder: For its logs, `{name}-{number}.log`, one for each start.
        name: For its logs.
        arguments: More of the command line.
        env: More of the environment; of the caller's, HEADRACE_PURE is the only setting that it
            gets.
    """

    def __init__(
        self,
        module: str,
        listeners: tuple[str, ...],
        folder: Path,
        *arguments: str,
        name: str,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self.addresses = dict.fromkeys(listeners, "127.0.0.1:0")
        """HOST:PORT of each listener, once it has been started."""
        self._command = [sys.executable, "-m", module]
        self._arguments = arguments
        self._folder = folder
        self._env = {
            key: text
            for key, text in os.environ.items()
            if key == "HEADRACE_PURE" or not key.startswith("HEADRACE_")
        }
        self._env |= {"PYTHONWARNINGS": "default", **(env or {})}
        self._starts = 0
        self._child: Child | None = None

    @property
    def child(self) -> Child:
        """The running program."""
        assert self._child is not None, f"{self.name} does not run"
        return self._child

    @property
    def http(self) -> str:
        """HOST:PORT of the HTTP listener."""
        return self.addresses["http"]

    def url(self, path: str = "") -> str:
        """Absolute URL of `path`."""
        return f"http://{self.http}{path}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        assert self._child is None, f"{self.name} runs already"
        self._starts += 1
        argv = list(self._command)
        for name, address in self.addresses.items():
            argv += [f"--{name}", address]
        log = self._folder / f"{self.name}-{self._starts}.log"
        self._child = Child(
            [*argv, *self._arguments],
            log=log,
            env=self._env,
            cwd=ROOT,
            stop_timeout_s=STOP_TIMEOUT_S,
        )
        for name in self.addresses:
            found = self.child.wait_for_log(
                rf"listening\b.*?\b{name}=(\S+)", timeout_s=START_TIMEOUT_S
            )
            self.addresses[name] = found.group(1)

    def kill(self) -> None:
        """SIGKILL to all of it at once."""
        child, self._child = self.child, None
        os.killpg(child.pid, signal.SIGKILL)
        child.wait(KILL_TIMEOUT_S)
        wait_until(
            lambda: not _group(child.pid), timeout_s=KILL_TIMEOUT_S, what=f"{self.name} is gone"
        )

    def stop(self) -> None:
        """SIGTERM, and see that it goes as it should."""
        child, self._child = self.child, None
        try:
            child.send_signal(signal.SIGTERM)
            code = child.wait(STOP_TIMEOUT_S)
            left = _group(child.pid)
        finally:
            child.stop()
        text = child.log_text()
        assert code == 0, f"{self.name}: exit code {code} after SIGTERM:\n{child.tail()}"
        assert not left, f"{self.name} left processes behind: {left}"
        for bad in ("Traceback", "Warning"):
            assert bad not in text, f"{self.name} logged a {bad}:\n{child.tail(60)}"

    def workers(self) -> list[int]:
        """Process ids of its children, and of theirs, oldest first."""
        return sorted(_group(self.child.pid) - {self.child.pid})

    def end(self) -> None:
        """Make sure that nothing of it is left."""
        child, self._child = self._child, None
        if child is not None:
            child.stop()


def _group(leader: int) -> set[int]:
    """Process ids of a process group."""
    found = set()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            if os.getpgid(int(folder.name)) == leader and _runs(folder):
                found.add(int(folder.name))
    return found


def _runs(process: Path) -> bool:
    """Whether it is more than a zombie, which is its parent's business."""
    return re.search(r"\) [ZX] ", (process / "stat").read_text()) is None


@contextlib.contextmanager
def _running(node: Node) -> Iterator[Node]:
    """Start a node; on a clean way out demand a clean stop, if it runs then."""
    try:
        node.start()
        yield node
        if node._child is not None:
            node.stop()
    except BaseException as error:
        if node._child is not None:
            error.add_note(f"{node.name}'s log ends:\n{node.child.tail(40)}")
        raise
    finally:
        node.end()


def running_edge(
    folder: Path,
    *upstreams: str,
    workers: int = 1,
    arguments: tuple[str, ...] = (),
    name: str = "edge",
    env: Mapping[str, str] | None = None,
) -> contextlib.AbstractContextManager[Node]:
    """Run `headrace-edge` before other servers.

    Args:
        folder: For its logs.
        upstreams: URLs of whom it asks, the one to prefer first.
        workers: Processes that serve.
        arguments: More of the command line.
        name: For its logs.
        env: More of the environment.
    """
    flags = [f"--workers={workers}", *(f"--upstream={url}" for url in upstreams)]
    return _running(Node("edge", ("http",), folder, *flags, *arguments, name=name, env=env))


def running_origin_node(
    folder: Path, *arguments: str, ladder: str = "none"
) -> contextlib.AbstractContextManager[Node]:
    """Run `headrace-origin`, which may be killed.

    Args:
        folder: For its logs and its data.
        arguments: More of the command line.
        ladder: Value of its `--ladder`.
    """
    flags = ["--data", str(folder / "data"), "--ladder", ladder]
    return _running(Node("origin", ("http", "rtmp"), folder, *flags, *arguments, name="origin"))


def origin_of(node: Node, folder: Path) -> Origin:
    """What there is to do with an origin that runs as a node, by its user's means."""
    return Origin(
        node.child, folder / "data", http=node.addresses["http"], rtmp=node.addresses["rtmp"]
    )
