"""Fragment writer: the Cython twin of ``_fragment_py.py``, which is its specification.

Native because every sample that is published passes through it, in each rendition. Cost: the
arguments are read once into a table, the result is allocated once, each sample byte is copied once.
The GIL is kept: a part is microseconds, and to get the GIL back could take a switch interval.
"""

cimport cython
from cpython.buffer cimport Py_buffer, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from cpython.mem cimport PyMem_Calloc, PyMem_Free
from cpython.number cimport PyNumber_Index
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from native._types import FragmentSample, TrackRun

cdef extern from "Python.h":
    long long PyLong_AsLongLongAndOverflow(object number, int *overflow) except? -1

cdef enum:
    DEFAULT_BASE_IS_MOOF = 0x020000
    DATA_OFFSET_PRESENT = 0x000001
    DURATION_PRESENT = 0x000100
    SIZE_PRESENT = 0x000200
    FLAGS_PRESENT = 0x000400
    COMPOSITION_OFFSET_PRESENT = 0x000800
    VERSION_1 = 1 << 24             # tfdt: 64 bits; trun: signed composition offsets
    BOX_BYTES = 8
    MFHD_BYTES = 16
    TFHD_BYTES = 16
    TFDT_BYTES = 20
    TRUN_BYTES = 20                 # before its table

cdef int64_t UINT32_MAX = 0xFFFFFFFF
cdef int64_t INT32_MIN = -0x80000000
cdef int64_t INT32_MAX = 0x7FFFFFFF
cdef int64_t INT64_MAX = 0x7FFFFFFFFFFFFFFF  # of 64 unsigned bits: players compute with signed ones
cdef int64_t MAX_FRAGMENT_BYTES = 0x7FFFFFFF  # a trun's data offset is a signed 32-bit integer

cdef struct SampleRow:
    Py_buffer data                  # borrowed from the caller's sample until _Table is freed
    uint32_t duration
    int32_t composition_offset
    uint32_t flags

cdef struct RunRow:
    uint32_t track_id
    int64_t base_decode_time
    SampleRow *samples              # into _Table.samples
    Py_ssize_t sample_count
    int64_t data_bytes              # at most MAX_FRAGMENT_BYTES, which is too many already
    bint has_composition_offsets


# Kernels: raw pointers, no Python objects. Each writer returns where the next one begins; the
# caller has allocated what traf_bytes() and data_bytes add up to.

cdef inline uint8_t *put32(uint8_t *out, uint32_t value) noexcept nogil:
    out[0] = <uint8_t>(value >> 24)
    out[1] = <uint8_t>(value >> 16)
    out[2] = <uint8_t>(value >> 8)
    out[3] = <uint8_t>value
    return out + 4


cdef inline uint8_t *put64(uint8_t *out, uint64_t value) noexcept nogil:
    return put32(put32(out, <uint32_t>(value >> 32)), <uint32_t>value)


cdef inline uint8_t *put_box(uint8_t *out, int64_t size, const char *name) noexcept nogil:
    out = put32(out, <uint32_t>size)
    memcpy(out, name, 4)
    return out + 4


cdef inline int64_t trun_bytes(const RunRow *run) noexcept nogil:
    return TRUN_BYTES + <int64_t>run.sample_count * (16 if run.has_composition_offsets else 12)


cdef inline int64_t traf_bytes(const RunRow *run) noexcept nogil:
    return BOX_BYTES + TFHD_BYTES + TFDT_BYTES + trun_bytes(run)


cdef uint8_t *put_traf(uint8_t *out, const RunRow *run, int64_t data_offset) noexcept nogil:
    """Write a ``traf`` whose data begins `data_offset` bytes after ``moof`` does."""
    cdef uint32_t flags = DATA_OFFSET_PRESENT | DURATION_PRESENT | SIZE_PRESENT | FLAGS_PRESENT
    cdef const SampleRow *sample
    cdef Py_ssize_t i
    if run.has_composition_offsets:
        flags |= COMPOSITION_OFFSET_PRESENT
    out = put_box(out, traf_bytes(run), b"traf")

    out = put_box(out, TFHD_BYTES, b"tfhd")
    out = put32(out, DEFAULT_BASE_IS_MOOF)
    out = put32(out, run.track_id)

    out = put_box(out, TFDT_BYTES, b"tfdt")
    out = put32(out, VERSION_1)
    out = put64(out, <uint64_t>run.base_decode_time)

    out = put_box(out, trun_bytes(run), b"trun")
    out = put32(out, VERSION_1 | flags)
    out = put32(out, <uint32_t>run.sample_count)
    out = put32(out, <uint32_t>data_offset)
    for i in range(run.sample_count):
        sample = &run.samples[i]
        out = put32(out, sample.duration)
        out = put32(out, <uint32_t>sample.data.len)
        out = put32(out, sample.flags)
        if run.has_composition_offsets:
            out = put32(out, <uint32_t>sample.composition_offset)
    return out


