"""All rules, registered by importing the modules that hold them."""

from tests.conformance import (
    rules_blocking,
    rules_end,
    rules_http,
    rules_media,
    rules_multivariant,
    rules_parts,
    rules_playlist,
)
from tests.conformance.rules import RULES, Check, Rule, Verdict, judge

MODULES = (
    rules_blocking,
    rules_end,
    rules_http,
    rules_media,
    rules_multivariant,
    rules_parts,
    rules_playlist,
)

__all__ = ["MODULES", "RULES", "Check", "Rule", "Verdict", "judge", "listed"]


def listed() -> list[str]:
    """A line for each rule: id, level, section, text."""
    return [
        f"{rule.id}  {rule.level:<7} {rule.section}: {rule.text}"
        for _, rule in sorted(RULES.items())
    ]
