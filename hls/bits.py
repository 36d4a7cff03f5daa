"""Read bit fields, most significant bit first, from codec configuration.

For parameter sets and AudioSpecificConfig only: a few hundred reads at the start of a broadcast, so
clear code and exact bounds matter here and speed does not. Every read past the end raises
`MediaError`; a reader never returns invented bits.

Spec: ISO/IEC 14496-10, 7.2 (u(n), more), 9.1 (ue(v), se(v)); ISO/IEC 14496-3, 1.6.
"""

from hls.errors import MediaError

MAX_EXP_GOLOMB_ZEROS = 32
"""9.1 needs no more: the largest ue(v) of any syntax element is 2**32 - 2."""


class BitReader:
    """A cursor over bytes that hands out bit fields.

    Args:
        data: The bytes to read; kept, never copied.
        what: What is being read, for the text of errors: ``"SPS"``.
    """

    __slots__ = ("_data", "_end", "_position", "_what")

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._what = what
        self._position = 0
        self._end = 8 * len(data)

    @property
    def bits_left(self) -> int:
        """Bits not read yet."""
        return self._end - self._position

    def read(self, bits: int) -> int:
        """Return the next ``bits`` bits (0 or more) as an unsigned integer.

        Raises:
            MediaError: Fewer bits are left.
        """
        start = self._position
        stop = start + bits
        if stop > self._end:
            raise MediaError(f"{self._what} is truncated")
        self._position = stop
        window = int.from_bytes(self._data[start >> 3 : (stop + 7) >> 3], "big")
        return (window >> (-stop & 7)) & ((1 << bits) - 1)

    def flag(self) -> bool:
        """Return the next bit as a truth value.

        Raises:
            MediaError: No bit is left.
        """
        return self.read(1) == 1

    def skip(self, bits: int) -> None:
        """Pass over ``bits`` bits.

        Raises:
            MediaError: Fewer bits are left.
        """
        if bits > self.bits_left:
            raise MediaError(f"{self._what} is truncated")
        self._position += bits

    def align(self) -> None:
        """Move to the next byte boundary, if not at one."""
        self._position += -self._position & 7

    def unsigned(self) -> int:
        """Return an unsigned Exp-Golomb code, ue(v), 0 to 2**32 - 2 (or a little more).

        Raises:
            MediaError: It is truncated, or its prefix has more than 32 zeros.
        """
        zeros = 0
        while not self.flag():
            zeros += 1
            if zeros > MAX_EXP_GOLOMB_ZEROS:
                raise MediaError(f"{self._what} has an Exp-Golomb code of more than 32 bits")
        return (1 << zeros) - 1 + self.read(zeros)

    def signed(self) -> int:
        """Return a signed Exp-Golomb code, se(v).

        Raises:
            MediaError: As for `unsigned`.
        """
        code = self.unsigned()
        return (code + 1) // 2 if code & 1 else -(code // 2)
