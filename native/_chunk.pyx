"""RTMP chunk reader: the Cython twin of ``_chunk_py.py``, which is its specification.

Native because every byte that a publisher sends passes through it. Cost for each message: one
allocation of its payload, one copy of each byte, one small tuple; for each chunk one header byte is
looked at. The GIL is kept: a feed is microseconds.

Memory: an unfinished message is a bytes object that nobody else sees yet. It is as long as the rest
of the message if that rest is in the fed data, chunk after chunk (a *straight run*); otherwise it
doubles as bytes arrive, so that it is never more than about twice what arrived.
"""

cimport cython
from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.ref cimport Py_DECREF, Py_XDECREF, PyObject
from libc.stdint cimport uint8_t, uint32_t
from libc.string cimport memcpy

from native._types import ChunkError, RawMessage, checked_limit

cdef extern from "Python.h":
    # As raw pointers, unlike in cpython.bytes: an object under construction has one owner.
    PyObject *PyBytes_FromStringAndSize(const char *data, Py_ssize_t size) except NULL
    int _PyBytes_Resize(PyObject **payload, Py_ssize_t size) except -1  # on error: freed, NULL
    char *PyBytes_AS_STRING(PyObject *payload) nogil
    Py_ssize_t PyBytes_GET_SIZE(PyObject *payload) nogil

cdef object _new_tuple = tuple.__new__  # what RawMessage._make calls, without its Python frame

cdef enum:
    INITIAL_CHUNK_SIZE = 128        # RTMP 1.0 §5.4.1
    MAX_CHUNK_SIZE = 0xFFFFFF       # §5.4.1: larger sizes are the same, since no message is longer
    EXTENDED = 0xFFFFFF             # §5.3.1.3: a 24-bit timestamp that says "32 bits follow"
    MAX_HEADER_BYTES = 3 + 11 + 4
    SET_CHUNK_SIZE = 1
    ABORT = 2
    CONTROL_BYTES = 4               # the payload of both
    WAIT = -1                       # repeated_bytes: the bytes at hand do not decide

cdef struct Run:
    Py_ssize_t payload_bytes        # of the message, in the run
    Py_ssize_t run_bytes            # the same and the headers between them
    Py_ssize_t chunk_left           # payload bytes that the run's last chunk still misses


# Kernels: raw pointers with explicit lengths, no Python objects, nothing kept.

cdef inline uint32_t be24(const uint8_t *p) noexcept nogil:
    return (<uint32_t>p[0] << 16) | (<uint32_t>p[1] << 8) | p[2]


cdef inline uint32_t be32(const uint8_t *p) noexcept nogil:
    return (<uint32_t>p[0] << 24) | be24(p + 1)


cdef inline uint32_t le32(const uint8_t *p) noexcept nogil:
    return (<uint32_t>p[3] << 24) | (<uint32_t>p[2] << 16) | (<uint32_t>p[1] << 8) | p[0]


cdef inline Py_ssize_t message_header_bytes(int fmt) noexcept nogil:
    return 11 if fmt == 0 else 7 if fmt == 1 else 3 if fmt == 2 else 0


cdef inline Py_ssize_t read_basic_header(
    const uint8_t *head, Py_ssize_t size, int *fmt, uint32_t *stream_id
) noexcept nogil:
    """Read §5.3.1.1 from `size` >= 1 bytes; return the bytes used, 0 if cut short."""
    cdef uint32_t low = head[0] & 0x3F
    fmt[0] = head[0] >> 6
    if low >= 2:
        stream_id[0] = low
        return 1
    if size < 2 + <Py_ssize_t>low:
        return 0
    stream_id[0] = 64 + head[1]
    if low == 1:
        stream_id[0] += <uint32_t>head[2] << 8
    return 2 + low


cdef inline Py_ssize_t repeated_bytes(
    const uint8_t *following, Py_ssize_t size, uint32_t wire_time
) noexcept nogil:
    """Tell whether a type 3 header repeats the extended timestamp: 4 bytes, 0, or WAIT.

    Decided at the first differing byte; see the twin for why.
    """
    cdef Py_ssize_t i
    for i in range(4):
        if i == size:
            return WAIT
        if following[i] != <uint8_t>(wire_time >> (24 - 8 * i)):
            return 0
    return 4


