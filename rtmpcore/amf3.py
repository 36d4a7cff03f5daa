"""AMF3 values inside AMF0 (Adobe AMF 3 specification, 2013), as far as publishers may send them.

Senders that speak AMF3 (Flash, Blackmagic's Web Presenter) put AMF0 values into type 15 and 17
messages and may switch to AMF3 for single values, behind the AMF0 marker 0x11. Decoding only: we
answer in AMF0, which all of them read.

Numbers become floats, both kinds of XML and strings str, dates `AmfDate`, dense arrays lists,
arrays with names `EcmaArray` (dense members under "0", "1" ...), objects dicts without their class
name, byte arrays None. Vectors, dictionaries and externalizable objects are refused: no encoder
sends them, and the last have no length.

The three reference tables (strings, objects, traits) belong to one value. As in `amf0`, an object
reference decodes the object again from where it began, so cycles end at the bound on depth.

May import: amf, errors.
"""

import struct
from typing import Final, NamedTuple

from rtmpcore.amf import AmfDate, AmfValue, Cursor, EcmaArray
from rtmpcore.errors import AmfError

_UNDEFINED: Final = 0x00
_NULL: Final = 0x01
_FALSE: Final = 0x02
_TRUE: Final = 0x03
_INTEGER: Final = 0x04
_DOUBLE: Final = 0x05
_STRING: Final = 0x06
_XML_DOCUMENT: Final = 0x07
_DATE: Final = 0x08
_ARRAY: Final = 0x09
_OBJECT: Final = 0x0A
_XML: Final = 0x0B
_BYTE_ARRAY: Final = 0x0C
_WITH_REFERENCES: Final = (_XML_DOCUMENT, _DATE, _ARRAY, _OBJECT, _XML, _BYTE_ARRAY)

_F64: Final = struct.Struct(">d")
_SPEC: Final = "AMF 3 section 3"


class _Traits(NamedTuple):
    """The shape of a class of objects."""

    is_dynamic: bool
    names: tuple[str, ...]


class Amf3Reader:
    """Reads one AMF3 value, with its reference tables, from a message that `amf0` walks."""

    def __init__(self, cursor: Cursor) -> None:
        self._cursor = cursor
        # All three are bounded by the message: an entry takes at least a byte of it.
        self._strings: list[str] = []
        self._traits: list[_Traits] = []
        self._objects_at: list[int] = []
        self._following_reference = False

    def value(self, depth: int) -> AmfValue:
        """Return the value that begins at the cursor.

        Args:
            depth: How deep it is nested, AMF0 around it included.

        Raises:
            AmfError: Malformed, cut short, refused, or beyond the cursor's bounds.
        """
        self._cursor.count_value(depth)
        marker = self._cursor.take(1)[0]
        if marker in (_UNDEFINED, _NULL):
            return None
        if marker in (_FALSE, _TRUE):
            return marker == _TRUE
        if marker == _INTEGER:
            number = self._u29()
            return float(number - 0x20000000 if number & 0x10000000 else number)
        if marker == _DOUBLE:
            return self._double()
        if marker == _STRING:
            return self._string()
        if marker in _WITH_REFERENCES:
            return self._referable(marker, depth)
        raise AmfError(f"AMF3 marker 0x{marker:02x} is not served", _SPEC)

    def _referable(self, marker: int, depth: int) -> AmfValue:
        start = self._cursor.position
        head = self._u29()
        if not head & 1:
            return self._reference(marker, head >> 1, depth)
        if not self._following_reference:
            self._objects_at.append(start)
        if marker == _OBJECT:
            return self._object(head, depth)
        if marker == _ARRAY:
            return self._array(head >> 1, depth)
        if marker == _DATE:
            return AmfDate(self._double())
        content = self._cursor.take(head >> 1)
        return None if marker == _BYTE_ARRAY else content.decode("utf-8", "replace")

    def _reference(self, marker: int, index: int, depth: int) -> AmfValue:
        if index >= len(self._objects_at):
            raise AmfError("an AMF3 reference points to no value", _SPEC)
        self._cursor.count_value(depth + 1)
        cursor = self._cursor
        resume, cursor.position = cursor.position, self._objects_at[index]
        outer, self._following_reference = self._following_reference, True
        # The marker is the reference's own. The one of its target stands before where that began;
        # a sender that mixes them up gets an error or nonsense, within the same bounds.
        value = self._referable(marker, depth + 1)
        cursor.position, self._following_reference = resume, outer
        return value

    def _array(self, count: int, depth: int) -> AmfValue:
        named = EcmaArray()
        while name := self._string():
            named[name] = self.value(depth + 1)
        # No room is made for a count: one beyond the message fails at the first missing value.
        dense = [self.value(depth + 1) for _ in range(count)]
        if not named:
            return dense
        named.update((str(index), member) for index, member in enumerate(dense))
        return named

    def _object(self, head: int, depth: int) -> AmfValue:
        traits = self._read_traits(head, depth)
        members: dict[str, AmfValue] = {name: self.value(depth + 1) for name in traits.names}
        if traits.is_dynamic:
            while name := self._string():
                members[name] = self.value(depth + 1)
        return members

    def _read_traits(self, head: int, depth: int) -> _Traits:
        if not head & 2:
            if head >> 2 >= len(self._traits):
                raise AmfError("an AMF3 traits reference points to none", _SPEC)
            return self._traits[head >> 2]
        if head & 4:
            raise AmfError("externalizable AMF3 objects are not served", _SPEC)
        self._string()  # the class name
        names: list[str] = []
        for _ in range(head >> 4):
            self._cursor.count_value(depth)
            names.append(self._string())
        traits = _Traits(bool(head & 8), tuple(names))
        if not self._following_reference:
            self._traits.append(traits)
        return traits

    def _string(self) -> str:
        head = self._u29()
        if not head & 1:
            if head >> 1 >= len(self._strings):
                raise AmfError("an AMF3 string reference points to none", _SPEC)
            return self._strings[head >> 1]
        text = self._cursor.take(head >> 1).decode("utf-8", "replace")
        if text and not self._following_reference:
            self._strings.append(text)
        return text

    def _double(self) -> float:
        number: float = _F64.unpack(self._cursor.take(8))[0]
        return number

    def _u29(self) -> int:
        """Read 1 to 4 bytes of 7, 7, 7 and 8 bits."""
        number = 0
        for _ in range(3):
            byte = self._cursor.take(1)[0]
            number = number << 7 | byte & 0x7F
            if byte < 0x80:
                return number
        return number << 8 | self._cursor.take(1)[0]
