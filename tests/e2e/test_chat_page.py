"""The chat of the watch page, in Chromium, against a server on a script and without a network.

What the real server does to it, with a broadcast beside it, is `test_chat`'s.
"""

from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import pairwise
from pathlib import Path

import pytest
from chat_page import ChatPage
from child_process import wait_until
from chromium_player import Viewers, chromium, need_chromium
from origin_process import ROOT
from playwright.sync_api import expect
from scripted_chat import NOW_MS, File, ScriptedChat, message

from edge.web import Pages

pytestmark = [pytest.mark.e2e, pytest.mark.long]

ARTIFACTS = ROOT / "test-artifacts" / "chat-page"
MODERATOR = {"userId": "mia", "username": "Mia", "role": "moderator"}


@pytest.fixture(scope="module")
def browser() -> Iterator[Viewers]:
    need_chromium()
    with chromium(ARTIFACTS) as running:
        yield running


@pytest.fixture(scope="module")
def file() -> Callable[[str, str], File | None]:
    """The pages as they are served, policy and all."""
    pages = Pages.load()

    def find(path: str, query: str) -> File | None:
        found = pages.watch if path.startswith("/watch/") else pages.get(path, query)
        if found is None:
            return None
        headers = {name.decode(): value.decode() for name, value in found.fields}
        return headers, b"".join(map(bytes, found.chunks))

    return find


class Room:
    """A page and its server."""

    def __init__(self, chat: ChatPage, server: ScriptedChat) -> None:
        self.chat = chat
        self.page = chat.page
        self.server = server

    def open(self, *, fragment: str = "", joined: bool = True) -> None:
        """Go to the page and wait until it has joined."""
        self.page.goto(self.server.url + fragment)
        if joined:
            self.chat.wait_state("joined")

    def until(self, look: Callable[[], object], what: str, timeout_s: float = 5.0) -> None:
        """Wait until something has come about."""

        def seen() -> bool:
            self.page.wait_for_timeout(10)
            return bool(look())

        wait_until(seen, timeout_s=timeout_s, what=what)

    def wait_heard(self, frame: Mapping[str, object]) -> None:
        """Wait until the page has sent a frame."""
        self.until(lambda: frame in self.server.heard, str(frame))

    def press_button(self, name: str) -> None:
        """Click a button of the chat."""
        self.page.locator("#chat").get_by_role("button", name=name, exact=True).click()

    @property
    def send_button(self) -> str:
        """What the button says."""
        return self.page.locator("#chat-send").inner_text()


@pytest.fixture
def room(browser: Viewers, file: Callable[[str, str], File | None]) -> Iterator[Room]:
    with browser.viewer("chat") as player:
        yield Room(ChatPage(player.page, "chat"), ScriptedChat(player.page, file))
        assert not [line for line in player.report().console if "404" not in line]


# Talk


def test_what_was_said_before_and_text_that_is_no_markup(room: Room) -> None:
    evil = '<img src=x onerror="document.title=1"><b>bold</b>'
    room.server.history = [message(1), message(2, evil, username="<i>Eve</i>")]
    room.open()
    assert room.chat.texts == ["text 1", evil]
    assert room.page.locator("#chat-list img, #chat-list b, #chat-list i").count() == 0
    assert "<i>Eve</i>" in room.page.locator("#chat-list").inner_text()
    assert "7 here" in room.page.locator("#chat-facts").inner_text()


def test_enter_sends_and_the_answer_is_shown_once(room: Room) -> None:
    room.open()
    room.chat.say("  hello  ")
    room.until(lambda: room.server.heard[-1]["type"] == "message", "it is sent")
    sent = room.server.last("message")
    assert sent["content"] == "hello"
    assert room.page.input_value("#chat-text") == ""
    mine = message(3, "hello", userId="guest_1", clientId=sent["clientId"])
    room.server.tell(mine)
    room.server.tell(mine, message(4))
    room.chat.wait_text("text 4")
    assert room.chat.texts == ["hello", "text 4"]


def test_messages_are_in_the_order_of_their_ids(room: Room) -> None:
    room.open()
    for number in (5, 3, 9, 4):
        room.server.tell(message(number))
    room.until(lambda: len(room.chat.texts) == 4, "all are shown")
    assert room.chat.texts == ["text 3", "text 4", "text 5", "text 9"]


