"""The reader in tests/support catches what it says: one planted fault per rule."""

import re
from pathlib import Path

import pytest
from hls_rules import RULES
from playlist_reader import (
    PlaylistHistory,
    RuleBroken,
    read_media_playlist,
    read_multivariant_playlist,
)

HEADER = """\
#EXTM3U
#EXT-X-VERSION:9
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-TARGETDURATION:1
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,PART-HOLD-BACK=1.500,HOLD-BACK=3
#EXT-X-PART-INF:PART-TARGET=0.500
#EXT-X-MEDIA-SEQUENCE:{sequence}
#EXT-X-DISCONTINUITY-SEQUENCE:0
#EXT-X-MAP:URI="init"
"""


def segment(msn: int, *, parts: bool = True, discontinuity: bool = False) -> str:
    listed = (
        f'#EXT-X-PART:DURATION=0.5,URI="{msn}.0",INDEPENDENT=YES\n'
        f'#EXT-X-PART:DURATION=0.5,URI="{msn}.1"\n'
    )
    return (
        f"{'#EXT-X-DISCONTINUITY' + chr(10) if discontinuity else ''}"
        f"#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:{msn:02}.000Z\n"
        f"{listed if parts else ''}#EXTINF:1.0,\n{msn}.m4s\n"
    )


def hint(msn: int, index: int = 0) -> str:
    return f'#EXT-X-PRELOAD-HINT:TYPE=PART,URI="{msn}.{index}"\n'


def open_segment(msn: int) -> str:
    return (
        f"#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:{msn:02}.000Z\n"
        f'#EXT-X-PART:DURATION=0.5,URI="{msn}.0",INDEPENDENT=YES\n'
    )


def playlist(first: int, last: int) -> str:
    """Complete segments first to last, parts of the newest three."""
    body = "".join(segment(msn, parts=msn > last - 3) for msn in range(first, last + 1))
    return HEADER.format(sequence=first) + body + hint(last + 1)


def roomy(first: int, last: int) -> str:
    """The same with hold-backs that would suit larger targets too."""
    return playlist(first, last).replace("BACK=1.500,HOLD-BACK=3", "BACK=2,HOLD-BACK=9")


GOOD = HEADER.format(sequence=4) + segment(4) + segment(5) + open_segment(6) + hint(6, 1)


def test_a_good_playlist_is_read() -> None:
    read = read_media_playlist(GOOD.encode())
    assert (read.media_sequence, read.last_msn, read.last_part) == (4, 5, (6, 0))
    assert read.hint == "6.1"
    assert read.independent_segments
    assert read.uris == {"init", "4.0", "4.1", "4.m4s", "5.0", "5.1", "5.m4s", "6.0"}
    assert read.part_hold_back_us == 1_500_000


# Segment 5 lacks its second half, segment 6 its first part.
GAPS = (
    GOOD.replace('DURATION=0.5,URI="5.1"', 'DURATION=0.5,URI="5.1",GAP=YES')
    .replace("#EXTINF:1.0,\n5", "#EXT-X-GAP\n#EXTINF:1.0,\n5")
    .replace('URI="6.0",INDEPENDENT=YES', 'URI="6.0",GAP=YES')
)


def test_gaps_are_read_and_are_nothing_to_fetch() -> None:
    read = read_media_playlist(GAPS.encode())
    assert [segment.gap for segment in read.all_segments] == [False, True, False]
    assert [part.gap for part in read.segments[1].parts] == [False, True]
    assert read.uris == {"init", "4.0", "4.1", "4.m4s", "5.0"}
    assert read.last_part == (6, 0)


def test_a_part_before_a_gap_may_be_short() -> None:
    short = GAPS.replace('DURATION=0.5,URI="6.0",GAP=YES', 'DURATION=0.1,URI="6.0",INDEPENDENT=YES')
    listed = short.replace(hint(6, 1), '#EXT-X-PART:DURATION=0.1,URI="6.1"\n{}' + hint(6, 3))
    follower = '#EXT-X-PART:DURATION=0.5,URI="6.2"{}\n'
    read_media_playlist(listed.format(follower.format(",GAP=YES")).encode())
    with pytest.raises(RuleBroken, match="PT-04"):
        read_media_playlist(listed.format(follower.format("")).encode())
    read_media_playlist(listed.format(follower.format("")).encode(), constant_rate=False)


