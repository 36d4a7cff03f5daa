"""When new viewers are refused, and when they are taken again."""

import pytest

from edge.shedding import CALM_S, WINDOW_S, Load, Shedding, SheddingSettings

SETTINGS = SheddingSettings(connections=100, cpu=0.9, lag_s=0.1)


class Worker:
    """Measured once a second."""

    def __init__(self) -> None:
        self.shedding = Shedding(SETTINGS)
        self.now_s = 1000.0
        self.cpu_s = 7.0
        self.seconds(4)

    def second(self, *, connections: int = 0, cpu: float = 0.0, lag_s: float = 0.0) -> bool:
        self.now_s += 1
        self.cpu_s += cpu
        return self.shedding.observe(Load(self.now_s, self.cpu_s, lag_s, connections))

    def seconds(
        self, count: int, *, connections: int = 0, cpu: float = 0.0, lag_s: float = 0.0
    ) -> list[bool]:
        """Whether viewers were admitted after each."""
        admitted = []
        for _ in range(count):
            self.second(connections=connections, cpu=cpu, lag_s=lag_s)
            admitted.append(self.shedding.admits)
        return admitted


def test_a_calm_worker_takes_everybody() -> None:
    worker = Worker()
    assert all(worker.seconds(20, connections=99, cpu=0.89, lag_s=0.09))


def test_connections_count_at_once() -> None:
    worker = Worker()
    assert worker.second(connections=100)
    assert worker.shedding.reason == "connections"


def test_a_neighbour_s_load_is_not_ours() -> None:
    worker = Worker()
    assert all(worker.seconds(20, cpu=0.4, lag_s=0.5))


@pytest.mark.parametrize(
    ("load", "reason"), [({"cpu": 0.95}, "cpu"), ({"cpu": 0.5, "lag_s": 0.12}, "lag")]
)
def test_cpu_and_lag_count_over_the_window(load: dict[str, float], reason: str) -> None:
    worker = Worker()
    assert worker.seconds(2, **load) == [True, True]  # type: ignore[arg-type]
    worker.seconds(int(WINDOW_S) - 1, **load)  # type: ignore[arg-type]
    assert worker.shedding.reason == reason


def test_a_moment_of_load_changes_nothing() -> None:
    worker = Worker()
    assert not worker.second(cpu=1.0, lag_s=0.3)
    assert all(worker.seconds(10, cpu=0.3))


def test_the_start_is_not_judged() -> None:
    shedding = Shedding(SETTINGS)
    for now_s in range(int(WINDOW_S)):
        shedding.observe(Load(float(now_s), float(now_s), 1.0, 0))
    assert shedding.admits
    shedding.observe(Load(WINDOW_S, WINDOW_S, 1.0, 0))
    assert shedding.reason == "cpu"


def test_between_the_levels_the_answer_stays() -> None:
    worker = Worker()
    worker.second(connections=100)
    assert not any(worker.seconds(30, connections=95))
    worker = Worker()
    assert all(worker.seconds(30, connections=95))


def test_viewers_are_taken_again_after_a_while_of_calm() -> None:
    worker = Worker()
    worker.second(connections=100)
    admitted = worker.seconds(int(CALM_S) + 1, connections=89)
    assert admitted == [False] * int(CALM_S) + [True]


def test_calm_that_is_interrupted_begins_anew() -> None:
    worker = Worker()
    worker.second(connections=100)
    worker.seconds(int(CALM_S), connections=89)
    assert not worker.second(connections=95)
    assert worker.seconds(int(CALM_S) + 1, connections=89) == [False] * int(CALM_S) + [True]


def test_only_a_change_is_reported() -> None:
    worker = Worker()
    changes = [worker.second(connections=n) for n in (100, 120, 100)]
    assert changes == [True, False, False]
    changes = [worker.second(connections=0) for _ in range(int(CALM_S) + 2)]
    assert changes == [False] * int(CALM_S) + [True, False]


def test_a_change_of_the_reason_is_no_change_of_the_answer() -> None:
    worker = Worker()
    worker.second(connections=100)
    for _ in range(5):
        assert not worker.second(connections=0, cpu=1.0)
    assert worker.shedding.reason == "cpu"


def test_the_window_holds_a_bounded_number_of_measurements() -> None:
    worker = Worker()
    worker.seconds(100)
    assert len(worker.shedding._seen) == WINDOW_S + 1
