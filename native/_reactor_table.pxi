# Structures of the reactor and its table of answers by key. Included by ``_reactor.pyx``.

cdef struct Answer:                 # a rendered response; owned by its Blob object
    PyObject *blob                  # kept alive while pins > 0
    int pins                        # by the table, and by each connection that sends it
    int count
    size_t head_bytes               # of pieces[0]
    size_t size_bytes               # of all pieces
    bint is_good                    # its status is under 400
    iovec *pieces                   # [0] is the head, the rest the body
    bint is_dead                    # among those that are released at the end of the step
    Answer *next_dead

cdef struct Account

cdef struct Conn

cdef struct Entry:                  # what is known of a key
    uint64_t hash
    Entry *chain                    # in its bucket
    Answer *answer                  # NULL: its connections wait
    Conn *first                     # who waits, in order of arrival
    Conn *last
    int waiting
    Py_ssize_t size
    uchar key[1]                    # `size` bytes

cdef enum:                          # the queue that a connection stands in
    NO_QUEUE, RUN, WAITERS

cdef enum:                          # the timer that runs for it
    NO_TIMER, HEAD_TIMER, IDLE_TIMER, SEND_TIMER, LINGER_TIMER, TIMERS

cdef struct Conn:
    Socket socket
    int64_t tag
    bint is_closed                  # freed at the end of the step
    bint is_last                    # nothing after the answer that is due
    bint is_head                    # no body in it
    bint must_return                # its request is Python's
    bint lingers                    # everything is said
    uchar *input                    # what was read and not answered; NULL when nothing is
    int input_bytes
    int head_bytes                  # of the request in front, while it waits for its answer
    Answer *answer                  # being sent
    size_t sent                     # of it and its tail
    int tail_bytes                  # 0: not made yet
    char tail[TAIL_BYTES]           # the lines between head and body
    Entry *entry                    # waiting for it
    int queue
    Conn *next                      # in the run queue, or among those who wait
    Conn *prev
    int timer
    Conn *later                     # in the list of its timer
    Conn *sooner
    Conn *all_next                  # in the list of everybody
    Conn *all_prev
    int64_t stamp_ms                # when its timer was set
    size_t moved_bytes              # since then
    double tokens                   # requests that it may make now
    int64_t tokens_ms
    uint64_t sent_bytes             # in all
    uint64_t requests
    uint64_t pass_hash              # of the stream and the token that it was admitted with,
    int64_t pass_until_ms           # for so long; 0: it was not
    bint is_shared                  # by many clients: its X-Forwarded-For is believed
    int tells                       # what the request in front tells, if it is answered well
    uint64_t who                    # hash of stream, agent and address of its account;
    uint64_t sid                    # of the session there; 0: none
    int64_t report_due_ms
    Account *account                # NULL: nothing was told yet


# SipHash-1-3 (Aumasson, Bernstein 2012): keys come from strangers, so buckets must not be theirs to
# choose.

cdef inline uint64_t rotl(uint64_t x, int b) noexcept nogil:
    return (x << b) | (x >> (64 - b))


cdef inline void sip_round(uint64_t *v) noexcept nogil:
    v[0] += v[1]; v[1] = rotl(v[1], 13); v[1] ^= v[0]; v[0] = rotl(v[0], 32)
    v[2] += v[3]; v[3] = rotl(v[3], 16); v[3] ^= v[2]
    v[0] += v[3]; v[3] = rotl(v[3], 21); v[3] ^= v[0]
    v[2] += v[1]; v[1] = rotl(v[1], 17); v[1] ^= v[2]; v[2] = rotl(v[2], 32)


cdef uint64_t sip_hash(const uchar *data, Py_ssize_t size, const uint64_t *seed) noexcept nogil:
    cdef uint64_t[4] v
    cdef uint64_t word
    cdef Py_ssize_t at = 0
    v[0] = seed[0] ^ <uint64_t>0x736f6d6570736575
    v[1] = seed[1] ^ <uint64_t>0x646f72616e646f6d
    v[2] = seed[0] ^ <uint64_t>0x6c7967656e657261
    v[3] = seed[1] ^ <uint64_t>0x7465646279746573
    while size - at >= 8:
        memcpy(&word, data + at, 8)
        v[3] ^= word
        sip_round(v)
        v[0] ^= word
        at += 8
    word = 0
    memcpy(&word, data + at, size - at)
    word |= <uint64_t>(size & 0xFF) << 56
    v[3] ^= word
    sip_round(v)
    v[0] ^= word
    v[2] ^= 0xFF
    sip_round(v)
    sip_round(v)
    sip_round(v)
    return v[0] ^ v[1] ^ v[2] ^ v[3]


cdef struct Table:
    Entry **buckets
    uint64_t mask
    uint64_t[2] seed
    int count


cdef Entry *table_find(Table *table, const uchar *key, Py_ssize_t size, uint64_t hash) noexcept nogil:
    cdef Entry *entry = table.buckets[hash & table.mask]
    while entry != NULL:
        if entry.hash == hash and entry.size == size and memcmp(entry.key, key, size) == 0:
            return entry
        entry = entry.chain
    return NULL


cdef Entry *table_add(Table *table, const uchar *key, Py_ssize_t size, uint64_t hash) noexcept nogil:
    """Add a key that is not there; NULL without memory."""
    cdef Entry *entry = <Entry *>calloc(1, sizeof(Entry) + size)
    cdef Entry **bucket = &table.buckets[hash & table.mask]
    if entry == NULL:
        return NULL
    entry.hash = hash
    entry.size = size
    memcpy(entry.key, key, size)
    entry.chain = bucket[0]
    bucket[0] = entry
    table.count += 1
    return entry


cdef void table_unlink(Table *table, Entry *entry) noexcept nogil:
    """Take an entry out; it is the caller's to free."""
    cdef Entry **link = &table.buckets[entry.hash & table.mask]
    while link[0] != entry:
        link = &link[0].chain
    link[0] = entry.chain
    entry.chain = NULL
    table.count -= 1