@pytest.mark.parametrize(
    ("rule", "old", "new"),
    [
        ("MP-01", "#EXT-X-GAP\n", "#EXT-X-GAP\n" * 2),
        ("MP-01", "#EXT-X-GAP\n", "#EXT-X-GAP:YES\n"),
        ("EN-04", "#EXT-X-GAP\n", ""),
        ("EN-04", "#EXTINF:1.0,\n4", "#EXT-X-GAP\n#EXTINF:1.0,\n4"),
        ("EN-04", 'URI="5.1",GAP=YES', 'URI="5.1",GAP=NO'),
        ("EN-04", 'URI="5.1",GAP=YES', 'URI="5.1",INDEPENDENT=YES,GAP=YES'),
    ],
)
def test_a_fault_about_gaps_is_named(rule: str, old: str, new: str) -> None:
    assert old in GAPS
    with pytest.raises(RuleBroken) as caught:
        read_media_playlist(GAPS.replace(old, new, 1).encode())
    assert caught.value.rule == rule


def report(uri: str, msn: int, part: int) -> str:
    return f'#EXT-X-RENDITION-REPORT:URI="{uri}",LAST-MSN={msn},LAST-PART={part}\n'


def test_rendition_reports_are_read() -> None:
    read = read_media_playlist((GOOD + report("../720p/playlist.m3u8", 6, 0)).encode())
    assert [(one.uri, one.last_msn, one.last_part) for one in read.reports] == [
        ("../720p/playlist.m3u8", 6, 0)
    ]
    with pytest.raises(RuleBroken, match="RR-02"):
        read_media_playlist((GOOD + '#EXT-X-RENDITION-REPORT:URI="x",LAST-MSN=6\n').encode())


@pytest.mark.parametrize(
    ("rule", "old", "new"),
    [
        ("MP-01", "#EXTM3U\n", ""),
        ("MP-01", "#EXT-X-VERSION:9\n", ""),
        ("MP-01", "#EXT-X-VERSION:9\n", "#EXT-X-VERSION:9\n\n"),
        ("MP-01", "#EXT-X-VERSION:9\n", "#EXT-X-VERSION:9\r\n"),
        ("MP-01", "#EXT-X-TARGETDURATION:1\n", ""),
        ("MP-01", "#EXT-X-TARGETDURATION:1", "#EXT-X-TARGETDURATION:1.0"),
        ("MP-01", "#EXT-X-TARGETDURATION:1\n", "#EXT-X-TARGETDURATION:1\n" * 2),
        ("MP-01", "4.m4s\n", "4.m4s\n#EXT-X-TARGETDURATION:1\n"),
        ("MP-01", '"init"\n', '"init\n'),
        ("MP-01", "#EXTINF:1.0,\n", "#EXTINF:1.0\n"),
        ("MP-01", "#EXT-X-VERSION:9\n", "#EXT-X-VERSION:9\n#EXT-X-KEY:METHOD=NONE\n"),
        ("MP-09", "#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:05.000Z\n", ""),
        ("MP-09", "00:00:05.000Z", "00:00:05Z"),
        ("MP-11", '#EXT-X-MAP:URI="init"\n', ""),
        ("MP-12", "#EXT-X-VERSION:9\n", "#EXT-X-VERSION:9\n#EXT-X-PLAYLIST-TYPE:EVENT\n"),
        ("MP-13", "#EXTINF:1.0,\n5", "#EXTINF:-1.0,\n5"),
        ("MP-17", "#EXTINF:1.0,\n5.m4s\n", "5.m4s\n"),
        ("PT-14", "5.m4s\n", ""),
        ("PH-01", hint(6, 1), ""),
        ("PH-05", "TYPE=PART", "TYPE=MAP"),
        ("PT-01", "#EXT-X-PART-INF:PART-TARGET=0.500\n", ""),
        ("PT-01", "CAN-BLOCK-RELOAD=YES,", ""),
        ("PT-01", "PART-HOLD-BACK=1.500,", ""),
        ("PT-01", ",HOLD-BACK=3", ",HOLD-BACK=2.9"),
        ("PT-02", "PART-HOLD-BACK=1.500", "PART-HOLD-BACK=1.499"),
        ("PT-03", 'DURATION=0.5,URI="6.0"', 'DURATION=0.500001,URI="6.0"'),
        ("PT-04", hint(6, 1), '#EXT-X-PART:DURATION=0.4,URI="6.1"\n' * 2 + hint(6, 2)),
        ("PT-05", 'DURATION=0.5,URI="5.0"', 'DURATION=0.499999,URI="5.0"'),
        ("PT-06", 'URI="5.1"', 'URI="5.1",INDEPENDENT=NO'),
        ("PT-13", 'URI="5.1"', 'URI="5.0"'),
        ("PT-14", "#EXTINF:1.0,\n5", '#EXT-X-MAP:URI="late"\n#EXTINF:1.0,\n5'),
        ("PT-14", "#EXTINF:1.0,\n5", "#EXT-X-DISCONTINUITY\n#EXTINF:1.0,\n5"),
        ("MV-09", 'URI="6.0",INDEPENDENT=YES', 'URI="6.0"'),
        ("PH-07", hint(6, 1), hint(6, 1) + "#EXT-X-ENDLIST\n"),
        ("EN-01", hint(6, 1), "#EXT-X-ENDLIST\n"),
    ],
)
def test_a_fault_in_one_text_is_named(rule: str, old: str, new: str) -> None:
    assert old in GOOD
    with pytest.raises(RuleBroken) as caught:
        read_media_playlist(GOOD.replace(old, new, 1).encode())
    assert caught.value.rule == rule


