"""A lenient reader of multivariant playlists; see `playlist`. Spec: rfc8216bis-22, 4.4.6."""

from dataclasses import dataclass
from urllib.parse import urljoin

from tests.conformance.playlist import Fault, attributes, lines_of

MAX_VARIANTS = 32


@dataclass(frozen=True, slots=True)
class Variant:
    """EXT-X-STREAM-INF; `url` is absolute."""

    url: str
    attributes: tuple[tuple[str, str], ...]

    def get(self, name: str) -> str:
        """An attribute's text, or empty."""
        return dict(self.attributes).get(name, "")

    @property
    def codecs(self) -> set[str]:
        """Of CODECS."""
        return {codec.strip() for codec in self.get("CODECS").split(",") if codec.strip()}

    def number(self, name: str) -> int:
        """A decimal attribute, or 0."""
        text = self.get(name)
        return int(text) if text.isdecimal() and len(text) < 16 else 0


@dataclass(frozen=True, slots=True)
class Multivariant:
    """One version."""

    faults: tuple[Fault, ...]
    variants: tuple[Variant, ...]
    media: tuple[Variant, ...]
    """EXT-X-MEDIA; the URL is empty where there is none."""
    independent_segments: bool
    lines: tuple[str, ...]

    @property
    def urls(self) -> dict[str, str]:
        """URL of each media playlist -> "video" or the TYPE of its EXT-X-MEDIA, in lower case."""
        found = {variant.url: "video" for variant in self.variants}
        found |= {item.url: item.get("TYPE").lower() for item in self.media if item.url}
        return found

    def audio_of(self, variant: Variant) -> list[str]:
        """URLs of the audio renditions of a variant."""
        group = variant.get("AUDIO")
        return [
            item.url
            for item in self.media
            if item.url and item.get("TYPE") == "AUDIO" and group and item.get("GROUP-ID") == group
        ]


def parse_multivariant(body: bytes, url: str) -> Multivariant:
    """Read a multivariant playlist, whatever it is. Never raises."""
    lines, faults = lines_of(body, "MV-01")
    variants: list[Variant] = []
    media: list[Variant] = []
    pending: dict[str, str] | None = None
    independent = False
    for line in lines:
        name, _, value = line.partition(":")
        try:
            if not line.startswith("#"):
                if pending is None:
                    faults.append(("MV-02", f"{line[:80]} without EXT-X-STREAM-INF"))
                elif len(variants) < MAX_VARIANTS:
                    variants.append(Variant(urljoin(url, line), tuple(pending.items())))
                pending = None
                continue
            if pending is not None:
                faults.append(("MV-02", "EXT-X-STREAM-INF without a URI line"))
                pending = None
            if name == "#EXT-X-STREAM-INF":
                pending = attributes(value)
                if not pending.get("BANDWIDTH", "").isdecimal():
                    faults.append(("MV-02", f"no BANDWIDTH: {value[:80]}"))
            elif name == "#EXT-X-MEDIA" and len(media) < MAX_VARIANTS:
                found = attributes(value)
                where = urljoin(url, found["URI"]) if "URI" in found else ""
                media.append(Variant(where, tuple(found.items())))
            elif name in ("#EXTINF", "#EXT-X-TARGETDURATION", "#EXT-X-PART", "#EXT-X-MAP"):
                faults.append(("MV-02", f"{name} in a multivariant playlist"))
            independent |= name == "#EXT-X-INDEPENDENT-SEGMENTS"
        except ValueError as error:
            faults.append(("MV-02", f"{name}: {error}"))
    if pending is not None or not variants:
        faults.append(("MV-02", "EXT-X-STREAM-INF without a URI line, or none at all"))
    return Multivariant(tuple(faults), tuple(variants), tuple(media), independent, tuple(lines))
