"""One publisher's way in: key -> broadcast, media -> bridge -> the broadcast's packager.

`Ingest.admit` is the RTMP server's question about a key; a `Publication` is where that publisher's
media goes. Everything after admission is synchronous: when `Publication.push` returns, a part that
the message completed can be fetched, and publisher to packager needs no queue.

A publication ends once, from either side: the connection is over (`close`), or the broadcast is
(`stop`, which also hangs up). Either way the last frames are seen. What a closed connection means
for the broadcast is decided here:

* the publisher said goodbye (OBS's "stop streaming"), or its media is of no use: it ends at once;
* anything else (a lost line, a time-out, a crash, a broken protocol): it waits for the next one.

One publisher a stream. Who comes second while the first is there waits until it is known that the
first is alive: a line that was cut says nothing, and its encoder, which does know, is back before
any time-out of ours::

    not a byte of the first for `stale_s`    the second takes over, and the broadcast goes on
    the first sends                          the second is refused; or, with the policy "takeover",
                                             it takes over at once, and the first is told to stop

May import hls, control and origin's own; never rtmpcore, whose messages it only passes on.
"""

import math
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from secrets import token_hex
from typing import Final, Literal

import structlog
import trio

from control import AccessStore, StoreError, StreamKey
from edge.guesses import Guesses
from hls import MediaError, UsageError
from hls.segmenter_settings import SegmenterSettings
from origin.bridge import Bridge, MediaMessage, OtherPicture, Output, Tracks
from origin.broadcast import AlreadyLiveError, Broadcasts
from origin.cue import marker_of
from origin.feed import Feed
from origin.health.monitor import HealthMonitor
from origin.packager import Packager, Record
from origin.relay.tap import MetadataValues, Taps
from origin.rtmp.publisher import NoRoomError, Peer, PublishDeniedError, PublishStoppedError
from origin.transcode.service import Transcoding

MARKER_ID_BYTES: Final = 8
"""Random bytes in the id of a cue point's marker: two of a broadcast never share one."""

log = structlog.get_logger("ingest")


BITRATE_SPAN_S: Final = 10.0
"""Over so long a publisher's bitrate is measured: a keyframe's burst is none of our business."""

