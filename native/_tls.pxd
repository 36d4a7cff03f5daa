"""TLS on a descriptor for other kernels: OpenSSL behind a few functions, none of which ever waits.

For Cython code of this package only (``_sockets.pxi``), which calls these through Cython and so
needs neither OpenSSL's headers nor its library. One thread at a time may be inside one ``SSL``;
reading and writing it by turns is one object's business, and that is fine. A descriptor that is not
non-blocking is refused where a `TlsSocket` is made.

Whoever waits for descriptors by edges (EPOLLET) must read until TLS_WANT_READ: what came is read
ahead into the ``SSL``, where no epoll sees it. The same holds for one that has just been taken.
OpenSSL writes with ``write``, so SIGPIPE must be ignored, as it is in every Python process.
"""

from libc.stdint cimport uint8_t
from posix.uio cimport iovec

cdef extern from *:
    """
    typedef struct ssl_st SSL;
    typedef struct ssl_ctx_st SSL_CTX;
    """
    ctypedef struct SSL:
        pass
    ctypedef struct SSL_CTX:
        pass

cdef enum:
    TLS_OK = 0                      # what was asked for is done
    TLS_WANT_READ = 1               # again when the descriptor is readable
    TLS_WANT_WRITE = 2              # again when it is writable; also from tls_receive, rarely
    TLS_END = 3                     # tls_receive: the peer will send no more
    TLS_BROKEN = 4                  # nothing can be sent or received any more

    TLS_RECORD_BYTES = 16384        # what one record holds at most

# `reason`, which may be NULL, gets OpenSSL's code with TLS_BROKEN, or 0 if the peer just left. OpenSSL's error queue,
# which belongs to the thread and so to Python's `ssl` too, is left empty by all of them.

# Shake hands as the server: TLS_OK, TLS_WANT_* or TLS_BROKEN.
cdef int tls_handshake(SSL *ssl, unsigned long *reason) noexcept nogil

# Read into `data` until it is full (TLS_OK) or nothing more has come. `received` is always set, and
# with every outcome it may be more than 0.
cdef int tls_receive(
    SSL *ssl, uint8_t *data, size_t room, size_t *received, unsigned long *reason
) noexcept nogil

# Write pieces in order, small ones gathered into full records, until all are gone or at least
# `limit` bytes are (both TLS_OK), or TLS_WANT_*. `sent` is always set. The next call must begin with
# the first byte that was not sent, and offer no fewer bytes than were left then: they may be in a
# record already. The pieces are borrowed for the call and may be somewhere else in the next.
cdef int tls_send(
    SSL *ssl,
    const iovec *pieces,
    int count,
    size_t limit,
    size_t *sent,
    unsigned long *reason,
) noexcept nogil

# Send close_notify: TLS_OK, TLS_WANT_WRITE or TLS_BROKEN. Not again after TLS_OK, and nothing may be
# sent after it. It sends nothing behind half a record, nor once tls_* has said TLS_BROKEN.
cdef int tls_shutdown(SSL *ssl) noexcept nogil

# Free what `TlsSocket.take` gave. Says nothing to the peer and leaves the descriptor open.
cdef void tls_free(SSL *ssl) noexcept nogil

cdef class TlsContext:
    cdef SSL_CTX *context
    cdef bytes alpn                 # in wire format; `context` points into it

cdef class TlsSocket:
    cdef SSL *ssl                   # owned; NULL when closed or taken
    cdef readonly int fd            # owned; -1 when closed or taken
    cdef TlsContext owner           # until the handshake is over, for `TlsContext.alpn`; then None

    # Gives both away, after the handshake: the SSL is the caller's, to free, and `fd` too, to close.
    # The object is as good as closed afterwards. ValueError: it is, or still shakes hands.
    cdef SSL *take(self) except NULL

    # Takes both back: from here they are the new object's. If it raises (MemoryError) they are not.
    @staticmethod
    cdef TlsSocket wrap(SSL *ssl, int fd)

    cdef void release(self) noexcept
    cdef int check(self) except -1
