"""A recording of a broadcast that breaks no rule, made by hand; the tests plant faults in it.

Two sizes of video and one of audio, TD 2 s, PT 0.5 s, ten pictures and ten sound frames a second. A
window of ten segments slides from 0 to 15: at 12 the publisher comes back with another size, part 2
of segment 14 is a gap, and after 15 the broadcast ends. `Snapshot.exchange` keeps its body here, so
that a fault can be planted in the text (`edit`).
"""

import gzip
import pickle
import struct
from collections.abc import Callable
from dataclasses import replace
from functools import cache

from tests.conformance.boxes import Fragments, Init, read_fragments, read_init
from tests.conformance.client import Exchange
from tests.conformance.multivariant import parse_multivariant
from tests.conformance.playlist import Playlist, parse_media_playlist
from tests.conformance.recording import (
    Media,
    Position,
    Recheck,
    Recording,
    Rendition,
    Snapshot,
)

BASE = "http://host/live/"
NAMES = ("high", "low", "sound")
TARGET_S, PART_S, PARTS, WINDOW, LAST, BREAK, GAP = 2, 0.5, 4, 10, 15, 12, (14, 2)
FIRST_SEEN = (9, 3)
"""Last part of the first version that is seen."""
EPOCH_S = 1_767_225_600
"""2026-01-01T00:00:00Z, the date of presentation time 0 of the first epoch."""
WALL_OFFSET_S = EPOCH_S - 1000.0
"""Monotonic second 1000 is that instant."""
FRAMES, SCALE = 5, 1000
"""Of a part, and ticks of a second."""

HEADERS = {
    "content-type": "application/vnd.apple.mpegurl",
    "cache-control": "public, max-age=0, s-maxage=1",
    "access-control-allow-origin": "*",
    "vary": "Accept-Encoding",
}
MEDIA_HEADERS = {
    "content-type": "video/mp4",
    "cache-control": "public, max-age=86400",
    "access-control-allow-origin": "*",
    "etag": '"1"',
    "accept-ranges": "bytes",
}
MULTIVARIANT = """#EXTM3U
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="a",NAME="Sound",DEFAULT=YES,CHANNELS="2",URI="sound/p.m3u8"
#EXT-X-STREAM-INF:BANDWIDTH=90000,AVERAGE-BANDWIDTH=80000,CODECS="avc1.42C01F,mp4a.40.2",\
RESOLUTION=640x360,FRAME-RATE=10.000,AUDIO="a"
high/p.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=90000,AVERAGE-BANDWIDTH=80000,CODECS="avc1.42C01F,mp4a.40.2",\
RESOLUTION=320x180,FRAME-RATE=10.000,AUDIO="a"
low/p.m3u8
"""


# Media.


def box(kind: bytes, *payload: bytes) -> bytes:
    data = b"".join(payload)
    return struct.pack(">I4s", len(data) + 8, kind) + data


def full(kind: bytes, word: int, *payload: bytes) -> bytes:
    return box(kind, struct.pack(">I", word), *payload)


def _entry(video: bool, size: tuple[int, int]) -> bytes:
    if video:
        head = bytes(24) + struct.pack(">2H", *size) + bytes(50)
        return box(b"avc1", head, box(b"avcC", b"\x01\x42\xc0\x1f\xff\xe0\x00"))
    config = b"\x04\x11\x40\x15" + bytes(11) + b"\x05\x02\x12\x10"
    return box(b"mp4a", bytes(28), full(b"esds", 0, b"\x03\x16\x00\x01\x00", config))


def init_bytes(video: bool, size: tuple[int, int], *, duration: int = 0) -> bytes:
    """An initialization section of one track."""
    empty = [full(kind, 0, bytes(4)) for kind in (b"stts", b"stsc", b"stco")]
    stsd = full(b"stsd", 0, struct.pack(">I", 1), _entry(video, size))
    stbl = box(b"stbl", stsd, *empty, full(b"stsz", 0, bytes(8)))
    width, height = size
    tkhd = (
        struct.pack(">5I", 0, 0, 1, 0, 0)
        + bytes(52)
        + struct.pack(">2I", width << 16, height << 16)
    )
    handler = b"vide" if video else b"soun"
    mdia = box(
        b"mdia",
        full(b"mdhd", 0, struct.pack(">4I", 0, 0, SCALE, 0), bytes(4)),
        full(b"hdlr", 0, bytes(4), handler, bytes(13)),
        box(b"minf", stbl),
    )
    moov = box(
        b"moov",
        full(b"mvhd", 0, struct.pack(">4I", 0, 0, SCALE, duration), bytes(80)),
        box(b"trak", full(b"tkhd", 3, tkhd), mdia),
        box(b"mvex", full(b"trex", 0, struct.pack(">5I", 1, 1, 0, 0, 0))),
    )
    return box(b"ftyp", b"iso6", bytes(4), b"iso6cmfc") + moov


