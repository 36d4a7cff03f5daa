"""What is read of a playlist: the origin's own at every part, and texts that are not quite one."""

from typing import TYPE_CHECKING

import m3u8
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.outline import MAX_PARTS, Outline, read_outline

if TYPE_CHECKING:
    from .conftest import Feed

HEAD = (
    b'#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-MAP:URI="init-a-b-0.mp4"\n'
)


def part(name: str, more: str = "") -> bytes:
    return f'#EXT-X-PART:DURATION=0.2,URI="{name}"{more}\n'.encode()


def outline(text: bytes) -> Outline:
    read = read_outline(text)
    assert read is not None
    return read


@pytest.mark.parametrize("skip", [False, True])
def test_the_origins_own_playlist_at_every_part(feed: "Feed", skip: bool) -> None:
    feed.ready()
    for _ in range(60):  # past the skip boundary, and so that segments leave the window
        msn, index = divmod(feed.published, 5)
        read = outline(b"".join(feed.rendition.timeline.render(skip=skip)))
        assert read.target_duration_s == 2
        assert read.broadcast == "init-tok"
        assert read.next_part == (msn, index)
        assert read.last_part == ((msn, index - 1) if index else (msn - 1, 4))
        assert read.hint == f"part-tok-{msn}.{index}.m4s"
        newest, count = (msn, index) if index else (msn - 1, 5)
        assert read.parts == tuple(f"part-tok-{newest}.{n}.m4s" for n in range(count))
        assert not read.ended
        feed.part()


@given(st.binary(max_size=300), st.lists(st.integers(0, 5), max_size=8))
def test_no_text_breaks_it(noise: bytes, pieces: list[int]) -> None:
    lines = [
        b'#EXT-X-PART:DURATION=1,URI="p"\n',
        b"#EXTINF:1,\n",
        b"#EXT-X-ENDLIST",
        b'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="h"\n',
        b"\n",
        noise,
    ]
    read_outline(noise)
    read = outline(HEAD + b"".join(lines[piece] for piece in pieces))
    assert read.next_part > read.last_part
    assert read.ended or not read.has(*read.next_part)


def test_a_stranger_counts_the_same(feed: "Feed") -> None:
    feed.ready()
    for _ in range(12):
        text = b"".join(feed.rendition.timeline.render())
        judge = m3u8.loads(text.decode())
        closed = [one for one in judge.segments if one.uri]
        parts = judge.segments[-1].parts if judge.segments[-1] not in closed else []
        read = outline(text)
        assert read.next_part == (judge.media_sequence + len(closed), len(parts))
        assert judge.preload_hint.uri == read.hint
        feed.part()


def test_the_end(feed: "Feed") -> None:
    feed.ready().part()
    feed.rendition.end()
    read = outline(b"".join(feed.rendition.timeline.render()))
    assert read.ended
    assert read.hint is None
    assert read.has(99, 99)


@pytest.mark.parametrize(
    ("msn", "index", "has"),
    [
        (8, None, True),
        (9, None, False),
        (9, 0, True),
        (9, 1, True),
        (9, 2, False),
        (8, 99, True),
        (10, 0, False),
    ],
)
def test_which_requests_a_version_answers(msn: int, index: int | None, has: bool) -> None:
    text = HEAD + b"#EXTINF:2,\nseg-7.m4s\n#EXTINF:2,\nseg-8.m4s\n" + part("9.0") + part("9.1")
    assert outline(text).has(msn, index) is has


def test_a_request_past_the_end_of_the_newest_segment_waits_for_the_next_one() -> None:
    read = outline(HEAD + part("7.0") + part("7.1") + b"#EXTINF:2,\nseg-7.m4s\n")
    assert read.last_part == (7, 1)
    assert read.has(7, 1)
    assert not read.has(7, 2)


def test_a_delta_update_counts_what_it_leaves_out() -> None:
    text = HEAD + b"#EXT-X-SKIP:SKIPPED-SEGMENTS=10\n#EXTINF:2,\nseg-17.m4s\n" + part("18.0")
    assert outline(text).next_part == (18, 1)


def test_nothing_but_whole_files_beside_the_playlist_is_named() -> None:
    text = (
        HEAD
        + part("7.0", ",GAP=YES")
        + part("../../up.m4s")
        + part("http://elsewhere/7.m4s")
        + part("7.3", ',BYTERANGE="10@0"')
        + part(".hidden")
        + part("7.5")
        + b'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="//elsewhere/x"\n'
    )
    read = outline(text)
    assert read.parts == ("7.5",)
    assert read.hint is None
    assert read.next_part == (7, 6)  # they count all the same


@pytest.mark.parametrize(
    "hint",
    [
        b'#EXT-X-PRELOAD-HINT:TYPE=MAP,URI="init"\n',
        b'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="all.mp4",BYTERANGE-START=100\n',
    ],
)
def test_a_hint_of_another_kind_is_none(hint: bytes) -> None:
    assert outline(HEAD + hint).hint is None


def test_the_number_of_parts_is_bounded() -> None:
    read = outline(HEAD + b"".join(part(str(n)) for n in range(MAX_PARTS + 1)))
    assert len(read.parts) == MAX_PARTS
    assert read.parts[-1] == str(MAX_PARTS)
    assert read.next_part == (7, MAX_PARTS + 1)


def test_a_playlist_with_no_part_at_all() -> None:
    read = outline(HEAD + b"#EXTINF:2,\nseg-7.m4s\n")
    assert read.last_part == (7, -1)
    assert not read.has(7, 0)
    assert read.has(7, None)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"not found",
        HEAD.replace(b"#EXTM3U", b"#EXT"),
        HEAD.replace(b"TARGETDURATION", b"TARGET"),
        HEAD.replace(b"DURATION:2", b"DURATION:99999"),
        HEAD.replace(b"DURATION:2", b"DURATION:x"),
        HEAD.replace(b"SEQUENCE:7", b"SEQUENCE:" + b"9" * 19),
        HEAD.replace(b"EXT-X-MAP", b"EXT-X-MIP"),
        b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nsource/playlist.m3u8\n",
    ],
)
def test_what_is_no_media_playlist_has_no_outline(text: bytes) -> None:
    assert read_outline(text) is None
