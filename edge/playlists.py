"""The newest version of each media playlist that an edge has seen, in both forms.

Blocking reloads name what they wait for, so one version answers all requests for what it already
has, under whatever URL: nothing older than the newest is kept. Each version has a `Life` that ends
with the next one or after a time; until then it is *fresh*. After that it is kept for a while, and
is what a plain request gets when no upstream can be asked (`stale`): a player sees no news, and
asks again. A blocking request never gets a version without what it asked for.

A version is the same text in two answers, for they may be cached for different times: the plain
URL's, and that of a URL that names what it waits for.

When a broadcast of another name turns up under a stream, nothing of the one before is right any
more, in any of its renditions.

Synchronous; time is passed in. Bounds: `max_bytes` of text, with `ENTRY_BYTES` for each rendition;
the one that was touched least recently goes first.

May import: `edge.hls_response`, `edge.http.response`, `edge.life`, `edge.lifetimes`,
`edge.outline`, `hls.request`. Spec: rfc8216bis-22, section 6.2.5.2 and Appendix B.1.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from edge.hls_response import playlist_response
from edge.http.response import Response
from edge.life import Life
from edge.lifetimes import Lifetimes
from edge.outline import Outline, read_outline
from hls.request import Directives

ENTRY_BYTES = 4096
"""What a rendition takes besides its texts."""

STALE_TARGETS = 3
"""Target durations for which a version is better than nothing: as long as a server may go without
news before players are told so (6.2.5.2)."""

STALE_KEPT_S = 1.0
"""How long such an answer is kept; then somebody asks the upstream again."""

PLAIN_KEPT_S = 1.0
"""How long a version that is not followed may stand for the newest, at most; and half a target
duration (B.1)."""


@dataclass(slots=True, eq=False)
class Version:
    """One state of one playlist in one form."""

    outline: Outline
    text: bytes
    etag: str
    received_s: float
    life: Life
    plain: Response
    waited: Response


@dataclass(slots=True, eq=False)
class Rendition:
    """What is known of one media playlist."""

    versions: dict[bool, Version] = field(default_factory=dict)
    """The newest, by whether it is a delta update."""
    asked_s: dict[bool, float] = field(default_factory=dict)
    """When a viewer last asked for what comes next, by the same."""
    size_bytes: int = ENTRY_BYTES

    @property
    def newest(self) -> Version | None:
        """The one that came last."""
        return max(self.versions.values(), key=lambda one: one.received_s, default=None)


class Playlists:
    """Media playlists by path.

    Args:
        lifetimes: Ends the lives of versions.
        max_bytes: Of all texts together.
        on_new_broadcast: Called with a stream's path when everything that was said of it is void.
    """

    def __init__(
        self,
        lifetimes: Lifetimes,
        *,
        max_bytes: int,
        on_new_broadcast: Callable[[str], object] = lambda _stream: None,
    ) -> None:
        self._lifetimes = lifetimes
        self._max_bytes = max_bytes
        self._on_new_broadcast = on_new_broadcast
        self._renditions: OrderedDict[str, Rendition] = OrderedDict()
        self._streams: dict[str, set[str]] = {}
        self.size_bytes = 0
        """Of all texts, and their tables."""

    def __len__(self) -> int:
        return len(self._renditions)

    def get(self, path: str) -> Rendition | None:
        """Return what is known of a playlist."""
        return self._renditions.get(path)

    def find(self, path: str, directives: Directives, now_s: float) -> Response | None:
        """Answer a request from the newest version, if that is fresh and has what is asked for."""
        rendition = self._renditions.get(path)
        if rendition is None:
            return None
        self._renditions.move_to_end(path)
        version = rendition.versions.get(directives.skip)
        if directives.msn is None:
            return version.plain if version is not None and not version.life.ended else None
        rendition.asked_s[directives.skip] = now_s
        if version is None or version.life.ended:
            return None
        return version.waited if version.outline.has(directives.msn, directives.part) else None

    def newest(self, path: str, skip: bool) -> Version | None:
        """Return the newest version in one form, fresh or not."""
        rendition = self._renditions.get(path)
        return None if rendition is None else rendition.versions.get(skip)

    def target_s(self, path: str) -> int | None:
        """Return a playlist's target duration, seconds; None if it is not known."""
        rendition = self._renditions.get(path)
        version = None if rendition is None else rendition.newest
        return None if version is None else version.outline.target_duration_s

    def is_hinted(self, path: str, name: str) -> bool:
        """Whether a playlist names this part as the next one."""
        rendition = self._renditions.get(path)
        versions = () if rendition is None else rendition.versions.values()
        return any(version.outline.hint == name for version in versions)

    def has_stale(self, path: str, directives: Directives, now_s: float) -> bool:
        """Whether a plain request could be answered from a version that is not fresh any more."""
        version = self.newest(path, directives.skip)
        return (
            version is not None
            and directives.msn is None
            and now_s - version.received_s <= STALE_TARGETS * version.outline.target_duration_s
        )

    def stale(self, path: str, directives: Directives, now_s: float) -> Response | None:
        """Answer a plain request from a version that is not fresh any more, while it may be."""
        version = self.newest(path, directives.skip)
        if version is None or not self.has_stale(path, directives, now_s):
            return None
        life = self._lifetimes.begin(now_s + STALE_KEPT_S)
        answer = _answer(version.outline, version.text, version.etag, life, waited=False)
        return answer.protected() if version.plain.is_protected else answer

    def take(
        self,
        path: str,
        directives: Directives,
        text: bytes,
        *,
        etag: str | None,
        kept_s: float,
        is_followed: bool,
        is_protected: bool = False,
        now_s: float,
    ) -> Response | None:
        """Keep a version that an upstream has sent, and return the answer to who asked for it.

        Args:
            path: Of the playlist.
            directives: What was asked.
            text: The body.
            etag: The upstream's strong tag, with its quotes; one is made if there is none.
            kept_s: How long the upstream lets it be kept.
            is_followed: The edge itself asks for the next version, and will have it in time.
            is_protected: Its answers are for those who are admitted.
            now_s: Now.

        Returns:
            An answer that is not older than any given before, or None if the text is not a playlist
            that can be kept.
        """
        outline = read_outline(text)
        if outline is None:
            return None
        known = self._renditions.get(path)
        newest = None if known is None else known.newest
        if newest is not None and newest.outline.broadcast != outline.broadcast:
            self.forget(stream_of(path))
            self._on_new_broadcast(stream_of(path))
        rendition = self._rendition(path)
        skip, waited = directives.skip, directives.msn is not None
        last = rendition.versions.get(skip)
        if last is not None and not last.life.ended and last.outline.last_part > outline.last_part:
            return last.waited if waited else last.plain  # an upstream that lags behind another
        target_s = outline.target_duration_s
        fresh_s = min(kept_s, target_s if is_followed else min(PLAIN_KEPT_S, target_s / 2))
        life = self._lifetimes.begin(now_s + fresh_s)
        tag = etag or f'"{hashlib.sha256(text).hexdigest()[:32]}"'
        answer = partial(_answer, outline, text, tag, life)
        plain, answer_waited = answer(waited=False), answer(waited=True)
        if is_protected:
            plain, answer_waited = plain.protected(), answer_waited.protected()
        version = Version(outline, text, tag, now_s, life, plain, answer_waited)
        rendition.versions[skip] = version
        self._grow(rendition, len(text) - (0 if last is None else len(last.text)))
        if last is not None:
            last.life.end()
        other = rendition.versions.get(not skip)
        if (
            other is not None
            and other.outline.last_part < outline.last_part
            and now_s - other.received_s >= min(PLAIN_KEPT_S, target_s / 2)
        ):
            other.life.end()  # nobody follows that form any more
        return version.waited if waited else version.plain

    def was_live(self, stream: str, path: str | None, now_s: float, within_s: float) -> bool:
        """Whether a playlist has gone on within the last seconds, or if None any of a stream."""
        paths = self._streams.get(stream, ()) if path is None else (path,)
        known = [self._renditions[one] for one in paths if one in self._renditions]
        newest = [rendition.newest for rendition in known]
        return any(
            version is not None
            and not version.outline.ended
            and now_s - version.received_s <= within_s
            for version in newest
        )

    def forget(self, stream: str) -> None:
        """Forget every playlist of a stream."""
        for path in list(self._streams.get(stream, ())):
            self._drop(path)

    def _rendition(self, path: str) -> Rendition:
        rendition = self._renditions.get(path)
        if rendition is None:
            rendition = self._renditions[path] = Rendition()
            self._streams.setdefault(stream_of(path), set()).add(path)
            self.size_bytes += rendition.size_bytes
        self._renditions.move_to_end(path)
        return rendition

    def _grow(self, rendition: Rendition, by_bytes: int) -> None:
        rendition.size_bytes += by_bytes
        self.size_bytes += by_bytes
        while self.size_bytes > self._max_bytes:
            self._drop(next(iter(self._renditions)))

    def _drop(self, path: str) -> None:
        rendition = self._renditions.pop(path)
        self.size_bytes -= rendition.size_bytes
        stream = stream_of(path)
        self._streams[stream].discard(path)
        if not self._streams[stream]:
            del self._streams[stream]
        for version in rendition.versions.values():
            version.life.end()


def stream_of(path: str) -> str:
    """Return `/api/streams/{id}`, from the path of one of its playlists or media."""
    return path.rsplit("/", 2)[0]


def _answer(outline: Outline, text: bytes, etag: str, life: Life, *, waited: bool) -> Response:
    return playlist_response(
        (text,),
        etag=etag[1:-1],
        target_duration_s=outline.target_duration_s,
        waited=waited,
        life=life,
    )
