"""Whatever happens to a transcode worker, the source plays on, and its rungs come back.

Three broadcasts meet with an accident at the same time, in one origin, beside a fourth that must
not notice: a worker is killed, another stands still, a third is given damaged pictures. And one
broadcast alone is starved of CPU. Everything is seen from outside: playlists, bytes, /proc and
/metrics.
"""

import itertools
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from busy_clip import make_busy_clip, publish_in_a_loop
from child_process import Child, wait_until
from chromium_player import Viewers
from ffmpeg_cli import need_ffmpeg, publish_with_ffmpeg
from hls_probe import judge_rendition
from ladder_origin import (
    SMALL_RUNGS,
    Figures,
    LadderProbe,
    SeenLadder,
    new_worker,
    resident_bytes,
    running_ladder,
    wait_listed,
    workers,
)
from ladder_rules import arrival_lags, judge_ladder, judge_pace, release_lags, release_times
from media_clips import Clip, ClipSpec
from origin_process import Origin
from pace_probe import Pace, PaceProbe
from poisoned_publisher import PoisonedPublisher

pytestmark = [pytest.mark.e2e, pytest.mark.long]

NAMES = ["source", "144p", "90p"]
RUNGS = NAMES[1:]

LENGTH_S = 22.0
POISON = (8.0, 10.0)
WATCHED_S = 8.0
"""From the accident on; the publishers must go on for longer."""

NOTICED_WITHIN_S = {"killed": 2.0, "hung": 3.0}
"""From the accident to the first gap that a viewer sees: a hang is noticed within 2 s, and the next
part of the source must come."""

BACK_WITHIN_S = 8.0
"""From the accident to the first part with media: notice, pause, start, the next keyframe."""

GROWTH_BYTES = 80_000_000
"""What an origin may grow by in half a minute: the windows of four broadcasts fill meanwhile."""

WORKER_BYTES = 400_000_000


@pytest.mark.hard_cap(120)
def test_a_killed_a_hung_and_a_poisoned_worker(
    clip_of: Callable[[ClipSpec], Clip],
    viewers: Viewers,
    tmp_path: Path,
    figures: Callable[[str], None],
) -> None:
    need_ffmpeg()
    clip = clip_of(ClipSpec(name="accidents", b_frames=2, duration_s=LENGTH_S))
    folder = tmp_path / "origin"
    folder.mkdir()
    with ExitStack() as stack:
        origin = stack.enter_context(running_ladder(folder, "144p,90p", rungs=SMALL_RUNGS))
        streams = {
            name: origin.create_stream(name) for name in ("killed", "hung", "calm", "poisoned")
        }
        probes = {name: LadderProbe(origin, stream, NAMES) for name, stream in streams.items()}
        pids: dict[str, int] = {}
        publishers: list[Child] = []
        for name, stream in streams.items():
            probes[name].start()
            stack.callback(probes[name].stop)
            url = origin.publish_url(stream.key)
            if name == "poisoned":
                poisoner = PoisonedPublisher(clip.path, url, POISON)
                poisoner.start()
                stack.callback(poisoner.stop)
            else:
                log = tmp_path / f"{name}.log"
                publishers.append(stack.enter_context(publish_with_ffmpeg(clip.path, url, log)))
            pids[name] = new_worker(origin, set(pids.values()), timeout_s=15)
        watchers = {
            name: stack.enter_context(PaceProbe(origin.http, stream.id, "source", tmp_path))
            for name, stream in streams.items()
        }
        # One viewer of a source, and one of a rung whose encoder dies: the page takes the source
        # while that rung has a gap.
        players = {name: stack.enter_context(viewers.viewer(name)) for name in ("hung", "killed")}
        for name, quality in (("hung", "180p (source)"), ("killed", "144p")):
            players[name].open(origin.watch_url(streams[name]))
            players[name].wait_playing()
            players[name].choose(quality)
        players["killed"].wait_height(144, timeout_s=10)
        for probe in probes.values():
            probe.wait_segments(2, timeout_s=20)
        before_bytes = resident_bytes(origin.child.pid)
        os.kill(pids["killed"], signal.SIGKILL)
        os.kill(pids["hung"], signal.SIGSTOP)
        accident_s = time.monotonic()
        most_bytes = {"origin": 0, "worker": 0}
        while time.monotonic() < accident_s + WATCHED_S:
            players["hung"].watch_on(0.5)
            most_bytes["origin"] = max(most_bytes["origin"], resident_bytes(origin.child.pid))
            sizes = [resident_bytes(pid) for pid in workers(origin)]
            most_bytes["worker"] = max([most_bytes["worker"], *sizes])
        played = {name: player.report() for name, player in players.items()}
        told = Figures.scrape(origin)  # a broadcast's series go with it
        assert len(origin.live_ids()) == len(streams), "a broadcast ended too soon"
        for publisher in publishers:
            assert publisher.wait(LENGTH_S) == 0, publisher.tail()
        poisoner.join(10)
        assert poisoner.error is None, poisoner.error
        ladders = {name: probe.finish(20) for name, probe in probes.items()}
        paces = {name: watcher.finish(10) for name, watcher in watchers.items()}
        assert pids["hung"] not in workers(origin), "the worker that hung is still there"
    faults = []
    for name, seen in played.items():
        figures(f"viewer of {name}: {seen.summary()}")
        faults += [f"viewer of {name}: {text}" for text in (*seen.stalls(), *seen.hls_errors)]
    for name, ladder in ladders.items():
        faults += [f"{name}: {fault}" for fault in judge_broadcast(name, ladder, paces[name])]
    for name, within_s in NOTICED_WITHIN_S.items():
        noticed_s, back_s = outage(ladders[name], accident_s)
        figures(f"{name}: gaps listed {noticed_s:.2f} s after it, media again after {back_s:.2f} s")
        if noticed_s > within_s or back_s > BACK_WITHIN_S:
            faults.append(f"{name}: noticed after {noticed_s:.2f} s, back after {back_s:.2f} s")
    ids = {name: stream.id for name, stream in streams.items()}
    faults += judge_figures(told, ids)
    grown = most_bytes["origin"] - before_bytes
    figures(
        f"origin grew by {grown / 1e6:.0f} MB, largest worker {most_bytes['worker'] / 1e6:.0f} MB"
    )
    if grown > GROWTH_BYTES or most_bytes["worker"] > WORKER_BYTES:
        faults.append(f"memory: origin grew by {grown}, largest worker {most_bytes['worker']}")
    assert not faults, "\n".join(faults)


