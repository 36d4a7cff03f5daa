"""The chat's fan-out: frames that are shared, sent to many members of rooms.

One epoll descriptor of its own, which somebody's event loop watches; `Fanout.step` does what is to
be done, mostly without the GIL. Of WebSocket it knows three frames that it is given, and what an
answer to a ping looks like; what members send is told as it came.

A room keeps a log of its newest frames, and a member of it only the number of the next that it
needs. A broadcast is one entry in the log; then the room is *walked*: each member gets what it has
not got yet in one call. Frames for one member stand in a queue of its own, stamped with the number
of the room's frame before which they go, so both come in the order in which they were given::

    log      5 6 7 8 9       a member that reads: position 10, and nothing else is held for it
    slot 7:  A -> B          members whose sockets are full wait at the frame that they need
    soft     7               frame 10 comes and is one too many: A and B lag

Who lags has lost all of its room's frames that had not begun. It gets the rest of what had, what
was for it alone, the notice, and then what is new. If it does not come to that in time, it is
closed. Nobody waits for anybody.

Invariant: a frame that has begun is sent whole, and what may be in a TLS record is sent first (see
`tls_send`): both are pinned in the member's queue. When no walk is due, who has a seat waits at a
slot, lags, or has got all; so what is before the first slot at which somebody waits can go.

Edges: see ``_sockets.pxi``. The turn of a member is bounded (`TURN_BYTES`, one read), and so is a
step (`budget_us`, `ARENA_BYTES` of what was read).

Memory: a member is one `Member` (some 350 bytes), and a `Node` for each frame that waits in its
queue. Frees of objects wait for the end of the step, where the GIL is held.

One thread at a time. Imports ``_tls`` only. Its twin is `edge.chat.plain_fanout`.

Spec: RFC 6455, section 5.5.3 (pong).
"""

cimport cython
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport int64_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from posix.uio cimport iovec
from posix.unistd cimport close

from native._tls cimport TlsSocket

from native._fanout_types import (
    LOG_FACTOR, MAX_FRAME_BYTES, MAX_LOG_BYTES, MAX_RECEIVED_BYTES,
    FanoutCounters, FanoutEvent, FanoutLimits,
)

include "_sockets.pxi"

cdef enum:
    MAX_EVENTS = 4096               # for Python, of one step
    SPARE_EVENTS = 8                # more than one turn can make
    ARENA_BYTES = 262144            # read in one step
    MAX_READ_BYTES = 65536          # the limit of `read_bytes`
    OFFER_BYTES = 131072            # offered to one sendmsg, but for the last piece
    TURN_BYTES = 262144             # sent to a member before it is others' turn
    TURNS_A_LOOK = 8                # turns between two looks at the clock
    WALK_TURNS = 8                  # visits of a walk for one turn of the run queue
    PONG_BYTES = 6                  # an empty one with its mask
    MAX_PONGS = 64                  # swallowed between two pings; more are told
    MAX_BUCKETS = 1048576

include "_fanout_table.pxi"

cdef enum:
    LEFT, FAILED, SILENT, SLOW, DONE, CUT

_REASONS = ("left", "failed", "silent", "slow", "done", "cut")

cdef struct Event:                  # DATA, unless there is a reason
    int reason                      # -1: data
    int64_t tag
    Frame *frame                    # what it brought along, or NULL:
    int at                          # in the arena
    int size
    uint64_t sent_bytes

cdef struct Offer:                  # a frame given to the system
    Frame *frame
    Node *node                      # of the member's queue; NULL: in the log, unless it is
    bint is_ping                    # a ping

cdef object E_DATA = FanoutEvent.DATA
cdef object E_ENDED = FanoutEvent.ENDED


