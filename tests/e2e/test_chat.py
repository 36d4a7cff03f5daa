"""Chat in a live broadcast: two watch pages that play it, and a client of the REST calls.

A guest (Ada) and a moderator (Mia, who came with a token) have pages; Rita writes by REST alone.
What moderators do must show on both pages within a second, and whoever is banned stays out, by
whatever way they come back. An origin that is killed loses nothing of it.
"""

import os
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from busy_clip import publish_in_a_loop
from chat_page import ChatPage
from child_process import wait_until
from chromium_player import Player, Viewers
from ffmpeg_cli import need_ffmpeg
from media_clips import Clip, ClipSpec
from origin_process import Answer, CreatedStream, HttpClient, Origin, running_origin

pytestmark = [pytest.mark.e2e, pytest.mark.long]

AT_ONCE_S = 1.0
CLIP = ClipSpec(name="chat", b_frames=2, duration_s=20.0)


@dataclass
class Rest:
    """The REST calls of one stream's chat."""

    origin: Origin
    stream: CreatedStream

    def call(
        self, method: str, path: str = "", body: object = None, *, token: str | None = None
    ) -> Answer:
        """Call `path` below `/api/streams/{id}/chat`."""
        client = HttpClient(self.origin.http)
        try:
            return client.request(
                method,
                f"/api/streams/{self.stream.id}/chat{path}",
                body=body,
                headers={"Authorization": f"Bearer {token}"} if token else {},
            )
        finally:
            client.close()

    def mint(self, name: str, role: str) -> str:
        """A token for `name`, whose id is the same in lower case."""
        body = {"userId": name.lower(), "username": name, "role": role}
        answer = self.call("POST", "/token", body, token=self.stream.key)
        assert answer.status == 201, answer.text
        token = str(answer.json()["token"])
        self.origin.secrets.add(token)
        return token

    def say(self, token: str, text: str, *, status: int = 201) -> dict[str, Any]:
        """Say something; the answer must have this status."""
        answer = self.call("POST", "", {"content": text}, token=token)
        assert answer.status == status, answer.text
        return dict(answer.json())

    def history(self) -> list[dict[str, Any]]:
        """What everybody may read."""
        answer = self.call("GET", "?limit=200")
        assert answer.status == 200, answer.text
        return list(answer.json()["messages"])

    def wait_closed(self, token: str, text: str) -> dict[str, Any]:
        """Wait until whoever holds a token may not write; why not."""

        def look() -> dict[str, Any] | None:
            answer = self.call("POST", "", {"content": text}, token=token)
            return dict(answer.json()) if answer.status == 403 else None

        return wait_until(look, timeout_s=5, what="who wrote is refused")


@dataclass
class Show:
    """A broadcast with two pages."""

    rest: Rest
    ada: ChatPage
    mia: ChatPage
    players: list[Player]
    rita: str
    """Rita's token."""

    def wait_same(self, *texts: str) -> None:
        """Wait until both pages show these, and what the store has, in one order."""
        for page in (self.ada, self.mia):
            for text in texts:
                page.wait_text(text)
        ids = [message["id"] for message in self.rest.history()]
        for page in (self.ada, self.mia):
            assert page.ids == ids, page.name

    def wait_gone(self, text: str, chosen_s: float) -> float:
        """Wait until neither page shows `text`; how long that took."""
        for page in (self.ada, self.mia):
            page.wait_gone(text)
        return time.monotonic() - chosen_s


@contextmanager
def show(
    origin: Origin, stream: CreatedStream, viewers: Viewers, clip: Clip, folder: Path
) -> Iterator[Show]:
    """Publish, open both pages, and wait until they play and have joined."""
    rest = Rest(origin, stream)
    with ExitStack() as stack:
        url = origin.publish_url(stream.key)
        stack.enter_context(publish_in_a_loop(clip.path, url, folder / "ffmpeg.log"))
        origin.wait_status(stream, "live", timeout_s=15)
        pages = []
        for name, fragment in (("ada", ""), ("mia", f"#chatToken={rest.mint('Mia', 'moderator')}")):
            player = stack.enter_context(viewers.viewer(name))
            player.open(origin.watch_url(stream) + fragment)
            pages.append((player, ChatPage(player.page, name)))
        for player, chat in pages:
            player.wait_playing()
            chat.wait_state("joined")
        (_, ada), (_, mia) = pages
        ada.call_me("Ada")
        wait_until(lambda: _named(ada, "Ada"), timeout_s=5, what="the guest has a name")
        yield Show(rest, ada, mia, [player for player, _ in pages], rest.mint("Rita", "viewer"))


