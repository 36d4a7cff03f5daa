"""TLS for servers: OpenSSL on a non-blocking descriptor, for the reactor and for Trio.

Native because Python's `ssl` under `trio.SSLStream` moves each byte through two memory BIOs, three
copies and a lock: 30,000 small requests a second where OpenSSL on the descriptor has nginx's pace
(docs/decisions.md has the figures). Here OpenSSL reads and writes the descriptor itself, and if the
kernel can encrypt (SSL_OP_ENABLE_KTLS) it does.

There is no Python twin: cryptography is OpenSSL's. ``HEADRACE_PURE=1`` has `trio.SSLStream` instead.

Nothing waits: each call says what it would wait for (`TlsWant`). Waiting is edge/http/tls_stream.py
in Trio and epoll in ``_reactor.pyx``, to which a connection moves without its peer noticing:
`TlsSocket.take` and `wrap`.

Invariant: an SSL that has failed is made quiet, so no goodbye follows half a record. Bounds: the GIL
is given up for handshakes only (up to some milliseconds of the private key); `TlsSocket.receive`
takes one record, `send` MAX_SEND_BYTES in one call. OpenSSL bounds empty records and warnings, and
keeps no buffer for an idle connection (SSL_MODE_RELEASE_BUFFERS) and no session (tickets only).

Spec: RFC 8446 (TLS 1.3), RFC 5246 (TLS 1.2), RFC 7301 (ALPN), RFC 9325 (recommendations).
"""

cimport cython
from cpython.buffer cimport Py_buffer, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.errno cimport errno
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, strerror
from posix.fcntl cimport F_GETFL, O_NONBLOCK, fcntl
from posix.uio cimport iovec
from posix.unistd cimport close

from native._tls_types import EncryptedKeyError, TlsError, TlsWant

cdef extern from "openssl/ssl.h" nogil:
    ctypedef struct SSL_METHOD:
        pass
    int SSL_ERROR_WANT_READ, SSL_ERROR_WANT_WRITE, SSL_ERROR_ZERO_RETURN
    int SSL_FILETYPE_PEM, TLS1_2_VERSION
    int SSL_TLSEXT_ERR_OK, SSL_TLSEXT_ERR_NOACK, OPENSSL_NPN_NEGOTIATED
    uint64_t SSL_OP_ENABLE_KTLS, SSL_OP_IGNORE_UNEXPECTED_EOF, SSL_OP_NO_COMPRESSION
    uint64_t SSL_OP_NO_RENEGOTIATION
    long SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER, SSL_MODE_ENABLE_PARTIAL_WRITE
    long SSL_MODE_RELEASE_BUFFERS, SSL_SESS_CACHE_OFF

    ctypedef int (*select_alpn_t)(
        SSL *, const unsigned char **, unsigned char *, const unsigned char *, unsigned int, void *
    ) noexcept nogil
    ctypedef int (*ask_password_t)(char *, int, int, void *) noexcept nogil

    const SSL_METHOD *TLS_server_method()
    SSL_CTX *SSL_CTX_new(const SSL_METHOD *)
    void SSL_CTX_free(SSL_CTX *)
    uint64_t SSL_CTX_set_options(SSL_CTX *, uint64_t)
    long SSL_CTX_set_mode(SSL_CTX *, long)
    long SSL_CTX_set_session_cache_mode(SSL_CTX *, long)
    long SSL_CTX_set_read_ahead(SSL_CTX *, long)
    int SSL_CTX_set_min_proto_version(SSL_CTX *, int)
    int SSL_CTX_set_cipher_list(SSL_CTX *, const char *)
    void SSL_CTX_set_alpn_select_cb(SSL_CTX *, select_alpn_t, void *)
    void SSL_CTX_set_default_passwd_cb(SSL_CTX *, ask_password_t)
    void SSL_CTX_set_default_passwd_cb_userdata(SSL_CTX *, void *)
    int SSL_CTX_use_certificate_chain_file(SSL_CTX *, const char *)
    int SSL_CTX_use_PrivateKey_file(SSL_CTX *, const char *, int)
    int SSL_CTX_check_private_key(SSL_CTX *)

    SSL *SSL_new(SSL_CTX *)
    void SSL_free(SSL *)
    int SSL_set_fd(SSL *, int)
    void SSL_set_accept_state(SSL *)
    int SSL_do_handshake(SSL *)
    int SSL_read_ex(SSL *, void *, size_t, size_t *)
    int SSL_write_ex(SSL *, const void *, size_t, size_t *)
    int SSL_shutdown(SSL *)
    void SSL_set_quiet_shutdown(SSL *, int)
    int SSL_get_quiet_shutdown(const SSL *)
    int SSL_get_error(const SSL *, int)
    int SSL_has_pending(const SSL *)
    void SSL_get0_alpn_selected(const SSL *, const unsigned char **, unsigned int *)
    int SSL_select_next_proto(
        unsigned char **, unsigned char *,
        const unsigned char *, unsigned int, const unsigned char *, unsigned int,
    )

