"""The parent's side of the demo: one stream, one child, restarts, and nothing left behind."""

import math
import os
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import TypeVar

import pytest
import structlog
import trio
import trio.testing

from control import SqliteStore, StreamStatus
from edge.process.address import Address
from origin.demo import launch

T = TypeVar("T")

KEY = "live_0123456789abcdef0123456789abcdef"


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with await SqliteStore.open(tmp_path / "headrace.sqlite3") as store:
        yield store


def _python(script: str) -> list[str]:
    return [sys.executable, "-c", script]


def _running(marker: Path) -> bool:
    """Tell whether the process that wrote its id there still runs."""
    try:
        os.kill(int(marker.read_text()), 0)
    except ProcessLookupError:
        return False
    return True


async def _until(look: Callable[[], T]) -> T:
    """Look until something true is seen."""
    with trio.fail_after(20):
        while not (seen := look()):  # noqa: ASYNC110
            await trio.sleep(0.02)  # what is awaited happens in another process
    return seen


def _text_of(path: Path) -> Callable[[], str]:
    return lambda: path.read_text() if path.exists() else ""


async def test_the_stream_is_made_once_and_its_key_is_new_each_time(store: SqliteStore) -> None:
    other, other_key = await store.create_stream(broadcaster_id="x", title=launch.DEMO_TITLE)
    first, first_key = await launch.prepare_stream(store)
    second, second_key = await launch.prepare_stream(store)

    assert first.title == "Headrace demo"
    assert first == second
    assert first.id != other.id
    assert not await store.verify_key(first.id, first_key)
    assert await store.verify_key(first.id, second_key)
    assert await store.verify_key(other.id, other_key)
    assert len(await store.list_streams()) == 2


async def test_the_watch_url_is_printed_and_the_child_gets_url_and_key(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    called: list[tuple[list[str], str]] = []

    async def supervise(command: list[str], key: str) -> None:
        await trio.lowlevel.checkpoint()
        called.append((command, key))

    monkeypatch.setattr(launch, "supervise", supervise)
    with structlog.testing.capture_logs() as logged:
        await launch.run_demo(
            store, rtmp=Address("0.0.0.0", 1), http=Address("::", 2), log_format="json"
        )
    (stream,) = await store.list_streams()
    assert capsys.readouterr().out == f"Demo broadcast: http://[::1]:2/watch/{stream.id}\n"
    ((command, key),) = called
    assert command[1:] == [
        *("-m", "origin.demo", "--log-format", "json"),
        "rtmp://127.0.0.1:1/live",
    ]
    assert await store.verify_key(stream.id, key)
    assert key not in str(command) + str(logged)
    assert stream.status is StreamStatus.IDLE


async def test_a_lost_stdout_is_no_reason_to_fail(
    store: SqliteStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def supervise(*_: object) -> None:
        await trio.lowlevel.checkpoint()

    def no_print(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(launch, "supervise", supervise)
    monkeypatch.setattr(launch, "print", no_print, raising=False)
    await launch.run_demo(store, rtmp=Address("h", 1), http=Address("h", 2))


@pytest.mark.slow
async def test_the_child_gets_the_key_on_stdin_and_no_secret_of_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_ADMIN_TOKEN", "0123456789abcdef")
    monkeypatch.setenv("HEADRACE_PURE", os.environ.get("HEADRACE_PURE", "0"))
    seen = tmp_path / "seen"
    script = f"""
import os, sys, pathlib
key = sys.stdin.readline()
text = key + str(sys.argv) + " ".join(os.environ)
pathlib.Path({str(seen)!r}).write_text(text)
sys.stdin.read()
"""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(launch.supervise, _python(script), KEY)
        text = await _until(_text_of(seen))
        nursery.cancel_scope.cancel()
    first, rest = text.split("\n", 1)
    assert first == KEY
    assert KEY not in rest
    assert "HEADRACE_ADMIN_TOKEN" not in rest
    assert "HEADRACE_PURE" in rest


@pytest.mark.slow
@pytest.mark.parametrize(
    "behaviour",
    [
        "sys.stdin.read()",
        "time.sleep(600)",
        "signal.signal(signal.SIGTERM, signal.SIG_IGN); ready(); time.sleep(600)",
    ],
    ids=["polite", "deaf", "stubborn"],
)
async def test_cancelling_ends_the_child_whatever_it_does(
    behaviour: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "STOP_TIMEOUT_S", 0.3)
    marker = tmp_path / "pid"
    script = f"""
import os, pathlib, signal, sys, time
def ready():
    pathlib.Path({str(marker)!r}).write_text(str(os.getpid()))
sys.stdin.readline()
{behaviour if "ready" in behaviour else "ready(); " + behaviour}
"""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(launch.supervise, _python(script), KEY)
        await _until(_text_of(marker))
        started = trio.current_time()
        nursery.cancel_scope.cancel()
    assert trio.current_time() - started < 2
    assert not _running(marker)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "outcome"),
    [
        (_python("import sys; sys.exit(7)"), "7"),
        (_python("import os; os.kill(os.getpid(), 9)"), "-9"),
        (["/nonexistent/program"], "[Errno 2] No such file or directory: '/nonexistent/program'"),
    ],
)
async def test_a_child_that_fails_is_reported_and_started_again(
    command: list[str], outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launch, "RESTART_MIN_S", 0.01)
    with structlog.testing.capture_logs() as logged:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(launch.supervise, command, KEY)
            await _until(lambda: len(logged) >= 2)
            nursery.cancel_scope.cancel()
    assert {str(entry["exit_code"]) for entry in logged} == {outcome}
    assert KEY not in str(logged)


@pytest.mark.parametrize(
    ("lives_s", "pauses_s"),
    [
        ([0, 0, 0, 0, 0, 0, 0], [1, 2, 4, 8, 16, 30, 30]),
        ([0, 0, 0, 31.0, 0], [1, 2, 4, 1, 2]),
        ([29.0, 29.0, 30.0], [1, 2, 1]),
    ],
)
async def test_pauses_grow_until_a_child_lived_long(
    lives_s: list[float],
    pauses_s: list[float],
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lives = iter(lives_s)

    async def run_child(_command: object, _key: str) -> int:
        await trio.sleep(next(lives, math.inf))
        return 1

    monkeypatch.setattr(launch, "_run_child", run_child)
    with structlog.testing.capture_logs() as logged, trio.move_on_after(1000):
        await launch.supervise([], KEY)
    assert [entry["pause_s"] for entry in logged] == pauses_s


@pytest.mark.slow
async def test_a_killed_parent_takes_the_child_with_it(tmp_path: Path) -> None:
    marker = tmp_path / "pid"
    grandchild = (
        f"import os, pathlib, sys; sys.stdin.readline();"
        f"pathlib.Path({str(marker)!r}).write_text(str(os.getpid())); sys.stdin.read()"
    )
    script = (
        "import sys, trio; from origin.demo import launch;"
        f"trio.run(launch.supervise, [sys.executable, '-c', {grandchild!r}], {KEY!r})"
    )
    parent = await trio.lowlevel.open_process(_python(script))
    await _until(_text_of(marker))
    parent.kill()
    await parent.wait()
    await _until(lambda: not _running(marker))
