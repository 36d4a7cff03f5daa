"""The delivery reactor's accounts: whose playlist requests are counted, and when they are reported.

Bounds are reached, and a machine of rules asserts that no request is lost or counted twice.
"""

import contextlib
import os
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

if os.environ.get("HEADRACE_PURE") == "1":
    pytest.skip("HEADRACE_PURE=1 has no reactor", allow_module_level=True)

from native import Blob, ReactorAccount, fnv1a

from .reactor_rig import HEAD, PREFIX, Rig, read, rigged

if TYPE_CHECKING:
    import socket

MAX_REPORTS = 1_024
REPORT_MS = 5_000
MOVED, MISSING = b"HTTP/1.1 302 Found\r\n", b"HTTP/1.1 404 Not Found\r\n"


def request(path: str, *fields: str, method: str = "GET") -> bytes:
    line = f"{method} {PREFIX.decode()}{path} HTTP/1.1"
    return "\r\n".join([line, "Host: a", *fields, "", ""]).encode()


def reload(
    msn: int | None = None, *fields: str, stream: str = "s", agent: str = "", cmcd: str = ""
) -> bytes:
    """Ask for a media playlist: for a version of it, or for what there is."""
    query = "&".join([f"_HLS_msn={msn}"] * (msn is not None) + [f"CMCD={cmcd}"] * bool(cmcd))
    agents = [f"User-Agent: {agent}"] * bool(agent)
    return request(f"{stream}/q/playlist.m3u8?{query}", *agents, *fields)


def keep(rig: Rig, path: str, head: bytes = HEAD) -> None:
    rig.reactor.put(b"i" + PREFIX + path.encode(), Blob(head, (b"x",)))


def accounts(rig: Rig) -> list[ReactorAccount]:
    return [ReactorAccount(*account) for account in rig.reactor.accounts()]


def fill(rig: Rig) -> None:
    """Let as many reports wait as may; of connections with tag 1."""
    for start in range(0, MAX_REPORTS, 32):
        agents = [f"A{number}" for number in range(start, start + 32)]
        rig.ask(rig.client(tag=1), b"".join(reload(agent=agent) for agent in agents))


def sid(name: str) -> str:
    """A player's CMCD with its session id, as browsers escape it."""
    return f"bl%3D1900%2Csid%3D%22{name}%22%2Csu"


@pytest.fixture
def rig() -> Iterator[Rig]:
    with rigged() as made:
        for stream in "st":
            keep(made, f"{stream}/q/playlist.m3u8")
            for msn in range(3):
                keep(made, f"{stream}/q/playlist.m3u8?_HLS_msn={msn}")
        keep(made, "s/q/p.m4s")
        yield made


# --- what counts


def test_the_first_playlist_request_is_reported_at_once_then_every_five_seconds(rig: Rig) -> None:
    client = rig.client(tag=7)
    rig.ask(client, reload(agent="VLC"))
    agent = fnv1a(b"VLC")
    assert accounts(rig) == [ReactorAccount(7, b"s", agent, b"", 0, 1, b"")]
    for msn in range(3):
        rig.ask(client, reload(msn, agent="VLC") + reload(agent="VLC"))
    rig.now_ms += REPORT_MS - 1
    rig.ask(client, reload(agent="VLC"))
    assert accounts(rig) == []
    rig.now_ms += 1
    rig.ask(client, reload(1, agent="VLC"))
    assert accounts(rig) == [ReactorAccount(7, b"s", agent, b"", 4, 4, b"")]
    assert accounts(rig) == []
    rig.now_ms += 10 * REPORT_MS  # nobody asks, nobody is reported
    rig.pump()
    assert accounts(rig) == []


def test_the_playlist_of_mpeg_ts_is_one_too(rig: Rig) -> None:
    client = rig.client(tag=7)
    keep(rig, "s/q/ts.m3u8")
    rig.ask(client, request("s/q/ts.m3u8"))
    assert accounts(rig) == [ReactorAccount(7, b"s", 0, b"", 0, 1, b"")]


def test_each_connection_has_its_own_account(rig: Rig) -> None:
    for tag in range(20):
        rig.ask(rig.client(tag=tag), reload(agent="A"))
    assert [account.tag for account in accounts(rig)] == list(range(20))


