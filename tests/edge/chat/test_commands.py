"""Commands: every form that is read, and what is said of every form that is not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.chat.commands import (
    DEFAULT_TIMEOUT_S,
    MAX_COMMAND_CHARS,
    MAX_REASON_CHARS,
    MAX_USER_CHARS,
    BadCommand,
    Ban,
    Clear,
    Command,
    Delete,
    EmoteOnly,
    Help,
    Me,
    Mod,
    Pin,
    Slow,
    Timeout,
    Unban,
    Unmod,
    Unpin,
    Untimeout,
    parse,
)


@pytest.mark.parametrize(
    "content", ["", "hello", "a /ban ann", " /ban ann", "//", "//ban ann", "///", "\n/ban ann"]
)
def test_what_is_a_message(content: str) -> None:
    assert parse(content) is None


@pytest.mark.parametrize(
    ("content", "command"),
    [
        ("/ban ann", Ban("ann")),
        ("/ban @ann", Ban("ann")),
        ("/BAN Ann", Ban("Ann")),
        ("/ban   ann   rude   words ", Ban("ann", "rude   words")),
        ("/ban ann\nrude", Ban("ann", "rude")),
        ("/ban\tann", Ban("ann")),
        ('/ban "Guest 1a2b" rude', Ban("Guest 1a2b", "rude")),
        ('/ban @" Guest 1a2b "', Ban("Guest 1a2b")),
        ("/ban \u201cGuest 1a2b\u201d rude", Ban("Guest 1a2b", "rude")),
        ('/ban "a"b c', Ban('"a"b', "c")),
        ('/ban "a b', Ban('"a', "b")),
        ("/ban @@ann", Ban("@ann")),
        ("/ban guest_0123456789abcdef", Ban("guest_0123456789abcdef")),
        ("/ban a\u202enn", Ban("ann")),
        ("/unban ann", Unban("ann")),
        ("/unban @Guest 1a2b", Unban("Guest 1a2b")),
        ('/unban "Guest 1a2b"', Unban("Guest 1a2b")),
        ('/unban a "b"', Unban('a "b"')),
        ("/timeout ann", Timeout("ann", DEFAULT_TIMEOUT_S)),
        ("/timeout ann 60", Timeout("ann", 60)),
        ("/timeout ann 90s rude", Timeout("ann", 90, "rude")),
        ("/timeout ann 10m", Timeout("ann", 600)),
        ("/timeout ann 2H", Timeout("ann", 7200)),
        ("/timeout ann 1d two words", Timeout("ann", 86_400, "two words")),
        ("/timeout ann 99999999d", Timeout("ann", 99_999_999 * 86_400)),
        ("/timeout ann being rude 3 times", Timeout("ann", 600, "being rude 3 times")),
        ('/timeout @"Guest 1" 10m x', Timeout("Guest 1", 600, "x")),
        ("/timeout 10m 10m", Timeout("10m", 600)),
        ("/untimeout @ann", Untimeout("ann")),
        ("/slow 5", Slow(5)),
        ("/slow 1m", Slow(60)),
        ("/slow 0", Slow(0)),
        ("/slow OFF", Slow(0)),
        ("/slowoff", Slow(0)),
        ("/clear", Clear()),
        ("/clear ", Clear()),
        ("/delete 00ff", Delete("00ff")),
        ("/delete " + "f" * 64, Delete("f" * 64)),
        ("/pin 00ff", Pin("00ff")),
        ("/unpin", Unpin()),
        ("/mod @ann", Mod("ann")),
        ("/unmod Guest 1", Unmod("Guest 1")),
        ("/emoteonly on", EmoteOnly(True)),
        ("/emoteonly Off", EmoteOnly(False)),
        ("/emoteonlyoff", EmoteOnly(False)),
        ("/me waves  and leaves", Me("waves  and leaves")),
        ("/help", Help()),
        ("/help ban", Help()),
        (f"/ban {'x' * MAX_USER_CHARS} {'y' * MAX_REASON_CHARS}", Ban("x" * 128, "y" * 200)),
        ("/me " + "x" * (MAX_COMMAND_CHARS - 4), Me("x" * (MAX_COMMAND_CHARS - 4))),
    ],
)
def test_what_is_read(content: str, command: Command) -> None:
    assert parse(content) == command


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("/", "there is no command /: see /help"),
        ("/ ban ann", "there is no command /: see /help"),
        ("/bann ann", "there is no command /bann: see /help"),
        ("/" + "x" * 50, f"there is no command /{'x' * 20}: see /help"),
        ("/\u202e\u0000", "there is no command /: see /help"),
        ("/ban", "usage: /ban USER [REASON]"),
        ("/Ban @", "usage: /ban USER [REASON]"),
        ('/ban ""', "usage: /ban USER [REASON]"),
        ('/ban @" " x', "usage: /ban USER [REASON]"),
        (f"/ban {'x' * (MAX_USER_CHARS + 1)}", "usage: /ban USER [REASON]"),
        (f"/ban ann {'y' * (MAX_REASON_CHARS + 1)}", "a reason has at most 200 characters"),
        ("/unban", "usage: /unban USER"),
        (f"/unban {'x' * (MAX_USER_CHARS + 1)}", "usage: /unban USER"),
        ("/timeout", "usage: /timeout USER [TIME] [REASON]"),
        ("/timeout ann 10x", "a time is written as 90, 90s, 10m, 2h or 1d"),
        ("/timeout ann -5", "a time is written as 90, 90s, 10m, 2h or 1d"),
        ("/timeout ann 1.5h", "a time is written as 90, 90s, 10m, 2h or 1d"),
        ("/timeout ann 123456789", "a time is written as 90, 90s, 10m, 2h or 1d"),
        (f"/timeout ann 5m {'y' * 201}", "a reason has at most 200 characters"),
        (f"/timeout ann {'y' * 201}", "a reason has at most 200 characters"),
        ("/untimeout @", "usage: /untimeout USER"),
        ("/slow", "usage: /slow TIME, or off"),
        ("/slow down", "a time is written as 90, 90s, 10m, 2h or 1d"),
        ("/slow \u0665", "a time is written as 90, 90s, 10m, 2h or 1d"),
        ("/slow 5 6", "a time is written as 90, 90s, 10m, 2h or 1d"),
        ("/slowoff now", "usage: /slowoff"),
        ("/clear ann", "usage: /clear"),
        ("/delete", "usage: /delete ID"),
        ("/delete 1 2", "usage: /delete ID"),
        ("/delete " + "f" * 65, "usage: /delete ID"),
        ("/pin", "usage: /pin ID"),
        ("/unpin 1", "usage: /unpin"),
        ("/mod", "usage: /mod USER"),
        ('/unmod ""', "usage: /unmod USER"),
        ("/emoteonly", "usage: /emoteonly on, or off"),
        ("/emoteonly maybe", "usage: /emoteonly on, or off"),
        ("/emoteonlyoff x", "usage: /emoteonlyoff"),
        ("/me", "usage: /me TEXT"),
        ("/me \u200b", "usage: /me TEXT"),
        ("/me " + "x" * (MAX_COMMAND_CHARS - 3), "a command has at most 500 characters"),
    ],
)
def test_what_is_not_read_and_what_would_be_right(content: str, text: str) -> None:
    with pytest.raises(BadCommand) as caught:
        parse(content)
    assert str(caught.value) == text


@given(st.text(max_size=60).map("/".__add__) | st.text(max_size=20))
def test_any_text_is_a_message_a_command_or_a_bad_one(content: str) -> None:
    is_message = not content.startswith("/") or content.startswith("//")
    try:
        assert (parse(content) is None) == is_message
    except BadCommand as error:
        said = str(error)
    else:
        return
    assert not is_message
    assert 1 <= len(said) <= 100


words = st.text("abcXYZ_-\u00e9\u4e2d", min_size=1, max_size=12)
units = st.sampled_from([("", 1), ("s", 1), ("m", 60), ("h", 3600), ("d", 86_400)])


@given(
    user=st.lists(words, min_size=1, max_size=3).map(" ".join),
    count=st.integers(0, 10**8 - 1),
    unit=units,
    reason=st.lists(words, max_size=5).map(" ".join),
    blanks=st.integers(1, 3),
)
def test_a_timeout_with_all_it_can_have(
    user: str, count: int, unit: tuple[str, int], reason: str, blanks: int
) -> None:
    content = (" " * blanks).join(["/timeout", f'"{user}"', f"{count}{unit[0]}", reason])
    assert parse(content) == Timeout(user, count * unit[1], reason)
