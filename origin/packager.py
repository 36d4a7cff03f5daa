"""One broadcast's media, whoever publishes it: samples -> segmenter -> viewers and ladder.

Made by a broadcast's first publisher and kept until its end. A publisher is one life of it::

    begin                     its first frame has just arrived
    take(Tracks), take(Sample) ...
    interrupt                 it is gone, and another one may come
    finish                    the broadcast is over

One segmenter serves them all: changed tracks (`origin.bridge.Tracks`), and another publisher, break
its media with a discontinuity and, where they need one, a new init section, while msn, token and
media clock run on. The media of each publisher starts where the wall clock has come to, so
PROGRAM-DATE-TIME is media time plus one constant for the whole broadcast, in every rendition, and
still says when a picture arrived.

What else there is to watch follows the segmenter's events after the source has published them, and
gets what the segmenter took: the further video tracks of a publisher that sends several
(`origin.multitrack`); or, if its first publisher announces none before its first frames, and where
transcoding is on, a ladder. A broadcast has one of the two, for they would have the same names.

Everything here is synchronous. May import hls and origin's own; never rtmpcore.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import structlog

from hls import MediaEvent, Sample, TrackKind
from hls.sample import Placement
from hls.segmenter import Segmenter
from hls.segmenter_settings import SegmenterSettings
from origin.bridge import OtherPicture, Output, Tracks
from origin.broadcast import Broadcast, Broadcasts
from origin.multitrack import Multitrack
from origin.recording.tape import Tape
from origin.transcode.ladder import Ladder
from origin.transcode.service import Transcoding

if TYPE_CHECKING:
    from edge.rendition import LiveRendition

Record: TypeAlias = Callable[[Broadcast], Tape | None]
"""Begins to record a broadcast, whose media begins; None: it does not."""

log = structlog.get_logger("ingest")


class Packager:
    """Makes the media of one broadcast.

    Args:
        broadcast: It; live.
        broadcasts: Serves renditions.
        segmenter_settings: For its segmenter.
        transcoding: Makes ladders, None for none.
        record: Begins to record it, once there is media; None: it is not recorded.
    """

    def __init__(
        self,
        broadcast: Broadcast,
        broadcasts: Broadcasts,
        segmenter_settings: SegmenterSettings,
        *,
        transcoding: Transcoding | None = None,
        record: Record | None = None,
    ) -> None:
        self._record = record
        self._broadcast = broadcast
        self._broadcasts = broadcasts
        self._segmenter_settings = segmenter_settings
        self._transcoding = transcoding
        self.tracks: Tracks | None = None
        """What the present publisher sends, or the last one sent; None before any media."""
        self._segmenter: Segmenter | None = None
        self._rendition: LiveRendition | None = None
        self._ladder: Ladder | None = None
        self._multitrack: Multitrack | None = Multitrack(broadcasts, broadcast)
        self._tape: Tape | None = None
        # Where the media of a publisher that has just come begins; None once it has begun.
        self._joins_at_s: float | None = None

    def begin(self) -> None:
        """A publisher's first frame has just arrived; its tracks may not be known yet."""
        if self._rendition is None:
            self._rendition = self._broadcasts.open_media(self._broadcast)
            if self._record is not None:
                self._tape = self._record(self._broadcast)
        self._joins_at_s = self._broadcasts.media_time_s(self._broadcast)

    def take(self, outputs: Sequence[Output]) -> None:
        """Package what the present publisher's bridge gave, after `begin`.

        Raises:
            MediaError: The media cannot be packaged; only `finish` may follow.
        """
        for output in outputs:
            segmenter = self._segmenter
            if isinstance(output, Tracks):
                self._change_tracks(output)
            elif isinstance(output, OtherPicture):
                self._with_others(partial(_take_other, output))
            elif segmenter is not None:
                events = segmenter.push(output)
                if self._ladder is not None:
                    self._with_ladder(partial(_feed, segmenter, output))
                elif segmenter.placed is not None:
                    self._with_others(partial(_take_slot, output, segmenter.placed))
                self._publish(events)

    def interrupt(self) -> None:
        """The publisher is gone: let viewers have what is half cut."""
        if self._segmenter is not None:
            self._publish(self._segmenter.interrupt())
            self._with_ladder(lambda ladder: ladder.interrupt())
        self._with_others(lambda others: others.interrupt())

    def finish(self) -> None:
        """The broadcast is over: publish what is half cut; nothing more comes."""
        try:
            if self._segmenter is not None:
                self._publish(self._segmenter.flush())
            self._with_others(lambda others: others.finish())
        finally:
            self._with_tape(lambda tape: tape.end())
            if self._ladder is not None:
                self._ladder.close()

    def _change_tracks(self, tracks: Tracks) -> None:
        self.tracks = tracks
        if self._segmenter is None:
            self._segmenter = self._open(tracks)
        if tracks.has_others and self._multitrack is not None:
            self._multitrack.is_expected = True
        video, audio = tracks.video, tracks.audio
        joins_at_s, self._joins_at_s = self._joins_at_s, None
        if joins_at_s is None:
            events = self._segmenter.reconfigure(video=video, audio=audio)
        else:
            events = self._segmenter.reconnect(video=video, audio=audio, media_time_s=joins_at_s)
        self._publish(events)
        if self._ladder is not None:
            self._ladder.set_tracks(video, audio)
        log.info("tracks", stream=self._broadcast.stream_id, **_describe(tracks))

    def _open(self, tracks: Tracks) -> Segmenter:
        """Begin to package; with a ladder, where there is one for it."""
        video, audio = tracks.video, tracks.audio
        settings = self._segmenter_settings
        transcoding = self._transcoding
        if transcoding is not None and video is not None and not tracks.has_others:
            self._ladder = transcoding.open(self._broadcast, video, audio)
            if self._ladder is not None:
                self._multitrack = None
                settings = replace(settings, free_cut_gop_s=transcoding.max_gop_s)
        first_msn = self._broadcast.first_number
        return Segmenter(video=video, audio=audio, settings=settings, first_msn=first_msn)

    def _with_ladder(self, step: Callable[[Ladder], None]) -> None:
        """Let the ladder take part. It is an extra: a bug in it must not touch the source."""
        ladder = self._ladder
        if ladder is None:
            return
        try:
            step(ladder)
        except Exception as error:
            log.error("transcoding failed", stream=self._broadcast.stream_id, exc_info=error)
            self._ladder = None
            ladder.abandon()

    def _with_others(self, step: Callable[[Multitrack], None]) -> None:
        """Let the other tracks take part; as with the ladder, a bug there costs them alone."""
        others = self._multitrack
        if others is None:
            return
        try:
            step(others)
        except Exception as error:
            log.error("multitrack failed", stream=self._broadcast.stream_id, exc_info=error)
            self._multitrack = None
            others.abandon()

    def _with_tape(self, step: Callable[[Tape], None]) -> None:
        """Let the recording take part; as with the ladder, a bug there costs it alone."""
        tape = self._tape
        if tape is None:
            return
        try:
            step(tape)
        except Exception as error:
            log.error("recording failed", stream=self._broadcast.stream_id, exc_info=error)
            self._tape = None
            tape.close()

    def _publish(self, events: Sequence[MediaEvent]) -> None:
        if not events or self._rendition is None:
            return
        if self._ladder is None:
            self._rendition.publish(events)
            self._with_tape(lambda tape: tape.take(events))
            self._with_others(lambda others: others.follow(events))
            return
        assert self._segmenter is not None  # it comes with the ladder
        cuts_anywhere = self._segmenter.cuts_anywhere
        self._with_ladder(lambda ladder: ladder.decide(cuts_anywhere))
        self._rendition.publish(events)
        self._with_tape(lambda tape: tape.take(events))
        self._with_ladder(lambda ladder: ladder.follow(events))


def _take_other(picture: OtherPicture, others: Multitrack) -> None:
    others.take(picture)


def _take_slot(sample: Sample, placement: Placement, others: Multitrack) -> None:
    if others.is_expected:
        others.take_slot(sample, placement)


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
