"""Request scanner: the Cython twin of ``_request_py.py``, which is its specification.

Native because every request of every viewer passes through it, some ten a second from each. The
kernel serves ``_reactor.pyx``, without the GIL; `scan_request` is the same for Python.

Memory: nothing is allocated and nothing kept. A `Span` points into the data of the call. What the
twin raises are verdicts here: a step returns PLAIN to go on, or what the kernel is to return.
"""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from libc.stdint cimport uint64_t
from libc.string cimport memchr, memcmp, memcpy, memset, strlen

from native._types import NotPlain, PlainRequest

cdef enum:
    MAX_FIELDS = 64
    MAX_NUMBER_DIGITS = 18

    # Where a byte may stand; `places` has a sum of these for each.
    IN_NAME = 1
    IN_PATH = 2
    IN_QUERY = 4
    IN_VALUE = 8

    # The parameters that a key has, in canonical order.
    MSN = 0
    PART = 1
    SKIP = 2
    CONTAINER = 3
    KEPT = 4                        # how many there are

cdef struct Cursor:
    const uint8_t *at               # at most end
    const uint8_t *end

cdef struct Span:
    const uint8_t *at               # NULL: not there
    Py_ssize_t size

cdef struct Target:
    Span path                       # with the prefix and the token
    Span stream
    Span token
    bint is_playlist
    Span kept[KEPT]                 # parameters with their names: "_HLS_msn=7"
    Span cmcd                       # its value

cdef struct Fields:
    Py_ssize_t count
    bint has_host
    bint has_connection
    bint has_codings
    bint keeps_alive
    bint accepts_gzip
    Span agent
    Span forwarded

cdef uint8_t places[256]            # written once, when the module is imported

cdef object _new_tuple = tuple.__new__  # what PlainRequest._make calls, without its Python frame


cdef int fill_places() except -1:
    for byte in b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz":
        places[byte] = IN_NAME | IN_PATH
    for byte in b"!#$%&'*+-.^_`|~":
        places[byte] |= IN_NAME
    for byte in b"-./_~":
        places[byte] |= IN_PATH
    for byte in range(0x21, 0x7F):
        places[byte] |= IN_VALUE if byte == c"#" else IN_VALUE | IN_QUERY
    for byte in b" \t":
        places[byte] = IN_VALUE
    return 0


fill_places()


# Kernels: raw pointers with explicit lengths, no Python objects, nothing kept.

cdef inline Span run(Cursor *cursor, uint8_t place) noexcept nogil:
    """Step over the bytes that may stand in a place. The caller looks whether the data ended."""
    cdef const uint8_t *at = cursor.at
    cdef Span span
    span.at = at
    while at != cursor.end and places[at[0]] & place:
        at += 1
    span.size = at - span.at
    cursor.at = at
    return span


cdef inline Span run_of_value(Cursor *cursor) noexcept nogil:
    """`run` for IN_VALUE, eight bytes at a time: most of a head is values."""
    cdef const uint8_t *begin = cursor.at
    cdef uint64_t word, flipped
    cdef Span span
    while cursor.end - cursor.at >= 8:
        memcpy(&word, cursor.at, 8)
        flipped = word ^ <uint64_t>0x7F7F7F7F7F7F7F7F
        # The top bit of a byte: it is over 0x7F, it borrows below 0x20, or it is 0x7F. A borrow
        # may mark a byte behind one that is marked rightly: never none.
        if (word | (word - <uint64_t>0x2020202020202020) | (flipped - <uint64_t>0x0101010101010101)) & <uint64_t>0x8080808080808080:
            break
        cursor.at += 8
    span = run(cursor, IN_VALUE)
    span.size += span.at - begin
    span.at = begin
    return span


cdef inline int take(Cursor *cursor, const void *expected, Py_ssize_t size) noexcept nogil:
    """Step over exactly these bytes."""
    cdef Py_ssize_t came = min(size, <Py_ssize_t>(cursor.end - cursor.at))
    if memcmp(cursor.at, expected, came) != 0:
        return ODD
    if came < size:
        return NEED_DATA
    cursor.at += size
    return PLAIN


cdef inline int take_text(Cursor *cursor, const char *text) noexcept nogil:
    return take(cursor, text, strlen(text))


cdef inline bint equals(Span span, const char *text) noexcept nogil:
    return span.size == <Py_ssize_t>strlen(text) and memcmp(span.at, text, span.size) == 0


cdef inline bint equals_lower(Span span, const char *text) noexcept nogil:
    """Compare, in any case, with a text of lower-case letters, digits and hyphens."""
    cdef Py_ssize_t i
    if span.size != <Py_ssize_t>strlen(text):
        return False
    for i in range(span.size):
        # Makes A-Z a-z, and of no other byte of a head a letter, a digit or a hyphen.
        if span.at[i] | 0x20 != <uint8_t>text[i]:
            return False
    return True


