"""Watches a broadcast and makes a recording of it.

Each rendition has three threads, each with one connection: reloads (so that their times are not
those of anything else), media, and hinted parts. The caller's thread asks for what is due: the
multivariant playlist, delta updates, removed media; another makes the experiments.

Bounds, whatever the server does: `MAX_RENDITIONS` renditions; of each, `MAX_SNAPSHOTS` versions
with `MAX_LISTED` segments in all, `MAX_MEDIA` pieces of media with `MAX_SAMPLES` samples in all,
and `MAX_QUEUED` wanted ones; `DECODED_BYTES` of its media are kept, of the rest only summaries.
Every wait ends (`client`), and the whole run at most `GRACE_S` and four target durations after its
time.
"""

import queue
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace

from tests.conformance.boxes import Fragments, Init, read_fragments, read_init
from tests.conformance.client import Client, Exchange, negotiated_protocol
from tests.conformance.decoder import decode
from tests.conformance.experiments import Lab, query
from tests.conformance.multivariant import parse_multivariant
from tests.conformance.playlist import US, Playlist, Segment, parse_media_playlist
from tests.conformance.recording import Media, Position, Recheck, Recording, Rendition, Snapshot

MAX_RENDITIONS = 16
MAX_SNAPSHOTS = 50_000
MAX_LISTED = 2_000_000
MAX_MEDIA = 20_000
MAX_SAMPLES = 1_000_000
MAX_QUEUED = 1000
MAX_REFUSALS = 1000
MAX_HINTS = 5000
MAX_TARGET_S = 60.0
"""A longer TARGETDURATION is not waited for."""
DECODED_BYTES = 8 * 1024 * 1024
GRACE_S = 30.0

MULTIVARIANT_EVERY_S = 5.0
DELTA_EVERY_S = 3.0
RECHECK_EVERY_S = 2.0
"""Of removed media, of one rendition and kind."""
TAIL_S = 20.0
"""How long the media of an ended broadcast is looked after, at most."""


@dataclass(frozen=True)
class Options:
    """What a run is told."""

    url: str
    seconds: float = 60.0
    wait_start_s: float = 30.0
    wait_end_s: float = 0.0
    stall_url: str = ""
    insecure: bool = False
    max_latency_s: float = 2.0


@dataclass(order=True)
class Due:
    """Media to ask for again."""

    at_s: float
    rule: str = field(compare=False)
    why: str = field(compare=False)
    url: str = field(compare=False)
    digest: str = field(compare=False)


