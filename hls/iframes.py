"""Trick play: the I-frame playlist of a rendition, and the pictures behind it.

A player that scrubs wants a picture here and there, not the media between. Its playlist lists one
I-frame for each complete segment: the IDR picture that the segment begins with, shown for as long
as the segment lasts. Each is a fragment of its own with a single sample, and the init section has
the video track alone, so that a player needs nothing but these. (A byte range of the segment, which
the draft allows too, would end within an ``mdat`` and drag the audio track along.) They are made
when they are asked for; nothing is kept but one size for each segment.

The playlist is an ordinary live one without low-latency tags: msn, dates and discontinuities are
those of the rendition. A segment that does not begin with such a picture is a gap.

May import `hls` and `native`. Spec: draft-pantos-hls-rfc8216bis-22, sections 4.4.3.6
(EXT-X-I-FRAMES-ONLY), 4.4.6.3 (EXT-X-I-FRAME-STREAM-INF), 6.2.1.
"""

import re
from typing import TYPE_CHECKING, Final

from hls.bandwidth import BandwidthMeter
from hls.clock import VIDEO_TIMESCALE
from hls.demux_fragment import CodedSample, read_fragment
from hls.errors import UsageError
from hls.fragment import SYNC_FLAGS, VIDEO_TRACK_ID
from hls.init_segment import build_init_segment
from hls.multivariant import IFrameInfo
from hls.playlist import format_epoch_ms, format_us, map_line
from native import FragmentSample, TrackRun, write_fragment

if TYPE_CHECKING:
    from hls.segment import Segment
    from hls.timeline import Timeline

PROTOCOL_VERSION: Final = 5
"""EXT-X-VERSION: EXT-X-MAP in a playlist with EXT-X-I-FRAMES-ONLY (section 8)."""

PEAK_HEADROOM_PERCENT: Final = 400
"""Announced BANDWIDTH over the measured one. The first picture of a broadcast is often the easiest
one, and the multivariant playlist should not change for a picture that nobody may ask for."""

_NS: Final = 1_000_000_000


class IFrames:
    """The I-frames of one timeline, which it only reads.

    It holds no media: what it names is made on demand, and what nobody asks for costs nothing.
    """

    def __init__(self, timeline: "Timeline") -> None:
        self._timeline = timeline
        self._meter = BandwidthMeter(PEAK_HEADROOM_PERCENT)
        self._seen_msn = -1
        self._missing: set[int] = set()  # listed segments without such a picture
        self._picture = re.compile(rf"iframe-{re.escape(timeline.token)}-(\d{{1,20}})\.m4s")
        self._init = re.compile(rf"iframe-init-{re.escape(timeline.token)}-(\d{{1,20}})\.mp4")

    def _follow(self) -> None:
        """Measure the segments that have become complete since. Cost: some 10 us for each."""
        new = []
        for segment in reversed(self._timeline.segments):
            if segment.msn <= self._seen_msn:
                break
            new.append(segment)
        for segment in reversed(new):
            self._seen_msn = segment.msn
            picture = self._picture_of(segment)
            if picture is None:
                self._missing.add(segment.msn)
            else:
                self._meter.add(
                    size_bytes=len(picture.data),
                    duration_ns=segment.duration_ns,
                    target_duration_s=self._timeline.presentation.target_duration_s,
                )
        if self._missing:
            first_msn = self._timeline.segments[0].msn
            self._missing = {msn for msn in self._missing if msn >= first_msn}

    def variant(self, uri: str) -> IFrameInfo | None:
        """Describe the playlist for the multivariant playlist; None while there is no picture.

        Args:
            uri: Of this playlist, relative to the multivariant playlist.
        """
        self._follow()
        init = self._timeline.newest_init
        if init is None or init.video is None or not self._meter.announced.peak_bps:
            return None
        return IFrameInfo(
            uri=uri,
            bandwidth_bps=self._meter.announced.peak_bps,
            average_bandwidth_bps=self._meter.announced.average_bps,
            codecs=(init.video.codec_string,),
            width=init.width,
            height=init.height,
            video_range=init.video_range,
        )

    def playlist(self) -> bytes:
        """Render the playlist as it is now.

        Raises:
            UsageError: The timeline is not ready, so there is none.

        Cost: O(window), some 2 us a segment; nobody polls it but a player that scrubs.
        """
        timeline = self._timeline
        if not timeline.ready:
            raise UsageError("the first segment is not complete, so there is no playlist")
        self._follow()
        lines = [
            "#EXTM3U\n"
            f"#EXT-X-VERSION:{PROTOCOL_VERSION}\n"
            f"#EXT-X-TARGETDURATION:{timeline.presentation.target_duration_s}\n"
            f"#EXT-X-MEDIA-SEQUENCE:{timeline.segments[0].msn}\n"
            f"#EXT-X-DISCONTINUITY-SEQUENCE:{timeline.discontinuity_sequence}\n"
            "#EXT-X-I-FRAMES-ONLY\n"
        ]
        init_index = None
        for segment in timeline.segments:
            if segment.discontinuity:
                lines.append("#EXT-X-DISCONTINUITY\n")
            if segment.init_index != init_index:
                init_index = segment.init_index
                lines.append(map_line(f"iframe-init-{timeline.token}-{init_index}.mp4"))
            gap = "#EXT-X-GAP\n" if segment.msn in self._missing else ""
            lines.append(
                f"#EXT-X-PROGRAM-DATE-TIME:{format_epoch_ms(segment.epoch_ms)}\n"
                f"{gap}#EXTINF:{format_us(segment.duration_us)},\n"
                f"iframe-{timeline.token}-{segment.msn}.m4s\n"
            )
        if timeline.ended:
            lines.append("#EXT-X-ENDLIST\n")
        return "".join(lines).encode()

    def media(self, name: str) -> bytes | None:
        """Make what a name of the playlist stands for; None if there is no such thing now."""
        match = self._init.fullmatch(name)
        if match is not None:
            init = self._timeline.init(int(match[1]))
            video = None if init is None else init.video
            return None if video is None else build_init_segment(video, None)
        match = self._picture.fullmatch(name)
        segment = None if match is None else self._timeline.segment(int(match[1]))
        picture = None if segment is None else self._picture_of(segment)
        if segment is None or picture is None:
            return None
        sample = FragmentSample(
            picture.data,
            round(segment.duration_ns * VIDEO_TIMESCALE / _NS),
            picture.offset,
            SYNC_FLAGS,
        )
        return write_fragment(segment.msn + 1, [TrackRun(VIDEO_TRACK_ID, picture.time, [sample])])

    def _picture_of(self, segment: "Segment") -> CodedSample | None:
        """The IDR picture that a segment begins with."""
        init = self._timeline.init(segment.init_index)
        if init is None or init.video is None or segment.gap or not segment.independent:
            return None
        return read_fragment(segment.chunks[0])[VIDEO_TRACK_ID][0]
