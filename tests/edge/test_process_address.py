"""HOST:PORT: what is one, what is not and why."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.process.address import Address, parse_address


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("localhost:0", Address("localhost", 0)),
        ("0.0.0.0:65535", Address("0.0.0.0", 65535)),
        ("[::1]:80", Address("::1", 80)),
        ("[::]:0", Address("::", 0)),
        ("[fe80::1%eth0]:1935", Address("fe80::1%eth0", 1935)),
    ],
)
def test_addresses_are_read_and_written(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "expected HOST:PORT"),
        ("localhost", "expected HOST:PORT"),
        ("localhost:", "the port must be a number from 0 to 65535"),
        ("localhost:65536", "the port must be"),
        ("localhost:-1", "the port must be"),
        ("localhost:http", "the port must be"),
        ("localhost:\u0663", "the port must be"),
        ("localhost:000080", "the port must be"),
        (":80", "the host is missing"),
        ("[]:80", "brackets are for IPv6"),
        ("[localhost]:80", "brackets are for IPv6"),
        ("::1:80", "an IPv6 address goes in brackets"),
        ("http://localhost:80", "an IPv6 address goes in brackets"),
        ("//localhost:80", "a character that no host has"),
        ("local host:80", "a character that no host has"),
        ("local\nhost:80", "a character that no host has"),
        ("[::1:80", "an IPv6 address goes in brackets"),
    ],
)
def test_what_is_no_address_says_why(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        parse_address(text)


@given(st.text())
def test_any_text_is_an_address_or_a_value_error(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(str(address)) == address


@pytest.mark.parametrize(
    ("bound", "reached"),
    [
        (Address("0.0.0.0", 80), "127.0.0.1:80"),
        (Address("::", 80), "[::1]:80"),
        (Address("127.0.0.1", 80), "127.0.0.1:80"),
        (Address("example.org", 80), "example.org:80"),
    ],
)
def test_a_wildcard_is_reached_over_loopback(bound: Address, reached: str) -> None:
    assert str(bound.reachable) == reached
