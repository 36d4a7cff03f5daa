"""Who and what: streams, their keys, the admin token. The truth that outlives a process.

``Store`` is the interface the rest of the project codes against; ``SqliteStore`` is the embedded
one, for a server on one machine. Nothing here knows of RTMP, HLS or HTTP, and no secret of ours is
ever kept in clear: a stream key leaves this package once, when it is made. The URLs of relays are
(`Relays`), since the services that they belong to want to be shown them.

The files, lowest first: errors, model, keys, database (the SQLite file), queries (its statements),
store (the interface), sqlite (the store in that file), secret_file, admin_token. Chat has its own
of each: chat_model, chat_store (the interface), chat_queries, chat_sqlite (`SqliteStore.chat`); so
have credentials: access_model, access_store, access_queries, access_sqlite (`SqliteStore.access`),
viewers (audience_*), recordings (recording_*, `SqliteStore.recordings`) and webhooks (hook_*,
`SqliteStore.hooks`).

May import: trio, msgspec, the standard library. Never: rtmpcore, hls, edge, origin, av.
"""

from control.access_model import PUBLIC, Playback, PlaybackPolicy, StreamKey, TokenRecord
from control.access_store import AccessStore
from control.admin_token import AdminToken, load_or_create_admin_token
from control.audience_model import BroadcastAudience, ViewerMinute
from control.audience_store import AudienceStore
from control.chat_store import ChatStore
from control.errors import ControlError, StoreError, TooManyError, UnknownStreamError
from control.hook_store import HookStore
from control.keys import (
    hash_key,
    is_admin_token,
    is_stream_id,
    is_stream_key,
    new_stream_id,
    new_stream_key,
)
from control.model import Relays, Stream, StreamStatus
from control.recording_model import Recording, RecordingStatus
from control.recording_store import RecordingStore
from control.sqlite import SqliteStore
from control.store import Store

__all__ = [
    "PUBLIC",
    "AccessStore",
    "AdminToken",
    "AudienceStore",
    "BroadcastAudience",
    "ChatStore",
    "ControlError",
    "HookStore",
    "Playback",
    "PlaybackPolicy",
    "Recording",
    "RecordingStatus",
    "RecordingStore",
    "Relays",
    "SqliteStore",
    "Store",
    "StoreError",
    "Stream",
    "StreamKey",
    "StreamStatus",
    "TokenRecord",
    "TooManyError",
    "UnknownStreamError",
    "ViewerMinute",
    "hash_key",
    "is_admin_token",
    "is_stream_id",
    "is_stream_key",
    "load_or_create_admin_token",
    "new_stream_id",
    "new_stream_key",
]
