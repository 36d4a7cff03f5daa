"""One publisher's way in: key -> broadcast, media -> bridge -> segmenter -> viewers.

`Ingest.admit` is the RTMP server's question about a key; a `Publication` is where that publisher's
media goes. Everything after admission is synchronous: when `Publication.push` returns, a part that
the message completed can be fetched, and publisher to packager needs no queue.

A publication ends once, from either side: the connection is over (`close`), or the broadcast is
(`stop`, which also hangs up). Either way the segmenter is flushed first: the last frames are seen.

One segmenter serves the whole publication: changed tracks (`origin.bridge.Tracks`) break its media
with a discontinuity and a new init section, while msn and media clock run on.

May import hls, edge, control and origin's own; never rtmpcore, whose messages it only passes on.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import structlog

from control import Store, StoreError
from hls import MediaError, MediaEvent
from hls.segmenter import Segmenter
from hls.segmenter_settings import SegmenterSettings
from origin.bridge import Bridge, MediaMessage, Output, Tracks
from origin.broadcast import AlreadyLiveError, Broadcast, Broadcasts
from origin.rtmp.server import Disconnect, PublishDeniedError, PublishStoppedError

if TYPE_CHECKING:
    from edge.live import LiveRendition

log = structlog.get_logger("ingest")


class Ingest:
    """Admits publishers.

    Args:
        store: Knows the keys.
        broadcasts: Knows who is live.
        segmenter_settings: For new segmenters.
    """

    def __init__(
        self, *, store: Store, broadcasts: Broadcasts, segmenter_settings: SegmenterSettings
    ) -> None:
        self._store = store
        self._broadcasts = broadcasts
        self._segmenter_settings = segmenter_settings

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
            return Publication(stream.id, self._broadcasts, self._segmenter_settings, disconnect)
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
    ) -> None:
        self._broadcasts = broadcasts
        self._segmenter_settings = segmenter_settings
        self._disconnect = disconnect
        self._bridge = Bridge()
        self._segmenter: Segmenter | None = None
        self._over = False
        self._rendition: LiveRendition | None = None
        self._broadcast: Broadcast = broadcasts.publish(stream_id, self)

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
            outputs = self._bridge.push(message)
            if self._rendition is None and self._bridge.started:
                self._rendition = self._broadcasts.open_media(self._broadcast)
            self._package(outputs)
        except MediaError as error:
            raise PublishStoppedError(f"unusable media: {error}") from error

    def close(self) -> None:
        """The publisher is gone: its broadcast ends."""
        try:
            self._finish()
        finally:  # a stream that kept its publisher could never be published to again
            self._broadcasts.end(self._broadcast, "publisher gone")

    def stop(self, reason: str) -> None:
        """The broadcast is over: publish what is half cut and hang up; no effect after `close`."""
        if not self._over:
            try:
                self._finish()
            finally:
                self._disconnect(reason)

    def _package(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            if isinstance(output, Tracks):
                self._change_tracks(output)
            elif self._segmenter is not None:
                self._publish(self._segmenter.push(output))

    def _change_tracks(self, tracks: Tracks) -> None:
        video, audio = tracks.video, tracks.audio
        if self._segmenter is None:
            self._segmenter = Segmenter(video=video, audio=audio, settings=self._segmenter_settings)
        else:
            self._publish(self._segmenter.reconfigure(video=video, audio=audio))
        log.info("tracks", stream=self.stream_id, **_describe(tracks))

    def _publish(self, events: Sequence[MediaEvent]) -> None:
        if events and self._rendition is not None:
            self._rendition.publish(events)

    def _finish(self) -> None:
        if self._over:
            return
        self._over = True
        try:
            self._package(self._bridge.finish())
            if self._segmenter is not None:
                self._publish(self._segmenter.flush())
        except MediaError as error:  # the end of a publisher that was wrong to its last frame
            log.info("last frames lost", stream=self.stream_id, reason=str(error))


def _describe(tracks: Tracks) -> dict[str, str]:
    """Say for the log what a publisher sends."""
    fields = {}
    if tracks.video is not None:
        video = tracks.video
        fields["video"] = f"{video.codec_string} {video.width}x{video.height}"
    if tracks.audio is not None:
        audio = tracks.audio
        fields["audio"] = f"{audio.codec_string} {audio.sample_rate} Hz, {audio.channels} channels"
    return fields
