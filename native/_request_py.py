"""Request scanner in Python: the specification of ``_request.pyx``, and its stand-in.

Reads the head of one HTTP/1.1 request if it is *plain*, a GET or HEAD of a file as players send it.
This is no HTTP parser: all else, legal or not, is *odd*, and h11 judges it by the same bytes. ::

    head      = ("GET" / "HEAD") SP target SP "HTTP/1.1" CRLF *(field CRLF) CRLF
    target    = prefix segment *("/" segment) ["?" parameter *("&" parameter)]
    segment   = 1*(ALPHA / DIGIT / "." / "_" / "~" / "-"), not "." or ".."; the last one has a "."
    parameter = visible ASCII without "#" and "&", see `_read_query`
    field     = token ":" *(visible ASCII / SP / HTAB), see `_read_fields`

The *key* of a request is what its answer depends on: whether gzip is accepted, the path, and those
parameters that the application knows, in one order. All else in a query is the viewer's own.

Invariants: h11 takes every plain head for a request of the same bytes, with the same method, path
and directives, without a body, and agrees on keep-alive (``tests/native/test_request_h11.py``). No
verdict but NEED_DATA changes with what follows. A byte that no plain head has in that place is odd
at once; what takes a whole word to see (a name, a parameter, a value), when the word has ended.

Bounds: `MAX_HEAD_BYTES`, `MAX_FIELDS`. Keeps nothing between calls. Spec: RFC 9112 §3, §5 and §9.3;
RFC 9110 §12.5.3 (Accept-Encoding); rfc8216bis-22 §6.2.5 (directives); CTA-5004 (CMCD).
"""

import re
from typing import NamedTuple

from native._types import NotPlain, PlainRequest

MAX_HEAD_BYTES = 4096
"""A longer head is odd. Browsers send about 600 bytes, and with CMCD a few hundred more."""

MAX_FIELDS = 64
"""A head with more of them is odd. Browsers send some fifteen."""

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

# Fields that ask for more than the whole file, or that say where the request ends.
_ODD_FIELDS = frozenset(
    (
        *(b"content-length", b"transfer-encoding", b"te", b"trailer", b"expect"),
        *(b"upgrade", b"http2-settings", b"proxy-connection", b"authorization"),
        *(b"range", b"if-range", b"if-match", b"if-none-match"),
        *(b"if-modified-since", b"if-unmodified-since"),
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
    rest = cursor.run(_REST)
    segments = rest.split(b"/")
    if not {b"", b".", b".."}.isdisjoint(segments) or b"." not in segments[-1]:
        raise _Odd
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
    return PlainRequest(
        head_bytes=cursor.position,
        is_head=is_head,
        accepts_gzip=accepts_gzip,
        keeps_alive=fields.get(b"connection") != b"close",
        key=(b"g" if accepts_gzip else b"i") + prefix + rest + kept,
        cmcd=query.cmcd,
    )


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
    """Step over the field lines; return the values of `_USED` in lower case."""
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
    return used