cdef void put_fragment(
    uint8_t *out,
    uint32_t sequence_number,
    const RunRow *runs,
    Py_ssize_t run_count,
    int64_t moof_bytes,
    int64_t mdat_bytes,
) noexcept nogil:
    """Write `moof_bytes` + `mdat_bytes` bytes."""
    cdef int64_t data_offset = moof_bytes + BOX_BYTES
    cdef const SampleRow *sample
    cdef Py_ssize_t i, j
    out = put_box(out, moof_bytes, b"moof")
    out = put_box(out, MFHD_BYTES, b"mfhd")
    out = put32(out, 0)
    out = put32(out, sequence_number)
    for i in range(run_count):
        out = put_traf(out, &runs[i], data_offset)
        data_offset += runs[i].data_bytes
    out = put_box(out, mdat_bytes, b"mdat")
    for i in range(run_count):
        for j in range(runs[i].sample_count):
            sample = &runs[i].samples[j]
            if sample.data.len > 0:
                memcpy(out, sample.data.buf, sample.data.len)
                out += sample.data.len


# The thin layer: reads and checks the arguments, owns the table, raises.

@cython.final
cdef class _Table:
    """The arguments as C rows. Owns the rows and the borrowed buffers, also when a check raises."""

    cdef RunRow *runs
    cdef Py_ssize_t run_count
    cdef SampleRow *samples
    cdef Py_ssize_t sample_count    # rows whose buffer is held

    def __dealloc__(self):
        cdef Py_ssize_t i
        for i in range(self.sample_count):
            PyBuffer_Release(&self.samples[i].data)
        PyMem_Free(self.samples)
        PyMem_Free(self.runs)

    cdef int fill(self, tuple runs) except -1:
        """Read the runs, then their samples; both are fixed (tuples) before anything is counted."""
        cdef list snapshots = []
        cdef Py_ssize_t total = 0
        self.runs = <RunRow *>PyMem_Calloc(len(runs), sizeof(RunRow))
        if self.runs is NULL:
            raise MemoryError
        for run in runs:
            samples = self.add_run(run)
            total += len(samples)
            snapshots.append(samples)
        self.samples = <SampleRow *>PyMem_Calloc(total, sizeof(SampleRow))
        if self.samples is NULL:
            raise MemoryError
        cdef Py_ssize_t i
        for i in range(self.run_count):
            self.runs[i].samples = &self.samples[self.sample_count]
            for sample in <tuple>snapshots[i]:
                self.add_sample(&self.runs[i], sample)
        return 0

    cdef tuple add_run(self, object run):
        if not isinstance(run, TrackRun):
            raise TypeError(f"a run must be a TrackRun, not {type(run).__name__}")
        track_id, base_decode_time, samples = run
        cdef RunRow *row = &self.runs[self.run_count]
        row.track_id = checked("track_id", track_id, 1, UINT32_MAX)
        row.base_decode_time = checked("base_decode_time", base_decode_time, 0, INT64_MAX)
        samples = tuple(samples)
        if not samples:
            raise ValueError("a run needs a sample")
        self.run_count += 1
        return samples

    cdef int add_sample(self, RunRow *run, object sample) except -1:
        if not isinstance(sample, FragmentSample):
            raise TypeError(f"a sample must be a FragmentSample, not {type(sample).__name__}")
        data, duration, composition_offset, flags = sample
        cdef SampleRow *row = &self.samples[self.sample_count]
        row.duration = checked("duration", duration, 0, UINT32_MAX)
        row.composition_offset = checked(
            "composition_offset", composition_offset, INT32_MIN, INT32_MAX
        )
        row.flags = checked("flags", flags, 0, UINT32_MAX)
        PyObject_GetBuffer(data, &row.data, PyBUF_SIMPLE)
        self.sample_count += 1
        run.sample_count += 1
        # Saturated, since one large buffer may be listed again and again.
        run.data_bytes = min(run.data_bytes + row.data.len, MAX_FRAGMENT_BYTES)
        run.has_composition_offsets |= row.composition_offset != 0
        return 0


cdef int64_t checked(str name, object value, int64_t low, int64_t high) except? -1:
    cdef int overflow
    number = PyNumber_Index(value)
    cdef int64_t result = PyLong_AsLongLongAndOverflow(number, &overflow)
    if overflow != 0 or not low <= result <= high:
        raise ValueError(f"{name} {number} is outside {low}..{high}")
    return result


def write_fragment(sequence_number, runs):
    """Write one movie fragment: see ``native._fragment_py.write_fragment``."""
    cdef uint32_t sequence = checked("sequence_number", sequence_number, 0, UINT32_MAX)
    cdef tuple fixed_runs = tuple(runs)
    if not fixed_runs:
        raise ValueError("a fragment needs a run")
    cdef _Table table = _Table()
    table.fill(fixed_runs)

    cdef int64_t moof_bytes = BOX_BYTES + MFHD_BYTES
    cdef int64_t mdat_bytes = BOX_BYTES
    cdef Py_ssize_t i
    for i in range(table.run_count):
        moof_bytes += traf_bytes(&table.runs[i])
        mdat_bytes += table.runs[i].data_bytes
    if moof_bytes + mdat_bytes > MAX_FRAGMENT_BYTES:
        raise ValueError(f"the fragment exceeds {MAX_FRAGMENT_BYTES} bytes")
    fragment = PyBytes_FromStringAndSize(NULL, moof_bytes + mdat_bytes)
    put_fragment(
        <uint8_t *>PyBytes_AS_STRING(fragment),
        sequence,
        table.runs,
        table.run_count,
        moof_bytes,
        mdat_bytes,
    )
    return fragment
