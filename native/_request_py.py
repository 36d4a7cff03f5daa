"""Request scanner in Python: the specification of ``_request.pyx``, and its stand-in.

Reads the head of one HTTP/1.1 request if it is *plain*, a GET or HEAD of a file as players send it.
This is no HTTP parser: all else, legal or not, is *odd*, and h11 judges it by the same bytes. ::

    head      = ("GET" / "HEAD") SP target SP "HTTP/1.1" CRLF *(field CRLF) CRLF
    target    = prefix path ["?" parameter *("&" parameter)]
    path      = segment *("/" segment) / segment "/~" token 1*("/" segment)
    segment   = 1*byte, not "." or "..", does not begin with "~"; the last one has a "."
    token     = 1*2048byte
    byte      = ALPHA / DIGIT / "." / "_" / "~" / "-"
    parameter = visible ASCII without "#" and "&", see `_read_query`
    field     = token ":" *(visible ASCII / SP / HTAB), see `_read_fields`

The *key* of a request is what its answer depends on: whether gzip is accepted, the path, and those
parameters that the application knows, in one order. All else in a query is the viewer's own. A
*token* is what a viewer shows to be let in: it is no part of the key, but keys of requests that had
one are others (upper-case), so that nobody gets by without one what was asked for with one.

Invariants: h11 takes every plain head for a request of the same bytes, with the same method, path
and directives, without a body, and agrees on keep-alive (``tests/native/test_request_h11.py``). No
verdict but NEED_DATA changes with what follows. A byte that no plain head has in that place is odd
at once; what takes a whole word to see (a name, a parameter, a value), when the word has ended.

Bounds: `MAX_HEAD_BYTES`, `MAX_FIELDS`, `MAX_TOKEN_BYTES`. Keeps nothing between calls.
Spec: RFC 9112 §3, §5 and §9.3; RFC 9110 §12.5.3 (Accept-Encoding); rfc8216bis-22 §6.2.5
(directives); CTA-5004 (CMCD).
"""

import re
from typing import NamedTuple

from native._types import NotPlain, PlainRequest

MAX_HEAD_BYTES = 4096
"""A longer head is odd. Browsers send about 600 bytes, and with CMCD a few hundred more."""

MAX_FIELDS = 64
"""A head with more of them is odd. Browsers send some fifteen."""

MAX_TOKEN_BYTES = 2048
"""A longer token is odd. A signed one has some 300 bytes."""

_REST = re.compile(rb"[A-Za-z0-9._~/-]*")  # of the path, behind the prefix
_QUERY = re.compile(rb'[!"$-~]*')  # visible ASCII but "#"
_NAME = re.compile(rb"[A-Za-z0-9!#$%&'*+.^_`|~-]*")  # RFC 9110 §5.6.2: token
_VALUE = re.compile(rb"[\t -~]*")

# A number has one spelling, and fits 64 bits. Others may be good too (`hls.request`), but no player
# writes them.
_NUMBER = re.compile(rb"0|[1-9][0-9]{0,17}")

# The parameters that are used, in canonical order, and their plain values.
_PARAMETERS = {
    b"_HLS_msn": _NUMBER,
    b"_HLS_part": _NUMBER,
    b"_HLS_skip": re.compile(rb"YES|v2"),
    b"container": re.compile(rb"[A-Za-z]+"),
    b"CMCD": re.compile(rb".*"),  # for the accounts, and no part of the key
}

# The fields that are used, and their plain values.
_USED = {
    b"host": re.compile(rb".+"),
    b"connection": re.compile(rb"(?i)keep-alive|close"),
    b"accept-encoding": re.compile(rb"[^;*]*"),  # weights and "*" are for `edge.http` to weigh
}

# These say who asks, and count as they are, whatever that is. Of several the first counts of the
# one and the last of the other: a proxy may add its line behind its client's own.
_AGENT, _FORWARDED = b"user-agent", b"x-forwarded-for"

# Fields that ask for more than the whole file, that say where the request ends, or who asks as
# CMCD does in a query.
_ODD_FIELDS = frozenset(
    (
        *(b"content-length", b"transfer-encoding", b"te", b"trailer", b"expect"),
        *(b"upgrade", b"http2-settings", b"proxy-connection", b"authorization"),
        *(b"range", b"if-range", b"if-match", b"if-none-match"),
        *(b"if-modified-since", b"if-unmodified-since", b"cmcd-session"),
    )
)


def scan_request(
    data: bytes, prefix: bytes, *, max_key_bytes: int = 4096
) -> PlainRequest | NotPlain:
    """Read one request head if it is plain.

    Args:
        data: What came on the connection, from the first byte of a request on; may end in the
            head, or hold the next requests too.
        prefix: What the path must begin with: plain itself, begins and ends with a slash.
        max_key_bytes: A request with a longer key is odd.

    Returns:
        The request; or NEED_DATA while the head is not complete, and ODD if h11 has to look at it.

    Raises:
        ValueError: The prefix does not begin and end with a slash.

    Spec: RFC 9112 §3 and §5.
    Cost: O(size of the head), from its start in each call; one copy of the key.
    """
    if not (prefix.startswith(b"/") and prefix.endswith(b"/")):
        raise ValueError("the prefix must begin and end with a slash")
    cursor = _Cursor(data[:MAX_HEAD_BYTES])
    try:
        request = _read_head(cursor, prefix)
    except _Odd:
        return NotPlain.ODD
    except _OutOfData:
        return NotPlain.NEED_DATA if len(data) < MAX_HEAD_BYTES else NotPlain.ODD
    return request if len(request.key) <= max_key_bytes else NotPlain.ODD