def test_no_more_than_500_are_shown_and_old_ones_do_not_come_back(room: Room) -> None:
    room.open()
    room.server.tell(*[message(number) for number in range(1, 701)])
    room.chat.wait_text("text 700")
    assert room.chat.texts == [f"text {number}" for number in range(201, 701)]
    room.server.tell(message(7))
    room.server.tell(message(701))
    room.chat.wait_text("text 701")
    assert room.chat.texts[0] == "text 202"
    assert room.page.evaluate("headrace.chat.known") == 500


def test_slow_mode_counts_down_on_the_button(room: Room) -> None:
    room.server.settings["slowModeS"] = 3
    room.open()
    room.chat.say("one")
    room.until(lambda: room.server.heard[-1]["type"] == "message", "it is sent")
    room.server.tell(message(1, "one", userId="guest_1"))
    room.until(lambda: room.send_button == "3 s", "it counts from three")
    room.chat.say("two")
    room.until(lambda: room.send_button == "1 s", "it counts to one")
    assert room.page.input_value("#chat-text") == "two"
    room.until(lambda: room.send_button == "Send", "it is over")
    assert room.server.last("message")["content"] == "one"
    room.page.press("#chat-text", "Enter")
    room.until(lambda: room.server.last("message")["content"] == "two", "it is sent")


def test_a_refused_message_is_given_back_and_the_error_says_when(room: Room) -> None:
    room.open()
    room.chat.say("too soon")
    room.until(lambda: room.server.heard[-1]["type"] == "message", "it is sent")
    client_id = room.server.last("message")["clientId"]
    room.server.say(
        "error", code="slowMode", message="not so fast", retryAfter=2.4, clientId=client_id
    )
    room.chat.wait_note("Not so fast. Try again in 3 s.")
    assert room.page.input_value("#chat-text") == "too soon"
    assert room.send_button == "3 s"


def test_guests_may_be_shut_out_and_let_in(room: Room) -> None:
    room.server.settings["guestsAllowed"] = False
    room.open()
    assert room.page.is_disabled("#chat-text")
    room.server.say("settings", settings=room.server.settings | {"guestsAllowed": True})
    room.until(lambda: room.page.is_enabled("#chat-text"), "the field is open")


def test_the_list_stays_where_the_reader_is(room: Room) -> None:
    room.server.history = [message(number) for number in range(1, 101)]
    room.open()

    def from_end() -> float:
        js = "e => e.scrollHeight - e.scrollTop - e.clientHeight"
        return float(room.page.locator("#chat-list").evaluate(js))

    room.until(lambda: from_end() < 2, "the end is in view")
    room.page.locator("#chat-list").hover()
    room.page.mouse.wheel(0, -15)  # a finger that begins to move
    room.until(lambda: from_end() > 10, "it is scrolled up")
    room.server.tell(message(101))
    room.until(lambda: room.page.is_visible("#chat-newest"), "the button is there")
    assert from_end() > 10
    room.press_button("New messages")
    room.until(lambda: from_end() < 2, "the end is in view again")
    assert room.page.is_hidden("#chat-newest")
    room.server.tell(message(102))
    room.chat.wait_text("text 102")
    room.until(lambda: from_end() < 2, "it follows again")
    assert room.page.is_hidden("#chat-newest")


def test_letters_typed_here_are_no_keys_of_the_player(room: Room) -> None:
    room.open()
    room.page.evaluate("headrace.video.muted = true")
    room.page.focus("#chat-list")
    room.page.keyboard.press("m")
    assert room.page.evaluate("headrace.video.muted")
    room.page.focus("#player")
    room.page.keyboard.press("m")
    assert not room.page.evaluate("headrace.video.muted")


def test_a_stream_without_chat_shows_none(room: Room) -> None:
    room.server.info["chatEnabled"] = False
    room.open(joined=False)
    room.until(lambda: room.page.locator("#title").inner_text() == "Talk", "it is described")
    assert room.page.is_hidden("#chat")
    assert room.server.heard == []


@pytest.mark.parametrize(("width", "is_beside"), [(390, False), (1000, False), (1400, True)])
def test_below_the_player_on_phones_and_beside_it_on_desks(
    room: Room, width: int, is_beside: bool, tmp_path: Path
) -> None:
    room.server.history = [
        message(number, f"{number} " + "long " * 20, userId=f"user{number}")
        for number in range(1, 40)
    ]
    room.page.set_viewport_size({"width": width, "height": 800})
    room.open()
    chat = room.page.locator("#chat").bounding_box()
    player = room.page.locator("#player").bounding_box()
    assert chat is not None
    assert player is not None
    if is_beside:
        assert chat["x"] >= player["x"] + player["width"]
        assert chat["y"] == pytest.approx(player["y"], abs=1)
        about = room.page.locator(".about").bounding_box()
        assert about is not None
        assert chat["y"] + chat["height"] == pytest.approx(about["y"] + about["height"], abs=2)
    else:
        assert chat["y"] >= player["y"] + player["height"]
    assert room.page.evaluate("document.documentElement.scrollWidth") <= width
    room.page.screenshot(path=tmp_path / "page.png", full_page=True)


