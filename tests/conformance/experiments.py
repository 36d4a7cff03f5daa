"""What viewers, caches and strangers may ask, once each, with the first rendition.

Nothing here judges: each exchange is filed under a name in `Recording.tried`, and rules look there.
An experiment whose moment does not come before the run is over is not made.

Bounds: `CLIENTS` connections at once; each request as `client` says.
"""

import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from urllib.parse import urljoin, urlsplit

from tests.conformance.client import Client, Exchange
from tests.conformance.playlist import Playlist, parse_media_playlist
from tests.conformance.recording import Media, Position, Recording, Rendition

CLIENTS = 8
HANGUPS = 20
ORIGIN = {"Origin": "https://player.example"}
GZIP = {"Accept-Encoding": "gzip"}
STALL_TARGETS = 5


def query(url: str, msn: int | None = None, part: int | None = None, skip: str = "") -> str:
    """The URL with delivery directives behind any query it has."""
    words = [
        f"{name}={value}"
        for name, value in (("_HLS_msn", msn), ("_HLS_part", part), ("_HLS_skip", skip))
        if value is not None and value != ""
    ]
    return url if not words else f"{url}{'&' if '?' in url else '?'}{'&'.join(words)}"


class Lab:
    """All experiments, on one thread."""

    def __init__(
        self, recording: Recording, insecure: bool, stopping: threading.Event, stall_url: str
    ) -> None:
        self._recording = recording
        self._insecure = insecure
        self._stopping = stopping
        self._stall_url = stall_url
        self._client = Client(insecure=insecure)

    def run(self) -> None:
        """Make them; one that cannot be made ends them, with a remark in the report."""
        try:
            self._run()
        except Exception as error:  # what a strange server gave could not be used
            self._recording.remarks.append(f"experiments ended early: {error!r}")
        self._client.close()

    def _run(self) -> None:
        rendition = self._recording.first
        assert rendition is not None
        if not self._wait(lambda: len(rendition.segments) >= 2 and len(rendition.parts) >= 4, 60):
            return
        self._bad_requests(rendition)
        self._http(rendition)
        for experiment in (
            self._whole_segment,
            self._together,
            self._roll_over,
            self._hang_up,
            self._near,
            self._packed,
        ):
            if not self._stopping.is_set() and not self._now(rendition).ended:
                experiment(rendition)
        if self._stall_url:
            self._stall()

    def _wait(self, condition: Callable[[], bool], timeout_s: float) -> bool:
        deadline_s = time.monotonic() + timeout_s
        while not self._stopping.is_set() and time.monotonic() < deadline_s:
            if condition():
                return True
            time.sleep(0.02)
        return False

    def _now(self, rendition: Rendition) -> Playlist:
        playlist = rendition.latest
        assert playlist is not None
        return playlist

    def _held_s(self, rendition: Rendition) -> float:
        return 4 * min(rendition.target_s, 60.0) + 5

    def _file(self, name: str, *exchanges: Exchange, asked: tuple[Position, ...] = ()) -> None:
        if asked:
            self._recording.asked[name] = asked
        self._recording.tried.setdefault(name, []).extend(exchanges)

    def _try(self, name: str, *urls: str, headers: dict[str, str] | None = None) -> None:
        for url in urls:
            self._file(name, self._client.get(url, headers=headers))

    # Directives that are answered at once.

    def _bad_requests(self, rendition: Rendition) -> None:
        url, playlist = rendition.url, self._now(rendition)
        last, ask = playlist.last_msn, self._try
        ask("BR-07", query(url, 0), query(url, 0, 0), query(url, playlist.media_sequence, 0))
        ask("BR-08", query(url, None, 0))
        ask("BR-09 far", query(url, last + 10), query(url, last + 10, 0))
        msn, part = playlist.next_part
        limit = max(3, -(-3 // max(rendition.part_target_s, 0.01)))
        # Segments end, and indices roll over: the one after the next is surely far.
        ask("BR-10", query(url, msn + 1, int(part + 2 * limit + 1)))
        mark = "&" if "?" in url else "?"
        ask("BR-12", f"{url}{mark}_HLS_msn=abc", f"{url}{mark}_HLS_msn=-1")
        ask("BR-13", f"{url}{mark}utm_source=test&x=%20")
        position = self._now(rendition).last_part or (last, 0)
        ask("BR-15", query(url, *position))
        self._stopping.wait(rendition.part_target_s)
        ask("BR-15", query(url, *position))
        ask("DU-02", query(url, skip="v2"))
        hint = next((item.uri for item in self._now(rendition).hints), "")
        numbers = list(re.finditer(r"\d+", hint))
        if numbers:
            found = numbers[-2] if hint.endswith("mp4") and len(numbers) > 1 else numbers[-1]
            far = f"{int(found[0][:12]) + 50:0{len(found[0])}d}"
            ask("PH-06", rendition.resolve(hint[: found.start()] + far + hint[found.end() :]))

    # HTTP.

    def _http(self, rendition: Rendition) -> None:
        init = next(iter(rendition.inits))
        newest = self._newest(rendition.whole_media())
        part = self._newest([media for _, media in sorted(rendition.parts.items())])
        if newest is None or part is None:
            return
        segment, name = newest.exchange.url, "no-such-segment-0.m4s"
        self._try("cors", rendition.url, init, segment, part.exchange.url, headers=ORIGIN)
        missing, bad = urljoin(rendition.url, name), query(rendition.url, None, 0)
        self._try("cors errors", missing, bad, headers=ORIGIN)
        preflight = ORIGIN | {
            "Access-Control-Request-Method": "GET",
            "Access-Control-Request-Headers": "range",
        }
        self._file("preflight", self._client.get(segment, method="OPTIONS", headers=preflight))
        for url in (rendition.url, segment):
            self._file("head", self._client.get(url, method="HEAD"), self._client.get(url))
        full = self._client.get(segment)
        self._file("range", full)
        for wanted in ("0-99", "-100", f"{full.size_bytes}-"):
            self._try("range", segment, headers={"Range": f"bytes={wanted}"})
        if "etag" in full.headers:
            self._try("conditional", segment, headers={"If-None-Match": full.headers["etag"]})
        self._try("media gzip", segment, part.exchange.url, headers=GZIP)
        folder = urlsplit(self._recording.url).path.rpartition("/")[0].rpartition("/")[0]
        file = urlsplit(self._recording.url).path.rpartition("/")[2]
        stream = urljoin(self._recording.url, f"{folder}/no-such-stream-0/{file}")
        self._try("missing", missing, stream)

    def _newest(self, media: list[Media]) -> Media | None:
        return next((m for m in reversed(media) if m.exchange.status == 200), None)

    # Requests that are held.

    def _whole_segment(self, rendition: Rendition) -> None:
        msn = self._now(rendition).last_msn + 1
        exchange = self._client.get(query(rendition.url, msn), timeout_s=self._held_s(rendition))
        self._file("BR-04", exchange, asked=((msn, -1),))

    def _together(self, rendition: Rendition) -> None:
        found: list[Exchange] = []
        asked: list[Position] = []

        def choose() -> None:
            msn, part = self._now(rendition).next_part
            asked.append((msn, part + 1))

        # They connect first: a TLS handshake may last longer than a part.
        ready = threading.Barrier(CLIENTS, choose)

        def ask() -> None:
            client = Client(insecure=self._insecure)
            client.get(rendition.url)
            with suppress(threading.BrokenBarrierError):
                ready.wait(self._held_s(rendition))
                url = query(rendition.url, *asked[0])
                found.append(client.get(url, timeout_s=self._held_s(rendition)))
            client.close()

        threads = [threading.Thread(target=ask, daemon=True) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if asked:
            self._file("BR-05", *found, asked=(asked[0],))

    def _roll_over(self, rendition: Rendition) -> None:
        """Ask for one part too many, shortly before the segment ends."""

        def near_end() -> bool:
            playlist = self._now(rendition)
            before = [len(segment.parts) for segment in playlist.segments if segment.parts]
            return bool(before) and playlist.next_part[1] == max(1, before[-1] - 2)

        if self._wait(near_end, 5 * rendition.target_s):
            playlist = self._now(rendition)
            before = [len(segment.parts) for segment in playlist.segments if segment.parts]
            position = (playlist.next_part[0], before[-1])
            url = query(rendition.url, *position)
            exchange = self._client.get(url, timeout_s=self._held_s(rendition))
            self._file("BR-06", exchange, asked=(position,))

    def _hang_up(self, rendition: Rendition) -> None:
        for _ in range(HANGUPS):
            msn, part = self._now(rendition).next_part
            client = Client(insecure=self._insecure)
            client.get(query(rendition.url, msn, part + 1), timeout_s=0.02)
            client.close()
        self._try("BR-14", rendition.url)

    def _near(self, rendition: Rendition) -> None:
        msn = self._now(rendition).last_msn + 2
        exchange = self._client.get(query(rendition.url, msn), timeout_s=self._held_s(rendition))
        self._file("BR-09 near", exchange)

    def _packed(self, rendition: Rendition) -> None:
        for where in (rendition.url, query(rendition.url, *self._now(rendition).next_part)):
            self._try("gzip", where, headers=GZIP)
            self._try("identity", where)

    def _stall(self) -> None:
        """A stream that is live, and whose publisher sends nothing."""
        first = self._client.get(self._stall_url)
        playlist = parse_media_playlist(first.inflated)
        limit_s = STALL_TARGETS * min(60, max(1, playlist.target_s))
        url = query(self._stall_url, *playlist.next_part)
        self._file("BR-11", self._client.get(url, timeout_s=limit_s))
