"""Whatever happens in a room, its rules hold: a naive model that never forgets judges them.

The model keeps every message and every sanction there ever was, and looks through all of them.
"""

from dataclasses import dataclass

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from control.chat_model import FilterAction, Role, RoomSettings, Sanction
from edge.chat.rules import Accept, Hold, Identity, Refuse, RoomFullError, RuleLimits, Rules

START_MS = 1_800_000_000_000

# Rates have a model of their own in test_rules.py; here nothing may be refused for them.
LIMITS = RuleLimits(
    max_content_chars=20,
    user_burst=100_000,
    network_burst=100_000,
    duplicate_s=5,
    max_speakers=2,
    max_sanctions=3,
    max_moderators=2,
)

MEMBERS = [Identity(user_id=f"u{n}", username=f"U{n}", network=f"net-{n % 2}") for n in range(4)]
GUESTS = [
    Identity(user_id=f"guest_{n}", username=f"G{n}", network=f"net-{n % 2}", is_guest=True)
    for n in range(4)
]
HEAD = Identity(user_id="head", username="Head", role=Role.BROADCASTER)
PEOPLE = [*MEMBERS, *GUESTS, HEAD]
TEXTS = ["a", "b", "c", "👍", "evil.com", "bad", "", "x" * 21]

people = st.sampled_from(PEOPLE)


@dataclass
class Said:
    """A message that was accepted or held."""

    who: Identity
    content: str
    at_ms: int


