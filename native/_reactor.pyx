"""The delivery reactor: plain GETs of many connections, answered from a table of shared bytes.

One epoll descriptor of its own, which somebody's event loop watches; `Reactor.step` does what is to
be done, mostly without the GIL. A connection is adopted between two requests. For each request that
`scan_request_head` calls plain, the table is asked::

    kept     answered at once: one sendmsg of the shared pieces, none of them copied
    waiting  parked: `put` or `release` answers all who wait for a key
    neither  parked, and Python is told (MISS)

Whatever is not plain goes back to Python with the bytes that were read (RETURNED). Nothing here
knows what a key means. The twin of this is h11 in `edge.http`; there is no other.

A request with a token is answered here only if its connection was adopted with a pass for just that
token and stream, and until that is over; else it is Python's to judge, as what is not plain.

Edges: see ``_sockets.pxi``. A connection that has something to do stands in the run queue; its turn
is bounded (`TURN_*`), and so is a step (`budget_us`).

Memory: an idle connection is one `Conn` (some 400 bytes), and its account if it has told something
(some 150 bytes and its CMCD); a parked one has its request too; one that sends has nothing more, as
the bytes are the table's. What is read stands in one buffer of all (`scratch`) while its connection
has its turn; only what is left of it afterwards is kept apart. An `Answer` is pinned by the table
and by everybody who sends it: what is dropped meanwhile is freed when the last of them is done.
Frees wait for the end of the step, where the GIL is held.

One thread at a time. Imports ``_request`` and ``_tls`` only.
"""

cimport cython
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcmp, memcpy, memmove, memset
from posix.uio cimport iovec
from posix.unistd cimport close

from native._request cimport (
    MAX_PLAIN_HEAD_BYTES, NEED_DATA, PLAIN, RequestHead, fnv1a_of, scan_request_head,
)
from native._tls cimport SSL, TlsSocket

import os

from native._reactor_types import ReactorCounters, ReactorEvent, ReactorLimits

include "_sockets.pxi"

cdef enum:
    INPUT_BYTES = 4096              # MAX_PLAIN_HEAD_BYTES: more is never held of a connection
    TAIL_BYTES = 64                 # Date, Connection: close, blank line
    MAX_DATE_BYTES = 40
    MAX_EVENTS = 4096               # for Python, of one step
    TURN_REQUESTS = 16              # that a connection is answered before it is others' turn
    TURN_BYTES = 1048576
    TURNS_A_LOOK = 8                # turns between two looks at the clock

include "_reactor_table.pxi"
include "_reactor_accounts.pxi"

cdef enum:
    LEFT, DONE, IDLE, SLOW_HEAD, SLOW, FAILED, CUT

_REASONS = ("left", "done", "idle", "slow head", "slow", "failed", "cut")

cdef enum:
    MISS, UNWANTED, RETURNED, ENDED

cdef struct Event:
    int kind
    Entry *entry
    int fd
    int64_t tag
    SSL *ssl
    uchar *data
    int size
    int reason
    uint64_t sent_bytes
    uint64_t requests

cdef object E_MISS = ReactorEvent.MISS
cdef object E_UNWANTED = ReactorEvent.UNWANTED
cdef object E_RETURNED = ReactorEvent.RETURNED
cdef object E_ENDED = ReactorEvent.ENDED


@cython.final
cdef class Blob:
    """A rendered response: its head without Date, Connection and blank line, and its body.

    Args:
        head: Status line and fields, each with its CRLF.
        chunks: The body in pieces, which are kept and not copied.

    Raises:
        ValueError: The head is empty.
    """

    cdef Answer answer
    cdef Py_buffer *views
    cdef int held

    def __cinit__(self, bytes head not None, tuple chunks not None):
        cdef int index
        cdef Py_ssize_t count = len(chunks) + 1
        if not head:
            raise ValueError("a response has a head")
        self.views = <Py_buffer *>PyMem_Calloc(count, sizeof(Py_buffer))
        self.answer.pieces = <iovec *>PyMem_Calloc(count, sizeof(iovec))
        if self.views == NULL or self.answer.pieces == NULL:
            raise MemoryError
        self.answer.blob = <PyObject *>self
        for index in range(count):
            PyObject_GetBuffer(
                head if index == 0 else chunks[index - 1], &self.views[index], PyBUF_SIMPLE
            )
            self.held += 1
            if self.views[index].len:
                self.answer.pieces[self.answer.count].iov_base = self.views[index].buf
                self.answer.pieces[self.answer.count].iov_len = self.views[index].len
                self.answer.size_bytes += self.views[index].len
                self.answer.count += 1
        self.answer.head_bytes = self.answer.pieces[0].iov_len
        self.answer.is_good = head[9:10] in (b"2", b"3")  # behind "HTTP/1.1 "

    def __dealloc__(self):
        cdef int index
        for index in range(self.held):
            PyBuffer_Release(&self.views[index])
        PyMem_Free(self.views)
        PyMem_Free(self.answer.pieces)


