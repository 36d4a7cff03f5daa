"""The supervisor: starts, deaths, rolls and the end, with workers that do as they are told.

Real processes and sockets; what is waited for is an answer, an end or a line of the log.
"""

import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fake_edge_worker
import msgspec
import pytest
import trio
from structlog.testing import capture_logs

from edge import workers
from edge.config import NodeSettings
from edge.process.address import Address
from edge.process.errors import ConfigError, StartupError
from edge.workers import RESTART_MAX_S, RESTART_MIN_S, Listening, _Slot

SETTINGS = NodeSettings(
    http="127.0.0.1:0", upstream=("http://a",), workers=2, drain_timeout_s=1.0, log_level="info"
)
ONE = msgspec.structs.replace(SETTINGS, workers=1)

pytestmark = pytest.mark.slow


@dataclass
class House:
    """A supervisor in this process, its workers in their own."""

    behaviour: Path
    logs: list[Any]
    settings: NodeSettings = SETTINGS
    """What the next reload finds."""
    address: Address = field(default_factory=lambda: Address("", 0))
    error: ConfigError | None = None
    """What the next reload raises."""
    reloaded: trio.Event = field(default_factory=trio.Event)
    done: trio.Event = field(default_factory=trio.Event)

    def behave(self, word: str) -> None:
        self.behaviour.write_text(word)

    def reload(self) -> NodeSettings:
        self.reloaded.set()
        if self.error is not None:
            raise self.error
        return self.settings

    async def ask(self) -> tuple[int, str]:
        """Connect anew; who answers, and its log level."""
        async with await trio.open_tcp_stream(*self.address) as stream:
            await stream.send_all(b"?")
            received = b"".join([data async for data in stream])
        pid, level = received.decode().split()
        return int(pid), level

    async def everybody(self, count: int = 2) -> dict[int, str]:
        """Ask until so many workers have answered."""
        found: dict[int, str] = {}
        with trio.fail_after(10):
            while len(found) < count:
                pid, level = await self.ask()
                found[pid] = level
        return found

    async def logged(self, event: str, times: int = 1) -> Any:
        """Wait for a line of the log."""
        with trio.fail_after(15):
            while True:
                lines = [line for line in self.logs if line["event"] == event]
                if len(lines) >= times:
                    return lines[times - 1]
                await trio.sleep(0.01)

    def signal(self, number: signal.Signals) -> None:
        os.kill(os.getpid(), number)


