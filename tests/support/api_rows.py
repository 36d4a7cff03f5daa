"""Every row of an origin's API, with no server behind it."""

from typing import Any

from edge.api.keys import KeysApi
from edge.api.operation import Operation
from edge.api.streams import StreamsApi
from edge.audience.api import Audience
from edge.chat.rows import chat_operations
from edge.events import EventBus
from edge.http.rows import HEALTH, METRICS, READY, player_operations
from edge.playback.api import PlaybackApi
from edge.playback.tokens import KeySet
from origin.config_api import ConfigApi
from origin.health.api import HealthApi
from origin.health.live_events import LiveEvents
from origin.hooks.api import HooksApi
from origin.recording.api import RecordingsApi
from origin.relay.http_flv import HttpFlv


class _Nothing:
    """Stands for whatever a handler would ask, and is never asked."""


def every_row() -> list[Operation]:
    """Return them; the handlers cannot be called."""
    nothing: Any = _Nothing()
    return [
        *StreamsApi(nothing, nothing).operations,
        *KeysApi(nothing, nothing).operations,
        *HttpFlv(nothing).operations,
        *Audience(nothing).operations,
        *PlaybackApi(
            nothing,
            signer=nothing,
            webhook_key=b"",
            keys=KeySet({}),
            programs=nothing,
            guesses=nothing,
        ).operations,
        *HealthApi(nothing, LiveEvents(EventBus())).operations,
        *RecordingsApi(nothing, nothing, nothing).operations,
        *ConfigApi(nothing).operations,
        *chat_operations(),
        *player_operations(),
        HEALTH,
        METRICS,
        *HooksApi(nothing).operations,
        READY,
    ]