def fragment_bytes(
    sequence: int, start: int, *, video: bool, first_key: bool, fill: int, lie: bool = False
) -> bytes:
    """One part: `FRAMES` samples of a tenth of a second."""
    rows, samples = [], []
    for index in range(FRAMES):
        key = not video or (first_key and index == 0)
        nal = bytes([0x65 if key != lie else 0x41]) if video else b"\x21"
        samples.append(struct.pack(">I", 80) + nal + bytes([fill % 256]) * 79)
        flags = 0x02000000 if key else 0x01010000
        rows.append(struct.pack(">3I", SCALE // 10, len(samples[-1]), flags))

    def moof(offset: int) -> bytes:
        return box(
            b"moof",
            full(b"mfhd", 0, struct.pack(">I", sequence)),
            box(
                b"traf",
                full(b"tfhd", 0x020000, struct.pack(">I", 1)),
                full(b"tfdt", 0x01000000, struct.pack(">Q", start)),
                full(b"trun", 0x701, struct.pack(">Ii", FRAMES, offset), *rows),
            ),
        )

    return moof(len(moof(0)) + 8) + box(b"mdat", *samples)


def size_of(name: str, msn: int) -> tuple[int, int]:
    """Pictures change their size at the break."""
    if name == "sound":
        return (0, 0)
    width, height = (640, 360) if name == "high" else (320, 180)
    return (width, height) if msn >= BREAK else (width // 2, height // 2)


def start_of(msn: int, index: int = 0) -> int:
    """Ticks; the second epoch begins at 100 s."""
    first, base = (0, 0) if msn < BREAK else (BREAK, 100 * SCALE)
    return base + ((msn - first) * PARTS + index) * SCALE // 2


def date_of(msn: int) -> float:
    return EPOCH_S + msn * TARGET_S


def part_bytes(name: str, msn: int, index: int, **changes: bool) -> bytes:
    return fragment_bytes(
        msn * PARTS + index + 1,
        start_of(msn, index),
        video=name != "sound",
        first_key=index == 0,
        fill=msn * PARTS + index,
        **changes,
    )


@cache
def init_of(name: str, msn: int) -> Init:
    return read_init(init_bytes(name != "sound", size_of(name, msn)))


def fragments_of(name: str, msn: int, index: int | None) -> Fragments:
    """Parsed anew each time: tests change it."""
    which = range(PARTS) if index is None else (index,)
    data = b"".join(part_bytes(name, msn, i) for i in which)
    return read_fragments(data, init_of(name, msn))


# Playlists.


def part_line(name: str, msn: int, index: int) -> str:
    flag = ",INDEPENDENT=YES" if name == "sound" or index == 0 else ""
    flag = ",GAP=YES" if (msn, index) == GAP else flag
    return f'#EXT-X-PART:DURATION=0.500000,URI="{msn}.{index}.mp4"{flag}\n'


def playlist_text(name: str, last: Position, *, ended: bool = False, skip: int = 0) -> str:
    """The version whose newest part is `last`."""
    newest = last[0] if last[1] == PARTS - 1 else last[0] - 1
    first = max(0, newest - WINDOW + 1)
    discontinuities = int(first > BREAK)
    lines = (
        f"#EXTM3U\n#EXT-X-VERSION:9\n#EXT-X-TARGETDURATION:{TARGET_S}\n"
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.5,HOLD-BACK=6,"
        "CAN-SKIP-UNTIL=12\n#EXT-X-PART-INF:PART-TARGET=0.5\n"
        f"#EXT-X-MEDIA-SEQUENCE:{first}\n#EXT-X-DISCONTINUITY-SEQUENCE:{discontinuities}\n"
    )
    if skip:
        lines += f"#EXT-X-SKIP:SKIPPED-SEGMENTS={skip}\n"
    for msn in range(first + skip, last[0] + 1):
        if msn == BREAK:
            lines += "#EXT-X-DISCONTINUITY\n"
        if msn in (first + skip, BREAK):
            lines += f'#EXT-X-MAP:URI="init{int(msn >= BREAK)}.mp4"\n'
        minute, second = divmod(msn * TARGET_S, 60)
        lines += f"#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:{minute:02d}:{second:02d}.000Z\n"
        count = PARTS if msn < last[0] else last[1] + 1
        if msn > newest - 3:
            lines += "".join(part_line(name, msn, index) for index in range(count))
        if msn <= newest:
            lines += "#EXT-X-GAP\n" if msn == GAP[0] else ""
            lines += f"#EXTINF:2.000000,\n{msn}.m4s\n"
    for other in NAMES:
        if other != name:
            lines += (
                f'#EXT-X-RENDITION-REPORT:URI="../{other}/p.m3u8",'
                f"LAST-MSN={last[0]},LAST-PART={last[1]}\n"
            )
    if ended:
        return lines + "#EXT-X-ENDLIST\n"
    msn, index = follower(last)
    return lines + f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{msn}.{index}.mp4"\n'


def follower(position: Position) -> Position:
    msn, index = position
    return (msn, index + 1) if index < PARTS - 1 else (msn + 1, 0)


def released_s(position: Position) -> float:
    """When a part is there: as soon as its last sample has come, and 50 ms."""
    msn, index = position
    return 1000 + msn * TARGET_S + (index + 1) * PART_S + 0.05


# The recording.


def exchange(
    url: str,
    status: int = 200,
    body: bytes = b"",
    *,
    method: str = "GET",
    asked_s: float = 1030.0,
    done_s: float = 1030.01,
    media: bool = False,
    **headers: str,
) -> Exchange:
    """An answer; header names have underscores here."""
    named = dict(MEDIA_HEADERS if media else HEADERS)
    if status >= 400:
        named["cache-control"] = "public, max-age=1"
    named |= {name.replace("_", "-"): text for name, text in headers.items()}
    digest = body.hex()[:64] + str(len(body))
    return Exchange(
        method, BASE + url, status, named, body, len(body), digest, asked_s, done_s, done_s
    )


def _rendition(name: str) -> Rendition:
    rendition = Rendition(f"{BASE}{name}/p.m3u8", "audio" if name == "sound" else "video")
    position, asked_s = FIRST_SEEN, 1019.99
    wanted: Position | None = None
    while position <= (LAST, PARTS - 1):
        done_s = max(asked_s + 0.01, released_s(position))
        _add(rendition, name, wanted, asked_s, done_s, playlist_text(name, position))
        position = wanted = follower(position)
        asked_s = done_s
    text = playlist_text(name, (LAST, PARTS - 1), ended=True)
    _add(rendition, name, wanted, asked_s, asked_s + 0.3, text)
    for msn in range(LAST + 1):
        init_url = f"{rendition.url[: -len('p.m3u8')]}init{int(msn >= BREAK)}.mp4"
        init = init_of(name, msn)
        rendition.inits[init_url] = (exchange(f"{name}/init.mp4", media=True), init)
        listed = [s for snap in rendition.snapshots for s in snap.playlist.segments if s.msn == msn]
        if not listed or msn == GAP[0]:
            continue
        body = b"".join(part_bytes(name, msn, index) for index in range(PARTS))
        segment = max(listed, key=lambda segment: len(segment.parts))
        rendition.segments[msn] = _media(name, segment_of=segment, index=None, body=body)
        for index in range(len(segment.parts)):
            data = part_bytes(name, msn, index)
            rendition.parts[msn, index] = _media(name, segment_of=segment, index=index, body=data)
            if msn > FIRST_SEEN[0]:
                came_s = released_s((msn, index))
                rendition.hints.append(
                    exchange(f"{name}/{msn}.{index}.mp4", body=data, done_s=came_s, media=True)
                )
    full_version = rendition.snapshots[-2]
    last = (LAST, PARTS - 1)
    delta = parse_media_playlist(playlist_text(name, last, skip=3).encode())
    rendition.deltas.append((full_version, exchange(f"{name}/p.m3u8?_HLS_skip=YES"), delta))
    rendition.decoded = (100, 100, "")
    return rendition


def _media(name: str, *, segment_of: object, index: int | None, body: bytes) -> Media:
    segment = segment_of
    msn: int = segment.msn  # type: ignore[attr-defined]
    uri = f"{name}/{msn}.m4s" if index is None else f"{name}/{msn}.{index}.mp4"
    return Media(
        segment,  # type: ignore[arg-type]
        index,
        init_of(name, msn),
        exchange(uri, body=body, media=True),
        fragments_of(name, msn, index),
    )


def _add(
    rendition: Rendition,
    name: str,
    wanted: Position | None,
    asked_s: float,
    done_s: float,
    text: str,
) -> None:
    body = text.encode()
    came = exchange(f"{name}/p.m3u8", body=body, asked_s=asked_s, done_s=done_s)
    rendition.snapshots.append(Snapshot(came, wanted, parse_media_playlist(body)))


def healthy() -> Recording:
    """Everything that can be seen, and nothing wrong; the caller's own."""
    recording: Recording = pickle.loads(_pickled())
    return recording


@cache
def _pickled() -> bytes:
    return pickle.dumps(_made())


def _made() -> Recording:
    recording = Recording(BASE + "master.m3u8", wall_offset_s=WALL_OFFSET_S, protocol="h2")
    body = MULTIVARIANT.encode()
    for _ in range(2):
        came = exchange("master.m3u8", body=body)
        recording.multivariants.append((came, parse_multivariant(body, recording.url)))
    for name in NAMES:
        rendition = _rendition(name)
        recording.renditions[rendition.url] = rendition
    high = recording.renditions[f"{BASE}high/p.m3u8"]
    for rule in ("MP-15", "MP-16", "PT-10", "EN-05"):
        again = next(iter(high.segments.values())).exchange
        recording.rechecks.append(Recheck(rule, "again", again.digest, again))
    url, last = "high/p.m3u8", (LAST, PARTS - 1)
    now = playlist_text("high", last).encode()
    end = playlist_text("high", last, ended=True).encode()
    ok = exchange(url, body=now)
    bad = exchange(url, 400)
    missing = exchange("high/none.m4s", 404)
    whole = bytes(range(250)) * 2
    segment = exchange("high/9.m4s", body=whole, media=True)
    head = replace(segment, method="HEAD", body=b"", size_bytes=0)
    head = replace(head, headers={**head.headers, "content-length": "500"})
    recording.tried |= {
        "BR-04": [ok],
        "BR-05": [ok] * 8,
        "BR-06": [ok],
        "BR-07": [ok],
        "BR-08": [bad],
        "BR-09 far": [bad],
        "BR-09 near": [ok],
        "BR-10": [bad],
        "BR-11": [exchange(url, 503)],
        "BR-12": [bad],
        "BR-13": [ok],
        "BR-14": [ok],
        "BR-15": [ok, ok],
        "DU-02": [ok],
        "PH-06": [missing],
        "EN-02": [exchange(url, body=end)],
        "gzip": [packed(ok)],
        "identity": [ok],
        "media gzip": [segment],
        "cors": [ok, segment],
        "cors errors": [missing, bad],
        "preflight": [exchange(url, 204, method="OPTIONS", access_control_allow_headers="Range")],
        "head": [replace(ok, method="HEAD", body=b"", size_bytes=0), ok, head, segment],
        "range": [
            segment,
            exchange(url, 206, whole[:100], content_range="bytes 0-99/500"),
            exchange(url, 206, whole[-100:], content_range="bytes 400-499/500"),
            exchange(url, 416),
        ],
        "conditional": [exchange(url, 304)],
        "missing": [missing],
    }
    recording.asked |= {"BR-04": ((LAST, -1),), "BR-05": (last,), "BR-06": (last,)}
    return recording


def packed(answer: Exchange) -> Exchange:
    """The same in gzip."""
    body = gzip.compress(answer.body)
    headers = {**answer.headers, "content-encoding": "gzip"}
    return replace(answer, body=body, size_bytes=len(body), headers=headers)


# Planting.


def edit(rendition: Rendition, change: Callable[[str], str], *versions: int) -> None:
    """Change the text of some versions, by index; of all without one."""
    for index in versions or range(len(rendition.snapshots)):
        snapshot = rendition.snapshots[index]
        body = change(snapshot.exchange.body.decode()).encode()
        rendition.snapshots[index] = replace(
            snapshot,
            exchange=replace(snapshot.exchange, body=body),
            playlist=parse_media_playlist(body),
        )


def alter(rendition: Rendition, index: int, **fields: object) -> Playlist:
    """Change fields of one version."""
    snapshot = rendition.snapshots[index]
    playlist = replace(snapshot.playlist, **fields)  # type: ignore[arg-type]
    rendition.snapshots[index] = replace(snapshot, playlist=playlist)
    return playlist
