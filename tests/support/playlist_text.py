"""What readers of playlists share: lines, attributes, and the exception that names a rule.

Written from draft-pantos-hls-rfc8216bis-22, section 4; it shares no code with the package `hls`.
"""

import re

from hls_rules import RULES

US = 1_000_000


class RuleBroken(AssertionError):
    """A playlist breaks a rule of `hls_rules`."""

    def __init__(self, rule: str, text: str) -> None:
        super().__init__(f"{rule}: {text} ({RULES[rule]})")
        self.rule = rule


_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"\r\n]*"|[^",\r\n]+)(?:,|$)')


def require(condition: bool, rule: str, text: str) -> None:
    """Raise `RuleBroken` unless the condition holds."""
    if not condition:
        raise RuleBroken(rule, text)


def decimal_us(text: str, rule: str) -> int:
    """A decimal number of seconds as whole microseconds."""
    match = re.fullmatch(r"(\d+)(?:\.(\d{1,6}))?", text)
    if match is None:
        raise RuleBroken(rule, f"{text!r} is not a decimal number of seconds")
    return int(match[1]) * US + int((match[2] or "").ljust(6, "0"))


def attributes(text: str) -> dict[str, str]:
    """An attribute list (4.2), each name once, without the quotes."""
    found: dict[str, str] = {}
    end = 0
    for match in _ATTRIBUTE.finditer(text):
        require(match.start() == end, "MP-01", f"torn attribute list {text!r}")
        require(match[1] not in found, "MP-01", f"{match[1]} twice in {text!r}")
        found[match[1]] = match[2].strip('"')
        end = match.end()
    require(bool(found) and end == len(text), "MP-01", f"torn attribute list {text!r}")
    return found


def lines_of(data: bytes, rule: str) -> list[str]:
    """The lines of a playlist after #EXTM3U, all of them complete."""
    text = data.decode("utf-8", "strict")
    require(text.startswith("#EXTM3U\n"), rule, "the first line is not #EXTM3U")
    require(text.endswith("\n"), "MP-17", "the last line is not terminated")
    lines = text[:-1].split("\n")
    for line in lines:
        require(bool(line) and line.isprintable(), rule, f"empty or with controls: {line!r}")
    return lines[1:]
