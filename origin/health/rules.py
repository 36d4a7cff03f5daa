"""What counts as wrong with a broadcast, and what its broadcaster can do about it.

Pure: one `Rule` for each alert, in the order in which they are asked. One cause gives one alert:
what follows from another alert is `hidden_by` it, and is not told while that one is. So nothing is
said of a publisher that is gone but that; a black picture is not frozen as well, nor is its bitrate
low; and who encodes too slowly does not have a bad line.

Where that is not known yet, it is awaited: hardly any bits for pictures may mean that they are
black, which the transcoder's worker says within some seconds. If it has not by `STILL_S`, there is
nobody to say it.

A rule has a limit to enter and another one to leave (hysteresis), and how long each must hold.
Between the two nothing changes.

May import origin.health and origin.transcode.health.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, TypeAlias

from origin.health.meter import Reading
from origin.transcode.health import TranscodeHealth

if TYPE_CHECKING:
    from origin.config import Settings

Severity: TypeAlias = Literal["info", "warning", "critical"]
"""It could be better; viewers may notice; viewers do notice."""

STILL_S: Final = 8.0
"""How long a low bitrate is not told when it looks as if nothing moved."""

STILL_BYTES: Final = 250.0
"""Pictures that are smaller say "as before", and little else."""

MAX_DRIFT_PPM: Final = 3000.0
"""No clock is so bad: it is the pace of the encoder, or a queue on the line that fills."""

MIN_SPEED: Final = 0.97
STEADY_SPEED: Final = 0.985
"""An encoder below the first is too slow, and above the second is not."""

FORGET_S: Final = 10.0
"""Within so long hardly a frame must have been dropped for dropping to have ended."""

FEW_DROPS: Final = 3

LOST_S: Final = 4.0
"""Without any media for so long, a publisher whose connection still stands is lost as well."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """From which values on an alert begins; the settings ``health_*``. 0 turns one off."""

    min_bitrate_kbps: float = 500.0
    min_fps: float = 20.0
    max_dropped_frames: int = 100
    """Within `alerts.DROPS_S`."""
    max_keyframe_interval_s: float = 4.0
    max_av_skew_ms: float = 200.0
    max_drift_ppm: float = 300.0
    max_jitter_ms: float = 500.0


def limits_of(settings: "Settings") -> Limits:
    """Take the limits from an origin's settings."""
    return Limits(
        min_bitrate_kbps=settings.health_min_bitrate_kbps,
        min_fps=settings.health_min_fps,
        max_dropped_frames=settings.health_max_dropped_frames,
        max_keyframe_interval_s=settings.health_max_keyframe_interval_s,
        max_av_skew_ms=settings.health_max_av_skew_ms,
        max_drift_ppm=settings.health_max_drift_ppm,
        max_jitter_ms=settings.health_max_jitter_ms,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the rules judge."""

    reading: Reading
    limits: Limits
    is_lost: bool
    """There is no publisher, and one is awaited."""
    recent_drops: int
    """Pictures dropped within `alerts.DROPS_S`, or since the last alert of them ended."""
    latest_drops: int
    """Within `FORGET_S`."""
    transcode: TranscodeHealth | None
    """None: there is no ladder."""
    low_s: float = 0.0
    """How long the bitrate has been low by now."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a rule says of the facts."""

    value: float
    limit: float
    is_bad: bool
    is_good: bool
    """Neither: all stays as it is."""


Judge: TypeAlias = Callable[[Facts], Verdict | None]
"""None: nothing can be said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One alert."""

    code: str
    """For programs; stable."""
    severity: Severity
    text: str
    """What is wrong; ``{value}`` and ``{limit}`` are filled in, as `form` has them."""
    advice: str
    """What to do about it."""
    judge: Judge
    form: str = ".0f"
    """How numbers are written."""
    enter_s: float = 0.0
    leave_s: float = 2.0
    hidden_by: tuple[str, ...] = ()
    """Codes of alerts that it would follow from; they stand before it in the list."""


def _above(value: float | None, limit: float, *, leave: float = 0.8) -> Verdict | None:
    """Bad above the limit, good again below a share of it."""
    if value is None or not limit:
        return None
    return Verdict(value, limit, value > limit, value <= limit * leave)


def _below(value: float | None, limit: float, *, leave: float = 1.1) -> Verdict | None:
    """Bad below the limit, good again above a multiple of it."""
    if value is None or not limit:
        return None
    return Verdict(value, limit, value < limit, value >= limit * leave)


def _flag(value: bool | None) -> Verdict | None:
    return None if value is None else Verdict(float(value), 1.0, value, not value)


def _lost(facts: Facts) -> Verdict:
    idle_s = facts.reading.idle_s
    is_lost = facts.is_lost or idle_s >= LOST_S
    return Verdict(idle_s, LOST_S, is_lost, not is_lost)


def _worker_says(name: Literal["black", "frozen", "silent"]) -> Judge:
    def judge(facts: Facts) -> Verdict | None:
        figures = None if facts.transcode is None else facts.transcode.figures
        return None if figures is None else _flag(getattr(figures, name))

    return judge


def _dropped(facts: Facts) -> Verdict | None:
    limit = facts.limits.max_dropped_frames
    if not limit or not facts.reading.has_video:
        return None
    drops = facts.recent_drops
    return Verdict(drops, limit, drops > limit, facts.latest_drops <= FEW_DROPS)


def _slow_encoder(facts: Facts) -> Verdict | None:
    speed = facts.reading.speed
    if speed is None:
        return None
    return Verdict(speed, MIN_SPEED, speed < MIN_SPEED, speed >= STEADY_SPEED)


def _drift(facts: Facts) -> Verdict | None:
    slope = facts.reading.drift
    if slope is None or not slope.is_known or abs(slope.ppm) > MAX_DRIFT_PPM:
        return None
    return _above(abs(slope.ppm), facts.limits.max_drift_ppm, leave=0.6)


def _low_fps(facts: Facts) -> Verdict | None:
    return _below(facts.reading.source_fps, facts.limits.min_fps, leave=1.05)


def _low_bitrate(facts: Facts) -> Verdict | None:
    reading = facts.reading
    verdict = _below(reading.mean_kbps, facts.limits.min_bitrate_kbps)
    if verdict is None or not reading.has_video:
        return None
    if verdict.is_bad and facts.low_s < STILL_S and facts.transcode is not None:
        picture_bytes = reading.picture_bytes
        if picture_bytes is not None and picture_bytes < STILL_BYTES:
            return None  # soon it is known whether it is black, or frozen
    return verdict


def _long_interval(facts: Facts) -> Verdict | None:
    limit = facts.limits.max_keyframe_interval_s
    value = facts.reading.keyframe_s
    if value is None or not limit:
        return None
    return Verdict(value, limit, value > limit + 0.05, value <= limit + 0.05)


def _skew(facts: Facts) -> Verdict | None:
    skew_ms = facts.reading.skew_ms
    return _above(None if skew_ms is None else abs(skew_ms), facts.limits.max_av_skew_ms, leave=0.7)


def _jitter(facts: Facts) -> Verdict | None:
    speed = facts.reading.speed
    if speed is None or speed < MIN_SPEED:
        return None  # what falls behind comes later and later; soon it is known whether it does
    return _above(facts.reading.jitter_ms, facts.limits.max_jitter_ms, leave=0.6)


def _unsteady(facts: Facts) -> Verdict:
    swings = facts.reading.swings
    return Verdict(swings, 3, swings > 3, swings <= 1)


def _cut(facts: Facts) -> Verdict | None:
    if facts.transcode is None:
        return None
    level = facts.transcode.level
    return Verdict(level, 0, level > 0, level == 0)


_LOST: Final = "publisherLost"

RULES: Final = (
    Rule(
        code=_LOST,
        severity="critical",
        text="Nothing comes from the encoder.",
        advice="Check that it is still streaming and that its internet connection stands. It can"
        " come back with the same stream key, and the broadcast goes on.",
        judge=_lost,
        leave_s=0.5,
    ),
    Rule(
        code="black",
        severity="warning",
        text="The picture is black.",
        advice="Check the scene, the camera and its lens cap. In OBS a capture that shows nothing"
        " may need another capture method (Properties of the source).",
        judge=_worker_says("black"),
        leave_s=0.0,
        hidden_by=(_LOST,),
    ),
    Rule(
        code="frozen",
        severity="warning",
        text="The picture does not move.",
        advice="Check the camera and the scene. A still picture on purpose is fine.",
        judge=_worker_says("frozen"),
        leave_s=0.0,
        hidden_by=(_LOST, "black"),
    ),
    Rule(
        code="silent",
        severity="warning",
        text="There is no sound.",
        advice="Check that the microphone is on and not muted. In OBS its meter in the Audio Mixer"
        " must move; choose the device in Settings, Audio.",
        judge=_worker_says("silent"),
        leave_s=0.0,
        hidden_by=(_LOST,),
    ),
    Rule(
        code="encoderSlow",
        severity="critical",
        text="Only {value} s of media come in a second.",
        form=".2f",
        advice="The encoder or the line cannot keep up. In OBS: Settings, Output: a faster encoder"
        " preset (x264: veryfast or faster) or a hardware encoder, a lower bitrate; Settings,"
        " Video: a lower resolution or frame rate.",
        judge=_slow_encoder,
        enter_s=3.0,
        hidden_by=(_LOST,),
    ),
    Rule(
        code="framesDropped",
        severity="warning",
        text="{value} frames were dropped within a minute.",
        advice="If OBS shows dropped frames (network): lower the bitrate in Settings, Output, and"
        " use a cable instead of WLAN. If it shows skipped frames (encoding lag): a faster"
        " encoder preset.",
        judge=_dropped,
        hidden_by=(_LOST,),
    ),
    Rule(
        code="fpsLow",
        severity="warning",
        text="{value} pictures come in a second, fewer than {limit}.",
        form=".1f",
        advice="Set 30 or more in OBS: Settings, Video, Common FPS Values. A camera makes fewer in"
        " the dark: more light, or a fixed exposure.",
        judge=_low_fps,
        enter_s=1.0,
        hidden_by=(_LOST,),
    ),
    Rule(
        code="bitrateLow",
        severity="warning",
        text="{value} kbit/s come in, less than {limit}.",
        advice="Set 2500 kbit/s or more in OBS: Settings, Output, Bitrate. If it is set so, the"
        " line does not carry it: use a cable, end other uploads.",
        judge=_low_bitrate,
        enter_s=0.5,
        hidden_by=(_LOST, "black", "frozen", "encoderSlow"),
    ),
    Rule(
        code="keyframeIntervalLong",
        severity="warning",
        text="Keyframes are {value} s apart, more than {limit} s.",
        form=".1f",
        advice="Set keyframe interval to 2 s in OBS: Settings, Output, Advanced. With ffmpeg:"
        " -g with two times the frame rate. Until then viewers wait longer to see something.",
        judge=_long_interval,
        leave_s=0.0,
        hidden_by=(_LOST,),
    ),
    Rule(
        code="avSkew",
        severity="warning",
        text="Sound and picture are {value} ms apart.",
        advice="Set Sync Offset to 0 in OBS: Edit, Advanced Audio Properties. Restart the stream"
        " if they are apart all the same.",
        judge=_skew,
        enter_s=1.5,
        leave_s=2.0,
        hidden_by=(_LOST,),
    ),
    Rule(
        code="clockDrift",
        severity="warning",
        text="The encoder's clock is off by {value} ppm.",
        advice="Restart the encoder. If it does not help, set one sample rate (48 kHz) for all"
        " audio devices, or use another one: the sound card's clock sets the pace.",
        judge=_drift,
        enter_s=0.5,
        hidden_by=(_LOST, "encoderSlow"),
    ),
    Rule(
        code="jitterHigh",
        severity="warning",
        text="Media comes up to {value} ms too late or too soon.",
        advice="The line stalls: use a cable instead of WLAN, end other uploads, lower the bitrate"
        " in OBS: Settings, Output.",
        judge=_jitter,
        enter_s=2.0,
        leave_s=5.0,
        hidden_by=(_LOST, "encoderSlow", "clockDrift"),
    ),
    Rule(
        code="bitrateUnstable",
        severity="info",
        text="The bitrate went up and down {value} times within a minute.",
        advice="Set Rate Control to CBR in OBS: Settings, Output.",
        judge=_unsteady,
        hidden_by=(_LOST, "black", "frozen", "bitrateLow", "jitterHigh", "encoderSlow"),
    ),
    Rule(
        code="ladderCut",
        severity="warning",
        text="The server cannot encode all qualities: step {value} of cutting back.",
        advice="Nothing to do for the broadcaster. The operator may give the machine fewer or"
        " smaller rungs (ladder), or more cores.",
        judge=_cut,
        enter_s=3.0,
        leave_s=5.0,
        hidden_by=(_LOST,),
    ),
    Rule(
        code="bFrames",
        severity="info",
        text="The encoder uses B-frames.",
        advice="Each adds a picture's time to the latency. For the least: max B-frames 0 in OBS:"
        " Settings, Output, or x264's tune zerolatency.",
        judge=lambda facts: _flag(facts.reading.has_b_frames),
        enter_s=3.0,
        leave_s=3.0,
        hidden_by=(_LOST,),
    ),
)
"""All alerts, causes before what follows from them."""
