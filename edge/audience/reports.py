"""What an edge tells the origin of its viewers: the JSON of `POST /api/edge/audience`.

A report is one part of what one process has heard since its last one; it says nothing of who is not
in it. Names are hashes (`edge.audience.names`). A report fits in `MAX_REPORT_BYTES`, so that any
server of ours takes it; `pack` cuts what is more.

Pure. May import: `edge.audience`, msgspec.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, Final

import msgspec

from edge.audience.cadence import BareRate
from edge.audience.histograms import BUCKETS, Histogram
from edge.audience.names import Name
from edge.audience.quality import Tally

MAX_ROWS: Final = 200
"""In one part of a report that is about one stream: 20 KB."""

MAX_STREAMS: Final = 500
"""Parts of one report."""

MAX_REPORT_BYTES: Final = 60 * 1024
"""Less than `HttpSettings.max_body_bytes`."""

MAX_COUNT: Final = 1_000_000
"""Samples in one bucket of one report."""

_StreamId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
_Rate = Annotated[float, msgspec.Meta(ge=0, le=1_000_000)]
_Count = Annotated[int, msgspec.Meta(ge=0, le=MAX_COUNT)]
_Counts = Annotated[list[_Count], msgspec.Meta(max_length=BUCKETS)]


class SeenViewer(
    msgspec.Struct,
    rename="camel",
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """One player that names itself."""

    key: Name
    network: Name
    page: bool = False
    """It gave a sign of life, and did not only name itself in its requests."""
    leaving: bool = False
    """It said goodbye."""
    unnamed: bool = False
    """Its playlists are asked for without a name."""


class BarePlayers(
    msgspec.Struct,
    rename="camel",
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """All players of one kind in one network, which have no names."""

    key: Name
    network: Name
    blocking_per_s: _Rate = 0.0
    """Requests for a version of a media playlist that may not exist yet."""
    plain_per_s: _Rate = 0.0
    """Requests for the present one."""


class PlayerWords(
    msgspec.Struct,
    rename="camel",
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """What players said in ten seconds (CMCD), counted as `edge.audience.histograms` does."""

    samples: _Count
    rebuffering: _Count = 0
    bitrate: _Counts = []
    buffer: _Counts = []
    throughput: _Counts = []

    @classmethod
    def of(cls, tally: Tally) -> "PlayerWords":
        """Write a tally."""
        return cls(
            samples=tally.samples,
            rebuffering=tally.rebuffering,
            bitrate=tally.bitrate.trimmed,
            buffer=tally.buffer.trimmed,
            throughput=tally.throughput.trimmed,
        )

    @property
    def tally(self) -> Tally:
        """Read it."""
        return Tally(
            samples=self.samples,
            rebuffering=min(self.samples, self.rebuffering),
            bitrate=Histogram.of(self.bitrate),
            buffer=Histogram.of(self.buffer),
            throughput=Histogram.of(self.throughput),
        )


class StreamAudience(
    msgspec.Struct,
    rename="camel",
    frozen=True,
    kw_only=True,
    omit_defaults=True,
    forbid_unknown_fields=True,
):
    """Of one stream."""

    stream_id: _StreamId
    viewers: Annotated[list[SeenViewer], msgspec.Meta(max_length=MAX_ROWS)] = []
    """In the order in which they were heard."""
    bare: Annotated[list[BarePlayers], msgspec.Meta(max_length=MAX_ROWS)] = []
    words: PlayerWords | None = None


class EdgeReport(
    msgspec.Struct, rename="camel", frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """The body."""

    reporter: Name
    """The process: what it says of bare players is in place of what it said before."""
    streams: Annotated[list[StreamAudience], msgspec.Meta(max_length=MAX_STREAMS)]


class AudienceCounts(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """The answer."""

    counts: dict[str, int]
    """How many watch each of these streams, by its id; those that are not live are left out."""


def pack(
    reporter: str,
    viewers: Mapping[str, list[SeenViewer]],
    rates: Iterable[BareRate],
    words: Mapping[str, Tally],
) -> Iterator[EdgeReport]:
    """Make reports of what there is, as few as may be.

    Args:
        reporter: Names the process.
        viewers: By stream.
        rates: Of bare players.
        words: By stream.
    """
    bare: dict[str, list[BarePlayers]] = {}
    for rate in rates:
        row = BarePlayers(
            key=rate.key,
            network=rate.network,
            blocking_per_s=round(rate.blocking_per_s, 3),
            plain_per_s=round(rate.plain_per_s, 3),
        )
        bare.setdefault(rate.stream_id, []).append(row)
    parts: list[StreamAudience] = []
    size_bytes = 0
    for part in _parts(viewers, bare, words):
        part_bytes = len(msgspec.json.encode(part)) + 1
        if parts and (len(parts) == MAX_STREAMS or size_bytes + part_bytes > _MAX_PARTS_BYTES):
            yield EdgeReport(reporter=reporter, streams=parts)
            parts, size_bytes = [], 0
        parts.append(part)
        size_bytes += part_bytes
    if parts:
        yield EdgeReport(reporter=reporter, streams=parts)


_MAX_PARTS_BYTES: Final = MAX_REPORT_BYTES - 1024


def _parts(
    viewers: Mapping[str, list[SeenViewer]],
    bare: Mapping[str, list[BarePlayers]],
    words: Mapping[str, Tally],
) -> Iterator[StreamAudience]:
    for stream_id in {**viewers, **bare, **words}:
        seen, players = viewers.get(stream_id, []), bare.get(stream_id, [])
        tally = words.get(stream_id)
        for at in range(0, max(len(seen), len(players), 1), MAX_ROWS):
            yield StreamAudience(
                stream_id=stream_id,
                viewers=seen[at : at + MAX_ROWS],
                bare=players[at : at + MAX_ROWS],
                words=None if tally is None or at else PlayerWords.of(tally),
            )
