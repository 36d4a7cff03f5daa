"""The language of the pipes between the origin and a transcode worker, without I/O.

Each direction begins with eight bytes, ``HRTX`` and a version, so that two builds that do not
belong together part at once. Then frames::

    u8 kind | u24 reserved, 0 | u32 payload length | payload          big endian

What is rare is JSON (`Setup`, `Ready`, `Status`), what is frequent is binary. Messages are values;
`encode` turns one into its frame, and a reader turns bytes, cut anywhere, into messages::

    parent                                              worker
      Setup                          ->  once, first
      VideoConfig, AudioConfig       ->  before the samples they are for
      Picture, Audio, RungRate       ->
                                     <-  Ready, Status
                                     <-  RungConfig, Coded
                                     <-  Fault              why it is about to end

Whatever is malformed raises `WireError`, and nothing else; the reader is of no use then. Lengths
are checked against their kind's bound as soon as the header is there, so a reader never holds more
than one frame and the bytes of one feed.

Not here: what the messages mean to a decoder (`intake`) or to a rendition. May import msgspec.
"""

import struct
from collections.abc import Callable, Mapping
from typing import Annotated, Final, Generic, NamedTuple, TypeAlias, TypeVar

import msgspec

VERSION: Final = 2
GREETING: Final = b"HRTX" + VERSION.to_bytes(4, "big")
"""What each direction begins with."""

MAX_PAYLOAD_BYTES: Final = 16 * 1024 * 1024
"""Of one frame: as large as a media message that the origin accepts from a publisher."""

MAX_JSON_BYTES: Final = 64 * 1024
MAX_CONFIG_BYTES: Final = 64 * 1024
"""Of a decoder configuration; what the packager accepts is shorter."""

MAX_AUDIO_BYTES: Final = 64 * 1024
"""Of one frame. AAC's longest is 6 KiB, FLAC's common one 18 KiB; others the worker never hears."""

MAX_FAULT_BYTES: Final = 500
MAX_RUNGS: Final = 8
MAX_DIMENSION: Final = 8192
"""Pixels a side of a picture, coded or of a rung."""

MAX_TICKS: Final = 1 << 62
"""Largest time either way. The lowest 64-bit number is FFmpeg's word for "no time"."""

_HEADER: Final = struct.Struct(">II")
_PICTURE: Final = struct.Struct(">QqB")
_AUDIO: Final = struct.Struct(">q")
_RUNG_RATE: Final = struct.Struct(">BB")
_CODED: Final = struct.Struct(">BQqB")
_RUNG_CONFIG: Final = struct.Struct(">B4s")

_BEGINS_SEGMENT: Final = 1
_BEGINS_EPOCH: Final = 2
_IDR: Final = 1

# Kinds of frames.
_SETUP: Final = 1
_VIDEO_CONFIG: Final = 2
_PICTURE_KIND: Final = 3
_AUDIO_CONFIG: Final = 4
_AUDIO_KIND: Final = 5
_RUNG_RATE_KIND: Final = 6
_READY: Final = 65
_RUNG_CONFIG_KIND: Final = 66
_CODED_KIND: Final = 67
_STATUS: Final = 68
_FAULT: Final = 69


class WireError(Exception):
    """Bytes that no peer of this version would send; the text says what about them."""


# -- parent to worker

_Side = Annotated[int, msgspec.Meta(ge=2, le=MAX_DIMENSION, multiple_of=2)]
_Name = Annotated[str, msgspec.Meta(max_length=64)]


class RungSetup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One rung, exact enough to open its encoder."""

    name: _Name
    width: _Side
    """In square pixels."""
    height: _Side
    bitrate_bps: Annotated[int, msgspec.Meta(ge=1_000, le=1_000_000_000)]
    encoder: _Name
    """By FFmpeg's name."""
    preset: _Name
    """One of the encoder's; empty: its default."""
    frame_rate: Annotated[float, msgspec.Meta(gt=0, le=1000)]
    """Of the source, pictures a second; nominal, for rate control."""
    divisor: Annotated[int, msgspec.Meta(ge=0, le=255)]
    """0: off; n: every n-th picture, counted from each segment's first."""


