"""The admin token: created once, private from the first instant, matched in constant time."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from control import AdminToken, StoreError, load_or_create_admin_token


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "data" / "admin-token"


@pytest.fixture(params=[0o000, 0o022, 0o077])
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def test_the_first_start_creates_a_token_that_only_the_owner_reads(path: Path, umask: int) -> None:
    token = load_or_create_admin_token(path)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700 & ~umask
    assert token.matches(path.read_text().strip())


def test_the_next_start_reads_the_same_token(path: Path) -> None:
    load_or_create_admin_token(path)
    text = path.read_text()

    assert load_or_create_admin_token(path).matches(text.strip())
    assert path.read_text() == text


def test_two_tokens_differ(tmp_path: Path) -> None:
    token = load_or_create_admin_token(tmp_path / "a")
    load_or_create_admin_token(tmp_path / "b")
    assert not token.matches((tmp_path / "b").read_text().strip())


def test_a_token_of_the_operator_is_taken_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("chosen-by-the-operator==\n")
    path.chmod(0o600)
    assert load_or_create_admin_token(path).matches("chosen-by-the-operator==")


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o660, 0o644])
def test_a_token_that_others_may_read_is_refused(path: Path, mode: int) -> None:
    load_or_create_admin_token(path)
    path.chmod(mode)
    with pytest.raises(StoreError, match="other users may read"):
        load_or_create_admin_token(path)


@pytest.mark.parametrize(
    "content", [b"", b"\n", b"short\n", b"two words and more\n", b"\xff" * 20, b"x" * 2000]
)
def test_a_file_without_a_token_is_refused(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(StoreError, match="holds no admin token"):
        load_or_create_admin_token(path)


def test_a_folder_in_the_way_is_one_line(path: Path) -> None:
    path.mkdir(parents=True)
    path.chmod(0o700)
    with pytest.raises(StoreError, match=r"admin-token: Is a directory$"):
        load_or_create_admin_token(path)


def test_a_file_where_the_folder_should_be_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(StoreError, match=r"Not a directory|File exists"):
        load_or_create_admin_token(tmp_path / "data" / "admin-token")


@pytest.mark.parametrize(
    "candidate",
    ["", "s" * 15, "s" * 17, "S" * 16, "s" * 16 + "\0", "é" * 16, "\ud800", "s" * 10**6],
)
def test_nothing_else_matches(candidate: str) -> None:
    token = AdminToken("s" * 16)
    assert token.matches("s" * 16)
    assert not token.matches(candidate)


@pytest.mark.parametrize("token", ["", "short", "with space in the middle", "x" * 300, "é" * 20])
def test_a_bad_token_is_refused_without_being_repeated(token: str) -> None:
    with pytest.raises(ValueError, match="16 to 256 characters") as caught:
        AdminToken(token)
    assert not token or token not in str(caught.value)


def test_a_token_does_not_show_itself() -> None:
    token = AdminToken("super-secret-token")
    assert "super" not in repr(token)
    assert not any("super" in str(getattr(token, name)) for name in AdminToken.__slots__)
