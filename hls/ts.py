"""A segment as an MPEG-2 Transport Stream, for players that do not read fragmented MP4.

`TsTracks` is what an init segment says, `mux_segment` makes a TS segment of the parts of an fMP4
one: the same pictures and sounds at the same times. It depends on nothing but its arguments: a
segment has the same bytes whoever asks and whenever, and it continues every other one that it
may be played behind (`ts_packets` says how).

What changes on the way: NAL units get start codes, an access unit delimiter before each picture
(a publisher's own is left out) and, before the segment's first picture and each IDR picture, the
parameter sets of the configuration. AAC frames get ADTS headers, several share a PES packet. All
times are those of the media, in ticks of 90 kHz, plus `TIME_OFFSET_TICKS`.

The clock (PCR) is on the PID of the video, or of the audio where there is no video; it stands at
the start of each of that PID's units, alone where these are more than 100 ms apart, and
`CLOCK_LEAD_TICKS` before the decode times, never going back. What comes later than that, as audio
may after a gap, has a time before the clock.

May import `hls` (numpy is `ts_packets`'s). Whatever cannot be a part of ours raises `UsageError`.
Spec: ISO/IEC 13818-1, 2.4.2, 2.7.2, 2.14, 2.17; ISO/IEC 14496-10, 7.4.1.2.3, annex B;
ISO/IEC 23008-2, 7.4.2.4.4, annex B; draft-pantos-hls-rfc8216bis-22, 3.1.1.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Self

from hls.aac import AacConfig
from hls.adts import HEADER_BYTES, MAX_FRAME_BYTES, AdtsFraming
from hls.clock import VIDEO_TIMESCALE
from hls.demux_fragment import CodedSample, read_fragment
from hls.errors import UsageError
from hls.fragment import AUDIO_TRACK_ID, VIDEO_TRACK_ID
from hls.h264 import AvcConfig
from hls.hevc import HevcConfig
from hls.media import InitSegment
from hls.ts_packets import (
    Unit,
    clock_field,
    lay_out,
    pes_header,
    program_association,
    program_map,
)

TIME_OFFSET_TICKS: Final = VIDEO_TIMESCALE
"""Added to every time: the clock, which runs ahead, begins above 0 with the broadcast."""

CLOCK_LEAD_TICKS: Final = VIDEO_TIMESCALE // 2
"""How far the clock is behind the decode times: half a second to send what belongs to a moment, and
more than the interleaving of any publisher that is listened to."""

MAX_CLOCK_INTERVAL_TICKS: Final = VIDEO_TIMESCALE // 10
"""ISO/IEC 13818-1, 2.7.2: clock references are at most 100 ms apart."""

MAX_AUDIO_UNIT_TICKS: Final = VIDEO_TIMESCALE // 10
"""Longest stretch of audio in one PES packet: four frames at 48 kHz."""

MAX_AUDIO_UNIT_BYTES: Final = 65_000
"""PES_packet_length has 16 bits."""

MAX_SPAN_TICKS: Final = 600 * VIDEO_TIMESCALE
"""From the start of a segment to its last picture or sound; a real one has seconds. It bounds the
packets that hold a clock reference alone."""

VIDEO_PID: Final = 0x100
AUDIO_PID: Final = 0x101
_VIDEO_STREAM_ID: Final = 0xE0
_AUDIO_STREAM_ID: Final = 0xC0
_AAC_STREAM_TYPE: Final = 0x0F
_START_CODE: Final = b"\0\0\0\1"

_AVC_RECORD_HEAD: Final = 5  # of an AVC record, as far as its counts
_HEVC_RECORD_HEAD: Final = 22
_HEVC_PARAMETER_SETS: Final = (32, 33, 34)  # VPS, SPS, PPS


@dataclass(frozen=True, slots=True)
class _Video:
    stream_type: int
    delimiter: bytes
    """An access unit delimiter that allows any picture, with its start code."""
    delimiter_mask: int
    """Which bits of a unit's first byte are its type."""
    length_size: int = 4
    parameter_sets: bytes = b""
    """Of the configuration, with start codes."""


@dataclass(frozen=True, slots=True)
class TsTracks:
    """The tracks of a rendition as a transport stream carries them; made by `of`."""

    video: _Video | None
    audio: AdtsFraming | None

    @classmethod
    def of(cls, init: InitSegment) -> Self | None:
        """Return the tracks of an init segment.

        Returns:
            None if one of them cannot be carried: its video is neither H.264 nor H.265, its audio
            is not AAC, or AAC of a kind that ADTS cannot describe.
        """
        video = audio = None
        if isinstance(init.video, AvcConfig):
            video = _avc(init.video)
        elif isinstance(init.video, HevcConfig):
            video = _hevc(init.video)
        if isinstance(init.audio, AacConfig):
            audio = AdtsFraming.of(init.audio)
        carried = (video is not None) + (audio is not None)
        return cls(video, audio) if carried and carried == len(init.codecs) else None

    def tables(self) -> list[Unit]:
        """PAT and PMT. The version of the PMT is one for each thing that it can say."""
        streams = []
        version = 0
        if self.video is not None:
            streams.append((self.video.stream_type, VIDEO_PID))
            version = 2 if self.video.stream_type == _AVC.stream_type else 4
        if self.audio is not None:
            streams.append((_AAC_STREAM_TYPE, AUDIO_PID))
            version += 1
        return [program_association(), program_map(version, self.clock_pid, streams)]

    @property
    def clock_pid(self) -> int:
        """PID that carries the clock."""
        return AUDIO_PID if self.video is None else VIDEO_PID


