"""What the request scanner calls plain, h11 reads in the same way; and the twins never differ.

h11 stays the authority. A request that we understand otherwise than h11 would be one that is
answered otherwise in the reactor than in a Trio task, and, behind a proxy that sides with h11, one
that is smuggled. So for every plain head h11 must accept a request of exactly the same bytes, with
the same method, the same canonical target (computed here, again), no body, and the same opinion
about the next request. Over real heads, every byte in every place of one, and mutations.
"""

from typing import TYPE_CHECKING, NamedTuple

import h11
import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from player_requests import FIREFOX, ODD_HEADS, PLAIN_HEADS, PREFIX, request_head

from edge.http.messages import Request
from edge.http.representation import represent
from edge.http.response import make_response
from hls.request import Directives, parse_directives
from native import NotPlain, PlainRequest, fnv1a

if TYPE_CHECKING:
    from collections.abc import Callable

    from .conftest import Twin

    Scan = Callable[[bytes, bytes], PlainRequest | NotPlain]

KEPT = ("_HLS_msn", "_HLS_part", "_HLS_skip", "container")
PLAYLIST = make_response(200, (b"#EXTM3U\n" * 100,), packable=True)


@pytest.fixture(scope="module")
def scan(python_twin: "Twin", c_twin: "Twin") -> "Scan":
    """Both twins at once; they say the same."""

    def scan_both(data: bytes, prefix: bytes) -> PlainRequest | NotPlain:
        said = c_twin.scan_request(data, prefix)
        assert said == python_twin.scan_request(data, prefix)
        return said

    return scan_both


def canonical(target: str, token: str) -> str:
    """The target as its answer is filed, for a query that names nothing twice."""
    path, _, query = target.partition("?")
    if token:
        stream = path.removeprefix(PREFIX.decode()).partition("/")[0]
        path = PREFIX.decode() + stream + path.removeprefix(f"{PREFIX.decode()}{stream}/~{token}")
    given = dict(parameter.partition("=")[::2] for parameter in query.split("&"))
    kept = "&".join(f"{name}={given[name]}" for name in KEPT if name in given)
    return f"{path}?{kept}" if kept else path


def check_against_h11(data: bytes, ours: PlainRequest) -> None:
    """Let h11 read the same bytes, as `edge.http.connection` does."""
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    theirs = connection.next_event()
    assert type(theirs) is h11.Request
    assert theirs.http_version == b"1.1"
    assert theirs.method == (b"HEAD" if ours.is_head else b"GET")

    target, key = theirs.target.decode("ascii"), ours.key.decode("ascii")
    assert key[1:] == canonical(target, ours.token.decode("ascii"))
    assert key[:1].isupper() == bool(ours.token)
    assert ("/~" in target.partition("?")[0]) == bool(ours.token)
    query = target.partition("?")[2]
    directives = parse_directives(query)
    assert type(directives) is Directives
    assert directives == parse_directives(key.partition("?")[2])
    assert f"CMCD={ours.cmcd.decode('ascii')}" in query or not ours.cmcd

    request = Request(theirs.method.decode("ascii"), target, list(theirs.headers))
    agent = request.header(b"user-agent")
    assert ours.agent == (0 if agent is None else fnv1a(agent.encode("latin-1")))
    assert ours.forwarded == dict(theirs.headers).get(b"x-forwarded-for", b"")  # the last
    packed = represent(PLAYLIST, request) is not PLAYLIST
    assert (key[0] in "gG") == ours.accepts_gzip == packed

    assert type(connection.next_event()) is h11.EndOfMessage  # without a body
    assert (connection.their_state is h11.DONE) == ours.keeps_alive
    assert connection.trailing_data[0] == data[ours.head_bytes :]


def check(scan: "Scan", data: bytes) -> PlainRequest | NotPlain:
    """Scan what a client may send, and hold every plain head of it against h11."""
    said = scan(data, PREFIX)
    if isinstance(said, PlainRequest):
        check_against_h11(data, said)
    return said


def test_h11_reads_what_players_send_in_the_same_way(scan: "Scan") -> None:
    for head in PLAIN_HEADS.values():
        assert isinstance(check(scan, head), PlainRequest)
        assert isinstance(check(scan, head + FIREFOX), PlainRequest)
        assert isinstance(check(scan, head + b"\x00\r\n\r\n"), PlainRequest)


