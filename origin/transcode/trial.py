"""What this machine takes to transcode, tried out: ``python -m origin.transcode.trial``.

A process of its own: `measure` starts it, so that its CPU time is the trial's alone and a driver
that crashes takes nobody along::

    trial cost ENCODER:PRESET ...      prints `Costs` as JSON
    trial works ENCODER                prints nothing, or why the encoder does not work

A trial makes a picture that moves and has texture everywhere, which is busier than most broadcasts,
and sends it the way of a broadcast: encoded once to have something to decode, decoded, scaled as a
ladder scales it, encoded with each of the presets. What counts is CPU time, not wall-clock time:
whatever else the machine does meanwhile hardly changes it.

Bounds: `BUDGET_S` in all, shared among the presets; each gets a picture at least, and at most
`HOPELESS_S` more than its share.

May import av (through `encode`, `decode`, `scale`) and numpy.
"""

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import av
import msgspec
import numpy as np
from av.video.frame import PictureType
from numpy.typing import NDArray

from origin.transcode import wire
from origin.transcode.capacity import Costs, EncodeCost
from origin.transcode.decode import TIME_BASE, VideoDecoder
from origin.transcode.encode import Colour, Encoder, try_encoder
from origin.transcode.errors import TranscodeError
from origin.transcode.rungs import HARDWARE
from origin.transcode.scale import Scaler

BUDGET_S: Final = 5.0
"""Wall-clock seconds for all pictures; what is begun is finished."""

PICTURES: Final = 30
"""Of the clip. Few enough to be quick, enough for a keyframe not to count too much."""

WARM_PICTURES: Final = 2
"""Not counted: caches and rate control are still cold."""

HOPELESS_S: Final = 2.0
"""A preset that takes longer for its first pictures is judged by them alone."""

WIDTH: Final = 1280
HEIGHT: Final = 720
FRAME_RATE: Final = 30
_TICKS: Final = 90_000 // FRAME_RATE

SOURCE_BPS: Final = 5_000_000
"""Of the clip that is decoded: what people send at this size."""

RUNG_BPS: Final = 2_500_000

#: As a ladder of three scales: each size from the one before.
_SIZES: Final = ((WIDTH, HEIGHT), (854, 480), (640, 360), (426, 240))

_COLOUR: Final = Colour(1, 1, 1, 1)  # limited range, BT.709

Clock = Callable[[], float]


@dataclass(slots=True)
class _Stopwatch:
    """CPU and wall-clock seconds of what runs between `start` and now."""

    cpu_clock: Clock = time.process_time
    wall_clock: Clock = time.perf_counter
    cpu_s: float = 0.0
    wall_s: float = 0.0

    def start(self) -> None:
        self.cpu_s, self.wall_s = self.cpu_clock(), self.wall_clock()

    def read(self) -> tuple[float, float]:
        return self.cpu_clock() - self.cpu_s, self.wall_clock() - self.wall_s


def measure_costs(
    pairs: Sequence[tuple[str, str]], *, pictures: int = PICTURES, budget_s: float = BUDGET_S
) -> Costs:
    """Find out what a megapixel costs.

    Args:
        pairs: Encoder and preset, each to be tried.
        pictures: Length of the clip, at least 4.
        budget_s: Wall-clock seconds to spend.

    Returns:
        The costs. An encoder that does not work is named with its reason, and has no cost.
    """
    began_s = time.perf_counter()
    clip = _clip(pictures)
    samples, config = _coded(clip)
    decode_s = _time_decoding(samples, config)
    scale_s = _time_scaling(clip)
    costs: list[EncodeCost] = []
    broken: dict[str, str] = {}
    for index, (encoder, preset) in enumerate(pairs):
        left_s = began_s + budget_s - time.perf_counter()
        if encoder in broken:
            continue
        try:
            costs.append(_time_encoding(clip, encoder, preset, left_s / (len(pairs) - index)))
        except TranscodeError as error:
            broken[encoder] = str(error)
    return Costs(decode_s=decode_s, scale_s=scale_s, encode=tuple(costs), broken=broken)