cdef extern from "sys/socket.h" nogil:
    int SHUT_WR
    int shutdown_socket "shutdown"(int, int)

cdef extern from "openssl/err.h" nogil:
    unsigned long ERR_SYSTEM_FLAG
    unsigned long ERR_get_error()
    void ERR_clear_error()
    const char *ERR_reason_error_string(unsigned long)

cdef enum:
    MAX_SEND_BYTES = 256 * 1024     # of one `TlsSocket.send`: less than a millisecond of encryption


# Kernels, without objects: see the .pxd for their contracts.

cdef int settle(SSL *ssl, bint is_receiving, unsigned long *reason) noexcept nogil:
    """What the call that has just failed means; leaves the error queue empty."""
    cdef int system_error = errno   # before anything else can change it
    cdef int error = SSL_get_error(ssl, 0)
    if error == SSL_ERROR_WANT_READ:
        return TLS_WANT_READ
    if error == SSL_ERROR_WANT_WRITE:
        return TLS_WANT_WRITE
    if error == SSL_ERROR_ZERO_RETURN and is_receiving:
        return TLS_END              # else it only says that the peer has left before
    SSL_set_quiet_shutdown(ssl, 1)
    cdef unsigned long code = ERR_get_error()
    if code == 0 and system_error != 0:
        code = ERR_SYSTEM_FLAG | <unsigned long>system_error
    if reason is not NULL:
        reason[0] = code
    ERR_clear_error()
    return TLS_BROKEN


cdef int tls_handshake(SSL *ssl, unsigned long *reason) noexcept nogil:
    ERR_clear_error()
    if SSL_do_handshake(ssl) == 1:
        return TLS_OK
    return settle(ssl, False, reason)


cdef int tls_receive(
    SSL *ssl, uint8_t *data, size_t room, size_t *received, unsigned long *reason
) noexcept nogil:
    cdef size_t size = 0
    received[0] = 0
    ERR_clear_error()
    while received[0] < room:
        if SSL_read_ex(ssl, data + received[0], room - received[0], &size) != 1:
            return settle(ssl, True, reason)
        received[0] += size
    return TLS_OK


cdef size_t gather(
    uint8_t *record, const iovec *pieces, int count, size_t skipped_bytes
) noexcept nogil:
    """Fill `record` from the pieces, less the first bytes of the first; return how many it got."""
    cdef size_t size, filled = 0
    cdef int i
    for i in range(count):
        size = min(pieces[i].iov_len - skipped_bytes, TLS_RECORD_BYTES - filled)
        memcpy(record + filled, <const uint8_t *>pieces[i].iov_base + skipped_bytes, size)
        filled += size
        if filled == TLS_RECORD_BYTES:
            break
        skipped_bytes = 0
    return filled


