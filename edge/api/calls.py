"""What a client may ask: the rows of the API's table as who asks sees them, with their answers.

The types are those that the server answers with; a test holds each call to its row. Calls whose
types belong to the origin stand in `origin.tools`.

Pure. May import: `control`'s model, and the modules of `edge` that have the types.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Generic, TypeVar
from urllib.parse import quote

from control.chat_model import ChatMessage, RoomSettings
from edge.api.keys import KeyList, NewKey, NewToken, TokenList
from edge.api.operation import Method
from edge.api.streams import StreamList, StreamPage
from edge.audience.api import StreamQuality, ViewerFigures, ViewerHistory
from edge.backend import CreatedStream, MarkerInfo, StreamInfo, StreamSettings
from edge.chat.rows import AuditPage, BanList, ChatMessages, ChatToken, Done, ModeratorList
from edge.http.rows import Alive, Ready
from edge.playback.api import PlaybackInfo, PlaybackSet, PlaybackToken
from edge.relays import RelaysInfo

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """An operation of the API, for who asks; see `edge.api.operation.Operation`."""

    name: str
    method: Method
    path: str
    answer: type[T]
    """`NoneType`: a 204."""

    def target(self, params: Mapping[str, str]) -> str:
        """The path with its names filled in and escaped. Raises KeyError for a missing one."""
        return re.sub(r"{(\w+)}", lambda match: quote(params[match[1]], safe=""), self.path)


_EVERY, _ONE = "/api/streams", "/api/streams/{streamId}"
_CHAT = f"{_ONE}/chat"

CREATE_STREAM: Final = Call("createStream", "POST", _EVERY, CreatedStream)
LIST_STREAMS: Final = Call("listStreams", "GET", _EVERY, StreamPage)
LIST_LIVE_STREAMS: Final = Call("listLiveStreams", "GET", f"{_EVERY}/live", StreamList)
GET_STREAM: Final = Call("getStream", "GET", _ONE, StreamInfo)
CHANGE_STREAM: Final = Call("changeStream", "PATCH", _ONE, StreamInfo)
GET_SETTINGS: Final = Call("getSettings", "GET", f"{_ONE}/settings", StreamSettings)
DELETE_STREAM: Final = Call("deleteStream", "DELETE", _ONE, type(None))
START_STREAM: Final = Call("startStream", "POST", f"{_ONE}/start", StreamInfo)
END_STREAM: Final = Call("endStream", "POST", f"{_ONE}/end", StreamInfo)
CREATE_MARKER: Final = Call("createMarker", "POST", f"{_ONE}/markers", MarkerInfo)
GET_RELAYS: Final = Call("getRelays", "GET", f"{_ONE}/relays", RelaysInfo)
SET_RELAYS: Final = Call("setRelays", "PUT", f"{_ONE}/relays", RelaysInfo)
LIST_KEYS: Final = Call("listKeys", "GET", f"{_ONE}/keys", KeyList)
CREATE_KEY: Final = Call("createKey", "POST", f"{_ONE}/keys", NewKey)
END_KEY: Final = Call("endKey", "DELETE", f"{_ONE}/keys/{{keyId}}", type(None))
ROTATE_KEY: Final = Call("rotateKey", "POST", f"{_ONE}/key", NewKey)
LIST_TOKENS: Final = Call("listTokens", "GET", "/api/tokens", TokenList)
CREATE_TOKEN: Final = Call("createToken", "POST", "/api/tokens", NewToken)
END_TOKEN: Final = Call("endToken", "DELETE", "/api/tokens/{tokenId}", type(None))
COUNT_VIEWERS: Final = Call("countViewers", "GET", f"{_ONE}/viewers", ViewerFigures)
GET_VIEWER_HISTORY: Final = Call(
    "getViewerHistory", "GET", f"{_ONE}/viewers/history", ViewerHistory
)
GET_QUALITY: Final = Call("getQuality", "GET", f"{_ONE}/quality", StreamQuality)
GET_PLAYBACK: Final = Call("getPlayback", "GET", f"{_ONE}/playback", PlaybackInfo)
SET_PLAYBACK: Final = Call("setPlayback", "PUT", f"{_ONE}/playback", PlaybackSet)
CREATE_PLAYBACK_TOKEN: Final = Call(
    "createPlaybackToken", "POST", f"{_ONE}/playback", PlaybackToken
)
LIST_MESSAGES: Final = Call("listMessages", "GET", _CHAT, ChatMessages)
POST_MESSAGE: Final = Call("postMessage", "POST", _CHAT, ChatMessage)
CREATE_CHAT_TOKEN: Final = Call("createChatToken", "POST", f"{_CHAT}/token", ChatToken)
GET_CHAT_SETTINGS: Final = Call("getChatSettings", "GET", f"{_CHAT}/settings", RoomSettings)
CHANGE_CHAT_SETTINGS: Final = Call("changeChatSettings", "PATCH", f"{_CHAT}/settings", RoomSettings)
CLEAR_MESSAGES: Final = Call("clearMessages", "DELETE", f"{_CHAT}/messages", Done)
DELETE_MESSAGE: Final = Call("deleteMessage", "DELETE", f"{_CHAT}/messages/{{messageId}}", Done)
LIST_BANS: Final = Call("listBans", "GET", f"{_CHAT}/bans", BanList)
BAN_USER: Final = Call("banUser", "PUT", f"{_CHAT}/bans/{{userId}}", Done)
UNBAN_USER: Final = Call("unbanUser", "DELETE", f"{_CHAT}/bans/{{userId}}", Done)
LIST_MODERATORS: Final = Call("listModerators", "GET", f"{_CHAT}/moderators", ModeratorList)
ADD_MODERATOR: Final = Call("addModerator", "PUT", f"{_CHAT}/moderators/{{userId}}", Done)
REMOVE_MODERATOR: Final = Call("removeModerator", "DELETE", f"{_CHAT}/moderators/{{userId}}", Done)
LIST_AUDIT: Final = Call("listAudit", "GET", f"{_CHAT}/audit", AuditPage)
GET_READY: Final = Call("getReady", "GET", "/ready", Ready)
GET_ALIVE: Final = Call("getAlive", "GET", "/health", Alive)
STREAM_EVENTS: Final = Call("streamEvents", "GET", f"{_ONE}/events", type(None))
