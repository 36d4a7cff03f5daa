"""Which streams have series of their own: against a model."""

from hypothesis import given
from hypothesis import strategies as st

from edge.events import EventBus
from origin.observe.names import OTHER, NamedStreams

STEPS = st.lists(st.tuples(st.booleans(), st.sampled_from("abcdefg")), max_size=60)


@given(steps=STEPS, most=st.integers(0, 4))
def test_as_many_as_may_be_are_named_and_nobody_loses_a_name(
    steps: list[tuple[bool, str]], most: int
) -> None:
    names, bus = NamedStreams(most), EventBus()
    bus.listen(names.on_event)
    live: list[str] = []
    for begins, stream in steps:
        before = [one for one in live if one in names]
        bus.emit("stream.live" if begins else "stream.ended", stream)
        bus.emit("publisher.connected", stream)
        if begins and stream not in live:
            live.append(stream)
        elif not begins and stream in live:
            live.remove(stream)
        named = [one for one in live if one in names]
        assert len(named) == min(most, len(live))
        assert names.unnamed == len(live) - len(named)
        assert all(one in names for one in before if one in live)
        assert all(names.label(one) == (one if one in named else OTHER) for one in "abcdefg")


def test_who_waits_longest_is_next() -> None:
    names, bus = NamedStreams(1), EventBus()
    bus.listen(names.on_event)
    for stream in ("a", "b", "c"):
        bus.emit("stream.live", stream)
    bus.emit("stream.ended", "a")
    assert [stream for stream in "abc" if stream in names] == ["b"]
