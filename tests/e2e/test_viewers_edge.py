"""Viewers of all kinds, at an origin and behind an edge of two workers, from one address and from
several: in within 15 s, out within 60, pages exactly, others within a tenth, nobody twice.

Prints what was counted when. The contract is the issue's (docs/viewers.md).
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from bare_players import Crowd, bare_players
from child_process import wait_until
from chromium_player import Viewers
from edge_process import running_edge
from origin_process import Origin, running_origin

pytestmark = [pytest.mark.e2e, pytest.mark.long]

IN_S = 15.0
OUT_S = 60.0
HOLD_S = 12.0
"""How long a count must stay where it is."""


class Counter:
    """Asks the origin how many watch, and prints what it hears."""

    def __init__(self, origin: Origin, stream_id: str) -> None:
        self._origin, self._stream_id = origin, stream_id
        self.begun_s = time.monotonic()

    def count(self) -> int:
        path = f"/api/streams/{self._stream_id}/viewers"
        return int(self._origin.get(path).json()["count"])

    def wait(self, what: str, is_right: Callable[[int], bool], timeout_s: float) -> None:
        """Wait until the count is right, and print how long that took."""
        begun_s = time.monotonic()
        seen: list[tuple[float, int]] = []

        def is_there() -> bool:
            count = self.count()
            if not seen or seen[-1][1] != count:
                seen.append((round(time.monotonic() - begun_s, 1), count))
            return is_right(count)

        try:
            wait_until(is_there, timeout_s=timeout_s, what=what)
        finally:
            print(f"{what}: after {time.monotonic() - begun_s:.1f} s; {seen}", flush=True)

    def hold(self, what: str, is_right: Callable[[int], bool]) -> None:
        """See that the count stays right."""
        until_s = time.monotonic() + HOLD_S
        seen: list[int] = []
        wait_until(
            lambda: not seen.append(self.count()) and time.monotonic() > until_s,  # type: ignore[func-returns-value]
            timeout_s=HOLD_S + 10,
            what="a while is over",
        )
        print(f"{what}, for {HOLD_S:.0f} s: {min(seen)} to {max(seen)}", flush=True)
        assert all(map(is_right, seen)), seen


def quality(origin: Origin, stream_id: str) -> Any:
    """How viewers fare."""
    path = f"/api/streams/{stream_id}/quality"
    return origin.call("GET", path, token=origin.admin_token()).json()


def near(wanted: int, exact: int = 0) -> Callable[[int], bool]:
    """Within a tenth (or one) of so many bare players, and so many others exactly."""
    return lambda count: abs(count - exact - wanted) <= max(1, wanted / 10)


def exactly(wanted: int) -> Callable[[int], bool]:
    return lambda count: count == wanted


@pytest.mark.hard_cap(400)
def test_pages_bare_players_and_a_mix_behind_one_address(viewers: Viewers, tmp_path: Path) -> None:
    with running_origin(tmp_path, "--demo") as origin:
        token = origin.create_token(["edge"])
        stream_id = origin.child.wait_for_log(r"http://\S+/watch/([^\s\"]+)", timeout_s=15).group(1)
        counter = Counter(origin, stream_id)
        with (
            running_edge(
                tmp_path, origin.url(""), workers=2, env={"HEADRACE_UPSTREAM_TOKEN": token}
            ) as edge,
            bare_players(tmp_path) as players,
        ):

            def crowd(kind: str, count: int, at: str = edge.http, **more: str) -> Crowd:
                return Crowd(kind, count, at, stream_id, **more)

            # A page and bare players behind one address, as everybody here is.
            with viewers.viewer("first") as first:
                first.open(origin.url(f"/watch/{stream_id}"))
                first.wait_playing()
                counter.wait("a page at the origin", exactly(1), IN_S)
                with viewers.viewer("second") as second, viewers.viewer("third") as third:
                    for page in (second, third):
                        page.open(edge.url(f"/watch/{stream_id}"))
                        page.wait_playing()
                    counter.wait("two more at the edge", exactly(3), IN_S)
                    counter.hold("three pages", exactly(3))

                    players.begin("blocking", crowd("blocking", 35))
                    players.begin("plain", crowd("plain", 5, agent="PlainPlayer/1.0"))
                    players.begin("named", crowd("named", 10))
                    counter.wait("fifty players at the edge", near(40, exact=13), IN_S)
                    counter.hold("three pages and fifty players", near(40, exact=13))
                    print(said := quality(origin, stream_id), flush=True)
                    assert said["samples"] > 20
                    assert said["bitrateKbps"]["p50"] == pytest.approx(2500, rel=0.2)

                    players.end("blocking")
                    counter.wait("thirty-five of them left", near(5, exact=13), OUT_S)
                    players.end("named")
                    players.end("plain")
                    counter.wait("all of them left", exactly(3), OUT_S)

                    # The same from several addresses, through a proxy, some of them at the origin.
                    for number, at in enumerate([edge.http, edge.http, origin.http, origin.http]):
                        address = f"203.0.113.{number}"
                        players.begin(f"far {number}", crowd("blocking", 4, at, address=address))
                        players.begin(f"named {number}", crowd("named", 1, at, address=address))
                    counter.wait("twenty from four addresses", near(16, exact=7), IN_S)
                    counter.hold("three pages and twenty players", near(16, exact=7))
                counter.wait("two pages have closed", near(16, exact=5), OUT_S)
                for number in range(4):
                    players.end(f"far {number}")
                    players.end(f"named {number}")
                counter.wait("one page is left", exactly(1), OUT_S)
            counter.wait("nobody is left", exactly(0), OUT_S)
            assert players.problems == ""
        figures = origin.get(f"/api/streams/{stream_id}/viewers").json()
        print(figures, flush=True)
        assert 53 - 5 <= figures["peak"] <= 53 + 5


@pytest.mark.hard_cap(120)
def test_an_edge_above_an_edge_is_nobody_and_counts_nobody_twice(tmp_path: Path) -> None:
    with running_origin(tmp_path, "--demo") as origin:
        env = {"HEADRACE_UPSTREAM_TOKEN": origin.create_token(["edge"])}
        stream_id = origin.child.wait_for_log(r"http://\S+/watch/([^\s\"]+)", timeout_s=15).group(1)
        counter = Counter(origin, stream_id)
        with (
            running_edge(tmp_path, origin.url(""), workers=2, env=env, name="shield") as shield,
            running_edge(tmp_path, shield.url(""), workers=2, env=env) as edge,
            bare_players(tmp_path) as players,
        ):
            for number, at in enumerate((origin.http, shield.http, edge.http)):
                agent = f"Player/{number}"
                players.begin(agent, Crowd("blocking", 4, at, stream_id, agent=agent))
                players.begin(f"named {agent}", Crowd("named", 1, at, stream_id, agent=agent))
            counter.wait("twelve bare players and three with names", near(12, exact=3), IN_S)
            counter.hold("fifteen players", near(12, exact=3))
            shield.stop()  # and with it all behind it
            counter.wait("those of the origin are left", near(4, exact=1), OUT_S)