cdef int tls_send(
    SSL *ssl,
    const iovec *pieces,
    int count,
    size_t limit,
    size_t *sent,
    unsigned long *reason,
) noexcept nogil:
    cdef uint8_t record[TLS_RECORD_BYTES]
    cdef const uint8_t *data
    cdef size_t size, taken = 0, skipped_bytes = 0
    sent[0] = 0
    ERR_clear_error()
    while True:
        # `taken` bytes have just gone: find where the rest begins.
        skipped_bytes += taken
        while count > 0 and skipped_bytes >= pieces[0].iov_len:
            skipped_bytes -= pieces[0].iov_len
            pieces += 1
            count -= 1
        if count == 0 or sent[0] >= limit:
            return TLS_OK
        data = <const uint8_t *>pieces[0].iov_base + skipped_bytes
        size = pieces[0].iov_len - skipped_bytes
        if size < TLS_RECORD_BYTES and count > 1:
            size = gather(record, pieces, count, skipped_bytes)
            data = record
        if SSL_write_ex(ssl, data, size, &taken) != 1:
            return settle(ssl, False, reason)
        sent[0] += taken


cdef int tls_shutdown(SSL *ssl) noexcept nogil:
    if SSL_get_quiet_shutdown(ssl):
        return TLS_BROKEN
    ERR_clear_error()
    if SSL_shutdown(ssl) >= 0:
        return TLS_OK
    return settle(ssl, False, NULL)


cdef void tls_free(SSL *ssl) noexcept nogil:
    SSL_free(ssl)


# Callbacks of OpenSSL. No object and no exception may cross it.

cdef int select_alpn(
    SSL *ssl,
    const unsigned char **chosen,
    unsigned char *chosen_bytes,
    const unsigned char *offered,
    unsigned int offered_bytes,
    void *ours,
) noexcept nogil:
    """Choose the first of `ours` that the client offers too; without one there is no ALPN."""
    cdef const uint8_t *list = <const uint8_t *>ours  # its length in two bytes, then the list
    cdef unsigned int list_bytes = (<unsigned int>list[0] << 8) | list[1]
    cdef int outcome = SSL_select_next_proto(
        <unsigned char **>chosen, chosen_bytes, list + 2, list_bytes, offered, offered_bytes
    )
    return SSL_TLSEXT_ERR_OK if outcome == OPENSSL_NPN_NEGOTIATED else SSL_TLSEXT_ERR_NOACK


cdef int refuse_password(char *password, int room, int is_writing, void *asked) noexcept nogil:
    """Without this, OpenSSL would ask at the terminal, and wait."""
    if asked is not NULL:
        (<bint *>asked)[0] = True
    return -1


# The thin layer: owns, checks, raises.

cdef str reason_text(unsigned long code):
    if code == 0:
        return "the peer closed the connection"
    if code & ERR_SYSTEM_FLAG:
        return strerror(<int>(code ^ ERR_SYSTEM_FLAG)).decode("utf-8", "replace")
    cdef const char *text = ERR_reason_error_string(code)
    return f"OpenSSL error {code:#x}" if text is NULL else text.decode("ascii", "replace")


cdef object raise_first_error():
    """Raise the oldest error of the queue, which is where a failure began, and empty it."""
    cdef unsigned long code = ERR_get_error()
    ERR_clear_error()
    raise TlsError("out of memory" if code == 0 else reason_text(code))


cdef bytes alpn_list(tuple names):
    """The names as RFC 7301 section 3.1 writes them: a length of two bytes, then each with its own."""
    cdef bytes joined = b"".join([bytes((len(name) & 0xFF,)) + name for name in names])
    if len(joined) > 0xFFFF or not all([1 <= len(name) <= 255 for name in names]):
        raise ValueError("a protocol is empty, or they are too long")
    return len(joined).to_bytes(2, "big") + joined


cdef object wanted(int outcome, unsigned long reason):
    """What the caller must wait for; raises if there is nothing to wait for any more."""
    if outcome == TLS_WANT_READ:
        return TlsWant.READ
    if outcome == TLS_WANT_WRITE:
        return TlsWant.WRITE
    raise TlsError(reason_text(reason))


