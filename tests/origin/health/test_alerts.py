"""When alerts begin and end, and that one cause gives one alert."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.config import load_settings
from origin.health.alerts import DROPS_S, MAX_RECENT, UNKNOWN_S, Alert, Alerts
from origin.health.drift import Slope
from origin.health.meter import Reading
from origin.health.rules import RULES, Limits, limits_of
from origin.metrics import WorkerFigures
from origin.transcode.health import TranscodeHealth

LOOK_S = 0.5

GOOD = Reading(
    at_s=0.0,
    span_s=LOOK_S,
    idle_s=0.0,
    has_video=True,
    has_audio=True,
    bitrate_kbps=3000.0,
    mean_kbps=3000.0,
    swings=0,
    fps=30.0,
    source_fps=30.0,
    dropped=0,
    late=0,
    keyframe_s=2.0,
    has_b_frames=False,
    skew_ms=5.0,
    drift=Slope(10.0, 20.0, 4.0),
    jitter_ms=20.0,
    speed=1.0,
    picture_bytes=9000.0,
)

FIGURES = WorkerFigures(
    decoded=100,
    decode_errors=0,
    black=False,
    frozen=False,
    silent=False,
    av_drift_s=0.0,
    resident_bytes=1,
    rungs=(),
)
LADDER = TranscodeHealth(
    renditions=("360p",),
    left_out=(),
    level=0,
    lag_s=0.1,
    restarts=0,
    advice=(),
    figures=FIGURES,
)


class Case:
    """A broadcast that is looked at twice a second; what was told is kept."""

    def __init__(self, limits: Limits | None = None) -> None:
        self.alerts = Alerts(limits or Limits())
        self.now_s = 0.0
        self.told: list[tuple[float, str, str]] = []
        self.last: Alert | None = None

    def watch(
        self,
        seconds: float,
        *,
        lost: bool = False,
        ladder: TranscodeHealth | None = LADDER,
        **changes: object,
    ) -> list[str]:
        """Let time pass; returns the codes that are active at the end."""
        for _ in range(round(seconds / LOOK_S)):
            self.now_s += LOOK_S
            reading = replace(GOOD, at_s=self.now_s, **changes)  # type: ignore[arg-type]
            for alert in self.alerts.judge(
                reading, is_lost=lost, transcode=ladder, at_ms=round(self.now_s * 1000)
            ):
                self.last = alert
                kind = "starts" if alert.ended_at is None else "ends"
                self.told.append((self.now_s, kind, alert.code))
        return [alert.code for alert in self.alerts.active]


def worker_says(**what: bool) -> TranscodeHealth:
    return replace(LADDER, figures=replace(FIGURES, **what))  # type: ignore[arg-type]


STILL = {"mean_kbps": 60.0, "picture_bytes": 30.0}
"""What a picture in which nothing moves comes to."""


def test_nothing_is_wrong_with_a_good_source() -> None:
    assert Case().watch(120) == []


@pytest.mark.parametrize(
    ("code", "changes"),
    [
        ("bitrateLow", {"mean_kbps": 499.0}),
        ("fpsLow", {"fps": 12.0, "source_fps": 12.0}),
        ("framesDropped", {"fps": 15.0, "dropped": 15}),
        ("keyframeIntervalLong", {"keyframe_s": 4.2}),
        ("avSkew", {"skew_ms": 300.0}),
        ("avSkew", {"skew_ms": -300.0}),
        ("clockDrift", {"drift": Slope(1000.0, 50.0, 4.0)}),
        ("clockDrift", {"drift": Slope(-1000.0, 50.0, 4.0)}),
        ("jitterHigh", {"jitter_ms": 700.0}),
        ("encoderSlow", {"speed": 0.9, "jitter_ms": 600.0, "drift": Slope(-1e5, 50, 4)}),
        ("bitrateUnstable", {"swings": 5}),
        ("bFrames", {"has_b_frames": True}),
        ("black", {"ladder": worker_says(black=True, frozen=True), **STILL}),
        ("frozen", {"ladder": worker_says(frozen=True), **STILL}),
        ("silent", {"ladder": worker_says(silent=True)}),
        ("ladderCut", {"ladder": replace(LADDER, level=2)}),
        ("publisherLost", {"lost": True, "mean_kbps": 0.0, "fps": 0.0, "source_fps": 0.0}),
        ("publisherLost", {"idle_s": 4.0, "mean_kbps": 0.0, "fps": 0.0, "source_fps": 0.0}),
    ],
)
def test_one_cause_gives_one_alert_within_five_seconds_and_it_ends(
    code: str, changes: dict[str, object]
) -> None:
    case = Case()
    case.watch(10)
    assert case.watch(4, **changes) == [code]  # type: ignore[arg-type]
    assert case.watch(20, **changes) == [code]  # type: ignore[arg-type]
    assert case.watch(15) == []
    assert [(kind, which) for _, kind, which in case.told] == [("starts", code), ("ends", code)]
    assert case.last is not None
    assert case.last.advice
    assert "{" not in case.last.text
    assert [alert.code for alert in case.alerts.recent] == [code]


def test_the_text_has_the_figures() -> None:
    case = Case()
    case.watch(2, mean_kbps=321.4)
    assert case.last is not None
    assert case.last.text == "321 kbit/s come in, less than 500."
    assert (case.last.value, case.last.threshold) == (321.4, 500.0)
    assert case.last.started_at == 1000


def test_still_pictures_are_not_told_as_a_low_bitrate_until_it_is_known_what_they_are() -> None:
    case = Case()
    assert case.watch(4.5, **STILL) == []  # type: ignore[arg-type]
    case.watch(3, ladder=worker_says(frozen=True), **STILL)  # type: ignore[arg-type]
    assert [code for _, _, code in case.told] == ["frozen"]


def test_still_pictures_of_which_the_worker_says_nothing_have_a_low_bitrate() -> None:
    assert Case().watch(10, **STILL) == ["bitrateLow"]  # type: ignore[arg-type]


def test_without_a_ladder_nobody_says_that_they_are_still() -> None:
    assert Case().watch(1.5, ladder=None, **STILL) == ["bitrateLow"]  # type: ignore[arg-type]


def test_a_cause_that_comes_to_light_ends_what_follows_from_it() -> None:
    case = Case()
    assert case.watch(3, mean_kbps=100.0) == ["bitrateLow"]
    assert case.watch(1, mean_kbps=100.0, ladder=worker_says(black=True)) == ["black"]
    assert [kind for _, kind, _ in case.told] == ["starts", "starts", "ends"]


def test_sound_alone_has_no_low_bitrate_and_no_dropped_frames() -> None:
    assert Case().watch(9, has_video=False, mean_kbps=64.0, fps=None, source_fps=None) == []


def test_a_publisher_that_is_gone_ends_all_other_alerts() -> None:
    case = Case()
    assert case.watch(5, skew_ms=300.0, mean_kbps=400.0) == ["bitrateLow", "avSkew"]
    assert case.watch(1, lost=True, skew_ms=None) == ["publisherLost"]
    assert case.watch(2) == []


@pytest.mark.parametrize(
    ("changes", "is_active"),
    [
        ({"mean_kbps": 490.0}, True),
        ({"mean_kbps": 520.0}, True),  # neither low nor good
        ({"mean_kbps": 560.0}, False),
    ],
)
def test_between_the_two_limits_nothing_changes(changes: dict[str, float], is_active: bool) -> None:
    case = Case()
    case.watch(3, mean_kbps=400.0)
    assert (case.watch(9, **changes) == ["bitrateLow"]) is is_active  # type: ignore[arg-type]
    other = Case()
    assert (other.watch(9, **changes) == ["bitrateLow"]) is (changes["mean_kbps"] < 500)  # type: ignore[arg-type]


def test_a_value_that_dances_around_the_limit_is_told_once() -> None:
    case = Case()
    for _ in range(20):
        case.watch(1, skew_ms=300.0)
        case.watch(1, skew_ms=100.0)
    assert case.told == []
    case.watch(4, skew_ms=300.0)
    for _ in range(20):
        case.watch(1, skew_ms=100.0)
        case.watch(1, skew_ms=250.0)
    assert [kind for _, kind, _ in case.told] == ["starts"]


def test_drops_are_counted_over_a_minute_and_told_once() -> None:
    case = Case()
    assert case.watch(50, dropped=1) == []  # 100: not more than that
    assert case.watch(DROPS_S, dropped=0) == []
    assert case.watch(4, dropped=20) == ["framesDropped"]
    assert case.watch(13) == []
    assert case.watch(30, dropped=1) == []  # those before its end do not count again
    assert len(case.told) == 2


def test_a_slope_that_is_not_known_or_that_no_clock_has_is_passed_over() -> None:
    case = Case()
    assert case.watch(20, drift=Slope(1000.0, 400.0, 60.0)) == []
    assert case.watch(20, drift=Slope(-8000.0, 30.0, 4.0)) == []
    assert case.watch(20, drift=None) == []


def test_an_alert_of_which_nothing_is_known_any_more_ends() -> None:
    case = Case()
    case.watch(3, ladder=worker_says(silent=True))
    assert case.watch(UNKNOWN_S - LOOK_S, ladder=None) == ["silent"]
    assert case.watch(LOOK_S, ladder=None) == []


@pytest.mark.parametrize(
    "limits",
    [
        Limits(
            min_bitrate_kbps=0,
            min_fps=0,
            max_dropped_frames=0,
            max_keyframe_interval_s=0,
            max_av_skew_ms=0,
            max_drift_ppm=0,
            max_jitter_ms=0,
        )
    ],
)
def test_a_limit_of_nought_turns_an_alert_off(limits: Limits) -> None:
    case = Case(limits)
    active = case.watch(
        20,
        mean_kbps=1.0,
        fps=1.0,
        source_fps=1.0,
        dropped=99,
        keyframe_s=99.0,
        skew_ms=9999.0,
        drift=Slope(2000.0, 1.0, 4.0),
        jitter_ms=9999.0,
    )
    assert active == []


def test_other_limits_hold_from_the_next_look_on() -> None:
    case = Case()
    assert case.watch(5) == []
    case.alerts.limits = Limits(min_bitrate_kbps=4000)
    assert case.watch(1) == ["bitrateLow"]


def test_what_has_ended_is_remembered_within_a_bound() -> None:
    case = Case()
    for _ in range(MAX_RECENT + 10):
        case.watch(1, lost=True)
        case.watch(2)
    recent = case.alerts.recent
    assert len(recent) == MAX_RECENT
    assert recent[0].started_at > recent[-1].started_at


def test_the_end_of_a_broadcast_ends_its_alerts() -> None:
    case = Case()
    case.watch(5, skew_ms=300.0, keyframe_s=9.0)
    ended = case.alerts.end_all(9000)
    assert [alert.code for alert in ended] == ["keyframeIntervalLong", "avSkew"]
    assert {alert.ended_at for alert in ended} == {9000}
    assert case.alerts.active == ()


def test_causes_stand_before_what_follows_from_them() -> None:
    seen: set[str] = set()
    for rule in RULES:
        assert set(rule.hidden_by) <= seen, rule.code
        seen.add(rule.code)
    assert len(seen) == len(RULES)


def test_the_limits_of_no_settings_are_the_usual_ones() -> None:
    assert limits_of(load_settings(environment={})) == Limits()


@given(
    st.lists(
        st.tuples(
            st.sampled_from(
                ["mean_kbps", "source_fps", "skew_ms", "jitter_ms", "speed", "keyframe_s"]
            ),
            st.none() | st.floats(0, 1000),
            st.booleans(),
            st.booleans(),
        ),
        max_size=60,
    )
)
def test_starts_and_ends_alternate_and_no_alert_lives_beside_its_cause(
    steps: list[tuple[str, float | None, bool, bool]],
) -> None:
    case = Case()
    for name, value, lost, black in steps:
        ladder = worker_says(black=black)
        active = case.watch(1, lost=lost, ladder=ladder, **{name: value})
        for rule in RULES:
            if rule.code in active:
                assert not set(rule.hidden_by) & set(active)
    for rule in RULES:
        kinds = [kind for _, kind, code in case.told if code == rule.code]
        assert kinds == ["starts", "ends"] * (len(kinds) // 2) + ["starts"] * (len(kinds) % 2)