def mux_segment(
    tracks: TsTracks, parts: Sequence[bytes], *, msn: int, start_ticks: int
) -> memoryview:
    """Make a TS segment.

    Args:
        tracks: Of the segment's init segment.
        parts: The bytes of its parts, in order.
        msn: Its Media Sequence Number.
        start_ticks: Media time of its start, in ticks of 90 kHz.

    Returns:
        Whole packets, read-only: PAT, PMT, and pictures and sound in the order of their times.

    Raises:
        UsageError: These are no parts of ours, or they last longer than `MAX_SPAN_TICKS`.

    Cost: 2 to 4 ms for 1.5 MB, most of it for memory. The packets are larger than the parts:
        `hls.ts_playlist` says how much.
    """
    pictures: list[CodedSample] = []
    sounds: list[CodedSample] = []
    for part in parts:
        samples = read_fragment(part)
        pictures += samples.get(VIDEO_TRACK_ID, ())
        sounds += samples.get(AUDIO_TRACK_ID, ())
    timed: list[tuple[int, Unit]] = []
    end = start_ticks
    if tracks.video is not None:
        timed += _video_units(tracks.video, pictures, start_ticks)
        if pictures:
            end = max(start_ticks, pictures[-1].time + pictures[-1].duration)
    if tracks.audio is not None:
        timed += _audio_units(tracks.audio, sounds, start_ticks, tracks.video is None)
    timed.sort(key=_time_of)
    last = max(end, timed[-1][0]) if timed else end
    if last - start_ticks > MAX_SPAN_TICKS:
        raise UsageError(f"a segment lasts for {(last - start_ticks) / VIDEO_TIMESCALE:.0f} s")
    units = list(_with_clock(timed, tracks.clock_pid, start_ticks, end))
    return lay_out(tracks.tables(), units, msn)


def _time_of(timed: tuple[int, Unit]) -> int:
    return timed[0]


def _with_clock(
    timed: Sequence[tuple[int, Unit]], clock_pid: int, start: int, end: int
) -> Iterator[Unit]:
    """Yield the units, with clock references wherever they are due.

    Args:
        timed: Units of both PIDs in the order of their times; those of ``clock_pid`` have a field
            with the clock already.
        clock_pid: Carries the clock.
        start: The clock stands there, or not much later, at first.
        end: It is due up to there.
    """
    before = start - MAX_CLOCK_INTERVAL_TICKS
    for time, unit in timed:
        while time - before > MAX_CLOCK_INTERVAL_TICKS:
            before += MAX_CLOCK_INTERVAL_TICKS
            yield _clock_alone(clock_pid, before)
        if unit.pid == clock_pid:
            before = time
        yield unit
    while end - before > MAX_CLOCK_INTERVAL_TICKS:
        before += MAX_CLOCK_INTERVAL_TICKS
        yield _clock_alone(clock_pid, before)


def _clock_alone(clock_pid: int, time: int) -> Unit:
    return Unit(clock_pid, _clock(time), (), 0)


def _clock(time: int, *, random_access: bool = False) -> bytes:
    return clock_field(time + TIME_OFFSET_TICKS - CLOCK_LEAD_TICKS, random_access=random_access)


# Video.

_AVC: Final = _Video(0x1B, _START_CODE + b"\x09\xf0", 0x1F)
_HEVC: Final = _Video(0x24, _START_CODE + b"\x46\x01\x50", 0x7E)


def _avc(config: AvcConfig) -> _Video:
    record = config.record  # which `AvcConfig.parse` has accepted: nothing leads outside it
    units: list[bytes] = []
    position = _AVC_RECORD_HEAD
    for mask in (0x1F, 0xFF):  # SPS, PPS
        count = record[position] & mask
        position = _take_units(record, position + 1, count, units)
    return replace(_AVC, length_size=config.length_size, parameter_sets=_annex_b(units))


def _hevc(config: HevcConfig) -> _Video:
    record = config.record
    units: list[bytes] = []
    position = _HEVC_RECORD_HEAD + 1
    for _ in range(record[_HEVC_RECORD_HEAD]):
        kind = record[position] & 0x3F
        count = int.from_bytes(record[position + 1 : position + 3], "big")
        taken = units if kind in _HEVC_PARAMETER_SETS else []
        position = _take_units(record, position + 3, count, taken)
    return replace(_HEVC, length_size=config.length_size, parameter_sets=_annex_b(units))


