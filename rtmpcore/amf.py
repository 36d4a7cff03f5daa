"""What AMF0 and AMF3 share: the values they can say, and a bounded walk over a message's bytes.

May import: errors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from rtmpcore.errors import AmfError

_SPEC: Final = "AMF 0 section 2"
_FREE_BYTES: Final = 4096
"""What references may repeat in the smallest message."""


@dataclass(frozen=True, slots=True)
class AmfDate:
    """A point in time (AMF 0 section 2.13, AMF 3 section 3.9)."""

    milliseconds: float
    """Milliseconds since 1970-01-01 UTC."""

    timezone: int = 0
    """Reserved by the specification; senders write 0 or an offset in minutes."""


AmfValue: TypeAlias = (
    bool | int | float | str | AmfDate | Sequence["AmfValue"] | Mapping[str, "AmfValue"] | None
)
"""What AMF can say. Numbers are always floats when decoded; an int may be given to encode."""


class EcmaArray(dict[str, AmfValue]):
    """A dict that came as, or is to be sent as, an ECMA array (AMF 0 section 2.10)."""


class Cursor:
    """A place in the bytes of one message, and the work that the rest of it may still cost.

    Args:
        data: The message's payload.
        max_depth: How deep arrays and objects may nest.
        max_values: How many values the message may hold, counted again where a reference repeats
            them: the bound on time.

    References may make the same bytes be read again, but all reading together is at most about
    twice the message: the bound on memory.
    """

    def __init__(self, data: bytes, *, max_depth: int, max_values: int) -> None:
        self.position = 0
        self._data = data
        self._bytes_left = 2 * len(data) + _FREE_BYTES
        self._max_depth = max_depth
        self._values_left = max_values

    @property
    def at_end(self) -> bool:
        """No bytes are left."""
        return self.position >= len(self._data)

    def take(self, count: int) -> bytes:
        """Return the next bytes and step over them.

        Raises:
            AmfError: Fewer are left, or references have repeated too much.
        """
        end = self.position + count
        taken = self._data[self.position : end]
        if len(taken) < count:
            raise AmfError("an AMF value is cut short", _SPEC)
        self._bytes_left -= count
        if self._bytes_left < 0:
            raise AmfError("AMF references repeat too much", _SPEC)
        self.position = end
        return taken

    def take_if(self, expected: bytes) -> bool:
        """Step over the expected bytes if they come next; say whether they did."""
        found = self._data.startswith(expected, self.position)
        if found:
            self.position += len(expected)
        return found

    def count_value(self, depth: int) -> None:
        """Account for one more value, nested `depth` deep (0 is the outermost).

        Raises:
            AmfError: That is one too many, or too deep.
        """
        self._values_left -= 1
        if self._values_left < 0:
            raise AmfError("an AMF message holds too many values", _SPEC)
        if depth > self._max_depth:
            raise AmfError("AMF values are nested too deep", _SPEC)
