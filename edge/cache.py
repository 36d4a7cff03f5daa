"""Answers by canonical target, bounded in bytes, fair between streams.

Everything but media playlists is here (those are `edge.playlists`'): init sections, segments,
parts, multivariant playlists, what is missing. Each answer has a `Life`; its end, for whatever
reason, takes the answer out, and taking it out ends its life.

When there is no room, the stream that holds most gives up what it has not used for the longest
time. So a stream that grows pushes out its own past, and another one only when that holds more.
With the native reactor in front, "used" means asked for by the reactor; what it serves by itself
does not count as use. An object that is popular and old is then fetched once more; it is never
missing.

Synchronous; knows no clock (`edge.lifetimes` does). Bound: `max_bytes`, with `ENTRY_BYTES` for each
answer, so their number is bounded too.

May import: `edge.http.response`.
"""

from collections import OrderedDict
from functools import partial

from edge.http.response import Response

ENTRY_BYTES = 1024
"""What an answer takes besides its body: head, fields, entries in tables."""


class _Share:
    """What is kept of one stream, least recently used first."""

    __slots__ = ("answers", "size_bytes")

    def __init__(self) -> None:
        self.answers: OrderedDict[str, Response] = OrderedDict()
        self.size_bytes = 0


class Cache:
    """Answers, each until its life ends.

    Args:
        max_bytes: For all streams together.
    """

    def __init__(self, *, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._shares: dict[str, _Share] = {}
        self._streams: dict[str, str] = {}  # by target
        self.size_bytes = 0
        """What is held now."""
        self.evicted = 0
        """Answers that had to go for want of room, since the start."""

    def __len__(self) -> int:
        return len(self._streams)

    def __contains__(self, target: str) -> bool:
        return target in self._streams

    def get(self, target: str) -> Response | None:
        """Return the answer to a canonical target, and count it as used."""
        stream = self._streams.get(target)
        if stream is None:
            return None
        answers = self._shares[stream].answers
        answers.move_to_end(target)
        return answers[target]

    def put(self, target: str, stream: str, response: Response) -> None:
        """Keep an answer, in the place of an older one.

        Args:
            target: Path and canonical query.
            stream: Whose share it counts for.
            response: It has a life. Where there is no room for it at all, that ends at once.
        """
        assert response.life is not None
        self.drop(target)
        if response.life.ended:
            return
        share = self._shares.setdefault(stream, _Share())
        share.answers[target] = response
        self._streams[target] = stream
        self._grow(share, _cost_bytes(response))
        response.life.add(partial(self._remove, target, response))
        while self.size_bytes > self._max_bytes:
            heaviest = max(self._shares.values(), key=lambda one: one.size_bytes)
            self.evicted += 1
            self.drop(next(iter(heaviest.answers)))

    def drop(self, target: str) -> None:
        """Forget one answer; without one nothing happens."""
        stream = self._streams.get(target)
        if stream is not None:
            life = self._shares[stream].answers[target].life
            assert life is not None
            life.end()

    def forget(self, stream: str, *, suffix: str) -> None:
        """Forget the answers of a stream whose path ends in a suffix."""
        share = self._shares.get(stream)
        for target in list(share.answers) if share is not None else ():
            if target.partition("?")[0].endswith(suffix):
                self.drop(target)

    def _remove(self, target: str, response: Response) -> None:
        """The life of an answer has ended."""
        stream = self._streams.pop(target)
        share = self._shares[stream]
        del share.answers[target]
        self._grow(share, -_cost_bytes(response))
        if not share.answers:
            del self._shares[stream]

    def _grow(self, share: _Share, by_bytes: int) -> None:
        share.size_bytes += by_bytes
        self.size_bytes += by_bytes


def _cost_bytes(response: Response) -> int:
    return response.size_bytes + ENTRY_BYTES
