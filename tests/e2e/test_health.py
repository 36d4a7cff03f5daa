"""Sources with one fault each, made with ffmpeg: each raises its alert, no other, and clears it.

All publish at once, first with their fault and then without. What is heard are the live events.
"""

import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import rtmp_publishers as wire
from child_process import wait_until
from fault_clips import FaultClip
from ffmpeg_cli import need_ffmpeg
from ladder_origin import running_ladder
from live_listener import LiveListener
from origin_process import Origin, running_origin
from scripted_publisher import Line, ScriptedPublisher, Stamp

pytestmark = [pytest.mark.e2e, pytest.mark.long]

WITHIN_S = 5.0
"""From the fault's being there, or known, to its alert."""

RIGHT_S = 18.0
"""How long a source is right again: frames that were dropped are forgotten after 12 s."""

RUNGS = [{"name": "180p", "height": 180, "bitrate_kbps": 200, "preset": "ultrafast"}]


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """A source that is wrong, then right."""

    alert: str | None
    """What it must raise; None: nothing."""
    clip: FaultClip
    known_s: float = 0.0
    """How long it takes until anybody can know of it."""
    seconds: float = 8.0
    fps: int = 30
    """Of the source when it is right."""
    stamp: Stamp = field(default=lambda _kind, at_ms: at_ms)


PLAIN: Mapping[str, Fault] = {
    "right": Fault(alert=None, clip=FaultClip(seconds=9)),
    "thin": Fault(alert="bitrateLow", clip=FaultClip(seconds=9, kbps=150)),
    "slow": Fault(alert="fpsLow", clip=FaultClip(seconds=9, fps=12)),
    "dropping": Fault(
        alert="framesDropped",
        clip=FaultClip(seconds=9, fps=60, select="lt(mod(n,30),15)"),
        fps=60,
    ),
    "rare keyframes": Fault(
        alert="keyframeIntervalLong",
        clip=FaultClip(seconds=13, keyframe_interval_s=10),
        known_s=4.0,
        seconds=12.0,
    ),
    "skewed": Fault(
        alert="avSkew",
        clip=FaultClip(seconds=9),
        stamp=lambda kind, at_ms: at_ms + 300 * (kind == "audio"),
    ),
    "fast clock": Fault(
        alert="clockDrift",
        clip=FaultClip(seconds=9),
        stamp=lambda _kind, at_ms: round(at_ms * 1.001),
    ),
}
"""What can be told without a look at the picture."""

SEEN: Mapping[str, Fault] = {
    "right": Fault(alert=None, clip=FaultClip(seconds=9)),
    "black": Fault(
        alert="black",
        clip=FaultClip(seconds=9, picture="color=black:size=640x360", is_padded=False),
    ),
    "still": Fault(
        alert="frozen",
        clip=FaultClip(seconds=11, picture="smptebars=size=640x360", is_padded=False),
        seconds=10.0,
        known_s=5.0,
    ),
    "silent": Fault(
        alert="silent",
        clip=FaultClip(seconds=9, sound="anullsrc=channel_layout=stereo:sample_rate=48000"),
    ),
}
"""What the transcoder's worker tells."""


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, wire.Media]:
    """The clips of all faults, and right ones by their frame rate."""
    need_ffmpeg()
    folder = tmp_path_factory.mktemp("faults")
    made = {
        name: fault.clip.make(folder, name.replace(" ", "-"))
        for name, fault in {**PLAIN, **SEEN}.items()
    }
    for fps in (30, 60):
        made[str(fps)] = FaultClip(seconds=RIGHT_S + 1, fps=fps).make(folder, f"right-{fps}")
    return made


@pytest.mark.hard_cap(75)
def test_what_is_wrong_with_stamps_and_sizes(
    clips: Mapping[str, wire.Media], tmp_path: Path
) -> None:
    with running_origin(tmp_path) as origin:
        judge(origin, PLAIN, clips)


@pytest.mark.hard_cap(140)
def test_what_is_wrong_with_picture_and_sound(
    clips: Mapping[str, wire.Media], tmp_path: Path
) -> None:
    with running_ladder(tmp_path, "180p", rungs=RUNGS) as origin:
        judge(origin, SEEN, clips)


