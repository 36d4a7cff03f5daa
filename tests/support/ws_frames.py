"""WebSocket frames for tests, written by hand (RFC 6455, section 5.2): right ones and wrong ones.

Shares no code with `edge`, wsproto or websockets.
"""

from dataclasses import dataclass

TEXT, BINARY, CONTINUATION, CLOSE, PING, PONG = 0x1, 0x2, 0x0, 0x8, 0x9, 0xA

MASK = b"\x11\x22\x33\x44"


def masked(payload: bytes, mask: bytes = MASK) -> bytes:
    """Mask or unmask a payload."""
    return bytes(byte ^ mask[place % 4] for place, byte in enumerate(payload))


def client_frame(
    opcode: int,
    payload: bytes = b"",
    *,
    final: bool = True,
    reserved: int = 0,
    mask: bytes | None = MASK,
    length_code: int | None = None,
    length: int | None = None,
) -> bytes:
    """Write a frame as a client does; each argument can make it wrong.

    Args:
        opcode: Four bits.
        payload: Before masking.
        final: The FIN bit.
        reserved: The three reserved bits, as a number.
        mask: None: not masked.
        length_code: 126 or 127 forces a longer form of the length.
        length: What it says instead of the length of the payload.
    """
    size = len(payload) if length is None else length
    code = length_code or (size if size < 126 else 126 if size < 1 << 16 else 127)
    head = bytes((final << 7 | reserved << 4 | opcode, (mask is not None) << 7 | code))
    if code == 126:
        head += size.to_bytes(2, "big")
    elif code == 127:
        head += size.to_bytes(8, "big")
    return head + (payload if mask is None else mask + masked(payload, mask))


def text(payload: str) -> bytes:
    """A text in one frame."""
    return client_frame(TEXT, payload.encode())


def close(code: int, reason: bytes = b"") -> bytes:
    """A close frame of a client."""
    return client_frame(CLOSE, code.to_bytes(2, "big") + reason)


@dataclass(frozen=True, slots=True)
class ServerFrame:
    """A frame that a server has sent."""

    opcode: int
    payload: bytes

    @property
    def code(self) -> int | None:
        """What a close frame says; None: nothing."""
        return int.from_bytes(self.payload[:2], "big") if self.payload else None


def read_frames(data: bytes) -> tuple[list[ServerFrame], bytes]:
    """Read whole, unmasked, unfragmented frames; the second value is what is behind them."""
    frames = []
    while len(data) >= 2:
        assert data[0] & 0xF0 == 0x80, "a fragment or an extension"
        assert data[1] < 0x80, "a server masks nothing"
        size, head = data[1], 2
        if size >= 126:
            head += 2 if size == 126 else 8
            size = int.from_bytes(data[2:head], "big")
        if len(data) < head + size:
            break
        frames.append(ServerFrame(data[0] & 0x0F, data[head : head + size]))
        data = data[head + size :]
    return frames, data