@pytest.mark.parametrize(
    "data",
    [
        request("s/q/p.m4s"),
        request("s/master.m3u8"),
        request("s/q/iframes.m3u8"),
        request("s/q/myplaylist.m3u8"),
        request("s/q/playlist.m3u8.m4s"),
        request("s/playlist.m3u8/p.m4s"),
        request("playlist.m3u8"),
        request("playlist.m3u8?CMCD=a"),
        request("s/q/playlist.m3u8", method="HEAD"),
        request("s/q/p.m4s?CMCD=a", method="HEAD"),
        request("s/q/p.m4s?CMCD="),
        request("s/q/p.m4s?CMCD=" + "x" * 513),
        request(f"{'s' * 65}/q/playlist.m3u8"),
    ],
)
def test_other_requests_tell_nothing(rig: Rig, data: bytes) -> None:
    path = data.split()[1].removeprefix(PREFIX).partition(b"?")[0].decode()
    keep(rig, path)
    assert rig.ask(rig.client(), data)
    assert accounts(rig) == []


def test_a_stream_of_64_bytes_and_cmcd_of_512_are_told(rig: Rig) -> None:
    stream, cmcd = "s" * 64, "x" * 512
    keep(rig, f"{stream}/q/playlist.m3u8")
    rig.ask(rig.client(), reload(stream=stream, cmcd=cmcd))
    assert accounts(rig) == [ReactorAccount(0, stream.encode(), 0, cmcd.encode(), 0, 1, b"")]


def test_only_good_answers_count(rig: Rig) -> None:
    keep(rig, "bad/q/playlist.m3u8", MISSING)
    keep(rig, "moved/q/playlist.m3u8", MOVED)
    client = rig.client()
    rig.ask(client, reload(stream="bad"))
    assert accounts(rig) == []
    rig.ask(client, reload(stream="moved"))
    assert [account.stream for account in accounts(rig)] == [b"moved"]


def test_one_request_too_many_does_not_count() -> None:
    with rigged(requests_burst=1, requests_per_s=0.001) as rig:
        keep(rig, "s/q/playlist.m3u8")
        rig.ask(rig.client(), reload() * 2)
        assert rig.reactor.counters.refused == 1
        assert sum(account.plain for account in accounts(rig)) == 1


def test_who_waits_counts_when_the_answer_comes(rig: Rig) -> None:
    client, other = rig.client(tag=1), rig.client(tag=2)
    key = b"i" + PREFIX + b"s/q/playlist.m3u8?_HLS_msn=9"
    rig.ask(client, reload(9))
    rig.ask(other, reload(9))
    assert accounts(rig) == []
    other.close()
    rig.pump()
    rig.reactor.put(key, Blob(HEAD, (b"x",)))
    assert accounts(rig) == [ReactorAccount(1, b"s", 0, b"", 1, 0, b"")]


def test_a_token_is_no_part_of_an_account() -> None:
    with rigged() as rig:
        rig.reactor.put(b"I" + PREFIX + b"s/q/playlist.m3u8", Blob(HEAD, (b"x",)))
        client = rig.client(pass_token=(b"s", b"secret"), pass_until_ms=99_999)
        rig.ask(client, request("s/~secret/q/playlist.m3u8"))
        assert accounts(rig) == [ReactorAccount(0, b"s", 0, b"", 0, 1, b"")]


# --- who it is


@pytest.mark.parametrize(
    "other",
    [{"stream": "t"}, {"agent": "B"}, {"agent": ""}, {"cmcd": sid("two")}],
)
def test_another_identity_is_another_account(rig: Rig, other: dict[str, str]) -> None:
    first: dict[str, Any] = {"stream": "s", "agent": "A", "cmcd": sid("one")}
    client = rig.client()
    rig.ask(client, reload(**first))
    accounts(rig)
    rig.ask(client, reload(1, **first) * 2 + reload(**(first | other)))
    before, after = accounts(rig)
    assert (before.blocking, before.plain) == (2, 0)
    assert (after.blocking, after.plain) == (0, 1)
    assert before[1:4] != after[1:4]


