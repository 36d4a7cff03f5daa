"""The worker's second half: what an encoder gives becomes numbered frames for the parent."""

from collections import deque
from fractions import Fraction

import av
import numpy as np
import pytest
from av.video.frame import PictureType
from transcode_runs import Output, decode_coded, rung

from origin.transcode import rung_stage, wire
from origin.transcode.encode import Colour, EncodedPicture
from origin.transcode.errors import TranscodeError
from origin.transcode.intake import Job
from origin.transcode.rung_stage import MAX_IN_FLIGHT, RungStage

RUNG = rung("90p")


def picture(number: int, *, key: bool = False, divisor: int = 1, colour: int = 1) -> Job:
    planes = np.full((135, 160), 30 + number % 200, np.uint8)
    frame = av.VideoFrame.from_ndarray(planes, format="yuv420p")
    frame.pts, frame.time_base = number * 3000, Fraction(1, 90_000)
    frame.pict_type = PictureType.I if key else PictureType.NONE
    frame.colorspace = colour
    return Job(number, number * 3000, frame, key, divisor)


def nothing(number: int, divisor: int = 1) -> Job:
    return Job(number, number * 3000, None, False, divisor)


def output(*frames: bytes) -> Output:
    return Output.of(wire.GREETING + b"".join(frames))


def told(out: Output) -> list[tuple[int, str]]:
    """Number and K, P or - of each coded picture."""
    return [
        (coded.number, "-" if not coded.data else "K" if coded.is_idr else "P")
        for coded in out.coded(3)
    ]


def test_pictures_and_empty_slots_come_in_order_behind_their_configuration() -> None:
    stage = RungStage(3, RUNG)
    jobs = [nothing(4), picture(5, key=True), nothing(6), picture(7), picture(8, key=True)]
    out = output(stage.run(jobs), stage.finish())
    assert told(out) == [(4, "-"), (5, "K"), (6, "-"), (7, "P"), (8, "K")]
    assert [coded.pts_ticks for coded in out.coded(3)] == [n * 3000 for n in range(4, 9)]
    (config,) = out.configs(3)
    assert out.messages.index(config) == 1
    assert len(decode_coded(config, out.pictures(3))) == 3
    status = stage.status
    assert (status.frames, status.newest_pts_ticks) == (3, 24_000)
    assert status.bytes == sum(len(coded.data) for coded in out.pictures(3))
    assert status.encode_s > 0


def test_first_picture_is_idr_even_if_nobody_asked() -> None:
    stage = RungStage(3, RUNG)
    assert told(output(stage.run([picture(1), picture(2)]))) == [(1, "K"), (2, "P")]


def test_rung_that_is_off_has_no_encoder_and_comes_back_with_a_fresh_one() -> None:
    stage = RungStage(3, RUNG)
    out = output(
        stage.run([picture(0, key=True), picture(1)]),
        stage.run([nothing(2, divisor=0), nothing(3, divisor=0)]),
        stage.run([picture(4, key=True), picture(5)]),
    )
    assert told(out) == [(0, "K"), (1, "P"), (2, "-"), (3, "-"), (4, "K"), (5, "P")]
    assert len(out.configs(3)) == 1  # the same again
    (config,) = out.configs(3)
    assert len(decode_coded(config, out.pictures(3)[2:])) == 2


def test_thread_is_needed_for_pictures_and_for_closing() -> None:
    stage = RungStage(3, RUNG)
    assert not stage.needs_thread([nothing(0), nothing(1, divisor=0)])
    assert stage.needs_thread([nothing(0), picture(1)])
    stage.run([picture(1)])
    assert not stage.needs_thread([nothing(2)])
    assert stage.needs_thread([nothing(3, divisor=0), nothing(4)])


def test_other_divisor_begins_at_a_keyframe_and_keeps_the_configuration() -> None:
    stage = RungStage(3, RUNG)
    out = output(
        stage.run([picture(0, key=True), picture(1), picture(2, key=True, divisor=2)]),
        stage.run([nothing(3, divisor=2), picture(4, divisor=2)]),
    )
    assert told(out) == [(0, "K"), (1, "P"), (2, "K"), (3, "-"), (4, "P")]
    assert len(out.configs(3)) == 1


def test_other_colours_bring_another_configuration_at_the_next_keyframe() -> None:
    stage = RungStage(3, RUNG)
    out = output(
        stage.run([picture(0, key=True), picture(1, colour=6), picture(2, key=True, colour=6)])
    )
    assert told(out) == [(0, "K"), (1, "P"), (2, "K")]
    first, second = out.configs(3)
    assert first.record != second.record
    kinds = [type(message) for message in out.messages]
    assert kinds == [wire.RungConfig, *[wire.Coded] * 2, wire.RungConfig, wire.Coded]


def test_clock_that_goes_back_needs_a_fresh_encoder() -> None:
    stage = RungStage(3, RUNG)
    early = picture(2)._replace(number=10)
    out = output(stage.run([picture(8, key=True), picture(9), early, picture(11)]))
    assert told(out) == [(8, "K"), (9, "P"), (10, "K"), (11, "P")]
    assert out.coded(3)[2].pts_ticks == 6000


class LateEncoder:
    """As some hardware: pictures come out two calls later; some never."""

    fourcc = b"avc1"
    record = b"record"
    divisor = 1
    swallows: frozenset[int] = frozenset()
    delay = 2

    def __init__(self, setup: wire.RungSetup, colour: Colour, divisor: int) -> None:
        self.colour = colour
        self._held: deque[EncodedPicture] = deque()

    def encode(self, frame: av.VideoFrame) -> list[EncodedPicture]:
        assert frame.pts is not None
        if frame.pts // 3000 not in self.swallows:
            self._held.append(EncodedPicture(frame.pts, False, b"x"))
        return [self._held.popleft()] if len(self._held) > self.delay else []

    def drain(self) -> list[EncodedPicture]:
        return list(self._held)


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> type[LateEncoder]:
    class Late(LateEncoder):
        pass

    monkeypatch.setattr(rung_stage, "Encoder", Late)
    return Late


def test_late_samples_keep_their_numbers_and_empty_slots_do_not_overtake(
    late: type[LateEncoder],
) -> None:
    stage = RungStage(3, RUNG)
    jobs = [picture(0), nothing(1), picture(2), picture(4), nothing(5), picture(6)]
    out = output(*(stage.run([job]) for job in jobs), stage.finish())
    assert told(out) == [(0, "P"), (2, "P"), (4, "P"), (6, "P")]


def test_picture_that_an_encoder_swallows_is_jumped_over(late: type[LateEncoder]) -> None:
    late.swallows = frozenset({1, 2})
    stage = RungStage(3, RUNG)
    out = output(stage.run([picture(n) for n in range(6)]), stage.finish())
    assert told(out) == [(0, "P"), (3, "P"), (4, "P"), (5, "P")]


def test_encoder_that_only_takes_is_a_failure(late: type[LateEncoder]) -> None:
    late.delay = 10**6
    stage = RungStage(3, RUNG)
    stage.run([picture(n) for n in range(MAX_IN_FLIGHT)])
    with pytest.raises(TranscodeError, match="libx264 owes 32 pictures"):
        stage.run([picture(MAX_IN_FLIGHT)])


def test_encoder_that_cannot_be_opened_ends_it() -> None:
    stage = RungStage(0, rung("90p", encoder="libtheora"))
    with pytest.raises(TranscodeError, match="there is no encoder 'libtheora'"):
        stage.run([picture(0)])
