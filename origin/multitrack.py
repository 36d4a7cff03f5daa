"""A publisher's further video tracks as renditions: a ladder that nobody here has to encode.

OBS and FFmpeg can send one picture several times, each in its own size (Enhanced RTMP). Track 0 is
`SOURCE`, cut by the segmenter as ever; each other track is a `hls.rung.Rung`, whose encoder is the
publisher's: the source's parts again, same msn, times and audio, with the track's pictures. So
a picture of a track needs the number of the source's slot for the same instant::

    track    IDR shown at t  ->  the source's IDR picture shown at t, and with it the distance
                                 between the decode stamps of the two (their reordering may differ)
             the next ones   ->  the source's slot at the decode stamp less that distance

A track joins with an IDR picture at which a segment of the source begins. Where a segment begins
with another picture of it, the segment is a gap; and while its newest part is one, new viewers do
not see the rendition. A track with a picture that finds no slot, or that is malformed, or with none
for `PATIENCE_MS`, is lost until its next IDR picture that fits. Nothing here touches the source.

Until the source's `SEGMENTS_AWAITED`-th segment the multivariant playlist waits for the tracks
that have come; players read it once.

A rendition is named by its height (``720p``). Of two tracks of one height the first is taken, and
a rendition keeps its name when its track changes its size: viewers hold its URL.

Synchronous. Bounds: `MAX_SLOTS` slots of the source and `MAX_WAITING` pictures of each track, of
together `MAX_WAITING_BYTES`; `bridge.MAX_OTHER_TRACKS` tracks; those of `hls.rung`.

May import hls, edge and origin's own; never rtmpcore.
"""

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import structlog

from hls import InitSegment, MediaError, MediaEvent, Part, Presentation, Sample
from hls.clock import TICKS_PER_MS
from hls.rung import CodedPicture, Rung
from hls.sample import Placement
from hls.video import scanner
from origin.bridge import OtherPicture
from origin.broadcast import SOURCE, Broadcast, Broadcasts

if TYPE_CHECKING:
    from edge.live import LiveStream
    from edge.rendition import LiveRendition
    from hls.video import VideoConfig

PATIENCE_MS: Final = 2_000
"""Media time that a track may lag behind the source before its parts become gaps."""

MAX_SLOTS: Final = 1_024
"""Of the source's pictures, the newest: 4 s at 240 pictures a second, twice `PATIENCE_MS`."""

MAX_WAITING: Final = 512
"""Pictures of a track that are ahead of the source."""

MAX_WAITING_BYTES: Final = 16 * 1024 * 1024

SEGMENTS_AWAITED: Final = 2
"""A track that is in none of them has keyframes that do not line up, or starts late."""

_ROUNDING_MS: Final = (0, -1, 1)
"""Two encoders round the same instant to milliseconds, perhaps not in the same way."""

log = structlog.get_logger("multitrack")


class _Slot(NamedTuple):
    placement: Placement
    dts_ms: int
    pts_ms: int


