"""Valid events for a timeline, as a segmenter would emit them, without any media.

The package under test is handed in, `TimelineEvents(hls)`: nothing in tests/support may import what
it helps to test.
"""

from collections.abc import Iterator
from types import ModuleType
from typing import Any


class TimelineEvents:
    """Makes the events of `hls.media`."""

    def __init__(self, hls: ModuleType) -> None:
        self._hls = hls

    def init(self, index: int = 0, **changed: object) -> Any:
        """An init segment of 720p H.264 and AAC."""
        values: dict[str, object] = {
            "codecs": ("avc1.64001f", "mp4a.40.2"),
            "width": 1280,
            "height": 720,
            "frame_rate": 30.0,
            **changed,
        }
        return self._hls.InitSegment(index=index, data=b"init%d" % index, **values)

    def source(self, *, first_msn: int = 0) -> "Source":
        """A source whose first part is (first_msn, 0)."""
        return Source(self._hls, first_msn)


class Source:
    """Writes one part after the other, and ends segments on demand."""

    def __init__(self, hls: ModuleType, first_msn: int) -> None:
        self._hls = hls
        self.msn = first_msn
        self.index = 0
        self.init_index = 0
        self.media_time_s = 0.0
        self.segment_s = 0.0

    def part(
        self,
        *,
        duration_s: float = 0.2,
        independent: bool | None = None,
        discontinuity: bool = False,
        size: int = 100,
        gap: bool = False,
    ) -> Any:
        if independent is None:
            independent = self.index == 0 and not gap
        made = self._hls.Part(
            msn=self.msn,
            index=self.index,
            duration_s=duration_s,
            independent=independent,
            data=b"" if gap else b"%d.%d," % (self.msn, self.index) + bytes(size),
            init_index=self.init_index,
            discontinuity=discontinuity,
            media_time_s=self.media_time_s,
            gap=gap,
        )
        self.index += 1
        self.segment_s += duration_s
        self.media_time_s += duration_s
        return made

    def end(self) -> Any:
        made = self._hls.SegmentEnd(msn=self.msn, duration_s=self.segment_s)
        self.msn, self.index, self.segment_s = self.msn + 1, 0, 0.0
        return made

    def segment(
        self, *, parts: int = 10, duration_s: float = 0.2, discontinuity: bool = False
    ) -> Iterator[list[Any]]:
        """The segment's events as a segmenter returns them: one part at a time."""
        for index in range(parts):
            batch = [self.part(duration_s=duration_s, discontinuity=discontinuity and index == 0)]
            if index == parts - 1:
                batch.append(self.end())
            yield batch