cdef inline Run straight_run(
    const uint8_t *data,
    Py_ssize_t size,
    uint8_t header,
    Py_ssize_t chunk_left,
    Py_ssize_t chunk_size,
    Py_ssize_t rest,
) noexcept nogil:
    """Measure how much of one message follows with nothing between its chunks but `header`.

    Args:
        data, size: What was fed, from the payload of the current chunk on; at least one byte.
        header: The one-byte type 3 header of the message, or 0 to stay in the current chunk.
        chunk_left: Payload bytes that the current chunk still misses, 1 to rest.
        chunk_size: Of the chunks after it, at least 1.
        rest: Payload bytes that the message still misses.
    """
    cdef Run run
    cdef Py_ssize_t piece
    run.payload_bytes = run.run_bytes = min(chunk_left, size)
    run.chunk_left = chunk_left - run.payload_bytes
    # A header that ends the data is left alone: it may be the start of anything.
    while (
        header != 0
        and run.payload_bytes < rest
        and size - run.run_bytes > 1
        and data[run.run_bytes] == header
    ):
        chunk_left = min(chunk_size, rest - run.payload_bytes)
        piece = min(chunk_left, size - run.run_bytes - 1)
        run.run_bytes += 1 + piece
        run.payload_bytes += piece
        run.chunk_left = chunk_left - piece
    return run


cdef inline void copy_run(
    uint8_t *out,
    const uint8_t *data,
    Py_ssize_t payload_bytes,
    Py_ssize_t chunk_left,
    Py_ssize_t chunk_size,
) noexcept nogil:
    """Copy the payload of a straight run of `payload_bytes` bytes from `data` to `out`."""
    cdef Py_ssize_t piece = min(chunk_left, payload_bytes)
    memcpy(out, data, piece)
    while piece < payload_bytes:
        out += piece
        data += piece + 1
        payload_bytes -= piece
        piece = min(chunk_size, payload_bytes)
        memcpy(out, data, piece)


# The thin layer: checks, owns memory, raises.

@cython.final
cdef class _ChunkStream:
    """What later headers on one chunk stream leave out, and its unfinished message."""

    cdef uint32_t id
    cdef uint32_t timestamp         # of the latest message: absolute, mod 2**32
    cdef uint32_t wire_time         # latest timestamp field: absolute after fmt 0, else a delta
    cdef bint extended              # that field came as an extended timestamp
    cdef uint32_t stream_id
    cdef uint8_t type_id
    cdef bint started               # a message is begun and not complete
    cdef Py_ssize_t length
    cdef Py_ssize_t received        # payload bytes that arrived; filled bytes of `payload`
    cdef PyObject *payload          # owned bytes object, its size is the capacity; NULL if empty

    def __dealloc__(self):
        Py_XDECREF(self.payload)

    cdef inline uint8_t *reserve(self, Py_ssize_t more) except NULL:
        """Return where the next `more` payload bytes go; valid until the next call."""
        cdef Py_ssize_t needed = self.received + more
        cdef Py_ssize_t capacity
        if self.payload is NULL:
            self.payload = PyBytes_FromStringAndSize(NULL, needed)
        elif needed > PyBytes_GET_SIZE(self.payload):
            capacity = max(needed, 2 * PyBytes_GET_SIZE(self.payload))
            _PyBytes_Resize(&self.payload, min(capacity, self.length))
        return <uint8_t *>PyBytes_AS_STRING(self.payload) + self.received

    cdef inline bytes take(self):
        """Give the complete message away; its capacity is its length by now."""
        cdef bytes payload = b""
        if self.payload is not NULL:
            payload = <bytes>self.payload
        self.drop()
        return payload

    cdef inline void drop(self) noexcept:
        cdef PyObject *payload = self.payload
        self.payload = NULL
        self.received = 0
        self.started = False
        Py_XDECREF(payload)