class _Odd(Exception):
    """This cannot become a plain head."""


class _OutOfData(Exception):
    """The data ended before the head did."""


class _Cursor:
    """A position in data that may be cut off anywhere."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.position = 0

    def sees(self, byte: bytes) -> bool:
        return self._data.startswith(byte, self.position)

    def take(self, literal: bytes) -> None:
        """Step over exactly these bytes."""
        came = self._data[self.position : self.position + len(literal)]
        if not literal.startswith(came):
            raise _Odd
        if len(came) < len(literal):
            raise _OutOfData
        self.position += len(literal)

    def run(self, pattern: re.Pattern[bytes]) -> bytes:
        """Step over the longest match, to the byte that ends it."""
        match = pattern.match(self._data, self.position)
        assert match is not None, "the patterns match nothing, too"
        if match.end() == len(self._data):
            raise _OutOfData
        self.position = match.end()
        return match.group()


def _read_head(cursor: _Cursor, prefix: bytes) -> PlainRequest:
    is_head = cursor.sees(b"H")
    cursor.take(b"HEAD " if is_head else b"GET ")
    cursor.take(prefix)
    path = _read_path(cursor.run(_REST))
    query = _Query([], b"")
    if cursor.sees(b"?"):
        cursor.take(b"?")
        query = _read_query(cursor.run(_QUERY))
    cursor.take(b" HTTP/1.1\r\n")

    fields = _read_fields(cursor)
    cursor.take(b"\r\n")
    if b"host" not in fields:
        raise _Odd
    codings = fields.get(b"accept-encoding", b"").split(b",")
    accepts_gzip = b"gzip" in [coding.strip(b" \t") for coding in codings]
    kept = b"?" + b"&".join(query.kept) if query.kept else b""
    mark = b"g" if accepts_gzip else b"i"
    agent = fields.get(_AGENT)
    return PlainRequest(
        head_bytes=cursor.position,
        is_head=is_head,
        accepts_gzip=accepts_gzip,
        keeps_alive=fields.get(b"connection") != b"close",
        key=(mark.upper() if path.token else mark) + prefix + path.plain + kept,
        cmcd=query.cmcd,
        stream=path.stream,
        token=path.token,
        agent=0 if agent is None else fnv1a(agent),
        forwarded=fields.get(_FORWARDED, b""),
    )


class _Path(NamedTuple):
    """What is behind the prefix, taken apart."""

    plain: bytes
    """Without the token."""
    stream: bytes
    token: bytes


def _read_path(rest: bytes) -> _Path:
    stream, *segments = rest.split(b"/")
    token = b""
    if len(segments) > 1 and segments[0].startswith(b"~"):
        token = segments.pop(0)[1:]
        if not 1 <= len(token) <= MAX_TOKEN_BYTES:
            raise _Odd
    plain = [stream, *segments]
    if not {b"", b".", b".."}.isdisjoint(plain) or b"." not in plain[-1]:
        raise _Odd
    if any(segment.startswith(b"~") for segment in plain):
        raise _Odd
    return _Path(b"/".join(plain), stream if segments else b"", token)


class _Query(NamedTuple):
    """What is used of a query."""

    kept: list[bytes]
    cmcd: bytes


def _read_query(query: bytes) -> _Query:
    """Sort the parameters; those that nobody knows are left out.

    A name that may be a known one when it is unescaped is odd, and so is one that begins like the
    directives: it may mean something some day.
    """
    found: dict[bytes, bytes] = {}
    for parameter in query.split(b"&"):
        name, _, value = parameter.partition(b"=")
        if name in _PARAMETERS:
            if name in found or not _PARAMETERS[name].fullmatch(value):
                raise _Odd
            found[name] = value
        elif b"%" in name or b"+" in name or name.startswith(b"_HLS_"):
            raise _Odd
    if b"_HLS_part" in found and b"_HLS_msn" not in found:
        raise _Odd  # rfc8216bis §6.2.5.2: Bad Request
    cmcd = found.pop(b"CMCD", b"")
    return _Query([name + b"=" + found[name] for name in _PARAMETERS if name in found], cmcd)


def _read_fields(cursor: _Cursor) -> dict[bytes, bytes]:
    """Step over the field lines; return the values of `_USED` in lower case, and of who asks."""
    used: dict[bytes, bytes] = {}
    count = 0
    while name := cursor.run(_NAME).lower():
        cursor.take(b":")
        count += 1
        if count > MAX_FIELDS or name in _ODD_FIELDS:
            raise _Odd
        value = cursor.run(_VALUE).strip(b" \t")
        cursor.take(b"\r\n")
        if name in _USED:
            if name in used or not _USED[name].fullmatch(value):
                raise _Odd
            used[name] = value.lower()
        elif name == _FORWARDED or (name == _AGENT and name not in used):
            used[name] = value
    return used


def fnv1a(data: bytes) -> int:
    """Hash a few bytes into 64 bits; FNV-1a, so the same in every process and on every machine.

    For what is counted, not for what is guarded: who chooses the bytes can choose the hash.
    """
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value