cdef inline bint is_blank(uint8_t byte) noexcept nogil:
    return byte == c" " or byte == c"\t"


cdef inline Span stripped(Span span) noexcept nogil:
    """Leave out blanks at both ends."""
    while span.size > 0 and is_blank(span.at[0]):
        span.at += 1
        span.size -= 1
    while span.size > 0 and is_blank(span.at[span.size - 1]):
        span.size -= 1
    return span


cdef int read_segment(Target *target, Span segment, Py_ssize_t index, bint is_file) noexcept nogil:
    """Take note of a segment behind the prefix, if it may stand in that place."""
    if segment.size > 0 and segment.at[0] == c"~":
        if index != 1 or is_file or not 2 <= segment.size <= 1 + MAX_PLAIN_TOKEN_BYTES:
            return ODD
        target.token.at = segment.at + 1
        target.token.size = segment.size - 1
        return PLAIN
    if segment.size == 0 or equals(segment, b".") or equals(segment, b".."):
        return ODD
    if is_file:
        target.is_playlist = equals(segment, b"playlist.m3u8") or equals(segment, b"ts.m3u8")
        return PLAIN if memchr(segment.at, c".", segment.size) is not NULL else ODD
    if index == 0:
        target.stream = segment
    return PLAIN


cdef int read_path(Target *target, Span rest) noexcept nogil:
    """Take a whole path apart, behind the prefix."""
    cdef Span segment
    cdef Py_ssize_t i, index = 0
    segment.at = rest.at
    for i in range(rest.size + 1):
        if i == rest.size or rest.at[i] == c"/":
            segment.size = rest.at + i - segment.at
            if read_segment(target, segment, index, i == rest.size) != PLAIN:
                return ODD
            segment.at = rest.at + i + 1
            index += 1
    return PLAIN


cdef bint is_number(Span value) noexcept nogil:
    cdef Py_ssize_t i
    if not 1 <= value.size <= MAX_NUMBER_DIGITS or (value.size > 1 and value.at[0] == c"0"):
        return False
    for i in range(value.size):
        if not c"0" <= value.at[i] <= c"9":
            return False
    return True


cdef bint is_word(Span value) noexcept nogil:
    cdef Py_ssize_t i
    for i in range(value.size):
        if not c"a" <= value.at[i] | 0x20 <= c"z":
            return False
    return value.size > 0


cdef int read_parameter(Target *target, Span parameter) noexcept nogil:
    cdef Span name, value
    cdef Span *place
    name.at = parameter.at
    name.size = 0
    while name.size < parameter.size and name.at[name.size] != c"=":
        if name.at[name.size] == c"%" or name.at[name.size] == c"+":
            return ODD
        name.size += 1
    value.size = max(parameter.size - name.size - 1, 0)
    value.at = parameter.at + parameter.size - value.size

    if equals(name, b"_HLS_msn"):
        place = &target.kept[MSN]
        if not is_number(value):
            return ODD
    elif equals(name, b"_HLS_part"):
        place = &target.kept[PART]
        if not is_number(value):
            return ODD
    elif equals(name, b"_HLS_skip"):
        place = &target.kept[SKIP]
        if not equals(value, b"YES") and not equals(value, b"v2"):
            return ODD
    elif equals(name, b"container"):
        place = &target.kept[CONTAINER]
        if not is_word(value):
            return ODD
    elif equals(name, b"CMCD"):
        place = &target.cmcd
        parameter = value
    else:
        return ODD if name.size >= 5 and memcmp(name.at, b"_HLS_", 5) == 0 else PLAIN
    if place.at is not NULL:
        return ODD
    place[0] = parameter
    return PLAIN


cdef int read_query(Target *target, Span text) noexcept nogil:
    """Sort the parameters of a whole query."""
    cdef Span parameter
    cdef Py_ssize_t i
    parameter.at = text.at
    for i in range(text.size + 1):
        if i == text.size or text.at[i] == c"&":
            parameter.size = text.at + i - parameter.at
            if read_parameter(target, parameter) != PLAIN:
                return ODD
            parameter.at = text.at + i + 1
    if target.kept[PART].at is not NULL and target.kept[MSN].at is NULL:
        return ODD
    return PLAIN


cdef int read_target(
    Target *target, Cursor *cursor, const uint8_t *prefix, Py_ssize_t prefix_bytes
) noexcept nogil:
    cdef Span rest, query
    cdef const uint8_t *begin = cursor.at
    cdef int verdict = take(cursor, prefix, prefix_bytes)
    if verdict != PLAIN:
        return verdict
    rest = run(cursor, IN_PATH)
    if cursor.at == cursor.end:
        return NEED_DATA
    if read_path(target, rest) != PLAIN:
        return ODD
    target.path.at = begin
    target.path.size = cursor.at - begin
    if cursor.at[0] != c"?":
        return PLAIN
    cursor.at += 1
    query = run(cursor, IN_QUERY)
    return NEED_DATA if cursor.at == cursor.end else read_query(target, query)


