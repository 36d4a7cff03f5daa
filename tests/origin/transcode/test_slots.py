"""Numbers of decoded pictures: display order, lost pictures, epochs; and who wants which."""

from collections.abc import Collection
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from origin.transcode.slots import MAX_PENDING, RungSelector, Slot, SlotCounter, Use


@dataclass
class Run:
    """Feeds a counter and notes what becomes of each number."""

    counter: SlotCounter = field(default_factory=SlotCounter)
    taken: dict[int, int] = field(default_factory=dict)
    """Number to the time of the picture that took it."""
    lost: list[int] = field(default_factory=list)
    order: list[int] = field(default_factory=list)
    """Numbers as they were settled."""

    def feed(self, number: int, pts_ticks: int) -> None:
        self._lose(self.counter.feed(number, pts_ticks, None))

    def come_out(self, pts_ticks: int) -> None:
        lost, slot = self.counter.come_out(pts_ticks)
        self._lose(lost)
        if slot is not None:
            assert slot.pts_ticks == pts_ticks
            self.taken[slot.number] = pts_ticks
            self.order.append(slot.number)

    def give_up(self) -> None:
        self._lose(self.counter.give_up())

    def end_epoch(self) -> None:
        self._lose(self.counter.end_epoch())

    def _lose(self, slots: list[Slot]) -> None:
        self.lost += [slot.number for slot in slots]
        self.order += [slot.number for slot in slots]


def run(fed: list[int], came_out: list[int], first: int = 10) -> Run:
    """All in, then all out."""
    it = Run()
    for number, pts_ticks in enumerate(fed, first):
        it.feed(number, pts_ticks)
    for pts_ticks in came_out:
        it.come_out(pts_ticks)
    return it


ORDERS = {
    "no B-frames": [0, 1, 2, 3, 4],
    "I P b b": [0, 3, 1, 2, 6, 4, 5],
    "B-pyramid": [0, 4, 2, 1, 3, 8, 6, 5, 7],
    "open GOP: leading pictures behind an I": [0, 3, 1, 2, 6, 4, 5, 9, 7, 8],
    "times that are far apart": [0, 90_000, 3_000, 7_777, 180_000],
    "times below zero": [-9, -3, -7, -5],
}


@pytest.mark.parametrize("fed", ORDERS.values(), ids=ORDERS)
def test_kth_displayed_takes_the_kth_slot(fed: list[int]) -> None:
    shown = sorted(fed)
    assert run(fed, shown).taken == dict(enumerate(shown, 10))
    # And as a decoder does it: each picture as soon as no earlier one can come.
    it = Run()
    waiting: list[int] = []
    for number, pts_ticks in enumerate(fed, 10):
        it.feed(number, pts_ticks)
        waiting.append(pts_ticks)
        while waiting and all(min(waiting) < later for later in fed[number - 9 :]):
            it.come_out(min(waiting))
            waiting.remove(min(waiting))
    assert it.taken == dict(enumerate(shown, 10))


@pytest.mark.parametrize("fed", ORDERS.values(), ids=ORDERS)
def test_lost_picture_shifts_nobody(fed: list[int]) -> None:
    shown = sorted(fed)
    for missing in shown[:-1]:
        it = run(fed, [pts_ticks for pts_ticks in shown if pts_ticks != missing])
        rank = shown.index(missing)
        assert it.lost == [10 + rank]
        assert it.taken == {
            10 + index: pts_ticks for index, pts_ticks in enumerate(shown) if pts_ticks != missing
        }
        assert it.order == sorted(it.order)


def test_pictures_at_the_end_that_do_not_come_are_lost_when_given_up() -> None:
    it = run([0, 1, 2], [0])
    assert it.lost == []
    it.give_up()
    assert it.lost == [11, 12]


def test_numbers_may_have_gaps() -> None:
    it = Run()
    for number, pts_ticks in ((1, 0), (2, 1), (50, 2), (51, 3)):
        it.feed(number, pts_ticks)
    for pts_ticks in (0, 1, 2, 3):
        it.come_out(pts_ticks)
    assert it.taken == {1: 0, 2: 1, 50: 2, 51: 3}


@pytest.mark.parametrize("number", [5, 4, 0])
def test_numbers_must_increase(number: int) -> None:
    counter = SlotCounter()
    counter.feed(5, 0, None)
    with pytest.raises(ValueError, match=f"picture {number} comes after 5"):
        counter.feed(number, 1, None)


def test_of_two_with_the_same_time_one_is_shown() -> None:
    it = run([0, 1, 1, 2], [0, 1, 1, 2])
    assert it.taken == {10: 0, 11: 1, 13: 2}
    assert it.lost == [12]


def test_same_time_of_which_one_is_damaged() -> None:
    it = run([0, 1, 1, 2], [0, 1, 2])
    assert it.taken == {10: 0, 11: 1, 13: 2}
    assert it.lost == [12]


def test_picture_that_comes_out_too_late_is_not_shown() -> None:
    it = Run()
    it.feed(1, 0)
    it.feed(2, 4)
    it.come_out(0)
    it.come_out(4)  # too early: 2 comes yet
    it.feed(3, 2)
    it.come_out(2)
    it.feed(4, 6)
    it.come_out(6)
    assert it.taken == {1: 0, 2: 4, 4: 6}
    assert it.lost == [3]