@cython.final
cdef class ChunkReader:
    """Turn the bytes of one RTMP connection, after the handshake, into messages.

    See ``native._chunk_py.ChunkReader``, which says everything that holds for both twins.
    """

    cdef Py_ssize_t _max_message_bytes, _max_buffered_bytes
    cdef Py_ssize_t _max_chunk_streams, _max_messages_per_feed
    cdef Py_ssize_t _chunk_size, _buffered_bytes
    cdef dict _streams              # int -> _ChunkStream; at most _max_chunk_streams
    cdef _ChunkStream _current      # of the chunk being read
    cdef Py_ssize_t _chunk_left     # its payload bytes still to come; 0 between chunks
    cdef uint8_t[MAX_HEADER_BYTES] _pending  # an incomplete header
    cdef Py_ssize_t _pending_bytes  # of it, 0 to MAX_HEADER_BYTES - 1
    cdef str _failure

    def __init__(
        self,
        *,
        max_message_bytes,
        max_buffered_bytes,
        max_chunk_streams,
        max_messages_per_feed=8192,
    ):
        self.set_limits(
            max_message_bytes=max_message_bytes,
            max_buffered_bytes=max_buffered_bytes,
            max_chunk_streams=max_chunk_streams,
        )
        self._max_messages_per_feed = checked_limit("max_messages_per_feed", max_messages_per_feed)
        self._chunk_size = INITIAL_CHUNK_SIZE
        self._buffered_bytes = 0
        self._streams = {}
        self._current = None
        self._chunk_left = 0
        self._pending_bytes = 0
        self._failure = None

    @property
    def chunk_size(self):
        """Largest chunk payload the peer may send now, in bytes; starts at 128."""
        return self._chunk_size

    @property
    def buffered_bytes(self):
        """Payload bytes of unfinished messages now held."""
        return self._buffered_bytes

    def set_limits(self, *, max_message_bytes, max_buffered_bytes, max_chunk_streams):
        """Replace the limits, for example once the peer is authenticated."""
        cdef Py_ssize_t message = checked_limit("max_message_bytes", max_message_bytes)
        cdef Py_ssize_t buffered = checked_limit("max_buffered_bytes", max_buffered_bytes)
        cdef Py_ssize_t streams = checked_limit("max_chunk_streams", max_chunk_streams)
        self._max_message_bytes = message
        self._max_buffered_bytes = buffered
        self._max_chunk_streams = streams

    def feed(self, data, list out not None):
        """Read more bytes and append the messages they complete to `out`."""
        cdef Py_buffer view  # borrowed from `data` until the `finally`
        if self._failure is not None:
            raise ChunkError(self._failure)
        PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
        try:
            self._feed(<const uint8_t *>view.buf, view.len, out)
        except (ChunkError, MemoryError) as error:
            # After a MemoryError a message may have lost its payload: the reader must not go on.
            self._failure = str(error) or "out of memory"
            self._streams.clear()
            self._current = None
            self._buffered_bytes = 0
            raise
        finally:
            PyBuffer_Release(&view)

    cdef int _feed(self, const uint8_t *data, Py_ssize_t size, list out) except -1:
        """Put a header that was cut short together again, then read the rest in place."""
        cdef uint8_t[2 * MAX_HEADER_BYTES] stitch
        cdef Py_ssize_t most_messages = len(out) + self._max_messages_per_feed
        cdef Py_ssize_t pending_bytes = self._pending_bytes
        cdef Py_ssize_t copied, used
        if size == 0:
            return 0  # `data` may be NULL
        if pending_bytes > 0:
            copied = min(size, <Py_ssize_t>MAX_HEADER_BYTES)
            memcpy(stitch, self._pending, pending_bytes)
            memcpy(stitch + pending_bytes, data, copied)
            used = self._consume(stitch, pending_bytes + copied, out, most_messages)
            if used < pending_bytes:
                # Less than a header is there, so all of `data` was copied.
                self._keep(stitch + used, pending_bytes + copied - used)
                return 0
            data += used - pending_bytes
            size -= used - pending_bytes
        used = self._consume(data, size, out, most_messages)
        self._keep(data + used, size - used)
        return 0

    cdef inline void _keep(self, const uint8_t *head, Py_ssize_t size) noexcept:
        memcpy(self._pending, head, size)
        self._pending_bytes = size

    cdef Py_ssize_t _consume(
        self, const uint8_t *data, Py_ssize_t size, list out, Py_ssize_t most_messages
    ) except -1:
        """Read whole headers and all payload; return the bytes used, all but a begun header."""
        cdef Py_ssize_t position = 0
        cdef Py_ssize_t header_bytes
        cdef _ChunkStream stream
        while position < size:
            if self._chunk_left == 0:
                header_bytes = self._begin_chunk(data + position, size - position)
                if header_bytes == 0:
                    break
                position += header_bytes
            stream = self._current
            if self._chunk_left > 0 and position < size:
                position += self._append(stream, data + position, size - position)
            if stream.started and stream.received == stream.length:
                if len(out) == most_messages:
                    most_messages = self._max_messages_per_feed
                    raise ChunkError(f"more than {most_messages} messages in one feed")
                out.append(self._finish(stream))
        return position

    cdef Py_ssize_t _begin_chunk(self, const uint8_t *head, Py_ssize_t size) except -1:
        """Read the headers of a chunk; return their size, or 0 and change nothing if cut short."""
        cdef int fmt
        cdef uint32_t chunk_stream_id
        cdef Py_ssize_t used = read_basic_header(head, size, &fmt, &chunk_stream_id)
        if used == 0:
            return 0

        cdef _ChunkStream stream = <_ChunkStream>self._streams.get(chunk_stream_id)
        cdef bint fresh = stream is None
        cdef bint starts = fresh or not stream.started
        if fresh:
            if fmt >= 2:
                raise ChunkError(f"chunk stream {chunk_stream_id} begins with a type {fmt} header")
            if len(self._streams) >= self._max_chunk_streams:
                raise ChunkError(f"more than {self._max_chunk_streams} chunk streams")
            stream = _ChunkStream()
            stream.id = chunk_stream_id
        elif fmt != 3 and not starts:
            raise ChunkError(
                f"type {fmt} header inside an unfinished message on chunk stream {chunk_stream_id}"
            )

        cdef const uint8_t *fields = head + used
        if size - used < message_header_bytes(fmt):
            return 0
        used += message_header_bytes(fmt)
        cdef Py_ssize_t length = stream.length
        cdef uint8_t type_id = stream.type_id
        cdef uint32_t stream_id = stream.stream_id
        if fmt <= 1:
            length = be24(fields + 3)
            type_id = fields[6]
        if fmt == 0:
            stream_id = le32(fields + 7)
        if starts:
            self._check_message(length, type_id)

        cdef uint32_t wire_time = stream.wire_time
        cdef bint extended = stream.extended
        cdef Py_ssize_t repeated
        if fmt == 3:
            if extended:
                repeated = repeated_bytes(head + used, size - used, wire_time)
                if repeated == WAIT:
                    return 0
                used += repeated
        else:
            wire_time = be24(fields)
            extended = wire_time == EXTENDED
            if extended:
                if size - used < 4:
                    return 0
                wire_time = be32(head + used)
                used += 4

        # The header is whole: from here on it takes effect.
        if fresh:
            self._streams[chunk_stream_id] = stream
        if starts:
            stream.timestamp = wire_time if fmt == 0 else stream.timestamp + wire_time
            stream.wire_time = wire_time
            stream.extended = extended
            stream.length = length
            stream.type_id = type_id
            stream.stream_id = stream_id
            stream.started = True
        self._current = stream
        self._chunk_left = min(self._chunk_size, stream.length - stream.received)
        return used

    cdef inline int _check_message(self, Py_ssize_t length, uint8_t type_id) except -1:
        if length > self._max_message_bytes:
            raise ChunkError(f"message of {length} bytes exceeds {self._max_message_bytes} bytes")
        if (type_id == SET_CHUNK_SIZE or type_id == ABORT) and length != CONTROL_BYTES:
            raise ChunkError(f"control message of type {type_id} has {length} bytes, not 4")
        return 0

    cdef inline Py_ssize_t _append(
        self, _ChunkStream stream, const uint8_t *data, Py_ssize_t size
    ) except -1:
        """Add the payload of a straight run to a message; return the bytes of the run."""
        # Two- and three-byte ids and extended timestamps go chunk by chunk: they are rare.
        cdef uint8_t header = 0xC0 | stream.id if stream.id < 64 and not stream.extended else 0
        cdef Run run = straight_run(
            data, size, header, self._chunk_left, self._chunk_size, stream.length - stream.received
        )
        if run.payload_bytes > self._max_buffered_bytes - self._buffered_bytes:
            raise ChunkError(f"unfinished messages exceed {self._max_buffered_bytes} bytes")
        copy_run(
            stream.reserve(run.payload_bytes),
            data,
            run.payload_bytes,
            self._chunk_left,
            self._chunk_size,
        )
        stream.received += run.payload_bytes
        self._buffered_bytes += run.payload_bytes
        self._chunk_left = run.chunk_left
        return run.run_bytes

    cdef inline object _finish(self, _ChunkStream stream):
        """End the message of the current chunk, and do what it says if it is ours to do."""
        self._buffered_bytes -= stream.received
        cdef bytes payload = stream.take()
        if stream.type_id == SET_CHUNK_SIZE or stream.type_id == ABORT:
            # _check_message() made sure of the four bytes.
            self._obey(stream.type_id, be32(<uint8_t *>PyBytes_AS_STRING(<PyObject *>payload)))
        return _new_tuple(
            RawMessage,
            (stream.id, stream.type_id, stream.stream_id, stream.timestamp, payload),
        )

    cdef int _obey(self, uint8_t type_id, uint32_t value) except -1:
        cdef _ChunkStream aborted
        if type_id == SET_CHUNK_SIZE:
            if not 1 <= value <= 0x7FFFFFFF:
                raise ChunkError(f"chunk size {value} is outside 1..2147483647")
            self._chunk_size = min(value, <uint32_t>MAX_CHUNK_SIZE)
        else:
            aborted = <_ChunkStream>self._streams.get(value)
            if aborted is not None:
                self._buffered_bytes -= aborted.received
                aborted.drop()
        return 0