class AnyRoom(RuleBasedStateMachine):
    """Random talk and moderation."""

    def __init__(self) -> None:
        super().__init__()
        self.now_ms = START_MS
        self.settings = RoomSettings(links=FilterAction.HOLD, blocked_words=("bad",))
        self.room = Rules(self.settings, limits=LIMITS)
        self.moderators: set[str] = set()
        self.said: list[Said] = []
        self.heard: dict[bool, set[str]] = {True: set(), False: set()}  # guests, others
        self.in_place: dict[str, Sanction] = {}  # the last of each, ended or not

    # -- the model

    def is_in_force(self, sanction: Sanction) -> bool:
        return sanction.until is None or self.now_ms < sanction.until

    def ends_of(self, who: Identity) -> list[float]:
        """Ends of all that keeps somebody from writing now."""
        return [
            float("inf") if one.until is None else one.until
            for one in self.in_place.values()
            if self.is_in_force(one)
            and (one.user_id == who.user_id or (who.is_guest and one.network == who.network))
        ]

    def is_trusted(self, who: Identity) -> bool:
        return who.role is not Role.VIEWER or who.user_id in self.moderators

    def by(self, who: Identity) -> list[Said]:
        return [one for one in self.said if one.who == who]

    def is_slow(self, one: Said) -> bool:
        return self.now_ms - one.at_ms < 1000 * self.settings.slow_mode_s

    def may_be_forgotten(self, who: Identity) -> bool:
        return len(self.heard[who.is_guest]) > LIMITS.max_speakers

    # -- what happens

    @rule(passed_ms=st.integers(0, 20_000) | st.sampled_from([0, 1, 999, 1000, 5000, 10_000]))
    def wait(self, passed_ms: int) -> None:
        self.now_ms += passed_ms

    @precondition(lambda self: any(one.until is not None for one in self.in_place.values()))
    @rule(data=st.data(), early_ms=st.sampled_from([0, 1]))
    def wait_for_the_end_of_a_timeout(self, data: st.DataObject, early_ms: int) -> None:
        ends = sorted({one.until for one in self.in_place.values() if one.until is not None})
        self.now_ms = max(self.now_ms, data.draw(st.sampled_from(ends)) - early_ms)
        for who in PEOPLE:
            self.say(who, "c")

    @rule(who=people, text=st.sampled_from(TEXTS))
    def say(self, who: Identity, text: str) -> None:
        ends = self.ends_of(who)
        verdict = self.room.judge(who, text, self.now_ms)
        if ends:
            assert isinstance(verdict, Refuse)
            assert verdict.code == ("banned" if max(ends) == float("inf") else "timedOut")
            if verdict.code == "timedOut":
                assert verdict.retry_after_s == (max(ends) - self.now_ms) / 1000
            return
        self.heard[who.is_guest].add(who.user_id)
        if isinstance(verdict, Refuse):
            self.check_refusal(who, text, verdict)
        else:
            self.check_passed(who, text, verdict)
            self.said.append(Said(who, text, self.now_ms))

    def check_passed(self, who: Identity, text: str, verdict: Accept | Hold) -> None:
        """Everything that must not pass has not."""
        assert verdict.content == text
        assert 0 < len(text) <= LIMITS.max_content_chars
        settings = self.settings
        if self.is_trusted(who):
            assert isinstance(verdict, Accept)
            return
        assert not any(self.is_slow(one) for one in self.by(who))
        assert settings.guests_allowed or not who.is_guest
        assert text == "👍" or not settings.emote_only
        if not self.may_be_forgotten(who):
            assert not self.is_duplicate(who, text)
        action = {"evil.com": settings.links, "bad": settings.blocked_words_action}.get(text)
        assert isinstance(verdict, Hold) == (action is FilterAction.HOLD)
        assert action is not FilterAction.REJECT

    def check_refusal(self, who: Identity, text: str, verdict: Refuse) -> None:
        """What was refused had to be."""
        settings = self.settings
        if verdict.code in ("empty", "tooLong"):
            assert not 0 < len(text) <= LIMITS.max_content_chars
            return
        assert not self.is_trusted(who)
        if verdict.code == "slowMode":
            slow = [one for one in self.said if self.is_slow(one)]
            own = [one for one in slow if one.who == who]
            if own:
                longest_ms = own[-1].at_ms + 1000 * settings.slow_mode_s - self.now_ms
                assert verdict.retry_after_s is not None
                assert verdict.retry_after_s >= longest_ms / 1000
            else:
                assert self.may_be_forgotten(who)
                assert any(one.who.is_guest == who.is_guest for one in slow)
        elif verdict.code == "duplicate":
            assert self.is_duplicate(who, text)
        elif verdict.code == "emoteOnly":
            assert settings.emote_only
            assert text != "👍"
        elif verdict.code == "link":
            assert (settings.links, text) == (FilterAction.REJECT, "evil.com")
        elif verdict.code == "blockedWord":
            assert (settings.blocked_words_action, text) == (FilterAction.REJECT, "bad")
        else:
            assert verdict.code == "guestsNotAllowed"
            assert who.is_guest
            assert not settings.guests_allowed

    def is_duplicate(self, who: Identity, text: str) -> bool:
        return any(
            one.content == text and self.now_ms - one.at_ms < 1000 * LIMITS.duplicate_s
            for one in self.by(who)[-4:]
        )

    @rule(who=people, seconds=st.none() | st.sampled_from([10, 11, 30]))
    def sanction(self, who: Identity, seconds: int | None) -> None:
        sanction = Sanction(
            user_id=who.user_id,
            username=who.username,
            until=None if seconds is None else self.now_ms + 1000 * seconds,
            network=who.network if who.is_guest else None,
            at=self.now_ms,
        )
        others = [one for one in self.in_place.values() if one.user_id != who.user_id]
        in_force = [one for one in others if self.is_in_force(one)]
        try:
            self.room.sanction(sanction)
        except RoomFullError:
            assert len(in_force) >= LIMITS.max_sanctions
            before = self.in_place.get(who.user_id)
            assert before is None or not self.is_in_force(before)
            return
        self.in_place[who.user_id] = sanction
        for one in PEOPLE:
            found = self.room.sanction_of(one, self.now_ms)
            assert (found is not None) == bool(self.ends_of(one))

    @rule(who=people)
    def pardon(self, who: Identity) -> None:
        before = self.in_place.pop(who.user_id, None)
        pardoned = self.room.pardon(who.user_id)
        if before is not None and self.is_in_force(before):
            assert pardoned == before
        else:
            assert pardoned in (None, before)  # ended: it may be forgotten, or not

    @rule(
        slow_mode_s=st.sampled_from([0, 1, 3, 10]),
        guests_allowed=st.booleans(),
        emote_only=st.sampled_from([False, False, True]),
        links=st.sampled_from(FilterAction),
        words=st.sampled_from(FilterAction),
    )
    def change(
        self,
        slow_mode_s: int,
        guests_allowed: bool,
        emote_only: bool,
        links: FilterAction,
        words: FilterAction,
    ) -> None:
        self.settings = RoomSettings(
            slow_mode_s=slow_mode_s,
            guests_allowed=guests_allowed,
            emote_only=emote_only,
            links=links,
            blocked_words=("bad",),
            blocked_words_action=words,
        )
        self.room.change(self.settings)

    @rule(who=st.sampled_from(MEMBERS), is_on=st.booleans())
    def set_moderator(self, who: Identity, is_on: bool) -> None:
        try:
            self.room.set_moderator(who.user_id, who.username, is_on)
        except RoomFullError:
            assert is_on
            assert who.user_id not in self.moderators
            assert len(self.moderators) == LIMITS.max_moderators
            return
        (self.moderators.add if is_on else self.moderators.discard)(who.user_id)

    @precondition(lambda self: len(self.said) > 10)
    @rule()
    def restart(self) -> None:
        """What is stored is all that a room begins with; the paces are forgotten."""
        stored = [one for one in self.in_place.values() if self.is_in_force(one)]
        self.room = Rules(
            self.settings,
            sanctions=stored,
            moderators=[(user_id, "") for user_id in sorted(self.moderators)],
            limits=LIMITS,
        )
        self.in_place = {one.user_id: one for one in stored}
        self.said.clear()
        self.heard = {True: set(), False: set()}

    @invariant()
    def tables_are_bounded(self) -> None:
        assert self.room.speakers <= 3 * LIMITS.max_speakers
        assert len(self.room.sanctions) <= LIMITS.max_sanctions
        assert len(self.room.moderators) <= LIMITS.max_moderators

    @invariant()
    def roles_are_the_models(self) -> None:
        for who in MEMBERS:
            expected = Role.MODERATOR if who.user_id in self.moderators else Role.VIEWER
            assert self.room.role_of(who) is expected


AnyRoom.TestCase.settings = hypothesis_settings(
    max_examples=150, stateful_step_count=50, deadline=None
)
TestAnyRoom = pytest.mark.slow(AnyRoom.TestCase)
