"""Viewers in Chromium behind edges: they play as at the origin, and outlive whatever dies.

Real origins and edges on loopback, a publisher that comes back by itself as OBS does, the watch
page, and hls.js with its defaults on a page of another host. What dies is killed (SIGKILL, with all
its processes). No viewer reloads a page.

"Within 5 s" counts from the moment when there is something to play again, seen at the origin.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median
from urllib.parse import quote

import pytest
import rtmp_publishers as wire
from child_process import wait_until
from chromium_player import Playback, Player, Viewers, spread
from conformance_run import check, seen
from edge_process import Node, origin_of, running_edge, running_origin_node
from ladder_origin import SMALL_RUNGS, running_ladder, wait_listed
from media_clips import Clip, ClipSpec
from origin_process import CreatedStream, HttpClient, Origin
from pace_probe import PaceProbe
from player_pages import player_page
from scripted_publisher import Line, ScriptedPublisher

pytestmark = [pytest.mark.e2e, pytest.mark.long]

RECOVERS_S = 5.0
RECONNECTS_S = 1.0
"""A lost encoder's pause before it tries again; OBS's is one to two seconds."""
STANDS_S = 0.75
"""A playhead that does not move for so long stands; samples come four times a second."""
ADDED_S = 0.05
"""What a shield and an edge may add from capture to glass."""

PAIRS = 3

CLIP_S = 8.0
CALM = ClipSpec(name="edge", fps=Fraction(15), duration_s=CLIP_S, keyint_s=1.0)


def tireless(clip: wire.Media) -> Callable[[Line], None]:
    """An encoder that comes back whenever its connection is lost."""

    def script(line: Line) -> None:
        while True:
            try:
                line.connect()
                while True:
                    line.publish(clip, seconds=CLIP_S)
            except OSError:
                line.close()
                line.rest(RECONNECTS_S)

    return script


@dataclass(frozen=True)
class Broadcast:
    """A stream that is live for as long as its origin is there."""

    node: Node
    origin: Origin
    stream: CreatedStream

    def watch_page(self, node: Node) -> str:
        """The watch page of one server."""
        return node.url(f"/watch/{self.stream.id}")

    def playlist(self, node: Node) -> str:
        """Its multivariant playlist, at one server."""
        return node.url(f"/api/streams/{self.stream.id}/master.m3u8")

    def wait_media(self, *, timeout_s: float) -> float:
        """Wait until the origin has a segment to play; when that was, UTC seconds."""
        path = f"/api/streams/{self.stream.id}/source/playlist.m3u8"

        def look() -> bool:
            client = HttpClient(self.node.http)
            try:
                return client.get(path).status == 200
            finally:
                client.close()

        wait_until(look, timeout_s=timeout_s, what="the origin has media")
        return time.time()


@contextmanager
def broadcasting(folder: Path, clip: Clip) -> Iterator[Broadcast]:
    """Run an origin, and a publisher until the end."""
    with running_origin_node(folder) as node:
        origin = origin_of(node, folder)
        stream = origin.create_stream("edge")
        script = tireless(wire.load_media(clip.path))
        with ScriptedPublisher(origin.rtmp, stream.key, script) as publisher:
            broadcast = Broadcast(node, origin, stream)
            broadcast.wait_media(timeout_s=15)
            yield broadcast
            assert publisher.error is None, publisher.error


@contextmanager
def watching(viewers: Viewers, addresses: dict[str, str]) -> Iterator[list[Player]]:
    """Open a page for each viewer, by name; all play when this yields, and nobody reloads it."""
    with ExitStack() as stack:
        players = [stack.enter_context(viewers.viewer(name)) for name in addresses]
        for player, address in zip(players, addresses.values(), strict=True):
            player.open(address)
        for player in players:
            player.wait_playing()
            player.page.evaluate("window.theSame = true")
        yield players
        for player in players:
            assert player.page.evaluate("window.theSame === true"), "the page was loaded again"


@dataclass(frozen=True)
class Stand:
    """A time in which a playhead did not move."""

    since_s: float
    """UTC."""
    until_s: float

    @property
    def length_s(self) -> float:
        """How long it was."""
        return self.until_s - self.since_s


def stands(player: Player, played: Playback) -> list[Stand]:
    """When the playhead stood for longer than `STANDS_S`; the last of them may still last."""
    opened_s = player.page.evaluate("performance.timeOrigin / 1000")
    started = played.started_at()
    assert started is not None
    samples = [sample for sample in played.samples if sample["at"] >= started]
    # A jump to the live edge is no movement: pictures come behind it, or they do not.
    moving = [
        after["at"]
        for before, after in pairwise(samples)
        if 0.02 < after["playhead"] - before["playhead"] < 1
    ]
    times = [started, *moving, samples[-1]["at"]]
    return [
        Stand(opened_s + before, opened_s + after)
        for before, after in pairwise(times)
        if after - before > STANDS_S
    ]


def judge(
    players: Sequence[Player],
    figures: Callable[[str], None],
    *,
    available_s: float | None = None,
) -> None:
    """Each viewer plays at the end, near the edge, and no picture stood too long.

    Args:
        players: The viewers.
        figures: Where to note what was seen.
        available_s: From when on there was something to play again, UTC; None: all the time.
    """
    for player in players:
        played = player.report()
        stood = stands(player, played)
        last = played.samples[-1]
        lengths = ", ".join(f"{stand.length_s:.1f} s" for stand in stood) or "never"
        after = ""
        if available_s is not None and stood:
            after = f", the last one until {stood[-1].until_s - available_s:.1f} s after media came"
        details = sorted({error["details"] for error in played.hls_errors})
        figures(
            f"{player.name} stood {lengths}{after}; latency {last['latency']:.2f} s; "
            f"hls.js errors {details or 'none'}"
        )
        for stand in stood:
            since_s = stand.since_s if available_s is None else max(available_s, stand.since_s)
            assert stand.until_s - since_s <= RECOVERS_S, player.describe()
        now = played.samples[-1]["at"]
        before = next(sample for sample in played.samples if sample["at"] > now - 2)
        assert last["playhead"] - before["playhead"] > 1.5, player.describe()
        assert last["latency"] < 4, player.describe()


@pytest.mark.hard_cap(120)
def test_a_viewer_changes_quality_at_an_edge(
    clip_of: Callable[[ClipSpec], Clip],
    viewers: Viewers,
    tmp_path: Path,
    figures: Callable[[str], None],
) -> None:
    """Twenty seconds through two workers: no stall, no error, each rendition when it is chosen."""
    folder = tmp_path / "origin"
    folder.mkdir()
    with running_ladder(folder, "144p,90p", rungs=SMALL_RUNGS) as origin:
        stream = origin.create_stream("edge")
        script = tireless(wire.load_media(clip_of(CALM).path))
        with (
            ScriptedPublisher(origin.rtmp, stream.key, script),
            running_edge(tmp_path, origin.url(""), workers=2) as edge,
            viewers.viewer("by-hand", pixel_ratio=2) as player,
        ):
            wait_listed(origin, stream, ["source", "144p", "90p"], timeout_s=20)
            player.open(edge.url(f"/watch/{stream.id}"))
            player.wait_playing()
            for quality, height in (("90p", 90), ("180p (source)", 180), ("144p", 144)):
                player.choose(quality)
                player.wait_height(height, timeout_s=8)
                player.watch_on(2)
            played = player.play_for(20)
            figures(played.summary())
            assert {90, 144, 180} <= set(played.heights())
            assert not played.stalls(), player.describe()
            assert not played.hls_errors, player.describe()
            assert not played.bad_answers, player.describe()
            assert not played.console, player.describe()


@pytest.mark.hard_cap(210)
def test_an_edge_keeps_the_rules_of_low_latency_hls(
    clip_of: Callable[[ClipSpec], Clip], tmp_path: Path, artifacts: Path
) -> None:
    """The conformance checker at an edge: a ladder, a lost publisher, a goodbye."""
    clip = wire.load_media(clip_of(CALM).path)

    def script(line: Line) -> None:
        line.connect()
        line.publish(clip, seconds=CLIP_S)
        line.publish(clip, seconds=CLIP_S)
        line.drop()
        line.rest(2)
        line.connect()
        line.publish(clip, seconds=CLIP_S)
        line.publish(clip, seconds=CLIP_S)
        line.goodbye()

    folder = tmp_path / "origin"
    folder.mkdir()
    with running_ladder(
        folder, "144p,90p", "--reconnect-grace-s", "30", rungs=SMALL_RUNGS
    ) as origin:
        stream = origin.create_stream("conformance")
        with (
            running_edge(tmp_path, origin.url(""), workers=2) as edge,
            ScriptedPublisher(origin.rtmp, stream.key, script) as publisher,
        ):
            url = edge.url(f"/api/streams/{stream.id}/master.m3u8")
            broken, report = check(url, artifacts, "--seconds=36", "--wait-end=20")
            assert publisher.error is None, publisher.error
    assert not broken, "\n".join(broken)
    assert seen(report, "EN-01", "EN-02", "EN-03", "MF-09"), report


@pytest.mark.parametrize(
    "away_s",
    [
        pytest.param(1.0, id="at once"),
        pytest.param(20.0, id="after 20 s"),
    ],
)
@pytest.mark.hard_cap(120)
def test_the_origin_is_killed_and_started_again(
    clip_of: Callable[[ClipSpec], Clip],
    viewers: Viewers,
    tmp_path: Path,
    figures: Callable[[str], None],
    away_s: float,
) -> None:
    """Another broadcast under the same URLs: viewers of the page play it, at an edge or not.

    hls.js by itself gives up after some seconds of errors, so it is there the first time only.
    """
    with (
        broadcasting(tmp_path, clip_of(CALM)) as broadcast,
        running_edge(tmp_path, broadcast.node.url(), workers=2) as edge,
        player_page("hls.js") as page,
    ):
        addresses = {
            "page-at-the-edge": broadcast.watch_page(edge),
            "page-at-the-origin": broadcast.watch_page(broadcast.node),
        }
        if away_s < 5:
            url = quote(broadcast.playlist(edge), safe="")
            addresses["hls.js-at-the-edge"] = f"{page}?url={url}"
        with watching(viewers, addresses) as players:
            players[0].watch_on(4)
            broadcast.node.kill()
            players[0].watch_on(away_s)
            broadcast.node.start()
            available_s = broadcast.wait_media(timeout_s=20)
            players[0].watch_on(RECOVERS_S + 3)
            judge(players, figures, available_s=available_s)


STOP_LOADING = "headrace.hls.streamController.stopLoad()"


@pytest.mark.hard_cap(90)
@pytest.mark.parametrize(
    "stop",
    [STOP_LOADING, f"headrace.hls.once('hlsFragLoading', () => {STOP_LOADING})"],
    ids=["between parts", "within a part"],
)
def test_a_page_whose_player_is_stuck_begins_anew(
    stop: str,
    clip_of: Callable[[ClipSpec], Clip],
    viewers: Viewers,
    tmp_path: Path,
    figures: Callable[[str], None],
) -> None:
    """hls.js reads playlists and loads nothing any more: the page does not wait for ever."""
    with broadcasting(tmp_path, clip_of(CALM)) as broadcast:
        addresses = {"page": broadcast.watch_page(broadcast.node)}
        with watching(viewers, addresses) as players:
            players[0].watch_on(3)
            players[0].page.evaluate(f"void {stop}")
            players[0].watch_on(RECOVERS_S + 4)
            assert stands(players[0], players[0].report()), "it was not stuck"
            judge(players, figures)


@pytest.mark.hard_cap(120)
def test_an_upstream_dies(
    clip_of: Callable[[ClipSpec], Clip],
    viewers: Viewers,
    tmp_path: Path,
    figures: Callable[[str], None],
) -> None:
    """An edge with two upstreams, both edges of one origin: the preferred one is killed."""
    with (
        broadcasting(tmp_path, clip_of(CALM)) as broadcast,
        running_edge(tmp_path, broadcast.node.url(), name="first") as first,
        running_edge(tmp_path, broadcast.node.url(), name="second") as second,
        running_edge(tmp_path, first.url(), second.url(), name="edge") as edge,
        player_page("hls.js") as page,
    ):
        url = quote(broadcast.playlist(edge), safe="")
        addresses = {"page": broadcast.watch_page(edge), "hls.js": f"{page}?url={url}"}
        with watching(viewers, addresses) as players:
            players[0].watch_on(4)
            first.kill()
            players[0].watch_on(RECOVERS_S + 5)
            judge(players, figures)


@pytest.mark.hard_cap(120)
def test_edge_workers_die(
    clip_of: Callable[[ClipSpec], Clip],
    viewers: Viewers,
    tmp_path: Path,
    figures: Callable[[str], None],
) -> None:
    """Each of two workers is killed once, so that everybody loses a connection."""
    with (
        broadcasting(tmp_path, clip_of(CALM)) as broadcast,
        running_edge(tmp_path, broadcast.node.url(), workers=2) as edge,
        player_page("hls.js") as page,
    ):
        url = quote(broadcast.playlist(edge), safe="")
        addresses = {
            "page-1": broadcast.watch_page(edge),
            "page-2": broadcast.watch_page(edge),
            "hls.js": f"{page}?url={url}",
        }
        with watching(viewers, addresses) as players:
            players[0].watch_on(3)
            before = edge.workers()
            assert len(before) == 2, before
            for worker in before:
                os.kill(worker, signal.SIGKILL)
                players[0].watch_on(RECOVERS_S + 1)
                assert worker not in edge.workers()
                assert len(edge.workers()) == 2, "it is not replaced"
            judge(players, figures)


@pytest.mark.hard_cap(120)
def test_a_chain_adds_less_than_50_ms(
    viewers: Viewers, tmp_path: Path, figures: Callable[[str], None]
) -> None:
    """Origin, shield, edge: the clock in the picture read at both ends at once, in pairs.

    How far behind the newest part that it knows a player keeps is the player's choice, and differs
    by more than is asked for here; it is taken off. What is left is the way to the player. Beside
    it, to the millisecond: how much later the end of the chain lists each part.
    """
    with (
        running_origin_node(tmp_path, "--demo") as node,
        running_edge(tmp_path, node.url(), name="shield") as shield,
        running_edge(tmp_path, shield.url(), name="edge") as edge,
    ):
        found = node.child.wait_for_log(r"/watch/([^\s\"]+)", timeout_s=15)
        broadcast = Broadcast(node, origin_of(node, tmp_path), CreatedStream(found.group(1), ""))
        broadcast.wait_media(timeout_s=20)
        added = []
        for number in range(PAIRS):
            ends = {"origin": broadcast.watch_page(node), "edge": broadcast.watch_page(edge)}
            if number % 2:
                ends = dict(reversed(ends.items()))
            with watching(viewers, ends) as players:
                players[0].watch_on(10)
                played = {player.name: player.report() for player in players}
            for name, one in played.items():
                glass, behind = one.glass_latencies(3), one.latencies(3)
                assert len(glass) > 15, "the clock in the picture could not be read"
                figures(f"{name}: capture to glass {spread(glass)}, of it chosen {spread(behind)}")
            near, far = (
                median(one.glass_latencies(3)) - median(one.latencies(3))
                for one in (played["origin"], played["edge"])
            )
            added.append(far - near)
        figures(f"added by the chain: {', '.join(f'{1000 * one:.0f} ms' for one in added)}")
        assert median(added) < ADDED_S
        listed = listing_delays(broadcast, [node, edge], tmp_path)
        figures(f"a part is listed at the edge {spread(listed)} after the origin")
        assert median(listed) < ADDED_S


def listing_delays(broadcast: Broadcast, ends: Sequence[Node], folder: Path) -> list[float]:
    """Follow the playlist at two servers until the broadcast ends: how late the second one is."""
    with ExitStack() as stack:
        probes = []
        for node in ends:
            (folder / node.name).mkdir()
            probe = PaceProbe(node.http, broadcast.stream.id, "source", folder / node.name)
            probes.append(stack.enter_context(probe))
        time.sleep(6)  # it is what is followed
        token = broadcast.origin.admin_token()
        path = f"/api/streams/{broadcast.stream.id}/end"
        answer = broadcast.origin.post(path, {}, token=token)
        assert answer.status == 200, answer.text
        first, second = (
            {(one.msn, one.index): one.at_s for one in probe.finish(10).arrivals}
            for probe in probes
        )
    both = sorted(first.keys() & second.keys())[3:]  # the first ones were there before both came
    assert len(both) > 15, both
    return [second[part] - first[part] for part in both]
