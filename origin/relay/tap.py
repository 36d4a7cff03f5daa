"""A publisher's messages for whoever follows them: headers, the current group, bounded queues.

A `Tap` belongs to one publication. `Tap.push` is synchronous and never fails, whoever follows: each
follower has a queue of its own, and one that does not keep up loses messages, up to the next
keyframe, and never holds up the publisher or another follower.

Who begins to follow gets, in this order: the metadata, the sequence headers, the messages since the
last keyframe; so it sees a picture at once. What can be remembered is bounded: where the group is
longer than `MAX_GROUP_BYTES`, whoever comes waits for the next keyframe. A header that changes
forgets the group, so that headers and group always belong together. Without video any message is a
beginning.

`Taps` knows the tap of each stream: one at a time, the newest.

Not here: what is done with the messages, and the bytes in them (but for what they are).

May import rtmpcore and trio.
"""

import enum
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final, TypeAlias

import trio

from rtmpcore import AmfValue, AudioMessage, FlvError, Metadata, VideoMessage, flv

MAX_GROUP_BYTES: Final = 4 * 1024 * 1024
"""Most that is remembered since the last keyframe: 5 s at 6 Mbit/s, 13 s at OBS's default."""

QUEUE_BYTES: Final = 2 * MAX_GROUP_BYTES
"""Most that waits for one follower: a group that it begins with, and as much again."""

BATCH_BYTES: Final = 256 * 1024
"""What `Follower.receive` hands out at once, but for a longer message: it is in flight then, beside
the queue."""

MESSAGE_BYTES: Final = 256
"""What a message counts beside its payload, so that many small ones are bounded too."""

METADATA_BYTES: Final = 64 * 1024
"""What metadata counts: rtmpcore reads no longer one (`Limits.max_amf_bytes`)."""

MAX_HEADERS_BYTES: Final = 256 * 1024
"""Most that is remembered of sequence headers and colour information, of all tracks; real ones are
below 4 KiB. What exceeds it is passed on, once."""

MAX_FOLLOWERS: Final = 32
"""Of one tap: its forwards, and people who monitor the source."""

MediaMessage: TypeAlias = VideoMessage | AudioMessage
Message: TypeAlias = MediaMessage | Metadata
MetadataValues: TypeAlias = Mapping[str, AmfValue]


class TapError(Exception):
    """Nobody can follow now; ``str(error)`` says why."""


class _Part(enum.Enum):
    """What a message is to somebody who comes in the middle."""

    HEADER = "header"
    COLOUR = "colour"
    KEYFRAME = "keyframe"
    FRAME = "frame"


# H.264 and AAC, from OBS and nearly everybody else: known by two bytes.
_PLAIN_VIDEO: Final = {
    b"\x17\x00": _Part.HEADER,
    b"\x17\x01": _Part.KEYFRAME,
    b"\x27\x01": _Part.FRAME,
}
_PLAIN_AUDIO: Final = {b"\xaf\x00": _Part.HEADER, b"\xaf\x01": _Part.FRAME}

LONGEST_HEAD_BYTES: Final = 5
"""Of those: a message that is no longer may be empty, or cut short."""

_Tracks: TypeAlias = tuple[int, ...]
_HeaderKey: TypeAlias = tuple[type, _Part, _Tracks]

_PLAIN_TRACKS: Final[_Tracks] = (0,)


