# Structures of the fan-out and their tables. Included by ``_fanout.pyx``.

cdef struct Frame:                  # bytes that are sent as they are; shared by all who get them
    PyObject *owner                 # the bytes object
    const uchar *data
    size_t size                     # at least 1
    int64_t refs                    # of slots, nodes, events, and the fan-out itself
    bint is_counted                 # False: a ping or a notice of ours
    Frame *next_dead

cdef struct Node:                   # a frame in a member's own queue
    Frame *frame
    uint64_t stamp                  # its room's frames before this number go first
    bint is_own                     # counts in the limits of the queue
    bint is_pinned                  # has begun, or may be in a TLS record: nothing goes before it
    Node *next

cdef struct Room
cdef struct Member

cdef struct Slot:                   # a frame in the log of a room
    Frame *frame
    uint64_t before                 # bytes of all frames before it, ever
    Member *first                   # who waits at it: this is the next that they need

cdef struct Room:
    int64_t id
    Room *chain                     # in its bucket, or among those that are freed
    Member **seats                  # its members in any order
    int count
    int capacity
    int lagging
    Slot *slots                     # a ring; frame number n is in slots[n % slot_count]
    uint64_t slot_count             # a power of two, or 0
    uint64_t first                  # the log holds numbers from here
    uint64_t soft                   # who waits at an older one than this lags
    uint64_t end                    # to here
    uint64_t bytes                  # of all frames, ever
    int left                        # seats[0:left] have not been visited since the walk began
    bint again                      # a frame came during the walk
    bint is_due                     # stands in the list of rooms with a walk to do
    Room *next_due
    Room *prev_due

cdef enum:                          # a member has one timer of each kind
    LIFE, BOUND, KINDS

cdef enum:
    NO_TIMER, PING_TIMER, PONG_TIMER, LAG_TIMER, LINGER_TIMER, TIMERS

cdef struct Link:                   # in the list of a timer
    int timer
    int64_t stamp_ms                # when it began
    Member *later
    Member *sooner

cdef struct Member:
    Socket socket
    bint is_running                 # stands in the run queue, or is closed
    int64_t tag
    bint is_lagging                 # its room's frames are lost for it
    bint is_waiting                 # in the list of slot `position`
    bint is_closing                 # gets what is in its queue, and no more
    bint lingers                    # everything is said
    bint is_cut                     # ends in its next turn
    bint is_mid                     # half a frame of it is Python's
    bint ping_is_due
    int seat
    Room *room                      # NULL: out of it
    uint64_t position               # the number of the next frame of the room
    Node *head                      # its own queue
    Node *tail
    size_t begun_bytes              # sent of `head`
    int own_frames
    size_t own_bytes
    int pongs                       # swallowed since the last ping
    uint64_t told_in_step
    Frame *received                 # what it brought along
    size_t drained_bytes
    uint64_t sent_bytes
    Link[2] links                   # by kind of timer
    Member *later                   # in the run queue, or among those that are freed
    Member *sooner
    Member *after                   # in the list of slot `position`
    Member *before
    Member *all_next
    Member *all_prev
    Member *chain                   # in its bucket


# Tags and rooms are numbers that Python counts up, so any spreading will do.

cdef inline uint64_t spread(int64_t number) noexcept nogil:
    return (<uint64_t>number * <uint64_t>0x9E3779B97F4A7C15) >> 20


cdef inline int timer_kind(int timer) noexcept nogil:
    return LIFE if timer == PING_TIMER or timer == PONG_TIMER else BOUND


cdef inline Slot *slot_of(Room *room, uint64_t number) noexcept nogil:
    return &room.slots[number & (room.slot_count - 1)]


cdef bint grow_slots(Room *room, uint64_t most) noexcept nogil:
    """Make room for one more frame in the log; False without memory, or when `most` is reached."""
    cdef uint64_t number, count = 2 * room.slot_count if room.slot_count else 16
    cdef Slot *slots
    if room.end - room.first < room.slot_count:
        return True
    if count > most:
        return False
    slots = <Slot *>calloc(count, sizeof(Slot))
    if slots == NULL:
        return False
    for number in range(room.first, room.end):
        slots[number & (count - 1)] = slot_of(room, number)[0]
    free(room.slots)
    room.slots = slots
    room.slot_count = count
    return True


cdef bint grow_seats(Room *room) noexcept nogil:
    cdef int capacity = 2 * room.capacity if room.capacity else 8
    cdef Member **seats
    if room.count < room.capacity:
        return True
    seats = <Member **>realloc(room.seats, capacity * sizeof(Member *))
    if seats == NULL:
        return False
    room.seats = seats
    room.capacity = capacity
    return True


cdef void append(Member *member, Node *node) noexcept nogil:
    node.next = NULL
    if member.tail != NULL:
        member.tail.next = node
    else:
        member.head = node
    member.tail = node


cdef void sit_down(Member *member, Room *room) noexcept nogil:
    """Join a room that has a seat; what it has in its log is for others."""
    member.room = room
    member.seat = room.count
    member.position = room.end
    room.seats[room.count] = member
    room.count += 1


cdef void stand_up(Member *member) noexcept nogil:
    """Give up a seat, so that a walk still visits everybody: it goes down from `left`."""
    cdef Room *room = member.room
    cdef Member *last = room.seats[room.count - 1]
    room.seats[member.seat] = last
    last.seat = member.seat
    room.count -= 1
    if room.left > room.count:
        room.left = room.count
    member.room = NULL


cdef void wait_at_slot(Member *member) noexcept nogil:
    cdef Slot *slot = slot_of(member.room, member.position)
    member.is_waiting = True
    member.before = NULL
    member.after = slot.first
    if slot.first != NULL:
        slot.first.before = member
    slot.first = member


cdef void leave_slot(Member *member) noexcept nogil:
    if not member.is_waiting:
        return
    if member.before != NULL:
        member.before.after = member.after
    else:
        slot_of(member.room, member.position).first = member.after
    if member.after != NULL:
        member.after.before = member.before
    member.before = member.after = NULL
    member.is_waiting = False