@pytest.mark.slow
def test_every_byte_in_every_place(scan: "Scan") -> None:
    head = request_head(
        f"GET {PREFIX.decode()}a/~t/b.c?_HLS_msn=1&x HTTP/1.1",
        *("Host: h", "Connection: close", "Accept-Encoding: br,gzip"),
    )
    plain = 0
    for position in range(len(head)):
        check(scan, head[:position] + head[position + 1 :])
        for byte in range(256):
            said = check(scan, head[:position] + bytes([byte]) + head[position + 1 :])
            plain += isinstance(said, PlainRequest)
    assert plain > 2000, "most of these changes are harmless ones"


# What is plain, by construction.

TOKENS = st.text("abcXYZ019._~-", min_size=1, max_size=8)
NAMES = TOKENS.filter(lambda name: name not in (".", "..") and name[0] != "~")
NUMBERS = st.integers(0, 10**18 - 1).map(str)
DIRECTIVES = st.fixed_dictionaries(
    {},
    optional={
        "_HLS_msn": NUMBERS,
        "_HLS_part": NUMBERS,
        "_HLS_skip": st.sampled_from(["YES", "v2"]),
        "container": st.sampled_from(["ts", "TS", "fragments"]),
    },
).filter(lambda given: "_HLS_msn" in given or "_HLS_part" not in given)
VISIBLE = st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#&")
OTHERS = st.lists(
    st.tuples(st.sampled_from(["token", "x", "", "_hls_msn"]), st.text(VISIBLE, max_size=12)).map(
        "=".join
    ),
    max_size=3,
)
VALUES = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=20)
FIELDS = st.lists(
    st.tuples(st.sampled_from(["Referer", "Accept", "X!#$%&'*+-.^_`|~", "DNT"]), VALUES).map(
        ": ".join
    ),
    max_size=4,
)
CODINGS = ["gzip", "GZIP", " gzip ", "br", "deflate", "identity", ""]


@st.composite
def plain_heads(draw: st.DrawFn) -> tuple[bytes, PlainRequest]:
    """A plain head, and what is to be read of it."""
    method = draw(st.sampled_from(["GET", "HEAD"]))
    folders = draw(st.lists(NAMES, max_size=3))
    token = draw(st.just("") | TOKENS) if folders else ""
    segments = [*folders, draw(NAMES) + ".x"]
    path = plain_path = PREFIX.decode() + "/".join(segments)
    if token:
        path = PREFIX.decode() + "/".join([segments[0], "~" + token, *segments[1:]])
    directives, cmcd = draw(DIRECTIVES), draw(st.text(VISIBLE, max_size=12))
    query = [f"{name}={value}" for name, value in directives.items()]
    query += draw(OTHERS) + [f"CMCD={cmcd}"] * draw(st.booleans())
    target = path + "?" * bool(query) + "&".join(draw(st.permutations(query)))

    codings = draw(st.lists(st.sampled_from(CODINGS), max_size=3))
    connection = draw(st.sampled_from(["", "keep-alive", "Keep-Alive", "close", "CLOSE"]))
    agent, forwarded = draw(VALUES), draw(st.sampled_from(["", "192.0.2.1", "::1, 192.0.2.1"]))
    has_agent = draw(st.booleans())
    fields = ["Host: h", *draw(FIELDS)]
    fields += [f"user-agent: {agent}"] * has_agent
    fields += [f"X-Forwarded-For: {forwarded}"] * bool(forwarded)
    fields += ["Accept-Encoding:" + ",".join(codings)] * bool(codings)
    fields += [f"connection:\t{connection} "] * bool(connection)
    head = request_head(f"{method} {target} HTTP/1.1", *draw(st.permutations(fields)))
    kept = "&".join(f"{name}={directives[name]}" for name in KEPT if name in directives)
    mark = "g" if "gzip" in [coding.strip().lower() for coding in codings] else "i"
    return head, PlainRequest(
        head_bytes=len(head),
        is_head=method == "HEAD",
        accepts_gzip=mark == "g",
        keeps_alive=connection.lower() != "close",
        key=((mark.upper() if token else mark) + plain_path + "?" * bool(kept) + kept).encode(),
        cmcd=cmcd.encode() if f"CMCD={cmcd}" in query else b"",
        stream=folders[0].encode() if folders else b"",
        token=token.encode(),
        agent=fnv1a(agent.strip().encode()) if has_agent else 0,
        forwarded=forwarded.encode(),
    )


