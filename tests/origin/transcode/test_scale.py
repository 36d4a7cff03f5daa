"""Scaling: from which picture, and what becomes of strange ones."""

import av
import numpy as np
import pytest
from transcode_runs import luma_of

from origin.transcode.scale import MAX_SCALERS, Scaler

SIZES = [(160, 90), (320, 180), (240, 134)]


def ramp(width: int, height: int, kind: str = "yuv420p") -> av.VideoFrame:
    """Grey from 40 at the left to 200 at the right."""
    picture = np.tile(np.linspace(40, 200, width).astype(np.uint8), (height, 1))
    frame = av.VideoFrame.from_ndarray(np.stack([picture] * 3, axis=-1), format="rgb24")
    frame = frame if kind == "rgb24" else frame.reformat(format=kind)
    frame.pts = 12345
    return frame


def test_each_rung_gets_its_size_and_the_time() -> None:
    made = Scaler(SIZES).scale(ramp(640, 360), [True, False, True])
    assert made[1] is None
    assert [(m.width, m.height, m.pts, m.format.name) for m in made if m is not None] == [
        (160, 90, 12345, "yuv420p"),
        (240, 134, 12345, "yuv420p"),
    ]


def test_nothing_wanted_costs_nothing() -> None:
    assert Scaler(SIZES).scale(ramp(64, 36), [False] * 3) == [None] * 3


def test_smaller_rung_is_made_from_the_next_larger() -> None:
    """What the chain gives is, byte for byte, what two steps give."""
    frame = ramp(640, 360)
    chained = Scaler(SIZES).scale(frame, [True, True, True])
    large = Scaler([(320, 180)]).scale(frame, [True])[0]
    assert large is not None
    middle = Scaler([(240, 134)]).scale(large, [True])[0]
    assert middle is not None
    small = Scaler([(160, 90)]).scale(middle, [True])[0]
    for made, step in zip(chained, (small, large, middle), strict=True):
        assert made is not None
        assert step is not None
        assert np.array_equal(luma_of(made), luma_of(step))


def test_enlarged_picture_is_nobodys_source() -> None:
    frame = ramp(200, 112)
    made = Scaler([(320, 180), (160, 90)]).scale(frame, [True, True])[1]
    alone = Scaler([(160, 90)]).scale(frame, [True])[0]
    assert made is not None
    assert alone is not None
    assert np.array_equal(luma_of(made), luma_of(alone))


def test_rung_of_the_sources_size_is_the_source() -> None:
    frame = ramp(320, 180)
    made = Scaler(SIZES).scale(frame, [False, True, False])
    assert made[1] is frame


FORMATS = [
    *("yuv420p", "yuvj420p", "yuv422p", "yuvj422p", "yuv444p", "nv12", "gray", "gbrp"),
    *("yuv420p10le", "yuv422p10le", "yuv444p10le", "gray10le"),
]


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("size", [(640, 360), (320, 180), (33, 17)])
def test_every_format_that_a_decoder_gives_becomes_420(kind: str, size: tuple[int, int]) -> None:
    frame = ramp(*size, kind=kind)
    for made in Scaler(SIZES).scale(frame, [True, True, True]):
        assert made is not None
        assert made.format.name in ("yuv420p", "yuvj420p")
        row = luma_of(made)[made.height // 2].astype(int)
        assert 30 < row[0] < 70
        assert 170 < row[-1] < 215
        assert made.colorspace != 0  # no longer RGB


def test_range_and_colours_are_the_sources() -> None:
    frame = ramp(640, 360)
    frame.color_range, frame.colorspace = 2, 1
    frame.color_primaries, frame.color_trc = 9, 16
    for made in Scaler(SIZES).scale(frame, [True, True, True]):
        assert made is not None
        assert (made.color_range, made.colorspace) == (2, 1)
        assert (made.color_primaries, made.color_trc) == (9, 16)
    assert (frame.color_primaries, frame.color_trc) == (9, 16)


def test_scalers_are_kept_and_their_number_is_bounded() -> None:
    scaler = Scaler(SIZES)
    wanted = [True, True, True]
    for _ in range(3):
        scaler.scale(ramp(640, 360), wanted)
    assert len(scaler._scalers) == 3
    for width in range(322, 322 + 4 * MAX_SCALERS, 2):
        scaler.scale(ramp(width, 180), wanted)
        assert len(scaler._scalers) <= MAX_SCALERS
