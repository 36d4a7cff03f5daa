"""The request scanner for other kernels: what `scan_request` says in Python, without objects.

``_request_py.py`` is the specification. For Cython code of this package only (``_reactor.pyx``).
"""

from libc.stdint cimport uint8_t, uint64_t

cdef enum:
    NEED_DATA = 0                   # what came may still become plain
    PLAIN = 1
    ODD = -1                        # for h11 to judge

    MAX_PLAIN_HEAD_BYTES = 4096     # so `data` need not be longer
    MAX_PLAIN_KEY_BYTES = 4096      # a key is shorter than its head
    MAX_PLAIN_TOKEN_BYTES = 2048

cdef struct RequestHead:
    Py_ssize_t head_bytes           # request line to blank line; the next request begins there
    bint is_head                    # HEAD
    bint accepts_gzip
    bint keeps_alive                # no "Connection: close"
    bint is_playlist                # the file is called playlist.m3u8 or ts.m3u8
    bint names_version              # _HLS_msn is in the query
    Py_ssize_t key_bytes            # in `key`: b"g" or b"i" (gzip or identity) + canonical target
    # What follows stands in `data`; 0 and 0 if it is not there.
    Py_ssize_t cmcd_at              # value of the query's CMCD, still escaped
    Py_ssize_t cmcd_bytes
    Py_ssize_t stream_at            # the first segment behind the prefix, if it is not the file
    Py_ssize_t stream_bytes
    Py_ssize_t token_at             # behind "/~", which stands behind the stream
    Py_ssize_t token_bytes
    Py_ssize_t agent_at             # of the first User-Agent; if it is empty, only the size is 0
    Py_ssize_t agent_bytes
    Py_ssize_t forwarded_at         # of the last X-Forwarded-For; the same
    Py_ssize_t forwarded_bytes

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

cdef uint64_t fnv1a_of(const uint8_t *data, Py_ssize_t size) noexcept nogil
