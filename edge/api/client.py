"""A client of the API for Python: a method for each call, with the types of the server.

::

    async with Client("http://127.0.0.1:8080", credential=token) as client:
        created = await client.create_stream(CreateStreamRequest(broadcaster_id="b", title="t"))
        async for stream in client.all_streams(status="live"):
            print(stream.title)

It is for Trio; who has no event loop says `trio.run`. What is asked again, and what is raised, is
`edge.api.asker`'s; calls that have no method here are made with `Client.ask`.

May import: `control`'s model, `edge.api`, and the modules of `edge` that have the types.
"""

import secrets
from collections.abc import AsyncGenerator

from control.chat_model import ChatMessage, RoomSettings
from edge.api import calls
from edge.api.asker import ApiError, Asker
from edge.api.event_reader import ServerEvent
from edge.api.keys import (
    KeyList,
    KeyRequest,
    NewKey,
    NewToken,
    RotationRequest,
    TokenList,
    TokenRequest,
)
from edge.api.streams import StreamList, StreamPage
from edge.audience.api import StreamQuality, ViewerFigures, ViewerHistory
from edge.backend import (
    CreatedStream,
    CreateStreamRequest,
    MarkerInfo,
    MarkerRequest,
    StreamChanges,
    StreamInfo,
    StreamSettings,
    StreamStatus,
)
from edge.chat.rows import (
    AuditPage,
    BanList,
    BanRequest,
    ChatMessages,
    ChatPost,
    ChatToken,
    ChatTokenRequest,
    ModeratorList,
    RoomChanges,
)
from edge.http.rows import Alive, Ready
from edge.playback import api as playback
from edge.playback.api import PlaybackInfo, PlaybackRequest, PlaybackSet, PlaybackToken
from edge.relays import RelaysInfo, RelaysRequest

__all__ = ["ApiError", "Client"]


