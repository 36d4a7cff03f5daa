"""AMF3: what a writer that knows every table writes is read as it was meant, and any bytes are.

The writer stands below and shares nothing with the reader: strings, objects and traits go into its
tables, and come again as references. Further invariants, for bytes that nobody meant: a value or
`AmfError`, with depth and count in their bounds.

Input: byte 0 even: an AMF3 value as it is. Odd: choices of the writer, one byte each, 0 when they
run out.
"""

import struct
from collections.abc import Mapping
from typing import Final

from rtmpcore import AmfDate, AmfError, AmfValue, EcmaArray
from rtmpcore.amf import Cursor
from rtmpcore.amf3 import Amf3Reader

MAX_DEPTH = 12
MAX_VALUES = 400
MAX_WRITTEN_DEPTH = 4
MAX_WRITTEN_VALUES = 60
MAX_WRITTEN_REFERENCES = 2  # more of them could pass the reader's budget for repetition
NAMES: Final = ("a", "app", "tcUrl", "videodatarate", "\N{SNOWMAN}")


def measure(value: AmfValue, depth: int = 0) -> int:
    """Count the values in a value."""
    assert depth <= MAX_DEPTH
    members: list[AmfValue] = []
    if isinstance(value, Mapping):
        members = list(value.values())
    elif isinstance(value, list):
        members = value
    return 1 + sum(measure(member, depth + 1) for member in members)


class Writer:
    """Turns choices into an AMF3 value, and into what a reader must make of it."""

    def __init__(self, choices: bytes) -> None:
        self.out = bytearray()
        self._choices = iter(choices)
        self._strings: list[str] = []
        self._traits: list[tuple[bool, list[str]]] = []
        # Place in the table -> marker and meaning of what is complete: a reference to an object
        # that is still open would be a cycle, which no reader can give.
        self._objects: dict[int, tuple[int, AmfValue]] = {}
        self._objects_begun = 0
        self._values_left = MAX_WRITTEN_VALUES
        self._references_left = MAX_WRITTEN_REFERENCES

    def value(self, depth: int = 0) -> AmfValue:
        self._values_left -= 1
        inner = depth < MAX_WRITTEN_DEPTH and self._values_left > 0
        kind = self._choose(14 if inner else 12)
        match kind:
            case 0 | 1:
                self.out.append(kind)
                return None
            case 2 | 3:
                self.out.append(kind)
                return kind == 3
            case 4:
                number = self._choose(256) << 21 | self._choose(256) << 7 | self._choose(128)
                self.out.append(4)
                self._u29(number)
                return float(number - (1 << 29) if number & 1 << 28 else number)
            case 5:
                real = self._choose(256) / 7 - 9
                self.out += b"\x05" + struct.pack(">d", real)
                return real
            case 6:
                text = NAMES[self._choose(len(NAMES))] * self._choose(3)
                self.out.append(6)
                self._string(text)
                return text
            case 7 if self._objects and self._references_left:
                return self._reference()
            case _:
                return self._complex(kind, depth)

    def _reference(self) -> AmfValue:
        self._references_left -= 1
        index = list(self._objects)[self._choose(len(self._objects))]
        marker, meant = self._objects[index]
        self.out.append(marker)
        self._u29(index << 1)
        return meant

    def _complex(self, kind: int, depth: int) -> AmfValue:
        index, self._objects_begun = self._objects_begun, self._objects_begun + 1
        marker = {8: 0x08, 9: 0x07, 10: 0x0B, 12: 0x09, 13: 0x0A}.get(kind, 0x0C)
        self.out.append(marker)
        meant: AmfValue
        match kind:
            case 8:
                milliseconds = float(self._choose(256))
                self._u29(1)
                self.out += struct.pack(">d", milliseconds)
                meant = AmfDate(milliseconds)
            case 9 | 10:
                meant = NAMES[self._choose(len(NAMES))]
                raw = meant.encode()
                self._u29(len(raw) << 1 | 1)
                self.out += raw
            case 12:
                meant = self._array(depth)
            case 13:
                meant = self._object(depth)
            case _:
                self._u29(3 << 1 | 1)
                self.out += b"\0\x01\xff"
                meant = None
        self._objects[index] = marker, meant
        return meant

    def _array(self, depth: int) -> AmfValue:
        count = self._choose(4)
        self._u29(count << 1 | 1)
        named = EcmaArray(self._members(depth))
        dense = [self.value(depth + 1) for _ in range(count)]
        if not named:
            return dense
        return named | {str(index): meant for index, meant in enumerate(dense)}

    def _object(self, depth: int) -> AmfValue:
        known = self._choose(len(self._traits) + 1)
        if known < len(self._traits):
            dynamic, names = self._traits[known]
            self._u29(known << 2 | 1)
        else:
            dynamic, names = self._choose(2) == 1, list(NAMES[: self._choose(len(NAMES))])
            self._u29(len(names) << 4 | dynamic << 3 | 3)
            for text in ("", *names):  # the class has no name
                self._string(text)
            self._traits.append((dynamic, names))
        sealed = {name: self.value(depth + 1) for name in names}
        return sealed | self._members(depth) if dynamic else sealed

    def _members(self, depth: int) -> dict[str, AmfValue]:
        """Names with their values, to the empty name that ends them."""
        members: dict[str, AmfValue] = {}
        for name in NAMES[: self._choose(len(NAMES) + 1)]:
            self._string(name)
            members[name] = self.value(depth + 1)
        self._string("")
        return members

    def _string(self, text: str) -> None:
        if text in self._strings:
            self._u29(self._strings.index(text) << 1)
            return
        if text:
            self._strings.append(text)
        raw = text.encode()
        self._u29(len(raw) << 1 | 1)
        self.out += raw

    def _u29(self, number: int) -> None:
        if number < 0x20_0000:
            high = [number >> 14, number >> 7] if number >= 0x4000 else [number >> 7]
            self.out += bytes(0x80 | part & 0x7F for part in high if part)
            self.out.append(number & 0x7F)
        else:
            self.out += bytes(0x80 | number >> shift & 0x7F for shift in (22, 15, 8))
            self.out.append(number & 0xFF)

    def _choose(self, count: int) -> int:
        return next(self._choices, 0) % count


def test_one_input(data: bytes) -> None:
    if not data:
        return
    if data[0] % 2:
        writer = Writer(data[1:])
        meant = writer.value()
        cursor = Cursor(bytes(writer.out), max_depth=20, max_values=10_000)
        assert Amf3Reader(cursor).value(0) == meant
        assert cursor.at_end
        return
    payload = data[1:]
    cursor = Cursor(payload, max_depth=MAX_DEPTH, max_values=MAX_VALUES)
    try:
        value = Amf3Reader(cursor).value(0)
    except AmfError:
        return
    assert cursor.position <= len(payload)
    assert measure(value) <= MAX_VALUES
