"""Addresses: who is local, who shares a network, whom a proxy speaks for, who guesses too often."""

import pytest

from edge.guesses import GUESSES_BURST, MAX_NETWORKS, Guesses
from edge.http.messages import Peer, Request
from edge.http.network import is_local, network_of


@pytest.mark.parametrize(
    ("address", "local", "network"),
    [
        ("127.0.0.1", True, "127.0.0.1"),
        ("127.9.9.9", True, "127.9.9.9"),
        ("::1", True, "::"),
        ("::ffff:127.0.0.1", True, "127.0.0.1"),
        ("", True, ""),
        ("nonsense", True, "nonsense"),
        ("192.0.2.7", False, "192.0.2.7"),
        ("::ffff:192.0.2.7", False, "192.0.2.7"),
        ("2001:db8::1:2:3:4", False, "2001:db8::"),
        ("fe80::1%eth0", False, "fe80::"),
    ],
)
def test_addresses(address: str, local: bool, network: str) -> None:
    assert is_local(address) is local
    assert network_of(address) == network


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (None, "10.0.0.1"),
        (b"203.0.113.7", "203.0.113.7"),
        (b"spoofed, 198.51.100.1,2001:db8::1 ", "2001:db8::1"),
        (b"nonsense", "10.0.0.1"),
        (b"203.0.113.7, ", "10.0.0.1"),
    ],
)
def test_a_proxy_is_believed_and_nobody_else(forwarded: bytes | None, client: str) -> None:
    fields = [] if forwarded is None else [(b"x-forwarded-for", forwarded)]
    assert Request("GET", "/", fields, Peer("10.0.0.1", is_proxy=True)).client == client
    assert Request("GET", "/", fields, Peer("10.0.0.1")).client == "10.0.0.1"
    assert Request("GET", "/", fields).client == ""


def test_of_several_lines_the_proxy_s_own_is_the_last() -> None:
    lines = [(b"x-forwarded-for", b"203.0.113.7"), (b"x-forwarded-for", b"198.51.100.1")]
    assert Request("GET", "/", lines, Peer("10.0.0.1", is_proxy=True)).client == "198.51.100.1"


def test_guesses_run_out_by_network_and_come_back() -> None:
    guesses = Guesses()
    for number in range(GUESSES_BURST):
        assert guesses.may_try("2001:db8::1", 0.0)
        guesses.note_wrong(f"2001:db8::{number}", 0.0)
    assert not guesses.may_try("2001:db8::ffff", 0.0)
    assert guesses.may_try("2001:db8:0:1::", 0.0), "another network"
    assert guesses.may_try("2001:db8::1", 1.0), "one a second"
    guesses.note_wrong("2001:db8::1", 1.0)
    assert not guesses.may_try("2001:db8::1", 1.5)


def test_guesses_of_this_machine_are_not_counted() -> None:
    guesses = Guesses()
    for _ in range(2 * GUESSES_BURST):
        guesses.note_wrong("127.0.0.1", 0.0)
        guesses.note_wrong("", 0.0)
    assert len(guesses) == 0
    assert guesses.may_try("127.0.0.1", 0.0)


def test_so_many_networks_are_remembered() -> None:
    guesses = Guesses()
    for number in range(MAX_NETWORKS + 5):
        guesses.note_wrong(f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}", 0.0)
    assert len(guesses) == MAX_NETWORKS