# Who


def test_a_guest_comes_back_as_the_same(room: Room) -> None:
    room.open()
    assert room.server.last("join") == {"type": "join"}
    room.page.reload()
    room.until(lambda: room.server.joins == 2, "it has joined again")
    assert room.server.last("join") == {"type": "join", "guest": "guest-token"}


def test_a_name_is_kept(room: Room) -> None:
    room.open()
    room.chat.call_me("Ada")
    room.until(lambda: room.server.joins == 2, "it has joined again")
    room.chat.wait_state("joined")
    join = {"type": "join", "guest": "guest-token", "username": "Ada"}
    assert room.server.last("join") == join
    room.page.reload()
    room.until(lambda: room.server.joins == 3, "it has joined a third time")
    assert room.server.last("join") == join
    assert room.page.input_value("#chat-name") == "Ada"


@pytest.mark.parametrize("code", ["nameTaken", "badName"])
def test_a_name_that_is_refused_is_given_up(room: Room, code: str) -> None:
    room.open()
    room.server.refusals = [{"code": code, "message": "not this one"}]
    room.chat.call_me("Admin")
    room.until(lambda: room.server.joins == 2, "it has joined again")
    assert room.server.last("join")["username"] == "Guest 1"
    room.chat.wait_note("Not this one.")
    assert room.chat.me["username"] == "Guest 1"


def test_a_token_comes_by_the_address_and_does_not_stay_there(room: Room) -> None:
    room.server.me = MODERATOR
    room.open(fragment="#chatToken=secret.of.mine")
    assert room.server.last("join") == {"type": "join", "token": "secret.of.mine"}
    assert room.page.evaluate("location.href") == room.server.url
    assert room.page.is_hidden("#chat-named")
    room.page.reload()
    room.until(lambda: room.server.joins == 2, "it has joined again")
    assert room.server.last("join") == {"type": "join", "token": "secret.of.mine"}
    assert "secret" not in room.page.evaluate("JSON.stringify(localStorage)")


def test_with_a_token_that_is_refused_a_guest_comes(room: Room) -> None:
    room.server.refusals = [{"code": "badToken", "message": "it has expired"}]
    room.open(fragment="#chatToken=old")
    assert room.server.last("join") == {"type": "join"}
    room.chat.wait_note("It has expired.")
    assert room.page.evaluate("sessionStorage.length") == 0


# Moderators' work, as others see it


def test_deleted_messages_vanish(room: Room) -> None:
    room.server.history = [
        message(1),
        message(2),
        message(3, userId="bob"),
        message(4, userId="bob"),
        message(5),
    ]
    room.open()
    room.server.say("deleted", ids=["0000000000000002", "ffffffffffffffff"])
    room.chat.wait_gone("text 2")
    assert room.chat.texts == ["text 1", "text 3", "text 4", "text 5"]
    room.server.say("deleted", userId="bob")
    room.chat.wait_gone("text 4")
    assert room.chat.texts == ["text 1", "text 5"]
    room.server.say("deleted", all=True)
    room.until(lambda: room.chat.texts == [], "all are gone")
    assert room.page.evaluate("headrace.chat.known") == 0


def test_whoever_is_banned_is_gone_for_the_others(room: Room) -> None:
    room.server.history = [message(1, userId="bob"), message(2)]
    room.open()
    room.server.say("banned", userId="bob", until=None, reason="")
    room.chat.wait_gone("text 1")
    assert room.chat.state == "joined"


def test_the_banned_page_is_told_and_does_not_come_back_by_itself(room: Room) -> None:
    room.server.history = [message(1, userId="guest_1"), message(2)]
    room.open()
    room.server.say("banned", userId="guest_1", until=None, reason="spam")
    room.chat.wait_state("banned")
    room.server.hang_up(4003)
    assert room.chat.note == "You are banned from this chat."
    assert room.chat.texts == ["text 2"]
    assert room.page.is_disabled("#chat-text")
    room.page.wait_for_timeout(1500)  # three times what it would wait
    assert room.server.joins == 1
    room.server.refusals = [{"code": "banned", "message": "you are banned from this chat"}]
    room.press_button("Try again")
    room.until(lambda: len(room.server.heard) == 2, "it asks")
    room.chat.wait_state("banned")
    room.press_button("Try again")
    room.chat.wait_state("joined")