def test_a_listener_and_a_report_through_a_lost_line(
    clips: Mapping[str, wire.Media], tmp_path: Path
) -> None:
    """What a broadcaster's page sees: the encoder comes, is lost, comes back, and ends."""
    with running_origin(tmp_path, "--reconnect-grace-s", "20") as origin:
        stream = origin.create_stream("lost")
        path = f"/api/streams/{stream.id}/health"
        assert origin.call("GET", path, token=stream.key).status == 409

        def script(line: Line) -> None:
            line.connect()
            line.send(wire.metadata({"encoder": "a tester's encoder"}))
            line.publish(clips["30"], seconds=3)
            line.drop()
            line.rest(2)
            line.connect()
            line.publish(clips["30"], seconds=3)
            line.goodbye()

        with (
            LiveListener(origin.http, stream.id, stream.key) as listener,
            ScriptedPublisher(origin.rtmp, stream.key, script) as publisher,
        ):
            wait_until(
                lambda: len(listener.of_type("health")) >= 2, timeout_s=10, what="two figures"
            )
            report = origin.call("GET", path, token=stream.key).json()
            wait_until(lambda: bool(listener.of_type("stream.ended")), timeout_s=20, what="the end")
            assert publisher.error is None
        events = [event for event in listener.heard if event.type != "health"]
        assert [event.type for event in events] == [
            *("stream.live", "publisher.connected", "publisher.disconnected", "alert.started"),
            *("publisher.connected", "alert.ended", "publisher.disconnected", "stream.ended"),
        ]
        assert events[3].data["data"]["code"] == "publisherLost"
        assert report["publisher"]["encoder"] == "a tester's encoder"
        assert report["publisher"]["video"]["height"] == 360
        assert report["figures"]["rttMs"] > 0
        assert report["alerts"] == []
        assert len(report["history"]["at"]) == len(report["history"]["fps"]) >= 2
        with LiveListener(
            origin.http, stream.id, origin.admin_token(), last_id=events[4].id
        ) as again:
            wait_until(lambda: len(again.heard) >= 3, timeout_s=5, what="what was missed")
        assert [event.id for event in again.heard] == [event.id for event in events[5:]]


def judge(origin: Origin, faults: Mapping[str, Fault], clips: Mapping[str, wire.Media]) -> None:
    """Publish all of them, and demand of each its alert and no other."""
    began_s: dict[str, float] = {}
    right_s: dict[str, float] = {}
    listeners: dict[str, LiveListener] = {}
    publishers: dict[str, ScriptedPublisher] = {}
    with ExitStack() as stack:
        for name, fault in faults.items():
            stream = origin.create_stream(name)
            listener = LiveListener(origin.http, stream.id, stream.key)
            listeners[name] = stack.enter_context(listener)

            def script(line: Line, name: str = name, fault: Fault = fault) -> None:
                line.connect()
                began_s[name] = time.monotonic()
                line.publish(clips[name], seconds=fault.seconds, stamp=fault.stamp)
                right_s[name] = time.monotonic()
                line.publish(clips[str(fault.fps)], seconds=RIGHT_S)
                line.rest(5)  # what it had came in time

            publisher = ScriptedPublisher(origin.rtmp, stream.key, script)
            publishers[name] = stack.enter_context(publisher)

        def told() -> bool:
            assert not [each.error for each in publishers.values() if each.error]
            return all(
                listeners[name].of_type("alert.ended")
                for name, fault in faults.items()
                if fault.alert is not None
            )

        longest_s = max(fault.seconds for fault in faults.values()) + RIGHT_S
        wait_until(told, timeout_s=longest_s, what="the end of every alert")
        seen = {name: summary(listener, began_s[name]) for name, listener in listeners.items()}

    wrong = []
    for name, fault in faults.items():
        started = listeners[name].of_type("alert.started")
        codes = [event.data["data"]["code"] for event in started]
        if codes != ([] if fault.alert is None else [fault.alert]):
            wrong.append(f"{name}: {seen[name]}")
        elif started and started[0].at_s > began_s[name] + fault.known_s + WITHIN_S:
            wrong.append(f"{name}: too late: {seen[name]}")
        else:
            ended = listeners[name].of_type("alert.ended")
            if ended and ended[0].at_s < right_s[name] - 1:
                wrong.append(f"{name}: ended before the fault: {seen[name]}")
    print("\n".join(f"{name}: {text}" for name, text in seen.items()))
    assert not wrong, "\n".join(wrong)


def summary(listener: LiveListener, began_s: float) -> str:
    """What was heard, with the seconds since the source began."""
    lines = [
        f"{event.at_s - began_s:.1f} s {event.type} {event.data['data']['code']}"
        f" ({event.data['data']['text']})"
        for event in listener.of_type("alert.started", "alert.ended")
    ]
    figures = listener.of_type("health")
    return "; ".join(lines) + (f"; last figures {figures[-1].data}" if figures else "; no figures")
