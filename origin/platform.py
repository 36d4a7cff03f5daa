"""The platform around the media, put together: what serves the API beside broadcasts.

Each part is made here, is run in the nursery of `Platform.run`, and brings its rows of the API.
`origin.app` makes one and knows nothing of the parts.

May import everything of ours.
"""

import time
from collections.abc import Sequence
from typing import Final

import trio

from control import AdminToken, SqliteStore
from edge.api.keys import KeysApi
from edge.api.operation import Operation
from edge.api.router import ApiRouter
from edge.api.streams import StreamsApi
from edge.audience.api import Audience
from edge.backend import Backend
from edge.events import EventBus
from edge.guesses import Guesses
from edge.process.log import start_apart
from origin.access import KeyWatch, OriginAccess
from origin.broadcast import Broadcasts
from origin.config_api import ConfigApi
from origin.health.api import HealthApi
from origin.health.live_events import LiveEvents
from origin.health.monitor import HealthMonitor
from origin.hooks.api import HooksApi
from origin.hooks.publish import PublishHook
from origin.hooks.service import Hooks
from origin.playback import OriginPlayback
from origin.recording.api import RecordingsApi
from origin.recording.recorder import Recorder
from origin.relay.service import Relaying
from origin.reload import Reloading

RECORDINGS_S: Final = 2.0
"""For what is recorded to be written when the server stops; the next start repairs the rest."""

EVENTS_S: Final = 1.0
"""For what has happened to be written then: a disk that refuses is not waited for."""


class Platform:
    """The parts, and the order of their start.

    Args:
        store: The streams and everything else that is kept.
        broadcasts: Who is live.
        backend: Answers for streams.
        relays: Answers for their relays, and for their sources.
        admin_token: The token that may do everything.
        guesses: Counts wrong credentials by network, RTMP's too.
        audience: Who watches.
        events: What happens.
        health: How broadcasts fare.
        hook_key: Of which the secrets of webhooks are made.
        playback: Who may watch.
        recorder: Keeps them; None: nothing is recorded.
        publish_hook: Who is asked about publishers; None: nobody.
        reloading: The settings in force.
    """

    def __init__(
        self,
        *,
        store: SqliteStore,
        broadcasts: Broadcasts,
        backend: Backend,
        relays: Relaying,
        admin_token: AdminToken,
        guesses: Guesses,
        audience: Audience,
        events: EventBus,
        health: HealthMonitor,
        hook_key: bytes,
        playback: OriginPlayback,
        recorder: Recorder | None = None,
        publish_hook: PublishHook | None = None,
        reloading: Reloading,
    ) -> None:
        self._nursery: trio.Nursery
        self._publish_hook = publish_hook
        self._health = health
        self._recorder = recorder
        self.live_events = live_events = LiveEvents(events)
        """Who listens to them, and what they are told."""
        self._playback = playback
        health.on_figures = live_events.tell_figures
        self._audience = audience
        self._abandoned = store.abandoned
        self._events = events
        self.hooks = Hooks(store=store.hooks, events=events, key=hook_key)
        """Who is told of events; `hooks.figures()` says how that goes."""
        self._key_watch = KeyWatch(store=store, broadcasts=broadcasts, clock=time.time)
        events.listen(self._key_watch.on_event)
        self.access = access = OriginAccess(
            store=store, admin_token=admin_token, guesses=guesses, is_live=broadcasts.is_live
        )
        self.router = ApiRouter(
            access,
            [
                *StreamsApi(backend, relays).operations,
                *KeysApi(store.access, self._key_watch.settle).operations,
                *relays.operations,
                *audience.operations,
                *HealthApi(health, live_events).operations,
                *HooksApi(self.hooks).operations,
                *playback.operations,
                *_recordings(recorder, store, playback),
                *ConfigApi(reloading).operations,
            ],
        )
        """The rows of the API that the parts bring."""

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Run the parts until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._key_watch.run)
            await nursery.start(self._audience.run)
            await nursery.start(self._health.run)
            await nursery.start(self.hooks.run)
            self._tell_abandoned()
            await nursery.start(self._playback.run)
            if self._recorder is not None:  # it tells of what it repairs
                await nursery.start(self._recorder.run)
            if self._publish_hook is not None:
                nursery.start_soon(self._publish_hook.run)
            self._nursery = nursery
            task_status.started()

    def use_publish_hook(self, hook: PublishHook | None) -> None:
        """Keep another one, which somebody asks from now on; the last one ends."""
        if self._publish_hook is not None:
            self._publish_hook.retire()
        self._publish_hook = hook
        if hook is not None:
            start_apart(self._nursery, hook.run)

    async def drain(self) -> None:
        """Return when recordings are whole, and all that has happened is stored for webhooks; the
        caller bounds it."""
        if self._recorder is not None:
            with trio.move_on_after(RECORDINGS_S):
                await self._recorder.settled()
        with trio.move_on_after(EVENTS_S):
            await self.hooks.drain()

    def _tell_abandoned(self) -> None:
        """Tell the end of broadcasts that the last process left live when it was killed."""
        for stream in self._abandoned:
            self._events.emit(
                "stream.ended",
                stream.id,
                reason="the server stopped without a word",
                startedAt=None if stream.started_at is None else round(stream.started_at * 1000),
                endedAt=None if stream.ended_at is None else round(stream.ended_at * 1000),
            )


def _recordings(
    recorder: Recorder | None, store: SqliteStore, playback: OriginPlayback
) -> Sequence[Operation]:
    if recorder is None:
        return ()
    protected = store.access.list_playback
    return RecordingsApi(recorder, store.recordings, protected, playback.gate).operations