def judge_broadcast(name: str, ladder: SeenLadder, pace: Pace) -> list[str]:
    """Everything that is wrong with one broadcast, after the accident that it had."""
    source, *rungs = ladder.listed
    faults = judge_pace(pace, calm=False)
    if source.gaps():
        faults.append(f"the source has {len(source.gaps())} gaps")
    for rendition in ladder.listed:
        if name == "poisoned" and rendition is source:
            continue  # its damaged pictures are passed on as they are
        faults += judge_rendition(rendition.harvest)
    faults += judge_ladder(ladder.listed, gaps_allowed=name != "calm")
    for rung in rungs:
        if name in NOTICED_WITHIN_S and not rung.gaps():
            faults.append(f"{rung.name} has no gap")
        last = max(rung.segments)
        if not all(rung.segments[msn].is_whole for msn in (last - 2, last - 1)):
            faults.append(f"{rung.name} did not come back: {rung.gaps()[-1]} is a gap, of {last}")
    return faults


def outage(ladder: SeenLadder, accident_s: float) -> tuple[float, float]:
    """Seconds from the accident to the first gap listed, and to the first media after the gaps.

    The later of the rungs counts.
    """
    noticed, back = [], []
    for rung in ladder.listed[1:]:
        times = release_times(rung.harvest)
        gaps = rung.harvest.gaps
        noticed.append(min(gaps.values(), default=float("inf")) - accident_s)
        after = [times[key] for key in times if key not in gaps and key > max(gaps, default=(0, 0))]
        back.append(min(after, default=float("inf")) - accident_s)
    return max(noticed), max(back)


def judge_figures(told: Figures, ids: dict[str, str]) -> list[str]:
    """What /metrics should have told and did not."""
    expected = [
        (told.of("restarts_total", stream=ids["killed"], reason="crash") >= 1, "a crash"),
        (told.of("restarts_total", stream=ids["hung"], reason="hang") >= 1, "a hang"),
        (told.of("restarts_total", stream=ids["calm"]) == 0, "no restart where nothing failed"),
        (told.of("decode_errors_total", stream=ids["poisoned"]) > 0, "decode errors"),
        (told.of("decode_errors_total", stream=ids["calm"]) == 0, "no decode error elsewhere"),
        *(
            (told.of("gaps_total", stream=ids[name], rendition=rung) > 0, f"gaps of {name}, {rung}")
            for name in NOTICED_WITHIN_S
            for rung in RUNGS
        ),
        (told.of("gaps_total", stream=ids["calm"]) == 0, "no gap where nothing failed"),
        *(
            (told.of("frames_total", stream=stream_id, rendition=rung) > 0, f"frames of {name}")
            for name, stream_id in ids.items()
            for rung in RUNGS
        ),
        (told.has("lag_seconds", stream=ids["calm"]), "lag"),
        (told.of("workers") == len(ids), f"{len(ids)} workers, not {told.of('workers'):g}"),
    ]
    return [f"/metrics does not tell: {what}" for is_told, what in expected if not is_told]


HOGS_S = 5.0
"""The ladder stays without for so long, once it is cut back."""
MAX_HOGS = 12
MAX_LOOKS = 40
"""At the figures, twice a second, before that must have happened."""
STARVED = {"source": (1920, 1080), "720p": (1280, 720), "480p": (854, 480), "360p": (640, 360)}

MAX_BEHIND_S = 6.0
"""How far a rung's parts may come behind the source's while it is starved: what waits longer than
2.5 s is thrown away, and that is noticed with a delay on a machine with no time for anything."""


