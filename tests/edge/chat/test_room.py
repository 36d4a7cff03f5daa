"""One room: what its methods decide, store, show and remember."""

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from room_rig import ADMIN, BROADCASTER, MODERATOR, NOW_MS, STREAM, Rig, guest, viewer

from control.chat_model import (
    AuditEntry,
    ChatMessage,
    FilterAction,
    RoomSettings,
    Sanction,
    StoredRoom,
)
from edge.chat import people
from edge.chat.bounds import check_settings
from edge.chat.protocol import ChatError
from edge.chat.room import HISTORY, MAX_CHANGES, MAX_HELD, MESSAGES_IN_FRAME, Change
from edge.chat.rules import RoomFullError
from edge.chat.sampling import Sampling

ANNA, BEN = viewer("Anna"), viewer("Ben")


class Spy:
    """A store that remembers its calls."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []

    def __getattr__(self, name: str) -> Callable[..., Awaitable[None]]:
        async def call(*args: Any, **kwargs: Any) -> None:
            self.calls.append((name, args, kwargs))

        return call


async def written(changes: list[Change]) -> Spy:
    spy = Spy()
    for change in changes:
        if change.write is not None:
            await change.write(spy)  # type: ignore[arg-type]
    return spy


def refused(code: str) -> Any:
    return pytest.raises(ChatError, check=lambda error: error.code == code)


def test_messages_of_one_flush_share_a_frame_in_order() -> None:
    rig = Rig()
    rig.enter(1, ANNA)
    rig.enter(2, BEN)
    first = rig.say(ANNA, "one", stream_time_s=12.3456, client_id="c" * 99)
    rig.say(BEN, "two")
    assert rig.out.broadcasts == []
    rig.flush()
    assert [frame["type"] for frame in rig.out.broadcasts] == ["messages"]
    assert rig.shown(1) == rig.shown(2) == ["one", "two"]
    assert (first.stream_time, first.client_id) == (12.346, "c" * 64)
    assert first.stream_id == STREAM
    assert rig.notes > 0


def test_a_large_batch_is_cut_into_frames() -> None:
    rig = Rig()
    rig.enter(1, BEN)
    for number in range(2 * MESSAGES_IN_FRAME + 1):
        rig.room.post(ANNA, str(number), NOW_MS)
    rig.flush()
    assert [len(frame["messages"]) for frame in rig.out.broadcasts] == [100, 100, 1]
    assert rig.shown(1) == [str(number) for number in range(201)]


def test_ids_grow_even_when_the_clock_goes_back() -> None:
    rig = Rig()
    ids = []
    for step_ms in (0, 0, -5000, 7, -7):
        rig.now_ms += step_ms
        message = rig.room.post(ANNA, "x", rig.now_ms)
        ids.append(message.id)
    assert ids == sorted(set(ids))
    assert all(len(one) == 16 for one in ids)
    again = Rig(StoredRoom(settings=RoomSettings(), last_id=ids[-1]))
    assert again.room.post(ANNA, "y", NOW_MS - 9999).id > ids[-1]


def test_who_comes_is_given_what_was_shown_and_the_rest_with_everybody() -> None:
    rig = Rig()
    rig.say(ANNA, "old")
    rig.flush()
    rig.say(ANNA, "fresh")
    assert [message.content for message in rig.room.shown] == ["old"]
    rig.enter(1, BEN)
    rig.flush()
    assert rig.shown(1) == ["fresh"]
    assert [message.content for message in rig.room.shown] == ["old", "fresh"]


def test_history_is_bounded() -> None:
    rig = Rig()
    for number in range(HISTORY + 3):
        rig.room.post(ANNA, str(number), NOW_MS)
    assert [rig.room.history[0].content, len(rig.room.history)] == ["3", HISTORY]


def test_changes_that_are_not_taken_are_bounded() -> None:
    rig = Rig()
    for _ in range(MAX_CHANGES):
        rig.room.post(ANNA, "x", NOW_MS)
    with refused("unavailable"):
        rig.room.weigh(ANNA, "x", NOW_MS)
    rig.flush()
    rig.room.weigh(ANNA, "x", NOW_MS)


def test_people_are_remembered_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(people, "MAX_PEOPLE", 2)
    rig = Rig()
    for tag, name in enumerate(("Anna", "Ben", "Cleo")):
        rig.enter(tag, viewer(name))
    with refused("unknownUser"):
        rig.room.find("Anna")
    assert rig.room.find("@cleo") == "u-cleo"
    assert rig.room.known("u-anna") is None


def test_a_guest_may_not_take_a_name_of_somebody_here_or_a_reserved_one() -> None:
    rig = Rig(reserved_names=("Queen",))
    rig.enter(1, guest("Zoe"))
    for name in ("ZOE", "Admin", "QUEEN"):
        with refused("nameTaken"):
            rig.room.admit(
                guest(name).__class__(user_id="guest_x", username=name, is_guest=True), 0
            )
    rig.room.admit(guest("Zoe"), NOW_MS)  # itself, again
    rig.room.admit(viewer("Zoe"), NOW_MS)  # a token says so


def test_a_name_that_was_changed_is_free_again() -> None:
    rig = Rig()
    rig.enter(1, guest("Zoe"))
    rig.enter(2, msgspec.structs.replace(guest("Zoe"), username="Zara"))
    rig.room.admit(msgspec.structs.replace(guest("Other"), username="Zoe"), NOW_MS)


def test_members_come_and_go() -> None:
    rig = Rig()
    rig.enter(1, ANNA)
    rig.enter(2, ANNA)
    rig.room.tell_viewers()
    rig.room.tell_viewers()  # nothing new
    rig.room.leave(1)
    rig.room.leave(1)
    rig.room.tell_viewers()
    rig.room.leave(2)
    counts = [frame["count"] for frame in rig.out.broadcasts]
    assert counts == [2, 1]
    assert rig.room.members == {}


@pytest.mark.parametrize(
    "act",
    [
        lambda room, who: room.clear(who, NOW_MS),
        lambda room, who: room.delete(who, "0" * 16, NOW_MS),
        lambda room, who: room.sanction(who, "u-ben", NOW_MS),
        lambda room, who: room.pardon(who, "u-ben", NOW_MS),
        lambda room, who: room.change(who, RoomSettings(), NOW_MS),
        lambda room, who: room.pin(who, "0" * 16, NOW_MS),
        lambda room, who: room.unpin(who, NOW_MS),
        lambda room, who: room.approve(who, "0" * 16, NOW_MS),
        lambda room, who: room.deny(who, "0" * 16, NOW_MS),
        lambda room, who: room.set_moderator(who, "u-ben", True, NOW_MS),
    ],
)
def test_viewers_moderate_nothing(act: Callable[[Any, Any], None]) -> None:
    rig = Rig()
    with refused("forbidden"):
        act(rig.room, ANNA)
    assert not rig.room.is_changed


@pytest.mark.parametrize("target", [MODERATOR, BROADCASTER, ADMIN])
def test_moderators_act_on_nobody_of_their_rank_or_above(target: Any) -> None:
    rig = Rig()
    other = viewer("Mick", role=MODERATOR.role)
    rig.enter(1, target)
    with refused("forbidden"):
        rig.room.sanction(other, target.user_id, NOW_MS)
    message = rig.say(target, "mine")
    with refused("forbidden"):
        rig.room.delete(other, message.id, NOW_MS)


async def test_a_deleted_message_vanishes_everywhere() -> None:
    rig = Rig()
    rig.enter(1, BEN)
    message = rig.say(ANNA, "oops")
    rig.room.pin(MODERATOR, message.id, NOW_MS)
    rig.flush()
    rig.room.delete(MODERATOR, message.id, NOW_MS)
    spy = await written(rig.flush())
    assert rig.out.frames[1][-2:] == [
        {"type": "deleted", "ids": [message.id]},
        {"type": "pinned", "message": None},
    ]
    assert list(rig.room.history) == []
    assert [name for name, _, _ in spy.calls] == ["delete_messages", "save_pin", "add_audit"]
    entry = spy.calls[-1][1][1]
    assert isinstance(entry, AuditEntry)
    assert (entry.action, entry.actor_id, entry.target) == ("delete", "u-mona", message.id)


def test_an_author_may_delete_what_they_wrote_and_a_moderator_what_is_old() -> None:
    rig = Rig()
    own = rig.say(ANNA, "mine")
    rig.room.delete(ANNA, own.id, NOW_MS)
    rig.room.delete(MODERATOR, "00000000000000ab", NOW_MS)
    with refused("unknownMessage"):
        rig.room.delete(MODERATOR, "../etc", NOW_MS)


async def test_a_ban_silences_shuts_out_and_purges() -> None:
    rig = Rig()
    rig.enter(1, ANNA)
    rig.enter(2, BEN)
    pinned = rig.say(ANNA, "bad")
    rig.say(BEN, "good")
    rig.room.pin(MODERATOR, pinned.id, NOW_MS)
    rig.flush()
    rig.room.sanction(MODERATOR, "u-anna", rig.now_ms, reason="r" * 999)
    with refused("banned"):
        rig.room.weigh(ANNA, "again", rig.now_ms)
    with refused("banned"):
        rig.room.post(ANNA, "was being asked", rig.now_ms)
    with refused("banned"):
        rig.room.admit(ANNA, rig.now_ms)
    spy = await written(rig.flush())
    assert rig.out.closed == {1: 4003}
    assert [message.content for message in rig.room.history] == ["good"]
    assert rig.types(2)[-3:] == ["deleted", "pinned", "banned"]
    (sanction,) = [args[1] for name, args, _ in spy.calls if name == "put_sanction"]
    assert isinstance(sanction, Sanction)
    assert (sanction.username, sanction.until, len(sanction.reason)) == ("Anna", None, 200)
    rig.room.pardon(MODERATOR, "u-anna", rig.now_ms)
    rig.room.admit(ANNA, rig.now_ms)
    with refused("unknownUser"):
        rig.room.pardon(MODERATOR, "u-anna", rig.now_ms)


def test_a_banned_guest_does_not_return_under_another_id() -> None:
    rig = Rig()
    rig.enter(1, guest("Troll"))
    rig.enter(2, guest("Twin"))  # the same network
    rig.enter(3, guest("Far", network="other"))
    rig.enter(4, viewer("Token", network="net"))
    rig.room.sanction(MODERATOR, "guest_Troll", NOW_MS)
    rig.flush()
    assert rig.out.closed == {1: 4003, 2: 4003}
    with refused("banned"):
        rig.room.admit(guest("New"), NOW_MS)
    rig.room.admit(guest("New", network="other"), NOW_MS)


def test_a_timeout_silences_for_its_time_and_closes_nobody() -> None:
    rig = Rig()
    rig.enter(1, ANNA)
    sanction = rig.room.sanction(MODERATOR, "u-anna", rig.now_ms, seconds=60)
    rig.flush()
    assert rig.out.closed == {}
    assert sanction.until is not None
    with pytest.raises(ChatError) as caught:
        rig.room.post(ANNA, "x", rig.now_ms + 59_000)
    assert (caught.value.code, caught.value.retry_after_s) == ("timedOut", 1.0)
    rig.room.post(ANNA, "x", sanction.until)
    rig.room.sanction(MODERATOR, "u-anna", rig.now_ms, seconds=60)
    rig.room.pardon(MODERATOR, "u-anna", rig.now_ms)
    assert rig.out.frames[1][-1]["until"] == rig.now_ms


@pytest.mark.parametrize("seconds", [9.9, 14 * 86400 + 1, float("nan"), -1])
def test_timeouts_have_bounds(seconds: float) -> None:
    with refused("badRequest"):
        Rig().room.sanction(MODERATOR, "u-anna", NOW_MS, seconds=seconds)


def test_somebody_banned_is_found_by_name_when_everybody_has_forgotten() -> None:
    sanction = Sanction(user_id="u-old", username="Olga")
    rig = Rig(StoredRoom(settings=RoomSettings(), sanctions=(sanction,)))
    assert rig.room.find("Olga") == "u-old"


def test_a_held_message_is_seen_by_its_author_and_by_moderators() -> None:
    rig = Rig(blocked_words=("plum",), blocked_words_action=FilterAction.HOLD)
    for tag, who in enumerate((ANNA, BEN, MODERATOR)):
        rig.enter(tag, who)
    held = rig.say(ANNA, "a plum")
    assert [rig.types(tag) for tag in range(3)] == [["held"], [], ["held"]]
    rig.say(BEN, "meanwhile")
    rig.room.approve(MODERATOR, held.id, rig.now_ms)
    rig.flush()
    assert rig.shown(1) == ["meanwhile", "a plum"]
    with refused("unknownMessage"):
        rig.room.deny(MODERATOR, held.id, rig.now_ms)
    other = rig.say(ANNA, "two plums plum")
    rig.room.deny(MODERATOR, other.id, rig.now_ms)
    assert rig.types(0)[-1] == "notice"


def test_held_messages_are_bounded_and_go_with_a_ban() -> None:
    rig = Rig()
    first = rig.room.hold(ANNA, "x", "why", NOW_MS)
    for _ in range(MAX_HELD):
        last = rig.room.hold(BEN, "x", "why", NOW_MS)
    with refused("unknownMessage"):
        rig.room.approve(MODERATOR, first.id, NOW_MS)
    rig.room.sanction(MODERATOR, "u-ben", NOW_MS)
    with refused("unknownMessage"):
        rig.room.approve(MODERATOR, last.id, NOW_MS)


def test_a_moderator_that_was_made_can_moderate_until_unmade() -> None:
    rig = Rig()
    rig.enter(1, ANNA)
    with refused("forbidden"):
        rig.room.set_moderator(MODERATOR, "u-anna", True, NOW_MS)
    rig.room.set_moderator(BROADCASTER, "u-anna", True, NOW_MS)
    rig.room.clear(ANNA, NOW_MS)
    rig.room.set_moderator(BROADCASTER, "u-anna", False, NOW_MS)
    with refused("forbidden"):
        rig.room.clear(ANNA, NOW_MS)
    assert rig.types(1) == ["role", "notice", "role", "notice"]
    assert [one["role"] for one in rig.out.frames[1][::2]] == ["moderator", "viewer"]
    rig.enter(2, guest("Zoe"))
    with refused("notAllowed"):
        rig.room.set_moderator(BROADCASTER, "guest_Zoe", True, NOW_MS)


def test_clear_pin_and_settings_reach_everybody() -> None:
    rig = Rig()
    rig.enter(1, BEN)
    message = rig.say(ANNA, "hello")
    rig.room.pin(MODERATOR, message.id, NOW_MS)
    rig.room.unpin(MODERATOR, NOW_MS)
    rig.room.clear(MODERATOR, NOW_MS)
    rig.room.change(MODERATOR, RoomSettings(slow_mode_s=9), NOW_MS)
    with refused("unknownMessage"):
        rig.room.pin(MODERATOR, message.id, NOW_MS)
    rig.flush()
    assert rig.types(1) == ["messages", "pinned", "pinned", "deleted", "settings"]
    assert rig.room.settings.slow_mode_s == 9
    assert rig.out.frames[1][3] == {"type": "deleted", "all": True}


@pytest.mark.parametrize(
    "settings",
    [
        RoomSettings(slow_mode_s=-1),
        RoomSettings(slow_mode_s=3601),
        RoomSettings(blocked_words=("x",) * 501),
        RoomSettings(blocked_words=("",)),
        RoomSettings(blocked_words=("x" * 65,)),
        RoomSettings(allowed_hosts=("x",) * 101),
        RoomSettings(required_claims=("x",) * 17),
        RoomSettings(reserved_names=("x",) * 101),
    ],
)
def test_settings_have_bounds(settings: RoomSettings) -> None:
    with refused("badRequest"):
        Rig().room.change(MODERATOR, settings, NOW_MS)
    check_settings(RoomSettings())


def test_a_crowd_sees_a_sample_and_everybody_their_own() -> None:
    rig = Rig(sampling=Sampling(above=2, per_s=1.0))
    people = [viewer(name) for name in ("Anna", "Ben", "Cleo")]
    for tag, who in enumerate(people):
        rig.enter(tag, who)
    for who in people:
        rig.room.post(who, f"of {who.username}", rig.now_ms)
    rig.room.post(MODERATOR, "of Mona", rig.now_ms)
    rig.flush()
    assert rig.shown(0) == ["of Anna", "of Mona"]
    assert rig.shown(1) == ["of Ben", "of Anna", "of Mona"]
    assert rig.shown(2) == ["of Cleo", "of Anna", "of Mona"]
    rig.now_ms += 1000
    rig.room.post(people[1], "later", rig.now_ms)
    rig.flush()
    assert rig.shown(0)[-1] == "later"
    rig.room.leave(2)  # no crowd any more
    for number in range(3):
        rig.room.post(people[0], str(number), rig.now_ms)
    rig.flush()
    assert rig.shown(0)[-3:] == ["0", "1", "2"]


def test_messages_survive_in_what_is_stored() -> None:
    rig = Rig()
    rig.say(ANNA, "kept")
    (change,) = rig.room.take()
    assert isinstance(change.message, ChatMessage)
    assert change.write is None
    assert rig.room.take() == []


def test_a_room_that_is_full_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    rig = Rig()

    def full(*_args: object) -> None:
        raise RoomFullError("as many as it can have")

    monkeypatch.setattr(rig.room.rules, "sanction", full)
    monkeypatch.setattr(rig.room.rules, "set_moderator", full)
    with refused("notAllowed"):
        rig.room.sanction(MODERATOR, "u-anna", NOW_MS)
    with refused("notAllowed"):
        rig.room.set_moderator(BROADCASTER, "u-anna", True, NOW_MS)
    assert not rig.room.is_changed
