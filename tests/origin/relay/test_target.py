"""URLs of far servers, and when to try one again."""

import pytest

from origin.relay.backoff import FIRST_S, LONGEST_S, PROVEN_S, Backoff
from origin.relay.target import MAX_URL_CHARS, Target, parse_target

SECRET = "live_123456789_AbCdEf"


def target(host: str, port: int, app: str, key: str, *, secure: bool = False) -> Target:
    return Target(host=host, port=port, secure=secure, app=app, key=key)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("rtmp://live.twitch.tv/app/k", target("live.twitch.tv", 1935, "app", "k")),
        ("rtmp://host:19350/live2/k-k", target("host", 19350, "live2", "k-k")),
        (
            "rtmps://host:443/rtmp/FB-1?s=2&t=3",
            target("host", 443, "rtmp", "FB-1?s=2&t=3", secure=True),
        ),
        ("rtmps://HOST/app/k", target("host", 443, "app", "k", secure=True)),
        ("rtmp://host/app/instance/k/", target("host", 1935, "app/instance", "k")),
        ("rtmp://[::1]:1/app/k", target("::1", 1, "app", "k")),
    ],
)
def test_a_url_names_host_application_and_key(url: str, expected: Target) -> None:
    assert parse_target(url) == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        (f"http://host/app/{SECRET}", "begins with rtmp:// or rtmps://"),
        (f"//host/app/{SECRET}", "begins with rtmp:// or rtmps://"),
        ("", "begins with rtmp:// or rtmps://"),
        (f"rtmp:///app/{SECRET}", "malformed host or port"),
        (f"rtmp://host:0/app/{SECRET}", "malformed host or port"),
        (f"rtmp://host:65536/app/{SECRET}", "malformed host or port"),
        (f"rtmp://host:x/app/{SECRET}", "malformed host or port"),
        (f"rtmp://[::1/app/{SECRET}", "malformed host or port"),
        (f"rtmp://me:word@host/app/{SECRET}", "no user name and no #"),
        (f"rtmp://host/app/{SECRET}#x", "no user name and no #"),
        (f"rtmp://host/{SECRET}", "needs an application and a key"),
        (f"rtmp://host//{SECRET}", "needs an application and a key"),
        (f"rtmp://host?{SECRET}", "needs an application and a key"),
        (f"rtmp://host/app/{SECRET} x", "need percent encoding"),
        (f"rtmp://host/app/{SECRET}\r\n", "need percent encoding"),
        (f"rtmp://h\u00f6st/app/{SECRET}", "need percent encoding"),
        ("rtmp://host/app/" + SECRET * MAX_URL_CHARS, f"longer than {MAX_URL_CHARS}"),
    ],
)
def test_what_is_no_url_is_refused_and_not_repeated(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        parse_target(url)
    assert SECRET not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_the_longest_url_is_read() -> None:
    prefix = "rtmp://host/app/"
    url = prefix + "k" * (MAX_URL_CHARS - len(prefix))
    assert len(parse_target(url).key) == MAX_URL_CHARS - len(prefix)


def test_a_target_shows_host_and_port_only() -> None:
    shown = parse_target(f"rtmp://[::1]/app-{SECRET}/{SECRET}?q={SECRET}")
    assert SECRET not in repr(shown)
    assert shown.name == "[::1]:1935"
    assert shown.tc_url == f"rtmp://[::1]:1935/app-{SECRET}"


def test_what_a_server_says_of_a_key_is_hidden() -> None:
    shown = parse_target(f"rtmps://host/live/{SECRET}?sign=abcdef")
    said = f"no live stream {SECRET}?sign=abcdef, nor {SECRET}"
    assert shown.hide(said) == "no live stream [hidden], nor [hidden]"


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff(draw=lambda: 1.0)
    pauses_s = [backoff.pause_s(0.0) for _ in range(9)]
    assert pauses_s == [FIRST_S, 2, 4, 8, 16, 32, LONGEST_S, LONGEST_S, LONGEST_S]


def test_a_pause_is_drawn_from_its_upper_half() -> None:
    assert Backoff(draw=lambda: 0.0).pause_s(0.0) == FIRST_S / 2
    assert FIRST_S / 2 <= Backoff().pause_s(0.0) < FIRST_S


def test_what_has_worked_begins_anew_and_what_has_not_does_not() -> None:
    backoff = Backoff(draw=lambda: 1.0)
    backoff.pause_s(0.0)
    assert backoff.pause_s(PROVEN_S - 0.1) == 2 * FIRST_S
    assert backoff.pause_s(PROVEN_S) == FIRST_S
    assert backoff.pause_s(0.0) == 2 * FIRST_S