@settings(max_examples=300)
@given(plain_heads(), st.binary(max_size=20), st.integers(0, 500))
def test_all_that_is_plain_is_taken(
    scan: "Scan", made: tuple[bytes, PlainRequest], rest: bytes, cut: int
) -> None:
    head, expected = made
    assert check(scan, head + rest) == expected
    assert scan(head[: cut % len(head)], PREFIX) is NotPlain.NEED_DATA


# And what hardly is.

HEADS = st.sampled_from([*PLAIN_HEADS.values(), *ODD_HEADS.values()]) | plain_heads().map(
    lambda made: made[0]
)
PIECES = st.sampled_from(
    [
        *(b"\r\n", b"\n", b"\r", b" ", b"\t", b"\x00", b"\x0b", b"\x85", b":", b";", b",", b"*"),
        *(b"/~t", b"/~", b"~", b"/~t/", b"\r\nUser-Agent: x", b"\r\nX-Forwarded-For: x"),
        *(b"/", b"//", b"/../", b"/.", b"?", b"&", b"=", b"#", b"%", b"+", b"0", b"1"),
        *(b"_HLS_msn=1", b"&_HLS_part=2", b"&_HLS_skip=YES", b"&container=ts", b"&CMCD=a"),
        *(b"GET ", b"HEAD ", b"POST ", b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"http://h"),
        *(b"Host: h\r\n", b"\r\nHost: h", b"\r\n folded", b"\r\n\tfolded: 1", b"\r\n\r\n"),
        *(b"\r\nContent-Length: 5", b"\r\nContent-Length: 0", b"\r\nContent-Length : 5"),
        *(b"\r\nTransfer-Encoding: chunked", b"\r\nTransfer-Encoding:\x0bchunked"),
        *(b"\r\nTransfer_Encoding: chunked", b"\r\nX: 1\nTransfer-Encoding: chunked"),
        *(b"\r\nConnection: close", b"\r\nConnection: keep-alive, close", b"close", b"keep-alive"),
        *(
            b"\r\nAccept-Encoding: gzip",
            b", gzip",
            b"gzip;q=0",
            b"identity",
            b"\r\nRange: bytes=0-",
        ),
        *(b"\r\nExpect: 100-continue", b"\r\nUpgrade: h2c", b"5\r\nhello\r\n0\r\n\r\n", b""),
    ]
)


class Edit(NamedTuple):
    """Put a piece in the place of some bytes."""

    at: int
    removed: int
    piece: bytes

    def apply(self, data: bytes) -> bytes:
        at = self.at % (len(data) + 1)
        return data[:at] + self.piece + data[at + self.removed :]


EDITS = st.lists(
    st.builds(Edit, st.integers(0, 2000), st.integers(0, 3), PIECES | st.binary(max_size=3)),
    min_size=1,
    max_size=4,
)


def check_with_beginning(scan: "Scan", data: bytes, cut: int) -> None:
    """Scan the data and a beginning of it, which cannot disagree."""
    said = check(scan, data)
    event(said.name if isinstance(said, NotPlain) else "PLAIN")
    early = check(scan, data[: cut % (len(data) + 1)])
    assert early in (said, NotPlain.NEED_DATA)


@settings(max_examples=500)
@given(HEADS, EDITS, st.integers(0, 2000))
@example(request_head(f"GET {PREFIX.decode()}a.b HTTP/1.1", "Host: h"), [Edit(0, 0, b"\r\n")], 1)
def test_changed_heads(scan: "Scan", head: bytes, edits: list[Edit], cut: int) -> None:
    for edit in edits:
        head = edit.apply(head)
    check_with_beginning(scan, head, cut)


@settings(max_examples=300)
@given(st.lists(PIECES, max_size=12), st.lists(PIECES, max_size=6), st.integers(0, 500))
def test_shuffled_pieces(scan: "Scan", target: list[bytes], fields: list[bytes], cut: int) -> None:
    line = b"GET " + PREFIX + b"a.b" + b"".join(target) + b" HTTP/1.1\r\nHost: h"
    check_with_beginning(scan, line + b"".join(fields) + b"\r\n\r\n", cut)
