"""Webhooks of a real origin: receivers that are slow, down or lying, and a kill in the middle.

A broadcast is watched all the while, and its viewer notices nothing. When the receivers are good
again each of them has every event, signed, in order by stream.
"""

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest
from child_process import wait_until
from ffmpeg_cli import need_ffmpeg, publish_with_ffmpeg
from hook_servers import AskServer, HookServer
from media_clips import Clip, ClipSpec
from origin_process import CreatedStream, Origin, running_origin
from pace_probe import Pace, PaceProbe

pytestmark = [pytest.mark.e2e, pytest.mark.long]

TROUBLE_S = 16.0
"""For so long receivers are slow, down and lying: longer than an answer is waited for."""
ROUNDS = 20
RETURN_S = 45.0
"""For everything to arrive once they are good again; pauses have grown to some 30 s by then."""


def hook(origin: Origin, server: HookServer) -> str:
    """Have a server told of everything."""
    body = {"url": server.url, "events": ["*"], "description": server.name}
    answer = origin.post("/api/hooks", body, token=origin.admin_token())
    assert answer.status == 201, answer.text
    made = answer.json()
    server.secret = made["secret"]
    origin.secrets.add(server.secret)
    return str(made["id"])


def rename(origin: Origin, stream: CreatedStream, number: int) -> None:
    """An event with a number in it."""
    path = f"/api/streams/{stream.id}"
    answer = origin.call("PATCH", path, {"title": str(number)}, token=stream.key)
    assert answer.status == 200, answer.text


def has_all(server: HookServer, live: CreatedStream, other: CreatedStream) -> bool:
    """Whether it was told of everything, in order."""
    if "stream.ended" not in server.types(live.id):
        return False
    return server.numbers(live.id) == server.numbers(other.id) == list(range(ROUNDS))


def lateness_s(pace: Pace) -> list[float]:
    """How much later than the soonest each part was listed, by the media clock."""
    first_s = pace.arrivals[0].at_s  # what was there before the viewer came is no measure
    media_s = 0.0
    ages = []
    for arrival in pace.arrivals:
        media_s += arrival.duration_us / 1e6
        if arrival.at_s > first_s:
            ages.append(arrival.at_s - media_s)
    return [age - min(ages) for age in ages]


@pytest.mark.hard_cap(150)
def test_receivers_that_are_slow_down_and_lying_change_nothing_for_viewers(
    clip_of: Callable[[ClipSpec], Clip], tmp_path: Path, figures: Callable[[str], None]
) -> None:
    need_ffmpeg()
    clip = clip_of(ClipSpec(name="hooks", duration_s=TROUBLE_S + 14))
    with ExitStack() as stack:
        origin = stack.enter_context(running_origin(tmp_path))
        servers = [
            stack.enter_context(HookServer(name)) for name in ("slow", "down", "lying", "good")
        ]
        slow, down, lying, good = servers
        ids = [hook(origin, server) for server in servers]
        live, other = origin.create_stream("live"), origin.create_stream("other")
        url = origin.publish_url(live.key)
        publisher = stack.enter_context(publish_with_ffmpeg(clip.path, url, tmp_path / "ffmpeg"))
        path = f"/api/streams/{live.id}/source/playlist.m3u8"
        wait_until(lambda: origin.get(path).status == 200, timeout_s=15, what="something to play")
        probe = stack.enter_context(PaceProbe(origin.http, live.id, "source", tmp_path))

        slow.mood, lying.mood = "slow", "lying"
        down.down()
        slowest_s = 0.0
        for number in range(ROUNDS):
            for stream in (live, other):
                asked_s = time.monotonic()
                rename(origin, stream, number)
                slowest_s = max(slowest_s, time.monotonic() - asked_s)
            time.sleep(TROUBLE_S / ROUNDS)  # no condition: trouble lasts so long
        assert good.numbers(live.id) == good.numbers(other.id) == list(range(ROUNDS))
        assert lying.asked >= 3
        for server in (slow, down, lying):
            assert len(server.events) < len(good.events), server.name
        figures(f"an API call took {slowest_s * 1000:.0f} ms at most")

        slow.mood = lying.mood = "good"
        down.up()
        back_s = time.monotonic()
        publisher.wait(40)
        pace = probe.finish(20)

        for server in servers:
            wait_until(
                partial(has_all, server, live, other),
                timeout_s=RETURN_S,
                what=f"{server.name} has every event in order",
            )
            figures(
                f"{server.name}: {server.asked} requests, {len(server.events)} events,"
                f" {server.repeated} twice, all of them {time.monotonic() - back_s:.1f} s after"
                " all were good"
            )
            assert not server.problems, server.problems
            kinds = [kind for kind in server.types(live.id) if not kind.startswith("alert.")]
            assert kinds == [
                "stream.created",
                "stream.live",
                "publisher.connected",
                "publisher.disconnected",
                "stream.ended",
            ]
        late_s = lateness_s(pace)
        figures(
            f"{len(late_s)} parts were listed at most {max(late_s) * 1000:.0f} ms late;"
            f" a viewer is {pace.part_hold_back_us / 1000:.0f} ms behind"
        )
        assert max(late_s) < pace.part_hold_back_us / 1e6
        assert not any(arrival.is_gap for arrival in pace.arrivals)
        for stream in (live, other):  # alerts and all
            assert len({tuple(server.ids(stream.id)) for server in servers}) == 1
        for hook_id in ids:
            path = f"/api/hooks/{hook_id}"
            shown = origin.call("GET", path, token=origin.admin_token()).json()
            wanted = {"status": "ok", "pending": 0, "dead": 0, "dropped": 0}
            assert {name: shown[name] for name in wanted} == wanted


