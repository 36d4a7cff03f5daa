"""Settings of the segmenter: each has a range, and some depend on others."""

from dataclasses import fields

import pytest

from hls import SegmenterSettings, UsageError


@pytest.mark.parametrize("name", [field.name for field in fields(SegmenterSettings)])
def test_every_setting_is_positive(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name} must be positive"):
        SegmenterSettings(**{name: 0})


@pytest.mark.parametrize(
    "values", [{"part_target_s": 2.1}, {"segment_target_s": 13.0}, {"max_gop_s": 1.0}]
)
def test_parts_are_in_segments_and_segments_hold_gops(values: dict[str, float]) -> None:
    with pytest.raises(UsageError, match="part_target_s <= segment_target_s <= max_gop_s"):
        SegmenterSettings(**values)  # type: ignore[arg-type]


def test_a_probe_is_a_segment() -> None:
    with pytest.raises(UsageError, match="max_probe_bytes <= max_segment_bytes"):
        SegmenterSettings(max_segment_bytes=1_000_000)


def test_parts_have_a_least_length() -> None:
    with pytest.raises(UsageError, match="at least 20 ms"):
        SegmenterSettings(part_target_s=0.01)


def test_the_longest_probe_can_tell_that_a_gop_is_too_long() -> None:
    assert SegmenterSettings(free_cut_gop_s=11.9).free_cut_gop_s == 11.9
    with pytest.raises(UsageError, match="free_cut_gop_s < max_gop_s"):
        SegmenterSettings(free_cut_gop_s=12.0)
