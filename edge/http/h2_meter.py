"""What an HTTP/2 peer sends, judged frame by frame before anything is done with it.

`h2` knows what is legal; this knows what is too much. It reads the nine bytes before each frame,
holds no payload, and keeps accounts: header blocks and frames have a size, resets and noise have a
budget. The same look at what `h2` wants to reply finds the resets that the peer provoked.

It stands before `h2` because there some things cannot be bounded or seen: a frame that is too long
is refused only when it is there whole, header blocks are collected for 64 frames, and frames on
closed streams make no event.

Invariant: constant memory; time is an argument. May import: `edge.http.budget`,
`edge.http.settings`, h2's names; no Trio. Spec: RFC 9113 sections 4.1 (frames), 6 (their types),
10.5 (denial of service).
"""

from collections.abc import Iterator

from h2.errors import ErrorCodes

from edge.http.budget import Budget
from edge.http.settings import Http2Settings

MAX_FRAME_BYTES = 16 * 1024
"""Largest payload of a frame, in and out: SETTINGS_MAX_FRAME_SIZE as every peer begins (4.2)."""

_PREFACE_BYTES = 24
_HEAD_BYTES = 9
_SETTING_BYTES = 6

# Frame types and flags (section 6).
_DATA, _HEADERS, _RST_STREAM, _SETTINGS, _CONTINUATION = 0, 1, 3, 4, 9
_END_STREAM, _END_HEADERS = 0x1, 0x4

# A DATA frame in the middle of a body that holds less than this is noise: 64 KiB in single bytes
# would cost what a thousand requests do.
_TINY_BYTES = 1024

# What a request earns: a priority, and windows for it and the connection, opened twice.
_NOISE_PER_REQUEST = 4.0


class AbuseError(Exception):
    """The peer sends too much of something; the connection must end.

    Args:
        code: What GOAWAY says.
        reason: For the log; holds nothing that the peer chose.
    """

    def __init__(self, code: ErrorCodes, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class FrameHeads:
    """Finds the head of each frame in a stream of bytes, however it is cut.

    Args:
        preface_bytes: What comes before the first frame.
    """

    __slots__ = ("_partial", "_skip")

    def __init__(self, preface_bytes: int = 0) -> None:
        self._skip = preface_bytes
        self._partial = b""

    def feed(self, data: bytes) -> Iterator[tuple[int, int, int]]:
        """Yield (length, type, flags) of every frame whose head is complete with this piece."""
        position = 0
        while True:
            step = min(self._skip, len(data) - position)
            self._skip -= step
            position += step
            piece = data[position : position + _HEAD_BYTES - len(self._partial)]
            head = self._partial + piece
            if len(head) < _HEAD_BYTES:
                self._partial = head
                return
            position += len(piece)
            self._partial = b""
            self._skip = int.from_bytes(head[:3])
            yield self._skip, head[3], head[4]


class FrameMeter:
    """The accounts of one connection.

    Args:
        settings: The limits.
    """

    __slots__ = ("_block_bytes", "_inbound", "_noise", "_outbound", "_resets", "_settings")

    def __init__(self, settings: Http2Settings) -> None:
        self._settings = settings
        self._inbound = FrameHeads(_PREFACE_BYTES)
        self._outbound = FrameHeads()
        self._resets = Budget(settings.reset_burst, settings.resets_per_s)
        self._noise = Budget(settings.noise_burst, settings.noise_per_s)
        self._block_bytes = 0  # of the header block that is open

    def received(self, data: bytes, now_s: float) -> None:
        """Judge what came in; call it before `h2` gets the same bytes.

        Args:
            data: The next bytes of the connection, from its first one on.
            now_s: A monotonic clock, seconds.

        Raises:
            AbuseError: It is too much.
        """
        for length, kind, flags in self._inbound.feed(data):
            if length > MAX_FRAME_BYTES:
                raise AbuseError(ErrorCodes.FRAME_SIZE_ERROR, "a frame is too long")
            if kind == _HEADERS:
                self._noise.earn(_NOISE_PER_REQUEST)
                self._count_block(length, flags)
            elif kind == _DATA:
                if length < _TINY_BYTES and not flags & _END_STREAM:
                    self._spend_noise(now_s)
            else:
                self._spend_noise(now_s)
                if kind == _CONTINUATION:
                    self._count_block(length, flags)
                elif kind == _RST_STREAM:
                    self._spend_reset(now_s)
                elif (
                    kind == _SETTINGS
                    and length > self._settings.max_settings_per_frame * _SETTING_BYTES
                ):
                    raise _calm("too many settings")

    def replied(self, data: bytes, now_s: float) -> None:
        """Judge what `h2` replies to that.

        Args:
            data: Whole frames.
            now_s: As above.

        Raises:
            AbuseError: It resets too many streams.
        """
        for _length, kind, _flags in self._outbound.feed(data):
            if kind == _RST_STREAM:
                self._spend_reset(now_s)

    def sent(self, body_bytes: int) -> None:
        """Let what is sent to the peer earn the WINDOW_UPDATE frames it will bring."""
        self._noise.earn(body_bytes / 1024)

    def _count_block(self, length: int, flags: int) -> None:
        self._block_bytes += length
        if self._block_bytes > self._settings.max_head_bytes:
            raise _calm("a header block is too large")
        if flags & _END_HEADERS:
            self._block_bytes = 0

    def _spend_noise(self, now_s: float) -> None:
        if not self._noise.spend(now_s):
            raise _calm("too many frames that carry nothing")

    def _spend_reset(self, now_s: float) -> None:
        if not self._resets.spend(now_s):
            raise _calm("too many resets")


def _calm(reason: str) -> AbuseError:
    return AbuseError(ErrorCodes.ENHANCE_YOUR_CALM, reason)
