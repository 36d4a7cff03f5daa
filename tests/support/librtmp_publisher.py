"""librtmp as a publisher: what rtmpdump, older OBS and many cameras' firmware have inside.

    python librtmp_publisher.py URL FILE.flv

The shared library of Debian's librtmp1 through ctypes: it takes an FLV file's bytes and sends them;
the tags' own times set the pace. Exits with 1 and a line when the server refuses.
"""

import ctypes
import ctypes.util
import sys
import time
from pathlib import Path

TYPE_BYTES, HEADER_BYTES, SIZE_AFTER_BYTES = 1, 11, 4
FLV_HEADER_BYTES = 13


def library() -> str | None:
    """The name to load, None where it is not installed."""
    return ctypes.util.find_library("rtmp")


def publish(url: str, flv: bytes) -> None:
    """Publish a file once, in real time."""
    name = library()
    assert name is not None
    rtmp = ctypes.CDLL(name)
    rtmp.RTMP_Alloc.restype = ctypes.c_void_p
    session = ctypes.c_void_p(rtmp.RTMP_Alloc())
    rtmp.RTMP_Init(session)
    address = ctypes.create_string_buffer(url.encode())  # it keeps pointers into it
    if not rtmp.RTMP_SetupURL(session, address):
        raise SystemExit("librtmp does not take the URL")
    rtmp.RTMP_EnableWrite(session)
    if not (rtmp.RTMP_Connect(session, None) and rtmp.RTMP_ConnectStream(session, 0)):
        raise SystemExit("librtmp was refused")
    began_s = time.monotonic()
    begin, at = 0, FLV_HEADER_BYTES  # it wants the file's header together with the first tag
    while at < len(flv):
        size = HEADER_BYTES + int.from_bytes(flv[at + 1 : at + 4], "big") + SIZE_AFTER_BYTES
        due_ms = int.from_bytes(flv[at + 7 : at + 8] + flv[at + 4 : at + 7], "big")
        time.sleep(max(0.0, began_s + due_ms / 1000 - time.monotonic()))
        _write(rtmp, session, flv[begin : at + size])
        begin = at = at + size
    rtmp.RTMP_Close(session)


def _write(rtmp: ctypes.CDLL, session: ctypes.c_void_p, data: bytes) -> None:
    if rtmp.RTMP_Write(session, data, len(data)) <= 0:
        raise SystemExit("librtmp lost the connection")


if __name__ == "__main__":
    publish(sys.argv[1], Path(sys.argv[2]).read_bytes())
