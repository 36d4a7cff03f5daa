"""Who may say what, and when: the rules of one room.

Sanctions first; then what the message is, whether its sender may write at all, how fast, and what
is in it. Moderators are held to sanctions, to the length, and to ten times the rate.

    Identity, text, now -> Accept | Hold | Refuse

Time is passed in: UTC milliseconds. A clock that goes back lets nobody wait longer than a rule
says, and lets nobody through sooner.

Invariants: nobody writes past a sanction that is in force, and it ends when it says; two messages
that a viewer gets accepted or held are `slow_mode_s` apart. A speaker who has to be forgotten
leaves the time of their last message to all who are not remembered: these may have to wait, but
the pace does not leak. Guests, whose ids cost nothing, are remembered apart, so that they cannot
push anybody else out.

Pure. Bounds: `RuleLimits`. May import: `control.chat_model`, `edge.chat`'s names and filters.
"""

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

import msgspec

from control.chat_model import FilterAction, Role, RoomSettings, Sanction
from edge.chat.filters import WordFilter, clean_content, has_foreign_link, is_only_emoji

MIN_TIMEOUT_S: Final = 10
MAX_TIMEOUT_S: Final = 14 * 24 * 3600

MODERATOR_PACE: Final = 10
"""How many times faster a moderator may write."""

_MAX_FINGERPRINTS: Final = 4  # messages that are compared with a new one
_RAW_PER_CHAR: Final = 4  # of a message that is not cleaned yet
_NEVER_MS: Final = -(1 << 62)


LOCAL_NETWORK: Final = "local"
"""Whoever comes from this machine, or through a proxy on it that does not say from where. Guests
are held to its bans, and to no common rate."""


