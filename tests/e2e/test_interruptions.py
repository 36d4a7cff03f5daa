"""What encoders do in bad hours, and a viewer in Chromium who watches on without a reload.

A publisher on a script, a real origin, the watch page; three cases at a time, each with a stream
and a page of its own. In each the page must be the same page with the same player at the end, no
error may have been fatal, the picture must move again soon after the trouble, and the viewer must
be near the live edge again.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from urllib.parse import quote

import pytest
import rtmp_publishers as wire
from chromium_player import Playback, Player, Viewers, chromium, need_chromium
from ladder_origin import SMALL_RUNGS, Figures, LadderProbe, running_ladder
from ladder_rules import judge_ladder
from media_clips import Clip, ClipSpec
from origin_process import ROOT, CreatedStream, Origin, running_origin
from player_pages import player_page
from scripted_publisher import Line, ScriptedPublisher

pytestmark = [pytest.mark.e2e, pytest.mark.long]

ARTIFACTS = ROOT / "test-artifacts" / "interruptions"
BEFORE_S = 6.0
"""Published before the trouble."""
WATCHED_S = 24.0
"""From the start of the last publisher to the look at what was seen."""
AWAY_S = 10.0
HOUR_MS = 3_600_000

AT_ONCE = 3

CALM = ClipSpec(name="calm", fps=Fraction(15), duration_s=30.0, keyint_s=1.0)
LARGER = replace(CALM, name="larger", width=640, height=360)
OTHER = replace(CALM, name="other", b_frames=2, sample_rate=44_100, channels=1)
"""Another profile, another sample rate, one channel."""

Clips = dict[str, wire.Media]


@dataclass(frozen=True)
class Case:
    """One trouble."""

    trouble: Callable[[Line, Clips], None]
    """From just before it to just after it."""
    stands_s: float
    """How long the picture may stand still in all: while nothing comes, and a little longer."""
    after: ClipSpec = CALM
    """What is published behind it."""
    player: str | None = None
    """One of `player_pages`, by itself and with its defaults; None: the watch page."""
    is_late: bool = False
    """The viewer comes in the middle of the trouble."""


def drop_and_return(line: Line, _clips: Clips) -> None:
    line.drop()
    line.rest(AWAY_S)
    line.connect()


def nothing(_line: Line, _clips: Clips) -> None:
    """What comes next is the trouble."""


def an_hour_on(line: Line, _clips: Clips) -> None:
    line.clock_ms += HOUR_MS


def an_hour_back(line: Line, _clips: Clips) -> None:
    line.clock_ms -= HOUR_MS


def audio_stops(line: Line, clips: Clips) -> None:
    line.publish(clips["calm"], seconds=5, audio=False)


def video_stops(line: Line, clips: Clips) -> None:
    line.publish(clips["calm"], seconds=5, video=False)


CASES = {
    "drops and returns": Case(drop_and_return, AWAY_S + 3),
    "returns with another size": Case(drop_and_return, AWAY_S + 3, LARGER),
    "returns with another configuration": Case(drop_and_return, AWAY_S + 3, OTHER),
    "another size": Case(nothing, 2, LARGER),
    "another configuration": Case(nothing, 2, OTHER),
    "an hour on": Case(an_hour_on, 2),
    "an hour back": Case(an_hour_back, 2),
    "audio stops for 5 s": Case(audio_stops, 2),
    "video stops for 5 s": Case(video_stops, 5 + 3),
    "hls.js by itself": Case(drop_and_return, AWAY_S + 3, player="hls.js"),
    "hls.js by itself, audio stops": Case(audio_stops, 3, player="hls.js"),
    "drops, and somebody comes": Case(drop_and_return, AWAY_S, is_late=True),
}


@dataclass(frozen=True)
class Watched:
    """What a viewer of one case saw."""

    played: Playback
    is_same_player: bool
    publisher_error: Exception | None
    story: str


def script_of(case: Case, clips: Clips) -> Callable[[Line], None]:
    def script(line: Line) -> None:
        line.connect()
        line.publish(clips["calm"], seconds=BEFORE_S)
        case.trouble(line, clips)
        line.publish(clips[case.after.name], seconds=30)  # and is stopped meanwhile

    return script


def address_of(case: Case, origin: Origin, stream: CreatedStream, stack: ExitStack) -> str:
    if case.player is None:
        return origin.watch_url(stream)
    url = f"http://{origin.http}/api/streams/{stream.id}/master.m3u8"
    return f"{stack.enter_context(player_page(case.player))}?url={quote(url, safe='')}"


class Audience:
    """Viewers of the cases; those of `AT_ONCE` watch at the same time, when one is asked for."""

    def __init__(self, origin: Origin, viewers: Viewers, clips: Clips) -> None:
        self._origin = origin
        self._viewers = viewers
        self._clips = clips
        self._seen: dict[str, Watched] = {}

    def saw(self, name: str) -> Watched:
        """What the viewer of a case saw."""
        if name not in self._seen:
            names = list(CASES)
            first = names.index(name) // AT_ONCE * AT_ONCE
            self._watch(names[first : first + AT_ONCE])
        return self._seen[name]

    def _watch(self, names: list[str]) -> None:
        origin = self._origin
        publishers: list[ScriptedPublisher] = []
        players: list[Player] = []
        began_s = 0.0
        with ExitStack() as stack:
            for name in names:
                stream = origin.create_stream(name)
                script = script_of(CASES[name], self._clips)
                publisher = ScriptedPublisher(origin.rtmp, stream.key, script)
                publishers.append(stack.enter_context(publisher))
                players.append(stack.enter_context(self._viewers.viewer(name.replace(" ", "-"))))
                began_s = time.monotonic()
                origin.wait_status(stream, "live", timeout_s=5)
                if CASES[name].is_late:
                    time.sleep(BEFORE_S + AWAY_S / 3)  # this is what it is about
                players[-1].open(address_of(CASES[name], origin, stream, stack))
            for player in players:
                player.wait_playing()
                player.page.evaluate("window.theSame = headrace.hls")
            time.sleep(max(0.0, began_s + WATCHED_S - time.monotonic()))  # it is what is watched
            for name, publisher, player in zip(names, publishers, players, strict=True):
                is_same = "window.theSame !== undefined && window.theSame === headrace.hls"
                self._seen[name] = Watched(
                    player.report(),
                    bool(player.page.evaluate(is_same)),
                    publisher.error,
                    player.describe(),
                )


@pytest.fixture(scope="module")
def audience(
    tmp_path_factory: pytest.TempPathFactory, clip_of: Callable[[ClipSpec], Clip]
) -> Iterator[Audience]:
    need_chromium()
    clips = {spec.name: wire.load_media(clip_of(spec).path) for spec in (CALM, LARGER, OTHER)}
    folder = tmp_path_factory.mktemp("interruptions")
    with (
        running_origin(folder, "--reconnect-grace-s", "30") as origin,
        chromium(ARTIFACTS) as viewers,
    ):
        yield Audience(origin, viewers, clips)


def standstills(played: Playback) -> list[float]:
    """How long the playhead stood, each time for more than three quarters of a second."""
    found = []
    started = played.started_at()
    assert started is not None
    samples = [sample for sample in played.samples if sample["at"] >= started]
    since = samples[0]
    for sample in samples[1:]:
        if sample["playhead"] - since["playhead"] > 0.02 or sample is samples[-1]:
            if sample["at"] - since["at"] > 0.75:
                found.append(sample["at"] - since["at"])
            since = sample
    return found


@pytest.mark.hard_cap(120)
@pytest.mark.parametrize("name", CASES)
def test_a_viewer_watches_on(audience: Audience, figures: Callable[[str], None], name: str) -> None:
    case, seen = CASES[name], audience.saw(name)
    played = seen.played
    last = played.samples[-1]
    stood = standstills(played)
    figures(
        f"stood {', '.join(f'{length:.1f} s' for length in stood) or 'never'}; latency"
        f" {last['latency']:.2f} s (target {last['target']:.2f} s), arrival to glass"
        f" {last['behindArrival'] or 0:.2f} s; hls.js errors"
        f" {sorted({error['details'] for error in played.hls_errors}) or 'none'}"
    )
    assert seen.publisher_error is None
    assert seen.is_same_player, seen.story
    assert not [error for error in played.hls_errors if error["fatal"]], seen.story
    assert sum(stood) <= case.stands_s, seen.story
    # Over the last three seconds it plays, near the edge, what is published now.
    before = next(sample for sample in played.samples if sample["at"] > last["at"] - 3)
    assert last["playhead"] - before["playhead"] > 2, seen.story
    assert last["latency"] < 4, seen.story
    assert last["height"] == case.after.height
    # Dates tell the truth, before the trouble and after it.
    assert abs(last["behindArrival"] - last["latency"]) < 0.7, seen.story


@pytest.mark.hard_cap(120)
def test_every_rendition_goes_on_at_the_same_place(
    clip_of: Callable[[ClipSpec], Clip], tmp_path: Path, figures: Callable[[str], None]
) -> None:
    """A publisher with B-frames is lost and comes back: no gap in its rungs, and no other dates."""
    media = wire.load_media(clip_of(replace(CALM, name="b2", b_frames=2)).path)
    names = ["source", "144p", "90p"]

    def script(line: Line) -> None:
        line.connect()
        line.publish(media, seconds=7.5)
        line.drop()
        line.rest(4)
        line.connect()
        line.publish(media, seconds=7.5)
        line.goodbye()

    with running_ladder(
        tmp_path, "144p,90p", "--reconnect-grace-s", "30", rungs=SMALL_RUNGS
    ) as origin:
        stream = origin.create_stream("ladder")
        probe = LadderProbe(origin, stream, names)
        probe.start()
        with ScriptedPublisher(origin.rtmp, stream.key, script) as publisher:
            seen = probe.finish(40)
            assert publisher.error is None
        restarts = Figures.scrape(origin).of("restarts_total")
    breaks = {
        rendition.name: [
            msn for msn, segment in rendition.segments.items() if segment.listed.discontinuity
        ]
        for rendition in seen.listed
    }
    zeros = {
        rendition.name: [
            segment.listed.date.timestamp() - float(segment.start)
            for segment in rendition.segments.values()
            if segment.start is not None
        ]
        for rendition in seen.listed
    }
    source = seen.renditions["source"]
    (again,) = breaks["source"]
    before, after = (source.segments[msn] for msn in (again - 1, again))
    assert before.start is not None
    assert after.start is not None
    away_s = float(after.start - before.start) - before.listed.duration_us / 1e6
    figures(f"breaks {breaks}; {away_s:.2f} s away; {restarts:.0f} workers restarted")
    assert judge_ladder(seen.listed) == []
    assert breaks == {name: [again] for name in names}
    assert after.listed.map_uri == before.listed.map_uri
    assert away_s == pytest.approx(4, abs=0.5)  # the media clock went on with the wall clock
    for name, found in zeros.items():
        assert max(found) - min(found) < 0.002, f"MP-10 {name}"
    assert restarts == 0