cdef inline void pin(Answer *answer):
    if answer.pins == 0 and not answer.is_dead:
        Py_INCREF(<object>answer.blob)
    answer.pins += 1


@cython.final
cdef class Reactor:
    """Serves adopted connections.

    Args:
        prefix: What the paths of plain requests begin with.
        limits: All that is bounded.
        too_many: The answer to a connection that asks too often; it is its last.

    Raises:
        OSError: There is no descriptor left.
    """

    cdef int epoll
    cdef bytes prefix
    cdef const uchar *prefix_data
    cdef Py_ssize_t prefix_bytes
    cdef Answer *too_many           # pinned while open; no object, so that no collector clears it
    cdef int max_connections, max_keys, max_waiting_keys
    cdef int64_t[5] timeouts_ms     # by Timer
    cdef size_t min_send_bytes
    cdef double burst, per_ms
    cdef bint draining, is_open
    cdef Table table
    cdef int waiting_keys
    cdef Conn *run_first
    cdef Conn *run_last
    cdef Conn *everybody
    cdef Conn *closed               # freed at the end of the step
    cdef Conn *timer_first[5]
    cdef Conn *timer_last[5]
    cdef Answer *dead               # released at the end of the step
    cdef Entry *buried              # freed at the end of the step
    cdef Event *events
    cdef int event_count
    cdef epoll_event[BATCH] batch
    cdef int64_t now_ms
    cdef char[MAX_DATE_BYTES] date
    cdef int date_bytes
    cdef uchar[MAX_PLAIN_HEAD_BYTES + 64] key
    cdef uchar[INPUT_BYTES] scratch # the input of the connection that has its turn, if it has none
    cdef Account *reports[MAX_REPORTS]
    cdef int report_count
    cdef int connections, parked
    cdef uint64_t requests, hits, misses, released, returned, timed_out, refused, all_sent_bytes

    def __cinit__(self, *, bytes prefix not None, limits not None, Blob too_many not None):
        cdef uint64_t size = 64
        self.epoll = -1
        self.prefix = prefix
        self.prefix_data = <const uchar *><const char *>prefix
        self.prefix_bytes = len(prefix)
        self.max_connections = limits.max_connections
        self.max_keys = limits.max_keys
        self.max_waiting_keys = limits.max_waiting_keys
        self.timeouts_ms[HEAD_TIMER] = limits.head_timeout_ms
        self.timeouts_ms[IDLE_TIMER] = limits.idle_timeout_ms
        self.timeouts_ms[SEND_TIMER] = limits.send_window_ms
        self.timeouts_ms[LINGER_TIMER] = limits.linger_timeout_ms
        self.min_send_bytes = limits.min_send_bytes
        self.burst = limits.requests_burst
        self.per_ms = limits.requests_per_s / 1000.0
        while size < 2 * <uint64_t>(self.max_keys + self.max_waiting_keys) and size < (1 << 20):
            size *= 2
        self.table.mask = size - 1
        self.table.buckets = <Entry **>calloc(size, sizeof(Entry *))
        self.events = <Event *>calloc(MAX_EVENTS, sizeof(Event))
        if self.table.buckets == NULL or self.events == NULL:
            raise MemoryError
        seed = os.urandom(16)
        memcpy(self.table.seed, <const char *>seed, 16)
        self.epoll = open_epoll()
        self.too_many = &too_many.answer
        pin(self.too_many)
        self.is_open = True

    def __dealloc__(self):
        self.shut()
        self.drop_reports()
        free(self.table.buckets)
        free(self.events)

    # -- what Python calls

    def fileno(self) -> int:
        """The descriptor that is readable while a step has something to do."""
        return self.epoll

    @property
    def counters(self) -> ReactorCounters:
        """What there is now, and what was done so far."""
        return ReactorCounters(
            self.connections, self.parked, self.table.count - self.waiting_keys, self.waiting_keys,
            self.requests, self.hits, self.misses, self.released, self.all_sent_bytes,
            self.returned, self.timed_out, self.refused,
        )

    def adopt(
        self,
        int fd,
        bytes received not None,
        int64_t tag,
        TlsSocket tls=None,
        *,
        tuple pass_token=None,
        int64_t pass_until_ms=0,
        bint is_shared=False,
    ):
        """Serve a connection from here on.

        Args:
            fd: Connected and non-blocking; the reactor's from now on, unless this raises.
            received: What was read of the next request and not answered.
            tag: Comes back with its events.
            tls: Of this descriptor, after the handshake; as good as closed afterwards.
            pass_token: The stream and the token, both bytes, of requests that may be answered;
                None: none with a token may.
            pass_until_ms: And until when, in the time of `step`.
            is_shared: It carries requests of many clients, and its X-Forwarded-For says whose. Of
                these none with a token is answered here.

        Raises:
            ValueError: Too much was received, the reactor is closed, or `tls` is, is another
                descriptor's or still shakes hands; or `pass_token` are not two.
            OverflowError: It has as many as it may have.
            OSError: The descriptor cannot be watched.
        """
        cdef Conn *conn
        cdef bytes admitted = None
        if pass_token is not None:
            stream, token = pass_token
            admitted = b"%b/~%b" % (stream, token)
        if not self.is_open or len(received) > INPUT_BYTES:
            raise ValueError("the reactor is closed, or too much was received")
        if self.connections >= self.max_connections:
            raise OverflowError("the reactor is full")
        if tls is not None and tls.fd != fd:
            raise ValueError("the TLS connection has another descriptor")
        conn = <Conn *>calloc(1, sizeof(Conn))
        if conn == NULL:
            raise MemoryError
        if received:
            conn.input = <uchar *>malloc(INPUT_BYTES)
            if conn.input == NULL:
                free(conn)
                raise MemoryError
            memcpy(conn.input, <const char *>received, len(received))
            conn.input_bytes = len(received)
        try:
            watch(self.epoll, fd, conn)
            if tls is not None:
                try:
                    conn.socket.ssl = tls.take()
                except ValueError:
                    unwatch(self.epoll, fd)
                    raise
        except (OSError, ValueError):
            free(conn.input)
            free(conn)
            raise
        begin_socket(&conn.socket, fd)
        conn.tag = tag
        conn.is_shared = is_shared
        if admitted is not None:
            conn.pass_until_ms = pass_until_ms
            conn.pass_hash = sip_hash(
                <const uchar *><const char *>admitted, len(admitted), self.table.seed
            )
        conn.tokens = self.burst
        conn.tokens_ms = -1
        conn.all_next = self.everybody
        if self.everybody != NULL:
            self.everybody.all_prev = conn
        self.everybody = conn
        self.connections += 1
        self.enqueue(conn)

    def put(self, bytes key not None, Blob blob not None) -> bool:
        """Answer who waits for a key, and whoever asks for it until `drop`.

        Returns:
            Whether it is kept; False if there are as many keys as there may be, or it is closed.
        """
        cdef Entry *entry = self.find(key)
        cdef uint64_t hash
        if not self.is_open:
            return False
        if entry == NULL:
            if self.table.count - self.waiting_keys >= self.max_keys:
                return False
            hash = sip_hash(<const uchar *><const char *>key, len(key), self.table.seed)
            entry = table_add(&self.table, <const uchar *><const char *>key, len(key), hash)
            if entry == NULL:
                raise MemoryError
        elif entry.answer != NULL:
            pin(&blob.answer)
            self.unpin(entry.answer)
            entry.answer = &blob.answer
            self.bury()
            return True
        elif self.table.count - self.waiting_keys >= self.max_keys:
            self.release(key, blob)
            return False
        else:
            self.waiting_keys -= 1
            self.answer_all(entry, blob)
        pin(&blob.answer)
        entry.answer = &blob.answer
        return True

    def release(self, bytes key not None, Blob blob not None) -> None:
        """Answer who waits for a key, and keep nothing."""
        cdef Entry *entry = self.find(key)
        if entry == NULL or entry.answer != NULL:
            return
        self.answer_all(entry, blob)
        self.forget(entry)
        self.bury()

    def hand_back(self, bytes key not None) -> None:
        """Return who waits for a key to Python, with the request."""
        cdef Entry *entry = self.find(key)
        cdef Conn *conn
        if entry == NULL or entry.answer != NULL:
            return
        while entry.first != NULL:
            conn = self.unpark(entry.first)
            conn.must_return = True
            self.enqueue(conn)
        self.forget(entry)
        self.bury()

    def drop(self, bytes key not None) -> None:
        """Keep the answer to a key no longer; who is being sent it gets all of it."""
        cdef Entry *entry = self.find(key)
        if entry == NULL or entry.answer == NULL:
            return
        self.unpin(entry.answer)
        table_unlink(&self.table, entry)
        free(entry)
        self.bury()

    def drain(self) -> None:
        """Let every answer be its connection's last, and close those that rest."""
        cdef Conn *conn = self.everybody
        self.draining = True
        while conn != NULL:
            if conn.queue == NO_QUEUE and conn.answer == NULL:
                self.enqueue(conn)
            conn = conn.all_next

    def close(self) -> None:
        """Cut every connection; afterwards only this, `accounts` and the figures may be asked."""
        self.shut()

    def next_deadline_ms(self):
        """When a step is due though nothing comes, in the time of `step`; None: never."""
        cdef int timer
        cdef int64_t due_ms
        cdef object first = None
        for timer in range(1, TIMERS):
            if self.timer_first[timer] != NULL:
                due_ms = self.timer_first[timer].stamp_ms + self.timeouts_ms[timer]
                if first is None or due_ms < first:
                    first = due_ms
        return first

    def accounts(self) -> list[tuple]:
        """What has become due of the connections' accounts, each given once; see `ReactorAccount`.

        A connection is reported with its first request that tells something, then every five
        seconds with the next, before somebody else speaks on it, and when it ends. While 1024
        reports wait to be fetched, counts stay with their connection; only those of one that ends,
        or that somebody else speaks on, are lost then. May be called after `close`.
        """
        told = [tell_account(self.reports[index]) for index in range(self.report_count)]
        self.drop_reports()
        return told

    def step(self, int64_t now_ms, bytes date not None, int64_t budget_us):
        """Do what is to be done, for so long at the most.

        Args:
            now_ms: The time; it never goes back.
            date: The Date line with its CRLF.
            budget_us: Microseconds after which the rest is left to the next step.

        Returns:
            Events for Python, in order (see `ReactorEvent`), and whether something is left to do.
        """
        cdef bint more
        if not self.is_open:
            return [], False
        if not 0 < len(date) <= MAX_DATE_BYTES:
            raise ValueError("a Date line has up to 40 bytes")
        memcpy(self.date, <const char *>date, len(date))
        self.date_bytes = len(date)
        self.now_ms = now_ms
        with nogil:
            more = self.work(budget_us)
        events = [self.tell(&self.events[index]) for index in range(self.event_count)]
        self.event_count = 0
        self.bury()
        return events, more

    # -- a step

    cdef bint work(self, int64_t budget_us) noexcept nogil:
        cdef int64_t until_us = monotonic_us() + budget_us
        cdef int turns = 0
        cdef Conn *conn
        self.expire()
        while self.look() > 0 or self.run_first != NULL:
            while self.run_first != NULL:
                if self.event_count >= MAX_EVENTS - 8:
                    return True
                turns += 1
                if turns % TURNS_A_LOOK == 0 and monotonic_us() >= until_us:
                    return True
                conn = self.run_first
                self.dequeue(conn)
                self.turn(conn)
                self.keep(conn)
            if self.event_count:  # for Python, whose answers somebody may wait for
                return False
        return False

    cdef int look(self) noexcept nogil:
        """Put those of whom epoll tells something into the run queue; how many there were."""
        cdef int index, count = epoll_wait(self.epoll, self.batch, BATCH, 0)
        cdef Conn *conn
        for index in range(count):
            conn = <Conn *>self.batch[index].data.ptr
            note_edges(&conn.socket, self.batch[index].events)
            if conn.queue == WAITERS:
                if conn.socket.has_left:
                    self.leave(conn)
            elif conn.queue == NO_QUEUE:
                self.enqueue(conn)
        return count

    cdef void expire(self) noexcept nogil:
        cdef int timer
        cdef Conn *conn
        for timer in range(1, TIMERS):
            while self.event_count < MAX_EVENTS // 2:
                conn = self.timer_first[timer]
                if conn == NULL or conn.stamp_ms + self.timeouts_ms[timer] > self.now_ms:
                    break
                if timer == SEND_TIMER and conn.moved_bytes >= self.min_send_bytes:
                    self.set_timer(conn, SEND_TIMER)
                    continue
                if timer == IDLE_TIMER and conn.queue == RUN:  # something has just come
                    self.set_timer(conn, NO_TIMER)
                    continue
                self.timed_out += 1
                self.end(
                    conn,
                    SLOW_HEAD if timer == HEAD_TIMER
                    else IDLE if timer == IDLE_TIMER
                    else SLOW if timer == SEND_TIMER
                    else DONE,
                )

    cdef void turn(self, Conn *conn) noexcept nogil:
        """Let a connection do what it can, within bounds."""
        cdef int requests = 0
        cdef size_t moved = 0
        cdef int done
        while not conn.is_closed:
            if conn.lingers:
                self.linger(conn)
                return
            if conn.answer != NULL:
                done = self.send(conn, &moved)
                if done == 0:
                    if conn.socket.writable:  # others first
                        self.enqueue(conn)
                    return
                if done < 0:
                    return
                requests += 1
                if requests >= TURN_REQUESTS or moved >= TURN_BYTES:
                    self.enqueue(conn)
                    return
            elif conn.must_return:
                self.give_back(conn)
                return
            elif not self.next_request(conn):
                return

    cdef bint next_request(self, Conn *conn) noexcept nogil:
        """Read a request and find its answer; False if there is nothing to do now."""
        cdef RequestHead head
        cdef int verdict
        if conn.input_bytes == 0 and not self.receive(conn):
            return False
        while True:
            verdict = scan_request_head(
                conn.input, conn.input_bytes, self.prefix_data, self.prefix_bytes, &head,
                self.key, sizeof(self.key),
            )
            if verdict == PLAIN and (head.token_bytes == 0 or self.admits(conn, &head)):
                return self.look_up(conn, &head)
            if verdict != NEED_DATA or conn.input_bytes >= INPUT_BYTES:
                self.give_back(conn)
                return False
            if not self.receive(conn):
                return False

    cdef bint admits(self, Conn *conn, const RequestHead *head) noexcept nogil:
        """Whether a request's token is the one of its connection's pass."""
        if conn.pass_until_ms <= self.now_ms or (conn.is_shared and head.forwarded_at):
            return False
        # The token stands right behind the stream: "stream/~token".
        return conn.pass_hash == sip_hash(
            conn.input + head.stream_at, head.stream_bytes + 2 + head.token_bytes, self.table.seed
        )

    cdef bint look_up(self, Conn *conn, RequestHead *head) noexcept nogil:
        cdef uint64_t hash
        cdef Entry *entry
        if not self.spend(conn):
            self.refused += 1
            conn.is_last = True
            conn.is_head = head.is_head
            conn.head_bytes = head.head_bytes
            self.begin(conn, self.too_many)
            return True
        hash = sip_hash(self.key, head.key_bytes, self.table.seed)
        entry = table_find(&self.table, self.key, head.key_bytes, hash)
        if entry == NULL:
            if self.waiting_keys < self.max_waiting_keys:
                entry = table_add(&self.table, self.key, head.key_bytes, hash)
            if entry == NULL:
                self.give_back(conn)
                return False
            self.waiting_keys += 1
            self.misses += 1
            self.tell_key(MISS, entry)
        elif entry.answer != NULL:
            self.hits += 1
        self.requests += 1
        conn.requests += 1
        conn.is_head = head.is_head
        conn.is_last = not head.keeps_alive
        conn.head_bytes = head.head_bytes
        self.meet(conn, head)
        if entry.answer != NULL:
            self.begin(conn, entry.answer)
            return True
        self.park(conn, entry)
        if conn.socket.has_left:
            self.leave(conn)
        return False

    cdef void begin(self, Conn *conn, Answer *answer) noexcept nogil:
        """Answer the request in front with something that is pinned already."""
        if conn.tells != NOTHING:
            if answer.is_good:
                self.count(conn)
            conn.tells = NOTHING
        answer.pins += 1
        conn.answer = answer
        conn.sent = 0
        conn.tail_bytes = 0
        conn.input_bytes -= conn.head_bytes
        if conn.input_bytes:
            memmove(conn.input, conn.input + conn.head_bytes, conn.input_bytes)
        else:
            self.drop_input(conn)
        conn.head_bytes = 0

    cdef int send(self, Conn *conn, size_t *moved) noexcept nogil:
        """Send what can be sent of an answer: 1 it is out, 0 not all of it, -1 it has ended."""
        cdef Answer *answer = conn.answer
        cdef size_t total, before = conn.sent
        cdef int state = 0
        if conn.tail_bytes == 0:
            self.make_tail(conn)
        total = answer.head_bytes + conn.tail_bytes
        if not conn.is_head:
            total += answer.size_bytes - answer.head_bytes
        while state == 0 and conn.sent < total and conn.socket.writable and moved[0] < TURN_BYTES:
            state = self.push(conn, total, moved)
        conn.moved_bytes += conn.sent - before
        conn.sent_bytes += conn.sent - before
        self.all_sent_bytes += conn.sent - before
        if state < 0:
            self.end(conn, FAILED)
            return -1
        if conn.sent < total:
            if conn.timer != SEND_TIMER:
                self.set_timer(conn, SEND_TIMER)
            return 0
        self.unpin(answer)
        conn.answer = NULL
        if conn.is_last:
            self.say_goodbye(conn)
            return 1
        self.set_timer(conn, NO_TIMER)
        return 1

    cdef void make_tail(self, Conn *conn) noexcept nogil:
        cdef bint is_last = conn.is_last or self.draining
        conn.is_last = is_last
        memcpy(conn.tail, self.date, self.date_bytes)
        conn.tail_bytes = self.date_bytes
        if is_last:
            memcpy(conn.tail + conn.tail_bytes, b"Connection: close\r\n", 19)
            conn.tail_bytes += 19
        memcpy(conn.tail + conn.tail_bytes, b"\r\n", 2)
        conn.tail_bytes += 2

    cdef int push(self, Conn *conn, size_t total, size_t *moved) noexcept nogil:
        """One call that sends; -1 if the connection is broken."""
        cdef iovec[PIECES] pieces
        cdef int count = 0, index = 0
        cdef size_t skip = conn.sent, size, went
        cdef Answer *answer = conn.answer
        cdef int last = 1 if conn.is_head else answer.count
        cdef bint is_whole
        # head, tail, body
        while count < PIECES and index <= last:
            if index == 1:
                size = conn.tail_bytes
            else:
                size = answer.pieces[index if index == 0 else index - 1].iov_len
            if skip < size:
                if index == 1:
                    pieces[count].iov_base = conn.tail + skip
                else:
                    pieces[count].iov_base = (
                        <char *>answer.pieces[index if index == 0 else index - 1].iov_base + skip
                    )
                pieces[count].iov_len = size - skip
                count += 1
                skip = 0
            else:
                skip -= size
            index += 1
        is_whole = send_some(&conn.socket, pieces, count, TURN_BYTES, &went)
        conn.sent += went
        moved[0] += went
        return 0 if is_whole else -1

    cdef bint receive(self, Conn *conn) noexcept nogil:
        """Read what there is room for; False if nothing came, and then all is said about why."""
        cdef size_t went
        cdef bint is_open
        if not conn.socket.readable:
            self.rest(conn)
            return False
        if conn.input == NULL:
            conn.input = self.scratch
        elif conn.input != self.scratch:  # the rest of what was kept comes behind it
            memcpy(self.scratch, conn.input, conn.input_bytes)
            free(conn.input)
            conn.input = self.scratch
        is_open = receive_some(
            &conn.socket, conn.input + conn.input_bytes, INPUT_BYTES - conn.input_bytes, &went
        )
        conn.input_bytes += went
        if went:  # the end, if there is one, is told again
            return True
        if is_open:
            self.rest(conn)
        else:
            self.end(conn, LEFT)
        return False

    cdef void rest(self, Conn *conn) noexcept nogil:
        """Wait for bytes: of the request that has begun, or of the next."""
        if conn.input_bytes:
            if conn.timer != HEAD_TIMER:
                self.set_timer(conn, HEAD_TIMER)
            return
        if self.draining:  # a request that was there already has had its answer
            self.say_goodbye(conn)
            return
        self.drop_input(conn)
        if conn.timer != IDLE_TIMER:
            self.set_timer(conn, IDLE_TIMER)

    cdef void park(self, Conn *conn, Entry *entry) noexcept nogil:
        self.set_timer(conn, NO_TIMER)
        conn.queue = WAITERS
        conn.entry = entry
        conn.next = NULL
        conn.prev = entry.last
        if entry.last != NULL:
            entry.last.next = conn
        else:
            entry.first = conn
        entry.last = conn
        entry.waiting += 1
        self.parked += 1

    cdef Conn *unpark(self, Conn *conn) noexcept nogil:
        cdef Entry *entry = conn.entry
        if conn.prev != NULL:
            conn.prev.next = conn.next
        else:
            entry.first = conn.next
        if conn.next != NULL:
            conn.next.prev = conn.prev
        else:
            entry.last = conn.prev
        conn.next = conn.prev = NULL
        conn.entry = NULL
        conn.queue = NO_QUEUE
        entry.waiting -= 1
        self.parked -= 1
        return conn

    cdef void leave(self, Conn *conn) noexcept nogil:
        """A client closed while it was parked."""
        cdef Entry *entry = conn.entry
        self.unpark(conn)
        self.end(conn, LEFT)
        if entry.waiting == 0:
            self.tell_key(UNWANTED, entry)
            self.forget(entry)

    cdef void forget(self, Entry *entry) noexcept nogil:
        """Nobody waits for a key any more, and it is not kept."""
        self.waiting_keys -= 1
        table_unlink(&self.table, entry)
        entry.chain = self.buried
        self.buried = entry

    cdef void answer_all(self, Entry *entry, Blob blob):
        cdef Conn *conn
        pin(&blob.answer)
        while entry.first != NULL:
            conn = self.unpark(entry.first)
            self.released += 1
            self.begin(conn, &blob.answer)
            self.enqueue(conn)
        self.unpin(&blob.answer)

    cdef void say_goodbye(self, Conn *conn) noexcept nogil:
        """Close in peace: with unread input, a close would reset what was sent."""
        conn.lingers = True
        conn.moved_bytes = 0
        end_sending(&conn.socket)
        self.drop_input(conn)
        self.set_timer(conn, LINGER_TIMER)

    cdef void linger(self, Conn *conn) noexcept nogil:
        if not drain(&conn.socket, &conn.moved_bytes):
            self.end(conn, DONE)

    cdef void give_back(self, Conn *conn) noexcept nogil:
        """The request in front is Python's, and the connection with it."""
        cdef Event *event = &self.events[self.event_count]
        if not self.keep(conn):
            return
        self.event_count += 1
        self.returned += 1
        event.kind = RETURNED
        event.fd = conn.socket.fd
        event.tag = conn.tag
        event.ssl = conn.socket.ssl
        event.data = conn.input
        event.size = conn.input_bytes
        unwatch(self.epoll, conn.socket.fd)
        conn.input = NULL
        self.unlink(conn)

    cdef void end(self, Conn *conn, int reason) noexcept nogil:
        """Close a connection, whatever it is doing."""
        cdef Event *event = &self.events[self.event_count]
        self.event_count += 1
        event.kind = ENDED
        event.tag = conn.tag
        event.reason = reason
        event.sent_bytes = conn.sent_bytes
        event.requests = conn.requests
        close_socket(&conn.socket, self.epoll)
        self.unlink(conn)

    cdef void unlink(self, Conn *conn) noexcept nogil:
        """Forget a connection; the memory stays until the end of the step, as events point to it."""
        self.settle(conn)
        free(conn.account)
        conn.account = NULL
        if conn.queue == RUN:
            self.dequeue(conn)
        self.set_timer(conn, NO_TIMER)
        if conn.answer != NULL:
            self.unpin(conn.answer)
            conn.answer = NULL
        self.drop_input(conn)
        if conn.all_prev != NULL:
            conn.all_prev.all_next = conn.all_next
        else:
            self.everybody = conn.all_next
        if conn.all_next != NULL:
            conn.all_next.all_prev = conn.all_prev
        conn.is_closed = True
        conn.queue = RUN  # no event may put it into the queue again
        conn.next = self.closed
        self.closed = conn
        self.connections -= 1

    # -- small parts

    cdef bint keep(self, Conn *conn) noexcept nogil:
        """At the end of a turn, give a connection its own copy of what is left of its input."""
        cdef uchar *own
        if conn.input != self.scratch:
            return True
        own = <uchar *>malloc(conn.input_bytes)
        if own == NULL:
            if conn.queue == WAITERS:
                self.unpark(conn)
            self.end(conn, FAILED)
            return False
        memcpy(own, self.scratch, conn.input_bytes)
        conn.input = own
        return True

    cdef void drop_input(self, Conn *conn) noexcept nogil:
        if conn.input != self.scratch:
            free(conn.input)
        conn.input = NULL
        conn.input_bytes = 0

    cdef void enqueue(self, Conn *conn) noexcept nogil:
        conn.queue = RUN
        conn.next = NULL
        conn.prev = self.run_last
        if self.run_last != NULL:
            self.run_last.next = conn
        else:
            self.run_first = conn
        self.run_last = conn

    cdef void dequeue(self, Conn *conn) noexcept nogil:
        if conn.prev != NULL:
            conn.prev.next = conn.next
        else:
            self.run_first = conn.next
        if conn.next != NULL:
            conn.next.prev = conn.prev
        else:
            self.run_last = conn.prev
        conn.next = conn.prev = NULL
        conn.queue = NO_QUEUE

    cdef void set_timer(self, Conn *conn, int timer) noexcept nogil:
        """Begin a timer; each list is in the order of its deadlines, as its timeout is constant."""
        cdef int old = conn.timer
        if old != NO_TIMER:
            if conn.sooner != NULL:
                conn.sooner.later = conn.later
            else:
                self.timer_first[old] = conn.later
            if conn.later != NULL:
                conn.later.sooner = conn.sooner
            else:
                self.timer_last[old] = conn.sooner
        conn.timer = timer
        conn.later = conn.sooner = NULL
        if timer == NO_TIMER:
            return
        conn.stamp_ms = self.now_ms
        conn.moved_bytes = 0
        conn.sooner = self.timer_last[timer]
        if conn.sooner != NULL:
            conn.sooner.later = conn
        else:
            self.timer_first[timer] = conn
        self.timer_last[timer] = conn

    cdef bint spend(self, Conn *conn) noexcept nogil:
        """Take a token for a request; a bucket that fills again with time."""
        if conn.tokens_ms >= 0:
            conn.tokens += (self.now_ms - conn.tokens_ms) * self.per_ms
            if conn.tokens > self.burst:
                conn.tokens = self.burst
        conn.tokens_ms = self.now_ms
        conn.tokens -= 1
        return conn.tokens >= 0

    # -- accounts

    cdef void meet(self, Conn *conn, const RequestHead *head) noexcept nogil:
        """See what the request in front tells, and of whom."""
        cdef const uchar *stream = conn.input + head.stream_at
        cdef const uchar *cmcd = conn.input + head.cmcd_at
        cdef const uchar *forwarded = conn.input + head.forwarded_at
        cdef Py_ssize_t cmcd_bytes = head.cmcd_bytes if head.cmcd_bytes <= MAX_CMCD_BYTES else 0
        cdef Py_ssize_t forwarded_bytes = head.forwarded_bytes if conn.is_shared else 0
        cdef uint64_t[3] parts
        cdef uint64_t who, sid
        cdef bint is_new
        cdef Account *account
        conn.tells = NOTHING
        if head.is_head or not 0 < head.stream_bytes <= MAX_STREAM_BYTES:
            return
        if not head.is_playlist and cmcd_bytes == 0:
            return
        last_address(&forwarded, &forwarded_bytes)
        parts[0] = sip_hash(stream, head.stream_bytes, self.table.seed)
        parts[1] = 0
        if head.agent_at:
            parts[1] = sip_hash(conn.input + head.agent_at, head.agent_bytes, self.table.seed)
        parts[2] = sip_hash(forwarded, forwarded_bytes, self.table.seed)
        who = sip_hash(<uchar *>parts, sizeof(parts), self.table.seed)
        sid = sid_of(cmcd, cmcd_bytes)
        # Without CMCD it may still be the session of before: players add it to some requests only.
        is_new = who != conn.who or (sid != 0 and sid != conn.sid)
        if is_new:
            self.settle(conn)
        if conn.account == NULL or is_new or cmcd_bytes > 0:
            account = account_with_room(
                conn.account, head.stream_bytes + forwarded_bytes + cmcd_bytes
            )
            if account == NULL:
                return
            conn.account = account
            if is_new:  # what could not be reported is not the next one's
                account.blocking = account.plain = account.agent = 0
                if head.agent_at:  # by bytes, so slower than the hash above
                    account.agent = fnv1a_of(conn.input + head.agent_at, head.agent_bytes)
            account.tag = conn.tag
            account.stream_bytes = head.stream_bytes
            account.forwarded_bytes = forwarded_bytes
            account.cmcd_bytes = cmcd_bytes
            memcpy(account.text, stream, head.stream_bytes)
            memcpy(account.text + head.stream_bytes, forwarded, forwarded_bytes)
            memcpy(account.text + head.stream_bytes + forwarded_bytes, cmcd, cmcd_bytes)
        if is_new:
            conn.who = who
            conn.sid = sid
            conn.report_due_ms = self.now_ms
        conn.tells = (
            SIGN if not head.is_playlist
            else BLOCKING_RELOAD if head.names_version
            else PLAIN_RELOAD
        )

    cdef void count(self, Conn *conn) noexcept nogil:
        """A request that tells something is answered well."""
        if conn.tells == BLOCKING_RELOAD:
            conn.account.blocking += 1
        elif conn.tells == PLAIN_RELOAD:
            conn.account.plain += 1
        if self.now_ms >= conn.report_due_ms and self.report(conn):
            conn.report_due_ms = self.now_ms + REPORT_MS

    cdef bint report(self, Conn *conn) noexcept nogil:
        """Report an account, which begins again; False if it has to wait."""
        cdef Account *account
        if self.report_count == MAX_REPORTS:
            return False
        account = copy_of(conn.account)
        if account == NULL:
            return False
        self.reports[self.report_count] = account
        self.report_count += 1
        conn.account.blocking = conn.account.plain = 0
        return True

    cdef void settle(self, Conn *conn) noexcept nogil:
        """Report what was counted, before somebody else is or nobody."""
        if conn.account != NULL and (conn.account.blocking or conn.account.plain):
            self.report(conn)

    cdef void drop_reports(self) noexcept nogil:
        cdef int index
        for index in range(self.report_count):
            free(self.reports[index])
        self.report_count = 0

    # -- small parts, of memory

    cdef void unpin(self, Answer *answer) noexcept nogil:
        answer.pins -= 1
        if answer.pins == 0 and not answer.is_dead:
            answer.is_dead = True
            answer.next_dead = self.dead
            self.dead = answer

    cdef void tell_key(self, int kind, Entry *entry) noexcept nogil:
        self.events[self.event_count].kind = kind
        self.events[self.event_count].entry = entry
        self.event_count += 1

    cdef Entry *find(self, bytes key):
        cdef const uchar *data = <const uchar *><const char *>key
        return table_find(
            &self.table, data, len(key), sip_hash(data, len(key), self.table.seed)
        )

    cdef object tell(self, Event *event):
        """An event as Python sees it; takes what belongs to it."""
        cdef TlsSocket tls = None
        if event.kind == MISS or event.kind == UNWANTED:
            key = PyBytes_FromStringAndSize(<char *>event.entry.key, event.entry.size)
            return (E_MISS if event.kind == MISS else E_UNWANTED, key)
        if event.kind == ENDED:
            return (
                E_ENDED, event.tag, _REASONS[event.reason], event.sent_bytes, event.requests,
            )
        received = PyBytes_FromStringAndSize(<char *>event.data, event.size)
        free(event.data)
        event.data = NULL
        if event.ssl != NULL:
            tls = TlsSocket.wrap(event.ssl, event.fd)
        return (E_RETURNED, event.fd, received, event.tag, tls)

    cdef void bury(self):
        """Free what a step or a call has left; here the GIL is held."""
        cdef Conn *conn
        cdef Entry *entry
        cdef Answer *answer
        while self.closed != NULL:
            conn = self.closed
            self.closed = conn.next
            free(conn)
        while self.buried != NULL:
            entry = self.buried
            self.buried = entry.chain
            free(entry)
        while self.dead != NULL:
            answer = self.dead
            self.dead = answer.next_dead
            answer.next_dead = NULL
            answer.is_dead = False
            if answer.pins == 0:  # else it was pinned again
                Py_DECREF(<object>answer.blob)

    cdef void shut(self):
        cdef uint64_t index
        cdef Entry *entry
        if self.epoll < 0:
            return
        self.is_open = False
        while self.everybody != NULL:
            if self.everybody.queue == WAITERS:
                self.unpark(self.everybody)
            self.end(self.everybody, CUT)
            self.event_count = 0
        for index in range(self.table.mask + 1):
            while self.table.buckets[index] != NULL:
                entry = self.table.buckets[index]
                if entry.answer != NULL:
                    self.unpin(entry.answer)
                table_unlink(&self.table, entry)
                free(entry)
        self.waiting_keys = 0
        self.unpin(self.too_many)
        self.bury()
        close(self.epoll)
        self.epoll = -1
