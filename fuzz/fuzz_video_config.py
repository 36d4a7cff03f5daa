"""Decoder configuration records: any bytes give a configuration or `MediaError`.

Further invariants: the record is kept as it is; a picture has pixels and at most `MAX_DIMENSION` a
side; the codec string is printable ASCII that begins with the sample entry's name; the init segment
for it holds the record.

Input: byte 0 modulo 4 is the codec (H.264, H.265, AV1, VP9), the rest the record; for VP9, whose
record says no size, byte 1 is the record's length, and a keyframe follows it.
"""

from hls import MediaError
from hls.init_segment import build_init_segment
from hls.picture import MAX_DIMENSION
from hls.video import parse_video_config, with_size

FOURCCS = (b"avc1", b"hvc1", b"av01", b"vp09")


def test_one_input(data: bytes) -> None:
    if not data:
        return
    fourcc, record, keyframe = FOURCCS[data[0] % len(FOURCCS)], data[1:], b""
    if fourcc == b"vp09":
        size = record[0] if record else 0
        record, keyframe = record[1 : 1 + size], record[1 + size :]
    try:
        config = with_size(parse_video_config(fourcc, record), keyframe)
    except MediaError:
        return
    assert config.record == record
    assert 0 < config.width <= MAX_DIMENSION
    assert 0 < config.height <= MAX_DIMENSION
    assert 0 < config.display_width <= 16 * MAX_DIMENSION
    assert config.frame_rate is None or 1 <= config.frame_rate <= 1000
    assert config.codec_string.isascii()
    assert config.codec_string.isprintable()
    assert config.codec_string.startswith(fourcc.decode())
    assert record in build_init_segment(config, None)