cdef bint is_odd_field(Span name) noexcept nogil:
    return (
        equals_lower(name, b"content-length")
        or equals_lower(name, b"transfer-encoding")
        or equals_lower(name, b"te")
        or equals_lower(name, b"trailer")
        or equals_lower(name, b"expect")
        or equals_lower(name, b"upgrade")
        or equals_lower(name, b"http2-settings")
        or equals_lower(name, b"proxy-connection")
        or equals_lower(name, b"authorization")
        or equals_lower(name, b"range")
        or equals_lower(name, b"if-range")
        or equals_lower(name, b"if-match")
        or equals_lower(name, b"if-none-match")
        or equals_lower(name, b"if-modified-since")
        or equals_lower(name, b"if-unmodified-since")
        or equals_lower(name, b"cmcd-session")
    )


cdef int read_codings(Fields *fields, Span value) noexcept nogil:
    """Look for gzip in a list. Weights and "*" are for `edge.http` to weigh."""
    cdef Span coding
    cdef Py_ssize_t i
    coding.at = value.at
    for i in range(value.size + 1):
        if i == value.size or value.at[i] == c",":
            coding.size = value.at + i - coding.at
            if equals_lower(stripped(coding), b"gzip"):
                fields.accepts_gzip = True
            coding.at = value.at + i + 1
        elif value.at[i] == c";" or value.at[i] == c"*":
            return ODD
    return PLAIN


cdef int read_field(Fields *fields, Span name, Span value) noexcept nogil:
    """Use a whole field line."""
    if equals_lower(name, b"host"):
        if fields.has_host or value.size == 0:
            return ODD
        fields.has_host = True
    elif equals_lower(name, b"connection"):
        fields.keeps_alive = equals_lower(value, b"keep-alive")
        if fields.has_connection or not (fields.keeps_alive or equals_lower(value, b"close")):
            return ODD
        fields.has_connection = True
    elif equals_lower(name, b"accept-encoding"):
        if fields.has_codings:
            return ODD
        fields.has_codings = True
        return read_codings(fields, value)
    elif equals_lower(name, b"user-agent"):
        if fields.agent.at is NULL:
            fields.agent = value
    elif equals_lower(name, b"x-forwarded-for"):
        fields.forwarded = value
    return PLAIN


cdef int read_fields(Fields *fields, Cursor *cursor) noexcept nogil:
    """Step over the field lines and the blank line."""
    cdef Span name, value
    cdef int verdict
    fields.keeps_alive = True
    while True:
        name = run(cursor, IN_NAME)
        if cursor.at == cursor.end:
            return NEED_DATA
        if name.size == 0:
            break
        verdict = take_text(cursor, b":")
        fields.count += 1
        if verdict != PLAIN or fields.count > MAX_FIELDS or is_odd_field(name):
            return ODD
        value = stripped(run_of_value(cursor))
        verdict = take_text(cursor, b"\r\n")
        if verdict != PLAIN:
            return verdict
        if read_field(fields, name, value) != PLAIN:
            return ODD
    verdict = take_text(cursor, b"\r\n")
    if verdict == PLAIN and not fields.has_host:
        return ODD
    return verdict


cdef Py_ssize_t write_key(
    const Target *target, bint accepts_gzip, uint8_t *key, Py_ssize_t key_room
) noexcept nogil:
    """Write the key; return its size, 0 if there is not enough room."""
    cdef const uint8_t *skipped = target.token.at
    cdef Py_ssize_t i, size = 1 + target.path.size
    cdef Py_ssize_t begin = target.path.size    # of the path, up to the token
    if skipped is not NULL:
        size -= 2 + target.token.size
        begin = skipped - 2 - target.path.at
    for i in range(KEPT):
        if target.kept[i].at is not NULL:
            size += 1 + target.kept[i].size
    if size > key_room:
        return 0
    key[0] = c"g" if accepts_gzip else c"i"
    key += 1
    memcpy(key, target.path.at, begin)
    key += begin
    if skipped is not NULL:
        key[-1 - begin] ^= 0x20     # upper-case
        skipped += target.token.size
        memcpy(key, skipped, target.path.at + target.path.size - skipped)
        key += target.path.at + target.path.size - skipped
    cdef uint8_t separator = c"?"
    for i in range(KEPT):
        if target.kept[i].at is not NULL:
            key[0] = separator
            separator = c"&"
            memcpy(key + 1, target.kept[i].at, target.kept[i].size)
            key += 1 + target.kept[i].size
    return size


