"""Tells hooks what happens: each event at least once, in order by stream, whatever receivers do.

An event is put in a queue in memory, synchronously; `_write` stores what is there every `BATCH_S`;
and it is sent from the store only. So a receiver that is not there costs rows, and nobody's time.
What was delivered is deleted with the next write: a process that is killed in between sends it
again, with the same event id. Killed, it loses what was not written yet, a tenth of a second.

A delivery that fails is tried again (`lanes`). One that is `MAX_AGE_S` old and has failed
`MIN_ATTEMPTS` times is given up, and so is what is as old behind it: a dead letter, kept for
`KEEP_DEAD_S`, which can be sent again on request.

Bounds: `MAX_QUEUED` events that are not written (a disk that refuses); `MAX_UNDER_WAY` lanes at
work, `lanes.MAX_UNDER_WAY` of each hook; `PREFETCH` bodies for each; those of `control.hook_model`.

May import: trio, control, edge, origin.hooks.
"""

import hmac
import itertools
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from secrets import token_hex
from typing import Final

import msgspec
import structlog
import trio

from control import HookStore, StoreError
from control.hook_model import Batch, Delivery, DeliveryStatus, Event, Hook
from edge.events import EventBus, PlatformEvent
from edge.posting import Poster, PostError
from edge.process.errors import StartupError
from origin.hooks.catalog import TEST, matches
from origin.hooks.figures import HookFigures
from origin.hooks.lanes import Lane, Lanes

BATCH_S: Final = 0.05
"""Events that come within it are written together."""

MAX_BATCH: Final = 500
"""Events of one write: some 10 ms."""

MAX_QUEUED: Final = 10_000
"""Events that were not written yet; more are lost, and counted as dropped."""

STORE_RETRY_S: Final = 1.0
"""Pause before the store is asked again, if it fails."""

LAST_WRITE_S: Final = 2.0
"""For the last write, when the process ends."""

MAX_UNDER_WAY: Final = 128
"""Lanes of all hooks at one time: more than there can be hooks that are down."""

PREFETCH: Final = 20
"""Deliveries that a lane makes before others have a turn."""

TIMEOUT_S: Final = 15.0
"""For an answer."""

MAX_AGE_S: Final = 24 * 3600.0
MIN_ATTEMPTS: Final = 8
"""At which a delivery is given up: a day old, and tried for an hour at least."""

KEEP_DEAD_S: Final = 30 * 24 * 3600.0
SWEEP_EVERY_S: Final = 3600.0

log = structlog.get_logger("hooks")


