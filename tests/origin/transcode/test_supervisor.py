"""The supervisor and its workers: real processes that encode nothing and go wrong on purpose."""

import os
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import fake_transcoder
import pytest
import trio
from media_samples import Source
from structlog.testing import capture_logs
from trio.testing import MockClock

from origin.transcode import supervisor
from origin.transcode.child import worker_command, worker_environment
from origin.transcode.supervisor import Supervisor

if TYPE_CHECKING:
    from .conftest import Show

FAKE = Path(fake_transcoder.__file__)
SPEED = 8
"""The made-up publisher runs at this many times real time, and so do the patience's clocks."""


@asynccontextmanager
async def supervised(show: "Show", mode: str, count: Path) -> AsyncIterator[None]:
    """A supervisor around a fake worker, beside what the test does; it must end in time."""
    one = Supervisor(
        show.ladder,
        metrics=show.metrics,
        memory_bytes=1 << 30,
        command=[sys.executable, str(FAKE), mode, str(count)],
    )
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(one.run)
            yield
            show.ladder.close()


async def publish(
    show: "Show", *, until: Callable[[], bool] | None = None, longest_s: float = 60.0
) -> None:
    """Push a publisher at ``SPEED`` until something is so, or it is over."""
    started_s = trio.current_time()
    for frame in Source(duration_s=longest_s).frames():
        await trio.sleep_until(started_s + frame.dts_ms / 1000 / SPEED)
        show.push(frame)
        if until is not None and until():
            return
    assert until is None, "it did not come about"


def starts(count: Path) -> int:
    return count.stat().st_size if count.exists() else 0


def children() -> list[int]:
    """Our child processes that run the fake."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                status = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if int(status[1]) == os.getpid() and FAKE.name.encode() in command:
                found.append(int(entry.name))
    return found


@pytest.fixture
def count(tmp_path: Path) -> Path:
    return tmp_path / "starts"


async def test_a_good_worker_makes_the_rungs(show: "Show", count: Path) -> None:
    async with supervised(show, "good", count):
        await publish(show, longest_s=8.0)
    show.ladder.finish()
    assert show.live.listed == ["source", "480p", "360p"]
    assert "GAP" not in show.playlist("480p")
    assert (starts(count), show.ladder.restarts) == (1, 0)
    assert children() == []


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        ("crash", "crash"),
        ("fault", "memory"),
        ("hang", "hang"),
        ("garbage", "protocol"),
        ("alien", "protocol"),
        ("deaf", "hang"),
        ("busy", "hang"),
    ],
)
async def test_a_worker_that_goes_wrong_is_replaced(
    show: "Show", count: Path, mode: str, reason: str
) -> None:
    def recovered() -> bool:
        rendition = show.live.renditions.get("360p")
        return (
            show.ladder.restarts > 0
            and rendition is not None
            and any(not segment.gap for segment in rendition.timeline.segments)
            and "360p" in show.live.listed
        )

    with capture_logs() as logs:
        async with supervised(show, mode + "-once", count):
            await publish(show, until=recovered)
    assert starts(count) == 2
    lost = [entry for entry in logs if entry["event"] == "transcode worker lost"]
    assert [entry["reason"] for entry in lost] == [reason]
    assert f'headrace_transcode_restarts_total{{reason="{reason}",stream="s"}} 1.0' in (
        show.metrics_text()
    )
    assert "GAP" not in show.playlist("source")
    assert children() == []


async def test_a_hang_is_noticed_within_two_seconds(show: "Show", count: Path) -> None:
    async with supervised(show, "hang", count):
        await publish(show, until=lambda: show.ladder.came_back > 0)
        started_s = trio.current_time()
        await publish(show, until=lambda: show.ladder.restarts > 0)
        assert trio.current_time() - started_s < 2.5  # and the machine may be busy
        (worker,) = children() or [0]
        assert worker == 0 or starts(count) == 2


async def test_a_worker_that_never_speaks_is_given_time_first(
    show: "Show", count: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "START_S", 3.0)
    async with supervised(show, "mute-once", count):
        await publish(show, until=lambda: show.ladder.restarts > 0)
        started_s = trio.current_time()
    assert starts(count) >= 1
    assert trio.current_time() - started_s < 5


async def test_a_worker_that_has_nothing_to_do_does_not_hang(show: "Show") -> None:
    """Its publisher was away; then comes more at once than a look apart can tell from a hang."""
    one = Supervisor(show.ladder, metrics=show.metrics, memory_bytes=1)
    one._has_spoken = True
    show.ladder.fed = show.ladder.came_back = 100
    assert not any(one._stands_still(now_s) for now_s in range(60))
    show.ladder.fed += 3 * supervisor.STANDSTILL_PICTURES
    assert not one._stands_still(59.2)
    assert not one._stands_still(58.9 + supervisor.HANG_S)
    assert one._stands_still(59.1 + supervisor.HANG_S)


async def test_too_many_failures_are_the_end_of_transcoding(
    show: "Show", count: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "PAUSE_S", 0.01)
    with capture_logs() as logs:
        async with supervised(show, "crash", count):
            await publish(show, until=lambda: bool(show.ladder.health().advice))
    assert starts(count) == supervisor.MAX_FAILURES
    assert [entry["event"] for entry in logs if entry["log_level"] == "error"] == [
        "transcoding given up"
    ]
    assert show.live.listed == ["source"]
    assert children() == []


async def test_pauses_grow(show: "Show", mock_clock: MockClock) -> None:
    one = Supervisor(show.ladder, metrics=show.metrics, memory_bytes=1)
    pauses = []
    for _ in range(7):
        pauses.append(one._pause_after_failure())
        mock_clock.jump(1.0)
    assert pauses == [0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 8.0]
    mock_clock.jump(60.0)
    assert one._pause_after_failure() is None
    mock_clock.jump(supervisor.FAILURES_S)
    assert one._pause_after_failure() == 0.25


async def test_a_command_that_does_not_exist_is_a_failure_like_others(
    show: "Show", monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "PAUSE_S", 0.001)
    one = Supervisor(
        show.ladder, metrics=show.metrics, memory_bytes=1, command=["/nowhere/headrace-worker"]
    )
    with trio.fail_after(10), capture_logs() as logs:
        await one.run()
    assert len(logs) == supervisor.MAX_FAILURES + 1


async def test_cancellation_leaves_no_process(show: "Show", count: Path) -> None:
    with trio.CancelScope() as scope:
        async with supervised(show, "good", count):
            await publish(show, until=lambda: show.ladder.came_back > 0)
            assert len(children()) == 1
            scope.cancel()
    assert children() == []


async def test_the_end_waits_for_what_the_worker_has_but_not_for_long(
    show: "Show", count: Path
) -> None:
    async with supervised(show, "slow", count):
        await publish(show, longest_s=6.0)
        started_s = trio.current_time()
    assert trio.current_time() - started_s < supervisor.CLOSE_TIMEOUT_S + 1.5
    assert show.ladder.restarts == 0
    assert children() == []


def test_nothing_secret_is_in_a_worker_s_command_or_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADRACE_ADMIN_TOKEN", "very-secret-token")
    assert "very-secret-token" not in str(worker_environment())
    assert worker_command(512)[1:3] == ["-m", "origin.transcode"]
