"""A strict reader of multivariant playlists; see `playlist_reader`."""

import re
from dataclasses import dataclass

from playlist_text import RuleBroken, attributes, lines_of, require


@dataclass(frozen=True)
class Variant:
    uri: str
    attributes: dict[str, str]

    @property
    def bandwidth_bps(self) -> int:
        return int(self.attributes["BANDWIDTH"])

    @property
    def average_bandwidth_bps(self) -> int:
        return int(self.attributes["AVERAGE-BANDWIDTH"])

    @property
    def name(self) -> str:
        """The folder of its playlist: "source", "720p"."""
        return self.uri.rpartition("/")[0].rpartition("/")[2]

    @property
    def size(self) -> tuple[int, int] | None:
        width, by, height = self.attributes.get("RESOLUTION", "").partition("x")
        return (int(width), int(height)) if by else None

    @property
    def frame_rate(self) -> float | None:
        rate = self.attributes.get("FRAME-RATE")
        return None if rate is None else float(rate)

    @property
    def codecs(self) -> tuple[str, ...]:
        return tuple(self.attributes["CODECS"].split(","))


@dataclass(frozen=True)
class MultivariantPlaylist:
    variants: tuple[Variant, ...]
    independent_segments: bool
    iframes: tuple[Variant, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of the renditions, best first."""
        return tuple(variant.name for variant in self.variants)


def read_multivariant_playlist(data: bytes) -> MultivariantPlaylist:
    """Parse a multivariant playlist; raise `RuleBroken` if it is wrong in itself."""
    variants: list[Variant] = []
    pending: dict[str, str] | None = None
    independent = False
    iframes: list[Variant] = []
    for line in lines_of(data, "MV-01"):
        name, _, value = line.partition(":")
        if name == "#EXT-X-STREAM-INF":
            require(pending is None, "MV-02", "EXT-X-STREAM-INF without a URI")
            pending = attributes(value)
            for attribute in ("BANDWIDTH", "AVERAGE-BANDWIDTH"):
                require(pending.get(attribute, "").isdecimal(), "MV-02", f"no {attribute}")
            require(bool(pending.get("CODECS")), "MV-03", "no CODECS")
            peak, average = int(pending["BANDWIDTH"]), int(pending["AVERAGE-BANDWIDTH"])
            require(0 < average <= peak, "MV-07", "AVERAGE-BANDWIDTH above BANDWIDTH")
            if "avc1" in pending["CODECS"]:
                size = pending.get("RESOLUTION", "")
                require(re.fullmatch(r"\d+x\d+", size) is not None, "MV-04", "no RESOLUTION")
            rate = pending.get("FRAME-RATE", "1.000")
            require(re.fullmatch(r"\d+\.\d{3}", rate) is not None, "MV-05", "FRAME-RATE")
        elif name == "#EXT-X-INDEPENDENT-SEGMENTS":
            require(not independent, "MV-01", "EXT-X-INDEPENDENT-SEGMENTS twice")
            independent = True
        elif name == "#EXT-X-I-FRAME-STREAM-INF":
            require(pending is None, "MV-02", "EXT-X-STREAM-INF without a URI")
            track = attributes(value)
            for attribute in ("URI", "BANDWIDTH", "CODECS", "RESOLUTION"):
                require(
                    bool(track.get(attribute)), "MV-02", f"an I-frame playlist without {attribute}"
                )
            require("mp4a" not in track["CODECS"], "MV-03", "sound among the I-frames")
            iframes.append(Variant(track["URI"], track))
        elif name == "#EXT-X-VERSION":
            require(value.isdecimal(), "MV-01", "EXT-X-VERSION")
        elif line.startswith("#"):
            raise RuleBroken("MV-02", f"unexpected tag {name}")
        elif pending is None:
            raise RuleBroken("MV-02", f"{line} without EXT-X-STREAM-INF")
        else:
            variants.append(Variant(line, pending))
            pending = None
    require(pending is None and bool(variants), "MV-02", "EXT-X-STREAM-INF without a URI")
    return MultivariantPlaylist(tuple(variants), independent, tuple(iframes))
