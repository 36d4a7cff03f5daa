"""The request scanner for other kernels: what `scan_request` says in Python, without objects.

``_request_py.py`` is the specification. For Cython code of this package only (``_reactor.pyx``).
"""

from libc.stdint cimport uint8_t

cdef enum:
    NEED_DATA = 0                   # what came may still become plain
    PLAIN = 1
    ODD = -1                        # for h11 to judge

    MAX_PLAIN_HEAD_BYTES = 4096     # so `data` need not be longer
    MAX_PLAIN_KEY_BYTES = 4096      # a key is shorter than its head

cdef struct RequestHead:
    Py_ssize_t head_bytes           # request line to blank line; the next request begins there
    bint is_head                    # HEAD
    bint accepts_gzip
    bint keeps_alive                # no "Connection: close"
    Py_ssize_t key_bytes            # in `key`: b"g" or b"i" (gzip or identity) + canonical target
    Py_ssize_t cmcd_at              # value of the query's CMCD in `data`, still escaped;
    Py_ssize_t cmcd_bytes           # 0 and 0 if there is none

# `prefix` begins and ends with a slash, and is plain itself. Both it and `data` are borrowed for the
# call; `key` is the caller's, with `key_room` bytes, and a request whose key does not fit is ODD.
# `head` and `key` hold nothing of use unless PLAIN is returned. Nothing is kept between calls.
cdef int scan_request_head(
    const uint8_t *data,
    Py_ssize_t size,
    const uint8_t *prefix,
    Py_ssize_t prefix_bytes,
    RequestHead *head,
    uint8_t *key,
    Py_ssize_t key_room,
) noexcept nogil