class Identity(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody, as a checked token says, or a guest."""

    user_id: str
    username: str
    role: Role = Role.VIEWER
    is_guest: bool = False
    claims: frozenset[str] = frozenset()
    network: str = ""
    """Where from: a keyed hash of the address; "": not known."""


class Accept(msgspec.Struct, frozen=True):
    """The message may be shown."""

    content: str
    """Cleaned."""


class Hold(msgspec.Struct, frozen=True):
    """The message waits for a moderator."""

    content: str
    """Cleaned."""
    code: str
    """The error code that a refusal would have."""
    reason: str
    """What was found in it."""


class Refuse(msgspec.Struct, frozen=True):
    """The message may not be shown."""

    code: str
    """One of the protocol's error codes."""
    text: str
    """For the person, one line."""
    retry_after_s: float | None = None
    """When it is worth another try, if that is known."""


Verdict = Accept | Hold | Refuse


class RuleLimits(msgspec.Struct, frozen=True, kw_only=True):
    """What no moderator can change."""

    max_content_chars: int = 500
    """Of a cleaned message."""
    user_burst: int = 5
    """Messages, also refused ones, that somebody may send at once."""
    user_per_s: float = 1.0
    """At how many a second that is given back."""
    network_burst: int = 20
    """The same of all viewers from one network."""
    network_per_s: float = 5.0
    duplicate_s: float = 30.0
    """How long the same text is not taken again from the same person."""
    max_speakers: int = 10_000
    """Remembered for their pace: guests, others, and networks, each."""
    max_sanctions: int = 10_000
    """Beyond those that the room began with: the store has bounded these."""
    max_moderators: int = 1_000


class RoomFullError(Exception):
    """The room has as many bans or moderators as it can have; the text says which."""


class _Pace:
    """How much somebody has written lately.

    The rate is kept as the time at which all that was spent will have been given back.
    """

    __slots__ = ("free_ms", "said_ms", "texts")

    def __init__(self, said_ms: int) -> None:
        self.free_ms: float = _NEVER_MS
        self.said_ms = said_ms
        self.texts: tuple[tuple[int, int], ...] = ()  # hashes and times, oldest first

    def spend(self, now_ms: int, burst: int, per_s: float) -> float:
        """Take one from what may be sent now.

        Returns:
            0, or the milliseconds until there is one to take; then none was.
        """
        each_ms = 1000 / per_s
        self.free_ms = min(
            self.free_ms, now_ms + burst * each_ms
        )  # as if the clock never went back
        wait_ms = self.free_ms - (burst - 1) * each_ms - now_ms
        if wait_ms > 0:
            return wait_ms
        self.free_ms = max(self.free_ms, now_ms) + each_ms
        return 0

    def forget_the_future(self, now_ms: int) -> None:
        """Take what was said later than now, before the clock went back, as said now."""
        if self.said_ms > now_ms:
            self.said_ms = now_ms
            self.texts = tuple((text, min(at_ms, now_ms)) for text, at_ms in self.texts)


class _Paces:
    """The paces of whoever was heard lately; the one that was quiet the longest makes room."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._by_key: OrderedDict[str, _Pace] = OrderedDict()
        self._forgotten_ms = _NEVER_MS
        """The latest time at which somebody said something who is forgotten."""

    def __len__(self) -> int:
        return len(self._by_key)

    def of(self, key: str) -> _Pace:
        """Return a pace, to be changed in place."""
        pace = self._by_key.get(key)
        if pace is not None:
            self._by_key.move_to_end(key)
            return pace
        while len(self._by_key) >= self._limit:
            _key, forgotten = self._by_key.popitem(last=False)
            self._forgotten_ms = max(self._forgotten_ms, forgotten.said_ms)
        pace = self._by_key[key] = _Pace(self._forgotten_ms)
        return pace


class Rules:
    """The rules of one room, and what they have to remember.

    Args:
        settings: What moderators have set.
        sanctions: Those that are in force.
        moderators: User id and name of each.
        limits: What they cannot set.
    """

    def __init__(
        self,
        settings: RoomSettings,
        *,
        sanctions: Iterable[Sanction] = (),
        moderators: Iterable[tuple[str, str]] = (),
        limits: RuleLimits | None = None,
    ) -> None:
        self._limits = limits or RuleLimits()
        self._sanctions: dict[str, Sanction] = {}
        self._by_network: dict[str, dict[str, Sanction]] = {}
        for sanction in sanctions:
            self._put(sanction)
        self._moderators = dict(moderators)
        self._members = _Paces(self._limits.max_speakers)
        self._guests = _Paces(self._limits.max_speakers)
        self._networks = _Paces(self._limits.max_speakers)
        self.change(settings)

    # -- what moderators set

    @property
    def settings(self) -> RoomSettings:
        """What moderators have set."""
        return self._settings

    def change(self, settings: RoomSettings) -> None:
        """Set all of it; it holds from the next message on, and for what was said before it."""
        self._settings = settings
        self._words = WordFilter(settings.blocked_words)
        self._claims = frozenset(settings.required_claims)

    @property
    def moderators(self) -> tuple[tuple[str, str], ...]:
        """User id and name of each whom the broadcaster made one."""
        return tuple(self._moderators.items())

    def set_moderator(self, user_id: str, username: str, is_on: bool) -> None:
        """Make somebody a moderator of this room, or a viewer again.

        Raises:
            RoomFullError: There are too many.
        """
        if not is_on:
            self._moderators.pop(user_id, None)
            return
        is_new = user_id not in self._moderators
        if is_new and len(self._moderators) >= self._limits.max_moderators:
            raise RoomFullError("the room has as many moderators as it can have")
        self._moderators[user_id] = username

    # -- who may do what to whom

    def role_of(self, who: Identity) -> Role:
        """Return somebody's role: their token's, or the room's if that is stronger."""
        return self._role(who.user_id, who.role)

    def may_act_on(self, actor: Identity, target_id: str, target_role: Role) -> bool:
        """Tell whether somebody may sanction somebody else, or delete what they said.

        Args:
            actor: Who wants to.
            target_id: To whom.
            target_role: What their token says, as far as that is known.
        """
        rank = self.role_of(actor).rank
        is_above = rank > self._role(target_id, target_role).rank
        return is_above and rank >= Role.MODERATOR.rank and target_id != actor.user_id

    def _role(self, user_id: str, role: Role) -> Role:
        if user_id in self._moderators and role.rank < Role.MODERATOR.rank:
            return Role.MODERATOR
        return role

    # -- sanctions

    @property
    def sanctions(self) -> tuple[Sanction, ...]:
        """All, the oldest first; also timeouts that have ended, until somebody asks for them."""
        return tuple(self._sanctions.values())

    def sanction_of(self, who: Identity, now_ms: int) -> Sanction | None:
        """Return what keeps somebody from writing now.

        A guest is held to the sanctions of everybody from the same network: another id and another
        name cost nothing. Of several the one that lasts the longest counts.
        """
        own = self._in_force(self._sanctions.get(who.user_id), now_ms)
        if not who.is_guest or not who.network or (own is not None and own.until is None):
            return own
        neighbours = list(self._by_network.get(who.network, {}).values())
        found = [own, *(self._in_force(one, now_ms) for one in neighbours)]
        return max((one for one in found if one is not None), key=_end_of, default=None)

    def sanction(self, sanction: Sanction) -> None:
        """Shut somebody out, or silence them; it takes the place of what they had.

        Raises:
            ValueError: A timeout of less than `MIN_TIMEOUT_S` or more than `MAX_TIMEOUT_S`.
            RoomFullError: There are too many, even without the timeouts that ended by `at`.
        """
        if sanction.until is not None:
            length_s = (sanction.until - sanction.at) / 1000
            if not MIN_TIMEOUT_S <= length_s <= MAX_TIMEOUT_S:
                raise ValueError(f"a timeout lasts {MIN_TIMEOUT_S} to {MAX_TIMEOUT_S} s")
        is_new = sanction.user_id not in self._sanctions
        if is_new and len(self._sanctions) >= self._limits.max_sanctions:
            for one in self.sanctions:
                self._in_force(one, sanction.at)
            if len(self._sanctions) >= self._limits.max_sanctions:
                raise RoomFullError("the room has as many bans as it can have")
        self.pardon(sanction.user_id)
        self._put(sanction)

    def pardon(self, user_id: str) -> Sanction | None:
        """Take back what somebody has, and return it; None: nothing."""
        sanction = self._sanctions.pop(user_id, None)
        if sanction is not None and sanction.network:
            neighbours = self._by_network[sanction.network]
            del neighbours[user_id]
            if not neighbours:
                del self._by_network[sanction.network]
        return sanction

    def _put(self, sanction: Sanction) -> None:
        self._sanctions[sanction.user_id] = sanction
        if sanction.network:
            self._by_network.setdefault(sanction.network, {})[sanction.user_id] = sanction

    def _in_force(self, sanction: Sanction | None, now_ms: int) -> Sanction | None:
        """Return a sanction, unless it has ended; then it is forgotten."""
        if sanction is not None and sanction.until is not None and sanction.until <= now_ms:
            self.pardon(sanction.user_id)
            return None
        return sanction

    # -- messages

    @property
    def speakers(self) -> int:
        """How many people and networks are remembered for their pace."""
        return len(self._members) + len(self._guests) + len(self._networks)

    def judge(self, who: Identity, content: str, now_ms: int) -> Verdict:
        """Judge a message. It counts at once for its sender's pace, if it is accepted or held.

        A refused one costs of the rates, unless its sender is sanctioned, and nothing else.
        """
        sanction = self.sanction_of(who, now_ms)
        if sanction is not None:
            return _shut_out(sanction, now_ms)
        is_trusted = self.role_of(who).rank >= Role.MODERATOR.rank
        pace = (self._guests if who.is_guest else self._members).of(who.user_id)
        pace.forget_the_future(now_ms)
        wait_ms = self._spend(pace, who.network, now_ms, is_trusted=is_trusted)
        if len(content) > _RAW_PER_CHAR * self._limits.max_content_chars:
            return self._too_long()
        content = clean_content(content)
        if not content:
            return Refuse("empty", "there is nothing in your message")
        if len(content) > self._limits.max_content_chars:
            return self._too_long()
        refusal = None if is_trusted else self._may_write(who) or self._slow_mode(pace, now_ms)
        if refusal is None and wait_ms > 0:
            refusal = Refuse("rateLimited", "you are writing too fast", wait_ms / 1000)
        if refusal is not None:
            return refusal
        verdict: Verdict = Accept(content)
        text = hash(" ".join(content.casefold().split()))
        if not is_trusted:
            verdict = self._duplicate(pace, text, now_ms) or self._filter(content)
        if not isinstance(verdict, Refuse):
            pace.said_ms = now_ms
            pace.texts = (*pace.texts, (text, now_ms))[-_MAX_FINGERPRINTS:]
        return verdict

    def _spend(self, pace: _Pace, network: str, now_ms: int, *, is_trusted: bool) -> float:
        limits = self._limits
        factor = MODERATOR_PACE if is_trusted else 1
        wait_ms = pace.spend(now_ms, factor * limits.user_burst, factor * limits.user_per_s)
        is_common = network not in ("", LOCAL_NETWORK)
        if wait_ms == 0 and is_common and not is_trusted:  # so nobody spends more of it than theirs
            shared = self._networks.of(network)
            wait_ms = shared.spend(now_ms, limits.network_burst, limits.network_per_s)
        return wait_ms

    def _too_long(self) -> Refuse:
        most = self._limits.max_content_chars
        return Refuse("tooLong", f"a message has at most {most} characters")

    def _may_write(self, who: Identity) -> Refuse | None:
        if who.is_guest and not self._settings.guests_allowed:
            return Refuse("guestsNotAllowed", "guests may only read here")
        if self._claims and not self._claims & who.claims:
            wanted = " or ".join(self._settings.required_claims)
            return Refuse("claimRequired", f"only who is {wanted} may write here")
        return None

    def _slow_mode(self, pace: _Pace, now_ms: int) -> Refuse | None:
        left_ms = pace.said_ms + 1000 * self._settings.slow_mode_s - now_ms
        if left_ms <= 0:
            return None
        left_s = left_ms / 1000
        return Refuse("slowMode", f"slow mode: you may write again in {left_s:.1f} s", left_s)

    def _duplicate(self, pace: _Pace, text: int, now_ms: int) -> Refuse | None:
        for said, said_ms in pace.texts:
            left_s = self._limits.duplicate_s - (now_ms - said_ms) / 1000
            if said == text and left_s > 0:
                return Refuse("duplicate", "you have just said that", left_s)
        return None

    def _filter(self, content: str) -> Verdict:
        settings = self._settings
        if settings.emote_only and not is_only_emoji(content):
            return Refuse("emoteOnly", "only emoji may be written at the moment")
        found = []
        if settings.links is not FilterAction.ALLOW and has_foreign_link(
            content, settings.allowed_hosts
        ):
            found.append((settings.links, "link", "a link"))
        if settings.blocked_words_action is not FilterAction.ALLOW and self._words.find(content):
            found.append((settings.blocked_words_action, "blockedWord", "a blocked word"))
        for action, code, what in found:
            if action is FilterAction.REJECT:
                return Refuse(code, f"your message has {what} in it")
        for _action, code, what in found:
            return Hold(content, code, what)
        return Accept(content)


def _end_of(sanction: Sanction) -> float:
    return float("inf") if sanction.until is None else sanction.until


def _shut_out(sanction: Sanction, now_ms: int) -> Refuse:
    if sanction.until is None:
        return Refuse("banned", "you are banned from this chat")
    left_s = (sanction.until - now_ms) / 1000
    return Refuse("timedOut", f"you may write again in {left_s:.0f} s", left_s)
