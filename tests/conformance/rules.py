"""What a rule is: a function that checks a recording, with its id, level and section in its name.

The first line of a rule's docstring is `ID LEVEL section: what must hold`. Levels: MUST and SHOULD
are the words of draft-pantos-hls-rfc8216bis-22; MUST-P is a flat demand of its appendix B.1, MUST-H
one of HTTP or of players. "AA" is Apple's HLS Authoring Specification, "ours" stricter than any.
TD is the target duration, PT the part target.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.conformance.recording import Recording

KEPT_FINDINGS = 20
"""Of one rule; the rest are counted."""


@dataclass
class Check:
    """Counts what a rule looked at, and keeps what was wrong."""

    recording: Recording
    count: int = 0
    failures: int = 0
    findings: list[str] = field(default_factory=list)
    reason: str = "it did not come up"

    def __call__(self, holds: object, text: str, *values: object) -> None:
        """One observation; the text, %-formatted, is for when it does not hold."""
        self.count += 1
        if not holds:
            self.failures += 1
            if len(self.findings) < KEPT_FINDINGS:
                self.findings.append(text % values if values else text)

    def unseen(self, reason: str) -> None:
        """Say why there may be nothing to look at."""
        self.reason = reason


@dataclass(frozen=True)
class Rule:
    """One rule."""

    id: str
    level: str
    section: str
    text: str
    run: Callable[[Check], None]

    @property
    def must(self) -> bool:
        return self.level.startswith("MUST")


RULES: dict[str, Rule] = {}

_HEAD = re.compile(r"([A-Z]{2}-\d\d) (MUST(?:-[PH])?|SHOULD) ([^:]+): (.+)", re.DOTALL)


def rule(function: Callable[[Check], None]) -> Callable[[Check], None]:
    """Register a rule by its docstring."""
    match = _HEAD.fullmatch((function.__doc__ or "").strip())
    if match is None or match[1] in RULES:
        raise ValueError(f"{function.__name__}: no proper docstring, or a second rule of that id")
    text = " ".join(match[4].split())
    RULES[match[1]] = Rule(match[1], match[2], match[3], text, function)
    return function


@dataclass(frozen=True)
class Verdict:
    """What became of one rule."""

    rule: Rule
    check: Check

    @property
    def word(self) -> str:
        if self.check.failures:
            return "FAIL"
        return "PASS" if self.check.count else "NOT SEEN"


def judge(recording: Recording) -> list[Verdict]:
    """Apply every rule. A rule that raises has failed: the recording is not what it can read."""
    verdicts = []
    for found in RULES.values():
        check = Check(recording)
        try:
            found.run(check)
        except Exception as error:
            check(False, f"the rule itself failed: {error!r}")
        verdicts.append(Verdict(found, check))
    return verdicts


def at_95_percent(values: list[float]) -> float:
    """The 95th percentile; 0 of nothing."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))] if ordered else 0.0
