"""Each rule alone, its order among the others, and each bound."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from control.chat_model import FilterAction, Role, RoomSettings, Sanction
from edge.chat.rules import (
    MAX_TIMEOUT_S,
    MIN_TIMEOUT_S,
    MODERATOR_PACE,
    Accept,
    Hold,
    Identity,
    Refuse,
    RoomFullError,
    RuleLimits,
    Rules,
    Verdict,
)

NOW = 1_800_000_000_000

BOB = Identity(user_id="bob", username="Bob", network="net-b")
ALONE = replace(BOB, network="")
EVE = Identity(user_id="eve", username="Eve", network="net-e")
MOD = Identity(user_id="mod", username="Mo", role=Role.MODERATOR, network="net-m")
GUEST = Identity(user_id="guest_1", username="Guest 1", is_guest=True, network="net-g")
FAST = RoomSettings(slow_mode_s=0)


def ban(who: Identity, **changes: object) -> Sanction:
    network = who.network if who.is_guest else None
    sanction = Sanction(user_id=who.user_id, username=who.username, network=network, at=NOW)
    return replace(sanction, **changes)


def guest(number: int, network: str = "net-g") -> Identity:
    return Identity(user_id=f"guest_{number}", username="Guest", is_guest=True, network=network)


def code(verdict: Verdict) -> str:
    return verdict.code if isinstance(verdict, Refuse) else "accepted"


# -- what a message is


@pytest.mark.parametrize("content", ["", "  \n", "\u202e\u200b"])
@pytest.mark.parametrize("who", [BOB, MOD])
def test_an_empty_message_is_refused(who: Identity, content: str) -> None:
    assert code(Rules(FAST).judge(who, content, NOW)) == "empty"


@pytest.mark.parametrize("who", [BOB, MOD])
def test_a_message_has_at_most_500_characters(who: Identity) -> None:
    rules = Rules(FAST)
    assert rules.judge(who, f"  {'x' * 500}\u200b", NOW) == Accept("x" * 500)
    assert code(rules.judge(who, "x" * 501, NOW)) == "tooLong"
    assert code(rules.judge(who, " " * 2000, NOW)) == "empty"
    assert code(rules.judge(who, " " * 2001, NOW)) == "tooLong"  # it is not even cleaned


# -- who may write


def test_guests_may_be_kept_out() -> None:
    rules = Rules(RoomSettings(guests_allowed=False))
    assert code(rules.judge(GUEST, "hi", NOW)) == "guestsNotAllowed"
    assert rules.judge(BOB, "hi", NOW) == Accept("hi")


def test_one_of_the_claims_is_needed() -> None:
    rules = Rules(RoomSettings(required_claims=("follower", "member")))
    verdict = rules.judge(BOB, "hi", NOW)
    assert isinstance(verdict, Refuse)
    assert (verdict.code, verdict.retry_after_s) == ("claimRequired", None)
    assert "follower or member" in verdict.text
    assert code(rules.judge(GUEST, "hi", NOW)) == "claimRequired"
    assert rules.judge(replace(BOB, claims=frozenset({"member", "x"})), "hi", NOW) == Accept("hi")
    assert rules.judge(MOD, "hi", NOW) == Accept("hi")


# -- slow mode


def test_slow_mode_lasts_exactly_as_long_as_it_says() -> None:
    rules = Rules(RoomSettings(slow_mode_s=3))
    assert rules.judge(BOB, "one", NOW) == Accept("one")
    early = rules.judge(BOB, "two", NOW + 2999)
    assert isinstance(early, Refuse)
    assert (early.code, early.retry_after_s) == ("slowMode", 0.001)
    assert rules.judge(EVE, "other", NOW + 2999) == Accept("other")
    assert rules.judge(BOB, "two", NOW + 3000) == Accept("two")


def test_a_refused_message_does_not_make_anybody_wait() -> None:
    rules = Rules(RoomSettings(slow_mode_s=3, links=FilterAction.REJECT))
    assert code(rules.judge(BOB, "evil.com", NOW)) == "link"
    assert rules.judge(BOB, "one", NOW) == Accept("one")


def test_a_held_message_does() -> None:
    rules = Rules(RoomSettings(slow_mode_s=3, links=FilterAction.HOLD))
    assert isinstance(rules.judge(BOB, "evil.com", NOW), Hold)
    assert code(rules.judge(BOB, "one", NOW + 1)) == "slowMode"


def test_another_slow_mode_holds_for_what_was_said_before_it() -> None:
    rules = Rules(FAST)
    rules.judge(BOB, "one", NOW)
    rules.change(RoomSettings(slow_mode_s=10))
    assert rules.settings.slow_mode_s == 10
    assert code(rules.judge(BOB, "two", NOW + 9999)) == "slowMode"
    assert rules.judge(BOB, "two", NOW + 10_000) == Accept("two")


def test_a_clock_that_goes_back_makes_nobody_wait_longer() -> None:
    rules = Rules(RoomSettings(slow_mode_s=3), limits=RuleLimits(user_burst=1))
    hour_ms = 3_600_000
    assert rules.judge(ALONE, "one", NOW + hour_ms) == Accept("one")
    verdict = rules.judge(ALONE, "one", NOW)
    assert isinstance(verdict, Refuse)
    assert (verdict.code, verdict.retry_after_s) == ("slowMode", 3.0)
    assert code(rules.judge(ALONE, "one", NOW + 3000)) == "duplicate"
    assert code(rules.judge(ALONE, "one", NOW + 29_999)) == "duplicate"
    assert rules.judge(ALONE, "one", NOW + 31_000) == Accept("one")


def test_who_is_forgotten_does_not_get_round_slow_mode() -> None:
    rules = Rules(RoomSettings(slow_mode_s=60), limits=RuleLimits(max_speakers=2))
    people = [Identity(user_id=f"u{number}", username="U") for number in range(4)]
    assert rules.judge(people[0], "hi", NOW) == Accept("hi")
    assert rules.judge(people[1], "hi", NOW + 5) == Accept("hi")
    # The price: somebody new has to wait until what was forgotten does not matter any more.
    assert code(rules.judge(people[2], "hi", NOW + 10)) == "slowMode"
    assert rules.speakers == 2
    assert code(rules.judge(people[0], "again", NOW + 59_999)) == "slowMode"
    assert code(rules.judge(people[3], "hi", NOW + 60_004)) == "slowMode"
    assert rules.judge(people[3], "hi", NOW + 60_005) == Accept("hi")


def test_who_was_quiet_the_longest_is_forgotten() -> None:
    rules = Rules(FAST, limits=RuleLimits(max_speakers=2))
    carol = Identity(user_id="carol", username="Carol")
    for who, content in ((BOB, "hi"), (EVE, "hi"), (BOB, "and"), (carol, "hi")):
        assert code(rules.judge(who, content, NOW)) == "accepted"
    assert code(rules.judge(BOB, "hi", NOW)) == "duplicate"
    assert code(rules.judge(EVE, "hi", NOW)) == "accepted"


def test_guests_do_not_push_others_out() -> None:
    rules = Rules(RoomSettings(slow_mode_s=60), limits=RuleLimits(max_speakers=2))
    rules.judge(BOB, "hi", NOW)
    for number in range(5):
        rules.judge(guest(number, network=f"net-{number}"), "hi", NOW)
    assert rules.judge(EVE, "hi", NOW) == Accept("hi")
    assert rules.speakers == 2 + 2 + 2  # others, guests, networks


# -- rates


def test_a_burst_is_given_back_bit_by_bit() -> None:
    rules = Rules(FAST, limits=RuleLimits(user_burst=2, user_per_s=0.5))
    assert code(rules.judge(BOB, "one", NOW)) == "accepted"
    assert code(rules.judge(BOB, "two", NOW)) == "accepted"
    verdict = rules.judge(BOB, "three", NOW)
    assert isinstance(verdict, Refuse)
    assert (verdict.code, verdict.retry_after_s) == ("rateLimited", 2.0)
    assert code(rules.judge(BOB, "three", NOW + 1999)) == "rateLimited"
    assert code(rules.judge(BOB, "three", NOW + 2000)) == "accepted"
    assert code(rules.judge(EVE, "three", NOW)) == "accepted"


def test_refused_messages_cost_too() -> None:
    rules = Rules(RoomSettings(slow_mode_s=1), limits=RuleLimits(user_burst=3, user_per_s=0.1))
    codes = [code(rules.judge(BOB, text, NOW)) for text in ("one", "", "two", "three")]
    assert codes == ["accepted", "empty", "slowMode", "slowMode"]
    assert code(rules.judge(BOB, "four", NOW + 1000)) == "rateLimited"


def test_a_clock_that_goes_back_gives_no_burst_and_takes_none() -> None:
    rules = Rules(FAST, limits=RuleLimits(user_burst=2))
    rules.judge(ALONE, "one", NOW)
    rules.judge(ALONE, "two", NOW)
    back_ms = NOW - 3_600_000
    verdict = rules.judge(ALONE, "three", back_ms)
    assert isinstance(verdict, Refuse)
    assert verdict.retry_after_s == 1.0
    assert code(rules.judge(ALONE, "three", back_ms + 1000)) == "accepted"
    assert code(rules.judge(ALONE, "four", back_ms + 1000)) == "rateLimited"


def test_a_clock_that_goes_back_leaves_a_network_with_nothing_for_a_moment() -> None:
    rules = Rules(FAST, limits=RuleLimits(network_burst=2))
    rules.judge(guest(1), "hi", NOW + 3_600_000)
    verdict = rules.judge(guest(2), "hi", NOW)
    assert isinstance(verdict, Refuse)
    assert verdict.retry_after_s == 0.2
    assert code(rules.judge(guest(2), "hi", NOW + 200)) == "accepted"


def test_a_network_has_a_rate_of_its_own() -> None:
    rules = Rules(FAST, limits=RuleLimits(network_burst=3))
    codes = [code(rules.judge(guest(number), "hi", NOW)) for number in range(4)]
    assert codes == ["accepted"] * 3 + ["rateLimited"]
    assert code(rules.judge(guest(5, network="net-x"), "hi", NOW)) == "accepted"
    assert code(rules.judge(guest(6, network=""), "hi", NOW)) == "accepted"
    assert code(rules.judge(replace(MOD, network="net-g"), "hi", NOW)) == "accepted"


def test_one_who_is_too_fast_does_not_use_up_the_network() -> None:
    rules = Rules(FAST, limits=RuleLimits(user_burst=2, network_burst=3))
    for number in range(10):
        rules.judge(guest(1), f"hi {number}", NOW)
    assert code(rules.judge(guest(2), "hi", NOW)) == "accepted"


def test_a_moderator_is_ten_times_as_fast() -> None:
    rules = Rules(RoomSettings(slow_mode_s=60), limits=RuleLimits(network_burst=1))
    codes = [code(rules.judge(MOD, "hi", NOW)) for _ in range(5 * MODERATOR_PACE + 1)]
    assert codes == ["accepted"] * 5 * MODERATOR_PACE + ["rateLimited"]
    assert code(rules.judge(MOD, "hi", NOW + 100)) == "accepted"


@given(
    burst=st.integers(1, 5),
    each_ms=st.sampled_from([125, 250, 1000, 4000]),
    waits_ms=st.lists(st.integers(0, 5000) | st.sampled_from([0, 125, 1000, 4000]), max_size=40),
)
def test_the_rate_is_a_bucket_of_tokens(burst: int, each_ms: int, waits_ms: list[int]) -> None:
    limits = RuleLimits(user_burst=burst, user_per_s=1000 / each_ms, network_burst=1000)
    rules = Rules(FAST, limits=limits)
    tokens, now_ms = Fraction(burst), NOW
    for number, wait_ms in enumerate(waits_ms):
        now_ms += wait_ms
        tokens = min(Fraction(burst), tokens + Fraction(wait_ms, each_ms))
        verdict = rules.judge(BOB, f"hi {number}", now_ms)
        if tokens >= 1:
            tokens -= 1
            assert code(verdict) == "accepted"
        else:
            assert isinstance(verdict, Refuse)
            assert verdict.retry_after_s == pytest.approx(float((1 - tokens) * each_ms / 1000))


# -- the same again


def test_the_same_text_is_not_taken_twice() -> None:
    rules = Rules(FAST)
    rules.judge(BOB, "Buy now", NOW)
    verdict = rules.judge(BOB, "  buy   NOW ", NOW + 10_000)
    assert isinstance(verdict, Refuse)
    assert (verdict.code, verdict.retry_after_s) == ("duplicate", 20.0)
    assert code(rules.judge(EVE, "Buy now", NOW)) == "accepted"
    assert code(rules.judge(BOB, "Buy now!", NOW + 10_000)) == "accepted"
    assert code(rules.judge(BOB, "Buy now", NOW + 29_999)) == "duplicate"
    assert code(rules.judge(BOB, "Buy now", NOW + 30_000)) == "accepted"


def test_the_last_four_texts_are_compared() -> None:
    rules = Rules(FAST, limits=RuleLimits(user_burst=100, network_burst=100))
    for text in ("a", "b", "c", "d"):
        rules.judge(BOB, text, NOW)
    assert code(rules.judge(BOB, "a", NOW)) == "duplicate"
    rules.judge(BOB, "e", NOW)
    assert code(rules.judge(BOB, "b", NOW)) == "duplicate"
    assert code(rules.judge(BOB, "a", NOW)) == "accepted"


# -- what is in it


def test_emote_only() -> None:
    rules = Rules(RoomSettings(slow_mode_s=0, emote_only=True))
    assert code(rules.judge(BOB, "hi", NOW)) == "emoteOnly"
    assert code(rules.judge(BOB, "👍", NOW)) == "accepted"
    assert code(rules.judge(MOD, "hi", NOW)) == "accepted"


@pytest.mark.parametrize(
    ("settings", "content", "found"),
    [
        (RoomSettings(), "evil.com", None),
        (RoomSettings(links=FilterAction.HOLD), "evil.com", "link"),
        (RoomSettings(links=FilterAction.HOLD, allowed_hosts=("good.com",)), "a.good.com", None),
        (RoomSettings(links=FilterAction.HOLD), "hi", None),
        (
            RoomSettings(blocked_words=("bad",), blocked_words_action=FilterAction.HOLD),
            "b4d",
            "blockedWord",
        ),
        (
            RoomSettings(blocked_words=("bad",), blocked_words_action=FilterAction.ALLOW),
            "bad",
            None,
        ),
        (RoomSettings(blocked_words=("bad",)), "good", None),
    ],
)
def test_filters_hold(settings: RoomSettings, content: str, found: str | None) -> None:
    verdict = Rules(settings).judge(BOB, f" {content} ", NOW)
    if found is None:
        assert verdict == Accept(content)
    else:
        assert isinstance(verdict, Hold)
        assert (verdict.content, verdict.code) == (content, found)


def test_filters_reject_and_that_is_stronger() -> None:
    settings = RoomSettings(links=FilterAction.HOLD, blocked_words=("bad",))
    rules = Rules(settings)
    assert code(rules.judge(BOB, "bad evil.com", NOW)) == "blockedWord"
    assert rules.judge(MOD, "bad evil.com", NOW) == Accept("bad evil.com")
    rules.change(RoomSettings(links=FilterAction.REJECT, blocked_words=("other",)))
    assert code(rules.judge(BOB, "bad evil.com", NOW)) == "link"
    assert rules.judge(BOB, "bad", NOW) == Accept("bad")


def test_a_refusal_does_not_say_the_word() -> None:
    verdict = Rules(RoomSettings(blocked_words=("bad",))).judge(BOB, "bad", NOW)
    assert isinstance(verdict, Refuse)
    assert "bad" not in verdict.text


# -- the order


def test_the_first_rule_that_is_broken_is_told() -> None:
    settings = RoomSettings(
        slow_mode_s=5,
        guests_allowed=False,
        emote_only=True,
        links=FilterAction.REJECT,
        required_claims=("follower",),
    )
    rules = Rules(settings, limits=RuleLimits(user_burst=1, user_per_s=0.1))
    rules.judge(GUEST, "evil.com", NOW)
    rules.sanction(ban(GUEST))
    assert code(rules.judge(GUEST, "", NOW)) == "banned"
    rules.pardon(GUEST.user_id)
    assert code(rules.judge(GUEST, "", NOW)) == "empty"
    assert code(rules.judge(GUEST, "evil.com", NOW)) == "guestsNotAllowed"
    settings = replace(settings, guests_allowed=True)
    rules.change(settings)
    assert code(rules.judge(GUEST, "evil.com", NOW)) == "claimRequired"
    rules.change(FAST)
    assert code(rules.judge(GUEST, "evil.com", NOW + 10_000)) == "accepted"
    settings = replace(settings, required_claims=())
    rules.change(settings)
    assert code(rules.judge(GUEST, "evil.com", NOW + 10_000)) == "slowMode"
    assert code(rules.judge(GUEST, "evil.com", NOW + 15_000)) == "rateLimited"
    assert code(rules.judge(GUEST, "evil.com", NOW + 20_000)) == "duplicate"
    assert code(rules.judge(GUEST, "evil.com and", NOW + 30_000)) == "emoteOnly"
    rules.change(replace(settings, emote_only=False))
    assert code(rules.judge(GUEST, "evil.com and", NOW + 40_000)) == "link"


# -- sanctions


def test_a_ban_is_for_good() -> None:
    rules = Rules(FAST, sanctions=[ban(BOB)])
    assert rules.judge(BOB, "hi", NOW + 10**12) == Refuse("banned", "you are banned from this chat")
    assert rules.sanctions == (ban(BOB),)
    assert rules.pardon("bob") == ban(BOB)
    assert rules.pardon("bob") is None
    assert code(rules.judge(BOB, "hi", NOW)) == "accepted"


def test_a_timeout_ends_when_it_says() -> None:
    rules = Rules(FAST)
    rules.sanction(ban(BOB, until=NOW + 60_000))
    verdict = rules.judge(BOB, "hi", NOW + 59_999)
    assert isinstance(verdict, Refuse)
    assert (verdict.code, verdict.retry_after_s) == ("timedOut", 0.001)
    assert code(rules.judge(BOB, "hi", NOW + 60_000)) == "accepted"
    assert rules.sanctions == ()


def test_a_sanctioned_message_costs_nothing() -> None:
    rules = Rules(FAST, sanctions=[ban(BOB)], limits=RuleLimits(user_burst=1, network_burst=1))
    for _ in range(10):
        rules.judge(BOB, "hi", NOW)
    assert rules.speakers == 0


def test_a_moderator_can_be_sanctioned_too() -> None:
    assert code(Rules(FAST, sanctions=[ban(MOD)]).judge(MOD, "hi", NOW)) == "banned"


def test_a_banned_guest_does_not_come_back_as_another() -> None:
    rules = Rules(FAST)
    rules.sanction(ban(guest(1)))
    assert code(rules.judge(guest(2), "hi", NOW)) == "banned"
    assert code(rules.judge(guest(1, network="net-x"), "hi", NOW)) == "banned"
    assert code(rules.judge(guest(2, network="net-x"), "hi", NOW)) == "accepted"
    assert code(rules.judge(guest(3, network=""), "hi", NOW)) == "accepted"
    # Who has a token is known, and answers for nobody else.
    assert code(rules.judge(replace(BOB, network="net-g"), "hi", NOW)) == "accepted"
    rules.pardon("guest_1")
    assert code(rules.judge(guest(2), "hello", NOW)) == "accepted"


def test_of_several_sanctions_the_longest_counts() -> None:
    rules = Rules(FAST)
    rules.sanction(ban(guest(1), until=NOW + 10_000))
    rules.sanction(ban(guest(2), until=NOW + 30_000))
    rules.sanction(ban(guest(3), until=NOW + 20_000))
    found = rules.sanction_of(guest(1), NOW)
    assert found is not None
    assert found.until == NOW + 30_000
    assert rules.sanction_of(guest(4), NOW + 29_999) == found
    assert rules.sanction_of(guest(4), NOW + 30_000) is None
    rules.sanction(ban(guest(5)))
    rules.sanction(ban(guest(1), until=NOW + 10_000))
    assert rules.sanction_of(guest(1), NOW) == ban(guest(5))


def test_a_new_sanction_takes_the_old_one_s_place() -> None:
    rules = Rules(FAST)
    rules.sanction(ban(guest(1)))
    rules.sanction(ban(guest(1, network="net-x"), until=NOW + 10_000))
    assert rules.sanction_of(guest(2), NOW) is None
    assert rules.sanction_of(guest(2, network="net-x"), NOW) is not None
    assert len(rules.sanctions) == 1


@pytest.mark.parametrize("length_ms", [1000 * MIN_TIMEOUT_S - 1, 1000 * MAX_TIMEOUT_S + 1, -1])
def test_a_timeout_lasts_ten_seconds_to_two_weeks(length_ms: int) -> None:
    rules = Rules(FAST)
    with pytest.raises(ValueError, match="timeout"):
        rules.sanction(ban(BOB, until=NOW + length_ms))
    assert rules.sanctions == ()
    for fine_s in (MIN_TIMEOUT_S, MAX_TIMEOUT_S):
        rules.sanction(ban(BOB, until=NOW + 1000 * fine_s))


def test_there_is_room_for_so_many_sanctions() -> None:
    rules = Rules(FAST, limits=RuleLimits(max_sanctions=2))
    rules.sanction(ban(BOB))
    rules.sanction(ban(EVE, until=NOW + 10_000))
    with pytest.raises(RoomFullError, match="bans"):
        rules.sanction(ban(MOD, at=NOW + 9_999))
    assert code(rules.judge(MOD, "hi", NOW)) == "accepted"
    rules.sanction(ban(BOB, reason="again"))  # is there already
    rules.sanction(ban(MOD, at=NOW + 10_000))  # the timeout has ended
    assert {one.user_id for one in rules.sanctions} == {"bob", "mod"}


# -- roles


def test_the_stronger_role_counts() -> None:
    rules = Rules(FAST, moderators=[("bob", "Bob")])
    broadcaster = Identity(user_id="bob", username="Bob", role=Role.BROADCASTER)
    assert rules.role_of(BOB) is Role.MODERATOR
    assert rules.role_of(MOD) is Role.MODERATOR
    assert rules.role_of(EVE) is Role.VIEWER
    assert rules.role_of(broadcaster) is Role.BROADCASTER
    rules.set_moderator("eve", "Eve", True)
    assert rules.moderators == (("bob", "Bob"), ("eve", "Eve"))
    rules.set_moderator("bob", "Bob", False)
    rules.set_moderator("nobody", "Nobody", False)
    assert [user_id for user_id, _name in rules.moderators] == ["eve"]
    assert rules.role_of(BOB) is Role.VIEWER


def test_there_is_room_for_so_many_moderators() -> None:
    rules = Rules(FAST, moderators=[("bob", "Bob")], limits=RuleLimits(max_moderators=2))
    rules.set_moderator("eve", "Eve", True)
    with pytest.raises(RoomFullError, match="moderators"):
        rules.set_moderator("mallory", "M", True)
    rules.set_moderator("eve", "Eva", True)
    assert rules.moderators == (("bob", "Bob"), ("eve", "Eva"))


@pytest.mark.parametrize("actor", Role)
@pytest.mark.parametrize("target", Role)
def test_nobody_acts_on_their_equals(actor: Role, target: Role) -> None:
    rules = Rules(FAST)
    who = Identity(user_id="a", username="A", role=actor)
    may = actor is not Role.VIEWER and actor.rank > target.rank
    assert rules.may_act_on(who, "b", target) is may


def test_a_moderator_of_the_room_is_one() -> None:
    rules = Rules(FAST, moderators=[("bob", "Bob"), ("eve", "Eve")])
    assert rules.may_act_on(BOB, "guest_1", Role.VIEWER)
    assert not rules.may_act_on(BOB, "eve", Role.VIEWER)
    assert not rules.may_act_on(replace(BOB, role=Role.ADMIN), "bob", Role.VIEWER)