class Setup(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a worker is to do. The first message, and there is only one."""

    rungs: Annotated[tuple[RungSetup, ...], msgspec.Meta(min_length=1, max_length=MAX_RUNGS)]
    decoder_threads: Annotated[int, msgspec.Meta(ge=1, le=64)]


class VideoConfig(NamedTuple):
    """What the pictures that follow need to be decoded."""

    fourcc: bytes
    """``avc1``, ``hvc1``, ``av01`` or ``vp09``."""
    record: bytes
    """Decoder configuration record."""


class Picture(NamedTuple):
    """One coded picture of the source, in decode order."""

    number: int
    """Of its slot; increasing."""
    pts_ticks: int
    begins_segment: bool
    """Whichever picture takes this slot (the k-th displayed takes the k-th) is forced IDR."""
    begins_epoch: bool
    """Nothing before it is needed, or to be waited for."""
    data: bytes
    """In sample format."""


class AudioConfig(NamedTuple):
    """What the audio that follows needs to be decoded."""

    fourcc: bytes
    """As `hls.audio.parse_audio_config` takes it."""
    record: bytes
    """Likewise; without meaning where a codec's frames say what they need."""


class Audio(NamedTuple):
    """One frame of sound."""

    pts_ticks: int
    """At 90 kHz, as a picture's."""
    data: bytes


class RungRate(NamedTuple):
    """How many of the source's pictures a rung gets, from the next `begins_segment` on."""

    rung: int
    divisor: int
    """As `RungSetup.divisor`."""


ToWorker: TypeAlias = Setup | VideoConfig | Picture | AudioConfig | Audio | RungRate

# -- worker to parent


class Ready(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The setup was understood."""

    encoders: tuple[str, ...]
    """Of each rung. They are opened with their first picture."""
    confinement: str = ""
    """Which rights the worker has given up, for the log."""


class RungConfig(NamedTuple):
    """What the coded pictures of a rung that follow need."""

    rung: int
    fourcc: bytes
    record: bytes


class Coded(NamedTuple):
    """What a rung has for one slot. Numbers of a rung increase; one jumped over has no picture."""

    rung: int
    number: int
    pts_ticks: int
    """The source's, to the tick."""
    is_idr: bool
    data: bytes
    """In sample format; empty: there is no picture."""


# JSON knows integers of any length; a figure has 62 bits.
_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_TICKS)]
_Ticks = Annotated[int, msgspec.Meta(ge=-MAX_TICKS, le=MAX_TICKS)]