class Follower:
    """The threads of one rendition."""

    def __init__(
        self, rendition: Rendition, insecure: bool, stopping: threading.Event, dues: list[Due]
    ) -> None:
        self.rendition = rendition
        self.ended = threading.Event()
        self._insecure = insecure
        self._stopping = stopping
        self._dues = dues
        self._wanted: queue.Queue[tuple[Segment, int | None, float]] = queue.Queue(MAX_QUEUED)
        self._hints: queue.Queue[str] = queue.Queue(1)
        self._known: dict[Segment, Segment] = {}
        self._seen: set[tuple[int, int | None]] = set()
        self._rechecked_s = {"PT-10": 0.0, "MP-16": 0.0}
        self._longest_us = 0
        self._newest_init = ("", b"")
        self._kept: list[bytes] = []
        self._kept_map = ""
        self._kept_samples = 0
        self._complete = False
        self._samples = 0
        self._listed = 0
        jobs = (self._reload, self._fetch, self._ask_hints)
        self.threads = [threading.Thread(target=job, daemon=True) for job in jobs]
        self.dropped = 0
        """Pieces of media that were listed faster than they could be fetched."""

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    @property
    def is_full(self) -> bool:
        """It was followed to a bound."""
        return self._listed > MAX_LISTED or len(self.rendition.snapshots) >= MAX_SNAPSHOTS

    def decode(self) -> None:
        """Give what was kept to a decoder."""
        if self._kept_samples:
            self.rendition.decoded = decode(b"".join(self._kept), self._kept_samples)

    # Reloads.

    def _reload(self) -> None:
        client = Client(insecure=self._insecure)
        url = self.rendition.url
        playlist: Playlist | None = None
        while not self._stopping.is_set() and not self.is_full:
            wanted = None
            if playlist is not None and ("CAN-BLOCK-RELOAD", "YES") in playlist.control:
                wanted = playlist.next_part
            target_s = min(self.rendition.target_s, MAX_TARGET_S)
            where = url if wanted is None else query(url, *wanted)
            exchange = client.get(where, timeout_s=4 * target_s + 5)
            if exchange.status != 200:
                if len(self.rendition.refusals) < MAX_REFUSALS:
                    self.rendition.refusals.append(exchange.light())
                playlist = None
                self._stopping.wait(0.3)
                continue
            found = parse_media_playlist(exchange.inflated, self._known)
            if len(self._known) > 20_000:
                self._known.clear()
            snapshot = Snapshot(exchange.light(), wanted, found)
            self.rendition.snapshots.append(snapshot)
            self._listed += len(found.all_segments)
            self._look(found, exchange.done_s)
            if found.ended:
                self.ended.set()
                break
            if wanted is None or not found.has(*wanted):
                # Not a busy loop on a server that does not block.
                self._stopping.wait(0.05 if wanted is None and playlist is None else 0.2)
            playlist = found
        client.close()

    def _look(self, playlist: Playlist, came_s: float) -> None:
        """Order what is new; remember what was removed."""
        for segment in playlist.all_segments:
            for index, part in enumerate(segment.parts):
                if not part.gap and not part.byterange:
                    self._order(segment, index, came_s)
            if segment.uri is not None and not segment.gap and not segment.byterange:
                self._order(segment, None, came_s)
        for hint in playlist.hints[:1]:
            if hint.kind == "PART" and hint.start == 0:
                with suppress(queue.Full):
                    self._hints.put_nowait(self.rendition.resolve(hint.uri))
        self._longest_us = max(self._longest_us, playlist.duration_us)
        snapshots = self.rendition.snapshots
        if len(snapshots) > 1:
            self._remember_removed(snapshots[-2].playlist, playlist, came_s)

    def _order(self, segment: Segment, index: int | None, came_s: float) -> None:
        key = (segment.msn, index)
        if key in self._seen or len(self._seen) >= MAX_MEDIA:
            return
        try:
            self._wanted.put_nowait((segment, index, came_s))
            self._seen.add(key)
        except queue.Full:
            self.dropped += 1

    def _remember_removed(self, before: Playlist, after: Playlist, now_s: float) -> None:
        listed = {segment.msn: segment for segment in after.all_segments}
        target_s = min(self.rendition.target_s, MAX_TARGET_S)
        for segment in before.segments:
            now = listed.get(segment.msn)
            if now is None and self._may("MP-16", now_s):
                media = self.rendition.segments.get(segment.msn)
                if media is not None:
                    lasts_s = (segment.duration_us + self._longest_us) / US
                    due_s = max(now_s, media.listed_s + lasts_s - 0.5)
                    # What the first playlist lists was there before: from when is not known.
                    if media.listed_s == self.rendition.snapshots[0].came_s:
                        due_s = now_s
                    self._due(due_s, "MP-16", f"segment {segment.msn} was removed", media)
            elif now is not None and segment.parts and not now.parts and self._may("PT-10", now_s):
                piece = self.rendition.parts.get((segment.msn, len(segment.parts) - 1))
                if piece is not None:
                    due_s = now_s + 3 * target_s - 0.5
                    self._due(due_s, "PT-10", f"tags of {segment.msn} were removed", piece)

    def _may(self, rule: str, now_s: float) -> bool:
        if now_s - self._rechecked_s[rule] < RECHECK_EVERY_S:
            return False
        self._rechecked_s[rule] = now_s
        return True

    def _due(self, at_s: float, rule: str, why: str, media: Media) -> None:
        exchange = media.exchange
        if exchange.status == 200 and len(self._dues) < MAX_QUEUED:
            self._dues.append(Due(at_s, rule, why, exchange.url, exchange.digest))

    # Media.

    def _fetch(self) -> None:
        client = Client(insecure=self._insecure)
        while not (self._stopping.is_set() and self._wanted.empty()):
            try:
                segment, index, listed_s = self._wanted.get(timeout=0.2)
            except queue.Empty:
                continue
            if self._stopping.is_set() and time.monotonic() - listed_s > GRACE_S:
                break
            init = self._init(client, segment)
            uri = segment.uri if index is None else segment.parts[index].uri
            exchange = client.get(self.rendition.resolve(uri or ""))
            fragments = Fragments()
            if exchange.status == 200 and self._samples < MAX_SAMPLES:
                fragments = read_fragments(exchange.body, init)
            self._samples += sum(run.count for run in fragments.runs.values())
            media = Media(segment, index, init, exchange.light(), fragments, listed_s)
            if index is None:
                self.rendition.segments[segment.msn] = media
            else:
                self.rendition.parts[segment.msn, index] = media
                self._keep(media, exchange.body)
        client.close()

    def _init(self, client: Client, segment: Segment) -> Init:
        url = self.rendition.resolve(segment.map_uri or "")
        known = self.rendition.inits.get(url)
        if known is None:
            if segment.map_uri is None or len(self.rendition.inits) >= MAX_QUEUED:
                return Init((), ())
            exchange = client.get(url)
            known = (exchange.light(), read_init(exchange.body))
            self.rendition.inits[url] = known
            self._newest_init = (url, exchange.body)
        return known[1]

    def _keep(self, media: Media, body: bytes) -> None:
        """For the decoder: parts of one init section, from a segment's first part on."""
        url = self.rendition.resolve(media.segment.map_uri or "")
        if not self._kept and media.index == 0 and url == self._newest_init[0]:
            self._kept_map = url
            self._kept.append(self._newest_init[1])
        full = sum(map(len, self._kept)) + len(body) > DECODED_BYTES
        if full or media.exchange.status != 200:
            self._complete = True  # what comes later does not follow
        if self._kept and url == self._kept_map and not self._complete:
            self._kept.append(body)
            self._kept_samples += sum(run.count for run in media.fragments.runs.values())

    # Hints.

    def _ask_hints(self) -> None:
        client = Client(insecure=self._insecure)
        while not self._stopping.is_set() and len(self.rendition.hints) < MAX_HINTS:
            try:
                url = self._hints.get(timeout=0.2)
            except queue.Empty:
                continue
            target_s = min(self.rendition.target_s, MAX_TARGET_S)
            exchange = client.get(url, timeout_s=4 * target_s + 5)
            if not self._stopping.is_set():
                self.rendition.hints.append(exchange.light())
        client.close()


