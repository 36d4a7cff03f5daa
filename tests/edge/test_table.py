"""The response table: swaps are atomic, gates open once, nothing is left behind."""

from edge.http.response import Response, error_response
from edge.table import ResponseTable

YES = error_response(404, "yes")
NO = error_response(404, "no")


def judge_nothing(_key: str) -> Response | None:
    return None


def test_publish_swaps_then_judges_each_key_once() -> None:
    table: ResponseTable[str] = ResponseTable()
    woken: list[str] = []
    wakes = [lambda n=n: woken.append(n) for n in "abc"]
    first, second = table.gate("one"), table.gate("two")
    for wake in wakes[:2]:
        first.add(wake)
    second.add(wakes[2])
    assert table.gate("one") is first
    assert table.waiting == 2
    asked: list[str] = []

    def judge(key: str) -> Response | None:
        asked.append(key)
        return table.get("name") if key == "one" else None

    table.publish(put={"name": YES}, drop=(), judge=judge)
    assert asked == ["one", "two"]
    assert sorted(woken) == ["a", "b"]
    assert first.response is YES
    assert second.response is None
    assert table.waiting == 1


def test_names_are_dropped_and_unknown_ones_ignored() -> None:
    table: ResponseTable[str] = ResponseTable()
    table.publish(put={"a": YES, "b": NO}, drop=(), judge=judge_nothing)
    table.publish(put={}, drop=["a", "zzz"], judge=judge_nothing)
    assert table.get("a") is None
    assert table.get("b") is NO
    assert len(table) == 1


def test_the_last_to_leave_takes_the_gate_away() -> None:
    table: ResponseTable[str] = ResponseTable()
    gate = table.gate("k")
    first, second = (lambda: None), (lambda: None)
    gate.add(first)
    gate.add(second)
    gate.discard(first)
    assert table.waiting == 1
    gate.discard(second)
    assert table.waiting == 0
    gate.discard(second)  # harmless
    assert table.gate("k") is not gate


def test_a_gate_nobody_waits_at_goes_with_the_next_publish() -> None:
    table: ResponseTable[str] = ResponseTable()
    table.gate("k")
    table.publish(put={}, drop=(), judge=judge_nothing)
    assert table.waiting == 0


def test_who_comes_to_an_open_gate_is_woken_at_once() -> None:
    table: ResponseTable[str] = ResponseTable()
    gate = table.gate("k")
    gate.open(YES)
    woken: list[int] = []
    gate.add(lambda: woken.append(1))
    assert woken == [1]


def test_a_closed_table_answers_everybody() -> None:
    table: ResponseTable[str] = ResponseTable()
    table.publish(put={"a": YES}, drop=(), judge=judge_nothing)
    gate = table.gate("k")
    table.close(NO)
    assert gate.response is NO
    assert len(table) == 0
    assert table.waiting == 0
