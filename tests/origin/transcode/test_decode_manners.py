"""What publishers put between pictures: padding of nothing, and parameter sets that are wrong."""

import pytest
from hostile_media import huge_sps
from hypothesis import given
from hypothesis import strategies as st
from media_clips import ClipSpec, make_clip
from media_samples import PPS
from transcode_runs import Source, load_source, pictures_of, rung, setup_of

from origin.transcode.decode import VideoDecoder, without_empty_units
from origin.transcode.intake import Intake

EMPTY = bytes(4)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Thirty pictures, a keyframe every ten."""
    spec = ClipSpec(name="manners", channels=0, duration_s=1, keyint_s=1 / 3)
    return load_source(make_clip(spec, tmp_path_factory.mktemp("clips")).path)


@given(st.lists(st.binary(max_size=9), max_size=8), st.sampled_from([1, 2, 4]))
def test_only_empty_units_go(units: list[bytes], length_size: int) -> None:
    def sample(of: list[bytes]) -> bytes:
        return b"".join(len(unit).to_bytes(length_size, "big") + unit for unit in of)

    assert without_empty_units(sample(units), length_size) == sample(list(filter(None, units)))


@pytest.mark.parametrize("data", [b"", b"\0\0", b"\0\0\0\5ab", EMPTY + b"\xff" * 5])
def test_lengths_that_make_no_sense_leave_the_rest_as_it_is(data: bytes) -> None:
    assert without_empty_units(data, 4) == data.removeprefix(EMPTY)


def test_padding_is_no_reason_to_refuse_a_picture(source: Source) -> None:
    decoder = VideoDecoder(source.config, 1)
    shown = [
        frame.pts
        for picture in source.pictures
        for frame in decoder.decode(EMPTY + picture.data + EMPTY, picture.pts_ticks)
    ]
    assert shown == source.shown
    assert decoder.errors == 0


def test_a_poisoned_parameter_set_spoils_no_more_than_its_segment(source: Source) -> None:
    """A sample with the parameter sets of other pictures: those it has are decoded by them."""
    pictures = pictures_of(source, segments=[0, 10, 20])
    poison = b"".join(len(unit).to_bytes(4, "big") + unit for unit in (huge_sps(), PPS))
    pictures[10] = pictures[10]._replace(data=poison + pictures[10].data)
    intake = Intake(setup_of(rung("45p", width=80, height=46)))
    rows = intake.take([source.config, *pictures]) + intake.finish()
    came = [row[0].frame is not None for row in rows]
    assert came[:10] == [True] * 10
    assert came[20:] == [True] * 10
    assert not any(came[10:20]), "the poison did nothing"