@pytest.mark.hard_cap(90)
def test_what_waits_outlives_a_kill(tmp_path: Path, clip_of: Callable[[ClipSpec], Clip]) -> None:
    need_ffmpeg()
    clip = clip_of(ClipSpec(name="hooks-kill", duration_s=30))
    before = running_origin(tmp_path)
    with HookServer("down") as server:
        server.down()
        origin = before.__enter__()
        try:
            hook_id = hook(origin, server)
            stream = origin.create_stream("t")
            url = origin.publish_url(stream.key)
            with publish_with_ffmpeg(clip.path, url, tmp_path / "ffmpeg"):
                origin.wait_status(stream, "live", timeout_s=15)
                for number in range(ROUNDS):
                    rename(origin, stream, number)
                wait_until(
                    lambda: pending(origin, hook_id) >= ROUNDS + 3,
                    timeout_s=10,
                    what="everything is written",
                )
                os.killpg(origin.child.pid, signal.SIGKILL)
        finally:
            with pytest.raises(AssertionError, match="exit code -9"):
                before.__exit__(None, None, None)
        server.up()
        with running_origin(tmp_path) as again:
            again.secrets |= origin.secrets
            wait_until(
                lambda: "stream.ended" in server.types(stream.id),
                timeout_s=RETURN_S,
                what="the end of the broadcast that was cut off",
            )
            assert server.numbers(stream.id) == list(range(ROUNDS))
            kinds = [kind for kind in server.types(stream.id) if not kind.startswith("alert.")]
            assert kinds == [
                "stream.created",
                "stream.live",
                "publisher.connected",
                "stream.ended",
            ]
            (end,) = [event for event in server.events if event["type"] == "stream.ended"]
            assert end["data"]["reason"] == "the server stopped without a word"
            assert not server.problems


def pending(origin: Origin, hook_id: str) -> int:
    """How many deliveries are written and wait."""
    path = f"/api/hooks/{hook_id}/deliveries?status=pending&limit=200"
    answer = origin.call("GET", path, token=origin.admin_token())
    assert answer.status == 200, answer.text
    return len(answer.json()["deliveries"])


@pytest.mark.hard_cap(60)
def test_a_program_says_who_may_publish_and_where(
    tmp_path: Path, clip_of: Callable[[ClipSpec], Clip]
) -> None:
    need_ffmpeg()
    clip = clip_of(ClipSpec(name="hooks-publish", duration_s=8))
    with AskServer() as program:
        env = {"HEADRACE_PUBLISH_WEBHOOK": program.url, "HEADRACE_PUBLISH_WEBHOOK_SECRET": "hidden"}
        with running_origin(tmp_path, env=env) as origin:
            origin.secrets.add("hidden")
            own, other = origin.create_stream("own"), origin.create_stream("other")
            url = origin.publish_url(own.key)

            program.answer = {"action": "deny", "reason": "not before eight"}
            with publish_with_ffmpeg(clip.path, url, tmp_path / "denied") as denied:
                denied.wait(10)
            origin.child.wait_for_log("refused: not before eight", timeout_s=5)
            assert origin.live_ids() == []
            (asked,) = program.asked
            assert (asked["streamId"], asked["app"]) == (own.id, "live")
            assert asked["address"] == "127.0.0.1"
            assert "Lavf" in asked["encoder"] or "FMLE" in asked["encoder"], asked["encoder"]

            program.answer = {"action": "rename", "streamId": other.id}
            with publish_with_ffmpeg(clip.path, url, tmp_path / "renamed") as renamed:
                origin.wait_status(other, "live", timeout_s=10)
                assert origin.live_ids() == [other.id]
                rotated = origin.post(f"/api/streams/{own.id}/key", {}, token=own.key)
                assert rotated.status == 200, rotated.text
                key = str(rotated.json()["streamKey"])
                origin.secrets.add(key)
                renamed.wait(10)  # its key has ended, and it with it

            program.answer = {"action": "allow"}
            url = origin.publish_url(key)
            with publish_with_ffmpeg(clip.path, url, tmp_path / "allowed"):
                origin.wait_status(own, "live", timeout_s=10)
