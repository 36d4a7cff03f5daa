"""The multivariant playlist, as whole strings and as strangers read it."""

import re

import m3u8
import pytest
from playlist_reader import read_multivariant_playlist

from hls import IFrameInfo, VariantInfo, render_multivariant


def variant(**changed: object) -> VariantInfo:
    values: dict[str, object] = {
        "uri": "source/playlist.m3u8",
        "bandwidth_bps": 6_250_000,
        "average_bandwidth_bps": 5_500_000,
        "codecs": ("avc1.640028", "mp4a.40.2"),
        "width": 1920,
        "height": 1080,
        "frame_rate": 30000 / 1001,
        "independent_segments": True,
        **changed,
    }
    return VariantInfo(**values)  # type: ignore[arg-type]


LADDER = """\
#EXTM3U
#EXT-X-INDEPENDENT-SEGMENTS
#EXT-X-STREAM-INF:BANDWIDTH=6250000,AVERAGE-BANDWIDTH=5500000,CODECS="avc1.640028,mp4a.40.2",\
RESOLUTION=1920x1080,FRAME-RATE=29.970
source/playlist.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=2000000,AVERAGE-BANDWIDTH=1800000,CODECS="avc1.640028,mp4a.40.2",\
RESOLUTION=854x480,FRAME-RATE=60.000
480p/playlist.m3u8
"""

AUDIO_ONLY = """\
#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=200000,AVERAGE-BANDWIDTH=180000,CODECS="mp4a.40.2"
source/playlist.m3u8
"""


def test_a_ladder() -> None:
    small = variant(
        uri="480p/playlist.m3u8",
        bandwidth_bps=2_000_000,
        average_bandwidth_bps=1_800_000,
        width=854,
        height=480,
        frame_rate=60.0,
    )
    text = render_multivariant([variant(), small])
    assert text.decode() == LADDER
    assert render_multivariant([variant(), small]) == text
    playlist = read_multivariant_playlist(text)
    assert playlist.independent_segments
    assert [found.uri for found in playlist.variants] == [
        "source/playlist.m3u8",
        "480p/playlist.m3u8",
    ]
    read = m3u8.loads(text.decode())
    assert read.is_variant
    assert read.is_independent_segments
    first = read.playlists[0].stream_info
    assert first.bandwidth == 6_250_000
    assert first.average_bandwidth == 5_500_000
    assert first.codecs == "avc1.640028,mp4a.40.2"
    assert first.resolution == (1920, 1080)
    assert first.frame_rate == pytest.approx(29.970)


def test_audio_only_has_no_picture_attributes() -> None:
    text = render_multivariant(
        [
            variant(
                bandwidth_bps=200_000,
                average_bandwidth_bps=180_000,
                codecs=("mp4a.40.2",),
                width=None,
                height=None,
                frame_rate=None,
                independent_segments=False,
            )
        ]
    )
    assert text.decode() == AUDIO_ONLY
    read_multivariant_playlist(text)


def test_one_dependent_rendition_takes_the_tag_from_all() -> None:
    text = render_multivariant([variant(), variant(independent_segments=False)])
    assert b"INDEPENDENT" not in text


def test_an_unknown_frame_rate_is_left_out() -> None:
    text = render_multivariant([variant(frame_rate=None)])
    assert b"RESOLUTION=1920x1080\n" in text
    read_multivariant_playlist(text)


def test_i_frame_playlists_come_last() -> None:
    """rfc8216bis 4.4.6.3: the attributes of EXT-X-STREAM-INF, less rate and sound, and a URI."""
    iframes = IFrameInfo(
        uri="source/iframes.m3u8",
        bandwidth_bps=250_000,
        average_bandwidth_bps=200_000,
        codecs=("avc1.640028",),
        width=1920,
        height=1080,
    )
    text = render_multivariant([variant()], [iframes])
    assert text.decode().splitlines()[-2:] == [
        "source/playlist.m3u8",
        "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=250000,AVERAGE-BANDWIDTH=200000,"
        'CODECS="avc1.640028",RESOLUTION=1920x1080,URI="source/iframes.m3u8"',
    ]
    assert [found.uri for found in read_multivariant_playlist(text).iframes] == [
        "source/iframes.m3u8"
    ]
    [stranger] = m3u8.loads(text.decode()).iframe_playlists
    assert (stranger.uri, stranger.iframe_stream_info.bandwidth) == ("source/iframes.m3u8", 250_000)


@pytest.mark.parametrize("range_", ["PQ", "HLG"])
def test_video_range_is_said_once_anything_is_not_sdr(range_: str) -> None:
    ladder = [
        variant(video_range=range_),
        variant(uri="720p/playlist.m3u8", video_range="SDR"),
        variant(uri="audio/playlist.m3u8", width=None, height=None, codecs=("mp4a.40.2",)),
    ]
    frames = IFrameInfo(
        uri="source/iframes.m3u8",
        bandwidth_bps=1,
        average_bandwidth_bps=1,
        codecs=("hvc1.2.4.L120.B0",),
        width=1920,
        height=1080,
        video_range=range_,
    )
    lines = [
        line
        for line in render_multivariant(ladder, [frames]).decode().splitlines()
        if line.startswith(("#EXT-X-STREAM-INF", "#EXT-X-I-FRAME-STREAM-INF"))
    ]
    said = [re.findall(r",VIDEO-RANGE=(\w+)", line) for line in lines]
    assert said == [[range_], ["SDR"], [], [range_]]
    playlist = m3u8.loads(render_multivariant(ladder, [frames]).decode())
    assert [found.stream_info.video_range for found in playlist.playlists] == [range_, "SDR", None]


def test_without_hdr_nothing_is_said() -> None:
    assert b"VIDEO-RANGE" not in render_multivariant([variant(video_range="SDR"), variant()])
