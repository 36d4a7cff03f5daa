"""The demo's sound: a soft chord, and a blip at each full second of the wall clock.

Every frequency is a whole number of hertz, so one second of sound repeats without a seam: it is
computed once, and a block is a slice of it.
"""

from typing import Final

import numpy as np
import numpy.typing as npt

SAMPLE_RATE: Final = 48_000
CHANNELS: Final = 2

#: Chord (Hz, level): an open fifth and its octave, quiet enough to leave on.
_CHORD: Final = ((220, 0.035), (330, 0.025), (440, 0.012))

_BLIP_HZ: Final = 1_000
_BLIP_LEVEL: Final = 0.25
_BLIP_S: Final = 0.08


def _one_second() -> npt.NDArray[np.float32]:
    """Compute the loop: two channels of 48,000 samples, each in [-1, 1]."""
    time_s = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    chord = sum(level * np.sin(2 * np.pi * hz * time_s) for hz, level in _CHORD)
    # Fades in and out, so that neither edge clicks.
    envelope = np.where(time_s < _BLIP_S, np.sin(np.pi * time_s / _BLIP_S) ** 2, 0)
    blip = _BLIP_LEVEL * envelope * np.sin(2 * np.pi * _BLIP_HZ * time_s)
    return np.tile((chord + blip).astype(np.float32), (CHANNELS, 1))


class Sound:
    """The loop, aligned to the wall clock.

    Args:
        wall_s: UTC seconds since 1970 at sample 0.
    """

    def __init__(self, wall_s: float) -> None:
        second = _one_second()
        self._loop = np.concatenate((second, second), axis=1)  # any slice up to 1 s is contiguous
        self._offset = round(wall_s % 1 * SAMPLE_RATE)

    def block(self, first_sample: int, samples: int) -> npt.NDArray[np.float32]:
        """Return a block of sound.

        Args:
            first_sample: Its position, in samples since `wall_s`.
            samples: Its length, at most 48,000.

        Returns:
            Planar float samples, shape (2, samples), C-contiguous.
        """
        start = (self._offset + first_sample) % SAMPLE_RATE
        return np.ascontiguousarray(self._loop[:, start : start + samples])