def _clip(pictures: int) -> list[av.VideoFrame]:
    """A texture that slides under a grain that changes, the same on every machine."""
    tiles = np.random.default_rng(7).integers(
        24, 220, (HEIGHT // 8 + 32, WIDTH // 8 + 32), dtype=np.uint8
    )
    texture = np.kron(tiles, np.ones((8, 8), dtype=np.uint8))
    texture = texture // 2 + np.roll(texture, 3, axis=0) // 4 + np.roll(texture, 5, axis=1) // 4
    return [_picture(texture, index) for index in range(pictures)]


def _picture(texture: NDArray[np.uint8], index: int) -> av.VideoFrame:
    down, right = index * 3 % 200, index * 7 % 200
    luma = texture[down : down + HEIGHT, right : right + WIDTH]
    grain = np.random.default_rng(index).integers(0, 10, (HEIGHT, WIDTH), dtype=np.uint8)
    chroma = texture[down : down + HEIGHT : 2, right : right + WIDTH : 2] // 4 + 96
    planes = np.concatenate([(luma + grain).ravel(), chroma.ravel(), chroma[::-1].ravel()])
    frame = av.VideoFrame.from_ndarray(
        planes.reshape(HEIGHT * 3 // 2, WIDTH).astype(np.uint8), format="yuv420p"
    )
    frame.pts, frame.time_base = index * _TICKS, TIME_BASE
    frame.color_range, frame.colorspace = _COLOUR.range, _COLOUR.matrix
    return frame


def _setup(encoder: str, preset: str, bitrate_bps: int) -> wire.RungSetup:
    return wire.RungSetup(
        name="trial",
        width=WIDTH,
        height=HEIGHT,
        bitrate_bps=bitrate_bps,
        encoder=encoder,
        preset=preset,
        frame_rate=float(FRAME_RATE),
        divisor=1,
    )


def _coded(clip: Sequence[av.VideoFrame]) -> tuple[list[bytes], wire.VideoConfig]:
    encoder = Encoder(_setup("libx264", "veryfast", SOURCE_BPS), _COLOUR, 1)
    samples = [sample.data for frame in clip for sample in encoder.encode(_forced(frame))]
    samples += [sample.data for sample in encoder.drain()]
    return samples, wire.VideoConfig(encoder.fourcc, encoder.record or b"")


def _forced(frame: av.VideoFrame) -> av.VideoFrame:
    """The first picture is an IDR picture, no other."""
    frame.pict_type = PictureType.NONE if frame.pts else PictureType.I
    return frame


def _time_decoding(samples: Sequence[bytes], config: wire.VideoConfig) -> float:
    decoder = VideoDecoder(config, 1)
    watch = _Stopwatch()
    for index, data in enumerate(samples):
        if index == WARM_PICTURES:
            watch.start()
        decoder.decode(data, index * _TICKS)
    decoder.drain()
    cpu_s, _ = watch.read()
    return cpu_s / (len(samples) - WARM_PICTURES) / _megapixels(WIDTH, HEIGHT)


def _time_scaling(clip: Sequence[av.VideoFrame]) -> float:
    scaler = Scaler(_SIZES[1:])
    watch = _Stopwatch()
    for index, frame in enumerate(clip):
        if index == WARM_PICTURES:
            watch.start()
        scaler.scale(frame, [True] * (len(_SIZES) - 1))
    cpu_s, _ = watch.read()
    read = sum(_megapixels(*larger) for larger, _ in pairwise(_SIZES))
    return cpu_s / (len(clip) - WARM_PICTURES) / read


def _time_encoding(
    clip: Sequence[av.VideoFrame], encoder: str, preset: str, budget_s: float
) -> EncodeCost:
    """Encode as much of the clip as the budget allows, and a picture or more in any case."""
    opened = Encoder(_setup(encoder, preset, RUNG_BPS), _COLOUR, 1)
    began_s = time.perf_counter()
    watch = _Stopwatch()
    watch.start()
    counted = 0
    for index, frame in enumerate(clip):
        if index == WARM_PICTURES:
            watch.start()
            counted = 0
        opened.encode(_forced(frame))
        counted += 1
        spent_s = time.perf_counter() - began_s
        if spent_s > budget_s and (index >= WARM_PICTURES or spent_s > HOPELESS_S):
            break
    cpu_s, wall_s = watch.read()
    megapixels = counted * _megapixels(WIDTH, HEIGHT)
    device_s = wall_s / megapixels if encoder in HARDWARE else 0.0
    return EncodeCost(encoder, preset, cpu_s / megapixels, device_s)


def _megapixels(width: int, height: int) -> float:
    return width * height / 1e6


def main(arguments: Sequence[str]) -> int:
    """Do what the arguments say; see the module.

    Returns:
        The exit code: 0, or 2 for arguments that make no sense.
    """
    match list(arguments):
        case ["works", encoder]:
            sys.stdout.write(try_encoder(encoder) or "")
        case ["cost", *texts]:
            pairs = [(encoder, preset) for encoder, _, preset in (t.partition(":") for t in texts)]
            sys.stdout.write(msgspec.json.encode(measure_costs(pairs)).decode())
        case _:
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
