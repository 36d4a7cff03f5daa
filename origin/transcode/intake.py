"""From coded pictures of the source to what each rung has to encode: the worker's first half.

One object, fed with messages in order by one thread at a time::

    Picture  ->  VideoDecoder  ->  SlotCounter   which slot does it take?
                                   RungSelector  which rungs want it, and as what?
                                   Scaler        in their sizes
             ->  a row of `Job`s, one for each rung

Every slot that was fed becomes one row, in order: with pictures, or without where a rung's divisor
leaves it out or the picture was lost.

Not here: encoding (`rung_stage`), and who calls whom (`worker`). Bound: what one call gives out is
the pictures that went in and those that the decoder held back, at most 16.

May import av, hls and numpy.
"""

from collections.abc import Sequence
from typing import NamedTuple, TypeAlias

import av
import numpy as np
from av.video.frame import PictureType
from av.video.reformatter import Interpolation, VideoReformatter

from origin.transcode import wire
from origin.transcode.decode import VideoDecoder
from origin.transcode.errors import TranscodeError
from origin.transcode.scale import FORMAT, Scaler
from origin.transcode.signals import PLANE_HEIGHT, PLANE_WIDTH, VideoSignals
from origin.transcode.slots import RungSelector, Slot, SlotCounter, Use

VideoInput: TypeAlias = wire.VideoConfig | wire.Picture | wire.RungRate


class Job(NamedTuple):
    """What a rung has to do for one slot."""

    number: int
    pts_ticks: int
    frame: av.VideoFrame | None
    """In the rung's size; None: nothing."""
    is_keyframe: bool
    divisor: int
    """In force: 0 is off."""


Row: TypeAlias = tuple[Job, ...]


class Intake:
    """Decodes, numbers, selects and scales.

    Args:
        setup: What the worker is to do.
    """

    def __init__(self, setup: wire.Setup) -> None:
        self._threads = setup.decoder_threads
        self._decoder: VideoDecoder | None = None
        self._slots = SlotCounter()
        self._divisors = [rung.divisor for rung in setup.rungs]  # of the next segment
        self._selector = RungSelector(self._divisors)
        self._scaler = Scaler([(rung.width, rung.height) for rung in setup.rungs])
        self._shrink = VideoReformatter()
        self._errors_before = 0  # of the decoders that are gone
        self._fed_since_cut = 0
        self._decoded_before_cut = 0
        self.signals = VideoSignals()
        self.decoded = 0
        """Pictures that came out of the decoder."""
        self.lost = 0
        """Slots that got none."""
        self.newest_pts_ticks: int | None = None

    @property
    def decode_errors(self) -> int:
        """Pictures that were refused, or came out damaged."""
        return self._errors_before + (self._decoder.errors if self._decoder else 0)

    def take(self, messages: Sequence[VideoInput]) -> list[Row]:
        """Take messages, in order.

        Returns:
            The rows that they complete.

        Raises:
            TranscodeError: A configuration cannot be used, or the order of messages is wrong.
            av.FFmpegError: A picture cannot be scaled.
        """
        rows: list[Row] = []
        for message in messages:
            if isinstance(message, wire.Picture):
                rows += self._take_picture(message)
            elif isinstance(message, wire.RungRate):
                if message.rung >= len(self._divisors):
                    raise TranscodeError(f"there is no rung {message.rung}")
                self._divisors[message.rung] = message.divisor
            else:
                rows += self._drain()
                self._errors_before = self.decode_errors
                self._decoder = VideoDecoder(message, self._threads)
        return rows

    def finish(self) -> list[Row]:
        """Nothing more comes: what the decoder holds back."""
        return self._drain()

    def _take_picture(self, picture: wire.Picture) -> list[Row]:
        rows: list[Row] = []
        if picture.begins_epoch:
            rows += self._drain()
            rows += self._lose(self._slots.end_epoch())
        if self._decoder is None:
            raise TranscodeError("a picture came before its configuration")
        if picture.begins_segment:
            if self._fed_since_cut and self.decoded == self._decoded_before_cut:
                rows += self._drain()  # not one picture in a whole segment: begin anew
            self._fed_since_cut, self._decoded_before_cut = 0, self.decoded
        self._fed_since_cut += 1
        divisors = tuple(self._divisors) if picture.begins_segment else None
        try:
            lost = self._slots.feed(picture.number, picture.pts_ticks, divisors)
        except ValueError as error:
            raise TranscodeError(str(error)) from error
        rows += self._lose(lost)
        for frame in self._decoder.decode(picture.data, picture.pts_ticks):
            rows += self._show(frame)
        return rows

    def _drain(self) -> list[Row]:
        """Take what the decoder holds back; what it does not have will not come."""
        if self._decoder is None:
            return []
        rows: list[Row] = []
        for frame in self._decoder.drain():
            rows += self._show(frame)
        return rows + self._lose(self._slots.give_up())

    def _show(self, frame: av.VideoFrame) -> list[Row]:
        """Number one picture and make the rungs' of it."""
        self.decoded += 1
        if frame.pts is None:
            return []
        self.newest_pts_ticks = frame.pts
        lost, slot = self._slots.come_out(frame.pts)
        rows = self._lose(lost)
        if slot is not None:
            uses = self._selector.step(slot, is_lost=False)
            pictures = self._scaler.scale(frame, [use is not Use.NOTHING for use in uses])
            is_keyframe = Use.KEYFRAME in uses  # then in all that take the picture
            for picture in pictures:
                if picture is not None:
                    # It has its type from the source, and an encoder would obey.
                    picture.pict_type = PictureType.I if is_keyframe else PictureType.NONE
            self._look_at(frame, pictures)
            rows.append(
                tuple(
                    Job(slot.number, slot.pts_ticks, picture, is_keyframe, divisor)
                    for picture, divisor in zip(pictures, self._selector.divisors, strict=True)
                )
            )
        return rows

    def _lose(self, slots: Sequence[Slot]) -> list[Row]:
        self.lost += len(slots)
        rows: list[Row] = []
        for slot in slots:
            self._selector.step(slot, is_lost=True)
            rows.append(
                tuple(
                    Job(slot.number, slot.pts_ticks, None, False, divisor)
                    for divisor in self._selector.divisors
                )
            )
        return rows

    def _look_at(self, frame: av.VideoFrame, pictures: Sequence[av.VideoFrame | None]) -> None:
        """Show the signals a small picture, four times a second."""
        pts_ticks = frame.pts
        if pts_ticks is None or not self.signals.wants(pts_ticks):
            return
        made = [picture for picture in pictures if picture is not None]
        source = min(made, key=lambda each: each.width * each.height, default=frame)
        small = self._shrink.reformat(
            source,
            PLANE_WIDTH,
            PLANE_HEIGHT,
            FORMAT,
            interpolation=Interpolation.AREA,
            threads=1,
        )
        plane = small.planes[0]
        luma = np.frombuffer(bytes(plane), np.uint8).reshape(-1, plane.line_size)
        self.signals.push(luma[:PLANE_HEIGHT, :PLANE_WIDTH], pts_ticks)
