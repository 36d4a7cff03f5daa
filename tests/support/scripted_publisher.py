"""A publisher in the test process that does what encoders do in bad hours, in real time.

A script is a function of a `Line`: it publishes stretches of clips with the stamps that it likes,
leaves tracks out, hangs up without a word, comes back::

    def script(line: Line) -> None:
        line.connect()
        line.publish(clip, seconds=8)
        line.drop()
        line.rest(10)
        line.connect()
        line.publish(clip, seconds=12)
        line.goodbye()

Bytes come from `rtmp_publishers`; nothing here knows `rtmpcore`.
"""

import socket
import struct
import threading
import time
from collections.abc import Callable

import rtmp_publishers as wire

SEND_TIMEOUT_S = 10.0

Stamp = Callable[[str, int], int]
"""From a frame's kind and its time, in milliseconds, to its stamp; of no kind: the clock itself."""


def _as_sent(_kind: str, at_ms: int) -> int:
    return at_ms


class Line:
    """One encoder's way to the origin; the script's side of it.

    Args:
        address: HOST:PORT of the origin.
        key: The stream key.
        stopping: Set when the script must end.
    """

    def __init__(self, address: str, key: str, stopping: threading.Event) -> None:
        host, _, port = address.rpartition(":")
        self._address = (host, int(port))
        self._key = key
        self._stopping = stopping
        self._socket: socket.socket | None = None
        self._reader: threading.Thread | None = None
        self._media: wire.Media | None = None  # whose headers have been sent
        self.clock_ms = 0
        """Stamp of the next stretch's first frame; scripts may set it."""

    def connect(self) -> None:
        """Connect, shake hands, publish; the encoder's clock begins anew."""
        connection = socket.create_connection(self._address, timeout=SEND_TIMEOUT_S)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket = connection
        self._media = None
        self.clock_ms = 0
        connection.sendall(wire.opening(self._key))
        answer = b""
        while wire.PUBLISH_START not in answer:
            more = connection.recv(65_536)
            if not more or wire.BAD_NAME in answer:
                raise ConnectionError(f"not admitted: {answer[-120:]!r}")
            answer += more

    def publish(
        self,
        media: wire.Media,
        *,
        seconds: float,
        video: bool = True,
        audio: bool = True,
        stamp: Stamp = _as_sent,
    ) -> None:
        """Send the first `seconds` of a clip at its own speed; stamps go on from `clock_ms`.

        Args:
            media: The clip; its sequence headers go before it if the last one's were others.
            seconds: How much of it, at most what there is.
            video: Its pictures are sent.
            audio: Its audio frames are sent.
            stamp: What the stamp of a frame says that is sent at its time.
        """
        assert self._socket is not None
        if self._media is not media:
            self._media = media
            self._socket.sendall(media.headers)
        began_s = time.monotonic()
        offset_ms = self.clock_ms
        build = {"video": wire.video, "audio": wire.audio}
        kinds = {"video": video, "audio": audio}
        for kind, at_ms, body in media.tags:
            if at_ms >= seconds * 1000:
                break
            self.rest(began_s + at_ms / 1000 - time.monotonic())
            if kinds[kind]:
                stamp_ms = (stamp(kind, at_ms) + offset_ms) % 2**32
                self._socket.sendall(build[kind](body, stamp_ms))
        self.rest(began_s + seconds - time.monotonic())
        self.clock_ms = offset_ms + stamp("", round(seconds * 1000))

    def send(self, data: bytes) -> None:
        """Send what is no media."""
        assert self._socket is not None
        self._socket.sendall(data)

    def drop(self) -> None:
        """Lose the connection: a reset, and not a word before."""
        assert self._socket is not None
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()
        self._socket = None

    def goodbye(self) -> None:
        """Unpublish and close, as OBS does when it is told to stop."""
        assert self._socket is not None
        self._socket.sendall(wire.unpublish(self._key))
        self._socket.close()
        self._socket = None

    def rest(self, seconds: float) -> None:
        """Let time pass; the script ends here when it must."""
        if self._stopping.wait(max(0.0, seconds)):
            raise _Stopped

    def close(self) -> None:
        """Leave, however far the script has come."""
        if self._socket is not None:
            self._socket.close()


class _Stopped(Exception):
    pass


class ScriptedPublisher(threading.Thread):
    """Runs a script on a thread, as a context; `error` holds what went wrong.

    Args:
        address: HOST:PORT of the origin.
        key: The stream key.
        script: What to do.
    """

    def __init__(self, address: str, key: str, script: Callable[[Line], None]) -> None:
        super().__init__(name="scripted-publisher", daemon=True)
        self.error: Exception | None = None
        self._stopping = threading.Event()
        self._line = Line(address, key, self._stopping)
        self._script = script

    def run(self) -> None:
        """Do what the script says."""
        try:
            self._script(self._line)
        except _Stopped:
            pass
        except Exception as error:
            self.error = error
        finally:
            self._line.close()

    def __enter__(self) -> "ScriptedPublisher":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self.join(SEND_TIMEOUT_S)