def _take_units(record: bytes, position: int, count: int, units: list[bytes]) -> int:
    """Append ``count`` units, each with a length of two bytes, and return where they end."""
    for _ in range(count):
        start = position + 2
        position = start + int.from_bytes(record[position:start], "big")
        units.append(record[start:position])
    return position


def _annex_b(units: Sequence[bytes]) -> bytes:
    return b"".join(_START_CODE + unit for unit in units)


def _video_units(
    video: _Video, pictures: Sequence[CodedSample], start: int
) -> Iterator[tuple[int, Unit]]:
    """Yield a PES packet for each picture, in decode order, with the time at which it is sent.

    Behind a gap that audio has filled, a picture may have a decode time long before the segment
    that shows it (`hls.epoch`). It is decoded no earlier than the segment starts, and no later than
    it is shown.
    """
    at = start
    needs_parameter_sets = True
    for picture in pictures:
        pts = picture.time + picture.offset
        dts = min(pts, max(picture.time, start))
        at = max(at, dts)
        head = pes_header(_VIDEO_STREAM_ID, pts + TIME_OFFSET_TICKS, dts + TIME_OFFSET_TICKS, None)
        pieces: list[bytes | memoryview] = [head, video.delimiter]
        if picture.is_sync or needs_parameter_sets:
            pieces.append(video.parameter_sets)
            needs_parameter_sets = False
        _append_units(video, picture.data, pieces)
        size = sum(map(len, pieces))
        yield at, Unit(VIDEO_PID, _clock(at, random_access=picture.is_sync), pieces, size)


def _append_units(video: _Video, data: memoryview, pieces: list[bytes | memoryview]) -> None:
    """Append the NAL units of a picture with start codes; delimiters and empty ones are left out.

    Cost: about 0.4 us a unit; bounded as `hls.h264.MAX_NAL_UNITS` bounds what is published.
    """
    mask = video.delimiter_mask
    delimiter = video.delimiter[len(_START_CODE)] & mask
    position, end = 0, len(data)
    while position < end:
        start = position + video.length_size
        position = start + int.from_bytes(data[position:start], "big")
        if position > end:
            raise UsageError("a NAL unit is longer than its picture")
        if position > start and data[start] & mask != delimiter:
            pieces.append(_START_CODE)
            pieces.append(data[start:position])


# Audio.

_FRAME_SAMPLES: Final = 1024  # as ADTS has it


def _audio_units(
    framing: AdtsFraming, sounds: Sequence[CodedSample], start: int, has_clock: bool
) -> Iterator[tuple[int, Unit]]:
    """Yield PES packets of AAC frames, with the time at which each is sent.

    A PES packet has one time, that of its first frame: frames that do not follow it without a gap
    begin another. What no AAC frame can be, for its size, is left out: frames are the publisher's,
    and nobody looks into them on the way.

    Args:
        framing: Of the track.
        sounds: Its frames.
        start: Media time of the segment.
        has_clock: The packets carry the clock.
    """
    at = start
    for begin, size, pieces in _runs_of_frames(framing, sounds):
        time = (begin * VIDEO_TIMESCALE + framing.sample_rate // 2) // framing.sample_rate
        at = max(at, time)
        pts = time + TIME_OFFSET_TICKS
        head = pes_header(_AUDIO_STREAM_ID, pts, pts, size)
        field = _clock(at) if has_clock else b""
        yield at, Unit(AUDIO_PID, field, [head, *pieces], len(head) + size)


def _runs_of_frames(
    framing: AdtsFraming, sounds: Sequence[CodedSample]
) -> Iterator[tuple[int, int, list[bytes | memoryview]]]:
    """Yield what goes into a PES packet: its time in samples, its size and its ADTS frames."""
    longest = MAX_AUDIO_UNIT_TICKS * framing.sample_rate // VIDEO_TIMESCALE
    pieces: list[bytes | memoryview] = []
    size = begin = end = 0
    for sound in sounds:
        frame_bytes = len(sound.data)
        if not 0 < frame_bytes <= MAX_FRAME_BYTES:
            continue
        fits = (
            sound.time == end
            and end + _FRAME_SAMPLES - begin <= longest
            and size + HEADER_BYTES + frame_bytes <= MAX_AUDIO_UNIT_BYTES
        )
        if pieces and not fits:
            yield begin, size, pieces
            pieces = []
        if not pieces:
            begin = end = sound.time
            size = 0
        pieces += (framing.header(frame_bytes), sound.data)
        size += HEADER_BYTES + frame_bytes
        end += _FRAME_SAMPLES
    if pieces:
        yield begin, size, pieces