def test_cmcd_that_comes_and_goes_is_of_one_session(rig: Rig) -> None:
    client = rig.client()
    rig.ask(client, reload(cmcd=sid("one")))
    assert len(accounts(rig)) == 1
    rig.ask(client, reload() + request(f"s/q/p.m4s?CMCD=br%3D1%2C{sid('one')}") + reload())
    assert accounts(rig) == []
    rig.now_ms += REPORT_MS
    rig.ask(client, reload(2))
    latest = f"br%3D1%2C{sid('one')}".encode()
    assert accounts(rig) == [ReactorAccount(0, b"s", 0, latest, 1, 2, b"")]
    rig.now_ms += REPORT_MS
    rig.ask(client, reload(2))  # known still
    assert accounts(rig) == [ReactorAccount(0, b"s", 0, latest, 1, 0, b"")]


def test_another_viewer_does_not_inherit_a_session(rig: Rig) -> None:
    client = rig.client()
    rig.ask(client, reload(agent="A", cmcd=sid("one")) + reload(agent="B"))
    assert [account.cmcd for account in accounts(rig)] == [sid("one").encode(), b""]


def test_media_with_cmcd_is_a_sign_of_life(rig: Rig) -> None:
    client = rig.client()
    rig.ask(client, request(f"s/q/p.m4s?CMCD={sid('one')}") * 3)
    sign = ReactorAccount(0, b"s", 0, sid("one").encode(), 0, 0, b"")
    assert accounts(rig) == [sign]
    client.close()  # with nothing counted there is nothing to report
    rig.pump()
    assert accounts(rig) == []


@pytest.mark.parametrize(
    ("one", "two", "is_same"),
    [
        ("sid%3D%22a%22", "sid%3D%22a%22%2Cbl%3D1", True),
        ("sid%3D%22a%22", "bl=1,sid=%22a%22", True),
        ("sid%3D%22a%22", "bl%3D1%2csid%3d%22a%22", True),
        ("sid%3D%22a%22", "sid%3D%22b%22", False),
        ("sid%3D%22a%22", "sid%3D%22A%22", False),
        ("sid%3D%22a%22", "cid%3D%22%2Csid%3D%22", True),  # within quotes: no sid at all
        ("sid%3D%22a%2Cb%22", "sid%3D%22a%2Cc%22", False),
        ("sid%3D%22a%22", "xsid%3D%22b%22", True),
        ("sid%3D%22a%22", "sid%3D", True),
        ("sid%3D%22a%22", "sid", True),
        ("sid%3D%22a%22", "%", True),
        ("sid%3D%22a%22", "%2", True),
        ("sid%3D%22a%22", "%zz%2", True),
        ("sid%3Da", "sid%3D%61", True),
        ("sid%3Da%", "sid%3Da%25", True),
    ],
)
def test_the_session_id_in_cmcd(rig: Rig, one: str, two: str, is_same: bool) -> None:
    client = rig.client()
    rig.ask(client, reload(cmcd=one))
    accounts(rig)
    rig.ask(client, reload(cmcd=two))
    assert len(accounts(rig)) == (not is_same)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("192.0.2.1", b"192.0.2.1"),
        ("10.0.0.1, 192.0.2.1 \t", b"192.0.2.1"),
        ("10.0.0.1,\t192.0.2.1", b"192.0.2.1"),
        (",", b""),
        (" , ", b""),
        ("", b""),
        ("a" * 64, b"a" * 64),
        ("a" * 65, b""),
        ("a" * 65 + ",b", b"b"),
    ],
)
def test_the_last_address_on_a_shared_connection(rig: Rig, value: str, told: bytes) -> None:
    shared, other = rig.client(is_shared=True), rig.client()
    for client in (shared, other):
        rig.ask(client, reload(None, f"X-Forwarded-For: {value}"))
    assert [account.forwarded for account in accounts(rig)] == [told, b""]


def test_clients_behind_a_proxy_are_told_apart(rig: Rig) -> None:
    client = rig.client(is_shared=True)
    for address in ("::1", "::2", "::1"):
        rig.ask(client, reload(None, f"X-Forwarded-For: {address}") * 2)
    client.close()
    rig.pump()
    told: Counter[bytes] = Counter()
    for account in accounts(rig):
        told[account.forwarded] += account.plain
    assert told == {b"::1": 4, b"::2": 2}


# --- ends and bounds


