"""The machine-readable clock in the demo picture: a row of black and white cells.

The bottom twentieth of the picture is a row of 64 cells of equal width, from the left edge to the
right: 20 x 36 pixels at 1280 x 720. White (luma 235) is 1, black (luma 16) is 0. Left to right,
the most significant bit of each field first:

    cells 0-7     the sync byte 0xA5, 10100101
    cells 8-55    48 bits: milliseconds UTC since 1970 at the instant the picture was drawn
    cells 56-63   CRC-8 of those six bytes: polynomial 0x07, start 0, no reflection, no final xor

All positions are fractions of the picture, so a scaled rendition or a canvas of another size
reads the same: the centre of cell i is at x = (i + 0.5) / 64 of the width and y = 0.975 of the
height. A reader in a page, whose canvas may be as small as 256 pixels wide:

    function readTimecode(video, canvas) {  // ms since 1970, or null
      const c = canvas.getContext("2d", {willReadFrequently: true});
      c.drawImage(video, 0, 0, canvas.width, canvas.height);
      const y = Math.floor(canvas.height * 0.975);
      const row = c.getImageData(0, y, canvas.width, 1).data;  // RGBA
      const bit = i => row[4 * Math.floor((i + 0.5) / 64 * canvas.width) + 1] > 127 ? 1 : 0;
      const byte = n => [0, 1, 2, 3, 4, 5, 6, 7].reduce((v, i) => v * 2 + bit(8 * n + i), 0);
      if (byte(0) !== 0xA5) return null;
      let ms = 0, crc = 0;
      for (let n = 1; n <= 6; n++) {
        ms = ms * 256 + byte(n);  // 48 bits: too many for << and |
        crc ^= byte(n);
        for (let i = 0; i < 8; i++) crc = crc & 0x80 ? (crc << 1 ^ 0x07) & 0xFF : crc << 1;
      }
      return crc === byte(7) ? ms : null;
    }

Capture-to-glass is then ``Date.now() - readTimecode(...)`` inside ``requestVideoFrameCallback``,
when page and publisher share a clock.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

CELLS: Final = 64
SYNC: Final = 0xA5
CRC_POLYNOMIAL: Final = 0x07

#: The row's share of the picture's height, at its bottom.
ROW_SHARE: Final = 20


def encode_timecode(wall_ms: int) -> npt.NDArray[np.bool_]:
    """Return the cells for one instant.

    Args:
        wall_ms: Milliseconds UTC since 1970, taken modulo 2**48.

    Returns:
        64 booleans, left to right; True is white.
    """
    payload = (wall_ms % (1 << 48)).to_bytes(6, "big")
    code = bytes((SYNC, *payload, _crc8(payload)))
    return np.unpackbits(np.frombuffer(code, np.uint8)).astype(np.bool_)


def _crc8(data: bytes) -> int:
    crc = 0
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc << 1 ^ (CRC_POLYNOMIAL if crc & 0x80 else 0)) & 0xFF
    return crc