class Follower:
    """The queue of one who follows; made by `Tap.follow`. Use it as a context, in one task."""

    dropped_messages: int
    """Messages that it was too slow for, up to the next keyframe. Read-only."""

    def __init__(self, tap: "Tap") -> None:
        self.dropped_messages = 0
        self._tap = tap
        self._queue: deque[tuple[Message, int]] = deque()
        self._queued_bytes = 0
        self._is_waiting = True  # for a message to begin with
        self._has_begun = False
        self._wake = trio.Event()

    def __enter__(self) -> "Follower":
        return self

    def __exit__(self, *_: object) -> None:
        self._tap._leave(self)

    async def receive(self) -> list[Message]:
        """Return what has come, in order, at least one message; an empty list after the end.

        Cancellation: safe; nothing is lost.
        """
        while not self._queue and not self._tap.is_closed:
            self._wake = trio.Event()
            await self._wake.wait()
        batch: list[Message] = []
        batch_bytes = 0
        while self._queue and (not batch or batch_bytes + self._queue[0][1] <= BATCH_BYTES):
            message, size_bytes = self._queue.popleft()
            batch.append(message)
            batch_bytes += size_bytes
        self._queued_bytes -= batch_bytes
        return batch

    def _put(self, message: Message, size_bytes: int, *, begins: bool) -> None:
        if self._queued_bytes + size_bytes > QUEUE_BYTES:
            self.dropped_messages += len(self._queue)
            self._queue.clear()
            self._queued_bytes = 0
            self._is_waiting = True
        if self._is_waiting:
            if not begins:
                self.dropped_messages += self._has_begun
                return
            self._begin(message)
        self._append(message, size_bytes)

    def _begin(self, first: Message) -> None:
        """Put the headers in front of the first message, at its time: none may go back."""
        self._is_waiting = False
        self._has_begun = True
        for header in self._tap.headers():
            header = replace(header, timestamp_ms=first.timestamp_ms)
            self._append(header, _size_of(header))

    def _append(self, message: Message, size_bytes: int) -> None:
        self._queue.append((message, size_bytes))
        self._queued_bytes += size_bytes
        self._wake.set()


class Tap:
    """The messages of one publication, while it lasts.

    Args:
        on_close: Called once, when it is closed.
    """

    is_closed: bool
    """Nothing more will come. Read-only."""

    def __init__(self, on_close: Callable[["Tap"], None] | None = None) -> None:
        self.is_closed = False
        self._closed = trio.Event()
        self._on_close = on_close
        self._followers: list[Follower] = []
        self._metadata: Metadata | None = None
        self._headers: dict[_HeaderKey, MediaMessage] = {}
        self._lead_track: int | None = None  # the video track whose keyframes count
        self._group: list[MediaMessage] = []
        self._group_bytes = 0

    # -- the publisher's side: synchronous, never fails

    def describe(self, values: MetadataValues, *, timestamp_ms: int = 0) -> None:
        """Take ``onMetaData``; the last one counts."""
        message = Metadata(stream_id=0, timestamp_ms=timestamp_ms, values=values)
        self._metadata = message
        self._hand_out(message, _size_of(message), begins=False)

    def push(self, message: MediaMessage) -> None:
        """Take one media message; what is malformed goes no further.

        Cost: about 1 us, for every message of every publisher.
        """
        payload = message.payload
        is_video = type(message) is VideoMessage
        known = _PLAIN_VIDEO if is_video else _PLAIN_AUDIO
        part = known.get(payload[:2]) if len(payload) > LONGEST_HEAD_BYTES else None
        tracks = _PLAIN_TRACKS
        if part is None:
            try:
                part, tracks = (_read_video if is_video else _read_audio)(payload)
            except FlvError:
                return
        if is_video:
            if self._lead_track is None and tracks:
                self._lead_track = tracks[0]
            if part is _Part.KEYFRAME and self._lead_track not in tracks:
                part = _Part.FRAME
        size_bytes = len(payload) + MESSAGE_BYTES
        if part is _Part.KEYFRAME:
            self._group = [message]
            self._group_bytes = size_bytes
        elif part is _Part.HEADER or part is _Part.COLOUR:
            self._remember((type(message), part, tracks), message)
        elif self._group:
            self._group_bytes += size_bytes
            if self._group_bytes > MAX_GROUP_BYTES:
                self._group = []
            else:
                self._group.append(message)
        if self._followers:
            begins = part is _Part.KEYFRAME or (self._is_audio_only and part is _Part.FRAME)
            self._hand_out(message, size_bytes, begins=begins)

    def close(self) -> None:
        """Say that nothing more will come; followers get what is queued. Idempotent."""
        if self.is_closed:
            return
        self.is_closed = True
        self._closed.set()
        self._group.clear()
        for follower in self._followers:
            follower._wake.set()
        if self._on_close is not None:
            self._on_close(self)

    # -- the followers' side

    def follow(self) -> Follower:
        """Begin to follow, at the last keyframe if it is remembered, else at the next one.

        Raises:
            TapError: It is closed, or too many follow it.
        """
        if self.is_closed:
            raise TapError("the publisher is gone")
        if len(self._followers) >= MAX_FOLLOWERS:
            raise TapError("too many follow this stream")
        follower = Follower(self)
        self._followers.append(follower)
        for number, message in enumerate(self._group):
            follower._put(message, _size_of(message), begins=number == 0)
        return follower

    def headers(self) -> list[Message]:
        """Return what a decoder must know first: metadata, sequence headers."""
        return [*([self._metadata] if self._metadata else []), *self._headers.values()]

    async def wait_closed(self) -> None:
        """Return when nothing more will come."""
        await self._closed.wait()

    @property
    def _is_audio_only(self) -> bool:
        return self._lead_track is None

    def _leave(self, follower: Follower) -> None:
        self._followers.remove(follower)

    def _hand_out(self, message: Message, size_bytes: int, *, begins: bool) -> None:
        for follower in self._followers:
            follower._put(message, size_bytes, begins=begins)

    def _remember(self, key: _HeaderKey, message: MediaMessage) -> None:
        known = self._headers.get(key)
        if known is not None and known.payload == message.payload:
            return  # resent, as many encoders do: it changes nothing
        self._group = []
        sizes = {other: _size_of(header) for other, header in self._headers.items()}
        sizes[key] = _size_of(message)
        if sum(sizes.values()) <= MAX_HEADERS_BYTES:
            self._headers[key] = message
        elif known is not None:
            del self._headers[key]


