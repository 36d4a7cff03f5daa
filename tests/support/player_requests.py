"""Request heads as players write them, and a builder of heads of any shape.

Taken from what the programs send (versions in the User-Agent), with our paths and one host name. A
plain head asks for a whole file; an odd one for more, for a range or only if it changed.
"""

PREFIX = b"/api/streams/"


def request_head(request_line: str, *fields: str, end: str = "\r\n") -> bytes:
    """Write a head; `end` ends each line, and the blank one."""
    return "".join(line + end for line in (request_line, *fields, "")).encode("latin-1")


CHROMIUM_PLAYLIST = request_head(
    "GET /api/streams/demo/source/playlist.m3u8?_HLS_msn=1234&_HLS_part=3 HTTP/1.1",
    "Host: live.example.com:8080",
    "Connection: keep-alive",
    'sec-ch-ua-platform: "Linux"',
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
    "Chrome/142.0.0.0 Safari/537.36",
    'sec-ch-ua: "Chromium";v="142", "Not_A Brand";v="99"',
    "sec-ch-ua-mobile: ?0",
    "Accept: */*",
    "Sec-Fetch-Site: same-origin",
    "Sec-Fetch-Mode: cors",
    "Sec-Fetch-Dest: empty",
    "Referer: http://live.example.com:8080/watch/demo",
    "Accept-Encoding: gzip, deflate, br, zstd",
    "Accept-Language: en-US,en;q=0.9",
)

CHROMIUM_PART = request_head(
    "GET /api/streams/demo/source/p7k2.1234.3.m4s?CMCD=bl%3D1900%2Cot%3Dav%2Csf%3Dh%2Cv%3D1 "
    "HTTP/1.1",
    *CHROMIUM_PLAYLIST.decode().split("\r\n")[1:-2],
)

FIREFOX = request_head(
    "GET /api/streams/demo/720p/playlist.m3u8?_HLS_skip=YES&_HLS_part=0&_HLS_msn=77 HTTP/1.1",
    "Host: live.example.com",
    "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
    "Accept: */*",
    "Accept-Language: en-US,en;q=0.5",
    "Accept-Encoding: gzip, deflate",
    "Referer: http://live.example.com/watch/demo",
    "Connection: keep-alive",
    "Priority: u=4",
    "Pragma: no-cache",
    "Cache-Control: no-cache",
)

SAFARI = request_head(
    "GET /api/streams/demo/master.m3u8 HTTP/1.1",
    "Host: live.example.com",
    "X-Playback-Session-Id: 0A7C0D5B-4F1E-4D8E-9E57-9C5B0C9B4E11",
    "Accept: */*",
    "User-Agent: AppleCoreMedia/1.0.0.21G93 (iPhone; U; CPU OS 17_6 like Mac OS X; en_us)",
    "Accept-Language: en-US,en;q=0.9",
    "Accept-Encoding: gzip",
    "Connection: keep-alive",
)

CURL_HEAD = request_head(
    "HEAD /api/streams/demo/source/init.1.mp4 HTTP/1.1",
    "Host: 127.0.0.1:8080",
    "User-Agent: curl/8.14.1",
    "Accept: */*",
)

GSTREAMER = request_head(
    "GET /api/streams/demo/source/ts.m3u8?container=ts HTTP/1.1",
    "Host: 127.0.0.1:8080",
    "icy-metadata: 1",
    "transferMode.dlna.org: Streaming",
    "User-Agent: GStreamer souphttpsrc 1.26.2 libsoup/3.6.5",
    "Accept-Encoding: identity",
    "Connection: Keep-Alive",
)

FFMPEG_UNSEEKABLE = request_head(
    "GET /api/streams/demo/source/s1.1234.m4s HTTP/1.1",
    "User-Agent: Lavf/61.7.100",
    "Accept: */*",
    "Connection: close",
    "Host: 127.0.0.1:8080",
    "Icy-MetaData: 1",
)

EDGE = request_head(
    "GET /api/streams/demo/source/playlist.m3u8?_HLS_msn=9 HTTP/1.1",
    "host: 127.0.0.1:8080",
    "accept: */*",
    "accept-encoding: gzip, deflate",
    "connection: keep-alive",
    "user-agent: python-httpx/0.28.1",
)

FFMPEG = FFMPEG_UNSEEKABLE.replace(b"Connection", b"Range: bytes=0-\r\nConnection")

MPV = FFMPEG.replace(b"Lavf/61.7.100", b"libmpv").replace(b"close", b"keep-alive")

VLC = request_head(
    "GET /api/streams/demo/source/s1.1234.m4s HTTP/1.1",
    "Host: 127.0.0.1:8080",
    "Accept: */*",
    "Accept-Language: en_US",
    "User-Agent: VLC/3.0.21 LibVLC/3.0.21",
    "Range: bytes=0-",
)

CHROMIUM_REVALIDATES = CHROMIUM_PLAYLIST.replace(b"Accept: ", b'If-None-Match: "1f"\r\nAccept: ')

PLAIN_HEADS = {
    "chromium playlist": CHROMIUM_PLAYLIST,
    "chromium part": CHROMIUM_PART,
    "firefox": FIREFOX,
    "safari": SAFARI,
    "curl head": CURL_HEAD,
    "gstreamer": GSTREAMER,
    "ffmpeg unseekable": FFMPEG_UNSEEKABLE,
    "edge": EDGE,
}
"""Heads that ask for a file and for nothing else, by who sends them."""

ODD_HEADS = {
    "ffmpeg": FFMPEG,
    "mpv": MPV,
    "vlc": VLC,
    "chromium revalidates": CHROMIUM_REVALIDATES,
}
"""Heads of players that ask for a range, or only for something new."""