@cython.final
cdef class Fanout:
    """Sends frames to many members of rooms, and tells what they send.

    After `add`, `send`, `broadcast`, `close` and `cut` a step is due: no descriptor says so.

    Args:
        limits: All that is bounded.
        ping: The frame that asks who has been silent.
        lagged: The frame that says that others were lost.
        slow: The last frame for who lags too long.

    Raises:
        ValueError: A limit is not positive, `read_bytes` is over 65536, or a frame is empty or over
            `MAX_FRAME_BYTES`.
        OSError: There is no descriptor left.
    """

    cdef int epoll
    cdef bint is_open
    cdef int max_members, read_bytes
    cdef int own_frames
    cdef size_t own_bytes
    cdef uint64_t soft_frames, soft_bytes, log_frames, log_bytes, most_slots
    cdef size_t max_frame_bytes, max_received_bytes
    cdef int64_t[5] timeouts_ms     # by timer
    cdef Frame *ping
    cdef Frame *lagged
    cdef Frame *slow
    cdef Member **by_tag
    cdef Room **by_id
    cdef uint64_t mask              # of both tables
    cdef Member *everybody
    cdef Member *run_first
    cdef Member *run_last
    cdef Room *due_first
    cdef Room *due_last
    cdef Member *timer_first[5]
    cdef Member *timer_last[5]
    cdef Member *closed             # freed at the end of the step
    cdef Room *empty                # the same
    cdef Frame *dead                # released at the end of the step
    cdef Event *events
    cdef int event_count
    cdef uchar *arena
    cdef int arena_bytes
    cdef epoll_event[BATCH] batch
    cdef int64_t now_ms
    cdef uint64_t steps
    cdef int count
    cdef uint64_t queued_bytes, delivered, dropped, lags, all_sent_bytes, timed_out

    def __cinit__(
        self, *, limits not None, bytes ping not None, bytes lagged not None, bytes slow not None
    ):
        cdef uint64_t size = 64
        self.epoll = -1
        if min(limits) < 1 or limits.read_bytes > MAX_READ_BYTES:
            raise ValueError("a limit is out of range")
        self.max_frame_bytes = MAX_FRAME_BYTES
        self.max_received_bytes = MAX_RECEIVED_BYTES
        self.max_members = limits.max_members
        self.read_bytes = limits.read_bytes
        self.own_frames = limits.queue_frames
        self.own_bytes = limits.queue_bytes
        self.soft_frames = limits.queue_frames
        self.soft_bytes = limits.queue_bytes
        self.log_frames = LOG_FACTOR * limits.queue_frames
        self.log_bytes = MAX_LOG_BYTES
        self.most_slots = 16
        while self.most_slots < self.log_frames + 1:
            self.most_slots *= 2
        self.timeouts_ms[PING_TIMER] = limits.ping_after_ms
        self.timeouts_ms[PONG_TIMER] = limits.pong_timeout_ms
        self.timeouts_ms[LAG_TIMER] = limits.lag_timeout_ms
        self.timeouts_ms[LINGER_TIMER] = limits.linger_timeout_ms
        while size < <uint64_t>self.max_members and size < MAX_BUCKETS:
            size *= 2
        self.mask = size - 1
        self.by_tag = <Member **>calloc(size, sizeof(Member *))
        self.by_id = <Room **>calloc(size, sizeof(Room *))
        self.events = <Event *>calloc(MAX_EVENTS, sizeof(Event))
        self.arena = <uchar *>malloc(ARENA_BYTES)
        if self.by_tag == NULL or self.by_id == NULL or self.events == NULL or self.arena == NULL:
            raise MemoryError
        self.ping = self.new_frame(ping)
        self.lagged = self.new_frame(lagged)
        self.slow = self.new_frame(slow)
        self.ping.is_counted = self.lagged.is_counted = self.slow.is_counted = False
        self.epoll = open_epoll()
        self.is_open = True

    def __dealloc__(self):
        self.shut()
        if self.ping != NULL:
            self.unref(self.ping)
        if self.lagged != NULL:
            self.unref(self.lagged)
        if self.slow != NULL:
            self.unref(self.slow)
        self.bury()
        free(self.by_tag)
        free(self.by_id)
        free(self.events)
        free(self.arena)

    # -- what Python calls

    def fileno(self) -> int:
        """The descriptor that is readable while a socket is ready."""
        return self.epoll

    @property
    def counters(self) -> FanoutCounters:
        """What there is now, and what was done so far."""
        return FanoutCounters(
            self.count, self.queued_bytes, self.delivered, self.dropped, self.lags,
            self.all_sent_bytes, self.timed_out,
        )

    def add(
        self, int fd, int64_t tag, int64_t room, bytes received not None, TlsSocket tls=None
    ) -> None:
        """Serve a connection from here on.

        Args:
            fd: Connected and non-blocking; the fan-out's from now on, unless this raises.
            tag: Names the connection.
            room: Whose frames it gets, from the next one on.
            received: What was read already; it is told like what comes.
            tls: Of this descriptor, after the handshake; as good as closed afterwards.

        Raises:
            ValueError: The tag is taken, too much was received, the fan-out is closed, or `tls` is,
                is another descriptor's or still shakes hands.
            OverflowError: It has as many as it may have.
            OSError: The descriptor cannot be watched.
        """
        cdef Member *member
        cdef Member **bucket
        cdef Room *place
        if not self.is_open or <size_t>len(received) > self.max_received_bytes:
            raise ValueError("the fan-out is closed, or too much was received")
        if self.find(tag) != NULL:
            raise ValueError("the tag is taken")
        if self.count >= self.max_members:
            raise OverflowError("the fan-out is full")
        if tls is not None and tls.fd != fd:
            raise ValueError("the TLS connection has another descriptor")
        member = <Member *>calloc(1, sizeof(Member))
        if member == NULL:
            raise MemoryError
        try:
            place = self.enter(room)
            if received:
                member.received = self.new_frame(received)
            watch(self.epoll, fd, member)
            if tls is not None:
                try:
                    member.socket.ssl = tls.take()
                except BaseException:
                    unwatch(self.epoll, fd)
                    raise
        except BaseException:
            if member.received != NULL:
                self.unref(member.received)
            free(member)
            place = self.find_room(room)
            if place != NULL and place.count == 0:
                self.drop_room(place)
            self.bury()
            raise
        begin_socket(&member.socket, fd)
        member.tag = tag
        bucket = &self.by_tag[spread(tag) & self.mask]
        member.chain = bucket[0]
        bucket[0] = member
        member.all_next = self.everybody
        if self.everybody != NULL:
            self.everybody.all_prev = member
        self.everybody = member
        self.count += 1
        sit_down(member, place)
        self.enqueue(member)

    def send(self, int64_t tag, bytes frame not None) -> bool:
        """Queue a frame for one member, behind what its room got before.

        Returns:
            Whether it is queued; False if there is no such member, it is told to go, or it lags. A
            queue that is empty takes a frame of any size.

        Raises:
            ValueError: The frame is empty or too big.
        """
        cdef Member *member = self.find(tag)
        cdef size_t size = len(frame)
        self.check(size)
        if member == NULL or member.is_closing or member.is_cut:
            return False
        if not member.is_lagging and member.own_frames and (
            member.own_frames >= self.own_frames or member.own_bytes + size > self.own_bytes
        ):
            self.lag(member)
        if member.is_lagging:
            self.dropped += 1
            return False
        self.push(member, frame, True)
        self.enqueue(member)
        return True

    def broadcast(self, int64_t room, bytes frame not None) -> int:
        """Queue a frame for every member of a room.

        Returns:
            How many members it has.

        Raises:
            ValueError: The frame is empty or too big.
        """
        cdef Room *place = self.find_room(room)
        cdef Slot *slot
        self.check(len(frame))
        if place == NULL:
            return 0
        if place.end - place.first >= self.log_frames:
            self.drop_first(place)
        if not grow_slots(place, self.most_slots):
            raise MemoryError
        slot = slot_of(place, place.end)
        slot.frame = self.new_frame(frame)
        slot.first = NULL
        slot.before = place.bytes
        place.end += 1
        place.bytes += len(frame)
        self.queued_bytes += len(frame)
        self.dropped += place.lagging
        while place.end - place.soft > 1 and (
            place.end - place.soft > self.soft_frames
            or place.bytes - slot_of(place, place.soft).before > self.soft_bytes
        ):
            self.harden(place)
        while place.end - place.first > 1 and (
            place.bytes - slot_of(place, place.first).before > self.log_bytes
        ):
            self.drop_first(place)
        if place.left:
            place.again = True
        else:
            place.left = place.count
        if not place.is_due:
            self.set_due(place)
        self.bury()
        return place.count

    def close(self, int64_t tag, bytes frame not None) -> None:
        """Send what waits for a member, then a last frame; then close. Nothing more is told of it.

        Raises:
            ValueError: The frame is empty or too big.
        """
        cdef Member *member = self.find(tag)
        self.check(len(frame))
        if member == NULL or member.is_closing or member.is_cut:
            return
        self.keep_backlog(member)
        self.push(member, frame, False)
        self.leave_room(member)
        member.is_closing = True
        self.set_timer(member, LIFE, NO_TIMER)
        self.set_timer(member, BOUND, NO_TIMER)
        self.enqueue(member)
        self.bury()

    def cut(self, int64_t tag) -> None:
        """End a member's connection as it is, in the next step."""
        cdef Member *member = self.find(tag)
        if member == NULL:
            return
        self.leave_room(member)
        member.is_cut = True
        self.enqueue(member)
        self.bury()

    def mid_message(self, int64_t tag, bint is_mid) -> None:
        """Say whether half a frame of a member has been told: then what comes is no pong.

        To be said before the next step.
        """
        cdef Member *member = self.find(tag)
        if member != NULL:
            member.is_mid = is_mid

    def members(self, int64_t room) -> int:
        """How many a room has."""
        cdef Room *place = self.find_room(room)
        return 0 if place == NULL else place.count

    def next_deadline_ms(self):
        """When a step is due though nothing comes, in the time of `step`; None: never."""
        cdef int timer
        cdef int64_t due_ms
        cdef object first = None
        for timer in range(1, TIMERS):
            if self.timer_first[timer] != NULL:
                due_ms = (
                    self.timer_first[timer].links[timer_kind(timer)].stamp_ms
                    + self.timeouts_ms[timer]
                )
                if first is None or due_ms < first:
                    first = due_ms
        return first

    def close_all(self) -> None:
        """Cut every connection; nothing else may be called afterwards but this and the figures."""
        self.shut()

    def step(self, int64_t now_ms, int64_t budget_us):
        """Do what is to be done, for so long at the most.

        Args:
            now_ms: The time; it never goes back.
            budget_us: Microseconds after which the rest is left to the next step.

        Returns:
            Events for Python, in order (see `FanoutEvent`), and whether something is left to do.
        """
        cdef bint more
        cdef int index
        if not self.is_open:
            return [], False
        self.now_ms = now_ms
        self.steps += 1
        self.arena_bytes = 0
        with nogil:
            more = self.work(budget_us)
        events = [self.tell(&self.events[index]) for index in range(self.event_count)]
        for index in range(self.event_count):
            if self.events[index].frame != NULL:
                self.unref(self.events[index].frame)
        self.event_count = 0
        self.bury()
        return events, more

    # -- a step

    cdef bint work(self, int64_t budget_us) noexcept nogil:
        cdef int64_t until_us = monotonic_us() + budget_us
        cdef int turns = 0
        cdef bint may_tell
        cdef Member *member
        self.look()
        self.expire()
        while True:
            while self.run_first != NULL or self.due_first != NULL:
                if self.event_count >= MAX_EVENTS - SPARE_EVENTS:
                    return True
                turns += 1
                if turns % TURNS_A_LOOK == 0 and monotonic_us() >= until_us:
                    return True
                may_tell = (
                    self.event_count < MAX_EVENTS // 2
                    and self.arena_bytes + self.read_bytes <= ARENA_BYTES
                )
                if self.run_first != NULL and may_tell and (
                    self.due_first == NULL or turns % WALK_TURNS == 0
                ):
                    member = self.run_first
                    self.dequeue(member)
                    self.turn(member)
                elif self.due_first != NULL:
                    self.visit(self.due_first)
                else:
                    return True
            if self.event_count:  # for Python, whose answers somebody may wait for
                return False
            if self.look() == 0:
                return False

    cdef int look(self) noexcept nogil:
        """Put those of whom epoll tells something into the run queue; how many there were."""
        cdef int index, count = epoll_wait(self.epoll, self.batch, BATCH, 0)
        cdef Member *member
        for index in range(count):
            member = <Member *>self.batch[index].data.ptr
            note_edges(&member.socket, self.batch[index].events)
            self.enqueue(member)
        return count

    cdef void expire(self) noexcept nogil:
        cdef int timer
        cdef Member *member
        for timer in range(1, TIMERS):
            while self.event_count < MAX_EVENTS // 2:
                member = self.timer_first[timer]
                if member == NULL or (
                    member.links[timer_kind(timer)].stamp_ms + self.timeouts_ms[timer] > self.now_ms
                ):
                    break
                if timer == PING_TIMER:
                    self.set_timer(member, LIFE, PONG_TIMER)
                    member.ping_is_due = True
                    member.pongs = 0
                    self.enqueue(member)
                    continue
                if timer == PONG_TIMER and member.socket.readable and member.is_running:
                    self.set_timer(member, LIFE, PONG_TIMER)  # something has just come
                    continue
                self.timed_out += 1
                if timer == LAG_TIMER:
                    self.say_slow(member)
                self.end(
                    member,
                    SILENT if timer == PONG_TIMER else SLOW if timer == LAG_TIMER else DONE,
                )

    cdef void turn(self, Member *member) noexcept nogil:
        """Let a member get and give what it can, within bounds."""
        if member.is_cut:
            self.end(member, CUT)
            return
        if not self.serve(member):
            return
        # Between two steps nobody knows the time, so all timers begin in a turn.
        if member.is_closing:
            if member.links[BOUND].timer == NO_TIMER:
                self.set_timer(member, BOUND, LINGER_TIMER)
            if member.lingers:
                self.linger(member)
            return
        if member.links[LIFE].timer == NO_TIMER:
            self.set_timer(member, LIFE, PING_TIMER)
        if member.is_lagging and member.links[BOUND].timer == NO_TIMER:
            self.set_timer(member, BOUND, LAG_TIMER)
        if member.received != NULL:
            self.tell_frame(member)
            self.enqueue(member)
        elif member.socket.readable:
            self.receive(member)

    cdef void visit(self, Room *room) noexcept nogil:
        """Go on with the walk of a room: one member more."""
        cdef Member *member
        if room.left > 0:
            room.left -= 1
            member = room.seats[room.left]
            if not member.is_waiting and not member.is_lagging and member.position != room.end:
                self.serve(member)
        if room.left == 0 and room.again and room.count > 0:
            room.again = False
            room.left = room.count
        if room.left == 0 and room.is_due:
            room.again = False
            self.unset_due(room)
            self.trim(room)
        elif room.left % BATCH == 0 and room.is_due and room.next_due != NULL:
            self.unset_due(room)  # others first
            self.set_due(room)

    # -- sending

    cdef bint serve(self, Member *member) noexcept nogil:
        """Send what can be sent; False if the member has ended."""
        cdef Room *room = member.room
        cdef bint has_waited = member.is_waiting
        cdef size_t moved = 0
        cdef int state = 0
        leave_slot(member)
        if room != NULL and not member.is_lagging and member.position < room.first:
            self.lag(member)  # it had no turn for too long
        while state == 0 and member.socket.writable and moved < TURN_BYTES:
            if member.is_lagging and member.head == NULL and not self.recover(member):
                state = -1
                break
            state = self.push_out(member, &moved)
        if state < 0:
            self.end(member, FAILED)
            return False
        if room != NULL and not member.is_lagging and member.position < room.end:
            wait_at_slot(member)
            if member.position < room.soft and not member.socket.writable:
                self.lag(member)
        if has_waited:
            self.trim(room)
        if state == 0 and member.socket.writable:  # others first
            self.enqueue(member)
        elif state > 0 and member.is_closing and not member.lingers:
            self.say_goodbye(member)
        return True

    cdef int push_out(self, Member *member, size_t *moved) noexcept nogil:
        """One call that sends: 0 it did what it could, 1 nothing is left, -1 it is broken."""
        cdef iovec[PIECES] pieces
        cdef Offer[PIECES] offers
        cdef size_t went
        cdef bint is_stuck
        cdef int count = self.gather(member, offers, pieces)
        if count == 0:
            return 1
        if not send_some(&member.socket, pieces, count, TURN_BYTES, &went):
            return -1
        # What did not go may be in a record by now.
        is_stuck = member.socket.ssl != NULL and not member.socket.writable
        if went == 0 and not is_stuck:
            return 0
        moved[0] += went
        member.sent_bytes += went
        self.all_sent_bytes += went
        return 0 if self.advance(member, offers, count, went, is_stuck) else -1

    cdef int gather(self, Member *member, Offer *offers, iovec *pieces) noexcept nogil:
        """What a member gets next, in order; how many frames."""
        cdef Node *node = member.head
        cdef Room *room = member.room
        cdef uint64_t number = member.position
        cdef uint64_t end = 0
        cdef size_t total = 0
        cdef int count = 0
        cdef bint ping_is_due = member.ping_is_due
        cdef Offer *offer
        if room != NULL and not member.is_lagging:
            end = room.end
        else:
            number = 0
        while count < PIECES and total < OFFER_BYTES:
            offer = &offers[count]
            offer.node = NULL
            offer.is_ping = False
            if ping_is_due and (node == NULL or not node.is_pinned):
                offer.frame = self.ping
                offer.is_ping = True
                ping_is_due = False
            elif node != NULL and (node.stamp <= number or end == 0):
                offer.frame = node.frame
                offer.node = node
                node = node.next
            elif number < end:
                offer.frame = slot_of(room, number).frame
                number += 1
            else:
                break
            pieces[count].iov_base = <void *>offer.frame.data
            pieces[count].iov_len = offer.frame.size
            total += offer.frame.size
            count += 1
        if count:
            pieces[0].iov_base = <char *>pieces[0].iov_base + member.begun_bytes
            pieces[0].iov_len -= member.begun_bytes
        return count

    cdef bint advance(
        self, Member *member, Offer *offers, int count, size_t went, bint is_stuck
    ) noexcept nogil:
        """Take out what has gone, and pin what cannot be taken back; False without memory."""
        cdef int index = 0
        went += member.begun_bytes
        member.begun_bytes = 0
        while index < count and went >= offers[index].frame.size:
            went -= offers[index].frame.size
            if offers[index].frame.is_counted:
                self.delivered += 1
            if offers[index].node != NULL:
                self.pop(member)
            elif offers[index].is_ping:
                member.ping_is_due = False
            else:
                member.position += 1
            index += 1
        member.begun_bytes = went
        if is_stuck:
            return self.pin(member, offers + index, count - index)
        return went == 0 or self.pin(member, offers + index, 1)

    cdef bint pin(self, Member *member, Offer *offers, int count) noexcept nogil:
        """Put the next frames in front of the queue; False without memory."""
        cdef Node *first = NULL
        cdef Node *last = NULL
        cdef Node *node
        cdef bint is_done = True
        cdef int index
        for index in range(count):
            node = offers[index].node
            if node != NULL:
                member.head = node.next
                self.disown(member, node)
            else:
                node = self.new_node(offers[index].frame)
                if node == NULL:
                    is_done = False
                    break
                if offers[index].is_ping:
                    member.ping_is_due = False
                else:
                    member.position += 1
            node.is_pinned = True
            if last != NULL:
                last.next = node
            else:
                first = node
            last = node
        if last != NULL:
            last.next = member.head
            if member.head == NULL:
                member.tail = last
            member.head = first
        return is_done

    cdef bint recover(self, Member *member) noexcept nogil:
        """Who has lagged has taken all that it had: say so, and begin anew."""
        cdef Node *node = self.new_node(self.lagged)
        if node == NULL:
            return False
        append(member, node)
        member.is_lagging = False
        member.room.lagging -= 1
        member.position = member.room.end
        self.set_timer(member, BOUND, NO_TIMER)
        return True

    cdef void lag(self, Member *member) noexcept nogil:
        """Its room's frames are lost for a member."""
        leave_slot(member)
        self.lags += 1
        self.dropped += member.room.end - member.position
        member.is_lagging = True
        member.position = member.room.end
        member.room.lagging += 1
        self.enqueue(member)

    cdef void say_slow(self, Member *member) noexcept nogil:
        """Try the last frame once, if that is possible between two others."""
        cdef iovec piece
        cdef size_t went = 0
        if member.head != NULL and member.head.is_pinned:
            return
        if member.socket.ssl == NULL:
            send(member.socket.fd, self.slow.data, self.slow.size, MSG_NOSIGNAL | MSG_DONTWAIT)
        else:
            piece.iov_base = <void *>self.slow.data
            piece.iov_len = self.slow.size
            tls_send(member.socket.ssl, &piece, 1, piece.iov_len, &went, NULL)

    cdef void say_goodbye(self, Member *member) noexcept nogil:
        """Close in peace: with unread input, a close would reset what was sent."""
        member.lingers = True
        end_sending(&member.socket)
        self.set_timer(member, BOUND, LINGER_TIMER)
        self.enqueue(member)

    # -- receiving

    cdef void receive(self, Member *member) noexcept nogil:
        """Read once, and tell it."""
        cdef uchar *data = self.arena + self.arena_bytes
        cdef size_t went
        cdef bint is_open = receive_some(&member.socket, data, self.read_bytes, &went)
        if went:
            self.take(member, data, went)
        if not is_open:
            self.end(member, LEFT)
        elif member.socket.readable:
            self.enqueue(member)

    cdef void take(self, Member *member, uchar *data, int size) noexcept nogil:
        """Tell what was read, unless it is nothing but answers to pings."""
        cdef Event *event
        self.set_timer(member, LIFE, PING_TIMER)
        if self.swallow(member, data, size):
            return
        event = self.new_event(member)
        event.at = self.arena_bytes
        event.size = size
        self.arena_bytes += size
        member.told_in_step = self.steps

    cdef bint swallow(self, Member *member, uchar *data, int size) noexcept nogil:
        cdef int at, count = size // PONG_BYTES
        # What was told in this step may have been half a frame, which Python cannot have said yet.
        if member.is_mid or member.told_in_step == self.steps:
            return False
        if count * PONG_BYTES != size or member.pongs + count > MAX_PONGS:
            return False
        for at in range(count):
            if data[at * PONG_BYTES] != 0x8A or data[at * PONG_BYTES + 1] != 0x80:
                return False
        member.pongs += count
        return True

    cdef void linger(self, Member *member) noexcept nogil:
        """Read and drop, until the peer has closed too."""
        if not drain(&member.socket, &member.drained_bytes):
            self.end(member, DONE)

    # -- events

    cdef Event *new_event(self, Member *member) noexcept nogil:
        cdef Event *event = &self.events[self.event_count]
        self.event_count += 1
        event.reason = -1
        event.tag = member.tag
        event.frame = NULL
        return event

    cdef void tell_frame(self, Member *member) noexcept nogil:
        self.new_event(member).frame = member.received
        member.received = NULL
        member.told_in_step = self.steps

    cdef object tell(self, Event *event):
        if event.reason >= 0:
            return (E_ENDED, event.tag, _REASONS[event.reason], event.sent_bytes)
        if event.frame != NULL:
            return (E_DATA, event.tag, <object>event.frame.owner)
        return (
            E_DATA,
            event.tag,
            PyBytes_FromStringAndSize(<char *>self.arena + event.at, event.size),
        )

    # -- the end of a member

    cdef void end(self, Member *member, int reason) noexcept nogil:
        """Close a connection, whatever it is doing."""
        cdef Event *event = self.new_event(member)
        event.reason = reason
        event.sent_bytes = member.sent_bytes
        close_socket(&member.socket, self.epoll)
        self.unlink(member)

    cdef void unlink(self, Member *member) noexcept nogil:
        """Forget a member; its memory stays until the end of the step."""
        cdef Member **link = &self.by_tag[spread(member.tag) & self.mask]
        self.leave_room(member)
        if member.is_running:
            self.dequeue(member)
        self.set_timer(member, LIFE, NO_TIMER)
        self.set_timer(member, BOUND, NO_TIMER)
        while member.head != NULL:
            self.pop(member)
        if member.received != NULL:
            self.unref(member.received)
        while link[0] != member:
            link = &link[0].chain
        link[0] = member.chain
        if member.all_prev != NULL:
            member.all_prev.all_next = member.all_next
        else:
            self.everybody = member.all_next
        if member.all_next != NULL:
            member.all_next.all_prev = member.all_prev
        member.is_running = True  # no event may put it into the queue again
        member.later = self.closed
        self.closed = member
        self.count -= 1

    cdef void leave_room(self, Member *member) noexcept nogil:
        cdef Room *room = member.room
        if room == NULL:
            return
        leave_slot(member)
        if member.is_lagging:
            room.lagging -= 1
            member.is_lagging = False
        stand_up(member)
        if room.count == 0:
            self.drop_room(room)
        else:
            self.trim(room)

    # -- rooms and their logs

    cdef Room *find_room(self, int64_t room) noexcept nogil:
        cdef Room *place = self.by_id[spread(room) & self.mask]
        while place != NULL and place.id != room:
            place = place.chain
        return place

    cdef Room *enter(self, int64_t room) except NULL:
        """A room with a seat that is free, made if need be."""
        cdef Room *place = self.find_room(room)
        cdef Room **bucket = &self.by_id[spread(room) & self.mask]
        if place == NULL:
            place = <Room *>calloc(1, sizeof(Room))
            if place == NULL:
                raise MemoryError
            place.id = room
            place.chain = bucket[0]
            bucket[0] = place
        if not grow_seats(place):
            raise MemoryError
        return place

    cdef void drop_room(self, Room *room) noexcept nogil:
        """Forget a room without members; its memory stays until the end of the step."""
        cdef Room **link = &self.by_id[spread(room.id) & self.mask]
        if room.is_due:
            self.unset_due(room)
        while room.first < room.end:
            self.drop_first(room)
        while link[0] != room:
            link = &link[0].chain
        link[0] = room.chain
        room.chain = self.empty
        self.empty = room

    cdef void harden(self, Room *room) noexcept nogil:
        """Who waits at the oldest frame that may be waited for lags from now on."""
        cdef Slot *slot = slot_of(room, room.soft)
        cdef Member *member = slot.first
        cdef Member *after
        room.soft += 1
        while member != NULL:
            after = member.after
            if not member.socket.writable:  # else it has had no turn for too long, which is our fault
                self.lag(member)
            member = after

    cdef void drop_first(self, Room *room) noexcept nogil:
        """Take the oldest frame out of the log."""
        cdef Slot *slot = slot_of(room, room.first)
        while slot.first != NULL:
            self.lag(slot.first)
        if room.soft == room.first:
            room.soft += 1
        self.queued_bytes -= slot.frame.size
        self.unref(slot.frame)
        slot.frame = NULL
        room.first += 1

    cdef void trim(self, Room *room) noexcept nogil:
        """Forget the frames that everybody has got; during a walk nobody knows which."""
        if room.left or room.again:
            return
        while room.first < room.end and slot_of(room, room.first).first == NULL:
            self.drop_first(room)

    cdef void set_due(self, Room *room) noexcept nogil:
        room.is_due = True
        room.next_due = NULL
        room.prev_due = self.due_last
        if self.due_last != NULL:
            self.due_last.next_due = room
        else:
            self.due_first = room
        self.due_last = room

    cdef void unset_due(self, Room *room) noexcept nogil:
        room.is_due = False
        if room.prev_due != NULL:
            room.prev_due.next_due = room.next_due
        else:
            self.due_first = room.next_due
        if room.next_due != NULL:
            room.next_due.prev_due = room.prev_due
        else:
            self.due_last = room.prev_due
        room.next_due = room.prev_due = NULL

    # -- frames and queues

    cdef int check(self, size_t size) except -1:
        if not 0 < size <= self.max_frame_bytes:
            raise ValueError(f"a frame has 1 to {self.max_frame_bytes} bytes")
        return 0

    cdef Frame *new_frame(self, bytes data) except NULL:
        """A frame with one reference."""
        cdef Frame *frame
        if PyBytes_GET_SIZE(data) > <Py_ssize_t>self.max_frame_bytes or not data:
            raise ValueError("a frame is empty or too big")
        frame = <Frame *>malloc(sizeof(Frame))
        if frame == NULL:
            raise MemoryError
        Py_INCREF(data)
        frame.owner = <PyObject *>data
        frame.data = <const uchar *>PyBytes_AS_STRING(data)
        frame.size = PyBytes_GET_SIZE(data)
        frame.refs = 1
        frame.is_counted = True
        frame.next_dead = NULL
        return frame

    cdef void unref(self, Frame *frame) noexcept nogil:
        frame.refs -= 1
        if frame.refs == 0:
            frame.next_dead = self.dead
            self.dead = frame

    cdef Node *new_node(self, Frame *frame) noexcept nogil:
        """A place in a queue for a frame that others have too; NULL without memory."""
        cdef Node *node = <Node *>malloc(sizeof(Node))
        if node == NULL:
            return NULL
        frame.refs += 1
        node.frame = frame
        node.stamp = 0
        node.is_own = node.is_pinned = False
        node.next = NULL
        self.queued_bytes += frame.size
        return node

    cdef int push(self, Member *member, bytes data, bint is_own) except -1:
        """Put a frame at the end of a member's queue."""
        cdef Frame *frame = self.new_frame(data)
        cdef Node *node = self.new_node(frame)
        frame.refs -= 1  # the node has it
        if node == NULL:
            frame.refs += 1
            self.unref(frame)
            self.bury()
            raise MemoryError
        if member.room != NULL:
            node.stamp = member.room.end
        if is_own:
            node.is_own = True
            member.own_frames += 1
            member.own_bytes += frame.size
        append(member, node)
        return 0

    cdef void disown(self, Member *member, Node *node) noexcept nogil:
        if node.is_own:
            node.is_own = False
            member.own_frames -= 1
            member.own_bytes -= node.frame.size

    cdef void pop(self, Member *member) noexcept nogil:
        """Take the first frame out of a member's queue."""
        cdef Node *node = member.head
        member.head = node.next
        if member.head == NULL:
            member.tail = NULL
        self.disown(member, node)
        self.queued_bytes -= node.frame.size
        self.unref(node.frame)
        free(node)

    cdef void keep_backlog(self, Member *member) noexcept nogil:
        """Put what a member has not got of its room into its queue, where it belongs."""
        cdef Room *room = member.room
        cdef Node *own = member.head
        cdef Node *node
        cdef uint64_t number
        if member.is_lagging or member.position == room.end:
            return
        if member.position < room.first:
            self.dropped += room.end - member.position
            return
        leave_slot(member)
        member.head = member.tail = NULL
        for number in range(member.position, room.end):
            while own != NULL and own.stamp <= number:
                node = own
                own = own.next
                append(member, node)
            node = self.new_node(slot_of(room, number).frame)
            if node == NULL:
                self.dropped += room.end - number
                break
            append(member, node)
        while own != NULL:
            node = own
            own = own.next
            append(member, node)
        member.position = room.end

    # -- small parts

    cdef Member *find(self, int64_t tag) noexcept nogil:
        cdef Member *member = self.by_tag[spread(tag) & self.mask]
        while member != NULL and member.tag != tag:
            member = member.chain
        return member

    cdef void enqueue(self, Member *member) noexcept nogil:
        if member.is_running:
            return
        member.is_running = True
        member.later = NULL
        member.sooner = self.run_last
        if self.run_last != NULL:
            self.run_last.later = member
        else:
            self.run_first = member
        self.run_last = member

    cdef void dequeue(self, Member *member) noexcept nogil:
        if member.sooner != NULL:
            member.sooner.later = member.later
        else:
            self.run_first = member.later
        if member.later != NULL:
            member.later.sooner = member.sooner
        else:
            self.run_last = member.sooner
        member.later = member.sooner = NULL
        member.is_running = False

    cdef void set_timer(self, Member *member, int kind, int timer) noexcept nogil:
        """Begin a timer; each list is in the order of its deadlines, as its timeout is constant."""
        cdef Link *link = &member.links[kind]
        cdef int old = link.timer
        if old != NO_TIMER:
            if link.sooner != NULL:
                link.sooner.links[kind].later = link.later
            else:
                self.timer_first[old] = link.later
            if link.later != NULL:
                link.later.links[kind].sooner = link.sooner
            else:
                self.timer_last[old] = link.sooner
        link.timer = timer
        link.later = link.sooner = NULL
        if timer == NO_TIMER:
            return
        link.stamp_ms = self.now_ms
        link.sooner = self.timer_last[timer]
        if link.sooner != NULL:
            link.sooner.links[kind].later = member
        else:
            self.timer_first[timer] = member
        self.timer_last[timer] = member

    cdef void bury(self):
        """Free what nobody points to any more."""
        cdef Member *member
        cdef Room *room
        cdef Frame *frame
        while self.closed != NULL:
            member = self.closed
            self.closed = member.later
            free(member)
        while self.empty != NULL:
            room = self.empty
            self.empty = room.chain
            free(room.seats)
            free(room.slots)
            free(room)
        while self.dead != NULL:
            frame = self.dead
            self.dead = frame.next_dead
            Py_DECREF(<object>frame.owner)
            free(frame)

    cdef void shut(self):
        if self.epoll < 0:
            return
        self.is_open = False
        while self.everybody != NULL:
            self.end(self.everybody, CUT)
            self.event_count = 0
        self.bury()
        close(self.epoll)
        self.epoll = -1
