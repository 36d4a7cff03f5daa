"""What is kept, for how long, and who has to go: bytes, shares, least recently used."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.cache import ENTRY_BYTES, Cache
from edge.http.response import Response, make_response
from edge.life import Life


def answer(size_bytes: int = 1000) -> Response:
    return make_response(200, (bytes(size_bytes),), life=Life())


def life_of(response: Response) -> Life:
    assert response.life is not None
    return response.life


def test_kept_until_its_life_ends() -> None:
    cache = Cache(max_bytes=10_000)
    kept = answer()
    cache.put("/a", "one", kept)
    assert cache.get("/a") is kept
    assert "/a" in cache
    assert cache.size_bytes == 1000 + ENTRY_BYTES
    life_of(kept).end()
    assert cache.get("/a") is None
    assert cache.size_bytes == 0
    assert len(cache) == 0


def test_dropped_its_life_ends() -> None:
    cache = Cache(max_bytes=10_000)
    kept = answer()
    cache.put("/a", "one", kept)
    cache.drop("/a")
    assert life_of(kept).ended
    cache.drop("/a")  # harmless


def test_a_newer_answer_takes_the_place() -> None:
    cache = Cache(max_bytes=10_000)
    first, second = answer(), answer(2000)
    cache.put("/a", "one", first)
    cache.put("/a", "two", second)
    assert life_of(first).ended
    assert cache.get("/a") is second
    assert cache.size_bytes == 2000 + ENTRY_BYTES


def test_one_that_has_ended_already_is_not_kept() -> None:
    cache = Cache(max_bytes=10_000)
    over = answer()
    life_of(over).end()
    cache.put("/a", "one", over)
    assert len(cache) == 0


def test_the_least_recently_used_of_a_stream_goes_first() -> None:
    cache = Cache(max_bytes=3 * (1000 + ENTRY_BYTES))
    answers = {name: answer() for name in "abcd"}
    for name in "abc":
        cache.put(name, "one", answers[name])
    cache.get("a")
    cache.put("d", "one", answers["d"])
    assert [name for name in "abcd" if life_of(answers[name]).ended] == ["b"]
    assert cache.evicted == 1


def test_a_stream_that_grows_pushes_out_its_own_past() -> None:
    cache = Cache(max_bytes=10 * (1000 + ENTRY_BYTES))
    quiet = [answer() for _ in range(4)]
    for number, one in enumerate(quiet):
        cache.put(f"/quiet/{number}", "quiet", one)
    loud = [answer() for _ in range(50)]
    for number, one in enumerate(loud):
        cache.put(f"/loud/{number}", "loud", one)
    assert not any(life_of(one).ended for one in quiet)
    assert sum(not life_of(one).ended for one in loud) == 6
    assert not life_of(loud[-1]).ended


def test_a_newcomer_takes_from_who_holds_most() -> None:
    cache = Cache(max_bytes=10 * (1000 + ENTRY_BYTES))
    big = [answer() for _ in range(8)]
    small = [answer() for _ in range(2)]
    for number, one in enumerate(big):
        cache.put(f"/big/{number}", "big", one)
    for number, one in enumerate(small):
        cache.put(f"/small/{number}", "small", one)
    for number in range(4):
        cache.put(f"/new/{number}", "new", answer())
    assert [life_of(one).ended for one in big] == [True] * 4 + [False] * 4
    assert not any(life_of(one).ended for one in small)


def test_what_is_larger_than_everything_is_not_kept_and_costs_nobody() -> None:
    cache = Cache(max_bytes=10_000)
    other, huge = answer(), answer(20_000)
    cache.put("/other", "other", other)
    cache.put("/huge", "huge", huge)
    assert life_of(huge).ended
    assert cache.get("/other") is other


def test_empty_answers_are_bounded_too() -> None:
    cache = Cache(max_bytes=100 * ENTRY_BYTES)
    for number in range(1000):
        cache.put(f"/{number}", f"stream {number}", answer(0))
    assert len(cache) == 100


@pytest.mark.parametrize("stream", ["one", "nobody"])
def test_forgetting_one_kind_of_a_stream(stream: str) -> None:
    cache = Cache(max_bytes=100_000)
    for target in ("/one/master.m3u8?container=ts", "/one/ts.m3u8", "/one/p.m4s"):
        cache.put(target, "one", answer())
    cache.put("/two/master.m3u8", "two", answer())
    cache.forget(stream, suffix=".m3u8")
    assert len(cache) == (2 if stream == "one" else 4)
    assert "/one/p.m4s" in cache
    assert "/two/master.m3u8" in cache


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["put", "get", "drop", "end"]),
            st.integers(0, 9),
            st.integers(0, 4000),
        ),
        max_size=60,
    )
)
def test_the_bound_and_the_sums_hold_whatever_happens(steps: list[tuple[str, int, int]]) -> None:
    cache = Cache(max_bytes=8000)
    alive: dict[str, Response] = {}
    for what, number, size_bytes in steps:
        target = f"/{number}"
        if what == "put":
            alive[target] = answer(size_bytes)
            cache.put(target, f"stream {number % 3}", alive[target])
        elif what == "get":
            cache.get(target)
        elif what == "drop":
            cache.drop(target)
        elif target in alive:
            life_of(alive[target]).end()
        kept = {name: one for name, one in alive.items() if not life_of(one).ended}
        assert {name for name in alive if name in cache} == set(kept)
        assert len(cache) == len(kept)
        assert cache.size_bytes == sum(one.size_bytes + ENTRY_BYTES for one in kept.values())
        assert cache.size_bytes <= 8000
