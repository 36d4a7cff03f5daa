"""Which alerts a broadcast has: each begins when its rule has said so for long enough, and ends.

Pure: time is an argument. What is wrong and how long it must be is `rules`' business; this counts
the time and remembers what was told.

Bounds: one active alert for each rule; `MAX_RECENT` that have ended; drops of `DROPS_S`.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from origin.health.meter import Reading
from origin.health.rules import FORGET_S, RULES, Facts, Limits, Rule, Severity, Verdict
from origin.transcode.health import TranscodeHealth

DROPS_S: Final = 60.0
"""Dropped frames are counted over so long."""

MAX_RECENT: Final = 50
"""Alerts that are remembered after their end."""

UNKNOWN_S: Final = 10.0
"""An alert of which nothing can be said any more ends after so long."""


class Alert(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Something that is wrong, or was."""

    code: str
    """For programs; stable."""
    severity: Severity
    text: str
    """What is wrong, for the broadcaster."""
    advice: str
    """What to do about it."""
    value: float
    """As it was at the start."""
    threshold: float
    started_at: int
    """UTC, milliseconds since 1970."""
    ended_at: int | None = None


class _Watched:
    """One rule's state."""

    __slots__ = ("alert", "known_s", "since_s")

    def __init__(self, now_s: float) -> None:
        self.alert: Alert | None = None
        self.since_s: float | None = None  # since when it is otherwise than `alert` says
        self.known_s = now_s  # when anything was last said


class Alerts:
    """The alerts of one broadcast.

    Args:
        limits: What counts as wrong. May be replaced at any time.
        rules: Causes before what follows from them.
    """

    def __init__(self, limits: Limits, rules: Sequence[Rule] = RULES) -> None:
        self.limits = limits
        self._rules = rules
        self._watched: dict[str, _Watched] = {}
        self._recent: deque[Alert] = deque(maxlen=MAX_RECENT)
        self._drops: deque[tuple[float, int]] = deque()  # of the last DROPS_S
        self._low_since_s: float | None = None

    @property
    def active(self) -> tuple[Alert, ...]:
        """What is wrong now, causes first."""
        return tuple(each.alert for each in self._watched.values() if each.alert is not None)

    @property
    def recent(self) -> tuple[Alert, ...]:
        """What has been wrong, the latest first."""
        return tuple(reversed(self._recent))

    def judge(
        self,
        reading: Reading,
        *,
        is_lost: bool = False,
        transcode: TranscodeHealth | None = None,
        at_ms: int,
    ) -> Sequence[Alert]:
        """Take a reading.

        Args:
            reading: The newest.
            is_lost: Its publisher is gone, and awaited.
            transcode: What its ladder says.
            at_ms: The present, UTC, milliseconds.

        Returns:
            The alerts that begin (without an end) and end now, in order.
        """
        now_s = reading.at_s
        facts = self._facts(reading, is_lost, transcode)
        told: list[Alert] = []
        for rule in self._rules:
            watched = self._watched.get(rule.code)
            if watched is None:
                watched = self._watched[rule.code] = _Watched(now_s)
            if self._is_hidden(rule):
                watched.since_s = None
                if watched.alert is not None:
                    told.append(self._end(rule, watched, at_ms))
                continue
            verdict = rule.judge(facts)
            if verdict is not None:
                watched.known_s = now_s
            if watched.alert is None:
                if self._lasts(
                    watched, verdict is not None and verdict.is_bad, rule.enter_s, now_s
                ):
                    assert verdict is not None
                    watched.alert = _begin(rule, verdict, at_ms)
                    told.append(watched.alert)
            elif now_s - watched.known_s >= UNKNOWN_S or self._lasts(
                watched, verdict is not None and verdict.is_good, rule.leave_s, now_s
            ):
                told.append(self._end(rule, watched, at_ms))
        return told

    def end_all(self, at_ms: int) -> Sequence[Alert]:
        """The broadcast is over; returns the alerts that end with it."""
        return [
            self._end(rule, self._watched[rule.code], at_ms)
            for rule in self._rules
            if rule.code in self._watched and self._watched[rule.code].alert is not None
        ]

    def _facts(self, reading: Reading, is_lost: bool, transcode: TranscodeHealth | None) -> Facts:
        now_s = reading.at_s
        drops = self._drops
        if reading.dropped:
            drops.append((now_s, reading.dropped))
        while drops and now_s - drops[0][0] > DROPS_S:
            drops.popleft()
        kbps = reading.mean_kbps
        if kbps is None or kbps >= self.limits.min_bitrate_kbps:
            self._low_since_s = None
        elif self._low_since_s is None:
            self._low_since_s = now_s
        return Facts(
            reading=reading,
            limits=self.limits,
            is_lost=is_lost,
            recent_drops=sum(count for _, count in drops),
            latest_drops=sum(count for at_s, count in drops if now_s - at_s <= FORGET_S),
            transcode=transcode,
            low_s=0.0 if self._low_since_s is None else now_s - self._low_since_s,
        )

    def _is_hidden(self, rule: Rule) -> bool:
        watched = self._watched
        return any(code in watched and watched[code].alert is not None for code in rule.hidden_by)

    @staticmethod
    def _lasts(watched: _Watched, is_so: bool, wait_s: float, now_s: float) -> bool:
        if not is_so:
            watched.since_s = None
            return False
        if watched.since_s is None:
            watched.since_s = now_s
        return now_s - watched.since_s >= wait_s

    def _end(self, rule: Rule, watched: _Watched, at_ms: int) -> Alert:
        assert watched.alert is not None
        ended = msgspec.structs.replace(watched.alert, ended_at=at_ms)
        watched.alert = watched.since_s = None
        self._recent.append(ended)
        if rule.code == "framesDropped":
            self._drops.clear()  # what was told is not told again
        return ended


def _begin(rule: Rule, verdict: Verdict, at_ms: int) -> Alert:
    numbers: Mapping[str, str] = {
        "value": format(verdict.value, rule.form),
        "limit": format(verdict.limit, "g"),
    }
    return Alert(
        code=rule.code,
        severity=rule.severity,
        text=rule.text.format_map(numbers),
        advice=rule.advice,
        value=round(verdict.value, 3),
        threshold=verdict.limit,
        started_at=at_ms,
    )
