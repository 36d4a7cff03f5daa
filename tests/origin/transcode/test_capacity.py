"""Admission: what fits is booked from the lowest rung up, the rest is left out with a reason."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from origin.transcode.capacity import (
    ESTIMATE,
    PICTURE_S,
    Capacity,
    Costs,
    EncodeCost,
    SourceLoad,
)
from origin.transcode.rungs import (
    DEFAULT_LADDER,
    ENCODERS,
    HARDWARE,
    Ladder,
    RungOverride,
    RungPlan,
    configured_rungs,
    parse_ladder,
    rungs_for,
)

LADDER = parse_ladder(DEFAULT_LADDER)
FULL_HD = SourceLoad(1920, 1080, 30.0)
FULL_HD60 = SourceLoad(1920, 1080, 60.0)

#: As measured on the machine that this was written on, in round numbers.
COSTS = Costs(
    decode_s=0.005,
    scale_s=0.001,
    encode=(
        EncodeCost("libx264", "veryfast", 0.020),
        EncodeCost("libx264", "superfast", 0.012),
        EncodeCost("libx264", "ultrafast", 0.007),
        EncodeCost("h264_nvenc", "p4", 0.001, 0.004),
    ),
)


def plans(source: SourceLoad, ladder: Ladder = LADDER) -> list[RungPlan]:
    return rungs_for(
        display_width=source.width,
        height=source.height,
        frame_rate=source.frame_rate,
        ladder=ladder,
    )


def names(taken: tuple[RungPlan, ...]) -> list[str]:
    return [plan.name for plan in taken]


def test_a_large_machine_takes_all_as_wanted() -> None:
    capacity = Capacity(16, COSTS)
    wanted = plans(FULL_HD)
    admission = capacity.admit("a", FULL_HD, wanted)
    assert list(admission.taken) == wanted
    assert admission.left_out == ()
    assert capacity.booked_cores == pytest.approx(admission.cores)


def test_cores_are_pictures_times_megapixels_times_costs() -> None:
    source, ladder = SourceLoad(1280, 720, 25.0), parse_ladder("480p,360p")
    admission = Capacity(16, COSTS).admit("a", source, plans(source, ladder))
    large, middle, small = 1280 * 720 / 1e6, 854 * 480 / 1e6, 640 * 360 / 1e6
    decode = 25 * large * 0.005
    scale = 25 * (large + middle) * 0.001  # each from the next larger one
    encode = 25 * (middle + small) * 0.020
    assert admission.cores == pytest.approx(decode + scale + encode + 3 * 25 * PICTURE_S)


def test_a_picture_of_the_sources_size_is_not_scaled() -> None:
    (plan,) = plans(FULL_HD, parse_ladder("720p"))
    same = replace(plan, width=1920, height=1080)
    free = Costs(decode_s=0.0, scale_s=1.0, encode=(EncodeCost("libx264", "veryfast", 0.0),))
    cores = Capacity(1000, free).admit("a", FULL_HD, [same]).cores
    assert cores == pytest.approx(2 * 30 * PICTURE_S)
    assert Capacity(1000, free).admit("a", FULL_HD, [plan]).cores > 30


def test_the_lowest_rungs_are_taken_first_and_the_reason_is_for_people() -> None:
    capacity = Capacity(1.0, COSTS, reserve=0.0)
    admission = capacity.admit("a", FULL_HD, plans(FULL_HD))
    assert names(admission.taken) == ["480p", "360p"]
    assert [(left.name, left.reason) for left in admission.left_out] == [
        ("720p", "720p left out: needs 0.4 of a core, 0.1 left")
    ]


def test_nothing_fits_on_a_machine_that_cannot_even_decode() -> None:
    capacity = Capacity(0.3, COSTS)
    admission = capacity.admit("a", FULL_HD, plans(FULL_HD))
    assert admission.taken == ()
    assert admission.cores == 0.0
    assert [left.reason for left in admission.left_out] == [
        "720p left out: needs 0.8 of a core with decoding, 0.2 left",
        "480p left out: needs 0.6 of a core with decoding, 0.2 left",
        "360p left out: needs 0.6 of a core with decoding, 0.2 left",
    ]
    assert capacity.booked_cores == 0.0


def test_more_than_a_core_is_said_in_cores() -> None:
    source = SourceLoad(7680, 4320, 60.0)
    (left,) = Capacity(0.0, COSTS).admit("a", source, plans(source, parse_ladder("360p"))).left_out
    assert left.reason == "360p left out: needs 11.2 cores with decoding, 0.0 left"


def test_the_reserve_is_never_booked() -> None:
    assert Capacity(2, COSTS).bookable_cores == pytest.approx(1.64)
    assert Capacity(2, COSTS, reserve=0.0).bookable_cores == 2


def test_the_tallest_go_to_a_faster_preset_before_one_is_left_out() -> None:
    admission = Capacity(1.3, COSTS, reserve=0.0).admit("a", FULL_HD, plans(FULL_HD))
    assert [(plan.name, plan.preset) for plan in admission.taken] == [
        ("720p", "superfast"),
        ("480p", "veryfast"),
        ("360p", "veryfast"),
    ]
    assert admission.left_out == ()


def test_a_preset_that_somebody_chose_is_kept() -> None:
    known = configured_rungs([RungOverride(name="720p", preset="veryfast")])
    wanted = plans(FULL_HD, parse_ladder("720p", rungs=known))
    assert Capacity(1.0, COSTS, reserve=0.0).admit("a", FULL_HD, wanted).taken == tuple(wanted)
    assert Capacity(0.8, COSTS, reserve=0.0).admit("a", FULL_HD, wanted).taken == ()


def test_half_of_the_pictures_are_better_than_none() -> None:
    wanted = plans(FULL_HD60)
    admission = Capacity(1.64, COSTS, reserve=0.0).admit("a", FULL_HD60, wanted)
    assert [(plan.name, plan.divisor) for plan in admission.taken] == [
        ("720p", 2),
        ("480p", 2),
        ("360p", 2),
    ]
    assert admission.left_out == ()


def test_nobody_is_shown_fifteen_pictures_a_second() -> None:
    admission = Capacity(0.62, COSTS, reserve=0.0).admit("a", FULL_HD, plans(FULL_HD))
    assert [(plan.name, plan.divisor) for plan in admission.taken] == [("360p", 1)]


def test_a_cheap_tall_rung_is_taken_where_a_dear_one_below_is_not() -> None:
    known = configured_rungs(
        [RungOverride(name="720p", encoder="h264_nvenc"), RungOverride(name="480p", preset="slow")]
    )
    ladder = parse_ladder("720p,480p,360p", rungs=known)
    admission = Capacity(1.0, COSTS, reserve=0.0).admit("a", FULL_HD, plans(FULL_HD, ladder))
    assert names(admission.taken) == ["720p", "360p"]
    assert names(tuple(plans(FULL_HD, ladder)))[1] == admission.left_out[0].name


def test_broadcasts_share_the_machine_and_give_back() -> None:
    capacity = Capacity(2.0, COSTS)
    first = capacity.admit("a", FULL_HD, plans(FULL_HD))
    second = capacity.admit("b", FULL_HD, plans(FULL_HD))
    assert names(first.taken) == ["720p", "480p", "360p"]
    assert names(second.taken) == []
    assert capacity.booked_cores <= capacity.bookable_cores
    capacity.release("a")
    capacity.release("a")
    assert capacity.booked_cores == 0
    assert names(capacity.admit("b", FULL_HD, plans(FULL_HD)).taken) == ["720p", "480p", "360p"]


def test_whoever_asks_again_gives_back_first() -> None:
    capacity = Capacity(2.0, COSTS)
    for _ in range(3):
        assert names(capacity.admit("a", FULL_HD, plans(FULL_HD)).taken) == ["720p", "480p", "360p"]
    assert names(capacity.admit("a", FULL_HD, []).taken) == []
    assert capacity.booked_cores == 0


def test_what_runs_is_booked_even_if_it_does_not_fit() -> None:
    capacity = Capacity(1.0, COSTS)
    capacity.admit("a", FULL_HD, plans(FULL_HD, parse_ladder("360p")))
    capacity.book("a", FULL_HD, plans(FULL_HD))
    assert capacity.booked_cores > capacity.bookable_cores
    capacity.release("a")
    assert capacity.booked_cores == 0


def test_what_is_admitted_stays_at_its_new_price() -> None:
    capacity = Capacity(2.0, COSTS)
    capacity.admit("a", FULL_HD, plans(FULL_HD))
    capacity.recalibrate(Costs(decode_s=0.05, scale_s=0.01))
    assert capacity.booked_cores > capacity.bookable_cores
    (left,) = capacity.admit("b", FULL_HD, plans(FULL_HD, parse_ladder("360p"))).left_out
    assert left.reason.endswith("0.0 left")


def test_a_device_has_only_so_much_time() -> None:
    ladder = LADDER.with_encoder("h264_nvenc")
    capacity = Capacity(64, COSTS)
    admissions = [
        capacity.admit(str(number), FULL_HD60, plans(FULL_HD60, ladder)) for number in range(5)
    ]
    assert all(names(one.taken) == ["720p", "480p", "360p"] for one in admissions[:2])
    reasons = [left.reason for one in admissions for left in one.left_out]
    assert "720p left out: h264_nvenc has no time left" in reasons
    # Software has no part in it.
    assert Capacity.admit(capacity, "x264", FULL_HD60, plans(FULL_HD60)).left_out == ()


def test_an_encoder_that_does_not_work_takes_no_rung() -> None:
    broken = Costs(decode_s=0.005, scale_s=0.001, broken={"libx264": "libx264 failed: no"})
    admission = Capacity(64, broken).admit("a", FULL_HD, plans(FULL_HD, parse_ladder("720p")))
    assert admission.taken == ()
    assert admission.left_out[0].reason == "720p left out: libx264 failed: no"


def test_until_it_is_measured_a_two_core_machine_gets_a_small_ladder() -> None:
    capacity = Capacity(2, ESTIMATE)
    admission = capacity.admit("a", FULL_HD, plans(FULL_HD))
    assert names(admission.taken) == ["480p", "360p"]


@pytest.mark.parametrize("encoder", ENCODERS)
def test_what_was_not_measured_is_estimated_on_the_safe_side(encoder: str) -> None:
    traits = ENCODERS[encoder]
    for preset in (traits.default, traits.default_large, "unheard of"):
        cost = ESTIMATE.of(encoder, preset)
        assert cost.cpu_s > 0.005
        assert (cost.device_s > 0) is (encoder in HARDWARE)


def test_costs_know_what_was_tried() -> None:
    pairs = [("libx264", "veryfast"), ("h264_nvenc", "p4")]
    assert COSTS.knows(pairs)
    assert not COSTS.knows([*pairs, ("libx264", "slow")])
    assert Costs(decode_s=1, scale_s=1, broken={"libx264": "no"}).knows(pairs[:1])


@settings(max_examples=40)
@given(
    cores=st.floats(0, 8),
    sources=st.lists(
        st.tuples(
            st.sampled_from([(3840, 2160), (1920, 1080), (1280, 720), (1080, 1920)]),
            st.sampled_from([24.0, 30.0, 50.0, 60.0]),
        ),
        max_size=5,
    ),
)
def test_never_more_than_there_is(
    cores: float, sources: list[tuple[tuple[int, int], float]]
) -> None:
    capacity = Capacity(cores, COSTS)
    for number, (size, rate) in enumerate(sources):
        source = SourceLoad(*size, rate)
        wanted = plans(source)
        admission = capacity.admit(str(number), source, wanted)
        assert capacity.booked_cores <= capacity.bookable_cores + 1e-9
        assert sorted(names(admission.taken) + [left.name for left in admission.left_out]) == (
            sorted(names(tuple(wanted)))
        )
        for left in admission.left_out:
            needed, free = left.reason.split("needs ")[1].split(", ")
            assert float(needed.split()[0]) > float(free.split()[0])
    for number in range(len(sources)):
        capacity.release(str(number))
    assert capacity.booked_cores == 0
