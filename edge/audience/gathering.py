"""What one process hears of viewers: counted at once at an origin, kept for a report at an edge.

`hear_request` makes of a note of requests what there is to count: who names itself, by what name;
who does not, in which bucket. `Gathering` keeps it, and what pages say, for the next report. A sign
that could not be told for `KEEP_S` is of no use any more, and dropped.

Sans-IO; time is an argument. Bounds: `MAX_VIEWERS` in a `Gathering`, `MAX_PER_NETWORK` of one
network, who comes later waits for the next report; those of `edge.audience.cadence` and `.quality`.
May import: `edge.audience`, `edge.http.network`, native.
"""

from collections import Counter
from collections.abc import Iterator
from typing import Final, Protocol

from edge.audience.cadence import Cadences
from edge.audience.cmcd import NOTHING, Sample, parse_cmcd
from edge.audience.counts import MAX_PER_NETWORK
from edge.audience.names import Namer, name_of_player
from edge.audience.quality import Quality, Tally
from edge.audience.reports import EdgeReport, SeenViewer, pack
from edge.http.network import network_of
from native import fnv1a

EDGE_AGENT: Final = fnv1a(b"headrace-edge")
"""Of an edge that asks for its viewers, who are counted there."""

MAX_VIEWERS: Final = 20_000
"""That wait to be told, of all streams: some 10 MB. An edge process has no more connections."""

KEEP_S: Final = 10.0
"""How long a sign waits at most. Told so late it counts for 40 s from when it was given."""

RETELL_S: Final = 9.0
"""Who was told so short a time ago is not told again: a name counts for thirty seconds."""


class Listener(Protocol):
    """Gets what is heard."""

    def on_player(
        self, stream_id: str, key: str, network: str, sample: Sample, *, unnamed: bool
    ) -> None:
        """A player names itself in a request."""
        ...

    def on_bare(self, stream_id: str, key: str, network: str, *, blocking: int, plain: int) -> None:
        """Somebody without a name asks for playlists."""
        ...


def hear_request(
    listener: Listener,
    namer: Namer,
    *,
    stream_id: str,
    client: str,
    agent: int,
    cmcd: str,
    blocking: int,
    plain: int,
) -> None:
    """Understand a note (`edge.http.messages.Audience.note`, whose arguments these are).

    Args:
        listener: Is told at most once.
        namer: Names networks and bare players.
    """
    if agent == EDGE_AGENT:
        return
    sample = parse_cmcd(cmcd) if cmcd else NOTHING
    network = network_of(client)
    if sample.sid is not None:
        listener.on_player(
            stream_id,
            name_of_player(sample.sid),
            namer.network(network),
            sample,
            unnamed=not blocking and not plain,
        )
    elif blocking or plain:
        listener.on_bare(
            stream_id,
            namer.bare(network, agent),
            namer.network(network),
            blocking=blocking,
            plain=plain,
        )