def test_a_timeout_silences_until_it_ends(room: Room) -> None:
    room.open()
    room.server.say("banned", userId="guest_1", until=NOW_MS + 120_000, reason="calm down")
    room.chat.wait_note("silenced you for 2 min: calm down.")
    assert room.send_button == "2 min"
    room.server.say("settings", settings=room.server.settings)
    room.chat.say("anything")  # it may have been taken back
    room.until(lambda: room.server.heard[-1]["type"] == "message", "it is tried")
    client_id = room.server.last("message")["clientId"]
    room.server.say("error", code="timedOut", message="not yet", retryAfter=50, clientId=client_id)
    room.until(lambda: room.send_button == "50 s", "it counts down")
    assert room.page.input_value("#chat-text") == "anything"
    room.server.say("banned", userId="guest_1", until=NOW_MS - 1, reason="")
    room.until(lambda: room.send_button == "Send", "it is over")


def test_a_message_is_pinned_and_unpinned(room: Room) -> None:
    room.open()
    assert room.page.is_hidden("#chat-pin")
    room.server.say("pinned", message=message(1, "the rules"))
    room.until(lambda: room.page.is_visible("#chat-pin"), "it is pinned")
    assert room.page.locator("#chat-pinned").inner_text() == "Ann the rules"
    assert room.page.is_hidden("#chat-unpin")
    room.server.say("pinned", message=None)
    room.until(lambda: room.page.is_hidden("#chat-pin"), "it is gone")


# Moderators themselves


def test_a_viewer_has_a_menu_for_its_own_messages_alone(room: Room) -> None:
    room.server.history = [message(1), message(2, userId="guest_1")]
    room.open()
    assert room.chat.line("text 1").get_by_role("button").count() == 0
    room.chat.moderate("text 2", "Delete")
    room.until(lambda: room.server.heard[-1]["type"] == "delete", "it is asked for")
    assert room.server.last("delete")["id"] == "0000000000000002"


def test_who_is_made_a_moderator_has_the_menu_at_once(room: Room) -> None:
    room.server.history = [message(1)]
    room.open()
    buttons = room.chat.line("text 1").get_by_role("button")

    def has(count: int) -> bool:
        return buttons.count() == count

    for role, count in (("moderator", 1), ("viewer", 0)):
        room.server.say("role", role=role)
        room.until(partial(has, count), f"the menu of a {role}")


def test_a_moderators_menu(room: Room) -> None:
    room.server.me = MODERATOR
    room.server.history = [message(1), message(2, role="broadcaster")]
    room.page.set_viewport_size({"width": 1400, "height": 800})
    room.open(fragment="#chatToken=x")
    for action, wanted in (
        ("Delete", {"type": "delete", "id": "0000000000000001"}),
        ("Pin", {"type": "pin", "id": "0000000000000001"}),
        ("Time out 10 min", {"type": "timeout", "userId": "ann", "seconds": 600}),
        ("Ban", {"type": "ban", "userId": "ann"}),
    ):
        room.chat.moderate("text 1", action)
        room.wait_heard(wanted)
    more = room.chat.line("text 2").get_by_role("button", name="More about")
    more.focus()
    room.page.keyboard.press("Enter")
    menu = room.chat.line("text 2").get_by_role("group")
    assert menu.get_by_role("button").all_inner_texts() == ["Delete", "Pin"]
    expect(menu).to_be_in_viewport(ratio=1)
    room.page.keyboard.press("Escape")
    assert menu.count() == 0
    assert more.evaluate("e => e === document.activeElement")


def test_held_messages_are_approved_and_denied(room: Room) -> None:
    room.server.me = MODERATOR
    room.open(fragment="#chatToken=x")
    assert room.page.is_hidden("#chat-review")
    for number in (1, 2, 3):
        room.server.say("held", message=message(number, userId=f"u{number}"), reason="a link")
    held = room.page.locator("#chat-held li")
    room.until(lambda: held.count() == 3, "three wait")
    assert room.chat.texts == []
    held.nth(0).get_by_role("button", name="Approve").click()
    room.until(lambda: room.server.heard[-1]["type"] == "approve", "it is approved")
    assert room.server.last("approve")["id"] == "0000000000000001"
    held.nth(0).get_by_role("button", name="Deny").click()
    room.until(lambda: room.server.heard[-1]["type"] == "deny", "it is denied")
    assert room.server.last("deny")["id"] == "0000000000000002"
    room.server.say("held", message=message(4, userId="u4"), reason="a link")
    room.server.say("deleted", userId="u4")
    room.server.tell(message(9, "text 3", userId="u3"))  # another moderator was quicker
    room.until(lambda: room.page.is_hidden("#chat-review"), "none waits")


