"""Figures that processes share."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from edge.board import Board

ROOT = Path(__file__).parent.parent.parent


@pytest.fixture
def memory() -> Iterator[int]:
    descriptor = Board.create(rows=3, columns=2)
    yield descriptor
    os.close(descriptor)


def test_rows_are_read_as_they_were_written(memory: int) -> None:
    board, other = (Board(memory, rows=3, columns=2) for _ in range(2))
    assert other.read() == {}
    board.write(2, [1.5, 2.0**53])
    board.write(0, [0, -1])
    assert other.read() == {0: [0.0, -1.0], 2: [1.5, 2.0**53]}
    other.write(2, [7, 8])
    assert board.read()[2] == [7.0, 8.0]


def test_a_cleared_row_is_gone_and_can_be_taken_again(memory: int) -> None:
    board = Board(memory, rows=3, columns=2)
    board.write(1, [1, 2])
    board.write(1, [1, 2])
    assert (board.beats(0), board.beats(1)) == (0, 2)
    board.clear(1)
    assert board.read() == {}
    assert board.beats(1) == 0
    board.write(1, [3, 4])
    assert board.read() == {1: [3.0, 4.0]}


def test_another_process_writes_to_the_same_board(memory: int) -> None:
    code = "import sys; from edge.board import Board; Board(int(sys.argv[1]), rows=3, columns=2)"
    command = [sys.executable, "-c", code + ".write(1, [4, 5])", str(memory)]
    subprocess.run(command, pass_fds=[memory], cwd=ROOT, check=True, timeout=30)
    assert Board(memory, rows=3, columns=2).read() == {1: [4.0, 5.0]}


@pytest.mark.parametrize("row", [3, 100])
def test_there_are_no_rows_beyond_the_last(memory: int, row: int) -> None:
    board = Board(memory, rows=3, columns=2)
    with pytest.raises(IndexError):
        board.write(row, [1, 2])
    assert board.read() == {}
