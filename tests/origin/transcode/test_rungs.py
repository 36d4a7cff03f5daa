"""The ladder: which rungs a source gets, at which size, rate and bitrate."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.transcode import wire
from origin.transcode.rungs import (
    DEFAULT_LADDER,
    DEFAULT_RUNGS,
    ENCODERS,
    MAX_LADDER,
    Ladder,
    RungError,
    RungOverride,
    RungPlan,
    check_presets,
    configured_rungs,
    default_preset,
    divisor_for,
    faster_preset,
    parse_ladder,
    rungs_for,
    top_rung,
)

LADDER = parse_ladder(DEFAULT_LADDER)


def rungs(width: int, height: int, rate: float = 30.0, ladder: Ladder = LADDER) -> list[RungPlan]:
    return rungs_for(display_width=width, height=height, frame_rate=rate, ladder=ladder)


def top(width: int, height: int, rate: float = 30.0, ladder: Ladder = LADDER) -> RungPlan:
    return top_rung(display_width=width, height=height, frame_rate=rate, ladder=ladder)


def sizes(plans: list[RungPlan]) -> dict[str, tuple[int, int]]:
    return {plan.name: (plan.width, plan.height) for plan in plans}


# -- the ladder


def test_the_default_ladder_is_the_documented_one() -> None:
    assert DEFAULT_LADDER == "1080p,720p,480p,360p"
    assert {rung.name: rung.bitrate_kbps for rung in LADDER.rungs} == {
        "1080p": 5000,
        "720p": 2500,
        "480p": 1000,
        "360p": 500,
    }


def test_none_has_no_rungs_but_knows_them() -> None:
    ladder = parse_ladder("none")
    assert ladder.rungs == ()
    assert [rung.name for rung in ladder.known] == ["1080p", "720p", "480p", "360p"]


@pytest.mark.parametrize("spec", ["360p,720p", "720p,360p", " 720p , 360p "])
def test_rungs_are_named_in_any_order_and_kept_from_high_to_low(spec: str) -> None:
    assert [rung.name for rung in parse_ladder(spec).rungs] == ["720p", "360p"]


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("", "no rung is named ''"),
        ("none,720p", "no rung is named 'none'"),
        ("720P", "no rung is named '720P'"),
        ("720p;480p", "no rung is named '720p;480p'"),
        ("480p,480p", "twice"),
    ],
)
def test_a_ladder_that_cannot_be_says_why(spec: str, reason: str) -> None:
    with pytest.raises(RungError, match=reason):
        parse_ladder(spec)


def test_a_worker_has_room_for_a_ladder_and_the_stand_in() -> None:
    names = [f"r{number}" for number in range(MAX_LADDER + 1)]
    known = configured_rungs(
        [RungOverride(name=name, height=100, bitrate_kbps=100) for name in names]
    )
    assert len(parse_ladder(",".join(names[:-1]), rungs=known).rungs) == wire.MAX_RUNGS - 1
    with pytest.raises(RungError, match=f"at most {MAX_LADDER} rungs"):
        parse_ladder(",".join(names), rungs=known)


def test_an_override_changes_only_what_it_says() -> None:
    (entry,) = (
        rung
        for rung in configured_rungs([RungOverride(name="720p", bitrate_kbps=2000, max_fps=30)])
        if rung.name == "720p"
    )
    assert (entry.height, entry.bitrate_kbps, entry.max_fps, entry.encoder) == (720, 2000, 30, None)


def test_a_rung_of_another_name_may_have_any_height() -> None:
    known = configured_rungs([RungOverride(name="480p60", height=480, bitrate_kbps=1500)])
    assert [rung.name for rung in known] == ["1080p", "720p", "480p60", "480p", "360p"]
    assert known[2].max_fps == 60


def test_presets_belong_to_encoders() -> None:
    known = configured_rungs([RungOverride(name="720p", preset="10", encoder="libsvtav1")])
    check_presets(parse_ladder("720p", rungs=known))
    with pytest.raises(RungError, match="libx264 has no preset '10' \\(rung 360p\\)"):
        check_presets(
            parse_ladder("720p", rungs=configured_rungs([RungOverride(name="360p", preset="10")]))
        )


@pytest.mark.parametrize("encoder", ENCODERS)
def test_every_default_is_a_preset_of_its_encoder(encoder: str) -> None:
    traits = ENCODERS[encoder]
    for preset in (traits.default, traits.default_large):
        assert preset in traits.presets or (preset == "" and not traits.presets)
    assert default_preset(encoder, 720) == traits.default
    assert default_preset(encoder, 722) == traits.default_large


@pytest.mark.parametrize(
    ("encoder", "preset", "faster"),
    [
        ("libx264", "veryfast", "superfast"),
        ("libx264", "ultrafast", None),
        ("libsvtav1", "9", "10"),
        ("h264_nvenc", "p2", "p1"),
        ("h264_qsv", "veryfast", None),
        ("h264_vaapi", "", None),
    ],
)
def test_the_next_faster_preset(encoder: str, preset: str, faster: str | None) -> None:
    assert faster_preset(encoder, preset) == faster


# -- rungs of a source


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (3840, 2160, {"1080p": (1920, 1080), "720p": (1280, 720), "480p": (854, 480)}),
        (1920, 1080, {"720p": (1280, 720), "480p": (854, 480), "360p": (640, 360)}),
        (1922, 1082, {"1080p": (1918, 1080), "720p": (1278, 720)}),
        (1921, 1081, {"720p": (1280, 720)}),  # an even height of it would be 1080 too
        (1280, 720, {"480p": (854, 480), "360p": (640, 360)}),
        (1024, 768, {"720p": (960, 720), "480p": (640, 480), "360p": (480, 360)}),
        (2560, 1080, {"720p": (1706, 720), "480p": (1138, 480), "360p": (854, 360)}),
        (640, 360, {}),
        (320, 180, {}),
    ],
)
def test_only_rungs_below_the_source_are_made(
    width: int, height: int, expected: dict[str, tuple[int, int]]
) -> None:
    made = sizes(rungs(width, height))
    assert {name: made[name] for name in expected} == expected
    assert all(int(name[:-1]) < min(width, height) for name in made)
    assert list(made) == sorted(made, key=lambda name: -int(name[:-1]))
    if not expected:
        assert made == {}


def test_portrait_is_named_by_its_shorter_side() -> None:
    assert sizes(rungs(1080, 1920)) == {
        "720p": (720, 1280),
        "480p": (480, 854),
        "360p": (360, 640),
    }
    assert sizes([top(1080, 1920)]) == {"1080p": (1080, 1920)}


def test_a_square_source_is_taken_as_it_is() -> None:
    assert sizes(rungs(1000, 1000))["720p"] == (720, 720)


def test_only_the_ladder_counts() -> None:
    assert list(sizes(rungs(1920, 1080, ladder=parse_ladder("360p")))) == ["360p"]
    assert rungs(1920, 1080, ladder=parse_ladder("none")) == []


def test_a_picture_wider_than_a_worker_takes_is_not_made() -> None:
    assert list(sizes(rungs(8192, 400))) == ["360p"]
    assert rungs(81920, 400) == []
    stand_in = top(81920, 400)
    assert (stand_in.width, stand_in.height) == (wire.MAX_DIMENSION, 40)


@pytest.mark.parametrize(
    ("rate", "cap", "divisor"),
    [
        (60.0, 30.0, 2),
        (60_000 / 1001, 30.0, 2),
        (50.0, 30.0, 2),
        (48.0, 30.0, 2),
        (31.0, 30.0, 1),
        (30.0, 30.0, 1),
        (33.0, 30.0, 1),
        (33.5, 30.0, 2),
        (24.0, 30.0, 1),
        (90.0, 30.0, 3),
        (120.0, 60.0, 2),
        (144.0, 60.0, 3),
        (1000.0, 1.0, 127),
    ],
)
def test_pictures_are_left_out_to_keep_the_cap(rate: float, cap: float, divisor: int) -> None:
    assert divisor_for(rate, cap) == divisor


def test_rungs_halve_a_fast_source_where_their_cap_says_so() -> None:
    assert {plan.name: plan.divisor for plan in rungs(1920, 1080, 60)} == {
        "720p": 1,
        "480p": 2,
        "360p": 2,
    }
    assert {plan.divisor for plan in rungs(1920, 1080, 30)} == {1}
    assert {plan.frame_rate for plan in rungs(1920, 1080, 60)} == {60}


def test_presets_and_encoders_of_a_plan() -> None:
    known = configured_rungs(
        [
            RungOverride(name="720p", preset="medium"),
            RungOverride(name="480p", encoder="libsvtav1"),
        ]
    )
    plans = rungs(3840, 2160, ladder=parse_ladder(DEFAULT_LADDER, rungs=known))
    assert [(plan.name, plan.encoder, plan.preset, plan.faster_preset) for plan in plans] == [
        ("1080p", "libx264", "superfast", "ultrafast"),
        ("720p", "libx264", "medium", None),
        ("480p", "libsvtav1", "10", "11"),
        ("360p", "libx264", "veryfast", "superfast"),
    ]


def test_auto_is_the_fallback_until_it_is_known() -> None:
    known = configured_rungs([RungOverride(name="720p", preset="medium")])
    ladder = parse_ladder("720p", rungs=known, encoder="auto")
    assert ladder.needs_auto
    assert [(plan.encoder, plan.preset) for plan in rungs(1920, 1080, ladder=ladder)] == [
        ("libx264", "medium")
    ]
    # Another family has no such preset: its default serves.
    known_now = ladder.with_encoder("h264_nvenc")
    assert not known_now.needs_auto
    assert [(plan.encoder, plan.preset) for plan in rungs(1920, 1080, ladder=known_now)] == [
        ("h264_nvenc", "p4")
    ]


# -- the stand-in


@pytest.mark.parametrize(
    ("width", "height", "name", "kbps"),
    [
        (1920, 1080, "1080p", 5000),
        (1280, 720, "720p", 2500),
        (1600, 900, "900p", 3625),
        (854, 480, "480p", 1000),
        (426, 240, "240p", 222),
        (64, 64, "64p", 100),
        (2560, 1440, "1440p", 7698),
        (3840, 2160, "2160p", 14142),
        (1921, 1081, "1080p", 5000),
        (1440, 1080, "1080p", 5000),  # fewer pixels, but so has 1080p of this shape
    ],
)
def test_the_stand_in_has_the_sources_size_and_a_fitting_bitrate(
    width: int, height: int, name: str, kbps: int
) -> None:
    plan = top(width, height)
    assert plan.name == name
    assert (plan.width, plan.height) == (width // 2 * 2, height // 2 * 2)
    assert plan.bitrate_bps == kbps * 1000
    assert plan.divisor == 1


def test_the_stand_in_needs_no_rung_of_its_size_in_the_ladder() -> None:
    assert top(1920, 1080, ladder=parse_ladder("360p")).bitrate_bps == 5_000_000


def test_more_pictures_than_its_neighbours_have_take_more_bits() -> None:
    assert top(1920, 1080, 60).bitrate_bps == 5_000_000
    assert top(854, 480, 30).bitrate_bps == 1_000_000
    assert top(854, 480, 60).bitrate_bps == pytest.approx(1_500_000, rel=0.01)
    assert top(854, 480, 120).divisor == 2  # no rung has more than 60


def test_the_stand_in_takes_after_the_next_larger_rung() -> None:
    known = configured_rungs(
        [
            RungOverride(name="1080p", encoder="libx265"),
            RungOverride(name="720p", preset="faster"),
        ]
    )
    ladder = parse_ladder("360p", rungs=known)
    assert [
        (plan.encoder, plan.preset)
        for plan in (top(3840, 2160, ladder=ladder), top(1600, 900, ladder=ladder))
    ] == [("libx265", "ultrafast")] * 2
    assert (top(1280, 720, ladder=ladder).encoder, top(1280, 720, ladder=ladder).preset) == (
        "libx264",
        "faster",
    )


# -- whatever comes

dimensions = st.integers(1, 40_000)
rates = st.floats(1, 1000)


@given(width=dimensions, height=dimensions, rate=rates)
def test_any_source_gives_plans_that_a_worker_takes(width: int, height: int, rate: float) -> None:
    plans = rungs(width, height, rate)
    stand_in = top(width, height, rate)
    assert stand_in.name not in {plan.name for plan in plans}
    for plan in (stand_in, *plans):
        setup = wire.Setup(rungs=(as_setup(plan),), decoder_threads=1)
        (message,) = wire.ToWorkerReader().feed(wire.GREETING + wire.encode(setup))
        assert message == setup
        assert 2 * plan.divisor <= 255
    for plan in plans:
        assert plan.width * plan.height <= width * height
        assert plan.frame_rate / plan.divisor <= 60 * 1.1


def as_setup(plan: RungPlan) -> wire.RungSetup:
    fields: dict[str, Any] = {
        name: getattr(plan, name) for name in wire.RungSetup.__struct_fields__
    }
    return wire.RungSetup(**fields)


def test_the_defaults_are_frozen() -> None:
    with pytest.raises(AttributeError):
        DEFAULT_RUNGS[0].height = 1  # type: ignore[misc]
