"""One publisher's way in: key -> broadcast, media -> bridge -> segmenter -> viewers.

`Ingest.admit` is the RTMP server's question about a key; a `Publication` is where that publisher's
media goes. Everything after admission is synchronous: when `Publication.push` returns, a part that
the message completed can be fetched, and publisher to packager needs no queue.

A publication ends once, from either side: the connection is over (`close`), or the broadcast is
(`stop`, which also hangs up). Either way the segmenter is flushed first: the last frames are seen.

One segmenter serves the whole publication: changed tracks (`origin.bridge.Tracks`) break its media
with a discontinuity and a new init section, while msn and media clock run on.

Where transcoding is on, a broadcast with video has a ladder: it gets every sample that the
segmenter took, and follows the segmenter's events after the source has published them.

May import hls, edge, control and origin's own; never rtmpcore, whose messages it only passes on.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import structlog

from control import Store, StoreError
from hls import AacConfig, AvcConfig, MediaError, MediaEvent, Sample, TrackKind
from hls.segmenter import Segmenter
from hls.segmenter_settings import SegmenterSettings
from origin.bridge import Bridge, MediaMessage, Output, Tracks
from origin.broadcast import AlreadyLiveError, Broadcast, Broadcasts
from origin.rtmp.server import Disconnect, PublishDeniedError, PublishStoppedError
from origin.transcode.ladder import Ladder
from origin.transcode.service import Transcoding

if TYPE_CHECKING:
    from edge.live import LiveRendition

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
        self._transcoding = transcoding
        self._ladder: Ladder | None = None
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
            segmenter = self._segmenter
            if isinstance(output, Tracks):
                self._change_tracks(output)
            elif segmenter is not None:
                events = segmenter.push(output)
                if self._ladder is not None:
                    self._with_ladder(partial(_feed, segmenter, output))
                self._publish(events)

    def _with_ladder(self, step: Callable[[Ladder], None]) -> None:
        """Let the ladder take part. It is an extra: a bug in it must not touch the source."""
        ladder = self._ladder
        if ladder is None:
            return
        try:
            step(ladder)
        except Exception as error:
            log.error("transcoding failed", stream=self.stream_id, exc_info=error)
            self._ladder = None
            ladder.abandon()

    def _change_tracks(self, tracks: Tracks) -> None:
        video, audio = tracks.video, tracks.audio
        if self._segmenter is None:
            self._segmenter = self._begin(video, audio)
        else:
            self._publish(self._segmenter.reconfigure(video=video, audio=audio))
        if self._ladder is not None:
            self._ladder.set_tracks(video, audio)
        log.info("tracks", stream=self.stream_id, **_describe(tracks))

    def _begin(self, video: AvcConfig | None, audio: AacConfig | None) -> Segmenter:
        """Begin to package; with a ladder, where there is one for it."""
        settings = self._segmenter_settings
        transcoding = self._transcoding
        if transcoding is not None and video is not None:
            self._ladder = transcoding.open(self._broadcast, video, audio)
            if self._ladder is not None:
                settings = replace(settings, free_cut_gop_s=transcoding.max_gop_s)
        return Segmenter(video=video, audio=audio, settings=settings)

    def _publish(self, events: Sequence[MediaEvent]) -> None:
        if not events or self._rendition is None:
            return
        if self._ladder is None:
            self._rendition.publish(events)
            return
        assert self._segmenter is not None  # it comes with the ladder
        cuts_anywhere = self._segmenter.cuts_anywhere
        self._with_ladder(lambda ladder: ladder.decide(cuts_anywhere))
        self._rendition.publish(events)
        self._with_ladder(lambda ladder: ladder.follow(events))

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
        finally:
            if self._ladder is not None:
                self._ladder.close()


def _feed(segmenter: Segmenter, sample: Sample, ladder: Ladder) -> None:
    """Give the ladder a sample that the segmenter has just been given."""
    if segmenter.placed is not None:
        ladder.take_picture(sample, segmenter.placed, cuts_anywhere=segmenter.cuts_anywhere)
    elif sample.kind is TrackKind.AUDIO:
        ladder.take_audio(sample, segmenter.media_ticks(sample.dts_ms))


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
