"""Publishers of Enhanced RTMP: any codecs, several tracks, in FFmpeg's own packing and in others.

Three steps, each with its uses:

- `make_enhanced_clip` has FFmpeg encode. An MP4 or MKV file of it is for `PyavPublisher` and the
  ffmpeg program, which send it in their own packing.
- `load_enhanced` reads an FLV file of it: what FFmpeg packed, tag by tag, as a `Media` for
  `ScriptedPublisher` and whatever else takes one.
- `repacked` is the same media in the forms that FFmpeg does not send.

    tracks = [VideoTrack(height=360), VideoTrack(height=180), AudioTrack(encoder="libopus")]
    media = load_enhanced(make_enhanced_clip(tmp_path / "ladder.flv", tracks))
    with ScriptedPublisher(address, key, script): ...    # line.connect(); line.publish(media, ...)

Written from Enhanced RTMP v2; nothing here knows `rtmpcore`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import av
import numpy as np
import rtmp_publishers as wire

FPS = 25

_OPTIONS: Mapping[str, dict[str, str]] = {
    "libx264": {"preset": "ultrafast", "x264-params": "scenecut=0"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:scenecut=0"},
    "libsvtav1": {"preset": "11"},
    "libvpx-vp9": {"deadline": "realtime", "cpu-used": "8"},
}


@dataclass(frozen=True, kw_only=True, slots=True)
class VideoTrack:
    """One coding of the picture."""

    encoder: str = "libx264"
    """FFmpeg's name: libx264, libx265, libsvtav1 or libvpx-vp9."""
    height: int = 180
    """The picture is 16:9."""
    gop: int = 50
    """Pictures from one keyframe to the next."""
    b_frames: int = 0
    pix_fmt: str = "yuv420p"
    colours: tuple[int, int, int] | None = None
    """Primaries, transfer, matrix, as H.273 numbers them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AudioTrack:
    """One coding of the tone."""

    encoder: str = "aac"
    """FFmpeg's name: aac, libopus, flac, ac3 or eac3."""
    channels: int = 2
    sample_rate: int = 48_000


Track: TypeAlias = VideoTrack | AudioTrack


def make_enhanced_clip(path: Path, tracks: Sequence[Track], *, duration_s: float = 5.0) -> Path:
    """Encode one picture and one tone as each of these tracks, into a file of `path`'s kind.

    Cost: some 0.5 s of CPU for each 5 s of a video track.
    """
    with av.open(path, "w") as container:
        encoded: list[Any] = []
        for track in tracks:
            if isinstance(track, VideoTrack):
                encoded.append(_video(container, track, round(duration_s * FPS)))
            else:
                encoded.append(_audio(container, track, duration_s))
        packets = [packet for track in encoded for packet in track]
        for packet in sorted(packets, key=lambda each: each.dts * each.time_base):
            container.mux(packet)
    return path


def _video(container: Any, track: VideoTrack, count: int) -> Iterator[Any]:
    stream = container.add_stream(track.encoder, rate=FPS)
    stream.width, stream.height, stream.pix_fmt = _width(track.height), track.height, track.pix_fmt
    stream.gop_size, stream.max_b_frames, stream.bit_rate = track.gop, track.b_frames, 300_000
    stream.options, stream.thread_count = _OPTIONS[track.encoder], 1
    if track.colours is not None:
        context = stream.codec_context
        context.color_primaries, context.color_trc, context.colorspace = track.colours
    return _encoded(stream, _pictures(track, count))


def _audio(container: Any, track: AudioTrack, duration_s: float) -> Iterator[Any]:
    stream = container.add_stream(track.encoder, rate=track.sample_rate)
    stream.layout = {1: "mono", 2: "stereo", 6: "5.1"}[track.channels]
    stream.codec_context.open(strict=False)
    return _encoded(stream, _tone(stream, track, duration_s))


def _encoded(stream: Any, frames: Iterator[Any]) -> Iterator[Any]:
    for frame in frames:
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _width(height: int) -> int:
    return height * 16 // 9


def _pictures(track: VideoTrack, count: int) -> Iterator[av.VideoFrame]:
    """A grey ramp with a bright bar that moves; of the same look in each size."""
    ramp = np.tile(np.linspace(40, 120, 320, dtype=np.uint8), (180, 1))
    for index in range(count):
        picture = ramp.copy()
        left = index * 8 % 304
        picture[45:90, left : left + 16] = 235
        frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(
            width=_width(track.height), height=track.height, format=track.pix_fmt
        )
        frame.pts, frame.time_base = index, Fraction(1, FPS)
        yield frame


def _tone(stream: Any, track: AudioTrack, duration_s: float) -> Iterator[av.AudioFrame]:
    context = stream.codec_context
    size, rate, layout = context.frame_size or 1024, track.sample_rate, stream.layout.name
    resampler = av.AudioResampler(format=context.format.name, layout=layout, rate=rate)
    for start in range(0, round(duration_s * rate), size):
        wave = 0.2 * np.sin(2 * np.pi * 440 * (np.arange(size) + start) / rate)
        planes = np.tile(wave.astype(np.float32), (track.channels, 1))
        frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, start, Fraction(1, rate)
        yield from resampler.resample(frame)


@dataclass(frozen=True, slots=True)
class EnhancedMedia(wire.Media):
    """A clip's tags as Enhanced RTMP has them; `avc_record` and `aac_config` are empty."""

    metadata: bytes = b""
    """onMetaData and its values, AMF0."""

    header_tags: Sequence[tuple[str, bytes]] = ()
    """("video" or "audio", tag body) of what comes before the first frame."""

    @property
    def headers(self) -> bytes:
        """Metadata and sequence headers, on the wire."""
        data = wire.amf("@setDataFrame") + self.metadata
        out = wire.message(18, data, stream_id=wire.STREAM_ID, chunk_stream_id=4)
        for kind, tag in self.header_tags:
            out += wire.video(tag) if kind == "video" else wire.audio(tag)
        return out