class RungStatus(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one rung has done so far."""

    frames: _Count
    bytes: _Count
    encode_s: float
    """CPU time of the threads that called the encoder."""
    newest_pts_ticks: _Ticks | None


class Status(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The heartbeat, twice a second, and once more at the end."""

    decoded: _Count
    """Pictures that came out of the decoder."""
    decode_errors: _Count
    """Pictures that it refused, or marked as damaged."""
    lost: _Count
    """Slots that got no picture."""
    newest_pts_ticks: _Ticks | None
    """Of the pictures that came out of the decoder."""
    rungs: tuple[RungStatus, ...]
    black: bool
    frozen: bool
    silent: bool | None
    """None: no audio was heard."""
    av_drift_s: float | None
    """How far the sound is behind the picture at the worker's input, smoothed; None: one lacks."""
    busy_s: float
    """Age of the oldest call that still runs in a thread."""
    rss_bytes: _Count
    """Memory that is resident."""


class Fault(NamedTuple):
    """Why the worker is about to end with another exit code than 0."""

    text: str


ToParent: TypeAlias = Ready | RungConfig | Coded | Status | Fault


def encode(message: ToWorker | ToParent) -> bytes:
    """The frame of a message.

    Raises:
        WireError: It is too long. Other values are the caller's to keep in their bounds.

    Cost: one copy of the data.
    """
    match message:
        case Picture():
            flags = message.begins_segment * _BEGINS_SEGMENT | message.begins_epoch * _BEGINS_EPOCH
            head = _PICTURE.pack(message.number, message.pts_ticks, flags)
            return _frame(_PICTURE_KIND, head, message.data)
        case Coded():
            head = _CODED.pack(
                message.rung, message.number, message.pts_ticks, message.is_idr * _IDR
            )
            return _frame(_CODED_KIND, head, message.data)
        case Audio():
            return _frame(_AUDIO_KIND, _AUDIO.pack(message.pts_ticks), message.data)
        case VideoConfig():
            return _frame(_VIDEO_CONFIG, message.fourcc, message.record)
        case AudioConfig():
            return _frame(_AUDIO_CONFIG, message.fourcc, message.record)
        case RungRate():
            return _frame(_RUNG_RATE_KIND, _RUNG_RATE.pack(*message), b"")
        case RungConfig():
            head = _RUNG_CONFIG.pack(message.rung, message.fourcc)
            return _frame(_RUNG_CONFIG_KIND, head, message.record)
        case Setup():
            return _frame(_SETUP, b"", msgspec.json.encode(message))
        case Ready():
            return _frame(_READY, b"", msgspec.json.encode(message))
        case Status():
            return _frame(_STATUS, b"", msgspec.json.encode(message))
        case Fault():
            text = message.text.encode(errors="replace")[:MAX_FAULT_BYTES]
            return _frame(_FAULT, b"", text)


def _frame(kind: int, head: bytes, data: bytes) -> bytes:
    size = len(head) + len(data)
    if size > _LIMITS[kind]:
        raise WireError(f"a frame of kind {kind} would have {size} bytes")
    return b"".join((_HEADER.pack(kind << 24, size), head, data))


# -- reading

_T = TypeVar("_T")
_Parser: TypeAlias = Callable[[bytes], _T]


class _Reader(Generic[_T]):
    """Frames of one direction, from bytes that are cut anywhere."""

    def __init__(self, parsers: Mapping[int, _Parser[_T]]) -> None:
        self._parsers = parsers
        self._buffer = bytearray()
        self._is_greeted = False

    def feed(self, data: bytes | bytearray | memoryview) -> list[_T]:
        """Take the next bytes.

        Returns:
            The messages that they complete.

        Raises:
            WireError: See the module. The messages before the malformed one are lost.

        Cost: amortised one copy of the bytes, one more of each payload, about 2 us a message.
        """
        self._buffer += data
        buffer = self._buffer
        position = 0
        if not self._is_greeted:
            if not GREETING.startswith(buffer[: len(GREETING)]):
                raise WireError(f"it begins with {bytes(buffer[: len(GREETING)])!r}")
            if len(buffer) < len(GREETING):
                return []
            self._is_greeted = True
            position = len(GREETING)
        messages: list[_T] = []
        while len(buffer) - position >= _HEADER.size:
            first, size = _HEADER.unpack_from(buffer, position)
            kind = first >> 24
            if first & 0xFFFFFF:
                raise WireError("reserved bits of a header are set")
            self._check(kind, size)
            end = position + _HEADER.size + size
            if end > len(buffer):
                break
            payload = bytes(memoryview(buffer)[position + _HEADER.size : end])
            messages.append(self._parse(kind, payload))
            position = end
        del buffer[:position]
        return messages

    def finish(self) -> None:
        """The stream has ended.

        Raises:
            WireError: In the middle of something.
        """
        if self._buffer:
            raise WireError("the stream ended within a frame")

    def _check(self, kind: int, size: int) -> None:
        if kind not in self._parsers:
            raise WireError(f"there is no frame of kind {kind}")
        if size > _LIMITS[kind]:
            raise WireError(f"a frame of kind {kind} has {size} bytes")

    def _parse(self, kind: int, payload: bytes) -> _T:
        try:
            return self._parsers[kind](payload)
        except struct.error:  # shorter than what every payload of its kind begins with
            raise WireError(f"a frame of kind {kind} is truncated") from None
        except (msgspec.MsgspecError, ValueError) as error:  # the latter: UTF-8, endless digits
            raise WireError(f"a frame of kind {kind}: {error}") from error


class ToWorkerReader(_Reader[ToWorker]):
    """What the worker reads: one `Setup`, first, then the rest."""

    def __init__(self) -> None:
        super().__init__(_TO_WORKER)
        self._has_setup = False

    def _check(self, kind: int, size: int) -> None:
        super()._check(kind, size)
        if (kind == _SETUP) is self._has_setup:
            raise WireError("a second setup" if self._has_setup else "the first frame is no setup")

    def _parse(self, kind: int, payload: bytes) -> ToWorker:
        message = super()._parse(kind, payload)
        self._has_setup = True
        return message


class ToParentReader(_Reader[ToParent]):
    """What the parent reads."""

    def __init__(self) -> None:
        super().__init__(_TO_PARENT)


def _read_picture(payload: bytes) -> Picture:
    number, pts_ticks, flags = _PICTURE.unpack_from(payload)
    _check_flags(flags, _BEGINS_SEGMENT | _BEGINS_EPOCH)
    return Picture(
        number,
        _checked_ticks(pts_ticks),
        bool(flags & _BEGINS_SEGMENT),
        bool(flags & _BEGINS_EPOCH),
        payload[_PICTURE.size :],
    )


def _read_audio(payload: bytes) -> Audio:
    (pts_ticks,) = _AUDIO.unpack_from(payload)
    return Audio(_checked_ticks(pts_ticks), payload[_AUDIO.size :])


def _read_video_config(payload: bytes) -> VideoConfig:
    if len(payload) < 4:
        raise WireError("a video configuration has no codec")
    return VideoConfig(payload[:4], payload[4:])


def _read_audio_config(payload: bytes) -> AudioConfig:
    if len(payload) < 4:
        raise WireError("an audio configuration has no codec")
    return AudioConfig(payload[:4], payload[4:])


def _read_rung_rate(payload: bytes) -> RungRate:
    if len(payload) != _RUNG_RATE.size:
        raise WireError(f"a rung's rate has {len(payload)} bytes")
    rung, divisor = _RUNG_RATE.unpack(payload)
    return RungRate(_checked_rung(rung), divisor)


def _read_rung_config(payload: bytes) -> RungConfig:
    rung, fourcc = _RUNG_CONFIG.unpack_from(payload)
    return RungConfig(_checked_rung(rung), fourcc, payload[_RUNG_CONFIG.size :])


def _read_coded(payload: bytes) -> Coded:
    rung, number, pts_ticks, flags = _CODED.unpack_from(payload)
    _check_flags(flags, _IDR)
    return Coded(
        _checked_rung(rung), number, _checked_ticks(pts_ticks), bool(flags), payload[_CODED.size :]
    )


def _read_fault(payload: bytes) -> Fault:
    return Fault(payload.decode(errors="replace"))


def _check_flags(flags: int, known: int) -> None:
    if flags & ~known:
        raise WireError(f"unknown flags {flags:#x}")


def _checked_rung(rung: int) -> int:
    if rung >= MAX_RUNGS:
        raise WireError(f"there is no rung {rung}")
    return rung


def _checked_ticks(ticks: int) -> int:
    if not -MAX_TICKS <= ticks <= MAX_TICKS:
        raise WireError(f"time {ticks} is out of range")
    return ticks


_TO_WORKER: Final[Mapping[int, _Parser[ToWorker]]] = {
    _SETUP: msgspec.json.Decoder(Setup).decode,
    _VIDEO_CONFIG: _read_video_config,
    _PICTURE_KIND: _read_picture,
    _AUDIO_CONFIG: _read_audio_config,
    _AUDIO_KIND: _read_audio,
    _RUNG_RATE_KIND: _read_rung_rate,
}
_TO_PARENT: Final[Mapping[int, _Parser[ToParent]]] = {
    _READY: msgspec.json.Decoder(Ready).decode,
    _RUNG_CONFIG_KIND: _read_rung_config,
    _CODED_KIND: _read_coded,
    _STATUS: msgspec.json.Decoder(Status).decode,
    _FAULT: _read_fault,
}
_LIMITS: Final[Mapping[int, int]] = {
    _SETUP: MAX_JSON_BYTES,
    _VIDEO_CONFIG: MAX_CONFIG_BYTES,
    _PICTURE_KIND: MAX_PAYLOAD_BYTES,
    _AUDIO_CONFIG: MAX_CONFIG_BYTES,
    _AUDIO_KIND: MAX_AUDIO_BYTES,
    _RUNG_RATE_KIND: _RUNG_RATE.size,
    _READY: MAX_JSON_BYTES,
    _RUNG_CONFIG_KIND: MAX_CONFIG_BYTES,
    _CODED_KIND: MAX_PAYLOAD_BYTES,
    _STATUS: MAX_JSON_BYTES,
    _FAULT: MAX_FAULT_BYTES,
}
