"""Pictures in the sizes of the rungs, each made from the smallest larger one.

Scaling from the rung above in place of the source halves the cost: it reads fewer pixels. What it
costs in quality is small with a bicubic filter, and the figures are printed by
`tests/bench/test_bench_transcode.py`: 1080p to 720p, 480p and 360p takes 3.7 ms a picture in place
of 7.3, for 0.1 to 0.4 dB of what the smaller ones keep of the source. Averaging areas is cheaper
(2.6 ms) and blurs more with each step: 2.7 dB at 360p.

The scalers are long-lived: setting one up costs as much as using it. Calls block for milliseconds:
in a thread, one at a time. The pictures may then be read in any thread.

May import av.
"""

from collections.abc import Sequence
from typing import Final

import av
from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

MAX_SCALERS: Final = 32
"""Kept at one time; a stream that changes its size again and again needs new ones each time."""

FORMAT: Final = "yuv420p"
"""Of every picture that comes out: what all browsers decode."""

_RGB: Final = 0  # AVCOL_SPC_RGB


class Scaler:
    """Scales each picture to some of a few sizes.

    Args:
        sizes: Width and height of each rung.
    """

    def __init__(self, sizes: Sequence[tuple[int, int]]) -> None:
        self._sizes = tuple(sizes)
        # From large to small, so that each finds those that it can be made from.
        self._order = sorted(
            range(len(sizes)), key=lambda index: sizes[index][0] * sizes[index][1], reverse=True
        )
        self._scalers: dict[tuple[int, int, int, str], VideoReformatter] = {}

    def scale(self, frame: av.VideoFrame, wanted: Sequence[bool]) -> list[av.VideoFrame | None]:
        """Make a picture for each rung that wants one.

        Args:
            frame: Any size, any format that a decoder gives.
            wanted: For each rung.

        Returns:
            For each rung its picture, with the time and the colours of ``frame``, or None. Where
            nothing had to be done it is ``frame`` itself.

        Raises:
            av.FFmpegError: It cannot be scaled.
        """
        made: list[av.VideoFrame | None] = [None] * len(self._sizes)
        sources = [frame]
        for index in self._order:
            if wanted[index]:
                width, height = self._sizes[index]
                picture = self._reformat(index, _smallest(sources, width, height), width, height)
                made[index] = picture
                if width <= frame.width and height <= frame.height:
                    sources.append(picture)  # what was enlarged is no better than the source
        return made

    def _reformat(
        self, index: int, source: av.VideoFrame, width: int, height: int
    ) -> av.VideoFrame:
        key = (index, source.width, source.height, source.format.name)
        scaler = self._scalers.get(key)
        if scaler is None:
            if len(self._scalers) >= MAX_SCALERS:
                self._scalers.clear()
            scaler = self._scalers[key] = VideoReformatter()
        return scaler.reformat(
            source,
            width,
            height,
            FORMAT,
            # A picture that is no longer RGB must not say so.
            dst_colorspace=Colorspace.ITU709 if source.colorspace == _RGB else None,
            interpolation=Interpolation.BICUBIC,
            threads=1,
        )


def _smallest(sources: Sequence[av.VideoFrame], width: int, height: int) -> av.VideoFrame:
    """The last, and so the smallest, that is at least so large; the first if none is."""
    for source in reversed(sources):
        if source.width >= width and source.height >= height:
            return source
    return sources[0]
