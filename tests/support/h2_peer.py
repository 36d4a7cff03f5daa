"""An HTTP/2 client for tests: frames out, frames in, over any Trio stream.

It knows the layout of frames (hyperframe) and HPACK, and nothing of what is legal: a test may send
what no client would. It shares no code with `edge`, nor the state machine of `h2`. What it does by
itself is what a peer must do: acknowledge SETTINGS, and open windows again, unless told not to.
"""

from collections import defaultdict
from collections.abc import Mapping

import hpack
import trio
from http_peers import HttpAnswer
from hyperframe.frame import (
    ContinuationFrame,
    DataFrame,
    ExtensionFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

NO_ERROR, PROTOCOL_ERROR, FRAME_SIZE_ERROR, REFUSED_STREAM, CANCEL = 0, 1, 6, 7, 8
ENHANCE_YOUR_CALM, HTTP_1_1_REQUIRED = 11, 13


def unknown_frame(kind: int, body: bytes, *, stream_id: int = 0, flags: int = 0) -> ExtensionFrame:
    """Make a frame of a type that hyperframe does not know."""
    frame = ExtensionFrame(kind, stream_id, flag_byte=flags, body=body)
    frame.body_len = len(body)
    return frame


class H2Peer:
    """A client on one connection.

    Args:
        stream: Its end of the connection.
        opens_windows: Give back at once what DATA took from the windows.
    """

    def __init__(self, stream: trio.abc.Stream, *, opens_windows: bool = True) -> None:
        self.stream = stream
        self.opens_windows = opens_windows
        self.encoder = hpack.Encoder()
        self.server_settings: dict[int, int] = {}
        """As the server has announced them."""
        self.frames: list[Frame] = []
        """All that came, in order."""
        self.resets: dict[int, int] = {}
        """Error codes of streams that the server has reset."""
        self.goaway: GoAwayFrame | None = None
        """The last one."""
        self.heads: dict[int, list[tuple[str, str]]] = {}
        """Decoded fields of each stream's last HEADERS."""
        self.bodies: defaultdict[int, bytearray] = defaultdict(bytearray)
        self.ended: set[int] = set()
        self._decoder = hpack.Decoder()
        self._received = bytearray()
        self._next_id = 1

    async def start(self, settings: Mapping[int, int] | None = None) -> None:
        """Send the preface and SETTINGS."""
        first = SettingsFrame(0, settings=dict(settings or {}))
        await self.stream.send_all(PREFACE + first.serialize())

    async def send(self, *frames: Frame | bytes) -> None:
        """Send frames in one piece."""
        await self.stream.send_all(
            b"".join([f if isinstance(f, bytes) else f.serialize() for f in frames])
        )

    def head(
        self,
        path: str,
        *,
        method: str = "GET",
        fields: Mapping[str, str] | None = None,
        end: bool = True,
        stream_id: int | None = None,
    ) -> HeadersFrame:
        """Make HEADERS of a request, on the next stream unless told which."""
        if stream_id is None:
            stream_id, self._next_id = self._next_id, self._next_id + 2
        block = self.encoder.encode(
            [
                (":method", method),
                (":scheme", "https"),
                (":authority", "test"),
                (":path", path),
                *(fields or {}).items(),
            ]
        )
        frame = HeadersFrame(stream_id, data=block, flags=["END_HEADERS"])
        if end:
            frame.flags.add("END_STREAM")
        return frame

    async def ask(
        self, path: str, *, method: str = "GET", fields: Mapping[str, str] | None = None
    ) -> int:
        """Send a request without a body; return its stream."""
        frame = self.head(path, method=method, fields=fields)
        await self.send(frame)
        return frame.stream_id

    async def get(
        self, path: str, *, method: str = "GET", fields: Mapping[str, str] | None = None
    ) -> HttpAnswer:
        """Send a request without a body and read its answer."""
        return await self.answer(await self.ask(path, method=method, fields=fields))

    async def post(
        self, path: str, body: bytes, *, fields: Mapping[str, str] | None = None
    ) -> HttpAnswer:
        """Send a request with a body in frames of up to 10,000 bytes, and read its answer."""
        head = self.head(path, method="POST", fields=fields, end=False)
        pieces = [body[at : at + 10_000] for at in range(0, len(body), 10_000)] or [b""]
        frames = [DataFrame(head.stream_id, data=piece) for piece in pieces]
        frames[-1].flags.add("END_STREAM")
        await self.send(head, *frames)
        return await self.answer(head.stream_id)

    async def answer(self, stream_id: int) -> HttpAnswer:
        """Read until a stream's answer is complete.

        Raises:
            EOFError: The server closed, or reset the stream, before.
        """
        while stream_id not in self.ended:
            if stream_id in self.resets:
                raise EOFError(f"stream {stream_id} was reset: {self.resets[stream_id]}")
            await self.frame()
        fields = dict(self.heads[stream_id])
        return HttpAnswer(int(fields[":status"]), fields, bytes(self.bodies[stream_id]))

    async def reset_code(self, stream_id: int) -> int:
        """Read until the server resets a stream; return the code."""
        while stream_id not in self.resets:
            await self.frame()
        return self.resets[stream_id]

    async def end_code(self) -> int:
        """Read until the server closes the connection; return what its last GOAWAY said."""
        try:
            while True:
                await self.frame()
        except EOFError:
            pass
        assert self.goaway is not None, "closed without GOAWAY"
        return int(self.goaway.error_code)

    async def frame(self) -> Frame:
        """Read the next frame, note what it says, and do what a peer must.

        Raises:
            EOFError: The server closed.
        """
        while len(self._received) < 9:
            await self._more()
        frame, length = Frame.parse_frame_header(memoryview(bytes(self._received[:9])))
        while len(self._received) < 9 + length:
            await self._more()
        frame.parse_body(memoryview(bytes(self._received[9 : 9 + length])))
        del self._received[: 9 + length]
        self.frames.append(frame)
        await self._note(frame, length)
        return frame

    async def _note(self, frame: Frame, length: int) -> None:
        match frame:
            case SettingsFrame():
                if "ACK" not in frame.flags:
                    self.server_settings |= frame.settings
                    await self.send(SettingsFrame(0, flags=["ACK"]))
            case HeadersFrame() | ContinuationFrame():
                assert "END_HEADERS" in frame.flags, "an answer's head takes one frame"
                self.heads[frame.stream_id] = [
                    (str(name), str(value)) for name, value in self._decoder.decode(frame.data)
                ]
            case DataFrame():
                self.bodies[frame.stream_id] += frame.data
                if self.opens_windows and length:
                    await self.send(
                        WindowUpdateFrame(0, window_increment=length),
                        WindowUpdateFrame(frame.stream_id, window_increment=length),
                    )
            case RstStreamFrame():
                self.resets[frame.stream_id] = frame.error_code
            case GoAwayFrame():
                self.goaway = frame
        if isinstance(frame, HeadersFrame | DataFrame) and "END_STREAM" in frame.flags:
            self.ended.add(frame.stream_id)

    async def _more(self) -> None:
        try:
            data = await self.stream.receive_some()
        except trio.BrokenResourceError:
            data = b""
        if not data:
            raise EOFError("the server closed the connection")
        self._received += data