def test_the_author_of_a_held_message_is_told(room: Room) -> None:
    room.open()
    room.server.say("held", message=message(1, userId="guest_1"), reason="a link")
    room.chat.wait_note("Your message waits for a moderator: a link.")
    assert room.page.is_hidden("#chat-review")


def test_the_answer_to_a_command_is_shown_and_the_command_is_no_message(room: Room) -> None:
    room.open()
    room.chat.say("/help")
    room.until(lambda: room.server.heard[-1]["type"] == "message", "it is sent")
    room.server.say("notice", text="there is no help")
    room.chat.wait_note("there is no help")
    room.server.hang_up()
    room.until(lambda: room.server.joins == 2, "it has joined again")
    assert room.page.input_value("#chat-text") == ""


# Coming back


def test_it_comes_back_and_has_every_message_once(room: Room) -> None:
    room.server.history = [message(number) for number in range(1, 6)]
    room.open()
    room.server.history += [message(number) for number in range(6, 301)]
    del room.server.history[2]  # deleted meanwhile; and more were said than a join brings
    room.server.hang_up()
    room.until(lambda: room.server.joins == 2, "it has joined again")
    wanted = [one["content"] for one in room.server.history]
    room.until(lambda: room.chat.texts == wanted, "the history is whole")
    assert room.server.asked == ["limit=500"]


def test_after_a_clear_it_comes_back_to_an_empty_room(room: Room) -> None:
    room.server.history = [message(1), message(2)]
    room.open()
    room.server.history = []
    room.server.hang_up()
    room.until(lambda: room.chat.texts == [], "nothing is left")


def test_who_was_left_behind_asks_for_the_history(room: Room) -> None:
    room.open()
    room.server.tell(message(1))
    room.server.history.append(message(2))
    room.server.tell(message(3))
    room.server.say("lagged")
    room.until(lambda: room.chat.texts == ["text 1", "text 2", "text 3"], "the hole is filled")


def test_what_is_deleted_while_the_history_is_asked_for_stays_away(room: Room) -> None:
    room.server.history = [message(1), message(2)]
    room.open()

    def delete() -> None:
        room.server.before_answer = lambda: None
        del room.server.history[0]
        room.server.say("deleted", ids=["0000000000000001"])
        room.page.wait_for_timeout(200)

    room.server.before_answer = delete
    room.server.say("lagged")
    room.until(lambda: len(room.server.asked) == 2, "it asks again")
    room.page.wait_for_timeout(200)
    assert room.chat.texts == ["text 2"]


def test_what_was_on_its_way_when_the_line_broke(room: Room) -> None:
    room.open()
    room.chat.say("arrived")
    room.until(lambda: room.server.heard[-1]["type"] == "message", "it is sent")
    room.server.history = [message(1, "arrived", userId="guest_1")]
    room.server.hang_up()
    room.until(lambda: room.server.joins == 2, "it has joined again")
    assert room.page.input_value("#chat-text") == ""
    room.chat.say("lost")
    room.until(lambda: room.server.last("message")["content"] == "lost", "it is sent")
    room.server.hang_up()
    room.until(lambda: room.server.joins == 3, "it has joined a third time")
    room.until(lambda: room.page.input_value("#chat-text") == "lost", "it is given back")


def test_it_tries_less_and_less_often(room: Room) -> None:
    room.page.clock.install()
    room.open()
    room.page.evaluate(
        """() => {
          window.tries = [];
          const Real = WebSocket;
          window.WebSocket = function (url) {
            tries.push(performance.now());
            return new Real(url);
          };
          WebSocket.OPEN = Real.OPEN;
        }"""
    )
    room.server.is_away = True
    room.server.hang_up()
    room.chat.wait_note("The chat is away. Trying again…")
    for _ in range(90):
        room.page.clock.run_for(500)
        room.page.wait_for_timeout(5)
    tries: list[float] = room.page.evaluate("tries")
    gaps = [round(later - sooner) for sooner, later in pairwise(tries)]
    assert len(gaps) >= 5
    for gap, wanted in zip(gaps, (1000, 2000, 4000, 8000, 10_000), strict=False):
        assert 0.7 * wanted <= gap <= 1.3 * wanted + 600, gaps
    room.server.is_away = False
    room.page.clock.run_for(13_000)
    room.chat.wait_state("joined")


