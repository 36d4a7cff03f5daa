"""Both sides of the transcode worker: any bytes are read or refused by the error that is named.

* A publisher's tags become parts in order, or end with `MediaError` or `RemoteProtocolError`.
* What a worker writes becomes messages, or `WireError`; its configurations become an init section,
  or `MediaError`. What its parent writes becomes messages, or `WireError`. How the bytes are cut
  changes neither the messages nor the error, and a message that is written again reads the same.
* An encoder's packets become samples that can be walked, or `BitstreamError`.

Nothing here decodes a picture: FFmpeg has fuzzers of its own, and the worker is confined because
they will never be done. What a decoder makes of such bytes is tested in a worker process
(`tests/origin/transcode/test_hostile_media.py`).

Input: byte 0 chooses. 0: tags, each of a byte (odd: audio), 24 bits of milliseconds, 16 bits of
length and a payload; 1: what a worker writes, 2: what its parent writes, after the greeting, byte 1
being the size of the feeds less one; 3: packets, byte 1 the codec, each of 16 bits of length and
its bytes.
"""

import contextlib
from collections.abc import Iterator, Sequence

from hls import MediaError, MediaEvent, Part, Sample, SegmentEnd, Segmenter
from hls.h264 import scan_nal_units
from hls.init_segment import build_init_segment
from hls.video import parse_video_config
from origin.bridge import Bridge, MediaMessage, OtherPicture, Output
from origin.transcode import wire
from origin.transcode.bitstream import FOURCC, BitstreamError, Repackager
from rtmpcore import AudioMessage, RemoteProtocolError, VideoMessage

MAX_INPUT_BYTES = 64 * 1024
CODECS = sorted(FOURCC)


# -- a publisher's tags


def tags_of(data: bytes) -> Iterator[MediaMessage]:
    while len(data) >= 6:
        size = int.from_bytes(data[4:6], "big")
        kind = AudioMessage if data[0] & 1 else VideoMessage
        yield kind(
            stream_id=1,
            timestamp_ms=int.from_bytes(data[1:4], "big"),
            payload=data[6 : 6 + size],
        )
        data = data[6 + size :]


class Packager:
    """Bridge and segmenter, joined as the origin joins them."""

    def __init__(self) -> None:
        self.bridge = Bridge()
        self.segmenter: Segmenter | None = None
        self.events: list[MediaEvent] = []

    def take(self, outputs: Sequence[Output]) -> None:
        for output in outputs:
            segmenter = self.segmenter
            if isinstance(output, OtherPicture):  # of a track that is another rendition's
                assert 1 <= output.track_id <= 255
                assert output.sample.data
            elif isinstance(output, Sample):
                assert segmenter is not None
                self.events += segmenter.push(output)
            elif segmenter is None:
                self.segmenter = Segmenter(video=output.video, audio=output.audio)
            else:
                self.events += segmenter.reconfigure(video=output.video, audio=output.audio)


def package(data: bytes) -> None:
    packager = Packager()
    with contextlib.suppress(MediaError, RemoteProtocolError):
        for message in tags_of(data):
            packager.take(packager.bridge.push(message))
        packager.take(packager.bridge.finish())
        if packager.segmenter is not None:
            packager.events += packager.segmenter.flush()
    msn = index = 0
    for event in packager.events:
        if isinstance(event, Part):
            assert (event.msn, event.index) == (msn, index)
            assert event.duration_s > 0
            index += 1
        elif isinstance(event, SegmentEnd):
            assert event.msn == msn
            msn, index = msn + 1, 0


# -- the pipes


def read(
    reader: wire.ToParentReader | wire.ToWorkerReader, pieces: Sequence[bytes]
) -> tuple[list[wire.ToParent | wire.ToWorker], str]:
    messages: list[wire.ToParent | wire.ToWorker] = []
    try:
        for piece in pieces:
            messages += reader.feed(piece)
        reader.finish()
    except wire.WireError as error:
        return messages, str(error)
    return messages, ""


def converse(
    kind: type[wire.ToParentReader] | type[wire.ToWorkerReader], data: bytes, step: int
) -> None:
    stream = wire.GREETING + data
    messages, error = read(kind(), [stream])
    pieces = [stream[i : i + step] for i in range(0, len(stream), step)]
    cut_messages, cut_error = read(kind(), pieces)
    assert cut_error == error
    # What comes before an error in the same feed is lost with it.
    assert cut_messages[: len(messages)] == messages
    if error:
        return
    assert cut_messages == messages
    written = wire.GREETING + b"".join(map(wire.encode, messages))
    assert read(kind(), [written]) == (messages, "")
    for message in messages:
        if isinstance(message, wire.RungConfig):
            with contextlib.suppress(MediaError):
                build_init_segment(parse_video_config(message.fourcc, message.record), None)


# -- an encoder's packets


def repackage(codec: str, data: bytes) -> None:
    repackager = None
    with contextlib.suppress(BitstreamError):
        while len(data) >= 2:
            size = int.from_bytes(data[:2], "big")
            packet, data = data[2 : 2 + size], data[2 + size :]
            if repackager is None:
                repackager = Repackager(codec, packet)
                continue
            sample = repackager.sample(packet)
            record = repackager.record
            assert record is not None
            parse_video_config(FOURCC[codec], record)
            if codec != "av1":
                scan_nal_units(sample, 4)


def test_one_input(data: bytes) -> None:
    if len(data) < 2:
        return
    way, choice, data = data[0] & 3, data[1], data[2:MAX_INPUT_BYTES]
    if way == 0:
        package(data)
    elif way == 1:
        converse(wire.ToParentReader, data, choice + 1)
    elif way == 2:
        converse(wire.ToWorkerReader, data, choice + 1)
    else:
        repackage(CODECS[choice % len(CODECS)], data)