class Taps:
    """The taps of a process: each stream that has a publisher has one."""

    def __init__(self) -> None:
        self._by_stream: dict[str, Tap] = {}
        self._watchers: list[Callable[[str, Tap], None]] = []

    def watch(self, on_open: Callable[[str, Tap], None]) -> None:
        """Have `on_open` called, synchronously, with each stream and tap that is opened."""
        self._watchers.append(on_open)

    def open(self, stream_id: str) -> Tap:
        """Make the tap of a new publisher; one that the stream still has is closed.

        Its owner must close it.
        """
        previous = self._by_stream.get(stream_id)
        if previous is not None:
            previous.close()

        def forget(tap: Tap) -> None:
            if self._by_stream.get(stream_id) is tap:
                del self._by_stream[stream_id]

        tap = self._by_stream[stream_id] = Tap(forget)
        for on_open in self._watchers:
            on_open(stream_id, tap)
        return tap

    def get(self, stream_id: str) -> Tap | None:
        """Return the tap of a stream that has a publisher now."""
        return self._by_stream.get(stream_id)


def _size_of(message: Message) -> int:
    if isinstance(message, Metadata):
        return METADATA_BYTES
    return len(message.payload) + MESSAGE_BYTES


def _read_video(payload: bytes) -> tuple[_Part | None, _Tracks]:
    """Tell what any video message is, and whose; raises `FlvError`."""
    tags = flv.video_tags(payload)
    tracks = tuple([tag.track_id for tag in tags])
    kinds = {tag.kind for tag in tags}
    if flv.TagKind.CONFIG in kinds:
        return _Part.HEADER, tracks
    if flv.TagKind.METADATA in kinds:
        return _Part.COLOUR, tracks
    if flv.TagKind.FRAME not in kinds:
        return None, ()
    return (_Part.KEYFRAME if tags[0].keyframe else _Part.FRAME), tracks


def _read_audio(payload: bytes) -> tuple[_Part | None, _Tracks]:
    """Tell what any audio message is, and whose; raises `FlvError`."""
    tags = flv.audio_tags(payload)
    tracks = tuple([tag.track_id for tag in tags])
    kinds = {tag.kind for tag in tags}
    if flv.TagKind.CONFIG in kinds:
        return _Part.HEADER, tracks
    return (_Part.FRAME if flv.TagKind.FRAME in kinds else None), tracks