def test_strange_time_is_nobodys() -> None:
    it = run([0, 5], [0, 3, 99, 5])
    assert it.taken == {10: 0, 11: 5}
    assert it.lost == []


def test_times_begin_anew_with_an_epoch() -> None:
    it = run([100, 103, 101], [100, 101])
    it.end_epoch()
    assert it.lost == [12]
    it.feed(20, 3)
    it.feed(21, 7)
    it.feed(22, 5)
    for pts_ticks in (3, 5, 7):
        it.come_out(pts_ticks)
    assert it.taken == {10: 100, 11: 101, 20: 3, 21: 5, 22: 7}


def test_times_go_on_behind_another_configuration() -> None:
    it = run([100], [100])
    it.give_up()
    it.feed(20, 50)
    it.come_out(50)
    assert it.lost == [20]


def test_of_too_many_that_wait_the_earliest_is_lost() -> None:
    it = Run()
    for number in range(MAX_PENDING + 3):
        it.feed(number, number)
    assert it.lost == [0, 1, 2]
    it.come_out(1)
    it.come_out(MAX_PENDING)
    assert it.taken == {MAX_PENDING: MAX_PENDING}
    assert it.order == list(range(MAX_PENDING + 1))


steps = st.lists(
    st.one_of(
        st.tuples(st.just("feed"), st.integers(-20, 20)),
        st.tuples(st.just("out"), st.integers(-20, 20)),
        st.tuples(st.sampled_from(["give up", "end epoch"]), st.just(0)),
    ),
    max_size=120,
)


@given(steps=steps)
def test_whatever_a_decoder_does_every_number_is_settled_once_and_in_order(
    steps: list[tuple[str, int]],
) -> None:
    it = Run()
    fed = 0
    shown_last: int | None = None
    for what, pts_ticks in steps:
        if what == "feed":
            it.feed(fed, pts_ticks)
            fed += 1
        elif what == "out":
            before = len(it.taken)
            it.come_out(pts_ticks)
            if len(it.taken) > before:
                assert shown_last is None or pts_ticks > shown_last
                shown_last = pts_ticks
        elif what == "give up":
            it.give_up()
        else:
            it.end_epoch()
            shown_last = None
    it.give_up()
    assert it.order == list(range(fed))
    assert sorted([*it.taken, *it.lost]) == list(range(fed))


@given(
    fed=st.lists(st.integers(0, 10_000), min_size=1, max_size=MAX_PENDING, unique=True),
    data=st.data(),
)
def test_any_loss_leaves_the_others_where_they_are(fed: list[int], data: st.DataObject) -> None:
    survivors = data.draw(st.sets(st.sampled_from(fed)))
    shown = sorted(fed)
    it = run(fed, sorted(survivors), first=0)
    assert it.taken == {shown.index(pts_ticks): pts_ticks for pts_ticks in survivors}


# -- which rung wants what

N, P, K = Use.NOTHING, Use.PICTURE, Use.KEYFRAME


def slot(number: int, *divisors: int) -> Slot:
    return Slot(number, number * 3000, divisors or None)


def uses(selector: RungSelector, slots: list[Slot], lost: Collection[int] = ()) -> list[str]:
    """A letter for each rung and slot: N, P or K; a string for each rung."""
    rows = [selector.step(each, is_lost=each.number in lost) for each in slots]
    return ["".join(use.name[0] for use in column) for column in zip(*rows, strict=True)]


def test_first_slot_of_a_segment_is_a_keyframe_in_every_rung() -> None:
    selector = RungSelector([1, 1])
    slots = [slot(0, 1, 1), slot(1), slot(2), slot(3, 1, 1), slot(4)]
    assert uses(selector, slots) == ["KPPKP", "KPPKP"]


def test_divisor_counts_from_each_segments_first_slot() -> None:
    selector = RungSelector([2, 3])
    slots = [slot(4, 2, 3), *map(slot, range(5, 9)), slot(9, 2, 3), *map(slot, range(10, 14))]
    assert uses(selector, slots) == ["KNPNPKNPNP", "KNNPNKNNPN"]


def test_slots_before_any_segment_begin_with_a_keyframe() -> None:
    assert uses(RungSelector([2]), [slot(7), slot(8), slot(9)]) == ["KNP"]


def test_lost_first_slot_hands_the_keyframe_on_whatever_the_divisor() -> None:
    slots = [slot(0, 1, 2, 3), slot(1), slot(2), slot(3), slot(4)]
    assert uses(RungSelector([1, 2, 3]), slots, lost={0}) == ["NKPPP", "NKPNP", "NKNPN"]
    assert uses(RungSelector([1, 2, 3]), slots, lost={0, 1}) == ["NNKPP", "NNKNP", "NNKPN"]


def test_lost_slot_is_nothing_in_every_rung() -> None:
    slots = [slot(0, 1, 2), slot(1), slot(2), slot(3)]
    assert uses(RungSelector([1, 2]), slots, lost={2}) == ["KPNP", "KNNN"]


def test_rung_that_is_off_has_nothing_until_a_segment_turns_it_on() -> None:
    selector = RungSelector([1, 0])
    slots = [slot(0, 1, 0), slot(1), slot(2, 1, 2), slot(3), slot(4), slot(5, 0, 2), slot(6)]
    assert uses(selector, slots) == ["KPKPPNN", "NNKNPKN"]
    assert selector.divisors == (0, 2)
