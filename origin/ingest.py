"""One publisher's way in: key -> broadcast, media -> bridge -> the broadcast's packager.

`Ingest.admit` is the RTMP server's question about a key; a `Publication` is where that publisher's
media goes. Everything after admission is synchronous: when `Publication.push` returns, a part that
the message completed can be fetched, and publisher to packager needs no queue.

A publication ends once, from either side: the connection is over (`close`), or the broadcast is
(`stop`, which also hangs up). Either way the last frames are seen. What a closed connection means
for the broadcast is decided here:

* the publisher said goodbye (OBS's "stop streaming"), or its media is of no use: it ends at once;
* anything else (a lost line, a time-out, a crash, a broken protocol): it waits for the next one.

May import hls, control and origin's own; never rtmpcore, whose messages it only passes on.
"""

from collections.abc import Mapping, Sequence
from secrets import token_hex
from typing import Final

import structlog

from control import Store, StoreError
from hls import MediaError, UsageError
from hls.segmenter_settings import SegmenterSettings
from origin.bridge import Bridge, MediaMessage, Output
from origin.broadcast import AlreadyLiveError, Broadcasts
from origin.cue import marker_of
from origin.packager import Packager
from origin.rtmp.server import Disconnect, PublishDeniedError, PublishStoppedError
from origin.transcode.service import Transcoding

MARKER_ID_BYTES: Final = 8
"""Random bytes in the id of a cue point's marker: two of a broadcast never share one."""

log = structlog.get_logger("ingest")


class Ingest:
    """Admits publishers.

    Args:
        store: Knows the keys.
        broadcasts: Knows who is live.
        segmenter_settings: For new segmenters.
        transcoding: Makes ladders, None for none.
    """

    def __init__(
        self,
        *,
        store: Store,
        broadcasts: Broadcasts,
        segmenter_settings: SegmenterSettings,
        transcoding: Transcoding | None = None,
    ) -> None:
        self._store = store
        self._broadcasts = broadcasts
        self._segmenter_settings = segmenter_settings
        self._transcoding = transcoding

    async def admit(self, key: str, disconnect: Disconnect) -> "Publication":
        """Check a stream key and take its stream.

        Args:
            key: What the publisher sent, of any content; never logged.
            disconnect: Hangs up on that publisher.

        Returns:
            The publication, which the caller must close.

        Raises:
            PublishDeniedError: The key is unknown, or its stream has a publisher.

        Cancellation: before the stream is taken, or not at all.
        """
        try:
            stream = await self._store.find_by_key(key)
        except StoreError as error:
            log.error("cannot look up a stream key", reason=str(error))
            raise PublishDeniedError("the stream key cannot be checked now") from error
        if stream is None:
            raise PublishDeniedError("unknown stream key")
        # No checkpoint from here on: a stream that is taken has an owner.
        try:
            return Publication(
                stream.id,
                self._broadcasts,
                self._segmenter_settings,
                disconnect,
                transcoding=self._transcoding,
            )
        except AlreadyLiveError as error:
            raise PublishDeniedError(str(error)) from error


class Publication:
    """One publisher's part of a broadcast; implements `rtmp.server.Sink` and `broadcast.Feed`.

    Raises:
        AlreadyLiveError: The stream has a publisher.
    """

    def __init__(
        self,
        stream_id: str,
        broadcasts: Broadcasts,
        segmenter_settings: SegmenterSettings,
        disconnect: Disconnect,
        *,
        transcoding: Transcoding | None = None,
    ) -> None:
        self._broadcasts = broadcasts
        self._disconnect = disconnect
        self._bridge = Bridge()
        self._has_begun = False
        self._over = False
        self._is_unusable = False
        self._broadcast = broadcasts.publish(stream_id, self)
        if self._broadcast.packager is None:
            self._broadcast.packager = Packager(
                self._broadcast, broadcasts, segmenter_settings, transcoding=transcoding
            )
        self._packager = self._broadcast.packager

    @property
    def stream_id(self) -> str:
        """The stream that it feeds."""
        return self._broadcast.stream_id

    def push(self, message: MediaMessage) -> None:
        """Take one media message.

        Raises:
            PublishStoppedError: The media cannot be packaged, or the broadcast is over.
            rtmpcore.RemoteProtocolError: The message is malformed.
        """
        if self._over:
            raise PublishStoppedError("the broadcast is over")
        try:
            self._package(self._bridge.push(message))
        except MediaError as error:
            self._is_unusable = True
            raise PublishStoppedError(f"unusable media: {error}") from error

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

    def stop(self, reason: str) -> None:
        """The broadcast is over: hand over the last frames and hang up; no effect after `close`."""
        if not self._over:
            try:
                self._hand_over()
            finally:
                self._disconnect(reason)

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
        try:
            self._package(self._bridge.finish())
        except MediaError as error:  # the end of a publisher that was wrong to its last frame
            log.info("last frames lost", stream=self.stream_id, reason=str(error))
