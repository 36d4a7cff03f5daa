"""From RTMP media messages to HLS samples: the one file that knows both vocabularies.

Pure and synchronous. Messages of one publisher go in, in order; what comes out is, in order, the
tracks that exist and their samples on one clock that never wraps::

    push(message) -> [Tracks, Sample, Sample ...]   the first time: it is known what there is
                  -> [Sample]                       nearly always
                  -> []                             nothing to package, or not known yet
                  -> [Tracks, Sample]               another configuration from this sample on

What tracks there are is derived from decoder configurations (sequence headers) and frames; what
onMetaData says of them may be absent, late or wrong (codec ids as text or 0, tracks that never
come). A track exists once a frame has come under its configuration: players stall on a declared
track without samples. When the first track exists, the second is waited for during `TRACK_WAIT_MS`
of media time.

A configuration that changes, or a track that comes late, takes effect at the next IDR picture (at
once in a broadcast without video); until then frames that the present decoder could not read are
left out. Sequence headers that merely repeat (OBS, DJI) change nothing.

Errors: `MediaError` for media that cannot be packaged, with a reason for people;
`RemoteProtocolError` (`FlvError`) for malformed tags. Nothing else.

Bounds: samples held while waiting for the second track, `MAX_HELD_SAMPLES` and `MAX_HELD_BYTES`.

May import rtmpcore and hls. Spec: FLV 10.1 E.4.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from hls import MediaError, Sample, TrackKind
from hls.aac import AacConfig
from hls.h264 import AvcConfig, scan_nal_units
from rtmpcore import AudioMessage, TimestampUnwrapper, VideoMessage
from rtmpcore.flv import AudioCodec, TagKind, VideoCodec, parse_audio, parse_video

TRACK_WAIT_MS: Final = 1_000
"""Media time to wait for the second track: encoders start both within some hundred milliseconds."""

MAX_HELD_SAMPLES: Final = 1_000
MAX_HELD_BYTES: Final = 8 * 1024 * 1024
"""Most held meanwhile: a clock that stands still (the GLive T80's does) must not hold for ever."""

MAX_UNCONFIGURED_FRAMES: Final = 500
"""Frames that may come before any decoder configuration: some ten seconds, then it never will."""

MediaMessage: TypeAlias = VideoMessage | AudioMessage


@dataclass(frozen=True, slots=True)
class Tracks:
    """What the samples that follow belong to; at least one is not None."""

    video: AvcConfig | None
    audio: AacConfig | None


Output: TypeAlias = Tracks | Sample

_NOTHING: Final[Sequence[Output]] = ()


class Bridge:
    """One publisher's media, from first message to last."""

    def __init__(self) -> None:
        self._unwrap = TimestampUnwrapper().unwrap
        # Per track: the configuration last announced, and the one of the frame last seen.
        self._video: AvcConfig | None = None
        self._audio: AacConfig | None = None
        self._video_seen: AvcConfig | None = None
        self._audio_seen: AacConfig | None = None
        self._tracks: Tracks | None = None
        # True while frames can just pass: every configuration announced is one of `_tracks`.
        self._settled = False
        self.started = False
        """A frame that belongs to a track has come: media time zero is now at the latest."""
        self._held: list[Sample] = []
        self._held_bytes = 0
        self._unconfigured = 0

    def push(self, message: MediaMessage) -> Sequence[Output]:
        """Take one message.

        Raises:
            MediaError: The codec is not supported, or its configuration is unusable.
            RemoteProtocolError: The tag is malformed.
        """
        if isinstance(message, VideoMessage):
            return self._push_video(message)
        return self._push_audio(message)

    def finish(self) -> Sequence[Output]:
        """The publisher is gone: give out what was held back for a second track."""
        return self._decide() if self._held else _NOTHING

    def _push_video(self, message: VideoMessage) -> Sequence[Output]:
        tag = parse_video(message.payload)
        if tag.kind is TagKind.FRAME:
            config = self._video
            if config is None or tag.codec is not VideoCodec.AVC:
                return self._refuse_video(tag.codec)
            dts_ms = self._unwrap(message.timestamp_ms)
            sample = Sample(
                TrackKind.VIDEO, dts_ms, dts_ms + tag.composition_time_ms, tag.keyframe, tag.body
            )
            if self._settled:
                return (sample,)
            self._video_seen = config
            return self._settle(sample)
        if tag.kind is TagKind.CONFIG:
            if tag.codec is not VideoCodec.AVC:
                return self._refuse_video(tag.codec)
            if self._video is None or tag.body != self._video.record:
                self._video = AvcConfig.parse(bytes(tag.body))
                self._settled = False
                self._drop_held(TrackKind.VIDEO)
        return _NOTHING

    def _push_audio(self, message: AudioMessage) -> Sequence[Output]:
        tag = parse_audio(message.payload)
        if tag.kind is TagKind.FRAME:
            config = self._audio
            if config is None or tag.codec is not AudioCodec.AAC:
                return self._refuse_audio(tag.codec)
            dts_ms = self._unwrap(message.timestamp_ms)
            sample = Sample(TrackKind.AUDIO, dts_ms, dts_ms, True, tag.body)
            if self._settled:
                return (sample,)
            self._audio_seen = config
            return self._settle(sample)
        if tag.kind is TagKind.CONFIG:
            if tag.codec is not AudioCodec.AAC:
                return self._refuse_audio(tag.codec)
            if self._audio is None or tag.body != self._audio.config:
                self._audio = AacConfig.parse(bytes(tag.body))
                self._settled = False
                self._drop_held(TrackKind.AUDIO)
        return _NOTHING

    # -- not settled: the first second, and around changes

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
        self._tracks = tracks
        self._note_settled()
        return [tracks, *samples]

    def _note_settled(self) -> None:
        self._settled = self._tracks == Tracks(self._video, self._audio)

    def _is_idr(self, sample: Sample) -> bool:
        """Whether a new decoder can start here; the bitstream knows, the tag only claims."""
        if sample.kind is not TrackKind.VIDEO or self._video_seen is None:
            return False
        return scan_nal_units(sample.data, self._video_seen.length_size).is_idr

    # -- what cannot be packaged

    def _refuse_video(self, codec: int) -> Sequence[Output]:
        if codec != VideoCodec.AVC:
            raise MediaError(f"video codec {_name(codec)} is not supported yet: use H.264")
        return self._skip_unconfigured("an AVC sequence header")

    def _refuse_audio(self, codec: int) -> Sequence[Output]:
        if codec != AudioCodec.AAC:
            raise MediaError(f"audio codec {_name(codec)} is not supported yet: use AAC")
        return self._skip_unconfigured("an AAC sequence header")

    def _skip_unconfigured(self, missing: str) -> Sequence[Output]:
        self._unconfigured += 1
        if self._unconfigured > MAX_UNCONFIGURED_FRAMES:
            raise MediaError(f"{MAX_UNCONFIGURED_FRAMES} frames came without {missing}")
        return _NOTHING


def _name(codec: int) -> str:
    """A codec for people: its name, its FOURCC, or its number."""
    if isinstance(codec, VideoCodec | AudioCodec):
        return codec.name.replace("_", " ")
    fourcc = codec.to_bytes(4, "big")
    return fourcc.decode("ascii") if fourcc.isalnum() else str(codec)