@cython.final
cdef class TlsContext:
    """A certificate, its key and the rules, for any number of connections: TLS 1.2 and newer.

    No renegotiation, no compression, no password; sessions resume by ticket. Which cipher is used
    the client decides: it knows whether its processor has AES. A peer that leaves without
    close_notify has ended its side, since HTTP says itself where its messages end.

    Args:
        chain: Path of a PEM file: the certificate, then its intermediate ones.
        key: Path of a PEM file with its private key.
        ciphers: Of TLS 1.2, in OpenSSL's notation.
        alpn: Protocols, the best first; each of 1 to 255 bytes.

    Raises:
        EncryptedKeyError: The key is encrypted.
        TlsError: The files cannot be used; the text says nothing of what is in them.
        ValueError: A protocol is empty, or they are too long.
    """

    def __cinit__(self, bytes chain not None, bytes key not None, *, bytes ciphers not None, alpn=()):
        cdef bint is_encrypted = False
        self.alpn = alpn_list(tuple(alpn))
        ERR_clear_error()
        self.context = SSL_CTX_new(TLS_server_method())
        if self.context is NULL:
            raise_first_error()
        SSL_CTX_set_options(
            self.context,
            SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION
            | SSL_OP_IGNORE_UNEXPECTED_EOF | SSL_OP_ENABLE_KTLS,
        )
        SSL_CTX_set_mode(
            self.context,
            SSL_MODE_ENABLE_PARTIAL_WRITE
            | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER
            | SSL_MODE_RELEASE_BUFFERS,
        )
        SSL_CTX_set_session_cache_mode(self.context, SSL_SESS_CACHE_OFF)
        SSL_CTX_set_read_ahead(self.context, 1)  # one system call for a record, not two
        if alpn:
            SSL_CTX_set_alpn_select_cb(
                self.context, select_alpn, <void *>PyBytes_AS_STRING(self.alpn)
            )
        SSL_CTX_set_default_passwd_cb(self.context, refuse_password)
        if (
            SSL_CTX_set_min_proto_version(self.context, TLS1_2_VERSION) != 1
            or SSL_CTX_set_cipher_list(self.context, ciphers) != 1
            or SSL_CTX_use_certificate_chain_file(self.context, chain) != 1
        ):
            raise_first_error()
        SSL_CTX_set_default_passwd_cb_userdata(self.context, &is_encrypted)
        cdef int is_loaded = SSL_CTX_use_PrivateKey_file(self.context, key, SSL_FILETYPE_PEM)
        SSL_CTX_set_default_passwd_cb_userdata(self.context, NULL)
        if is_encrypted:
            ERR_clear_error()
            raise EncryptedKeyError("the private key is encrypted")
        if is_loaded != 1:
            raise_first_error()
        if SSL_CTX_check_private_key(self.context) != 1:
            ERR_clear_error()       # a key of another kind: OpenSSL speaks of a missing certificate
            raise TlsError("key values mismatch")

    def __dealloc__(self):
        SSL_CTX_free(self.context)  # lives on in each SSL that was made of it


