"""Stream ids and keys: their shape, their randomness, their hashes."""

import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.keys import hash_key, is_stream_id, is_stream_key, new_stream_id, new_stream_key


def test_a_key_is_live_and_32_hex_digits() -> None:
    assert re.fullmatch(r"live_[0-9a-f]{32}", new_stream_key())


def test_an_id_is_12_characters_that_need_no_quoting_anywhere() -> None:
    assert re.fullmatch(r"[0-9a-hjkmnp-tv-z]{12}", new_stream_id())


def test_ids_and_keys_do_not_repeat() -> None:
    assert len({new_stream_key() for _ in range(1000)}) == 1000
    assert len({new_stream_id() for _ in range(1000)}) == 1000


def test_what_is_made_is_recognised() -> None:
    assert is_stream_key(new_stream_key())
    assert is_stream_id(new_stream_id())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "live_",
        "live_" + "0" * 31,
        "live_" + "0" * 33,
        "live_" + "0" * 32 + "\n",
        "LIVE_" + "0" * 32,
        "live_" + "A" * 32,
        "live_" + "\u0663" * 32,  # digits, but not ours
        " live_" + "0" * 32,
        "\ud800",
    ],
)
def test_what_is_not_a_key_is_not_recognised(text: str) -> None:
    assert not is_stream_key(text)


@pytest.mark.parametrize("text", ["", "0" * 11, "0" * 13, "0" * 12 + "\n", "i" * 12, "A" * 12])
def test_what_is_not_an_id_is_not_recognised(text: str) -> None:
    assert not is_stream_id(text)


def test_the_hash_is_sha_256() -> None:
    key = "live_" + "0123456789abcdef" * 2
    assert hash_key(key) == hashlib.sha256(key.encode()).digest()


@given(st.text(st.characters(exclude_categories=())))
def test_any_text_has_a_hash(text: str) -> None:
    assert len(hash_key(text)) == 32
