"""A publisher whose pictures are damaged for a while: a bad cable in front of a good packager.

NAL units keep their lengths and their first bytes, so whoever only carries them notices nothing;
whoever decodes them has something to swallow. The clip is published with PyAV, in real time.
"""

import random
import threading
import time
from pathlib import Path

import av

KEPT_BYTES = 4
"""NAL unit header and the first bytes of the slice header: it stays a picture of its kind."""


def damage(data: bytes, dice: random.Random) -> bytes:
    """Change one byte in forty of each length-prefixed NAL unit, lengths and headers apart."""
    out = bytearray(data)
    position = 0
    while position + 4 <= len(out):
        size = int.from_bytes(out[position : position + 4], "big")
        for at in range(position + 4 + KEPT_BYTES, min(position + 4 + size, len(out))):
            if dice.random() < 0.025:
                out[at] ^= dice.randrange(1, 256)
        position += 4 + size
    return bytes(out)


class PoisonedPublisher(threading.Thread):
    """Publishes a clip once, on a thread; `error` holds what went wrong.

    Args:
        clip: What to publish.
        url: Where to.
        poison: Which pictures to damage, seconds of the clip.
    """

    def __init__(self, clip: Path, url: str, poison: tuple[float, float]) -> None:
        super().__init__(name=f"poison-{clip.stem}", daemon=True)
        self.error: Exception | None = None
        self._clip = clip
        self._url = url
        self._poison = poison
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End after the packet that is under way."""
        self._stopping.set()

    def run(self) -> None:
        """Connect, publish every packet when its time has come, close."""
        try:
            self._publish()
        except Exception as error:
            self.error = error

    def _publish(self) -> None:
        dice = random.Random(20_261_128)
        since_s, until_s = self._poison
        with av.open(self._clip, "r") as source, av.open(self._url, "w", format="flv") as sink:
            tracks = {
                stream.index: sink.add_stream_from_template(stream) for stream in source.streams
            }
            started = time.monotonic()
            for packet in source.demux():
                if packet.dts is None or packet.time_base is None:
                    continue  # the flush packet
                at_s = float(packet.dts * packet.time_base)
                if self._stopping.wait(max(0.0, started + at_s - time.monotonic())):
                    return
                sent = packet
                if packet.stream.type == "video" and since_s <= at_s < until_s:
                    sent = av.Packet(damage(bytes(packet), dice))
                    sent.pts, sent.dts, sent.time_base = packet.pts, packet.dts, packet.time_base
                    sent.duration, sent.is_keyframe = packet.duration, packet.is_keyframe
                sent.stream = tracks[packet.stream.index]
                sink.mux(sent)