@pytest.mark.parametrize("how", ["leave", "return", "close"])
def test_what_is_counted_is_reported_at_the_end(rig: Rig, how: str) -> None:
    client = rig.client(tag=3)
    rig.ask(client, reload())
    accounts(rig)
    rig.ask(client, reload() * 2)
    assert accounts(rig) == []
    if how == "leave":
        client.close()
        rig.pump()
    elif how == "return":
        rig.ask(client, b"POST")
    else:
        rig.reactor.close()
    assert accounts(rig) == [ReactorAccount(3, b"s", 0, b"", 0, 2, b"")]


def test_while_reports_wait_counts_wait_in_their_accounts(rig: Rig) -> None:
    late = rig.client(tag=2)
    fill(rig)
    rig.ask(late, reload())
    rig.now_ms += REPORT_MS
    rig.ask(late, reload(1) + reload(1))
    told = accounts(rig)
    assert len(told) == MAX_REPORTS
    assert {account.tag for account in told} == {1}
    assert accounts(rig) == []
    rig.ask(late, reload())
    assert accounts(rig) == [ReactorAccount(2, b"s", 0, b"", 2, 2, b"")]


@pytest.mark.parametrize("other", [{"agent": "B"}, {"stream": "t"}, {"cmcd": sid("two")}])
def test_who_comes_next_while_reports_wait_does_not_get_the_counts(
    rig: Rig, other: dict[str, Any]
) -> None:
    changing = rig.client(tag=2)
    fill(rig)
    rig.ask(changing, reload(agent="A") * 2 + reload(**other))
    assert {account.tag for account in accounts(rig)} == {1}
    rig.ask(changing, reload(**other))
    [account] = accounts(rig)
    assert (account.tag, account.plain) == (2, 2)


def test_reports_that_nobody_fetches_end_with_the_reactor() -> None:
    with rigged() as rig:
        keep(rig, "s/q/playlist.m3u8")
        rig.ask(rig.client(), reload(cmcd=sid("one")))
        rig.ask(rig.client(), reload(agent="B"))
    assert len(accounts(rig)) == 2  # it may be asked after its end
    assert accounts(rig) == []


class AccountsModel(RuleBasedStateMachine):
    """Every request that was answered is reported once, for whom it was."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = contextlib.ExitStack()
        self.rig = self.stack.enter_context(rigged())
        for stream in "st":
            keep(self.rig, f"{stream}/q/playlist.m3u8")
            keep(self.rig, f"{stream}/q/playlist.m3u8?_HLS_msn=1")
        self.clients: list[tuple[int, socket.socket] | None] = [None] * 3
        self.tags = 0
        self.asked: Counter[tuple[object, ...]] = Counter()
        self.told: Counter[tuple[object, ...]] = Counter()

    @rule(slot=st.integers(0, 2))
    def come_or_go(self, slot: int) -> None:
        known = self.clients[slot]
        if known is None:
            self.tags += 1
            self.clients[slot] = self.tags, self.rig.client(tag=self.tags)
        else:
            known[1].close()
            self.clients[slot] = None
            self.rig.pump()

    @rule(
        slot=st.integers(0, 2),
        requests=st.lists(
            st.tuples(
                st.sampled_from("st"),
                st.sampled_from(["", "A", "B"]),
                st.sampled_from(["one", "two", "three and much longer"]),
                st.sampled_from([None, 1]),
            ),
            max_size=20,
        ),
    )
    def ask(self, slot: int, requests: list[tuple[str, str, str, int | None]]) -> None:
        known = self.clients[slot]
        if known is None:
            return
        tag, client = known
        data = b""
        for stream, agent, name, msn in requests:
            cmcd = sid(name.replace(" ", "-"))
            data += reload(msn, stream=stream, agent=agent, cmcd=cmcd)
            who = (tag, stream.encode(), fnv1a(agent.encode()) if agent else 0, cmcd.encode())
            self.asked[(*who, msn is not None)] += 1
        client.sendall(data)
        self.rig.pump()
        read(client)

    @rule(ms=st.sampled_from([1, 2_000, 6_000]))
    def wait(self, ms: int) -> None:
        self.rig.now_ms += ms

    @rule()
    def fetch(self) -> None:
        for account in accounts(self.rig):
            who = account[:4]
            self.told[(*who, True)] += account.blocking
            self.told[(*who, False)] += account.plain
        assert self.told <= self.asked

    def teardown(self) -> None:
        self.rig.reactor.close()
        self.fetch()
        self.stack.close()
        assert +self.told == self.asked


AccountsModel.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestAccountsModel = AccountsModel.TestCase