def test_faults_of_a_whole_text_are_named() -> None:
    header = HEADER.format(sequence=0)
    too_old = header + "".join(segment(msn) for msn in range(5)) + hint(5)
    too_few = header + segment(0, parts=False) + segment(1) + hint(2)
    in_the_middle = header + segment(0) + segment(1, parts=False) + segment(2) + hint(3)
    torn = GOOD.removesuffix("\n")
    too_long = playlist(0, 4).replace("#EXTINF:1.0,\n0", "#EXTINF:1.5,\n0")
    dangling = playlist(0, 4).replace("4.m4s\n", "")
    gap_of_nothing = playlist(0, 4).replace(hint(5), "#EXT-X-GAP\n" + hint(5))
    for rule, text in [
        ("PT-08", too_old),
        ("PT-09", too_few),
        ("PT-08", in_the_middle),
        ("MP-17", torn),
        ("MP-17", dangling),
        ("MP-17", gap_of_nothing),
        ("MP-02", too_long),
    ]:
        with pytest.raises(RuleBroken) as caught:
            read_media_playlist(text.encode())
        assert caught.value.rule == rule


def test_a_good_history_passes() -> None:
    history = PlaylistHistory(every_version=True)
    history.add(playlist(0, 5).encode())
    history.add(playlist(1, 6).encode())
    grown = playlist(1, 6).replace(hint(7), open_segment(7) + hint(7, 1))
    history.add(grown.encode())
    closed = playlist(1, 7)
    history.add(closed.encode())
    ended = closed.replace(hint(8), "#EXT-X-ENDLIST\n")
    history.add(ended.encode())
    history.add(ended.encode())


GAP_TWO = "#EXT-X-GAP\n#EXTINF:1.0,\n2"


