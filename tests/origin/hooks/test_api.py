"""The rows of hooks: what is made, shown once, changed, tested, and tried again."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from hook_receivers import Answer, MemoryHooks, Receiver
from trio.testing import MockClock

from control.hook_model import MAX_HOOKS
from edge.api.operation import ALL_SCOPES, Principal
from edge.api.router import ApiRouter
from edge.events import EventBus
from edge.http.messages import Call, HttpError, Request
from edge.posting import Poster
from origin.hooks.api import MAX_TESTS, HooksApi
from origin.hooks.service import Hooks

URL = "http://receiver.test/hook"
NEW = {"url": URL, "events": ["stream.*"]}


class FakeAccess:
    """Everybody who shows something is the admin."""

    async def identify(
        self, credential: str, *, stream_id: str | None, client: str
    ) -> Principal | None:
        await trio.lowlevel.checkpoint()
        return Principal("admin", scopes=ALL_SCOPES)

    async def knows_stream(self, stream_id: str) -> bool:
        return True


class House:
    def __init__(self) -> None:
        self.store = MemoryHooks()
        self.receiver = Receiver()
        self.bus = EventBus(lambda: 1_000_000.0)
        self.hooks = Hooks(
            store=self.store,
            events=self.bus,
            key=b"k" * 32,
            poster=Poster(self.receiver.client()),
            clock=lambda: 1_000_000.0,
        )
        self.router = ApiRouter(FakeAccess(), HooksApi(self.hooks).operations)

    async def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        request = Request(method, path, [(b"authorization", b"Bearer x")])
        call = self.router.route(request)
        assert isinstance(call, Call)
        try:
            response = await call.handler(
                request, b"" if body is None else json.dumps(body).encode()
            )
        except HttpError as error:
            return error.status, error.code
        content = b"".join(map(bytes, response.chunks))
        return response.status, json.loads(content) if content else None


@asynccontextmanager
async def running() -> AsyncIterator[House]:
    house = House()
    async with trio.open_nursery() as nursery:
        await nursery.start(house.hooks.run)
        yield house
        nursery.cancel_scope.cancel()


async def test_a_hooks_life(autojump_clock: MockClock) -> None:
    async with running() as house:
        status, made = await house.ask("POST", "/api/hooks", NEW)
        assert status == 201
        secret = made.pop("secret")
        assert secret.startswith("whsec_")
        one = f"/api/hooks/{made['id']}"
        assert await house.ask("GET", one) == (200, made)
        assert await house.ask("GET", "/api/hooks") == (200, {"hooks": [made]})
        assert made["status"] == "ok"
        assert (made["url"], made["events"], made["streamId"]) == (URL, ["stream.*"], None)

        _, changed = await house.ask(
            "PATCH", one, {"events": ["*", "*"], "enabled": False, "streamId": "z" * 12}
        )
        assert changed == {
            **made,
            "events": ["*"],
            "enabled": False,
            "status": "disabled",
            "streamId": "z" * 12,
        }
        assert (await house.ask("PATCH", one, {"streamId": None}))[1]["streamId"] is None
        assert (await house.ask("PATCH", one, {}))[0] == 200

        status, rotated = await house.ask("POST", f"{one}/secret")
        assert status == 200
        assert rotated["secret"] not in (secret, "")
        assert (await house.ask("POST", f"{one}/secret"))[1]["secret"] != rotated["secret"]

        assert await house.ask("DELETE", one) == (204, None)
        for method, path in [
            ("GET", one),
            ("DELETE", one),
            ("POST", f"{one}/secret"),
            ("POST", f"{one}/test"),
            ("GET", f"{one}/deliveries"),
            ("POST", f"{one}/deliveries/1/retry"),
        ]:
            assert await house.ask(method, path) == (404, "noSuchHook")
        assert await house.ask("PATCH", one, {"description": "x"}) == (404, "noSuchHook")


@pytest.mark.parametrize(
    "changes",
    [
        {"url": "ftp://a/"},
        {"url": "http://user:pass@host/"},
        {"url": "http://a b/"},
        {"url": "http://host:99999/"},
        {"events": []},
        {"events": ["nothing.live"]},
        {"events": ["stream"]},
        {"streamId": "S"},
        {"description": "x" * 201},
        {"secret": "mine"},
    ],
)
async def test_what_is_no_hook(changes: dict[str, Any], autojump_clock: MockClock) -> None:
    async with running() as house:
        assert (await house.ask("POST", "/api/hooks", {**NEW, **changes}))[0] == 400
        _, made = await house.ask("POST", "/api/hooks", NEW)
        assert (await house.ask("PATCH", f"/api/hooks/{made['id']}", changes))[0] == 400


async def test_so_many_hooks(autojump_clock: MockClock) -> None:
    async with running() as house:
        for _ in range(MAX_HOOKS):
            assert (await house.ask("POST", "/api/hooks", NEW))[0] == 201
        assert await house.ask("POST", "/api/hooks", NEW) == (409, "tooMany")


async def test_a_test_says_what_came_of_it_and_there_are_few_at_once(
    autojump_clock: MockClock,
) -> None:
    async with running() as house:
        _, made = await house.ask("POST", "/api/hooks", NEW)
        path = f"/api/hooks/{made['id']}/test"
        status, result = await house.ask("POST", path)
        assert (status, result["delivered"], result["status"]) == (200, True, 200)
        house.receiver.answer = lambda _got: Answer(418, after_s=2.0)
        statuses = []

        async def test() -> None:
            statuses.append((await house.ask("POST", path))[0])

        async with trio.open_nursery() as nursery:
            for _ in range(MAX_TESTS + 1):
                nursery.start_soon(test)
        assert sorted(statuses) == [200] * MAX_TESTS + [503]
        _, result = await house.ask("POST", path)
        assert result == {
            "delivered": False,
            "status": 418,
            "reason": "status 418",
            "durationMs": 2000,
        }


async def test_what_waits_is_shown_in_pages_and_what_is_dead_can_be_tried_again(
    autojump_clock: MockClock,
) -> None:
    async with running() as house:
        house.receiver.answer = lambda _got: Answer(500)
        _, made = await house.ask("POST", "/api/hooks", NEW)
        one = f"/api/hooks/{made['id']}"
        for number in range(5):
            house.bus.emit("stream.live", "s", n=number)
        await trio.sleep(3600)
        shown = (await house.ask("GET", one))[1]
        assert (shown["status"], shown["pending"]) == ("failing", 5)
        assert shown["lastFailure"] == "status 500"
        assert (await house.ask("GET", f"{one}/deliveries")) == (
            200,
            {"deliveries": [], "next": None},
        )
        found: list[Any] = []
        after = ""
        while True:
            path = f"{one}/deliveries?status=pending&limit=2{after}"
            _, page = await house.ask("GET", path)
            found += page["deliveries"]
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        assert [each["event"]["data"]["n"] for each in found] == [0, 1, 2, 3, 4]
        assert found[0]["reason"] == "status 500"
        assert found[0]["attempts"] > 5
        assert {found[0]["event"]["id"]} == {found[0]["eventId"]}

        house.store.connection.execute("UPDATE hook_deliveries SET status = 'dead'")
        _, page = await house.ask("GET", f"{one}/deliveries?status=dead")
        dead = page["deliveries"]
        assert len(dead) == 5
        house.receiver.answer = lambda _got: Answer(200)
        status, again = await house.ask("POST", f"{one}/deliveries/{dead[2]['id']}/retry")
        assert (status, again["status"], again["attempts"]) == (202, "pending", 0)
        await trio.sleep(1)
        assert [got.event["data"]["n"] for got in house.receiver.taken] == [2]
        for missing in (dead[2]["id"], "x", "9" * 30, "0"):
            path = f"{one}/deliveries/{missing}/retry"
            assert await house.ask("POST", path) == (404, "noSuchDelivery")


async def test_a_store_that_fails_is_unavailable(autojump_clock: MockClock) -> None:
    async with running() as house:
        _, made = await house.ask("POST", "/api/hooks", NEW)
        one = f"/api/hooks/{made['id']}"
        house.store.is_broken = True
        for method, path, body in [
            ("POST", "/api/hooks", NEW),
            ("PATCH", one, {"enabled": False}),
            ("DELETE", one, None),
            ("GET", f"{one}/deliveries", None),
            ("POST", f"{one}/deliveries/1/retry", None),
        ]:
            assert (await house.ask(method, path, body))[0] == 503
        assert (await house.ask("GET", one))[1]["enabled"] is True
        house.store.is_broken = False
