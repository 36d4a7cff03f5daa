"""Media events for recordings: segments of two parts, whose bytes say which they are.

The package under test is handed in, `RecordedParts(hls)`: nothing in tests/support may import what
it helps to test.
"""

from types import ModuleType
from typing import Any


class RecordedParts:
    """Makes the events of `hls.media`."""

    def __init__(self, hls: ModuleType) -> None:
        self._hls = hls

    def init(self, index: int = 0, width: int = 640) -> Any:
        """An init section."""
        return self._hls.InitSegment(
            index=index,
            data=b"init-%d|" % index,
            codecs=("avc1.64001f", "mp4a.40.2"),
            width=width,
            height=360,
            frame_rate=30.0,
        )

    def segment(
        self, msn: int, *, init_index: int = 0, discontinuity: bool = False, size_bytes: int = 100
    ) -> list[Any]:
        """A segment of 2 s at its place on the media clock."""
        parts = [
            self._hls.Part(
                msn=msn,
                index=index,
                duration_s=1.0,
                independent=not index,
                data=(b"%d.%d|" % (msn, index)).ljust(size_bytes // 2, b"."),
                init_index=init_index,
                discontinuity=discontinuity and not index,
                media_time_s=msn * 2.0 + index,
            )
            for index in range(2)
        ]
        return [*parts, self._hls.SegmentEnd(msn=msn, duration_s=2.0)]

    def data(self, msn: int, size_bytes: int = 100) -> bytes:
        """The bytes of that segment."""
        return b"".join(one.data for one in self.segment(msn, size_bytes=size_bytes)[:2])
