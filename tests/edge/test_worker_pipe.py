"""What supervisor and worker say to each other."""

from pathlib import Path

import msgspec
import pytest
import trio
import trio.testing

from edge.config import NodeSettings
from edge.worker_pipe import MAX_LINE_BYTES, LineReader, WorkerOrder

ORDER = WorkerOrder(
    settings=NodeSettings(upstream=("http://a:1", "http://b:2"), tls_certificate=Path("/c.pem")),
    seat=3,
    workers=2,
    node_id="0123",
    http=(5, 6),
    https=(),
    board=7,
    board_rows=4,
)


def test_an_order_is_one_line_and_comes_back_as_it_was() -> None:
    line = ORDER.encode()
    assert line.count(b"\n") == 1
    assert WorkerOrder.decode(line) == ORDER


@pytest.mark.parametrize("line", [b"", b"{}", b"[]", b"\xff"])
def test_what_is_no_order_is_refused(line: bytes) -> None:
    with pytest.raises((msgspec.DecodeError, UnicodeDecodeError)):
        WorkerOrder.decode(line)


async def test_lines_come_whole_however_the_pipe_cuts_them() -> None:
    ours, theirs = trio.testing.memory_stream_one_way_pair()
    lines = LineReader(theirs)
    for piece in (b"on", b"e\ntwo\nth", b"ree", b"\n\nrest"):
        await ours.send_all(piece)
    await ours.aclose()
    assert [await lines.next() for _ in range(5)] == [b"one", b"two", b"three", b"", None]


async def test_a_line_has_a_bound() -> None:
    ours, theirs = trio.testing.memory_stream_one_way_pair()
    await ours.send_all(b"x" * (MAX_LINE_BYTES + 1))
    with pytest.raises(ValueError, match="too long"):
        await LineReader(theirs).next()