@pytest.fixture
def house(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[House]:
    monkeypatch.setenv("FAKE_WORKER", str(tmp_path / "behaviour"))
    with capture_logs() as logs:
        house = House(tmp_path / "behaviour", logs)
        house.behave("serve")
        yield house


@asynccontextmanager
async def running(house: House, settings: NodeSettings = SETTINGS) -> AsyncIterator[House]:
    """Run a node; it is stopped by a signal unless it has ended by then."""
    async with trio.open_nursery() as nursery:

        async def run(*, task_status: trio.TaskStatus[Listening]) -> None:
            command = (sys.executable, fake_edge_worker.__file__)
            await workers.run(settings, house.reload, command=command, task_status=task_status)
            house.done.set()

        listening: Listening = await nursery.start(run)
        house.address = listening.http
        yield house
        if not house.done.is_set():
            house.signal(signal.SIGTERM)
            with trio.fail_after(10):
                await house.done.wait()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_workers_share_a_port_and_end_with_the_node(house: House) -> None:
    async with running(house):
        assert house.address.port
        found = await house.everybody()
        assert (await house.logged("listening"))["workers"] == 2
    assert not any(map(is_alive, found))
    assert house.logs[-1]["event"] == "stopped"


@pytest.mark.parametrize(
    ("word", "reason"),
    [("refuse", "no luck today"), ("die", "a worker ended before it was ready")],
)
async def test_a_worker_that_cannot_start_refuses_the_start(
    house: House, word: str, reason: str
) -> None:
    house.behave(word)
    refused = pytest.RaisesExc(StartupError, match=f"^{reason}$")
    with pytest.RaisesGroup(refused, flatten_subgroups=True):
        async with running(house, ONE):
            raise AssertionError


async def test_a_start_has_a_bound(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "START_TIMEOUT_S", 0.2)
    house.behave("hang")
    with pytest.RaisesGroup(
        pytest.RaisesExc(StartupError, match="not ready within 0.2 s"), flatten_subgroups=True
    ):
        async with running(house, ONE):
            raise AssertionError


async def test_a_killed_worker_is_replaced_and_nobody_who_waits_is_reset(house: House) -> None:
    """With one worker: its slot's sockets are the only ones there are."""
    async with running(house, ONE):
        first, _ = await house.ask()
        os.kill(first, signal.SIGKILL)
        with trio.fail_after(10):
            second, _ = await house.ask()  # connects while there is no worker
        assert second != first
        line = await house.logged("worker ended")
        assert (line["exit_code"], line["pause_s"]) == (-signal.SIGKILL, RESTART_MIN_S)


async def test_others_serve_while_one_is_being_replaced(house: House) -> None:
    async with running(house):
        victim, other = await house.everybody()
        house.behave("hang")  # so is the successor
        os.kill(victim, signal.SIGKILL)
        await house.logged("worker ended")
        seen = set()
        for _ in range(100):
            with trio.move_on_after(0.1):  # who is hashed to the other slot waits
                seen.add((await house.ask())[0])
            if seen:
                break
        assert seen == {other}


async def test_a_worker_that_cannot_be_replaced_is_tried_again(house: House) -> None:
    async with running(house):
        first = await house.everybody()
        house.behave("die")
        victim = next(iter(first))
        os.kill(victim, signal.SIGKILL)
        line = await house.logged("worker not replaced yet", times=2)
        assert line["pause_s"] == 4 * RESTART_MIN_S
        house.behave("serve")
        second = await house.everybody()
        assert set(first) & set(second) == set(first) - {victim}


async def test_pauses_double_to_a_bound_and_begin_anew_after_a_healthy_life() -> None:
    slot = _Slot([], [], [])
    pauses = [slot.next_pause_s(0.0) for _ in range(10)]
    assert pauses[:3] == [RESTART_MIN_S, 2 * RESTART_MIN_S, 4 * RESTART_MIN_S]
    assert pauses[-1] == RESTART_MAX_S
    assert slot.next_pause_s(workers.HEALTHY_S) == 0.0
    assert slot.next_pause_s(0.0) == RESTART_MIN_S


async def test_a_roll_replaces_everybody_with_the_new_settings(house: House) -> None:
    async with running(house):
        first = await house.everybody()
        assert set(first.values()) == {"info"}
        house.settings = msgspec.structs.replace(SETTINGS, log_level="debug")
        house.signal(signal.SIGHUP)
        assert (await house.logged("rolled"))["replaced"] == 2
        second = await house.everybody()
        assert set(second.values()) == {"debug"}
        assert not set(first) & set(second)
        assert not any(map(is_alive, first))


async def test_requests_go_on_while_workers_are_replaced(house: House) -> None:
    async with running(house):
        answers = 0
        pids = set()

        async def load() -> None:
            nonlocal answers
            while True:
                pids.add((await house.ask())[0])
                answers += 1

        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(load)
            for times in (1, 2, 3):
                house.signal(signal.SIGHUP)
                await house.logged("rolled", times=times)
            nursery.cancel_scope.cancel()
        assert answers > 100
        assert len(pids) >= 6


async def test_an_old_worker_finishes_what_it_has(house: House) -> None:
    house.behave("slow")
    async with running(house, ONE):
        async with await trio.open_tcp_stream(*house.address) as stream:
            await stream.send_all(b"?")
            house.behave("serve")
            house.signal(signal.SIGHUP)
            with trio.fail_after(10):
                old = int((await stream.receive_some()).split()[0])
        assert (await house.ask())[0] != old


async def test_a_stop_waits_for_old_workers_too(house: House) -> None:
    house.behave("slow")
    async with running(house, ONE), await trio.open_tcp_stream(*house.address) as stream:
        await stream.send_all(b"?")
        house.behave("serve")
        house.signal(signal.SIGHUP)
        line = await house.logged("worker replaced")
        assert (line["seat"], line["by"]) == (0, 1)
        house.signal(signal.SIGTERM)
        with trio.fail_after(10):
            assert await stream.receive_some()


async def test_a_wrong_configuration_leaves_the_workers(house: House) -> None:
    async with running(house):
        first = await house.everybody()
        house.error = ConfigError("edge.toml: unknown setting 'htpp'")
        house.signal(signal.SIGHUP)
        line = await house.logged("configuration not taken, the workers stay")
        assert line["reason"] == str(house.error)
        assert set(await house.everybody()) == set(first)
        house.error = None
        house.signal(signal.SIGHUP)  # and the next one counts
        await house.logged("rolled")


async def test_settings_that_no_worker_can_start_with_leave_the_workers(house: House) -> None:
    async with running(house):
        first = await house.everybody()
        house.behave("refuse")
        house.signal(signal.SIGHUP)
        line = await house.logged("workers stay, a new one cannot start")
        assert line["reason"] == "no luck today"
        assert (await house.logged("rolled"))["replaced"] == 0
        assert set(await house.everybody()) == set(first)


async def test_sockets_stay_as_they_are_until_a_restart(house: House) -> None:
    async with running(house):
        house.settings = msgspec.structs.replace(
            SETTINGS, workers=3, http="127.0.0.1:1", log_level="error"
        )
        house.signal(signal.SIGHUP)
        assert (await house.logged("rolled"))["replaced"] == 2
        assert set((await house.everybody()).values()) == {"error"}
        needed = {
            line["setting"] for line in house.logs if line["event"].endswith("restart to change")
        }
        assert needed == {"http", "workers"}


async def test_signals_during_a_roll_are_one_more_roll(house: House) -> None:
    async with running(house):
        house.signal(signal.SIGHUP)
        with trio.fail_after(10):
            await house.reloaded.wait()
        for _ in range(5):
            house.signal(signal.SIGHUP)
        await house.logged("rolled", times=2)
        await house.everybody()
    assert sum(line["event"] == "rolled" for line in house.logs) == 2


async def test_a_worker_that_does_not_end_is_killed(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "KILL_MARGIN_S", 0.1)
    house.behave("deaf")
    short = msgspec.structs.replace(ONE, drain_timeout_s=0.1)
    async with running(house, short):
        pid, _ = await house.ask()
    assert not is_alive(pid)
    assert any(line["event"] == "worker killed: it did not end" for line in house.logs)


async def test_a_worker_that_hangs_is_killed_and_replaced(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workers, "HANG_S", 0.3)
    monkeypatch.setattr(workers, "PULSE_S", 0.05)
    async with running(house, ONE):
        first, _ = await house.ask()  # which writes nothing on the board
        await house.logged("worker killed: it hangs")
        await house.logged("worker ended")
        assert (await house.ask())[0] != first


async def test_a_second_signal_does_not_wait(house: House) -> None:
    house.behave("deaf")
    patient = msgspec.structs.replace(SETTINGS, drain_timeout_s=60.0)
    async with running(house, patient):
        found = await house.everybody()
        house.signal(signal.SIGTERM)
        await house.logged("stopping")
        house.signal(signal.SIGHUP)  # of no interest any more
        house.signal(signal.SIGINT)
        with trio.fail_after(5):
            await house.done.wait()
    assert not any(map(is_alive, found))


async def test_a_stop_waits_for_no_worker_that_only_starts(house: House) -> None:
    async with running(house):
        found = await house.everybody()
        house.behave("hang")
        house.signal(signal.SIGHUP)
        os.kill(next(iter(found)), signal.SIGKILL)
        await house.logged("worker ended")
        house.signal(signal.SIGTERM)
        with trio.fail_after(5):
            await house.done.wait()
