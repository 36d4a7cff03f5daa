"""FFmpeg's RTMP client in the test process: PyAV muxes a clip packet by packet, in real time."""

import threading
import time
from pathlib import Path

import av


class PyavPublisher(threading.Thread):
    """Publishes a clip once at its own speed, on a thread; `error` holds what went wrong."""

    def __init__(self, clip: Path, url: str) -> None:
        super().__init__(name=f"publish-{clip.stem}", daemon=True)
        self.error: Exception | None = None
        self._clip = clip
        self._url = url
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
        with av.open(self._clip, "r") as source, av.open(self._url, "w", format="flv") as sink:
            tracks = {
                stream.index: sink.add_stream_from_template(stream, opaque=True)
                for stream in source.streams
            }
            started = time.monotonic()
            for packet in source.demux():
                if packet.dts is None:
                    continue  # the flush packet
                due = started + float(packet.dts * packet.time_base)
                if self._stopping.wait(max(0.0, due - time.monotonic())):
                    return
                packet.stream = tracks[packet.stream.index]
                sink.mux(packet)
