"""The playlist of a transport stream rendition: text by text, and a stranger's reading."""

from datetime import UTC, datetime

import m3u8
import pytest

from hls import Part, VariantInfo
from hls.segment import Segment
from hls.ts_playlist import render_ts_playlist, ts_segment_lines, ts_variant

STARTED_AT_NS = 1_700_000_000_000_000_000


def segment(msn: int = 0, *, discontinuity: bool = False, gap: bool = False) -> Segment:
    part = Part(
        msn=msn,
        index=0,
        duration_s=2.0000125,
        independent=True,
        data=b"" if gap else b"media",
        init_index=0,
        discontinuity=discontinuity,
        media_time_s=2.0 * msn,
        gap=gap,
    )
    made = Segment.begin(
        part,
        name=f"seg-t-{msn}.m4s",
        map_uri="init-t-0.mp4",
        brings_map=msn == 0,
        discontinuity=discontinuity,
        started_at_ns=STARTED_AT_NS,
    )
    made.add(part, f"part-t-{msn}.0.m4s")
    made.end()
    return made


DATE = b"#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:20.000Z\n"
REST = b"#EXTINF:2.000013,\nseg-t-0.ts\n"


@pytest.mark.parametrize(
    ("discontinuity", "is_gap", "cannot", "expected"),
    [
        (False, False, False, DATE + REST),
        (True, False, False, b"#EXT-X-DISCONTINUITY\n" + DATE + REST),
        (False, True, False, DATE + b"#EXT-X-GAP\n" + REST),
        (False, False, True, DATE + b"#EXT-X-GAP\n" + REST),
    ],
)
def test_lines_of_a_segment(
    discontinuity: bool, is_gap: bool, cannot: bool, expected: bytes
) -> None:
    """The first one brings an EXT-X-MAP in the fMP4 playlist, and none here."""
    listed = segment(discontinuity=discontinuity, gap=is_gap)
    assert ts_segment_lines(listed, uri="seg-t-0.ts", gap=cannot) == expected


def playlist(*, independent: bool = True, ended: bool = False) -> bytes:
    return render_ts_playlist(
        [ts_segment_lines(segment(msn), uri=f"seg-t-{msn}.ts", gap=False) for msn in (7, 8)],
        target_duration_s=2,
        media_sequence=7,
        discontinuity_sequence=3,
        independent_segments=independent,
        ended=ended,
    )


def test_the_whole_text() -> None:
    assert playlist(ended=True) == (
        b"#EXTM3U\n"
        b"#EXT-X-VERSION:3\n"
        b"#EXT-X-INDEPENDENT-SEGMENTS\n"
        b"#EXT-X-TARGETDURATION:2\n"
        b"#EXT-X-MEDIA-SEQUENCE:7\n"
        b"#EXT-X-DISCONTINUITY-SEQUENCE:3\n"
        b"#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:34.000Z\n#EXTINF:2.000013,\nseg-t-7.ts\n"
        b"#EXT-X-PROGRAM-DATE-TIME:2023-11-14T22:13:36.000Z\n#EXTINF:2.000013,\nseg-t-8.ts\n"
        b"#EXT-X-ENDLIST\n"
    )


def test_without_what_is_not_true() -> None:
    assert b"INDEPENDENT" not in playlist(independent=False)
    assert b"ENDLIST" not in playlist()


def test_a_stranger_reads_it() -> None:
    read = m3u8.loads(playlist().decode())
    assert (read.version, read.target_duration, read.media_sequence) == (3, 2, 7)
    assert not read.is_endlist
    assert [each.uri for each in read.segments] == ["seg-t-7.ts", "seg-t-8.ts"]
    assert read.segments[0].program_date_time == datetime(2023, 11, 14, 22, 13, 34, tzinfo=UTC)
    assert read.segment_map == []
    assert read.part_inf == {}


def variant(**changed: object) -> VariantInfo:
    values: dict[str, object] = {
        "uri": "source/playlist.m3u8",
        "bandwidth_bps": 6_000_000,
        "average_bandwidth_bps": 5_000_000,
        "codecs": ("avc1.64001f", "mp4a.40.2"),
        "width": 1280,
        "height": 720,
        "frame_rate": 30.0,
        "independent_segments": True,
        **changed,
    }
    return VariantInfo(**values)  # type: ignore[arg-type]


def test_a_variant_is_the_same_but_for_its_bit_rates() -> None:
    """184 bytes of 188 are payload; at 30 pictures a second there are 50 units of 216 bytes at
    most, 5888 of rounding up, 368 of tables and 700 of ADTS headers: 142 kbit/s."""
    overhead = 8 * (50 * 216 + 5888 + 368 + 700)
    assert ts_variant(variant(), "source/ts.m3u8") == variant(
        uri="source/ts.m3u8",
        bandwidth_bps=-(-(6_000_000 + overhead) * 188 // 184),
        average_bandwidth_bps=-(-(5_000_000 + overhead // 2) * 188 // 184),
    )


def test_a_variant_without_pictures_has_less_of_them() -> None:
    alone = ts_variant(variant(frame_rate=None), "")
    assert alone.bandwidth_bps < ts_variant(variant(frame_rate=0.5), "").bandwidth_bps