class Gathering:
    """What an edge process has to tell.

    Args:
        reporter: Names the process.
        namer: Names networks and bare players.
    """

    def __init__(self, reporter: str, namer: Namer) -> None:
        self._reporter = reporter
        self._namer = namer
        self._cadences = Cadences()
        self._quality = Quality(self._keep_words)
        # By stream and key; with the time of the sign.
        self._viewers: dict[tuple[str, str], tuple[SeenViewer, float]] = {}
        self._told: dict[tuple[str, str], tuple[SeenViewer, float]] = {}
        self._networks: Counter[str] = Counter()  # of viewers that wait
        self._words: dict[str, Tally] = {}
        self._now_s = 0.0
        self.dropped = 0
        """Signs for which there was no room, or that waited too long."""

    def __len__(self) -> int:
        return len(self._viewers)

    def note(
        self,
        *,
        stream_id: str,
        client: str,
        agent: int,
        cmcd: str,
        blocking: int,
        plain: int,
        now_s: float,
    ) -> None:
        """Take a note of requests; see `hear_request`."""
        self._now_s = now_s
        hear_request(
            self,
            self._namer,
            stream_id=stream_id,
            client=client,
            agent=agent,
            cmcd=cmcd,
            blocking=blocking,
            plain=plain,
        )

    def sign(
        self,
        stream_id: str,
        viewer_id: str,
        client: str,
        *,
        leaving: bool,
        unnamed: bool,
        now_s: float,
    ) -> None:
        """A page gives a sign of life, or says goodbye.

        Args:
            stream_id: What it plays.
            viewer_id: Its own name.
            client: Its address.
            leaving: It is a goodbye.
            unnamed: What plays there asks for playlists without a name.
            now_s: The time.
        """
        row = SeenViewer(
            key=name_of_player(viewer_id),
            network=self._namer.network(network_of(client)),
            page=True,
            leaving=leaving,
            unnamed=unnamed and not leaving,
        )
        self._keep(stream_id, row, now_s)

    def on_player(
        self, stream_id: str, key: str, network: str, sample: Sample, *, unnamed: bool
    ) -> None:
        """See `Listener.on_player`."""
        row = SeenViewer(key=key, network=network, unnamed=unnamed)
        waiting = self._viewers.get((stream_id, key))
        # A page's own sign says more, and so do requests for playlists.
        says_more = waiting is not None and (waiting[0].page or not waiting[0].unnamed)
        if says_more or self._keep(stream_id, row, self._now_s):
            self._quality.add(stream_id, key, sample, self._now_s)

    def on_bare(self, stream_id: str, key: str, network: str, *, blocking: int, plain: int) -> None:
        """See `Listener.on_bare`."""
        self._cadences.note(
            stream_id, key, network, blocking=blocking, plain=plain, now_s=self._now_s
        )

    def reports(self, now_s: float) -> Iterator[EdgeReport]:
        """What there is to tell now. What was told is to be given to `told`."""
        self._quality.turn(now_s)
        viewers: dict[str, list[SeenViewer]] = {}
        for found, (row, heard_s) in list(self._viewers.items()):
            if now_s - heard_s > KEEP_S:
                self._forget(found)
                self.dropped += 1
            else:
                viewers.setdefault(found[0], []).append(row)
        words, self._words = self._words, {}
        return pack(self._reporter, viewers, self._cadences.rates(now_s), words)

    def told(self, report: EdgeReport, now_s: float) -> None:
        """A report has arrived: its signs wait no longer."""
        for found, (_, told_s) in list(self._told.items()):
            if now_s - told_s < RETELL_S:
                break
            del self._told[found]
        for part in report.streams:
            for row in part.viewers:
                found = part.stream_id, row.key
                waiting = self._viewers.get(found)
                if waiting is not None and waiting[0] == row:
                    self._forget(found)
                self._told.pop(found, None)
                self._told[found] = row, now_s

    def _keep(self, stream_id: str, row: SeenViewer, now_s: float) -> bool:
        """Have a sign wait to be told, unless it is no news; whether there is room for it."""
        found = stream_id, row.key
        told, told_s = self._told.get(found, (None, 0.0))
        if told is not None and now_s - told_s < RETELL_S:
            # What a page's player asks for says nothing new (`edge.audience.counts`).
            is_news = told != row and not (told.page and not row.page)
            if not is_news:
                return True
        self._forget(found)  # the order is that of the signs
        if len(self._viewers) >= MAX_VIEWERS or self._networks[row.network] >= MAX_PER_NETWORK:
            self.dropped += 1
            return False
        self._viewers[found] = row, now_s
        self._networks[row.network] += 1
        return True

    def _forget(self, found: tuple[str, str]) -> None:
        row, _ = self._viewers.pop(found, (None, 0.0))
        if row is not None:
            self._networks[row.network] -= 1
            if not self._networks[row.network]:
                del self._networks[row.network]

    def _keep_words(self, stream_id: str, tally: Tally) -> None:
        self._words.setdefault(stream_id, Tally()).merge(tally)