@cython.final
cdef class TlsSocket:
    """The server's side of one TLS connection on a descriptor.

    Any task of one thread may call any method at any time: one that sends does not disturb another
    that receives. After `close` they raise ValueError.

    Args:
        context: Used for the handshake.
        fd: Connected and non-blocking. From here on it belongs to this object, which closes it with
            `close` or when it is collected; not if this raises.

    Raises:
        ValueError: The descriptor blocks, or is none.
        TlsError: No memory.
    """

    def __cinit__(self):
        self.fd = -1

    def __init__(self, TlsContext context not None, int fd):
        if self.ssl is not NULL:
            raise ValueError("it has a descriptor already")
        cdef int flags = fcntl(fd, F_GETFL)
        if flags < 0 or not flags & O_NONBLOCK:
            raise ValueError(f"descriptor {fd} is not open and non-blocking")
        ERR_clear_error()
        self.ssl = SSL_new(context.context)
        if self.ssl is NULL or SSL_set_fd(self.ssl, fd) != 1:
            SSL_free(self.ssl)
            self.ssl = NULL
            raise_first_error()
        SSL_set_accept_state(self.ssl)
        self.owner = context
        self.fd = fd

    def __dealloc__(self):
        self.release()

    cdef void release(self) noexcept:
        if self.ssl is not NULL:
            SSL_free(self.ssl)
            close(self.fd)
        self.ssl, self.fd = NULL, -1

    cdef int check(self) except -1:
        if self.ssl is NULL:
            raise ValueError("the TLS connection is closed")
        return 0

    cdef SSL *take(self) except NULL:
        self.check()
        if self.owner is not None:
            raise ValueError("the TLS handshake is not over")
        cdef SSL *ssl = self.ssl
        self.ssl = NULL
        self.fd = -1
        return ssl

    @staticmethod
    cdef TlsSocket wrap(SSL *ssl, int fd):
        cdef TlsSocket self = TlsSocket.__new__(TlsSocket)
        self.ssl = ssl
        self.fd = fd
        return self

    @property
    def selected_alpn(self):
        """What ALPN has chosen; None: nothing, or not yet."""
        cdef const unsigned char *name = NULL
        cdef unsigned int size = 0
        self.check()
        SSL_get0_alpn_selected(self.ssl, &name, &size)
        return None if size == 0 else name[:size].decode("latin-1")

    @property
    def pending(self):
        """Whether something has been read off the descriptor and not been received yet."""
        self.check()
        return SSL_has_pending(self.ssl) == 1

    def handshake(self):
        """Go on with the handshake.

        Returns:
            What to wait for before the next call; None: it is done.

        Raises:
            TlsError: It has failed; the connection is of no use.
        """
        cdef unsigned long reason = 0
        cdef int outcome
        self.check()
        with nogil:
            outcome = tls_handshake(self.ssl, &reason)
        if outcome != TLS_OK:
            return wanted(outcome, reason)
        self.owner = None
        return None

    def receive(self, Py_ssize_t max_bytes):
        """Take what has come, of one record.

        Args:
            max_bytes: At least 1; more than 16,384 never come at once.

        Returns:
            Some bytes; none when the peer has ended its side; or what to wait for. What it wants
            may be WRITE: TLS itself has something to say first.

        Raises:
            TlsError: The connection has failed.
        """
        cdef uint8_t record[TLS_RECORD_BYTES]
        cdef unsigned long reason = 0
        cdef size_t size = 0
        self.check()
        if max_bytes < 1:
            raise ValueError("max_bytes must be at least 1")
        ERR_clear_error()
        if SSL_read_ex(self.ssl, record, min(max_bytes, TLS_RECORD_BYTES), &size) == 1:
            return PyBytes_FromStringAndSize(<char *>record, size)
        cdef int outcome = settle(self.ssl, True, &reason)
        return b"" if outcome == TLS_END else wanted(outcome, reason)

    def send(self, data):
        """Send as much as goes at once.

        Args:
            data: What follows what has been sent. After a `TlsWant` it must begin with the same
                bytes: they may be in a record already.

        Returns:
            How many bytes were taken, at most MAX_SEND_BYTES and one record; or what to wait for.

        Raises:
            TlsError: The connection has failed.
        """
        cdef unsigned long reason = 0
        cdef size_t sent = 0
        cdef Py_buffer view
        cdef iovec piece
        cdef int outcome
        self.check()
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        piece.iov_base, piece.iov_len = view.buf, view.len
        outcome = tls_send(self.ssl, &piece, 1, MAX_SEND_BYTES, &sent, &reason)
        PyBuffer_Release(&view)
        return sent if sent > 0 or outcome == TLS_OK else wanted(outcome, reason)

    def shutdown(self):
        """Say that nothing more will be sent (close_notify, then TCP's FIN); not again when done.

        Returns:
            What to wait for before the next call; None: it is said.

        Raises:
            TlsError: It cannot be said: a record was half sent, or the connection has failed.
        """
        self.check()
        cdef int outcome = tls_shutdown(self.ssl)
        if outcome == TLS_BROKEN:
            raise TlsError("close_notify cannot be sent any more")
        if outcome != TLS_OK:
            return wanted(outcome, 0)
        shutdown_socket(self.fd, SHUT_WR)  # fails if the peer is gone, who need not be told
        return None

    def close(self):
        """Close the descriptor and say nothing; again does nothing."""
        self.release()
