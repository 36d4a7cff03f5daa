"""The demo's encoder: pictures and sound in, H.264 and AAC for RTMP out. Runs in a thread.

No B-frames, no look-ahead, one keyframe a second: each picture leaves in the call that drew it,
and a viewer can begin within a second.

PyAV's log is turned off at import: its callback takes the GIL from FFmpeg's threads, with
deadlocks to its name (PyAV #751, #2276). Encoders keep one thread each; this process has little
to do.
"""

import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from typing import Final, Literal, NamedTuple

import av
import av.logging
from av.audio.codeccontext import AudioCodecContext
from av.video.codeccontext import VideoCodecContext

from origin.demo.picture import HEIGHT, WIDTH, Picture
from origin.demo.sound import SAMPLE_RATE, Sound

av.logging.set_level(None)

FRAME_RATE: Final = 30

#: One keyframe a second.
_GOP_FRAMES: Final = FRAME_RATE

_VIDEO_OPTIONS: Final = {
    "preset": "ultrafast",
    "tune": "zerolatency",
    "crf": "23",
    # crf decides in practice (about 1 Mbit/s); these bound a keyframe's burst.
    "maxrate": "3000000",
    "bufsize": "1500000",
    "x264-params": "scenecut=0",
}
_AUDIO_BITRATE_BPS: Final = 128_000

#: Samples of an AAC-LC frame.
_AUDIO_BLOCK: Final = 1024

#: FFmpeg's encoder holds three blocks back (one primes, two are looked at). The sound is known in
#: advance, so it is fed that much earlier and comes out beside its picture.
_AUDIO_AHEAD: Final = 3 * _AUDIO_BLOCK

#: A longer gap (a suspended machine) is skipped in the sound too, not made up for.
_MAX_CATCH_UP_S: Final = 1.0


class Packet(NamedTuple):
    """One coded picture or audio frame."""

    kind: Literal["video", "audio"]
    timestamp_ms: int
    """Since the start of the broadcast; decode and presentation time are the same here."""
    keyframe: bool
    data: bytes
    """Length-prefixed NAL units (4 bytes), or a raw AAC frame."""


