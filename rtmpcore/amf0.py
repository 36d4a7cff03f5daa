"""AMF0, the encoding of RTMP's commands and metadata (Adobe AMF 0 specification, 2007).

`decode` turns the bytes of one message into Python values and `encode` does the reverse. What a
peer can do is bounded twice: nesting by a depth, work and memory by a count of values, so recursion
here is at most `max_depth` frames deep and a reference to an earlier value cannot grow without end.

Lenient where real senders are: an object that the end of the message cuts between two
properties is complete (some omit the end marker), the count of an ECMA array is a hint only (FMLE
sends 0), text may be broken UTF-8.

| marker | Python value |
| --- | --- |
| number, boolean, string, long string | float, bool, str |
| object, typed object (its class name is dropped) | dict |
| ECMA array | `EcmaArray`, a dict |
| strict array | list |
| date | `AmfDate` |
| XML document | str |
| null, undefined, unsupported | None |
| reference | a fresh copy of the value it points to |
| AMF3 value (0x11) | what `amf3` makes of it |

May import: errors.
"""

import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from rtmpcore.errors import AmfError, LocalProtocolError

DEFAULT_MAX_DEPTH: Final = 32
DEFAULT_MAX_VALUES: Final = 4096

_NUMBER: Final = 0x00
_BOOLEAN: Final = 0x01
_STRING: Final = 0x02
_OBJECT: Final = 0x03
_NULL: Final = 0x05
_UNDEFINED: Final = 0x06
_REFERENCE: Final = 0x07
_ECMA_ARRAY: Final = 0x08
_OBJECT_END: Final = 0x09
_STRICT_ARRAY: Final = 0x0A
_DATE: Final = 0x0B
_LONG_STRING: Final = 0x0C
_UNSUPPORTED: Final = 0x0D
_XML: Final = 0x0F
_TYPED_OBJECT: Final = 0x10
_AMF3: Final = 0x11

_U16: Final = struct.Struct(">H")
_U32: Final = struct.Struct(">I")
_F64: Final = struct.Struct(">d")
_DATE_BODY: Final = struct.Struct(">dh")
_END: Final = b"\x00\x00\x09"


@dataclass(frozen=True, slots=True)
class AmfDate:
    """A point in time (AMF 0 section 2.13)."""

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


def decode(
    data: bytes, *, max_depth: int = DEFAULT_MAX_DEPTH, max_values: int = DEFAULT_MAX_VALUES
) -> list[AmfValue]:
    """Decode the values of one message, to its end.

    Args:
        data: The message's payload.
        max_depth: How deep arrays and objects may nest.
        max_values: How many values, property names included, the message may hold.

    Raises:
        AmfError: The bytes are not AMF0, a value is cut short, or a bound is passed.
    """
    decoder = _Decoder(data, max_depth=max_depth, max_values=max_values)
    values: list[AmfValue] = []
    while decoder.position < len(data):
        values.append(decoder.value(0))
    return values


