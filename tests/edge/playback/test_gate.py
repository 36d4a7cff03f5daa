"""The gate: who is let in, what the others read, and what counts as a guess."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.guesses import GUESSES_BURST, Guesses
from edge.playback import gate as gates
from edge.playback.gate import Admitted, Gate, Refused, is_media, split_token
from edge.playback.tokens import LEEWAY_S, Claims, KeySet, Signer

NOW_S = 1_800_000_000.0
STREAM = "stream1"
CLIENT = "192.0.2.7"
SIGNER = Signer(bytes(range(32)))
STRANGER = Signer(bytes(range(1, 33)))
KEYS = KeySet({SIGNER.kid: SIGNER.public_key})


class Bench:
    def __init__(self) -> None:
        self.now_s = NOW_S
        self.guesses = Guesses()
        self.gate = Gate(
            self.guesses, KEYS, clock=lambda: self.now_s, steady=lambda: self.now_s - NOW_S
        )

    def status(self, token: str | None, stream: str = STREAM, client: str = CLIENT) -> int:
        verdict = self.gate.judge(stream, token, client)
        return 200 if isinstance(verdict, Admitted) else verdict.answer.status


def mint(signer: Signer = SIGNER, stream: str = STREAM, **claims: object) -> str:
    return signer.mint(Claims(**{"sub": stream, "exp": NOW_S + 60, **claims}))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("token", "status", "code"),
    [
        (None, 401, "tokenNeeded"),
        ("", 403, "tokenRefused"),
        ("rubbish", 403, "tokenRefused"),
        (mint(STRANGER), 403, "tokenRefused"),
        (mint(stream="stream2"), 403, "tokenRefused"),
        (mint(exp=NOW_S - LEEWAY_S), 403, "tokenExpired"),
        (mint(net="198.51.100.0/24"), 403, "tokenRefused"),
    ],
)
def test_who_is_refused_reads_why(token: str | None, status: int, code: str) -> None:
    verdict = Bench().gate.judge(STREAM, token, CLIENT)
    assert isinstance(verdict, Refused)
    answer = verdict.answer
    said = json.loads(b"".join(answer.chunks))
    assert (answer.status, said["code"]) == (status, code)
    assert token is None or not token or token not in said["error"]
    assert (b"cache-control", b"no-store") in answer.fields
    assert answer.life is None, "nobody may keep it"
    assert (status == 401) == any(name == b"www-authenticate" for name, _ in answer.fields)


def test_a_good_token_admits_until_it_ends() -> None:
    bench = Bench()
    token = mint(net="192.0.2.0/24")
    assert bench.gate.judge(STREAM, token, CLIENT) == Admitted(NOW_S + 60 + LEEWAY_S)
    assert bench.gate.seconds_left(STREAM, token, CLIENT) == 60 + LEEWAY_S
    bench.now_s += 60 + LEEWAY_S - 1
    assert bench.status(token) == 200
    bench.now_s += 1
    assert bench.status(token) == 403
    assert bench.gate.seconds_left(STREAM, token, CLIENT) is None


def test_a_known_token_is_judged_anew_each_time() -> None:
    bench = Bench()
    token = mint(net="192.0.2.0/24")
    assert bench.status(token) == 200
    assert bench.status(token, stream="stream2") == 403
    assert bench.status(token, client="198.51.100.1") == 403
    assert bench.gate.seconds_left("stream2", token, CLIENT) is None
    assert bench.gate.seconds_left(STREAM, token, "198.51.100.1") is None
    assert bench.gate.seconds_left(STREAM, mint(), CLIENT) is None, "it was never judged"


def test_guesses_are_bounded_and_who_is_known_stays() -> None:
    bench = Bench()
    good = mint()
    assert bench.status(good) == 200
    for turn in range(GUESSES_BURST):
        assert bench.status(mint(STRANGER) if turn % 2 else f"guess{turn}") == 403
    assert bench.status("one too many") == 429
    assert bench.status(mint(exp=NOW_S + 61)) == 429, "one that is not known is not looked at"
    assert bench.status(good) == 200
    assert bench.status(None) == 401, "no token is no guess"
    assert bench.status(mint(exp=NOW_S + 61), client="198.51.100.1") == 200
    bench.now_s += 2
    assert bench.status(mint(exp=NOW_S + 61)) == 200


def test_verdicts_are_counted() -> None:
    bench = Bench()
    tokens = [None, mint(), mint(), mint(exp=NOW_S - LEEWAY_S)]
    for token in tokens + ["rubbish"] * (GUESSES_BURST + 2):
        bench.gate.judge(STREAM, token, CLIENT)
    assert bench.gate.verdicts == {
        "tokenNeeded": 1,
        "admitted": 2,
        "tokenExpired": 1,
        "tokenRefused": GUESSES_BURST,
        "tooManyGuesses": 2,
    }


def test_an_expired_token_is_no_guess() -> None:
    bench = Bench()
    expired, elsewhere = mint(exp=NOW_S - 100), mint(stream="stream2")
    for _ in range(3 * GUESSES_BURST):
        assert bench.status(expired) == 403
        assert bench.status(elsewhere) == 403
    assert len(bench.guesses) == 0
    assert bench.status(mint()) == 200


def test_an_unknown_key_is_told_apart() -> None:
    bench = Bench()
    unknown = bench.gate.judge(STREAM, mint(STRANGER), CLIENT)
    assert isinstance(unknown, Refused)
    assert unknown.is_unknown_key
    known = bench.gate.judge(STREAM, "rubbish", CLIENT)
    assert isinstance(known, Refused)
    assert not known.is_unknown_key


def test_a_key_that_goes_takes_its_tokens_along() -> None:
    bench = Bench()
    token = mint()
    assert bench.status(token) == 200
    bench.gate.keys = KeySet({SIGNER.kid: SIGNER.public_key})
    assert len(bench.gate) == 1, "the same keys change nothing"
    bench.gate.keys = KeySet({STRANGER.kid: STRANGER.public_key})
    assert bench.status(token) == 403
    assert bench.status(mint(STRANGER)) == 200


def test_so_many_tokens_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gates, "MAX_KNOWN", 3)
    bench = Bench()
    tokens = [mint(exp=NOW_S + 60 + number) for number in range(5)]
    for token in tokens:
        assert bench.status(token) == 200
    assert len(bench.gate) == 3
    left = [bench.gate.seconds_left(STREAM, token, CLIENT) for token in tokens]
    assert [one is not None for one in left] == [False, False, True, True, True]


@pytest.mark.parametrize(
    ("rest", "media", "plain", "token"),
    [
        ("master.m3u8", True, "master.m3u8", None),
        ("q/playlist.m3u8", True, "q/playlist.m3u8", None),
        ("q/x.m4s", True, "q/x.m4s", None),
        ("~T/master.m3u8", True, "master.m3u8", "T"),
        ("~T/q/playlist.m3u8", True, "q/playlist.m3u8", "T"),
        ("~/q/x.m4s", True, "q/x.m4s", ""),
        ("~T/x.m4s", True, "x.m4s", "T"),
        ("q/master.m3u8", True, "q/master.m3u8", None),
        ("a/q/x.m4s", False, "a/q/x.m4s", None),
        ("q/~T/x.m4s", False, "q/~T/x.m4s", None),
        ("~T/~U/x.m4s", True, "~U/x.m4s", "T"),
        ("~T/a/q/x.m4s", False, "a/q/x.m4s", "T"),
        ("~T", False, "~T", None),
        ("~T/viewers", False, "viewers", "T"),
        ("viewers", False, "viewers", None),
        ("source.flv", False, "source.flv", None),
    ],
)
def test_where_a_token_stands(rest: str, media: bool, plain: str, token: str | None) -> None:
    segments, found = split_token(rest.split("/"))
    assert ("/".join(segments), found) == (plain, token)
    assert is_media(rest.split("/")) is media


@given(st.text(max_size=80))
def test_any_text_is_a_token_that_admits_nobody(text: str) -> None:
    assert Bench().status(text) == 403