class TestResult(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """What came of a test."""

    delivered: bool
    status: int | None
    """Of the answer; null: there was none."""
    reason: str
    """Why it was not delivered; else empty."""
    duration_ms: int


class HookState:
    """A hook and how it fares."""

    def __init__(self, hook: Hook) -> None:
        self.hook = hook
        self.lanes = Lanes()
        self.pending = 0
        """Deliveries that wait, written ones."""
        self.dead = 0
        """As it was when last looked."""
        self.dropped = hook.dropped
        self.last_failure = ""
        """One line; empty if the last attempt succeeded."""
        self.last_success_s: float | None = None
        """UTC; None: none in this process."""
        self.is_gone = False

    def wants(self, kind: str, stream_id: str) -> bool:
        """Whether it is to be told of an event."""
        hook = self.hook
        return hook.enabled and hook.stream_id in (None, stream_id) and matches(hook.events, kind)


class Hooks:
    """All hooks of a process.

    Args:
        store: Where they and their deliveries are kept.
        events: What happens.
        key: Of which the hooks' secrets are made.
        poster: Sends.
        clock: Gives UTC seconds since 1970.
        chance: Gives 0 to 1, for pauses.
    """

    def __init__(
        self,
        *,
        store: HookStore,
        events: EventBus,
        key: bytes,
        poster: Poster | None = None,
        clock: Callable[[], float] = time.time,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._store = store
        self._key = key
        self._poster = Poster(max_connections=MAX_UNDER_WAY) if poster is None else poster
        self._clock = clock
        self._chance = chance
        self._states: dict[str, HookState] = {}
        self._queue: deque[Event] = deque()
        self._lost: Counter[str] = Counter()  # by hook, not told to the store yet
        self._made: list[tuple[str, int]] = []
        self._failed: list[tuple[int, int, str]] = []
        self._buried: list[tuple[str, str, int, float]] = []
        self._is_failing = False  # the store
        self._dirty = trio.Event()
        self._written = trio.Event()
        self._due = trio.Event()
        self._under_way = 0
        self._turn = 0
        self._delivered = self._failures = 0
        events.listen(self.put, wants=self._wants)

    # -- what happens

    def _wants(self, kind: str) -> bool:
        return any(
            state.hook.enabled and matches(state.hook.events, kind)
            for state in self._states.values()
        )

    def put(self, event: PlatformEvent) -> None:
        """Queue an event for those who want it. Synchronous; never fails."""
        body = None
        for state in self._states.values():
            if not state.wants(event.type, event.stream_id):
                continue
            hook_id = state.hook.id
            if len(self._queue) >= MAX_QUEUED:
                self._lost[hook_id] += 1
                state.dropped += 1
                continue
            if body is None:
                body = msgspec.json.encode(event)
            self._queue.append(
                Event(
                    hook_id=hook_id,
                    stream_id=event.stream_id,
                    event_id=event.id,
                    type=event.type,
                    body=body,
                    at=event.at / 1000,
                )
            )
        if body is not None:
            self._dirty.set()

    # -- hooks

    def states(self) -> Sequence[HookState]:
        """All hooks, oldest first."""
        return tuple(self._states.values())

    def find(self, hook_id: str) -> HookState | None:
        """Return a hook by its id."""
        return self._states.get(hook_id)

    def secret(self, hook: Hook) -> str:
        """What signs the deliveries of a hook."""
        message = f"{hook.id}:{hook.generation}".encode()
        return "whsec_" + hmac.digest(self._key, message, "sha256").hex()

    async def add(
        self,
        *,
        url: str,
        events: Sequence[str],
        stream_id: str | None,
        enabled: bool,
        description: str,
    ) -> HookState:
        """Make a hook, which is told of everything from now on. Raises as `HookStore.add`."""
        hook = await self._store.add(
            url=url,
            events=events,
            stream_id=stream_id,
            enabled=enabled,
            description=description,
        )
        state = self._states[hook.id] = HookState(hook)
        log.info("hook made", hook=hook.id, events=list(hook.events))
        return state

    async def change(self, state: HookState, hook: Hook) -> bool:
        """Put another in the place of a hook, with the same id; False: it is gone."""
        if state.is_gone or not await self._store.change(hook):
            return False
        state.hook = hook
        state.lanes.wake(trio.current_time())
        self._due.set()
        log.info("hook changed", hook=hook.id, enabled=hook.enabled)
        return True

    async def delete(self, hook_id: str) -> bool:
        """Remove a hook and what waits for it; False: there is none of that id."""
        if not await self._store.delete(hook_id):
            return False
        state = self._states.pop(hook_id, None)
        if state is not None:
            state.is_gone = True
        log.info("hook removed", hook=hook_id)
        return True

    async def test(self, state: HookState) -> TestResult:
        """Send something at once, past all that waits."""
        hook = state.hook
        event = PlatformEvent(
            id=token_hex(8),
            type=TEST,
            stream_id=hook.stream_id or "",
            at=round(self._clock() * 1000),
        )
        began_s = trio.current_time()
        status, reason = await self._post(
            hook, TEST, event.id, msgspec.json.encode(event), attempt=1
        )
        if not reason:
            state.lanes.wake(trio.current_time())
            self._due.set()
        return TestResult(
            delivered=not reason,
            status=status,
            reason=reason,
            duration_ms=round((trio.current_time() - began_s) * 1000),
        )

    async def list_deliveries(
        self, hook_id: str, status: DeliveryStatus, *, after: int, limit: int
    ) -> list[Delivery]:
        """Return what was not delivered, oldest first."""
        return await self._store.list_some(hook_id, status, after=after, limit=limit)

    async def revive(self, state: HookState, number: int) -> Delivery | None:
        """Let a dead letter wait again, behind what waits now; None: there is none."""
        delivery = await self._store.revive(state.hook.id, number)
        if delivery is None:
            return None
        state.pending += 1
        state.dead = max(0, state.dead - 1)
        number = delivery.number
        state.lanes.note(delivery.stream_id, number, number, trio.current_time())
        state.lanes.wake(trio.current_time())
        self._due.set()
        return delivery

    def figures(self) -> HookFigures:
        """How all of them fare."""
        states = self._states.values()
        return HookFigures(
            hooks=len(states),
            failing=sum(state.lanes.is_down for state in states),
            pending=sum(state.pending for state in states) + len(self._queue),
            under_way=self._under_way,
            delivered=self._delivered,
            failed=self._failures,
            dead=sum(state.dead for state in states),
            dropped=sum(state.dropped for state in states),
        )

    # -- what takes time

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Write and send until cancelled; then write what is left.

        Raises:
            StartupError: The hooks cannot be read.
        """
        try:
            await self._load()
        except StoreError as error:
            raise StartupError(str(error)) from error
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                nursery.start_soon(self._sweep)
                nursery.start_soon(self._send, nursery)
                task_status.started()
        finally:
            with trio.move_on_after(LAST_WRITE_S, shield=True), suppress(StoreError):
                while self._is_dirty():
                    await self._write_some()
            await self._poster.aclose()

    async def drain(self) -> None:
        """Return when everything that has been put is written; the caller bounds it."""
        while self._is_dirty():
            await self._written.wait()

    async def _load(self) -> None:
        hooks = await self._store.list_all()
        backlogs = await self._store.backlogs()
        dead = await self._store.count_dead()
        now_s = trio.current_time()
        for hook in hooks:
            self._states[hook.id] = state = HookState(hook)
            state.dead = dead.get(hook.id, 0)
        for backlog in backlogs:
            state = self._states[backlog.hook_id]
            state.pending += backlog.count
            state.lanes.note(backlog.stream_id, backlog.first, backlog.last, now_s)
        if backlogs:
            log.info("events wait for hooks", count=sum(each.count for each in backlogs))

    def _is_dirty(self) -> bool:
        return bool(self._queue or self._made or self._failed or self._buried or self._lost.total())

    async def _write(self) -> None:
        """Bring the store up to date, again and again."""
        while True:
            await self._dirty.wait()
            await trio.sleep(BATCH_S)
            self._dirty = trio.Event()
            while self._is_dirty():
                try:
                    await self._write_some()
                except StoreError as error:
                    if not self._is_failing:  # said once: a log that grows fills the disk
                        log.error("cannot store events for hooks", reason=str(error))
                    self._is_failing = True
                    await trio.sleep(STORE_RETRY_S)
                else:
                    self._is_failing = False
            self._written.set()
            self._written = trio.Event()

    async def _write_some(self) -> None:
        """Write one batch. What is taken out of the queues was written: all of it, or nothing."""
        batch = Batch(
            events=tuple(itertools.islice(self._queue, MAX_BATCH)),
            made=tuple(self._made),
            failed=tuple(self._failed),
            buried=tuple(self._buried),
        )
        written = await self._store.write(batch)
        del self._made[: len(batch.made)]
        del self._failed[: len(batch.failed)]
        del self._buried[: len(batch.buried)]
        now_s = trio.current_time()
        for event, number in zip(batch.events, written.numbers, strict=True):
            self._queue.popleft()
            state = self._states.get(event.hook_id)
            if state is not None and number is not None:
                state.pending += 1
                state.lanes.note(event.stream_id, number, number, now_s)
        for hook_id, state in self._states.items():
            dropped, buried = written.dropped.get(hook_id, 0), written.buried.get(hook_id, 0)
            state.pending -= written.made.get(hook_id, 0) + dropped + buried
            state.dropped += dropped
            state.dead += buried
            if dropped:
                log.warning("too much waits for a hook: the oldest is lost", hook=hook_id)
            if buried:
                log.warning("events were not delivered to a hook", hook=hook_id, count=buried)
        self._due.set()
        for hook_id, count in list(self._lost.items()):
            await self._store.count_dropped(hook_id, count)
            self._lost[hook_id] -= count
            if not self._lost[hook_id]:
                del self._lost[hook_id]

    async def _sweep(self) -> None:
        while True:
            try:
                await self._store.forget_old(self._clock() - KEEP_DEAD_S)
                dead = await self._store.count_dead()
                for hook_id, state in self._states.items():
                    state.dead = dead.get(hook_id, 0)
            except StoreError as error:
                log.error("cannot sweep what was not delivered", reason=str(error))
            await trio.sleep(SWEEP_EVERY_S)

    async def _send(self, nursery: trio.Nursery) -> None:
        """Begin to work on what is due."""
        while True:
            self._due = trio.Event()
            next_s = self._begin_due(nursery)
            with trio.move_on_at(next_s):
                await self._due.wait()

    def _begin_due(self, nursery: trio.Nursery) -> float:
        """Start what can be started; returns when there may be more."""
        now_s = trio.current_time()
        states = [state for state in self._states.values() if state.hook.enabled]
        if not states:
            return float("inf")
        self._turn += 1  # another one is first each time
        start = self._turn % len(states)
        waiting = deque(states[start:] + states[:start])
        while waiting and self._under_way < MAX_UNDER_WAY:
            state = waiting.popleft()
            lane = state.lanes.choose(now_s)
            if lane is not None:
                self._under_way += 1
                nursery.start_soon(self._work, state, lane)
                waiting.append(state)
        if self._under_way >= MAX_UNDER_WAY:
            return float("inf")
        return min(state.lanes.next_s() for state in states)

    async def _work(self, state: HookState, lane: Lane) -> None:
        """Deliver some of what waits in a lane, in order, until one fails."""
        try:
            upto = lane.last
            rows = await self._store.load(
                state.hook.id, lane.stream_id, after=lane.done, limit=PREFETCH
            )
            if not rows:  # it had to make room
                state.lanes.skip(lane, upto)
            for row in rows:
                if state.is_gone or not state.hook.enabled:
                    break
                attempt = max(row.attempts, lane.attempts if row is rows[0] else 0) + 1
                _, reason = await self._post(
                    state.hook, row.type, row.event_id, row.body, attempt=attempt
                )
                if reason:
                    self._note_failure(state, lane, row, attempt, reason)
                    break
                self._note_delivery(state, lane, row)
        except StoreError as error:
            log.error("cannot read events for a hook", reason=str(error))
            lane.due_s = trio.current_time() + STORE_RETRY_S
        except Exception:  # a bug of ours: it must not take the process with it
            log.exception("delivery failed", hook=state.hook.id)
            lane.due_s = trio.current_time() + TIMEOUT_S
        finally:
            state.lanes.release(lane)
            self._under_way -= 1
            self._due.set()

    async def _post(
        self, hook: Hook, kind: str, event_id: str, body: bytes, *, attempt: int
    ) -> tuple[int | None, str]:
        """Send; returns the status, and why it failed, or ""."""
        headers = {
            "Headrace-Event": kind,
            "Headrace-Event-Id": event_id,
            "Headrace-Hook": hook.id,
            "Headrace-Attempt": str(attempt),
        }
        try:
            answer = await self._poster.post(
                hook.url,
                body,
                secret=self.secret(hook).encode(),
                timeout_s=TIMEOUT_S,
                headers=headers,
            )
        except PostError as error:
            return None, str(error)
        return answer.status, "" if answer.is_success else f"status {answer.status}"

    def _note_delivery(self, state: HookState, lane: Lane, row: Delivery) -> None:
        self._delivered += 1
        if state.lanes.made(lane, row.number, trio.current_time()):
            log.info("hook is back", hook=state.hook.id)
        state.last_failure = ""
        state.last_success_s = self._clock()
        self._made.append((state.hook.id, row.number))
        self._dirty.set()

    def _note_failure(
        self, state: HookState, lane: Lane, row: Delivery, attempt: int, reason: str
    ) -> None:
        self._failures += 1
        was_down = state.lanes.is_down
        state.lanes.failed(lane, attempt, trio.current_time(), self._chance())
        state.last_failure = reason
        if state.lanes.is_down and not was_down:  # said once: not for each event
            log.warning("hook does not answer as it should", hook=state.hook.id, reason=reason)
        self._failed.append((row.number, attempt, reason))
        before_s = self._clock() - MAX_AGE_S
        if attempt >= MIN_ATTEMPTS and row.at < before_s:
            self._buried.append((state.hook.id, lane.stream_id, row.number, before_s))
            state.lanes.skip(lane, row.number)
        self._dirty.set()
