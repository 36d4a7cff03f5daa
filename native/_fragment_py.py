"""Fragment writer in Python: the specification of ``_fragment.pyx``, and its stand-in.

Lays out one movie fragment, ``moof`` and ``mdat``, from sample tables. It knows box layouts and
nothing of codecs, cutting or time: durations, offsets and flags arrive ready. ::

    moof
      mfhd                  sequence number
      traf, one for each run
        tfhd                track id; default-base-is-moof: offsets count from the moof's first byte
        tfdt version 1      decode time of the first sample, 64 bits
        trun version 1      data offset; for each sample duration, size, flags (, cts)
    mdat                    the samples of all runs, in order

Invariant: every argument is checked before anything is allocated for the result. Spec:
ISO/IEC 14496-12 §8.1.1 (mdat), §8.8.4 to §8.8.8 (moof to trun), §8.8.12 (tfdt).
"""

import operator
import struct
from collections.abc import Sequence

from native._types import FragmentSample, TrackRun, byte_view

_DEFAULT_BASE_IS_MOOF = 0x020000
_DATA_OFFSET_PRESENT = 0x000001
_DURATION_PRESENT = 0x000100
_SIZE_PRESENT = 0x000200
_FLAGS_PRESENT = 0x000400
_COMPOSITION_OFFSET_PRESENT = 0x000800
_VERSION_1 = 1 << 24  # tfdt: 64 bits; trun: signed composition offsets

_BOX_BYTES = 8
_MFHD_BYTES = 16
_TFHD_BYTES = 16
_TFDT_BYTES = 20
_TRUN_BYTES = 20  # before its table

_UINT32_MAX = 0xFFFFFFFF
_INT32_MIN, _INT32_MAX = -0x80000000, 0x7FFFFFFF
_INT64_MAX = 0x7FFFFFFFFFFFFFFF  # of 64 unsigned bits: players compute with signed ones
_MAX_FRAGMENT_BYTES = 0x7FFFFFFF  # the data offset of a trun is a signed 32-bit integer


def write_fragment(sequence_number: int, runs: Sequence[TrackRun]) -> bytes:
    """Write one movie fragment.

    Args:
        sequence_number: Of the ``mfhd``, 0 to 2**32 - 1.
        runs: One `TrackRun` for each track, at least one. Sample data is borrowed until the call
            returns, and not changed.

    Returns:
        New bytes, ``moof`` and ``mdat``. The table of a run has composition offsets only if one of
        them is not 0.

    Raises:
        ValueError: A number is outside its range, there is no run, a run has no sample, or the
            fragment would exceed 2**31 - 1 bytes.
        TypeError: A run, a sample, a number or sample data is of another type.
        BufferError: Sample data is not contiguous.

    Spec: ISO/IEC 14496-12 §8.8.4 to §8.8.8 and §8.8.12.
    Cost: one allocation of the result; O(bytes), each sample byte is copied once.
    """
    _check("sequence_number", sequence_number, 0, _UINT32_MAX)
    snapshots = [_checked_run(run) for run in runs]
    if not snapshots:
        raise ValueError("a fragment needs a run")
    checked_runs = [
        run._replace(samples=[_checked_sample(sample) for sample in run.samples])
        for run in snapshots
    ]
    moof_bytes = _BOX_BYTES + _MFHD_BYTES + sum(map(_traf_bytes, checked_runs))
    mdat_bytes = _BOX_BYTES + sum(map(_data_bytes, checked_runs))
    if moof_bytes + mdat_bytes > _MAX_FRAGMENT_BYTES:
        raise ValueError(f"the fragment exceeds {_MAX_FRAGMENT_BYTES} bytes")

    boxes = [
        struct.pack(">I4s", moof_bytes, b"moof"),
        struct.pack(">I4sII", _MFHD_BYTES, b"mfhd", 0, sequence_number),
    ]
    data_offset = moof_bytes + _BOX_BYTES
    for run in checked_runs:
        boxes.append(_traf(run, data_offset))
        data_offset += _data_bytes(run)
    boxes.append(struct.pack(">I4s", mdat_bytes, b"mdat"))
    return b"".join([*boxes, *(sample.data for run in checked_runs for sample in run.samples)])


def _check(name: str, value: int, low: int, high: int) -> None:
    number = operator.index(value)
    if not low <= number <= high:
        raise ValueError(f"{name} {number} is outside {low}..{high}")


def _checked_run(run: TrackRun) -> TrackRun:
    """Return a run whose own numbers are in range; its samples are unchecked but fixed."""
    if not isinstance(run, TrackRun):
        raise TypeError(f"a run must be a TrackRun, not {type(run).__name__}")
    _check("track_id", run.track_id, 1, _UINT32_MAX)
    _check("base_decode_time", run.base_decode_time, 0, _INT64_MAX)
    samples = tuple(run.samples)
    if not samples:
        raise ValueError("a run needs a sample")
    return run._replace(samples=samples)


def _checked_sample(sample: FragmentSample) -> FragmentSample:
    """Return a sample whose numbers are in range and whose data is a view of bytes."""
    if not isinstance(sample, FragmentSample):
        raise TypeError(f"a sample must be a FragmentSample, not {type(sample).__name__}")
    _check("duration", sample.duration, 0, _UINT32_MAX)
    _check("composition_offset", sample.composition_offset, _INT32_MIN, _INT32_MAX)
    _check("flags", sample.flags, 0, _UINT32_MAX)
    return sample._replace(data=byte_view(sample.data))


def _has_composition_offsets(run: TrackRun) -> bool:
    return any(sample.composition_offset for sample in run.samples)


def _trun_bytes(run: TrackRun) -> int:
    return _TRUN_BYTES + len(run.samples) * (16 if _has_composition_offsets(run) else 12)


def _traf_bytes(run: TrackRun) -> int:
    return _BOX_BYTES + _TFHD_BYTES + _TFDT_BYTES + _trun_bytes(run)


def _data_bytes(run: TrackRun) -> int:
    return sum(memoryview(sample.data).nbytes for sample in run.samples)


def _traf(run: TrackRun, data_offset: int) -> bytes:
    """Write the ``traf`` of a run whose data begins `data_offset` bytes after ``moof`` does."""
    flags = _DATA_OFFSET_PRESENT | _DURATION_PRESENT | _SIZE_PRESENT | _FLAGS_PRESENT
    offsets = _has_composition_offsets(run)
    if offsets:
        flags |= _COMPOSITION_OFFSET_PRESENT
    count = len(run.samples)
    boxes = [
        struct.pack(">I4s", _traf_bytes(run), b"traf"),
        struct.pack(">I4sII", _TFHD_BYTES, b"tfhd", _DEFAULT_BASE_IS_MOOF, run.track_id),
        struct.pack(">I4sIQ", _TFDT_BYTES, b"tfdt", _VERSION_1, run.base_decode_time),
        struct.pack(">I4sIIi", _trun_bytes(run), b"trun", _VERSION_1 | flags, count, data_offset),
    ]
    for sample in run.samples:
        size = memoryview(sample.data).nbytes
        boxes.append(struct.pack(">III", sample.duration, size, sample.flags))
        if offsets:
            boxes.append(struct.pack(">i", sample.composition_offset))
    return b"".join(boxes)
