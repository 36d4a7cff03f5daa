"""A worker that was taken over says what it likes: the origin reads it, or ends it, and lives.

The worker decodes a stranger's bitstream, so what it writes is a stranger's, too. `WireError` and
`MediaError` (and `IndexError`, for a rung that is not there) end the worker, see
`origin.transcode.supervisor`; anything else would end the origin.
"""

import contextlib
import random
import struct
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from media_samples import Source, SpsFields, avc_record, picture
from video_records import HevcSpsFields, av1_record, hevc_record

from hls import MediaError
from origin.transcode import wire

if TYPE_CHECKING:
    from .conftest import Show

pytestmark = pytest.mark.slow

SOURCE = list(Source(duration_s=8.0).frames())
RECORDS = [
    (b"avc1", avc_record()),
    (b"avc1", avc_record(SpsFields(width_mbs=1000, height_map_units=1000).unit())),
    (b"hvc1", hevc_record(HevcSpsFields().unit())),
    (b"av01", av1_record()),
]
HUGE = 10**400

# `stage` is a class: every example makes a broadcast of its own.
fresh = settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
seeds = st.integers(0, 2**32 - 1)
ticks = st.integers(-wire.MAX_TICKS, wire.MAX_TICKS) | st.integers(-(10**6), 10**6)
samples = st.one_of(
    st.just(b""),
    st.binary(max_size=50),
    st.builds(
        lambda idr, number: picture(idr=idr, number=number), st.booleans(), st.integers(0, 9)
    ),
)


@st.composite
def configs(draw: st.DrawFn) -> wire.RungConfig:
    """Records of every codec, whole, flipped, cut, and under another's name."""
    fourcc, record = draw(st.sampled_from(RECORDS))
    rng = random.Random(draw(seeds))
    changed = bytearray(record)
    for _ in range(draw(st.integers(0, 4))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    record = bytes(changed[: draw(st.integers(0, len(changed)) | st.just(len(changed)))])
    fourcc = draw(st.sampled_from([fourcc, fourcc, b"avc1", b"mp4v"]))
    return wire.RungConfig(draw(st.integers(0, 7)), fourcc, record)


counts = st.integers(-(2**70), 2**70) | st.sampled_from([0, 1, HUGE, -HUGE])
amounts = st.floats(allow_nan=False, allow_infinity=False)
statuses = st.builds(
    wire.Status,
    decoded=counts,
    decode_errors=counts,
    lost=counts,
    newest_pts_ticks=st.none() | counts,
    rungs=st.lists(
        st.builds(
            wire.RungStatus,
            frames=counts,
            bytes=counts,
            encode_s=amounts,
            newest_pts_ticks=st.none() | counts,
        ),
        max_size=10,
    ).map(tuple),
    black=st.booleans(),
    frozen=st.booleans(),
    silent=st.none() | st.booleans(),
    av_drift_s=st.none() | amounts,
    busy_s=amounts,
    rss_bytes=counts,
)
coded = st.builds(
    wire.Coded,
    rung=st.integers(0, 2),
    number=st.integers(0, 300) | st.integers(0, 2**64 - 1),
    pts_ticks=ticks,
    is_idr=st.booleans(),
    data=samples,
)
messages = st.one_of(
    coded,
    configs(),
    statuses,
    st.builds(wire.Ready, encoders=st.lists(st.text(max_size=9)).map(tuple)),
)


def frame_of(kind: int, payload: bytes) -> bytes:
    return bytes((kind, 0, 0, 0)) + len(payload).to_bytes(4, "big") + payload


def hear(show: "Show", reader: wire.ToParentReader, data: bytes) -> bool:
    """Take what a worker writes, as the supervisor does; return whether it may go on."""
    try:
        for message in reader.feed(data):
            if not isinstance(message, wire.Fault):
                show.ladder.take_message(message)
    except (wire.WireError, MediaError, IndexError):
        return False
    return True


def live_beside(show: "Show", say: Callable[[int], list[bytes]]) -> None:
    """A broadcast of 8 s, with a worker that says something after every frame of it."""
    reader = wire.ToParentReader()
    assert hear(show, reader, wire.GREETING)
    for number, frame in enumerate(SOURCE):
        show.push(frame)
        show.ladder.observe(number / 80)
        for data in say(number):
            if not hear(show, reader, data):
                show.ladder.end_life("protocol")
                show.ladder.begin_life()
                reader = wire.ToParentReader()
                assert hear(show, reader, wire.GREETING)
    # What viewers see of the source is what they see without any ladder.
    assert show.source.timeline.last_part is not None
    for rendition in show.live.renditions.values():
        if rendition.timeline.ready:
            rendition.timeline.playlist()
    show.ladder.health()
    show.ladder.close()
    show.ladder.finish()


@given(script=st.lists(st.tuples(st.integers(0, len(SOURCE) - 1), messages), max_size=40))
@fresh
def test_any_messages(stage: "type[Show]", script: list[tuple[int, wire.ToParent]]) -> None:
    said: dict[int, list[bytes]] = {}
    for number, message in script:
        with contextlib.suppress(wire.WireError):  # too long to be said
            said.setdefault(number, []).append(wire.encode(message))
    live_beside(stage(), lambda number: said.get(number, []))


@given(seed=seeds, share=st.sampled_from([0.01, 0.1, 0.5]))
@fresh
def test_an_honest_worker_whose_output_is_spoiled(
    stage: "type[Show]", seed: int, share: float
) -> None:
    """The right numbers and times, and lies in between."""
    rng = random.Random(seed)
    show = stage()

    def say(_number: int) -> list[bytes]:
        if not show.placements:
            return []
        placed = show.placements[-1]
        pts_ticks, number = placed.pts_ticks, placed.number
        is_idr = placed.begins_segment
        data = picture(idr=is_idr, number=number)
        out = []
        for rung in range(2):
            if rng.random() < share:
                number += rng.choice((-1, 0, 1, 50, 2**40))
                pts_ticks += rng.choice((-90_000, 1, 3000, wire.MAX_TICKS // 2))
                is_idr = rng.random() < 0.5
                data = rng.choice((data, b"", data[:-1], rng.randbytes(30), data * 3))
            if rng.random() < share or is_idr:
                out.append(wire.encode(wire.RungConfig(rung, *rng.choice(RECORDS))))
            with contextlib.suppress(struct.error):
                out.append(wire.encode(wire.Coded(rung, number, pts_ticks, is_idr, data)))
        return out

    live_beside(show, say)


@given(data=st.binary(max_size=200), kind=st.integers(60, 75))
@fresh
def test_any_bytes(stage: "type[Show]", data: bytes, kind: int) -> None:
    show = stage(("360p",))
    for frame in SOURCE[:20]:
        show.push(frame)
    for said in (wire.GREETING + data, wire.GREETING + frame_of(kind, data), data):
        hear(show, wire.ToParentReader(), said)


def test_figures_beyond_reason_end_the_worker(show: "Show") -> None:
    """JSON knows integers of any length, and Python computes with them until it cannot."""
    figures = (
        b'{"decoded":1,"decode_errors":0,"lost":0,"newest_pts_ticks":null,"rungs":[{"frames":%d,'
        b'"bytes":0,"encode_s":1.0,"newest_pts_ticks":null}],"black":false,"frozen":false,'
        b'"silent":null,"av_drift_s":null,"busy_s":0.0,"rss_bytes":0}'
    )
    reader = wire.ToParentReader()
    good = figures % 5
    assert hear(show, reader, wire.GREETING + frame_of(68, good))
    assert not hear(show, reader, frame_of(68, figures % HUGE))