def load_enhanced(path: Path) -> EnhancedMedia:
    """Read an FLV file of `make_enhanced_clip`."""
    metadata = b""
    headers: list[tuple[str, bytes]] = []
    tags: list[tuple[str, int, bytes]] = []
    for type_id, timestamp_ms, body in _flv_tags(path.read_bytes()):
        if type_id == 18:
            metadata = metadata or body
            continue
        kind = "video" if type_id == 9 else "audio"
        if tags or _read(kind, body).packet in (FRAME, FRAME_X):
            tags.append((kind, timestamp_ms, body))
        else:
            headers.append((kind, body))
    return EnhancedMedia(b"", b"", tags, metadata, headers)


def _flv_tags(data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(type, timestamp in ms, body) of each tag in a file."""
    position = 13
    while position < len(data):
        size = int.from_bytes(data[position + 1 : position + 4], "big")
        time = data[position + 7 : position + 8] + data[position + 4 : position + 7]
        yield data[position], int.from_bytes(time, "big"), data[position + 11 :][:size]
        position += 11 + size + 4


# Enhanced RTMP, both ways ------------------------------------------------------------------------

CONFIG, FRAME, END, FRAME_X = 0, 1, 2, 3
MULTITRACK = {"video": 6, "audio": 5}
MOD_EX = 7
_COMPOSED = (b"avc1", b"hvc1")


class Piece(NamedTuple):
    """What a message says of one track."""

    kind: str
    frame_type: int
    """1 is a keyframe; of audio, the bits that say that the header is Enhanced RTMP's."""
    packet: int
    fourcc: bytes
    track: int
    body: bytes
    """As CodedFrames have it: with a composition time where the codec has one."""


def _read(kind: str, tag: bytes) -> Piece:
    """Read a tag that FFmpeg packed: a legacy one of H.264 or AAC, a plain one, or OneTrack."""
    if kind == "video" and tag[0] & 0x80 == 0:
        body = tag[2:] if tag[1] == FRAME else tag[5:]
        return Piece(kind, tag[0] >> 4, tag[1], b"avc1", 0, body)
    if kind == "audio" and tag[0] >> 4 != 9:
        return Piece(kind, 1, tag[1], b"mp4a", 0, tag[2:])
    frame_type, packet = tag[0] >> 4 & 7, tag[0] & 15
    if packet == MULTITRACK[kind]:
        packet, fourcc, track, body = tag[1] & 15, tag[2:6], tag[6], tag[7:]
    else:
        fourcc, track, body = tag[1:5], 0, tag[5:]
    if packet == FRAME_X:
        packet, body = FRAME, bytes(3) * (fourcc in _COMPOSED) + body
    return Piece(kind, frame_type, packet, fourcc, track, body)


def packed(pieces: Sequence[Piece], offset_ns: int = 0) -> bytes:
    """Write pieces that agree in kind, frame type and packet into one message.

    One piece becomes a plain message, or OneTrack if its track is not 0; several ManyTracks, or
    ManyTracksManyCodecs where their codecs differ; nanoseconds a ModEx block.
    """
    first = pieces[0]
    plain = len(pieces) == 1 and first.track == 0
    head, next_packet = 0x80 | first.frame_type << 4, MULTITRACK[first.kind]
    if plain:
        next_packet = first.packet
    out = bytes([head | next_packet])
    if offset_ns:
        out = bytes([head | MOD_EX, 2]) + offset_ns.to_bytes(3, "big") + bytes([next_packet])
    if plain:
        return out + first.fourcc + first.body
    if len(pieces) == 1:
        return out + bytes([first.packet]) + first.fourcc + bytes([first.track]) + first.body
    many_codecs = len({piece.fourcc for piece in pieces}) > 1
    out += bytes([(0x20 if many_codecs else 0x10) | first.packet])
    if not many_codecs:
        out += first.fourcc
    for piece in pieces:
        if many_codecs:
            out += piece.fourcc
        out += bytes([piece.track]) + len(piece.body).to_bytes(3, "big") + piece.body
    return out


def repacked(
    media: EnhancedMedia, *, in_one_message: bool = False, offset_ns: int = 0
) -> EnhancedMedia:
    """The same media in Enhanced RTMP's headers throughout, H.264 and AAC too.

    Args:
        media: What FFmpeg packed.
        in_one_message: The pieces of one time go into one message, where they agree in kind, frame
            type and packet.
        offset_ns: What ModEx says in each message, 0..999_999; 0: there is none.
    """
    headers = [(kind, 0, tag) for kind, tag in media.header_tags]
    return replace(
        media,
        header_tags=[(kind, tag) for kind, _, tag in _repacked(headers, in_one_message, 0)],
        tags=list(_repacked(media.tags, in_one_message, offset_ns)),
    )


def _repacked(
    tags: Sequence[tuple[str, int, bytes]], in_one_message: bool, offset_ns: int
) -> Iterator[tuple[str, int, bytes]]:
    def together(entry: tuple[int, tuple[int, Piece]]) -> object:
        number, (time_ms, piece) = entry
        alike = (time_ms, piece.kind, piece.frame_type, piece.packet)
        return alike if in_one_message and piece.packet in (CONFIG, FRAME) else number

    pieces = [(time_ms, _read(kind, tag)) for kind, time_ms, tag in tags]
    for _, group in groupby(enumerate(pieces), together):
        members = [entry for _, entry in group]
        time_ms, first = members[0]
        yield first.kind, time_ms, packed([piece for _, piece in members], offset_ns)