class _Decoder:
    """One walk over the bytes of one message."""

    def __init__(self, data: bytes, *, max_depth: int, max_values: int) -> None:
        self.position = 0
        self._data = data
        self._max_depth = max_depth
        self._values_left = max_values
        # Where each object and array began, for references. Bounded by max_values.
        self._complex_at: list[int] = []
        self._following_reference = False

    def value(self, depth: int) -> AmfValue:
        self._values_left -= 1
        if self._values_left < 0:
            raise AmfError("an AMF message holds too many values", "AMF 0 section 2")
        start = self.position
        marker = self._take(1)[0]
        if marker == _NUMBER:
            return self._unpack(_F64)
        if marker == _STRING:
            return self._string(_U16)
        if marker == _BOOLEAN:
            return self._take(1) != b"\x00"
        if marker in (_NULL, _UNDEFINED, _UNSUPPORTED):
            return None
        if marker in (_LONG_STRING, _XML):
            return self._string(_U32)
        if marker == _DATE:
            milliseconds, timezone = _DATE_BODY.unpack(self._take(_DATE_BODY.size))
            return AmfDate(milliseconds, timezone)
        if depth >= self._max_depth:
            raise AmfError("AMF values are nested too deep", "AMF 0 section 2")
        if marker == _REFERENCE:
            return self._reference(depth + 1)
        return self._complex(marker, start, depth + 1)

    def _complex(self, marker: int, start: int, depth: int) -> AmfValue:
        if not self._following_reference:
            self._complex_at.append(start)
        if marker == _OBJECT:
            return self._properties({}, depth)
        if marker == _ECMA_ARRAY:
            self._take(_U32.size)  # the count, a hint that many senders get wrong
            return self._properties(EcmaArray(), depth)
        if marker == _STRICT_ARRAY:
            (count,) = _U32.unpack(self._take(_U32.size))
            # No room is made for a count: one beyond the message fails at the first missing value.
            return [self.value(depth) for _ in range(count)]
        if marker == _TYPED_OBJECT:
            self._string(_U16)
            return self._properties({}, depth)
        raise AmfError(f"AMF0 marker 0x{marker:02x} is not a value", "AMF 0 section 2.1")

    def _properties(self, properties: dict[str, AmfValue], depth: int) -> dict[str, AmfValue]:
        data = self._data
        while self.position < len(data):  # the end of the message ends an object too
            if data.startswith(_END, self.position):
                self.position += len(_END)
                break
            # An empty name that no end marker follows is a name like any other.
            name = self._string(_U16)
            properties[name] = self.value(depth)
        return properties

    def _reference(self, depth: int) -> AmfValue:
        # Decoding again from where the value began gives a tree, never a cycle or a shared node, so
        # the bounds on depth and count cover references without further care.
        (index,) = _U16.unpack(self._take(_U16.size))
        if index >= len(self._complex_at):
            raise AmfError("an AMF reference points to no value", "AMF 0 section 2.9")
        resume, self.position = self.position, self._complex_at[index]
        outer, self._following_reference = self._following_reference, True
        value = self.value(depth)
        self.position, self._following_reference = resume, outer
        return value

    def _string(self, length: struct.Struct) -> str:
        (count,) = length.unpack(self._take(length.size))
        return self._take(count).decode("utf-8", "replace")

    def _unpack(self, layout: struct.Struct) -> float:
        number: float = layout.unpack(self._take(layout.size))[0]
        return number

    def _take(self, count: int) -> bytes:
        end = self.position + count
        taken = self._data[self.position : end]
        if len(taken) < count:
            raise AmfError("an AMF value is cut short", "AMF 0 section 2")
        self.position = end
        return taken


def encode(*values: AmfValue, max_depth: int = DEFAULT_MAX_DEPTH) -> bytes:
    """Encode values one after the other, as a message's payload.

    A dict becomes an object, an `EcmaArray` an ECMA array, a list or tuple a strict array.

    Raises:
        LocalProtocolError: A value has no AMF0 form, or is nested deeper than max_depth.
    """
    out = bytearray()
    for value in values:
        _encode_into(out, value, max_depth)
    return bytes(out)


def _encode_into(out: bytearray, value: AmfValue, depth_left: int) -> None:
    if value is None:
        out.append(_NULL)
    elif isinstance(value, bool):
        out += bytes((_BOOLEAN, value))
    elif isinstance(value, (int, float)):
        out.append(_NUMBER)
        out += _F64.pack(value)
    elif isinstance(value, str):
        text = value.encode("utf-8", "replace")
        if len(text) <= 0xFFFF:
            out.append(_STRING)
            out += _U16.pack(len(text))
        else:
            out.append(_LONG_STRING)
            out += _U32.pack(len(text))
        out += text
    elif isinstance(value, AmfDate):
        out.append(_DATE)
        out += _DATE_BODY.pack(value.milliseconds, value.timezone)
    elif depth_left == 0:
        raise LocalProtocolError("the value is nested too deep for AMF0")
    elif isinstance(value, Mapping):
        if isinstance(value, EcmaArray):
            out.append(_ECMA_ARRAY)
            out += _U32.pack(len(value))
        else:
            out.append(_OBJECT)
        for name, member in value.items():
            key = name.encode("utf-8", "replace")
            if len(key) > 0xFFFF:
                raise LocalProtocolError("a property name is too long for AMF0")
            out += _U16.pack(len(key))
            out += key
            _encode_into(out, member, depth_left - 1)
        out += _END
    elif isinstance(value, (list, tuple)):
        out.append(_STRICT_ARRAY)
        out += _U32.pack(len(value))
        for member in value:
            _encode_into(out, member, depth_left - 1)
    else:
        raise LocalProtocolError(f"{type(value).__name__} has no AMF0 form")
