"""AMF0 and AMF3: any bytes give values or `AmfError`, in bounded depth, count and size.

Further invariants: values that were read can be written, and what was written reads as the same
values (NaN by its repr); no list, dict or text is larger than the message could make it.

Input: the payload of one message.
"""

from collections.abc import Mapping

from rtmpcore import AmfError, AmfValue
from rtmpcore.amf0 import decode, encode

MAX_DEPTH = 16  # below what `encode` takes
MAX_VALUES = 500


def measure(value: AmfValue, depth: int = 0) -> tuple[int, int]:
    """Count the values in a value, and its characters."""
    assert depth <= MAX_DEPTH
    if isinstance(value, str):
        return 1, len(value)
    members: list[AmfValue] = []
    characters = 0
    if isinstance(value, Mapping):
        members = list(value.values())
        characters = sum(len(name) for name in value)
    elif isinstance(value, list):
        members = value
    measured = [measure(member, depth + 1) for member in members]
    return 1 + sum(count for count, _ in measured), characters + sum(size for _, size in measured)


def test_one_input(data: bytes) -> None:
    try:
        values = decode(data, max_depth=MAX_DEPTH, max_values=MAX_VALUES)
    except AmfError:
        return
    measured = [measure(value) for value in values]
    assert sum(count for count, _ in measured) <= MAX_VALUES
    # AMF3 has its text in a table: each value may show the same text again, without a copy.
    if b"\x11" not in data:
        assert sum(size for _, size in measured) <= 2 * len(data) + 4096
    written = encode(*values)
    again = decode(written, max_depth=MAX_DEPTH, max_values=MAX_VALUES)
    assert repr(again) == repr(values)