cdef inline void place(
    Span span, const uint8_t *begin, Py_ssize_t *at, Py_ssize_t *size
) noexcept nogil:
    """Say where in the data a span is."""
    at[0] = 0 if span.at is NULL else span.at - begin
    size[0] = span.size


cdef int read_head(
    Cursor *cursor,
    const uint8_t *prefix,
    Py_ssize_t prefix_bytes,
    RequestHead *head,
    uint8_t *key,
    Py_ssize_t key_room,
) noexcept nogil:
    cdef const uint8_t *begin = cursor.at
    cdef Target target
    cdef Fields fields
    cdef int verdict
    memset(&target, 0, sizeof(target))
    memset(&fields, 0, sizeof(fields))

    head.is_head = cursor.at != cursor.end and cursor.at[0] == c"H"
    verdict = take_text(cursor, b"HEAD " if head.is_head else b"GET ")
    if verdict == PLAIN:
        verdict = read_target(&target, cursor, prefix, prefix_bytes)
    if verdict == PLAIN:
        verdict = take_text(cursor, b" HTTP/1.1\r\n")
    if verdict == PLAIN:
        verdict = read_fields(&fields, cursor)
    if verdict != PLAIN:
        return verdict

    head.head_bytes = cursor.at - begin
    head.accepts_gzip = fields.accepts_gzip
    head.keeps_alive = fields.keeps_alive
    head.is_playlist = target.is_playlist
    head.names_version = target.kept[MSN].at is not NULL
    place(target.cmcd, begin, &head.cmcd_at, &head.cmcd_bytes)
    place(target.stream, begin, &head.stream_at, &head.stream_bytes)
    place(target.token, begin, &head.token_at, &head.token_bytes)
    place(fields.agent, begin, &head.agent_at, &head.agent_bytes)
    place(fields.forwarded, begin, &head.forwarded_at, &head.forwarded_bytes)
    head.key_bytes = write_key(&target, fields.accepts_gzip, key, key_room)
    return PLAIN if head.key_bytes > 0 else ODD


cdef int scan_request_head(
    const uint8_t *data,
    Py_ssize_t size,
    const uint8_t *prefix,
    Py_ssize_t prefix_bytes,
    RequestHead *head,
    uint8_t *key,
    Py_ssize_t key_room,
) noexcept nogil:
    cdef Cursor cursor
    cdef int verdict
    cursor.at = data
    cursor.end = data + min(size, MAX_PLAIN_HEAD_BYTES)
    verdict = read_head(&cursor, prefix, prefix_bytes, head, key, key_room)
    return ODD if verdict == NEED_DATA and size >= MAX_PLAIN_HEAD_BYTES else verdict


cdef uint64_t fnv1a_of(const uint8_t *data, Py_ssize_t size) noexcept nogil:
    cdef uint64_t value = <uint64_t>0xCBF29CE484222325
    cdef Py_ssize_t i
    for i in range(size):
        value = (value ^ data[i]) * <uint64_t>0x100000001B3
    return value


# The thin layer.

def fnv1a(bytes data not None) -> int:
    """Hash a few bytes into 64 bits; see the twin."""
    return fnv1a_of(<const uint8_t *>PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))


def scan_request(
    data: bytes, prefix: bytes, *, max_key_bytes: int = 4096
) -> PlainRequest | NotPlain:
    """Read one request head if it is plain; see the twin."""
    if not (prefix.startswith(b"/") and prefix.endswith(b"/")):
        raise ValueError("the prefix must begin and end with a slash")
    cdef RequestHead head
    cdef uint8_t key[MAX_PLAIN_KEY_BYTES]
    cdef Py_ssize_t key_room = min(max_key_bytes, MAX_PLAIN_KEY_BYTES)
    cdef int verdict = scan_request_head(
        <const uint8_t *>PyBytes_AS_STRING(data),
        PyBytes_GET_SIZE(data),
        <const uint8_t *>PyBytes_AS_STRING(prefix),
        PyBytes_GET_SIZE(prefix),
        &head,
        key,
        key_room,
    )
    if verdict == NEED_DATA:
        return NotPlain.NEED_DATA
    if verdict == ODD:
        return NotPlain.ODD
    cdef uint64_t agent = 0
    if head.agent_at:
        agent = fnv1a_of(
            <const uint8_t *>PyBytes_AS_STRING(data) + head.agent_at, head.agent_bytes
        )
    return _new_tuple(
        PlainRequest,
        (
            head.head_bytes,
            <bint>head.is_head,
            <bint>head.accepts_gzip,
            <bint>head.keeps_alive,
            key[:head.key_bytes],
            data[head.cmcd_at : head.cmcd_at + head.cmcd_bytes],
            data[head.stream_at : head.stream_at + head.stream_bytes],
            data[head.token_at : head.token_at + head.token_bytes],
            agent,
            data[head.forwarded_at : head.forwarded_at + head.forwarded_bytes],
        ),
    )
