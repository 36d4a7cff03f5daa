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
| AMF3 value (0x11) | see `amf3` |

May import: amf, amf3, errors.
"""

import struct
from collections.abc import Mapping
from typing import Final

from rtmpcore.amf import AmfDate, AmfValue, Cursor, EcmaArray
from rtmpcore.amf3 import Amf3Reader
from rtmpcore.errors import AmfError, LocalProtocolError

_MAX_ENCODE_DEPTH: Final = 32

_NUMBER: Final = 0x00
_BOOLEAN: Final = 0x01
_STRING: Final = 0x02
_OBJECT: Final = 0x03
_NULL: Final = 0x05
_UNDEFINED: Final = 0x06
_REFERENCE: Final = 0x07
_ECMA_ARRAY: Final = 0x08
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


def decode(data: bytes, *, max_depth: int, max_values: int) -> list[AmfValue]:
    """Decode the values of one message, to its end.

    Args:
        data: The message's payload.
        max_depth: How deep arrays and objects may nest.
        max_values: How many values the message may hold, those inside others included.

    Raises:
        AmfError: The bytes are not AMF0, a value is cut short, or a bound is passed.
    """
    decoder = _Decoder(Cursor(data, max_depth=max_depth, max_values=max_values))
    values: list[AmfValue] = []
    while not decoder.cursor.at_end:
        values.append(decoder.value(0))
    return values


class _Decoder:
    """One walk over the bytes of one message."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        # Where each object and array began, for references. Bounded by the cursor's max_values.
        self._complex_at: list[int] = []
        self._following_reference = False

    def value(self, depth: int) -> AmfValue:
        cursor = self.cursor
        cursor.count_value(depth)
        start = cursor.position
        marker = cursor.take(1)[0]
        if marker == _NUMBER:
            number: float = _F64.unpack(cursor.take(_F64.size))[0]
            return number
        if marker == _STRING:
            return self._string(_U16)
        if marker == _BOOLEAN:
            return cursor.take(1) != b"\x00"
        if marker in (_NULL, _UNDEFINED, _UNSUPPORTED):
            return None
        if marker in (_LONG_STRING, _XML):
            return self._string(_U32)
        if marker == _DATE:
            milliseconds, timezone = _DATE_BODY.unpack(cursor.take(_DATE_BODY.size))
            return AmfDate(milliseconds, timezone)
        if marker == _REFERENCE:
            return self._reference(depth + 1)
        if marker == _AMF3:
            return Amf3Reader(cursor).value(depth)
        return self._complex(marker, start, depth + 1)

    def _complex(self, marker: int, start: int, depth: int) -> AmfValue:
        if not self._following_reference:
            self._complex_at.append(start)
        if marker == _OBJECT:
            return self._properties({}, depth)
        if marker == _ECMA_ARRAY:
            self.cursor.take(_U32.size)  # the count, a hint that many senders get wrong
            return self._properties(EcmaArray(), depth)
        if marker == _STRICT_ARRAY:
            (count,) = _U32.unpack(self.cursor.take(_U32.size))
            # No room is made for a count: one beyond the message fails at the first missing value.
            return [self.value(depth) for _ in range(count)]
        if marker == _TYPED_OBJECT:
            self._string(_U16)
            return self._properties({}, depth)
        raise AmfError(f"AMF0 marker 0x{marker:02x} is not a value", "AMF 0 section 2.1")

    def _properties(self, properties: dict[str, AmfValue], depth: int) -> dict[str, AmfValue]:
        # The end of the message ends an object too, and an empty name that no end marker follows
        # is a name like any other.
        while not self.cursor.at_end and not self.cursor.take_if(_END):
            name = self._string(_U16)
            properties[name] = self.value(depth)
        return properties

    def _reference(self, depth: int) -> AmfValue:
        # Decoding again from where the value began gives a tree, never a cycle or a shared node, so
        # the bounds on depth and count cover references without further care.
        cursor = self.cursor
        (index,) = _U16.unpack(cursor.take(_U16.size))
        if index >= len(self._complex_at):
            raise AmfError("an AMF reference points to no value", "AMF 0 section 2.9")
        resume, cursor.position = cursor.position, self._complex_at[index]
        outer, self._following_reference = self._following_reference, True
        value = self.value(depth)
        cursor.position, self._following_reference = resume, outer
        return value

    def _string(self, length: struct.Struct) -> str:
        (count,) = length.unpack(self.cursor.take(length.size))
        return self.cursor.take(count).decode("utf-8", "replace")


def encode(*values: AmfValue) -> bytes:
    """Encode values one after the other, as a message's payload.

    A dict becomes an object, an `EcmaArray` an ECMA array, a list or tuple a strict array.

    Raises:
        LocalProtocolError: A value has no AMF0 form, or is nested too deep.
    """
    out = bytearray()
    for value in values:
        _encode_into(out, value, _MAX_ENCODE_DEPTH)
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
