# Sockets that are watched for edges, in clear or under TLS: what the reactor and the fan-out do
# with one. Included by ``_reactor.pyx`` and ``_fanout.pyx``.
#
# A descriptor is registered once (EPOLLET). `readable` and `writable` remember what epoll said
# until a call here has come back short; then the next edge says so again. Whose turn it is, how
# long, and what the bytes mean, is the includer's.

from libc.errno cimport EAGAIN, EINTR, errno
from libc.stdint cimport int64_t
from libc.string cimport memset
from posix.time cimport CLOCK_MONOTONIC, clock_gettime, timespec
from posix.uio cimport iovec
from posix.unistd cimport close

from native._tls cimport (
    SSL, TLS_BROKEN, TLS_END, TLS_OK, tls_free, tls_receive, tls_send, tls_shutdown,
)

import os

cdef extern from "<sys/epoll.h>" nogil:
    enum: EPOLLIN, EPOLLOUT, EPOLLRDHUP, EPOLLERR, EPOLLHUP, EPOLLET
    enum: EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLL_CLOEXEC
    ctypedef union epoll_data_t:
        void *ptr
    struct epoll_event:
        unsigned int events
        epoll_data_t data
    int epoll_create1(int flags)
    int epoll_ctl(int epoll, int op, int fd, epoll_event *event)
    int epoll_wait(int epoll, epoll_event *events, int count, int timeout_ms)

cdef extern from "<sys/socket.h>" nogil:
    enum: MSG_NOSIGNAL, MSG_DONTWAIT, SHUT_WR
    struct msghdr:
        iovec *msg_iov
        size_t msg_iovlen
    ssize_t recv(int fd, void *data, size_t size, int flags)
    ssize_t send(int fd, const void *data, size_t size, int flags)
    ssize_t sendmsg(int fd, const msghdr *message, int flags)
    int shutdown(int fd, int how)

cdef enum:
    BATCH = 256                     # epoll events fetched at once
    PIECES = 64                     # of one sendmsg
    DRAIN_BYTES = 65536             # read and dropped of one that is told to go

ctypedef unsigned char uchar

cdef struct Socket:
    int fd
    SSL *ssl                        # NULL: in clear
    # Edges that epoll told and that are not used up.
    bint readable
    bint writable
    bint has_left                   # the peer will send no more, or is gone


cdef inline int64_t monotonic_us() noexcept nogil:
    cdef timespec now
    clock_gettime(CLOCK_MONOTONIC, &now)
    return <int64_t>now.tv_sec * 1000000 + now.tv_nsec // 1000


cdef int open_epoll() except -1:
    cdef int epoll = epoll_create1(EPOLL_CLOEXEC)
    if epoll < 0:
        raise OSError(errno, os.strerror(errno))
    return epoll


cdef int watch(int epoll, int fd, void *owner) except -1:
    """Let epoll tell `owner` of a descriptor's edges; OSError if it cannot."""
    cdef epoll_event event
    event.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | <unsigned int>EPOLLET
    event.data.ptr = owner
    if epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) < 0:
        raise OSError(errno, os.strerror(errno))
    return 0


cdef inline void unwatch(int epoll, int fd) noexcept nogil:
    cdef epoll_event ignored        # old kernels want one
    epoll_ctl(epoll, EPOLL_CTL_DEL, fd, &ignored)


cdef inline void begin_socket(Socket *socket, int fd) noexcept nogil:
    socket.fd = fd
    socket.readable = socket.writable = True  # to be tried


cdef inline void note_edges(Socket *socket, unsigned int events) noexcept nogil:
    """Remember what epoll told."""
    if events & <unsigned int>(EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        socket.readable = True
        if socket.ssl != NULL:      # TLS may have to read before it can write
            socket.writable = True
    if events & <unsigned int>EPOLLOUT:
        socket.writable = True
        if socket.ssl != NULL:      # and the other way round
            socket.readable = True
    if events & <unsigned int>(EPOLLRDHUP | EPOLLHUP | EPOLLERR):
        socket.has_left = True


cdef inline bint receive_some(
    Socket *socket, uchar *data, size_t room, size_t *went
) noexcept nogil:
    """Read once; False if nothing will come behind what just `went` here."""
    cdef ssize_t count
    cdef int state
    went[0] = 0
    if socket.ssl != NULL:
        state = tls_receive(socket.ssl, data, room, went, NULL)
        if state == TLS_END or state == TLS_BROKEN:
            return False
        if state != TLS_OK:
            socket.readable = False
        return True
    while True:
        count = recv(socket.fd, data, room, MSG_DONTWAIT)
        if count >= 0 or errno != EINTR:
            break
    if count > 0:
        went[0] = count
        # Short: the kernel has no more now, and the next edge will come. But not the one that told
        # of the end.
        if <size_t>count < room and not socket.has_left:
            socket.readable = False
        return True
    if count < 0 and errno == EAGAIN:
        socket.readable = False
        return True
    return False


cdef inline bint send_some(
    Socket *socket, iovec *pieces, int count, size_t most_bytes, size_t *went
) noexcept nogil:
    """Send once, under TLS `most_bytes` or a little more; False if the connection is broken."""
    cdef msghdr message
    cdef ssize_t result
    cdef int state
    went[0] = 0
    if socket.ssl != NULL:
        state = tls_send(socket.ssl, pieces, count, most_bytes, went, NULL)
        if state != TLS_OK:
            socket.writable = False
        return state != TLS_BROKEN
    while True:
        if count == 1:
            result = send(
                socket.fd, pieces[0].iov_base, pieces[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT
            )
        else:
            memset(&message, 0, sizeof(message))
            message.msg_iov = pieces
            message.msg_iovlen = count
            result = sendmsg(socket.fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT)
        if result >= 0 or errno != EINTR:
            break
    if result >= 0:
        went[0] = result
        return True
    socket.writable = False
    return errno == EAGAIN


cdef inline void end_sending(Socket *socket) noexcept nogil:
    """Everything is said: what comes now is to be drained, or a close would reset what was sent."""
    if socket.ssl != NULL:
        tls_shutdown(socket.ssl)
    shutdown(socket.fd, SHUT_WR)
    socket.readable = True


cdef inline bint drain(Socket *socket, size_t *drained_bytes) noexcept nogil:
    """Read and drop; False if the peer has closed too, or has sent too much."""
    cdef uchar[4096] scratch
    cdef ssize_t count
    while socket.readable and drained_bytes[0] < DRAIN_BYTES:
        count = recv(socket.fd, scratch, sizeof(scratch), MSG_DONTWAIT)
        if count > 0:
            drained_bytes[0] += count
        elif count < 0 and errno == EINTR:
            continue
        elif count < 0 and errno == EAGAIN:
            socket.readable = False
        else:
            break
    return not socket.readable


cdef inline void close_socket(Socket *socket, int epoll) noexcept nogil:
    if socket.ssl != NULL:
        tls_free(socket.ssl)
    # A process that is being forked elsewhere may hold a copy for a moment: then close() leaves it
    # in the epoll set, with a pointer to what is freed soon.
    unwatch(epoll, socket.fd)
    close(socket.fd)