class DemoEncoder:
    """Draws, plays and encodes. One thread at a time.

    Args:
        clock: Gives UTC seconds since 1970; read when a picture is drawn.

    Attributes:
        video_config: AVCDecoderConfigurationRecord.
        audio_config: AudioSpecificConfig.
        metadata: What onMetaData says.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._picture = Picture()
        self._sound: Sound | None = None
        self._next_sample = 0
        self._video = _open_video()
        self._audio = _open_audio()
        self.video_config = _avc_configuration(self._video.extradata or b"")
        self.audio_config = self._audio.extradata or b""
        self.metadata: dict[str, float | str | bool] = {
            "width": float(WIDTH),
            "height": float(HEIGHT),
            "framerate": float(FRAME_RATE),
            "videocodecid": 7.0,  # FLV's number for AVC
            "audiocodecid": 10.0,  # and for AAC
            "audiosamplerate": float(SAMPLE_RATE),
            "audiodatarate": _AUDIO_BITRATE_BPS / 1000,
            "stereo": True,
            "encoder": "Headrace demo",
        }

    def encode(self, frame: int) -> list[Packet]:
        """Make the picture of this moment, and the sound up to it.

        Args:
            frame: The picture's number, counted at `FRAME_RATE` from the start of the broadcast;
                greater than in the call before.

        Returns:
            Packets in the order of their timestamps: some 1.6 audio frames, then the picture.

        Raises:
            av.FFmpegError: The codec failed; the encoder is of no more use.

        Cost: about 4 ms, most of it x264's.
        """
        if self._sound is None:  # only now is it known which wall-clock time is frame 0
            self._sound = Sound(self._clock() - frame / FRAME_RATE)
        return [
            *self._encode_audio(
                self._sound, until=frame * SAMPLE_RATE // FRAME_RATE + _AUDIO_AHEAD
            ),
            *self._encode_video(frame),
        ]

    def _encode_video(self, frame: int) -> Iterator[Packet]:
        planes = self._picture.draw(int(self._clock() * 1000), frame / FRAME_RATE)
        picture = av.VideoFrame.from_ndarray(planes, format="yuv420p")  # copies
        picture.pts = frame
        picture.time_base = Fraction(1, FRAME_RATE)
        for packet in self._video.encode(picture):
            pts = frame if packet.pts is None else packet.pts
            yield Packet(
                "video",
                pts * 1000 // FRAME_RATE,
                packet.is_keyframe,
                _length_prefixed(bytes(packet)),
            )

    def _encode_audio(self, sound: Sound, until: int) -> Iterator[Packet]:
        behind = until - self._next_sample
        if behind > _MAX_CATCH_UP_S * SAMPLE_RATE:
            self._next_sample += behind // _AUDIO_BLOCK * _AUDIO_BLOCK
        while self._next_sample + _AUDIO_BLOCK <= until:
            samples = sound.block(self._next_sample, _AUDIO_BLOCK)
            block = av.AudioFrame.from_ndarray(samples, format="fltp", layout="stereo")
            block.sample_rate = SAMPLE_RATE
            block.pts = self._next_sample
            block.time_base = Fraction(1, SAMPLE_RATE)
            self._next_sample += _AUDIO_BLOCK
            for packet in self._audio.encode(block):
                # The first frame primes the decoder and lies before zero (pts -1024); RTMP has no
                # such time.
                if packet.pts is not None and packet.pts >= 0:
                    yield Packet("audio", packet.pts * 1000 // SAMPLE_RATE, True, bytes(packet))


def _open_video() -> VideoCodecContext:
    video = av.CodecContext.create("libx264", "w")
    assert isinstance(video, VideoCodecContext)
    video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
    video.framerate = Fraction(FRAME_RATE)
    video.time_base = Fraction(1, FRAME_RATE)
    video.gop_size = _GOP_FRAMES
    video.max_b_frames = 0
    video.thread_count = 1
    video.color_range = 1  # limited; BT.709 in all three, or players guess
    video.colorspace = video.color_primaries = video.color_trc = 1
    video.options = _VIDEO_OPTIONS
    video.flags |= av.codec.context.Flags.global_header
    video.open()
    return video


def _open_audio() -> AudioCodecContext:
    audio = av.CodecContext.create("aac", "w")
    assert isinstance(audio, AudioCodecContext)
    audio.sample_rate = SAMPLE_RATE
    audio.layout = "stereo"
    audio.format = "fltp"
    audio.bit_rate = _AUDIO_BITRATE_BPS
    audio.time_base = Fraction(1, SAMPLE_RATE)
    audio.flags |= av.codec.context.Flags.global_header
    audio.open()
    return audio


def _nal_units(annex_b: bytes) -> list[bytes]:
    """Split an Annex B stream (ITU-T H.264, annex B) at its start codes.

    Zeros before a start code belong to it: a NAL unit never ends in a zero byte (7.4.1).
    """
    return [unit.rstrip(b"\0") for unit in annex_b.split(b"\0\0\1")[1:]]


def _length_prefixed(annex_b: bytes) -> bytes:
    return b"".join(len(unit).to_bytes(4, "big") + unit for unit in _nal_units(annex_b))


def _avc_configuration(annex_b: bytes) -> bytes:
    """Build the AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1) from SPS and PPS."""
    by_type = {unit[0] & 0x1F: unit for unit in _nal_units(annex_b)}
    sps, pps = by_type[7], by_type[8]
    return b"".join(
        (
            bytes((1, *sps[1:4], 0xFC | 3, 0xE0 | 1)),  # version, profile and level, 4-byte lengths
            len(sps).to_bytes(2, "big"),
            sps,
            b"\1",
            len(pps).to_bytes(2, "big"),
            pps,
        )
    )
