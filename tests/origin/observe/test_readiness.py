"""Whether an origin is ready, and why not."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import pytest
import trio
from structlog.testing import capture_logs
from trio.testing import MockClock

from control import Store, StoreError
from origin.observe.readiness import LOOK_S, STALE_S, Readiness, Room, room_in


class FakeStore:
    """Answers, fails or hangs."""

    def __init__(self) -> None:
        self.does = "answer"

    async def list_streams(self, *, limit: int) -> list[object]:
        assert limit == 1
        await trio.lowlevel.checkpoint()
        if self.does == "hang":
            await trio.sleep_forever()
        if self.does == "fail":
            raise StoreError("/srv/secret/place.sqlite3: disk I/O error")
        return []


class House:
    def __init__(self, folder: Path, *, min_free_bytes: int = 0) -> None:
        self.store = FakeStore()
        self.asks_the_system = True
        self.trouble: str | None = None
        self.listening = True
        self.readiness = Readiness(
            store=cast("Store", self.store),
            folder=folder,
            min_free_bytes=min_free_bytes,
            transcoding=lambda: self.trouble,
            listening=lambda: self.listening,
            measure=self.measure,
        )

    async def measure(self, folder: Path) -> Room:
        """Without a thread, which a mock clock does not wait for, if there is one."""
        return await room_in(folder) if self.asks_the_system else Room(1 << 30, 1 << 40)

    @asynccontextmanager
    async def looking(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            await nursery.start(self.readiness.run)
            await self.until_known()
            yield
            nursery.cancel_scope.cancel()

    async def until_known(self) -> None:
        while "not known yet" in self.readiness.checks().values():  # noqa: ASYNC110
            await trio.sleep(0.001)

    @property
    def wrong(self) -> dict[str, str]:
        checks = self.readiness.checks()
        return {name: reason for name, reason in checks.items() if reason is not None}

    def answer(self) -> tuple[int, Any]:
        response = self.readiness.answer()
        return response.status, json.loads(b"".join(response.chunks))


async def test_all_is_well(tmp_path: Path) -> None:
    house = House(tmp_path)
    assert house.wrong == {"store": "not known yet", "disk": "not known yet"}
    async with house.looking():
        status, told = house.answer()
        assert (status, told["status"]) == (200, "ready")
        assert set(told["checks"]) == {"running", "listeners", "store", "disk", "transcoding"}
        assert house.readiness.room is not None
        free, size = house.readiness.room
        assert 0 < free <= size


async def test_each_check_says_why(tmp_path: Path) -> None:
    house = House(tmp_path)
    async with house.looking():
        house.trouble = "no encoder of the ladder works here"
        house.listening = False
        house.readiness.stop()
        status, told = house.answer()
        assert status == 503
        assert told["error"] == (
            "stopping; no connections are accepted; no encoder of the ladder works here"
        )
        assert told["checks"]["running"] == {"ok": False, "reason": "stopping"}
        assert told["checks"]["store"] == {"ok": True}


@pytest.mark.parametrize("folder", ["there", "nowhere"])
async def test_a_disk_without_room_or_folder(tmp_path: Path, folder: str) -> None:
    house = House(tmp_path / folder, min_free_bytes=1 << 80)
    if folder == "there":
        (tmp_path / folder).mkdir()
    async with house.looking():
        reason = house.wrong["disk"]
        if folder == "there":
            assert reason.startswith("the disk of the data folder is full: ")
        else:
            assert reason == "the data folder cannot be read"
            assert house.readiness.room is None
        assert str(tmp_path) not in json.dumps(house.answer())


async def test_a_store_that_fails_is_told_without_its_place_and_comes_back(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    house = House(tmp_path)
    house.asks_the_system = False
    house.store.does = "fail"
    with capture_logs() as logs:
        async with house.looking():
            assert house.wrong == {"store": "the store does not answer"}
            assert "secret" not in json.dumps(house.answer())
            await trio.sleep(3 * LOOK_S)
            house.store.does = "answer"
            await trio.sleep(3 * LOOK_S)
            assert house.wrong == {}
    told = [(entry["event"], entry["check"]) for entry in logs if "check" in entry]
    assert told == [("not ready", "store"), ("ready again", "store")]


async def test_an_answer_that_does_not_come_is_no_answer(
    autojump_clock: MockClock, tmp_path: Path
) -> None:
    house = House(tmp_path)
    house.asks_the_system = False
    async with house.looking():
        house.store.does = "hang"
        await trio.sleep(LOOK_S)
        assert house.wrong == {}
        await trio.sleep(STALE_S)
        assert house.wrong["store"] == "no answer from the store"
