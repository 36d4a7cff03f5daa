"""One door to the three codecs."""

import pytest
from media_samples import avc_record
from video_records import av1_record, hevc_record

from hls.av1 import Av1Config
from hls.errors import MediaError
from hls.h264 import AvcConfig
from hls.hevc import HevcConfig
from hls.video import VideoConfig, parse_video_config


@pytest.mark.parametrize(
    ("fourcc", "record", "kind"),
    [
        (b"avc1", avc_record(), AvcConfig),
        (b"hvc1", hevc_record(), HevcConfig),
        (b"av01", av1_record(), Av1Config),
    ],
)
def test_each_codec(fourcc: bytes, record: bytes, kind: type[VideoConfig]) -> None:
    config = parse_video_config(fourcc, record)
    assert type(config) is kind
    assert config == kind.parse(record)
    assert fourcc == config.FOURCC
    assert config.codec_string.startswith(fourcc.decode())
    assert (config.width, config.height, config.record) == (1280, 720, record)


@pytest.mark.parametrize("fourcc", [b"", b"hev1", b"avc3", b"vp09", b"AVC1"])
def test_other_codecs(fourcc: bytes) -> None:
    with pytest.raises(MediaError, match="is not supported"):
        parse_video_config(fourcc, avc_record())


@pytest.mark.parametrize("fourcc", [b"avc1", b"hvc1", b"av01"])
def test_a_record_of_another_codec(fourcc: bytes) -> None:
    for other, record in (
        (b"avc1", avc_record()),
        (b"hvc1", hevc_record()),
        (b"av01", av1_record()),
    ):
        if other != fourcc:
            with pytest.raises(MediaError):
                parse_video_config(fourcc, record)
