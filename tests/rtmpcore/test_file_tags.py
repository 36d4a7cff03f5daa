"""FLV files as bytes, after annex E of FLV 10.1."""

import pytest

from rtmpcore import AudioMessage, LocalProtocolError, Metadata, VideoMessage
from rtmpcore.flv_file import MAX_TAG_BYTES, file_header, file_tag

Message = VideoMessage | AudioMessage | Metadata


@pytest.mark.parametrize(
    ("has_video", "has_audio", "flags"),
    [(True, True, 5), (True, False, 1), (False, True, 4), (False, False, 0)],
)
def test_the_header_says_which_tracks_come(has_video: bool, has_audio: bool, flags: int) -> None:
    expected = b"FLV\x01" + bytes([flags]) + b"\0\0\0\x09" + b"\0\0\0\0"
    assert file_header(has_video=has_video, has_audio=has_audio) == expected


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        (
            VideoMessage(stream_id=7, timestamp_ms=0x01020304, payload=b"\x17\x01"),
            b"\x09" + b"\0\0\x02" + b"\x02\x03\x04\x01" + b"\0\0\0" + b"\x17\x01" + b"\0\0\0\x0d",
        ),
        (
            AudioMessage(stream_id=1, timestamp_ms=0xFFFFFFFF, payload=b""),
            b"\x08" + b"\0\0\0" + b"\xff\xff\xff\xff" + b"\0\0\0" + b"\0\0\0\x0b",
        ),
        (
            Metadata(stream_id=1, timestamp_ms=5, values={"w": 1.0}),
            b"\x12" + b"\0\0\x21" + b"\0\0\x05\0" + b"\0\0\0"
            b"\x02\0\x0aonMetaData" + b"\x08\0\0\0\x01" + b"\0\x01w\0\x3f\xf0" + bytes(6)
            + b"\0\0\x09" + b"\0\0\0\x2c",
        ),
    ],
)  # fmt: skip
def test_a_message_is_a_tag(message: Message, expected: bytes) -> None:
    assert file_tag(message) == expected


def test_the_longest_body_fits_and_no_longer_one() -> None:
    longest = VideoMessage(stream_id=1, timestamp_ms=0, payload=bytes(MAX_TAG_BYTES))
    assert file_tag(longest)[1:4] == b"\xff\xff\xff"
    longer = VideoMessage(stream_id=1, timestamp_ms=0, payload=bytes(MAX_TAG_BYTES + 1))
    with pytest.raises(LocalProtocolError, match="does not fit an FLV tag"):
        file_tag(longer)
