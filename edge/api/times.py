"""How the API writes a moment. Pure; imports nothing of ours."""

from datetime import UTC, datetime
from typing import overload


@overload
def iso8601(at_s: float) -> str: ...


@overload
def iso8601(at_s: None) -> None: ...


@overload
def iso8601(at_s: float | None) -> str | None: ...


def iso8601(at_s: float | None) -> str | None:
    """UTC seconds since 1970 as ``2026-08-01T12:00:00.000Z``; None stays None."""
    if at_s is None:
        return None
    text = datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")
    return text.replace("+00:00", "Z")
