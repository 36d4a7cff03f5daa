"""Ten minutes of figures, and no more."""

from origin.health.history import COLUMNS, ROWS, History
from origin.health.report import Columns, make_columns


def test_rows_come_back_in_order_and_what_was_not_known_is_none() -> None:
    history = History()
    history.add(1.0, {"fps": 30.0, "jitterMs": None})
    history.add(2.0, {"fps": 29.123})
    at, columns = history.rows_since(0.0)
    assert at == [1000, 2000]
    assert columns["fps"] == [30.0, 29.12]
    assert columns["jitterMs"] == [None, None]


def test_it_keeps_the_last_ten_minutes() -> None:
    history = History()
    for second in range(ROWS + 250):
        history.add(float(second), {"fps": float(second)})
    assert len(history) == ROWS
    at, columns = history.rows_since(0.0)
    assert at == [1000 * second for second in range(250, ROWS + 250)]
    assert columns["fps"] == [float(second) for second in range(250, ROWS + 250)]
    assert all(len(column) == ROWS for column in columns.values())


def test_only_what_is_wanted_is_given() -> None:
    history = History()
    for second in range(10):
        history.add(float(second), {})
    assert history.rows_since(7.0)[0] == [7000, 8000, 9000]
    assert history.rows_since(10.0)[0] == []


def test_every_column_has_its_name_in_the_answer() -> None:
    names = Columns.__struct_encode_fields__
    assert names == ("at", *COLUMNS)
    history = History()
    history.add(1.0, dict.fromkeys(COLUMNS, 2.0))
    assert make_columns(*history.rows_since(0.0)).rtt_ms == [2.0]