def _named(chat: ChatPage, name: str) -> bool:
    chat.page.wait_for_timeout(20)
    return chat.state == "joined" and chat.me["username"] == name


def _wait_live(player: Player) -> None:
    def is_live() -> bool:
        player.page.wait_for_timeout(50)
        return bool(player.page.evaluate("headrace.state") == "live")

    wait_until(is_live, timeout_s=20, what=f"{player.name} plays again")


@pytest.mark.hard_cap(120)
def test_two_pages_and_a_rest_client_in_a_live_broadcast(
    origin: Origin,
    clip_of: Callable[[ClipSpec], Clip],
    viewers: Viewers,
    tmp_path: Path,
    figures: Callable[[str], None],
) -> None:
    need_ffmpeg()
    stream = origin.create_stream("chat")
    with show(origin, stream, viewers, clip_of(CLIP), tmp_path) as on:
        rest, ada, mia = on.rest, on.ada, on.mia
        mia.say("/slow off")
        mia.wait_note("slow mode is off")

        # Talk.
        ada.say("first, by Ada")
        mia.say("second, by Mia")
        rest.say(on.rita, "third, by Rita")
        on.wait_same("first, by Ada", "second, by Mia", "third, by Rita")
        for number in range(3):  # five at once are let through
            ada.say(f"Ada {number}")
            rest.say(on.rita, f"Rita {number}")
            mia.say(f"Mia {number}")
        last = [f"{name} 2" for name in ("Ada", "Rita", "Mia")]
        on.wait_same(*last)
        assert len(ada.ids) == 12

        # Held, approved, pinned.
        changed = rest.call("PATCH", "/settings", {"links": "hold"}, token=stream.key)
        assert changed.status == 200, changed.text
        rest.say(on.rita, "see http://example.org", status=202)
        mia.page.locator("#chat-held").get_by_role("button", name="Approve").click()
        on.wait_same("see http://example.org")
        mia.moderate("first, by Ada", "Pin")
        ada.page.locator("#chat-pinned", has_text="first, by Ada").wait_for(timeout=5000)

        # In time with the picture.
        synced = rest.say(on.rita, "look at that")
        ada.wait_text("look at that")
        picture_ms = ada.page.evaluate("headrace.hls.playingDate.getTime()")
        started_ms = ada.page.evaluate("Date.parse(headrace.info.startedAt)")
        behind_s = (picture_ms - started_ms) / 1000 - synced["streamTime"]
        figures(f"a message is shown {behind_s:.2f} s behind its picture")
        assert 0 <= behind_s < 1
        ada.page.uncheck("#chat-sync")
        said_s = time.monotonic()
        rest.say(on.rita, "this at once")
        ada.wait_text("this at once")
        instant_s = time.monotonic() - said_s
        assert instant_s < 0.5

        # Delete, silence, ban.
        gone = {}
        mia.wait_text("this at once")
        chosen_s = mia.moderate("Ada 1", "Delete")
        gone["delete"] = on.wait_gone("Ada 1", chosen_s)
        assert "Ada 2" in ada.texts
        chosen_s = mia.moderate("Rita 2", "Time out 10 min")
        gone["timeout"] = on.wait_gone("Rita 2", chosen_s)
        assert not [text for text in ada.texts + mia.texts if "Rita" in text]
        assert rest.wait_closed(on.rita, "but")["code"] == "timedOut"
        assert int(rest.call("POST", "", {"content": "but"}, token=on.rita).headers["retry-after"])
        mia.say("/untimeout rita")
        mia.wait_note("may write again")
        rest.say(on.rita, "thank you")
        on.wait_same("thank you")

        guest = str(ada.page.evaluate("localStorage.getItem('headrace.chat.guest')"))
        origin.secrets.add(guest)
        rest.say(guest, "Ada, by REST")
        on.wait_same("Ada, by REST")
        chosen_s = mia.moderate("Ada 2", "Ban")
        gone["ban"] = on.wait_gone("Ada 2", chosen_s)
        ada.wait_state("banned", timeout_s=2)
        gone["banned page"] = time.monotonic() - chosen_s
        assert not [message for message in mia.messages if message["username"] == "Ada"]
        figures(
            f"at once {instant_s:.2f} s; "
            + ", ".join(f"{what} {seconds:.2f} s" for what, seconds in gone.items())
        )
        assert max(gone.values()) < AT_ONCE_S

        # The banned guest comes back: by a reload, as somebody new, by REST.
        ada.page.reload()
        ada.wait_state("banned")
        ada.page.evaluate("localStorage.setItem('headrace.chat.name', 'Somebody Else')")
        ada.page.reload()
        ada.wait_state("banned")
        ada.page.evaluate("localStorage.clear()")
        ada.page.reload()
        ada.wait_state("banned")
        assert rest.wait_closed(guest, "let me in")["code"] == "banned"
        assert rest.say(on.rita, "we are alone")["username"] == "Rita"
        mia.wait_text("we are alone")
        assert "we are alone" not in ada.texts

        for player in on.players:
            origin.saw(f"the page of {player.name}", player.page.content())
        played = on.players[1].report()
        figures(played.summary())
        assert not played.stalls()
        assert not [error for error in played.hls_errors if error["fatal"]]
        assert not played.console, played.console
    entries = rest.call("GET", "/audit", token=stream.key).json()["entries"]
    assert {"settings", "delete", "timeout", "untimeout", "ban"} <= {
        one["action"] for one in entries
    }


