"""From a rung's pictures to the frames that go to the parent: the worker's second half.

One object for each rung, called by one thread at a time. It opens the encoder with the first
picture, a fresh one where a rung comes back or its divisor changes, and closes it when the rung is
off. What it gives out is `RungConfig` and `Coded`, already as bytes.

Numbers increase, whatever an encoder does. Hardware may give a picture's sample calls later; slots
without a picture that come up meanwhile are then left out, which says the same.

Bound: `MAX_IN_FLIGHT` pictures that an encoder may owe. May import av.
"""

import time
from collections import deque
from collections.abc import Sequence
from typing import Final

from origin.transcode import wire
from origin.transcode.encode import Colour, EncodedPicture, Encoder
from origin.transcode.errors import TranscodeError
from origin.transcode.intake import Job

MAX_IN_FLIGHT: Final = 32
"""Pictures given to an encoder that have not come out. The deepest hardware queue has 16."""


class RungStage:
    """Encodes one rung.

    Args:
        index: Its number on the wire.
        setup: What it is.
    """

    def __init__(self, index: int, setup: wire.RungSetup) -> None:
        self._index = index
        self._setup = setup
        self._encoder: Encoder | None = None
        self._sent: deque[tuple[int, int]] = deque()  # (time, number) that the encoder has
        self._config: wire.RungConfig | None = None
        self._frames = 0
        self._bytes = 0
        self._encode_s = 0.0
        self._newest_pts_ticks: int | None = None

    @property
    def status(self) -> wire.RungStatus:
        """What it has done so far; may be read while a call runs."""
        return wire.RungStatus(
            frames=self._frames,
            bytes=self._bytes,
            encode_s=self._encode_s,
            newest_pts_ticks=self._newest_pts_ticks,
        )

    def needs_thread(self, jobs: Sequence[Job]) -> bool:
        """Whether `run` would do more than note that there is nothing to do."""
        has_encoder = self._encoder is not None
        return any(job.frame is not None or (has_encoder and job.divisor == 0) for job in jobs)

    def run(self, jobs: Sequence[Job]) -> bytes:
        """Do what is to be done for some slots, in order.

        Returns:
            Frames for the parent.

        Raises:
            TranscodeError: The encoder cannot be opened, or failed.
        """
        began_s = time.thread_time()
        frames: list[bytes] = []
        for job in jobs:
            if job.divisor == 0:
                frames += self._close()
            elif job.frame is not None:
                frames += self._encode(job)
                continue
            if not self._sent:
                empty = wire.Coded(self._index, job.number, job.pts_ticks, False, b"")
                frames.append(wire.encode(empty))
        self._encode_s += time.thread_time() - began_s
        return b"".join(frames)

    def finish(self) -> bytes:
        """Nothing more comes: what the encoder holds back."""
        return b"".join(self._close())

    def _encode(self, job: Job) -> list[bytes]:
        frame = job.frame
        assert frame is not None
        frames: list[bytes] = []
        encoder = self._encoder
        if encoder is None or not self._still_fits(encoder, job):
            frames += self._close()
            encoder = self._encoder = Encoder(self._setup, Colour.of(frame), job.divisor)
        self._sent.append((job.pts_ticks, job.number))
        if len(self._sent) > MAX_IN_FLIGHT:
            raise TranscodeError(f"{self._setup.encoder} owes {MAX_IN_FLIGHT} pictures")
        return frames + self._coded(encoder, encoder.encode(frame))

    def _still_fits(self, encoder: Encoder, job: Job) -> bool:
        """Whether the open encoder can go on with this picture."""
        newest = self._newest_pts_ticks
        if newest is not None and job.pts_ticks <= newest:
            return False  # the clock of another epoch
        if not job.is_keyframe:
            return True  # within a segment, nothing may change
        assert job.frame is not None
        return encoder.divisor == job.divisor and encoder.colour == Colour.of(job.frame)

    def _close(self) -> list[bytes]:
        encoder, self._encoder = self._encoder, None
        if encoder is None:
            return []
        frames = self._coded(encoder, encoder.drain())
        self._sent.clear()
        return frames

    def _coded(self, encoder: Encoder, pictures: Sequence[EncodedPicture]) -> list[bytes]:
        frames: list[bytes] = []
        for picture in pictures:
            number = self._number_of(picture.pts_ticks)
            if number is None:
                continue
            record = encoder.record
            assert record is not None  # there is one with the first sample
            config = wire.RungConfig(self._index, encoder.fourcc, record)
            if config != self._config:
                self._config = config
                frames.append(wire.encode(config))
            frames.append(
                wire.encode(
                    wire.Coded(self._index, number, picture.pts_ticks, picture.is_idr, picture.data)
                )
            )
            self._frames += 1
            self._bytes += len(picture.data)
            self._newest_pts_ticks = picture.pts_ticks
        return frames

    def _number_of(self, pts_ticks: int) -> int | None:
        """The number of an encoded picture; what was sent before it will not come any more."""
        while self._sent:
            sent_ticks, number = self._sent.popleft()
            if sent_ticks == pts_ticks:
                return number
        return None