@contextmanager
def busy_loops(folder: Path) -> Iterator[Callable[[], int]]:
    """What begins another process that does nothing, as fast as it can; it returns how many run."""
    with ExitStack() as stack:
        numbers = itertools.count(1)

        def begin() -> int:
            number = next(numbers)
            argv = [sys.executable, "-c", "while True: pass"]
            stack.enter_context(Child(argv, log=folder / f"hog-{number}.log"))
            return number

        yield begin


@pytest.mark.hard_cap(120)
def test_a_ladder_without_cpu_sheds_and_comes_back(
    tmp_path: Path, figures: Callable[[str], None]
) -> None:
    """Busy loops beside a ladder: more and more, until it is cut back, however fast the machine."""
    need_ffmpeg()
    clip = make_busy_clip(tmp_path, width=1920, height=1080, fps=30, kbps=4000)
    folder = tmp_path / "origin"
    folder.mkdir()
    names = list(STARVED)
    with ExitStack() as stack:
        origin = stack.enter_context(running_ladder(folder, ",".join(names[1:])))
        stream = origin.create_stream("starved")
        probe = LadderProbe(origin, stream, names)
        probe.start()
        stack.callback(probe.stop)
        url = origin.publish_url(stream.key)
        publisher = stack.enter_context(publish_in_a_loop(clip, url, tmp_path / "ffmpeg.log"))
        wait_listed(origin, stream, names, timeout_s=25)
        watcher = stack.enter_context(PaceProbe(origin.http, stream.id, "source", tmp_path))
        probe.wait_segments(3, timeout_s=25)
        before_bytes = resident_bytes(origin.child.pid)
        began = len(probe.probes["360p"].harvest.parts)
        seen: list[Figures] = []
        most_bytes = 0
        with busy_loops(tmp_path) as begin_loop:
            hogs = begin_loop()
            until = math.inf
            while time.monotonic() < until:
                if len(seen) % 3 == 0 and until == math.inf and hogs < MAX_HOGS:
                    hogs = begin_loop()
                time.sleep(0.5)  # not a condition: the figures are looked at twice a second
                seen.append(Figures.scrape(origin))
                is_cut = seen[-1].of("level", stream=stream.id) > 0
                if until == math.inf and (is_cut or len(seen) == MAX_LOOKS):
                    until = time.monotonic() + HOGS_S
                most_bytes = max([most_bytes, *map(resident_bytes, workers(origin))])
        over_s = time.monotonic()
        back = wait_until(
            lambda: keeps_up(origin, stream.id), timeout_s=20, what="the lowest rung keeps up"
        )
        probe.wait_parts_after(over_s + 4, timeout_s=20)
        grown = resident_bytes(origin.child.pid) - before_bytes
        story = Figures.scrape(origin)
        publisher.stop()
        ladder = probe.finish(20)
        pace = watcher.finish(10)
    source, *_, lowest = ladder.listed
    faults = judge_pace(pace, calm=False)
    faults += judge_ladder(ladder.listed, gaps_allowed=True)
    for rendition in ladder.listed:
        faults += judge_rendition(rendition.harvest)
    behind = {rung.name: max(release_lags(source, rung)) for rung in ladder.listed[1:]}
    gaps = {rung.name: len(rung.gaps()) for rung in ladder.listed[1:]}
    level = max(one.of("level", stream=stream.id) for one in seen)
    dropped = story.of("frames_dropped_total", stream=stream.id)
    figures(
        f"source late by {max(arrival_lags(pace)):.2f} s at most, rungs behind it by "
        f"{', '.join(f'{name} {lag:.2f} s' for name, lag in behind.items())}; {hogs} busy loops, "
        f"level {level:g}, "
        f"gaps {gaps}, {dropped:g} pictures dropped, {began} parts before; "
        f"origin grew by {grown / 1e6:.0f} MB, worker at most {most_bytes / 1e6:.0f} MB"
    )
    if max(behind.values()) > MAX_BEHIND_S:
        faults.append(f"a rung was {max(behind.values()):.1f} s behind the source")
    if not (level or any(gaps.values()) or dropped):
        faults.append("/metrics does not tell that anything was cut back")
    told = story.of("gaps_total", stream=stream.id)  # a moment before the end
    if told > sum(gaps.values()) or bool(told) != any(gaps.values()):
        faults.append(f"/metrics tells of {told:g} gaps")
    after = [key for key, at_s in release_times(lowest.harvest).items() if at_s > over_s + 4]
    if not after or any(key in lowest.harvest.gaps for key in after):
        faults.append("the lowest rung did not come back")
    if grown > GROWTH_BYTES or most_bytes > WORKER_BYTES:
        faults.append(f"memory: origin grew by {grown}, worker {most_bytes}")
    assert back
    assert not faults, "\n".join(faults)


def keeps_up(origin: Origin, stream_id: str) -> bool:
    """The lowest rung is less than a second behind, and not switched off."""
    now = Figures.scrape(origin)
    return (
        now.has("lag_seconds", stream=stream_id, rendition="360p")
        and now.of("lag_seconds", stream=stream_id, rendition="360p") < 1.0
        and now.of("shed", stream=stream_id, rendition="360p") == 0
    )