class Recorder:
    """One run.

    Args:
        options: See `Options`.
        say: Is told what happens, a line at a time.
    """

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        self._options = options
        self._say = say
        self._client = Client(insecure=options.insecure)
        self._stopping = threading.Event()
        self._dues: list[Due] = []
        self._followers: dict[str, Follower] = {}
        self.recording = Recording(options.url, max_latency_s=options.max_latency_s)
        self.recording.wall_offset_s = time.time() - time.monotonic()

    def record(self) -> Recording:
        """Watch for the options' time, or until the broadcast ends."""
        options = self._options
        if options.url.startswith("https:"):
            protocol = negotiated_protocol(options.url, insecure=options.insecure)
            self.recording.protocol = protocol
        if not self._wait_start():
            return self.recording
        lab = Lab(self.recording, options.insecure, self._stopping, options.stall_url)
        trials = threading.Thread(target=lab.run, daemon=True)
        trials.start()
        until_s = time.monotonic() + options.seconds
        self._watch(until_s)
        self._watch(time.monotonic() + options.wait_end_s)
        self._get_multivariant()
        if self._all_ended():
            self._after_the_end()
        else:
            self._ask_again()
        self._stopping.set()
        self._join([trials, *(t for f in self._followers.values() for t in f.threads)])
        self._say("decoding and judging")
        for follower in self._followers.values():
            follower.decode()
            if follower.is_full:
                text = f"{follower.rendition.name}: more than a recording holds; it ends early"
                self.recording.remarks.append(text)
            if follower.dropped:
                text = f"{follower.rendition.name}: {follower.dropped} pieces were not fetched"
                self.recording.remarks.append(f"{text}: the server or this machine is too slow")
        self._freeze()
        return self.recording

    def _wait_start(self) -> bool:
        deadline_s = time.monotonic() + self._options.wait_start_s
        while not self._followers:
            exchange = self._get_multivariant()
            if not self._followers:
                if time.monotonic() > deadline_s:
                    self.recording.remarks.append(f"no broadcast: {exchange}")
                    return False
                self._stopping.wait(0.5)
        return True

    def _get_multivariant(self) -> Exchange:
        exchange = self._client.get(self._options.url)
        playlist = parse_multivariant(exchange.inflated, self._options.url)
        if exchange.status == 200 and len(self.recording.multivariants) < MAX_MEDIA:
            self.recording.multivariants.append((exchange.light(), playlist))
            for url, kind in playlist.urls.items():
                if url not in self._followers and len(self._followers) < MAX_RENDITIONS:
                    rendition = self.recording.renditions[url] = Rendition(url, kind)
                    follower = Follower(
                        rendition, self._options.insecure, self._stopping, self._dues
                    )
                    self._followers[url] = follower
                    follower.start()
                    self._say(f"following {url}")
        return exchange

    def _all_ended(self) -> bool:
        return all(follower.ended.is_set() for follower in self._followers.values())

    def _watch(self, until_s: float) -> None:
        multivariant_s = delta_s = time.monotonic()
        while (now_s := time.monotonic()) < until_s and not self._all_ended():
            if now_s - multivariant_s >= MULTIVARIANT_EVERY_S:
                multivariant_s = now_s
                self._get_multivariant()
            if now_s - delta_s >= DELTA_EVERY_S:
                delta_s = now_s
                for rendition in list(self.recording.renditions.values()):
                    self._ask_delta(rendition)
            self._ask_due()
            time.sleep(min(0.1, max(0.0, until_s - now_s)))

    def _ask_delta(self, rendition: Rendition) -> None:
        if rendition.snapshots:
            snapshot = rendition.snapshots[-1]
            exchange = self._client.get(query(rendition.url, skip="YES"))
            delta = parse_media_playlist(exchange.inflated)
            rendition.deltas.append((snapshot, exchange.light(), delta))

    def _ask_due(self) -> None:
        now_s = time.monotonic()
        for due in [due for due in list(self._dues) if due.at_s <= now_s]:
            self._dues.remove(due)
            self._recheck(due.rule, due.why, due.url, due.digest)

    def _recheck(self, rule: str, why: str, url: str, digest: str) -> None:
        exchange = self._client.get(url).light()
        self.recording.rechecks.append(Recheck(rule, why, digest, exchange))

    def _ask_again(self) -> None:
        """Some of what is listed: the bytes must be the same as before."""
        for rendition in self.recording.renditions.values():
            playlist = rendition.latest
            for segment in playlist.segments[-6:] if playlist else ():
                pieces: list[Position | int] = [segment.msn, (segment.msn, 0)]
                for piece in pieces:
                    media = (
                        rendition.segments.get(piece)
                        if isinstance(piece, int)
                        else rendition.parts.get(piece)
                    )
                    if media is not None and media.exchange.status == 200:
                        self._recheck(
                            "MP-15", f"{media} again", media.exchange.url, media.exchange.digest
                        )
            for exchange, _ in list(rendition.inits.values())[-1:]:
                self._recheck("MP-15", "init again", exchange.url, exchange.digest)

    def _after_the_end(self) -> None:
        self._say("the broadcast ended")
        tried = self.recording.tried.setdefault("EN-02", [])
        for rendition in self.recording.renditions.values():
            playlist = rendition.latest
            if playlist is not None:
                tried.append(self._client.get(query(rendition.url, playlist.last_msn + 1, 0)))
                url = query(rendition.url, playlist.last_msn + 1, skip="YES")
                tried.append(self._client.get(url))
        self._ask_again()
        shortest_s = min(
            (r.latest.duration_us / US for r in self.recording.renditions.values() if r.latest),
            default=0.0,
        )
        time.sleep(min(TAIL_S, 0.9 * shortest_s))
        for rendition in self.recording.renditions.values():
            for segment in rendition.latest.segments[-10:] if rendition.latest else ():
                media = rendition.segments.get(segment.msn)
                if media is not None and media.exchange.status == 200:
                    url, digest = media.exchange.url, media.exchange.digest
                    self._recheck("EN-05", f"{media} after the end", url, digest)

    def _join(self, threads: list[threading.Thread]) -> None:
        targets = [f.rendition.target_s for f in self._followers.values()]
        deadline_s = time.monotonic() + GRACE_S + 4 * min(MAX_TARGET_S, max(targets, default=0.0))
        for thread in threads:
            thread.join(max(0.0, deadline_s - time.monotonic()))
        self._client.close()

    def _freeze(self) -> None:
        for rendition in self.recording.renditions.values():
            # Nobody writes any more; what a thread that hangs still adds goes elsewhere.
            self.recording.renditions[rendition.url] = replace(
                rendition,
                snapshots=list(rendition.snapshots),
                hints=list(rendition.hints),
                parts=dict(rendition.parts),
                segments=dict(rendition.segments),
            )
