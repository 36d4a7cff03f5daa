# What the reactor knows of who asks: identities and counts, for somebody to tell viewers by.
# Included by ``_reactor.pyx``.
#
# A request *tells* something if it is for a media playlist, or carries CMCD. Those of a connection
# are counted in its account, which is reported now and then (`Reactor.accounts`).

cdef enum:
    REPORT_MS = 5000                # between two reports of one connection
    MAX_REPORTS = 1024              # that nobody has fetched; then counts wait in their accounts
    MAX_STREAM_BYTES = 64           # no stream has a longer name: who asks for one is no viewer
    MAX_FORWARDED_BYTES = 64        # of one address
    MAX_CMCD_BYTES = 512

cdef enum:                          # what a request tells
    NOTHING, SIGN, PLAIN_RELOAD, BLOCKING_RELOAD

cdef struct Account:
    int64_t tag
    uint64_t agent                  # FNV-1a; 0: it does not say
    uint64_t blocking               # since the last report, as `plain`
    uint64_t plain
    Py_ssize_t stream_bytes         # these three stand in `text`, in this order
    Py_ssize_t forwarded_bytes
    Py_ssize_t cmcd_bytes
    Py_ssize_t room                 # in `text`
    uchar text[1]


cdef inline int hex_digit(uchar byte) noexcept nogil:
    """The value of a hexadecimal digit, or -1."""
    if c"0" <= byte <= c"9":
        return byte - c"0"
    byte |= 0x20
    return byte - c"a" + 10 if c"a" <= byte <= c"f" else -1


cdef uint64_t sid_of(const uchar *data, Py_ssize_t size) noexcept nogil:
    """Hash the session id in a CMCD value, of at most MAX_CMCD_BYTES and escaped; 0 without one."""
    cdef uchar[MAX_CMCD_BYTES] text
    cdef Py_ssize_t i = 0, count = 0, begin = 0
    cdef bint is_quoted = False
    while i < size:
        if data[i] == c"%" and size - i > 2 and hex_digit(data[i + 1]) >= 0 and hex_digit(data[i + 2]) >= 0:
            text[count] = <uchar>(hex_digit(data[i + 1]) << 4 | hex_digit(data[i + 2]))
            i += 3
        else:
            text[count] = data[i]
            i += 1
        count += 1
    for i in range(count + 1):
        if i < count and text[i] == c'"':
            is_quoted = not is_quoted
        elif i == count or (text[i] == c"," and not is_quoted):
            if i - begin > 4 and memcmp(text + begin, b"sid=", 4) == 0:
                return fnv1a_of(text + begin + 4, i - begin - 4)
            begin = i + 1
    return 0


cdef void last_address(const uchar **data, Py_ssize_t *size) noexcept nogil:
    """Cut a list of addresses (X-Forwarded-For) down to its last; to nothing if that is none."""
    cdef Py_ssize_t at = size[0], end = size[0]
    while at > 0 and data[0][at - 1] != c",":
        at -= 1
    while at < end and (data[0][at] == c" " or data[0][at] == c"\t"):
        at += 1
    while end > at and (data[0][end - 1] == c" " or data[0][end - 1] == c"\t"):
        end -= 1
    data[0] += at
    size[0] = end - at if end - at <= MAX_FORWARDED_BYTES else 0


cdef Account *account_with_room(Account *account, Py_ssize_t room) noexcept nogil:
    """An account with room for so much text, the old one if it has; NULL without memory.

    Then the old one is as it was. A new one is empty.
    """
    cdef Account *larger
    if account != NULL and account.room >= room:
        return account
    larger = <Account *>realloc(account, sizeof(Account) + room)
    if larger == NULL:
        return NULL
    if account == NULL:
        memset(larger, 0, sizeof(Account))
    larger.room = room
    return larger


cdef Account *copy_of(const Account *account) noexcept nogil:
    cdef Py_ssize_t size = sizeof(Account) + account.room
    cdef Account *copy = <Account *>malloc(size)
    if copy != NULL:
        memcpy(copy, account, size)
    return copy


cdef object tell_account(Account *account):
    """An account as Python sees it."""
    cdef const char *text = <const char *>account.text
    cdef const char *forwarded = text + account.stream_bytes
    cdef const char *cmcd = forwarded + account.forwarded_bytes
    return (
        account.tag,
        PyBytes_FromStringAndSize(text, account.stream_bytes),
        account.agent,
        PyBytes_FromStringAndSize(cmcd, account.cmcd_bytes),
        account.blocking,
        account.plain,
        PyBytes_FromStringAndSize(forwarded, account.forwarded_bytes),
    )
