"""From RTMP media messages to HLS samples: the one file that knows both vocabularies.

Pure and synchronous. Messages of one publisher go in, in order; what comes out is, in order, the
tracks that exist and their samples on one clock that never wraps::

    push(message) -> [Tracks, Sample, Sample ...]   the first time: it is known what there is
                  -> [Sample]                       nearly always
                  -> []                             nothing to package, or not known yet
                  -> [Tracks, Sample]               another configuration from this sample on
                  -> [OtherPicture]                 of another video track (Enhanced RTMP)

What tracks there are is derived from decoder configurations (sequence headers) and frames; what
onMetaData says of them may be absent, late or wrong (codec ids as text or 0, tracks that never
come). A track exists once a frame has come under its configuration: players stall on a declared
track without samples. When the first track exists, the second is waited for during `TRACK_WAIT_MS`
of media time. Where a codec has no sequence header, the frames themselves say what they need.

A configuration that changes, or a track that comes late, takes effect at the next IDR picture (at
once in a broadcast without video); until then frames that the present decoder could not read are
left out. Sequence headers that merely repeat (OBS, DJI) change nothing.

The default tracks (id 0) are the broadcast. Other video tracks are given out as they come, for
`origin.multitrack`; other audio tracks are left out.

Errors: `MediaError` for media that cannot be packaged, with a reason for people;
`RemoteProtocolError` (`FlvError`) for malformed tags. Nothing else.

Bounds: samples held while waiting for the second track, `MAX_HELD_SAMPLES` and `MAX_HELD_BYTES`;
`MAX_OTHER_TRACKS` other video tracks.

May import rtmpcore and hls. Spec: FLV 10.1 E.4, Enhanced RTMP v2.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, NamedTuple, TypeAlias

from hls import MediaError, Sample, TrackKind
from hls.audio import FRAME_CONFIGURED, AudioConfig, parse_audio_config
from hls.colour import UNSPECIFIED, Colour, MasteringDisplay
from hls.video import VideoConfig, parse_video_config, scanner, with_size
from hls.vp9 import Vp9Config
from rtmpcore import AudioMessage, TimestampUnwrapper, VideoMessage
from rtmpcore.flv import (
    AudioCodec,
    AudioTag,
    ColourInfo,
    TagKind,
    VideoCodec,
    VideoTag,
    audio_tags,
    parse_colour_info,
    video_tags,
)

TRACK_WAIT_MS: Final = 1_000
"""Media time to wait for the second track: encoders start both within some hundred milliseconds."""

MAX_HELD_SAMPLES: Final = 1_000
MAX_HELD_BYTES: Final = 8 * 1024 * 1024
"""Most held meanwhile: a clock that stands still (the GLive T80's does) must not hold for ever."""

MAX_UNCONFIGURED_FRAMES: Final = 500
"""Frames that may come before any decoder configuration: some ten seconds, then it never will."""

MAX_OTHER_TRACKS: Final = 8
"""Of video; OBS sends at most five. What is beyond is left out."""

MediaMessage: TypeAlias = VideoMessage | AudioMessage

_VIDEO: Final[dict[int, bytes]] = {
    VideoCodec.AVC: b"avc1",
    VideoCodec.HEVC: b"hvc1",
    VideoCodec.AV1: b"av01",
    VideoCodec.VP9: b"vp09",
}
_AUDIO: Final[dict[int, bytes]] = {
    AudioCodec.AAC: b"mp4a",
    AudioCodec.OPUS: b"Opus",
    AudioCodec.FLAC: b"fLaC",
    AudioCodec.AC3: b"ac-3",
    AudioCodec.EAC3: b"ec-3",
    AudioCodec.MP3: b".mp3",
}
_VIDEO_FOR_PEOPLE: Final = "H.264, HEVC, AV1 or VP9"
_AUDIO_FOR_PEOPLE: Final = "AAC, Opus, FLAC, AC-3, E-AC-3 or MP3"


@dataclass(frozen=True, slots=True)
class Tracks:
    """What the samples that follow belong to; at least one is not None."""

    video: VideoConfig | None
    audio: AudioConfig | None
    has_others: bool = field(default=False, compare=False)
    """The publisher has announced other video tracks by now."""


class OtherPicture(NamedTuple):
    """A picture of a video track that is not the default one."""

    track_id: int
    """1 to 255."""
    config: VideoConfig
    """What it needs to be decoded."""
    sample: Sample


Output: TypeAlias = Tracks | Sample | OtherPicture

_NOTHING: Final[Sequence[Output]] = ()


class _VideoTrack:
    """What has been announced of one video track."""

    def __init__(self) -> None:
        self.codec: int | None = None
        self.config: VideoConfig | None = None
        """With the colours that the publisher told; None before there is one that is complete."""
        self._plain: VideoConfig | None = None  # as the record has it
        self._colour: ColourInfo | None = None

    def announce(self, codec: int, fourcc: bytes, record: memoryview) -> bool:
        """Take a sequence header; says whether it is another one.

        Raises:
            MediaError: It is unusable.
        """
        plain = self._plain
        if codec == self.codec and plain is not None and record == plain.record:
            return False
        self._plain = parse_video_config(fourcc, bytes(record))
        self.codec = codec
        # VP9 says its size in its keyframes.
        self.config = None if isinstance(self._plain, Vp9Config) else self._coloured(self._plain)
        return True

    def take_colour(self, codec: int, body: memoryview) -> bool:
        """Take what the publisher says of the colours; says whether that changes anything.

        FFmpeg sends those of every track as if they were the default one's, mostly empty.
        """
        colour = parse_colour_info(body)
        if colour is None or colour == ColourInfo(bit_depth=colour.bit_depth):
            return False
        if colour == self._colour or self.codec not in (None, codec):
            return False
        self._colour = colour
        if self.config is not None:
            self.config = self._coloured(self.config)
        return True

    def look(self, frame: memoryview) -> bool:
        """Take from a frame what its configuration lacks; says whether that is news.

        Raises:
            MediaError: It is no frame of its codec.
        """
        plain = self._plain
        if not isinstance(plain, Vp9Config) or not scanner(plain)(frame, 0).is_idr:
            return False
        sized = with_size(plain, frame)
        if sized is plain and self.config is not None:
            return False
        self._plain = sized
        self.config = self._coloured(sized)
        return True

    def _coloured(self, config: VideoConfig) -> VideoConfig:
        told = self._colour
        if told is None:
            return config
        return replace(config, colour=_merged(config.colour or Colour(), told))


class Bridge:
    """One publisher's media, from first message to last."""

    def __init__(self) -> None:
        self._unwrap = TimestampUnwrapper().unwrap
        # Per track: what was last announced, and the configuration of the frame last seen.
        self._video = _VideoTrack()
        self._audio: AudioConfig | None = None
        self._audio_codec: int | None = None
        self._video_seen: VideoConfig | None = None
        self._audio_seen: AudioConfig | None = None
        self._tracks: Tracks | None = None
        # True while frames can just pass: every configuration announced is one of `_tracks`.
        self._settled = False
        self.started = False
        """A frame that belongs to a track has come: media time zero is now at the latest."""
        self._held: list[Sample] = []
        self._held_bytes = 0
        self._unconfigured = 0
        self._others: dict[int, _VideoTrack] = {}

    def push(self, message: MediaMessage) -> Sequence[Output]:
        """Take one message.

        Raises:
            MediaError: The codec is not supported, or its configuration is unusable.
            RemoteProtocolError: The tag is malformed.
        """
        stamp_ms = message.timestamp_ms
        if isinstance(message, VideoMessage):
            pictures = video_tags(message.payload)
            if len(pictures) == 1:
                return self._push_video(pictures[0], stamp_ms)
            return [output for tag in pictures for output in self._push_video(tag, stamp_ms)]
        sounds = audio_tags(message.payload)
        if len(sounds) == 1:
            return self._push_audio(sounds[0], stamp_ms)
        return [output for tag in sounds for output in self._push_audio(tag, stamp_ms)]

    def finish(self) -> Sequence[Output]:
        """The publisher is gone: give out what was held back for a second track."""
        return self._decide() if self._held else _NOTHING

    def _push_video(self, tag: VideoTag, stamp_ms: int) -> Sequence[Output]:
        if tag.track_id:
            return self._push_other(tag, stamp_ms)
        track = self._video
        if tag.kind is TagKind.FRAME:
            if tag.codec is not track.codec:
                return self._refuse_video(tag.codec)
            if tag.codec is VideoCodec.VP9 and track.look(tag.body):
                self._announced_video()
            config = track.config
            if config is None:
                return self._skip_unconfigured("a keyframe")
            dts_ms = self._unwrap(stamp_ms)
            sample = Sample(
                TrackKind.VIDEO, dts_ms, dts_ms + tag.composition_time_ms, tag.keyframe, tag.body
            )
            if self._settled:
                return (sample,)
            self._video_seen = config
            return self._settle(sample)
        if tag.kind is TagKind.CONFIG:
            fourcc = _VIDEO.get(tag.codec)
            if fourcc is None:
                return self._refuse_video(tag.codec)
            if track.announce(tag.codec, fourcc, tag.body):
                self._announced_video()
        elif tag.kind is TagKind.METADATA and track.take_colour(tag.codec, tag.body):
            self._settled = False  # and what is held can be decoded all the same
        return _NOTHING

    def _push_audio(self, tag: AudioTag, stamp_ms: int) -> Sequence[Output]:
        if tag.track_id:
            return _NOTHING
        if tag.kind is TagKind.FRAME:
            fourcc = _AUDIO.get(tag.codec)
            if fourcc in FRAME_CONFIGURED and not self._look_at_sound(tag, fourcc):
                return _NOTHING
            config = self._audio
            if config is None or tag.codec is not self._audio_codec:
                return self._refuse_audio(tag.codec)
            dts_ms = self._unwrap(stamp_ms)
            sample = Sample(TrackKind.AUDIO, dts_ms, dts_ms, True, tag.body)
            if self._settled:
                return (sample,)
            self._audio_seen = config
            return self._settle(sample)
        if tag.kind is TagKind.CONFIG:
            fourcc = _AUDIO.get(tag.codec)
            if fourcc is None:
                return self._refuse_audio(tag.codec)
            if fourcc not in FRAME_CONFIGURED and not self._is_present_audio(tag):
                self._announce_audio(tag.codec, parse_audio_config(fourcc, bytes(tag.body)))
        return _NOTHING

    def _is_present_audio(self, tag: AudioTag) -> bool:
        present = self._audio
        return tag.codec == self._audio_codec and present is not None and tag.body == present.record

    def _look_at_sound(self, tag: AudioTag, fourcc: bytes) -> bool:
        """Take the configuration from a frame; says whether there is one, whatever came before."""
        try:
            config = parse_audio_config(fourcc, bytes(tag.body))
        except MediaError:
            self._skip_unconfigured("a header")
            return False
        if config != self._audio:
            self._announce_audio(tag.codec, config)
        return True

    def _push_other(self, tag: VideoTag, stamp_ms: int) -> Sequence[Output]:
        """Take a tag of another video track. What is wrong with it costs that track only."""
        track = self._others.get(tag.track_id)
        fourcc = _VIDEO.get(tag.codec)
        try:
            if tag.kind is TagKind.CONFIG and fourcc is not None:
                if track is None and len(self._others) < MAX_OTHER_TRACKS:
                    track = self._others[tag.track_id] = _VideoTrack()
                if track is not None:
                    track.announce(tag.codec, fourcc, tag.body)
            elif track is None or tag.codec is not track.codec:
                return _NOTHING
            elif tag.kind is TagKind.METADATA:
                track.take_colour(tag.codec, tag.body)
            elif tag.kind is TagKind.FRAME:
                track.look(tag.body)
                if track.config is not None:
                    dts_ms = self._unwrap(stamp_ms)
                    pts_ms = dts_ms + tag.composition_time_ms
                    kind = TrackKind.VIDEO
                    sample = Sample(kind, dts_ms, pts_ms, tag.keyframe, tag.body)
                    return (OtherPicture(tag.track_id, track.config, sample),)
        except MediaError:
            self._others[tag.track_id] = _VideoTrack()
        return _NOTHING

    # -- not settled: the first second, and around changes

    def _announced_video(self) -> None:
        self._settled = False
        self._drop_held(TrackKind.VIDEO)

    def _announce_audio(self, codec: int, config: AudioConfig) -> None:
        self._audio, self._audio_codec = config, codec
        self._settled = False
        self._drop_held(TrackKind.AUDIO)

    def _settle(self, sample: Sample) -> Sequence[Output]:
        tracks = self._tracks
        if tracks is None:
            return self._hold(sample)
        wanted = Tracks(self._video_seen, self._audio_seen)
        if wanted == tracks:
            self._note_settled()
            return (sample,)
        if wanted.video is None or self._is_idr(sample):
            return self._switch(wanted, [sample])
        is_video = sample.kind is TrackKind.VIDEO
        unchanged = wanted.video == tracks.video if is_video else wanted.audio == tracks.audio
        return (sample,) if unchanged else _NOTHING

    def _hold(self, sample: Sample) -> Sequence[Output]:
        """Keep a sample until it is known what tracks there are."""
        self.started = True
        held = self._held
        held.append(sample)
        self._held_bytes += len(sample.data)
        if (
            (self._video_seen is not None and self._audio_seen is not None)
            or abs(sample.dts_ms - held[0].dts_ms) >= TRACK_WAIT_MS
            or len(held) >= MAX_HELD_SAMPLES
            or self._held_bytes >= MAX_HELD_BYTES
        ):
            return self._decide()
        return _NOTHING

    def _drop_held(self, kind: TrackKind) -> None:
        """What is held came under a configuration that has just been replaced."""
        self._held = [sample for sample in self._held if sample.kind is not kind]
        self._held_bytes = sum(len(sample.data) for sample in self._held)

    def _decide(self) -> Sequence[Output]:
        held, self._held = self._held, []
        return self._switch(Tracks(self._video_seen, self._audio_seen), held)

    def _switch(self, tracks: Tracks, samples: list[Sample]) -> Sequence[Output]:
        self._tracks = replace(tracks, has_others=bool(self._others))
        self._note_settled()
        return [self._tracks, *samples]

    def _note_settled(self) -> None:
        self._settled = self._tracks == Tracks(self._video.config, self._audio)

    def _is_idr(self, sample: Sample) -> bool:
        """Whether a new decoder can start here; the bitstream knows, the tag only claims."""
        video = self._video_seen
        if sample.kind is not TrackKind.VIDEO or video is None:
            return False
        return scanner(video)(sample.data, video.length_size).is_idr

    # -- what cannot be packaged

    def _refuse_video(self, codec: int) -> Sequence[Output]:
        if codec not in _VIDEO:
            raise MediaError(
                f"video codec {_name(codec)} is not supported: use {_VIDEO_FOR_PEOPLE}"
            )
        return self._skip_unconfigured(f"a sequence header for {_name(codec)}")

    def _refuse_audio(self, codec: int) -> Sequence[Output]:
        if codec not in _AUDIO:
            raise MediaError(
                f"audio codec {_name(codec)} is not supported: use {_AUDIO_FOR_PEOPLE}"
            )
        return self._skip_unconfigured(f"a sequence header for {_name(codec)}")

    def _skip_unconfigured(self, missing: str) -> Sequence[Output]:
        self._unconfigured += 1
        if self._unconfigured > MAX_UNCONFIGURED_FRAMES:
            raise MediaError(f"{MAX_UNCONFIGURED_FRAMES} frames came without {missing}")
        return _NOTHING


def _merged(known: Colour, told: ColourInfo) -> Colour:
    """What the publisher says goes before what the bitstream says; each may leave things out."""
    display = told.mastering

    def pick(theirs: int, ours: int) -> int:
        return ours if theirs == UNSPECIFIED else theirs

    return Colour(
        primaries=pick(told.primaries, known.primaries),
        transfer=pick(told.transfer, known.transfer),
        matrix=pick(told.matrix, known.matrix),
        full_range=told.full_range or known.full_range,
        max_cll=told.max_cll or known.max_cll,
        max_fall=told.max_fall or known.max_fall,
        mastering=known.mastering
        if display is None
        else MasteringDisplay(
            red=display.red,
            green=display.green,
            blue=display.blue,
            white=display.white,
            max_luminance_nits=display.max_luminance_nits,
            min_luminance_nits=display.min_luminance_nits,
        ),
    )


def _name(codec: int) -> str:
    """A codec for people: its name, its FOURCC, or its number."""
    if isinstance(codec, VideoCodec | AudioCodec):
        return codec.name.replace("_", " ")
    fourcc = codec.to_bytes(4, "big")
    return fourcc.decode("ascii") if fourcc.isalnum() else str(codec)