@pytest.mark.parametrize(
    ("rule", "first", "second"),
    [
        ("MP-03", roomy(0, 5), roomy(0, 6).replace("TION:1\n", "TION:2\n", 1)),
        ("MP-03", roomy(0, 5), roomy(0, 6).replace("TARGET=0.5", "TARGET=0.51")),
        ("MP-03", playlist(0, 5), playlist(0, 6).replace("BACK=1.500", "BACK=1.6")),
        ("MP-04", playlist(1, 6), playlist(0, 6)),
        ("MP-04", playlist(0, 6), playlist(0, 5).replace(segment(3), segment(3, parts=False))),
        ("MP-05", playlist(0, 5).replace("CE:0\n#EXT-X-MAP", "CE:1\n#EXT-X-MAP"), playlist(6, 11)),
        ("MP-05", playlist(0, 5), playlist(1, 6).replace("CE:0\n#EXT-X-M", "CE:1\n#EXT-X-M")),
        ("MP-06", playlist(0, 5), playlist(1, 6).replace("3.m4s", "three.m4s")),
        ("MP-06", playlist(0, 5), playlist(0, 6).replace("00:03.000", "00:03.001")),
        ("MP-06", playlist(0, 5).replace("#EXT-X-INDEPENDENT-SEGMENTS\n", ""), playlist(0, 6)),
        ("MP-07", playlist(0, 5), playlist(4, 5)),
        ("MP-10", playlist(0, 5), playlist(0, 6).replace("00:06.000", "00:06.500")),
        ("PH-02", playlist(0, 5), playlist(0, 6).replace('"6.0"', '"6.zero"')),
        ("PT-13", playlist(0, 5), playlist(0, 5).replace('"5.1"', '"5.one"')),
        ("EN-06", playlist(0, 5), playlist(0, 6).replace(hint(7), "#EXT-X-ENDLIST\n")),
        (
            "MP-06",
            playlist(0, 5).replace(hint(6), "#EXT-X-ENDLIST\n"),
            playlist(1, 5).replace(hint(6), "#EXT-X-ENDLIST\n"),
        ),
        (
            "PT-13",
            playlist(0, 5).replace(segment(3), segment(3, parts=False)),
            playlist(0, 5),
        ),
        ("MP-06", playlist(0, 5), playlist(0, 6).replace("#EXTINF:1.0,\n2", GAP_TWO)),
    ],
)
def test_a_contradiction_between_two_texts_is_named(rule: str, first: str, second: str) -> None:
    history = PlaylistHistory(every_version=True)
    history.add(first.encode())
    with pytest.raises(RuleBroken) as caught:
        history.add(second.encode())
    assert caught.value.rule == rule


VARIANTS = """\
#EXTM3U
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-STREAM-INF:BANDWIDTH=2000,AVERAGE-BANDWIDTH=1000,CODECS="avc1.64001f,mp4a.40.2",\
RESOLUTION=2x2,FRAME-RATE=30.000
a.m3u8
"""


@pytest.mark.parametrize(
    ("rule", "old", "new"),
    [
        ("MV-01", "#EXTM3U\n", "#EXTM3U \n"),
        ("MV-01", "#EXT-X-INDEPENDENT-SEGMENTS\n", "#EXT-X-INDEPENDENT-SEGMENTS\n" * 2),
        ("MV-01", "#EXT-X-INDEPENDENT-SEGMENTS\n", "#EXT-X-VERSION:x\n"),
        ("MV-02", "BANDWIDTH=2000,", ""),
        ("MV-02", "a.m3u8\n", ""),
        ("MV-02", "a.m3u8\n", "a.m3u8\nb.m3u8\n"),
        ("MV-02", "a.m3u8\n", "a.m3u8\n#EXT-X-TARGETDURATION:1\n"),
        ("MV-03", 'CODECS="avc1.64001f,mp4a.40.2",', ""),
        ("MV-04", "RESOLUTION=2x2,", ""),
        ("MV-05", "30.000", "30"),
        ("MV-07", "AVERAGE-BANDWIDTH=1000", "AVERAGE-BANDWIDTH=2001"),
    ],
)
def test_a_fault_in_a_multivariant_playlist_is_named(rule: str, old: str, new: str) -> None:
    read_multivariant_playlist(VARIANTS.encode())
    assert old in VARIANTS
    with pytest.raises(RuleBroken) as caught:
        read_multivariant_playlist(VARIANTS.replace(old, new, 1).encode())
    assert caught.value.rule == rule


def test_every_rule_that_a_test_names_is_explained_and_no_other() -> None:
    tests = Path(__file__).parent.parent
    # The conformance checker has a table of its own.
    others = ("hls_rules.py", "conformance", "test_conformance.py", "test_edge.py")
    texts = (path.read_text() for path in tests.rglob("*.py") if not set(others) & set(path.parts))
    names = re.compile(r"\b(?:M[PVF]|P[TH]|EN|BR|HT|AL|RR|DU|DR)-\d\d\b")
    named = {name for text in texts for name in names.findall(text)}
    assert named == set(RULES)
