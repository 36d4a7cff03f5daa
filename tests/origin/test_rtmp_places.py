"""Places: the bounds, what counts as one address, who is exempt, and what is left over: nothing."""

from contextlib import ExitStack
from ipaddress import ip_network

import pytest

from origin.rtmp.places import NoPlaceError, Places

BALANCERS = (ip_network("10.0.0.0/8"), ip_network("fd00::/8"))


def make(most: int = 100) -> Places:
    return Places(most=most, most_per_address=1, balancers=BALANCERS)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("192.0.2.1", "::ffff:192.0.2.1"),
        ("2001:db8::1", "2001:db8::ffff:1"),
        ("fe80::1%eth0", "fe80::2%eth1"),
    ],
)
def test_one_address_has_so_many_places(first: str, second: str) -> None:
    places = make()
    with places.take(first):
        with pytest.raises(NoPlaceError, match="from this address"), places.take(second):
            pass
        assert places.taken == 1
    with places.take(second):
        assert places.taken == 1
    assert places.taken == 0


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("192.0.2.1", "192.0.2.2"),
        ("2001:db8:0:1::1", "2001:db8:0:2::1"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
        ("::ffff:127.0.0.1", "127.0.0.1"),
        ("10.1.2.3", "10.1.2.3"),
        ("::ffff:10.1.2.3", "10.1.2.3"),
        ("fd00::1", "fd00::1"),
    ],
)
def test_others_and_exempt_ones_have_more(first: str, second: str) -> None:
    places = make()
    with places.take(first), places.take(second):
        assert places.taken == 2


def test_the_bound_in_all_is_for_everybody() -> None:
    places = make(most=3)
    with ExitStack() as stack:
        for _ in range(3):
            stack.enter_context(places.take("127.0.0.1"))
        for address in ("127.0.0.1", "10.0.0.1", "192.0.2.1"):
            with pytest.raises(NoPlaceError) as refused, places.take(address):
                pass
            assert str(refused.value) == "too many connections"
    assert places.taken == 0


def test_the_table_is_no_longer_than_the_list_of_connections() -> None:
    places = make()
    for number in range(1_000):
        with places.take(f"192.0.2.{number % 250}"), pytest.raises(NoPlaceError):
            places.take(f"192.0.2.{number % 250}").__enter__()
    assert not places._by_network


def test_a_place_is_given_back_whatever_happens() -> None:
    places = make()
    with pytest.raises(ZeroDivisionError), places.take("192.0.2.1"):
        raise ZeroDivisionError
    assert places.taken == 0


def test_balancers_are_known_in_either_form() -> None:
    places = make()
    assert places.is_balancer("10.255.0.1")
    assert places.is_balancer("::ffff:10.0.0.1")
    assert places.is_balancer("fd12::1")
    assert not places.is_balancer("192.0.2.1")
    assert not make().is_balancer("fe80::1%eth0")