class _Track:
    """One track that is, or may become, a rendition."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rung = Rung()
        self.rendition: LiveRendition | None = None
        self.is_awaited = False
        self.is_hidden = False
        # Its decode stamps less the source's; None while it is lost.
        self.distance_ms: int | None = None
        self.newest_ms = 0  # the source's decode stamp of the newest picture that got a slot
        # What is ahead of the source, and whether it is an IDR picture.
        self.waiting: deque[tuple[OtherPicture, bool]] = deque()
        self.waiting_bytes = 0

    def pop(self) -> None:
        picture, _ = self.waiting.popleft()
        self.waiting_bytes -= len(picture.sample.data)


class Multitrack:
    """The further video tracks of one broadcast, whoever publishes it.

    Args:
        broadcasts: Serves renditions.
        broadcast: What they belong to.
    """

    def __init__(self, broadcasts: Broadcasts, broadcast: Broadcast) -> None:
        self._broadcasts = broadcasts
        self._broadcast = broadcast
        self._tracks: dict[str, _Track] = {}
        self._names: dict[int, str | None] = {}  # by track id of the present publisher
        self._slots: deque[_Slot] = deque()
        self._by_dts: dict[int, _Slot] = {}
        # What the source has promised and said, for a track that comes late.
        self._presentation: Presentation | None = None
        self._init: InitSegment | None = None
        self._discontinuities = 0
        self._segments = 0  # that have ended, so far as it matters
        self.is_expected = False
        """There are other tracks, or are about to be: `take_slot` must be called."""

    def take_slot(self, sample: Sample, placement: Placement) -> None:
        """Take a picture that the source's segmenter has taken."""
        if placement.begins_epoch:
            self._forget_slots()
        elif len(self._slots) == MAX_SLOTS:
            oldest = self._slots.popleft()
            if self._by_dts.get(oldest.dts_ms) is oldest:
                del self._by_dts[oldest.dts_ms]
        slot = _Slot(placement, sample.dts_ms, sample.pts_ms)
        self._slots.append(slot)
        self._by_dts[slot.dts_ms] = slot
        for track in self._tracks.values():
            self._match(track)
            if slot.dts_ms - track.newest_ms > PATIENCE_MS:
                self._lose(track)

    def take(self, picture: OtherPicture) -> None:
        """Take a picture of a track, before or after the source's for the same instant."""
        self.is_expected = True
        track = self._track_of(picture)
        if track is None:
            return
        config, data = picture.config, picture.sample.data
        try:
            has_picture, is_idr = scanner(config)(data, config.length_size)
        except MediaError:
            self._lose(track)
            return
        if not has_picture:
            return
        track.waiting.append((picture, is_idr))
        track.waiting_bytes += len(data)
        if len(track.waiting) > MAX_WAITING or track.waiting_bytes > MAX_WAITING_BYTES:
            self._lose(track)
        live = self._broadcast.live  # None before the source's first frame
        if live is not None and not track.is_awaited and self._segments < SEGMENTS_AWAITED:
            track.is_awaited = True
            live.expect(track.name)
        self._match(track)

    def follow(self, events: Sequence[MediaEvent]) -> None:
        """Take what the source's segmenter gave out, after the source has published it."""
        for event in events:
            if isinstance(event, Part):
                self._discontinuities += event.discontinuity
            elif isinstance(event, InitSegment):
                self._init = event
            elif isinstance(event, Presentation):
                self._presentation = event
            elif self._segments < SEGMENTS_AWAITED:
                self._segments += 1
        for track in self._tracks.values():
            self._publish(track, track.rung.follow(events))
            if track.is_awaited and self._segments >= SEGMENTS_AWAITED:
                track.is_awaited = False
                self._live().give_up(track.name)

    def interrupt(self) -> None:
        """The publisher is gone: the next one's stamps and track ids are its own."""
        self._forget_slots()
        self._names.clear()
        for track in self._tracks.values():
            self._lose(track)

    def finish(self) -> None:
        """The broadcast is over: end the segments at hand with what they have."""
        for track in self._tracks.values():
            self._publish(track, track.rung.finish())

    def abandon(self) -> None:
        """Something here is broken (our fault): show new viewers the source alone."""
        live = self._broadcast.live
        for track in self._tracks.values():
            if live is not None and track.rendition is not None:
                live.hide(track.name)

    def _track_of(self, picture: OtherPicture) -> _Track | None:
        """The rendition that a track is, made with its first picture; None if it is none."""
        if picture.track_id not in self._names:
            name = f"{picture.config.height}p"
            is_taken = name in self._names.values()
            self._names[picture.track_id] = None if is_taken else name
            log.info(
                "track",
                stream=self._broadcast.stream_id,
                track=picture.track_id,
                rendition="none: another has its height" if is_taken else name,
                video=_describe(picture.config),
            )
            if not is_taken and name not in self._tracks:
                self._add(name)
        known = self._names[picture.track_id]
        return None if known is None else self._tracks[known]

    def _add(self, name: str) -> None:
        track = self._tracks[name] = _Track(name)
        track.rung.discontinuities = self._discontinuities
        track.rung.follow([told for told in (self._presentation, self._init) if told is not None])

    def _forget_slots(self) -> None:
        self._slots.clear()
        self._by_dts.clear()

    def _live(self) -> "LiveStream":
        live = self._broadcast.live
        assert live is not None  # the source has media
        return live

    # -- pictures into slots

    def _match(self, track: _Track) -> None:
        """Give slots to what waits, as far as the source has come."""
        while self._slots and track.waiting:
            picture, is_idr = track.waiting[0]
            sample = picture.sample
            if track.distance_ms is None and not (is_idr and self._join(track, sample)):
                if is_idr and sample.pts_ms > self._slots[-1].dts_ms:
                    return
                track.pop()
                continue
            assert track.distance_ms is not None  # it has joined
            dts_ms = sample.dts_ms - track.distance_ms
            slot = next(
                filter(None, (self._by_dts.get(dts_ms + off) for off in _ROUNDING_MS)), None
            )
            if slot is None:
                if dts_ms > self._slots[-1].dts_ms:
                    return
                self._lose(track)
                return
            track.pop()
            self._fill(track, picture, slot, is_idr=is_idr)

    def _join(self, track: _Track, sample: Sample) -> bool:
        """Begin anew with an IDR picture, if the source begins a segment at the same instant."""
        for slot in reversed(self._slots):
            placement = slot.placement
            begins = placement.begins_segment and placement.is_idr
            if begins and abs(slot.pts_ms - sample.pts_ms) <= 1:
                track.distance_ms = sample.dts_ms - slot.dts_ms
                track.newest_ms = slot.dts_ms
                self._publish(track, track.rung.resume(placement.number))
                return True
        return False

    def _fill(self, track: _Track, picture: OtherPicture, slot: _Slot, *, is_idr: bool) -> None:
        track.newest_ms = slot.dts_ms
        placement, sample = slot.placement, picture.sample
        pts_ticks = placement.pts_ticks + (sample.pts_ms - slot.pts_ms) * TICKS_PER_MS
        coded = CodedPicture(
            placement.number, pts_ticks, is_idr, bytes(sample.data), picture.config
        )
        self._publish(track, track.rung.push(coded))

    def _lose(self, track: _Track) -> None:
        """Go on with an IDR picture that is yet to come; till then there are gaps."""
        track.waiting.clear()
        track.waiting_bytes = 0
        if track.distance_ms is not None:
            track.distance_ms = None
            self._publish(track, track.rung.lose())

    def _publish(self, track: _Track, events: Sequence[MediaEvent]) -> None:
        """Show viewers what a track has become."""
        if not events:
            return
        live = self._live()
        if track.rendition is None:
            live.order = (SOURCE, *sorted(self._tracks, key=_height, reverse=True))
            track.rendition = self._broadcasts.add_rendition(
                self._broadcast, track.name, discontinuity_sequence=track.rung.discontinuities
            )
        track.rendition.publish(events)
        parts = [event for event in events if isinstance(event, Part)]
        if parts and parts[-1].gap != track.is_hidden:
            track.is_hidden = parts[-1].gap
            (live.hide if track.is_hidden else live.show)(track.name)


def _height(name: str) -> int:
    return int(name.removesuffix("p"))


def _describe(config: "VideoConfig") -> str:
    return f"{config.codec_string} {config.width}x{config.height}"