MAX_PUBLISHERS_WAITING: Final = 2
"""Who may wait at once for a stream whose publisher may be gone; more are refused at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestSettings:
    """Who may publish what."""

    publish_policy: Literal["refuse", "takeover"] = "refuse"
    """What becomes of a second publisher while the first one sends."""

    stale_s: float = 2.0
    """Silence after which the first publisher counts as gone if a second one comes. OBS is back two
    seconds after it has noticed."""

    max_publishers: int = 1_000
    """Publishers at once; one more is told that the server is full."""

    max_bitrate_kbps: int = 0
    """Most that a publisher may send, over ten seconds; 0: anything."""

    max_height: int = 0
    """Most lines of its picture, or columns of an upright one; 0: any."""


Judge = Callable[[StreamKey, Peer], Awaitable[str]]
"""Says into which stream somebody with a good key may publish; raises `PublishDeniedError`."""


class Ingest:
    """Admits publishers.

    Args:
        keys: Knows the keys.
        broadcasts: Knows who is live.
        segmenter_settings: For new segmenters.
        transcoding: Makes ladders, None for none.
        taps: Where the messages go too, for relays; None: nowhere.
        settings: Who may publish what.
        guesses: Counts wrong keys by network; None: nobody does.
        health: Says how publishers fare; None: nobody does.
        record: Begins to record a broadcast; None: nothing is recorded.
        judge: Asked about everybody with a good key; None: a good key is enough.
    """

    def __init__(
        self,
        *,
        keys: AccessStore,
        broadcasts: Broadcasts,
        segmenter_settings: SegmenterSettings,
        transcoding: Transcoding | None = None,
        taps: Taps | None = None,
        settings: IngestSettings | None = None,
        guesses: Guesses | None = None,
        health: HealthMonitor | None = None,
        record: Record | None = None,
        judge: Judge | None = None,
    ) -> None:
        self._settings = settings or IngestSettings()
        self._record = record
        self.judge = judge
        """May be replaced: it judges whoever shows a key from then on."""
        self._health = health
        self._guesses = Guesses() if guesses is None else guesses
        self._waiting: Counter[str] = Counter()  # second publishers, by stream
        self._publishers = 0
        self._is_draining = False
        self._taps = taps
        self._keys = keys
        self._broadcasts = broadcasts
        self._segmenter_settings = segmenter_settings
        self._transcoding = transcoding

    def reconfigure(self, settings: IngestSettings) -> None:
        """Judge by other settings whoever publishes from now on."""
        self._settings = settings

    def drain(self) -> None:
        """Admit nobody any more: the server is about to stop."""
        self._is_draining = True

    async def admit(self, key: str, peer: Peer) -> "Publication":
        """Check a stream key and take its stream, or the one that the judge names.

        Args:
            key: What the publisher sent, of any content; never logged.
            peer: The publisher's connection.

        Returns:
            The publication, which the caller must close.

        Raises:
            PublishDeniedError: The key is unknown, its stream has a publisher, there is no room, or
                too many wrong keys came from there.

        Cancellation: before the stream is taken, or not at all.
        """
        if not self._guesses.may_try(peer.address, trio.current_time()):
            raise PublishDeniedError(
                "too many wrong stream keys; try again in a minute", code="tooManyGuesses"
            )
        known = await self._find_key(key)
        if known is None:
            self._guesses.note_wrong(peer.address, trio.current_time())
            raise PublishDeniedError("unknown stream key", code="unknownKey")
        stream_id, judge = known.stream_id, self.judge
        if judge is not None:
            stream_id = await judge(known, peer)
        await self._await_vacancy(stream_id)
        if judge is not None:
            known = await self._find_key(key)
            if known is None:
                raise PublishDeniedError("the stream key has been ended", code="unknownKey")
        return self.take(stream_id, peer, key=known)

    async def _find_key(self, key: str) -> StreamKey | None:
        try:
            return await self._keys.find_key(key)
        except StoreError as error:
            log.error("cannot look up a stream key", reason=str(error))
            raise PublishDeniedError(
                "the stream key cannot be checked now", code="storeFailed"
            ) from error

    def take(self, stream_id: str, peer: Peer, *, key: StreamKey | None = None) -> "Publication":
        """Take a stream for somebody who may publish to it; never a checkpoint.

        Args:
            stream_id: The stream's.
            peer: Whoever will publish.
            key: What it was let in with.

        Returns, Raises:
            As `admit`.
        """
        if self._is_draining:
            raise NoRoomError("the server is stopping; try again in a minute", code="stopping")
        if self._publishers >= self._settings.max_publishers:
            raise NoRoomError("the server is full", code="full")
        try:
            publication = Publication(
                stream_id,
                self._broadcasts,
                self._segmenter_settings,
                peer,
                key=key,
                transcoding=self._transcoding,
                taps=self._taps,
                settings=self._settings,
                health=self._health,
                record=self._record,
                on_end=self._note_end,
            )
        except AlreadyLiveError as error:
            raise PublishDeniedError(str(error), code="busy") from error
        self._publishers += 1
        return publication

    async def _await_vacancy(self, stream_id: str) -> None:
        """Make way for somebody who has the key, if the publisher that is there must yield."""
        if self._settings.publish_policy == "takeover":
            self._broadcasts.vacate(stream_id, "another publisher took over")
            return
        feed = self._feed(stream_id)
        if feed is None or self._waiting[stream_id] >= MAX_PUBLISHERS_WAITING:
            return
        self._waiting[stream_id] += 1
        try:
            await trio.sleep(max(0.0, self._settings.stale_s - feed.silent_s))
        finally:
            self._waiting[stream_id] -= 1
            if not self._waiting[stream_id]:
                del self._waiting[stream_id]
        if self._feed(stream_id) is feed and feed.silent_s >= self._settings.stale_s:
            self._broadcasts.vacate(stream_id, "not a byte, and its encoder is back")

    def _feed(self, stream_id: str) -> Feed | None:
        broadcast = self._broadcasts.live(stream_id)
        return None if broadcast is None else broadcast.feed

    def _note_end(self) -> None:
        self._publishers -= 1


class Publication:
    """One publisher's part of a broadcast; implements `rtmp.publisher.Sink` and `broadcast.Feed`.

    Raises:
        AlreadyLiveError: The stream has a publisher.
    """

    def __init__(
        self,
        stream_id: str,
        broadcasts: Broadcasts,
        segmenter_settings: SegmenterSettings,
        peer: Peer,
        *,
        key: StreamKey | None = None,
        transcoding: Transcoding | None = None,
        taps: Taps | None = None,
        settings: IngestSettings | None = None,
        health: HealthMonitor | None = None,
        record: Record | None = None,
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        settings = settings or IngestSettings()
        self._settings = settings
        self._broadcasts = broadcasts
        self._peer = peer
        self.key = key
        """See `feed.Feed`."""
        self._on_end = on_end
        # Bytes of media since the span began; the limit of a span, if there is one.
        self._span_bytes = 0
        self._span_began_s = trio.current_time()
        self._max_span_bytes = settings.max_bitrate_kbps * 125 * BITRATE_SPAN_S or math.inf
        self._bridge = Bridge()
        self._has_begun = False
        self._over = False
        self._is_unusable = False
        self._broadcast = broadcasts.publish(stream_id, self)
        if self._broadcast.packager is None:
            self._broadcast.packager = Packager(
                self._broadcast,
                broadcasts,
                segmenter_settings,
                transcoding=transcoding,
                record=record,
            )
        self._packager = self._broadcast.packager
        self._tap = (taps or Taps()).open(stream_id)
        self._health = health
        self._meter = None if health is None else health.open(self._broadcast, peer)

    @property
    def stream_id(self) -> str:
        """The stream that it feeds."""
        return self._broadcast.stream_id

    @property
    def silent_s(self) -> float:
        """See `broadcast.Feed`."""
        return self._peer.silent_s

    def push(self, message: MediaMessage) -> None:
        """Take one media message.

        Raises:
            PublishStoppedError: The media cannot be packaged, or the broadcast is over.
            rtmpcore.RemoteProtocolError: The message is malformed.
        """
        if self._over:
            raise PublishStoppedError("the broadcast is over")
        self._span_bytes += len(message.payload)
        if self._span_bytes > self._max_span_bytes:
            self._judge_bitrate()
        try:
            outputs = self._bridge.push(message)
            self._judge_size(outputs)
            self._package(outputs)
        except MediaError as error:
            self._is_unusable = True
            raise PublishStoppedError(f"unusable media: {error}") from error
        if self._meter is not None:
            self._meter.note(len(message.payload), outputs, self._peer.heard_s)
        self._tap.push(message)

    def cue(self, values: Mapping[str, object]) -> None:
        """Put a marker at the live edge; what cannot be listed is left out."""
        live = self._broadcast.live
        edge_ms = None if live is None else live.edge_ms
        if self._over or live is None or edge_ms is None:
            return
        marker = marker_of(values, start_ms=edge_ms, marker_id=token_hex(MARKER_ID_BYTES))
        if marker is None:
            return
        try:
            live.mark(marker)
        except UsageError as error:  # there are too many
            log.debug("cue point left out", stream=self.stream_id, reason=str(error))

    def describe(self, values: MetadataValues) -> None:
        """Take ``onMetaData``: it is passed on, and nothing is believed of it but a name."""
        if self._health is not None:
            self._health.describe(self._broadcast, values)
        self._tap.describe(values)

    def close(self, *, goodbye: bool = False) -> None:
        """The publisher is gone; no effect after `stop`.

        Args:
            goodbye: It has said that it ends, so its broadcast does. Else it may come back.
        """
        if self._over:
            return
        is_awaited = False
        try:
            self._hand_over()
            if not (goodbye or self._is_unusable):
                self._packager.interrupt()
                is_awaited = True
        finally:  # a stream that kept its publisher could never be published to again
            if is_awaited:
                self._broadcasts.lose(self._broadcast)
            else:
                self._broadcasts.end(self._broadcast, "publisher gone")

    def stop(self, reason: str, *, for_good: bool = False) -> None:
        """The broadcast is over: hand over the last frames and hang up; no effect after `close`."""
        if not self._over:
            try:
                self._hand_over()
            finally:
                self._peer.disconnect(reason, for_good=for_good)

    def revoke(self, reason: str) -> None:
        """See `feed.Feed`: `close` follows, as when any connection is gone."""
        self._peer.disconnect(reason, for_good=True)

    def give_way(self, reason: str) -> None:
        """Another publisher comes: let it go on where this one's frames end."""
        if not self._over:
            try:
                self._hand_over()
                self._packager.interrupt()
            finally:
                self._peer.disconnect(reason, for_good=True)

    def _judge_bitrate(self) -> None:
        """A span's bytes have come: too soon, or a new span begins."""
        now_s = trio.current_time()
        took_s, self._span_began_s, self._span_bytes = now_s - self._span_began_s, now_s, 0
        if took_s < BITRATE_SPAN_S:
            most = self._settings.max_bitrate_kbps
            raise self._unusable(f"more than {most} kbit/s, the most that is taken here")

    def _judge_size(self, outputs: Sequence[Output]) -> None:
        most = self._settings.max_height
        for output in outputs if most else ():
            video = None
            if isinstance(output, Tracks):
                video = output.video
            elif isinstance(output, OtherPicture):
                video = output.config
            if video is not None and min(video.width, video.height) > most:
                size = f"{video.width}x{video.height}"
                raise self._unusable(f"a picture of {size}: {most} lines are the most here")

    def _unusable(self, reason: str) -> PublishStoppedError:
        self._is_unusable = True
        return PublishStoppedError(reason)

    def _package(self, outputs: Sequence[Output]) -> None:
        if not self._has_begun and self._bridge.started:
            self._has_begun = True
            self._packager.begin()
        try:
            self._packager.take(outputs)
        except BaseException:  # a bug, or media beyond its bounds: no other publisher could go on
            self._is_unusable = True
            raise

    def _hand_over(self) -> None:
        """Give the packager what the bridge has held back."""
        self._over = True
        self._on_end()
        self._tap.close()
        try:
            self._package(self._bridge.finish())
        except MediaError as error:  # the end of a publisher that was wrong to its last frame
            log.info("last frames lost", stream=self.stream_id, reason=str(error))
