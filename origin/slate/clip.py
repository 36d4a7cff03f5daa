"""A slate as a publisher would send it: the operator's file, coded like the media it stands in for.

Viewers' decoders are set up for the codecs that the multivariant playlist names, and a player that
has had sound wants sound. So a slate has the tracks of the publisher that is away, each in its
codec, the picture in its size with bars where the shape differs; a file without sound is silent.

`coder` does that in a child process, as codecs do not belong into this one; what it prints are FLV
tags. A clip is a loop of their bodies::

    video  |config| IDR P P P ... |          again and again, `FRAME_MS` a picture
    audio  |config| frame frame ... |        the same on its own clock; see `Clip.messages`

Bounds: `MAX_CLIP_BYTES` a clip, `MAX_PIXELS` its picture, `CODE_TIMEOUT_S` to make it.

May import rtmpcore and origin's own; never av.
"""

import heapq
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Final, TypeAlias

from origin.bridge import Tracks
from origin.transcode.child import ChildError, run_child
from rtmpcore import AudioMessage, VideoMessage
from rtmpcore.flv import TagKind, audio_tags, video_tags
from rtmpcore.flv_file import TAG_HEADER_BYTES
from rtmpcore.wire import MessageType

CODER: Final = "origin.slate.coder"

FPS: Final = 25
FRAME_MS: Final = 1_000 // FPS

MAX_CLIP_BYTES: Final = 16 * 1024 * 1024
"""Most that one loop takes, coded: ten seconds of some 13 Mbit/s."""

MAX_PIXELS: Final = 4096 * 2304
"""Largest picture, lines times columns: what a publisher claims decides what a slate costs."""

CHECK_TIMEOUT_S: Final = 15.0
CODE_TIMEOUT_S: Final = 60.0
"""Two seconds are usual; live broadcasts go first."""

FAILED: Final = b"!"
"""What a child's output begins with if a reason follows."""

_FILE_HEADER_BYTES: Final = 13  # with the first back pointer
_WRAP: Final = 1 << 32

MediaMessage: TypeAlias = AudioMessage | VideoMessage


class SlateError(Exception):
    """The file cannot be used, or not for these tracks; the text is one line for a person."""


@dataclass(frozen=True, slots=True)
class Format:
    """What a clip is made for; equal formats share one."""

    video: tuple[str, int, int] | None
    """FourCC, width and height in pixels."""

    audio: tuple[str, int, int] | None
    """FourCC, samples a second, channels."""

    @classmethod
    def of(cls, tracks: Tracks) -> "Format":
        """For what a publisher sent."""
        video, audio = tracks.video, tracks.audio
        return cls(
            None if video is None else (video.FOURCC.decode(), video.width, video.height),
            None if audio is None else (audio.FOURCC.decode(), audio.sample_rate, audio.channels),
        )

    def __str__(self) -> str:
        tracks = filter(None, (self.video, self.audio))
        return ", ".join(f"{name} {first}x{second}" for name, first, second in tracks)


@dataclass(frozen=True, slots=True)
class Track:
    """One track of a loop."""

    config: bytes | None
    """Body of the sequence header's tag; None for codecs that have none."""

    frames: Sequence[bytes]
    """Bodies of the tags, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Clip:
    """A coded loop."""

    loop_ms: int
    video: Track | None = None
    audio: Track | None = None
    sound_ms: Fraction = Fraction(0)
    """How long one frame of the audio lasts."""

    def messages(self) -> Iterator[tuple[int, MediaMessage]]:
        """Every message, without end, each with the millisecond from the start at which it is due.

        Frames of sound do not fill the loop evenly. A round has as many of them as begin in it, so
        one round may have one more than the next, and sound and picture never part.
        """
        timed = []
        if self.video is not None:
            timed.append(_messages(VideoMessage, self.video.config, self._pictures(self.video)))
        if self.audio is not None:
            timed.append(_messages(AudioMessage, self.audio.config, self._sounds(self.audio)))
        return heapq.merge(*timed, key=lambda each: each[0])

    def _pictures(self, track: Track) -> Iterator[tuple[int, bytes]]:
        for number, frame in enumerate(itertools.cycle(track.frames)):
            yield number * FRAME_MS, frame

    def _sounds(self, track: Track) -> Iterator[tuple[int, bytes]]:
        number = 0
        for end_ms in itertools.count(self.loop_ms, self.loop_ms):
            for frame in track.frames:
                if number * self.sound_ms >= end_ms:
                    break
                yield int(number * self.sound_ms), frame
                number += 1


def _messages(
    kind: type[MediaMessage], config: bytes | None, frames: Iterable[tuple[int, bytes]]
) -> Iterator[tuple[int, MediaMessage]]:
    if config is not None:
        yield 0, kind(stream_id=0, timestamp_ms=0, payload=config)
    for at_ms, frame in frames:
        yield at_ms, kind(stream_id=0, timestamp_ms=at_ms % _WRAP, payload=frame)


async def check_file(path: Path) -> None:
    """Look whether a file can be a slate.

    Raises:
        SlateError: There is no picture in it, or it cannot be read.
    """
    await _run("check", str(path), timeout_s=CHECK_TIMEOUT_S)


async def make_clip(path: Path, wanted: Format) -> Clip:
    """Code a file for a format.

    Raises:
        SlateError: The file cannot be read any more, or FFmpeg cannot code it so.

    Cancellation: kills the child.
    Cost: about a second of CPU time in a child for a still picture of 1080p, some for a clip.
    """
    if wanted.video is not None and wanted.video[1] * wanted.video[2] > MAX_PIXELS:
        raise SlateError(f"no slate as {wanted}: the picture is too large")
    words = [
        "-" if track is None else ":".join(map(str, track))
        for track in (wanted.video, wanted.audio)
    ]
    output = await _run("code", str(path), *words, timeout_s=CODE_TIMEOUT_S)
    head, _, flv = output.partition(b"\n")
    loop_ms, numerator, denominator = map(int, head.split())
    return _read(flv, loop_ms, Fraction(numerator, denominator))


async def _run(*words: str, timeout_s: float) -> bytes:
    try:
        output = await run_child(CODER, *words, timeout_s=timeout_s, max_bytes=MAX_CLIP_BYTES)
    except ChildError as error:
        raise SlateError(f"what codes {words[1]} {error}") from error
    if output.startswith(FAILED):
        raise SlateError(output[len(FAILED) :].decode(errors="replace"))
    return output


_READERS: Final[dict[int, Callable[[bytes], Sequence[Any]]]] = {
    MessageType.VIDEO: video_tags,
    MessageType.AUDIO: audio_tags,
}


def _read(flv: bytes, loop_ms: int, sound_ms: Fraction) -> Clip:
    """Sort the tags of an FLV file."""
    configs: dict[int, bytes] = {}
    frames: dict[int, list[bytes]] = {}
    at = _FILE_HEADER_BYTES
    while at < len(flv):
        kind = flv[at]
        begin = at + TAG_HEADER_BYTES
        end = begin + int.from_bytes(flv[at + 1 : at + 4], "big")
        body, at = flv[begin:end], end + 4
        for tag in _READERS[kind](body) if kind in _READERS else ():
            if tag.kind is TagKind.CONFIG:
                configs[kind] = body
            elif tag.kind is TagKind.FRAME:
                frames.setdefault(kind, []).append(body)
    tracks = {kind: Track(configs.get(kind), bodies) for kind, bodies in frames.items()}
    return Clip(
        loop_ms=loop_ms,
        video=tracks.get(MessageType.VIDEO),
        audio=tracks.get(MessageType.AUDIO),
        sound_ms=sound_ms,
    )
