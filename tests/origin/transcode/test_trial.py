"""The trial: costs of this machine that are numbers, and verdicts on encoders."""

import sys

import msgspec
import pytest

from origin.transcode import trial
from origin.transcode.capacity import Costs
from origin.transcode.encode import EncodedPicture, Encoder
from origin.transcode.trial import main, measure_costs

pytestmark = pytest.mark.slow


def test_costs_are_measured_and_what_does_not_work_is_named() -> None:
    costs = measure_costs(
        [
            ("libx264", "ultrafast"),
            ("no_such_encoder", "a"),
            ("no_such_encoder", "b"),
            ("libx264", "superfast"),
        ],
        pictures=4,
    )
    assert costs.knows([("libx264", "ultrafast"), ("libx264", "superfast")])
    assert len(costs.encode) == 2
    assert list(costs.broken) == ["no_such_encoder"]
    assert 0 < costs.scale_s < 0.5
    assert 0 < costs.decode_s < 0.5
    assert all(0 < cost.cpu_s < 1 and cost.device_s == 0 for cost in costs.encode)


class CountingEncoder(Encoder):
    """Counts the pictures that each of its kind gets."""

    counts: list[int]

    def encode(self, frame: object) -> list[EncodedPicture]:
        self.counts[-1] += 1
        return super().encode(frame)  # type: ignore[arg-type]


def test_a_budget_that_is_spent_leaves_some_pictures_each(monkeypatch: pytest.MonkeyPatch) -> None:
    counts: list[int] = []

    def opened(*arguments: object) -> CountingEncoder:
        counts.append(0)
        CountingEncoder.counts = counts
        return CountingEncoder(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(trial, "Encoder", opened)
    costs = measure_costs([("libx264", "ultrafast")] * 2, pictures=6, budget_s=0.0)
    assert counts == [6, *[trial.WARM_PICTURES + 1] * 2]  # the clip itself is made in any case
    assert all(cost.cpu_s > 0 for cost in costs.encode)


@pytest.mark.parametrize("arguments", [[], ["works"], ["nonsense"], ["works", "a", "b"]])
def test_arguments_without_sense_are_refused(arguments: list[str]) -> None:
    assert main(arguments) == 2


def test_the_verdict_is_printed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["works", "libx264"]) == 0
    assert capsys.readouterr().out == ""
    assert main(["works", "no_such_encoder"]) == 0
    assert "no_such_encoder" in capsys.readouterr().out


def test_costs_are_printed_as_json(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: list[object] = []
    costs = Costs(decode_s=0.1, scale_s=0.2)

    def measured(pairs: object) -> Costs:
        asked.append(pairs)
        return costs

    monkeypatch.setattr(sys.modules[trial.__name__], "measure_costs", measured)
    assert main(["cost", "libx264:fast", "h264_vaapi:"]) == 0
    assert asked == [[("libx264", "fast"), ("h264_vaapi", "")]]
    assert msgspec.json.decode(capsys.readouterr().out, type=Costs) == costs
