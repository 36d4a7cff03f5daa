"""VP9: the record, the size in a keyframe, and which frame is one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from video_records import vp9_keyframe, vp9_record

from hls.colour import Colour
from hls.errors import MediaError
from hls.picture import MAX_RECORD_BYTES
from hls.vp9 import Vp9Config, scan_frame


@pytest.mark.parametrize("box_head", [True, False])
def test_a_record_and_a_keyframe(box_head: bool) -> None:
    record = vp9_record(box_head=box_head)
    config = Vp9Config.parse(record)
    assert config.FOURCC == b"vp09"
    assert (config.width, config.height, config.colour) == (0, 0, None)
    assert config.codec_string == "vp09.00.31.08"
    assert config.record == record
    assert config.specific == vp9_record()
    sized = config.sized(vp9_keyframe())
    assert (sized.width, sized.height, sized.display_width) == (1280, 720, 1280)
    assert sized.codec_string == config.codec_string
    assert sized.sized(memoryview(vp9_keyframe())) is sized
    assert sized.sized(vp9_keyframe(width=640, height=360)) != sized


@pytest.mark.parametrize(
    ("fields", "text", "colour"),
    [
        ({"colour": (1, 1, 1)}, "vp09.00.31.08", Colour(primaries=1, transfer=1, matrix=1)),
        (
            {"profile": 2, "bit_depth": 10, "colour": (9, 16, 9)},
            "vp09.02.31.10.01.09.16.09.00",
            Colour(primaries=9, transfer=16, matrix=9),
        ),
        ({"full_range": 1}, "vp09.00.31.08.01.01.01.01.01", Colour(full_range=True)),
        ({"profile": 1, "chroma": 3}, "vp09.01.31.08.03.01.01.01.00", None),
        (
            {"profile": 3, "bit_depth": 12, "chroma": 2, "colour": (9, 18, 9)},
            "vp09.03.31.12.02.09.18.09.00",
            Colour(primaries=9, transfer=18, matrix=9),
        ),
    ],
)
def test_codec_strings(fields: dict[str, int], text: str, colour: Colour | None) -> None:
    config = Vp9Config.parse(vp9_record(**fields))  # type: ignore[arg-type]
    assert (config.codec_string, config.colour) == (text, colour)


@pytest.mark.parametrize(
    ("size", "level"),
    [
        ((256, 144), 10), ((320, 180), 11), ((480, 256), 20), ((640, 360), 21), ((854, 480), 30),
        ((1280, 720), 31), ((1920, 1080), 40), ((3840, 2160), 50), ((7680, 4320), 60),
    ],
)  # fmt: skip
def test_a_level_that_the_record_does_not_say(size: tuple[int, int], level: int) -> None:
    config = Vp9Config.parse(vp9_record(level=0, full_range=1))
    sized = config.sized(vp9_keyframe(width=size[0], height=size[1]))
    assert sized.codec_string == f"vp09.00.{level}.08.01.01.01.01.01"


@pytest.mark.parametrize("profile", range(4))
@pytest.mark.parametrize("rgb", [False, True])
def test_where_the_size_stands(profile: int, rgb: bool) -> None:
    frame = vp9_keyframe(profile=profile, rgb=rgb, width=1919, height=1)
    sized = Vp9Config.parse(vp9_record()).sized(frame)
    assert (sized.width, sized.height) == (1919, 1)


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (b"", "truncated"),
        (vp9_record()[:-1], "truncated"),
        (vp9_record(profile=4), "profile 4 and 8 bits"),
        (vp9_record(bit_depth=9), "profile 0 and 9 bits"),
        (vp9_record(level=32), "level 32"),
        (bytes(MAX_RECORD_BYTES + 1), f"{MAX_RECORD_BYTES + 1} bytes"),
    ],
)
def test_records_that_are_refused(record: bytes, reason: str) -> None:
    with pytest.raises(MediaError, match=reason):
        Vp9Config.parse(record)


@pytest.mark.parametrize(
    ("frame", "reason"),
    [
        (b"", "needs a keyframe"),
        (vp9_keyframe(inter=True), "needs a keyframe"),
        (vp9_keyframe(sync_code=0x498343), "sync code"),
        (vp9_keyframe(width=16_385), "16385 by 720"),
        (vp9_keyframe()[:6], "truncated"),
    ],
)
def test_frames_without_a_size(frame: bytes, reason: str) -> None:
    with pytest.raises(MediaError, match=reason):
        Vp9Config.parse(vp9_record()).sized(frame)


@pytest.mark.parametrize("profile", range(4))
def test_which_frame_is_a_keyframe(profile: int) -> None:
    assert scan_frame(vp9_keyframe(profile=profile)) == (True, True)
    assert scan_frame(vp9_keyframe(profile=profile, inter=True)) == (True, False)
    assert scan_frame(vp9_keyframe(profile=profile, shows_existing=True)) == (True, False)
    assert scan_frame(memoryview(b"")) == (False, False)


def test_what_is_no_frame() -> None:
    for first in (0x00, 0x40, 0xC0):
        with pytest.raises(MediaError, match="marker"):
            scan_frame(bytes((first, 0)))


@given(st.binary(max_size=40), st.binary(max_size=40))
def test_whatever_the_bytes(record: bytes, frame: bytes) -> None:
    try:
        config = Vp9Config.parse(record)
        config = config.sized(frame)
    except MediaError:
        return
    assert config.width
    assert config.height