def test_a_line_that_says_nothing_is_asked_and_then_left(room: Room) -> None:
    room.page.clock.install()
    room.open()

    def pings() -> int:
        return [frame["type"] for frame in room.server.heard].count("ping")

    room.page.clock.run_for(26_000)
    room.until(lambda: pings() == 1, "it asks")
    room.page.clock.run_for(20_000)
    assert (pings(), room.server.joins) == (1, 1)  # there was an answer
    room.server.is_mute = True
    room.page.clock.run_for(8000)
    room.until(lambda: pings() == 2, "it asks again")
    assert room.server.joins == 1
    room.page.clock.run_for(11_000)
    room.until(lambda: room.server.joins == 2, "it has joined again")


# In sync with the picture

PLAY = """(ms) => {
  headrace.state = "live";
  headrace.hls = {playingDate: new Date(ms), liveSyncPosition: null, on() {}, destroy() {}};
}"""


def test_a_message_waits_for_the_picture(room: Room) -> None:
    room.server.info["startedAt"] = "2027-01-15T07:59:50.000Z"  # 10 s before NOW_MS
    room.open()
    room.until(lambda: room.page.evaluate("headrace.state") == "missing", "the player rests")
    room.page.evaluate(PLAY, NOW_MS + 2000)
    room.server.tell(
        message(1, streamTime=11.0),
        message(2, streamTime=12.5),
        message(3, streamTime=14.0, userId="guest_1"),
        message(4, streamTime=15.0),
        message(5),
    )
    room.chat.wait_text("text 5")
    assert room.chat.texts == ["text 1", "text 3", "text 5"]  # its own, and one without a time
    room.server.say("deleted", ids=["0000000000000004"])
    room.page.evaluate(PLAY, NOW_MS + 2600)
    room.chat.wait_text("text 2")
    assert room.chat.texts == ["text 1", "text 2", "text 3", "text 5"]
    room.page.evaluate(PLAY, NOW_MS + 9000)
    room.server.tell(message(6, streamTime=100.0), message(7, streamTime=19.0))
    room.chat.wait_text("text 7")  # 6 is of another broadcast: its date is the time of sending
    assert room.chat.texts == [f"text {number}" for number in (1, 2, 3, 5, 6, 7)]
    room.server.tell(message(20, streamTime=30.0))
    room.page.wait_for_timeout(300)
    assert room.page.evaluate("headrace.chat.waiting") == 1
    room.page.uncheck("#chat-sync")
    room.chat.wait_text("text 20")
    room.page.reload()
    room.chat.wait_state("joined")
    assert not room.page.is_checked("#chat-sync")


def test_without_a_picture_nothing_waits(room: Room) -> None:
    room.server.info["startedAt"] = "2027-01-15T07:59:50.000Z"
    room.open()
    room.server.tell(message(1, streamTime=11.0))
    room.chat.wait_text("text 1")


def test_a_message_that_waits_is_deleted_too(room: Room) -> None:
    room.open()
    room.until(lambda: room.page.evaluate("headrace.state") == "missing", "the player rests")
    room.page.evaluate(PLAY, NOW_MS)
    room.server.tell(message(1, streamTime=1.0), message(2, streamTime=2.0))
    room.until(lambda: room.page.evaluate("headrace.chat.waiting") == 2, "two wait")
    room.server.say("deleted", ids=["0000000000000001"])
    room.until(lambda: room.page.evaluate("headrace.chat.waiting") == 1, "one waits")
    room.page.evaluate(PLAY, NOW_MS + 5000)
    room.chat.wait_text("text 2")
    assert room.chat.texts == ["text 2"]


def test_what_waits_is_bounded(room: Room) -> None:
    room.open()
    room.until(lambda: room.page.evaluate("headrace.state") == "missing", "the player rests")
    room.page.evaluate(PLAY, NOW_MS)
    room.server.tell(*[message(number, streamTime=float(number)) for number in range(1, 601)])
    room.chat.wait_text("text 100")
    assert room.chat.texts == [f"text {number}" for number in range(1, 101)]
    assert room.page.evaluate("headrace.chat.waiting") == 500