@pytest.mark.hard_cap(120)
def test_an_origin_that_is_killed_has_forgotten_nothing(
    clip_of: Callable[[ClipSpec], Clip],
    viewers: Viewers,
    tmp_path: Path,
    figures: Callable[[str], None],
) -> None:
    need_ffmpeg()
    clip = clip_of(CLIP)
    folder = tmp_path / "origin"
    folder.mkdir()
    before = running_origin(folder)
    origin = before.__enter__()
    try:
        stream = origin.create_stream("killed")
        with ExitStack() as stack:
            on = stack.enter_context(show(origin, stream, viewers, clip, tmp_path))
            rest, ada, mia = on.rest, on.ada, on.mia
            bert = rest.mint("Bert", "viewer")
            rest.say(bert, "spam")
            mia.wait_text("spam")
            mia.moderate("spam", "Ban")
            rest.wait_closed(bert, "more spam")
            mia.say("/slow 1")
            mia.wait_note("slow mode: 1 s")
            rest.say(on.rita, "to be silenced")
            mia.wait_text("to be silenced")
            mia.moderate("to be silenced", "Time out 10 min")
            rest.wait_closed(on.rita, "still here")
            ada.say("before")
            on.wait_same("before")
            who = ada.me["userId"]

            os.killpg(origin.child.pid, signal.SIGKILL)
            killed_s = time.monotonic()
            for page in (ada, mia):
                page.wait_state("waiting")
            with pytest.raises(AssertionError, match="exit code -9"):
                before.__exit__(None, None, None)
            after = running_origin(folder, "--http", origin.http, "--rtmp", origin.rtmp)
            origin = rest.origin = stack.enter_context(after)
            rest.call("POST", "", {"content": "nobody is back yet"}, token=stream.key)
            for page in (ada, mia):
                page.wait_state("joined", timeout_s=20)
            figures(f"back after {time.monotonic() - killed_s:.1f} s")
            assert ada.me == {
                "userId": who,
                "username": "Ada",
                "role": "viewer",
                "isGuest": True,
            }
            ada.say("after")
            on.wait_same("before", "nobody is back yet", "after")
            assert rest.say(bert, "and me?", status=403)["code"] == "banned"
            assert rest.say(on.rita, "and me?", status=403)["code"] == "timedOut"
            assert rest.call("GET", "/settings").json()["slowModeS"] == 1

            url = origin.publish_url(stream.key)
            stack.enter_context(publish_in_a_loop(clip.path, url, tmp_path / "again.log"))
            for player in on.players:
                _wait_live(player)
    except BaseException as error:
        before.__exit__(type(error), error, error.__traceback__)
        raise