class Client(Asker):
    """The API of one server; see `Asker` for its arguments."""

    # -- streams

    async def create_stream(self, wanted: CreateStreamRequest) -> CreatedStream:
        """Create a stream. Asked again, it makes no second one."""
        key = {"Idempotency-Key": secrets.token_hex(16)}
        return await self.ask(calls.CREATE_STREAM, wanted, headers=key)

    async def list_streams(
        self,
        *,
        status: StreamStatus | None = None,
        broadcaster_id: str | None = None,
        limit: int = 50,
        after: str | None = None,
    ) -> StreamPage:
        """Show a page of all streams, newest first."""
        query = {"status": status, "broadcasterId": broadcaster_id, "limit": limit, "after": after}
        return await self.ask(calls.LIST_STREAMS, query=query)

    async def all_streams(
        self,
        *,
        status: StreamStatus | None = None,
        broadcaster_id: str | None = None,
        page: int = 200,
    ) -> AsyncGenerator[StreamInfo, None]:
        """Go through all streams, newest first, page by page.

        Raises:
            ApiError: A page failed; `badAnswer`: it leads back to itself.
        """
        after: str | None = None
        while True:
            found = await self.list_streams(
                status=status, broadcaster_id=broadcaster_id, limit=page, after=after
            )
            for stream in found.streams:
                yield stream
            if found.next is None:
                return
            if found.next == after:
                raise ApiError(200, "badAnswer", "the server's list of streams has no end")
            after = found.next

    async def list_live_streams(self) -> StreamList:
        """List the streams that are live."""
        return await self.ask(calls.LIST_LIVE_STREAMS)

    async def get_stream(self, stream_id: str) -> StreamInfo:
        """Show a stream."""
        return await self.ask(calls.GET_STREAM, streamId=stream_id)

    async def get_settings(self, stream_id: str) -> StreamSettings:
        """Show a stream's settings."""
        return await self.ask(calls.GET_SETTINGS, streamId=stream_id)

    async def change_stream(self, stream_id: str, changes: StreamChanges) -> StreamInfo:
        """Change a stream's settings."""
        return await self.ask(calls.CHANGE_STREAM, changes, streamId=stream_id)

    async def delete_stream(self, stream_id: str) -> None:
        """End a stream's broadcast and remove the stream."""
        await self.ask(calls.DELETE_STREAM, streamId=stream_id)

    async def start_stream(self, stream_id: str) -> StreamInfo:
        """Go live without a publisher yet."""
        return await self.ask(calls.START_STREAM, streamId=stream_id)

    async def end_stream(self, stream_id: str) -> StreamInfo:
        """End the broadcast."""
        return await self.ask(calls.END_STREAM, streamId=stream_id)

    async def create_marker(self, stream_id: str, wanted: MarkerRequest) -> MarkerInfo:
        """Put a marker on the timeline."""
        return await self.ask(calls.CREATE_MARKER, wanted, streamId=stream_id)

    async def get_relays(self, stream_id: str) -> RelaysInfo:
        """Show a stream's relays."""
        return await self.ask(calls.GET_RELAYS, streamId=stream_id)

    async def set_relays(self, stream_id: str, wanted: RelaysRequest) -> RelaysInfo:
        """Set where a stream is sent and fetched from."""
        return await self.ask(calls.SET_RELAYS, wanted, streamId=stream_id)

    # -- credentials

    async def list_keys(self, stream_id: str) -> KeyList:
        """List a stream's keys."""
        return await self.ask(calls.LIST_KEYS, streamId=stream_id)

    async def create_key(self, stream_id: str, wanted: KeyRequest) -> NewKey:
        """Make another key."""
        return await self.ask(calls.CREATE_KEY, wanted, streamId=stream_id)

    async def end_key(self, stream_id: str, key_id: str) -> None:
        """End a key at once."""
        await self.ask(calls.END_KEY, streamId=stream_id, keyId=key_id)

    async def rotate_key(self, stream_id: str, wanted: RotationRequest) -> NewKey:
        """Put a new key in the place of all others."""
        return await self.ask(calls.ROTATE_KEY, wanted, streamId=stream_id)

    async def list_tokens(self) -> TokenList:
        """List the admin tokens."""
        return await self.ask(calls.LIST_TOKENS)

    async def create_token(self, wanted: TokenRequest) -> NewToken:
        """Make an admin token with scopes."""
        return await self.ask(calls.CREATE_TOKEN, wanted)

    async def end_token(self, token_id: str) -> None:
        """End an admin token at once."""
        await self.ask(calls.END_TOKEN, tokenId=token_id)

    # -- viewers and what happens

    async def count_viewers(self, stream_id: str) -> ViewerFigures:
        """Say how many watch."""
        return await self.ask(calls.COUNT_VIEWERS, streamId=stream_id)

    async def get_viewer_history(self, stream_id: str, *, minutes: int = 60) -> ViewerHistory:
        """Say how many watched, minute by minute."""
        query = {"minutes": minutes}
        return await self.ask(calls.GET_VIEWER_HISTORY, query=query, streamId=stream_id)

    async def get_quality(self, stream_id: str) -> StreamQuality:
        """Say how viewers fare, by their own word."""
        return await self.ask(calls.GET_QUALITY, streamId=stream_id)

    async def get_playback(self, stream_id: str) -> PlaybackInfo:
        """Show who may watch a stream."""
        return await self.ask(calls.GET_PLAYBACK, streamId=stream_id)

    async def set_playback(self, stream_id: str, wanted: PlaybackRequest) -> PlaybackSet:
        """Set who may watch a stream."""
        return await self.ask(calls.SET_PLAYBACK, wanted, streamId=stream_id)

    async def create_playback_token(
        self, stream_id: str, wanted: playback.TokenRequest
    ) -> PlaybackToken:
        """Get a token to watch a stream."""
        return await self.ask(calls.CREATE_PLAYBACK_TOKEN, wanted, streamId=stream_id)

    async def get_ready(self) -> Ready:
        """Say whether the process should get new viewers and publishers; 503 if not."""
        return await self.ask(calls.GET_READY)

    async def get_alive(self) -> Alive:
        """Say whether the process runs."""
        return await self.ask(calls.GET_ALIVE)

    def stream_events(
        self, stream_id: str, *, last_id: str = ""
    ) -> AsyncGenerator[ServerEvent, None]:
        """Follow what happens to a stream; see `Asker.follow`. Its types are the origin's."""
        return self.follow(calls.STREAM_EVENTS, last_id=last_id, streamId=stream_id)

    # -- chat

    async def list_messages(
        self,
        stream_id: str,
        *,
        limit: int = 50,
        before: str | None = None,
        after: str | None = None,
    ) -> ChatMessages:
        """Read the newest messages between two."""
        query = {"limit": limit, "before": before, "after": after}
        return await self.ask(calls.LIST_MESSAGES, query=query, streamId=stream_id)

    async def post_message(self, stream_id: str, wanted: ChatPost) -> ChatMessage:
        """Say something."""
        return await self.ask(calls.POST_MESSAGE, wanted, streamId=stream_id)

    async def create_chat_token(self, stream_id: str, wanted: ChatTokenRequest) -> ChatToken:
        """Say who somebody is in this chat."""
        return await self.ask(calls.CREATE_CHAT_TOKEN, wanted, streamId=stream_id)

    async def get_chat_settings(self, stream_id: str) -> RoomSettings:
        """Show a room's settings."""
        return await self.ask(calls.GET_CHAT_SETTINGS, streamId=stream_id)

    async def change_chat_settings(self, stream_id: str, changes: RoomChanges) -> RoomSettings:
        """Change a room's settings."""
        return await self.ask(calls.CHANGE_CHAT_SETTINGS, changes, streamId=stream_id)

    async def clear_messages(self, stream_id: str) -> None:
        """Take all messages away."""
        await self.ask(calls.CLEAR_MESSAGES, streamId=stream_id)

    async def delete_message(self, stream_id: str, message_id: str) -> None:
        """Take a message away."""
        await self.ask(calls.DELETE_MESSAGE, streamId=stream_id, messageId=message_id)

    async def list_bans(self, stream_id: str) -> BanList:
        """List who may not write."""
        return await self.ask(calls.LIST_BANS, streamId=stream_id)

    async def ban_user(self, stream_id: str, user_id: str, wanted: BanRequest) -> None:
        """Ban somebody, or silence them for a while."""
        await self.ask(calls.BAN_USER, wanted, streamId=stream_id, userId=user_id)

    async def unban_user(self, stream_id: str, user_id: str) -> None:
        """Take a ban or a timeout back."""
        await self.ask(calls.UNBAN_USER, streamId=stream_id, userId=user_id)

    async def list_moderators(self, stream_id: str) -> ModeratorList:
        """List a room's moderators."""
        return await self.ask(calls.LIST_MODERATORS, streamId=stream_id)

    async def add_moderator(self, stream_id: str, user_id: str) -> None:
        """Make somebody a moderator."""
        await self.ask(calls.ADD_MODERATOR, streamId=stream_id, userId=user_id)

    async def remove_moderator(self, stream_id: str, user_id: str) -> None:
        """Make a moderator a viewer again."""
        await self.ask(calls.REMOVE_MODERATOR, streamId=stream_id, userId=user_id)

    async def list_audit(
        self, stream_id: str, *, limit: int = 50, before: int | None = None
    ) -> AuditPage:
        """List what moderators did, newest first."""
        query = {"limit": limit, "before": before}
        return await self.ask(calls.LIST_AUDIT, query=query, streamId=stream_id)
