"""A viewer made of plain HTTP requests, and the strangers who judge what it was given.

`HlsProbe` follows one Low-Latency media playlist as a strict player would: blocking reloads, the
hinted part requested before it exists (every second time), every part and every segment fetched
once (gaps are noted instead), every playlist text kept. `judge` then hands the harvest to readers
that share no code with Headrace: the strict reader of `playlist_reader`, m3u8 in its strict mode,
PyAV's demuxer and decoders, the ffprobe program.

Rule names (PT-03, BR-02 ...) are those that `hls_rules` explains.
"""

import contextlib
import io
import itertools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import av.logging
import m3u8
from ffmpeg_cli import ffprobe_warnings
from m3u8.parser import ParseError
from m3u8.parser import parse as parse_m3u8
from media_clips import Clip
from origin_process import Answer, HttpClient
from playlist_reader import PlaylistHistory, RuleBroken, read_multivariant_playlist

PLAYLIST_TYPE = "application/vnd.apple.mpegurl"
MEDIA_TYPES = {"video/mp4", "audio/mp4", "video/iso.segment"}
FIRST_PLAYLIST_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One version of the media playlist as it came."""

    asked_at_s: float
    came_at_s: float
    text: str


@dataclass(frozen=True, slots=True)
class SeenPart:
    """One part: its line in the playlist and its bytes."""

    uri: str
    duration_s: float
    independent: bool
    data: bytes
    came_at_s: float
    listed_at_s: float
    """When the playlist came that listed it first."""


@dataclass(slots=True)
class Harvest:
    """Everything one probe was given."""

    multivariant: str = ""
    snapshots: list[Snapshot] = field(default_factory=list)
    inits: dict[str, bytes] = field(default_factory=dict)
    maps: dict[int, str] = field(default_factory=dict)
    """msn -> URI of its initialization section."""
    parts: dict[tuple[int, int], SeenPart] = field(default_factory=dict)
    segments: dict[int, tuple[str, float, bytes]] = field(default_factory=dict)
    """msn -> (URI, EXTINF, bytes)"""
    gaps: dict[tuple[int, int], float] = field(default_factory=dict)
    """(msn, index) of parts that were listed with GAP=YES -> when the playlist came."""
    gap_segments: set[int] = field(default_factory=set)
    """msn of segments that were listed with EXT-X-GAP."""
    hinted: dict[str, bytes] = field(default_factory=dict)
    """Bytes of parts that were requested by their hint, before they existed."""
    faults: list[str] = field(default_factory=list)

    def stream_bytes(self) -> bytes:
        """The first initialization section and all segments in order, one fMP4 file."""
        ordered = [data for _, (_, _, data) in sorted(self.segments.items())]
        return b"".join([next(iter(self.inits.values()), b""), *ordered])


class HlsProbe(threading.Thread):
    """Follows one rendition on a thread of its own until ENDLIST, `stop` or the first hard fault.

    Args:
        address: HOST:PORT of the HTTP server.
        stream_id: The stream.
        saw: Is told every text.
        quality: The rendition, which may be listed late; None: there must be one only.
    """

    def __init__(
        self,
        address: str,
        stream_id: str,
        saw: Callable[[str, str], None],
        quality: str | None = None,
    ) -> None:
        super().__init__(name=f"probe-{stream_id}-{quality}", daemon=True)
        self.harvest = Harvest()
        self._quality = quality
        self._base = f"/api/streams/{stream_id}"
        self._folder = ""
        self._client = HttpClient(address, timeout_s=20)
        self._saw = saw
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End after the reload that is under way."""
        self._stopping.set()

    def finish(self, timeout_s: float) -> Harvest:
        """Wait for ENDLIST and return the harvest."""
        self.join(timeout_s)
        if self.is_alive():
            self.stop()
            self.harvest.faults.append(f"no ENDLIST within {timeout_s:g} s")
        return self.harvest

    def run(self) -> None:
        """Follow; every exception becomes a fault of the harvest."""
        try:
            self._follow()
        except Exception as error:
            self._fault(f"the probe ended with {error!r}")
        finally:
            self._client.close()

    def _fault(self, text: str) -> None:
        self.harvest.faults.append(text)

    def _get(self, path: str) -> Answer:
        answer = self._client.get(path)
        kind = answer.headers.get("content-type", "")
        if answer.status == 200 and ".m3u8" in path:
            self._saw(f"GET {path}", answer.text)
            if kind != PLAYLIST_TYPE:
                self._fault(f"HT-01 {path}: content type {kind!r}")
        elif answer.status == 200 and kind not in MEDIA_TYPES:
            self._fault(f"HT-01 {path}: content type {kind!r}")
        return answer

    def _media(self, uri: str) -> bytes:
        answer = self._get(f"{self._folder}/{uri}")
        if answer.status != 200:
            self._fault(f"PT-11 {uri}: status {answer.status}")
            return b""
        return answer.body

    def _wait_variant(self) -> str | None:
        """The URI of the rendition's playlist, once the multivariant playlist lists it."""
        deadline = time.monotonic() + FIRST_PLAYLIST_TIMEOUT_S
        while not self._stopping.wait(0.1):
            answer = self._get(f"{self._base}/master.m3u8")
            if answer.status == 200:
                self.harvest.multivariant = answer.text
                uris = [str(variant.uri) for variant in m3u8.loads(answer.text).playlists]
                if self._quality is not None:
                    uris = [uri for uri in uris if uri.startswith(f"{self._quality}/")]
                elif len(uris) != 1:
                    self._fault(f"{len(uris)} variants instead of one:\n{answer.text}")
                    return None
                if uris:
                    return uris[0]
            if time.monotonic() > deadline:
                wanted = "multivariant playlist" if self._quality is None else self._quality
                self._fault(f"no {wanted}: {answer.status} {answer.text}")
                return None
        return None

    def _follow(self) -> None:
        uri = self._wait_variant()
        if uri is None:
            return
        path = f"{self._base}/{uri}"
        self._folder = path.rpartition("/")[0]
        query = ""
        wanted: tuple[int, int] | None = None
        while not self._stopping.is_set():
            asked = time.monotonic()
            answer = self._get(path + query)
            if answer.status != 200:
                self._fault(f"{path}{query}: status {answer.status} {answer.text}")
                return
            came = time.monotonic()
            self.harvest.snapshots.append(Snapshot(asked, came, answer.text))
            playlist = m3u8.loads(answer.text)
            self._fetch_news(playlist, came)
            if playlist.is_endlist:
                return
            newest = max([*self.harvest.parts, *self.harvest.gaps], default=(-1, -1))
            if wanted is not None and newest < wanted:
                self._fault(f"BR-02 {query} answered without that part")
            wanted = _next_part(playlist)
            query = f"?_HLS_msn={wanted[0]}&_HLS_part={wanted[1]}"
            if len(self.harvest.snapshots) % 2 == 0:
                self._request_hint(playlist)

    def _request_hint(self, playlist: m3u8.M3U8) -> None:
        hint = playlist.preload_hint
        if hint is None:
            self._fault("PH-01 no preload hint in a live playlist")
            return
        # Held until the part exists, or until it turns out that it will not: then 404.
        answer = self._get(f"{self._folder}/{hint.uri}")
        if answer.status == 200:
            self.harvest.hinted[hint.uri] = answer.body
        elif answer.status != 404:
            self._fault(f"PH-03 hinted {hint.uri}: status {answer.status}")

    def _fetch_news(self, playlist: m3u8.M3U8, listed_at_s: float) -> None:
        section = ""
        for segment in playlist.segments:
            msn = segment.media_sequence
            if segment.init_section is not None:  # m3u8 knows it of complete segments only
                section = segment.init_section.uri
            self.harvest.maps[msn] = section
            if section and section not in self.harvest.inits:
                self.harvest.inits[section] = self._media(section)
            for index, part in enumerate(segment.parts):
                if (msn, index) in self.harvest.parts:
                    continue
                if part.gap == "YES":
                    self.harvest.gaps.setdefault((msn, index), listed_at_s)
                    continue
                data = self._media(part.uri)
                self.harvest.parts[msn, index] = SeenPart(
                    part.uri,
                    part.duration,
                    part.independent == "YES",
                    data,
                    time.monotonic(),
                    listed_at_s,
                )
            if segment.uri and segment.gap_tag:
                self.harvest.gap_segments.add(msn)
            elif segment.uri and msn not in self.harvest.segments:
                data = self._media(segment.uri)
                self.harvest.segments[msn] = (segment.uri, segment.duration, data)


def _next_part(playlist: m3u8.M3U8) -> tuple[int, int]:
    """(msn, index) of the part that a live playlist will list next."""
    if not playlist.segments:
        return playlist.media_sequence or 0, 0
    last = playlist.segments[-1]
    return (last.media_sequence + 1, 0) if last.uri else (last.media_sequence, len(last.parts))


def judge(harvest: Harvest, clip: Clip, folder: Path, *, complete: bool = True) -> list[str]:
    """Everything that strangers find wrong in a harvest; an empty list is a pass.

    Args:
        harvest: What the probe was given.
        clip: What was published.
        folder: Empty folder for copies that programs read.
        complete: The clip was published to its end and watched from its beginning, so counts
            must be exact.
    """
    faults = list(harvest.faults)
    if not harvest.segments or not harvest.inits:
        return [*faults, "nothing was served"]
    faults += _judge_playlists(harvest, constant_rate=True)
    faults += _judge_bytes(harvest)
    try:
        faults += _judge_media(harvest, clip, complete=complete)
        faults += _judge_parts_alone(harvest)
    except av.FFmpegError as error:
        faults.append(f"MF-09 PyAV: {error!r}")
    faults += _judge_with_ffprobe(harvest, folder)
    return faults


def judge_rendition(harvest: Harvest, *, constant_rate: bool = True) -> list[str]:
    """What strangers find wrong in a harvest without knowing what was published.

    Gaps are left out, so this fits a transcoded rendition whose encoder failed, too.

    Args:
        harvest: What the probe was given.
        constant_rate: Of the source; if not, parts may be short.
    """
    faults = list(harvest.faults)
    if not harvest.segments or not harvest.inits:
        return [*faults, "nothing was served"]
    faults += _judge_playlists(harvest, constant_rate=constant_rate)
    faults += _judge_bytes(harvest)
    try:
        faults += _judge_parts_alone(harvest)
        faults += _judge_decoding(harvest)
    except av.FFmpegError as error:
        faults.append(f"MF-09 PyAV: {error!r}")
    return faults


def _judge_playlists(harvest: Harvest, *, constant_rate: bool) -> list[str]:
    faults = []
    history = PlaylistHistory(constant_rate=constant_rate)
    try:
        read_multivariant_playlist(harvest.multivariant.encode())
        for snapshot in harvest.snapshots:
            history.add(snapshot.text.encode())
    except RuleBroken as error:
        faults.append(str(error))
    texts = [harvest.multivariant, *(snapshot.text for snapshot in harvest.snapshots)]
    for text in texts:
        try:
            parse_m3u8(text, strict=True)
        except ParseError as error:
            faults.append(f"MP-01 m3u8 (strict): {error}\n{text}")
        except Exception as error:  # its version check raises a bare Exception
            faults.append(f"MP-01 m3u8 (strict): {error!r}\n{text}")
    last = m3u8.loads(harvest.snapshots[-1].text)
    if last.is_endlist and last.preload_hint is not None:
        faults.append("PH-07 a hint beside ENDLIST")
    return faults


def _judge_bytes(harvest: Harvest) -> list[str]:
    faults = []
    for msn, (uri, duration, data) in harvest.segments.items():
        pieces = [part for (of, _), part in sorted(harvest.parts.items()) if of == msn]
        # A late probe meets segments whose parts are no longer listed.
        if pieces and b"".join(part.data for part in pieces) != data:
            faults.append(f"MF-07 parts of {uri} joined are not its bytes")
        total = sum(part.duration_s for part in pieces)
        if pieces and abs(total - duration) > 0.002 * len(pieces):
            faults.append(f"PT-05 {uri}: EXTINF {duration}, its parts {total:.3f}")
    by_uri = {part.uri: part.data for part in harvest.parts.values()}
    is_over = "#EXT-X-ENDLIST" in harvest.snapshots[-1].text
    for uri, data in harvest.hinted.items():
        if by_uri.get(uri) != data and (is_over or uri in by_uri):  # or the probe was stopped first
            faults.append(f"PH-03 {uri}: the hinted request got other bytes")
    return faults


@contextlib.contextmanager
def libav_warnings() -> Iterator[list[tuple[int, str, str]]]:
    """Collect what FFmpeg's libraries complain about in this thread."""
    before = av.logging.get_level()
    av.logging.set_level(av.logging.WARNING)
    try:
        with av.logging.Capture() as log:
            yield log
    finally:
        av.logging.set_level(before)


def _judge_media(harvest: Harvest, clip: Clip, *, complete: bool) -> list[str]:
    """Demux and decode every byte with PyAV; compare with what was published."""
    faults = []
    spec = clip.spec
    pictures: list[Fraction] = []
    sounds: list[Fraction] = []
    with libav_warnings() as log:
        options = {"err_detect": "explode"}
        with av.open(io.BytesIO(harvest.stream_bytes()), "r", options=options) as container:
            kinds = sorted(stream.type for stream in container.streams)
            for packet in container.demux():
                if packet.size == 0:
                    continue
                if packet.stream.type == "audio":
                    assert packet.pts is not None
                    assert packet.time_base is not None
                    sounds.append(packet.pts * packet.time_base)
                    packet.decode()
            container.seek(0)
            if container.streams.video:
                for frame in container.decode(video=0):
                    assert frame.pts is not None
                    assert frame.time_base is not None
                    pictures.append(frame.pts * frame.time_base)
    faults += [f"MF-09 PyAV: {name}: {text.strip()}" for _, name, text in log]
    expected = ["audio"] * bool(spec.channels) + ["video"] * bool(spec.fps)
    if kinds != expected:
        faults.append(f"tracks {kinds}, published {expected}")
    if complete and len(pictures) != clip.pictures:
        faults.append(f"{len(pictures)} pictures decoded, {clip.pictures} published")
    # A broadcast begins with its first picture: the encoder's priming frame may end before that.
    priming = 1 if spec.fps else 0
    if complete and not clip.sound_frames - priming <= len(sounds) <= clip.sound_frames:
        faults.append(f"{len(sounds)} AAC frames, {clip.sound_frames} published")
    if spec.fps is not None:
        faults += _judge_clock("video", pictures, 1 / spec.fps, jitter=Fraction(1, 900))
    if spec.channels:
        frame_s = Fraction(1024, spec.sample_rate)
        faults += _judge_clock("audio", sounds, frame_s, jitter=Fraction(0))
    # Sound may fill the time from the first decode time on, which is before the first picture.
    reordered_s = spec.b_frames / spec.fps if spec.fps is not None else Fraction(0)
    if (
        pictures
        and sounds
        and not (-reordered_s <= sounds[0] - pictures[0] + Fraction(1, 20) <= Fraction(1, 10))
    ):
        faults.append(f"first picture at {pictures[0]}, first sound at {sounds[0]}")
    return faults


def _judge_parts_alone(harvest: Harvest) -> list[str]:
    """Every part demuxes behind the initialization section, as a player that joins there does.

    What libav says of missing references counts for an INDEPENDENT part only.
    """
    faults = []
    for (msn, _), part in harvest.parts.items():
        init = harvest.inits[harvest.maps[msn]]
        with libav_warnings() as log, av.open(io.BytesIO(init + part.data), "r") as container:
            # Plain values: a packet must not be asked for its stream once the file is closed.
            samples = [
                (packet.stream.type, packet.is_keyframe)
                for packet in container.demux()
                if packet.size
            ]
        pictures = [is_keyframe for kind, is_keyframe in samples if kind == "video"]
        if not samples:
            faults.append(f"PT-11 {part.uri} holds no sample")
        if pictures and pictures[0] != part.independent:
            faults.append(f"PT-06 {part.uri}: INDEPENDENT is {part.independent}")
        if part.independent:
            faults += [f"MF-02 PyAV on {part.uri}: {text.strip()}" for _, _, text in log]
    return faults


def _judge_decoding(harvest: Harvest) -> list[str]:
    """Every segment decodes alone, without a complaint, to as many pictures as it has.

    Not one that begins without an IDR picture, for want of them: that is not claimed to.
    """
    faults = []
    for msn, (uri, _, data) in harvest.segments.items():
        if (msn, 0) in harvest.parts and not harvest.parts[msn, 0].independent:
            continue
        file = io.BytesIO(harvest.inits[harvest.maps[msn]] + data)
        with libav_warnings() as log, av.open(file, "r") as container:
            if not container.streams.video:
                continue
            packets = pictures = 0
            for packet in container.demux(video=0):
                packets += packet.size > 0
                pictures += len(packet.decode())
        faults += [f"MF-09 PyAV on {uri}: {name}: {text.strip()}" for _, name, text in log]
        if pictures != packets:
            faults.append(f"MF-09 {uri}: {pictures} pictures of {packets}")
    return faults


def _judge_clock(
    kind: str, times: list[Fraction], step: Fraction, *, jitter: Fraction
) -> list[str]:
    """Every step is the nominal one (RTMP's whole milliseconds allowed), and so is the mean."""
    faults = []
    for before, after in itertools.pairwise(times):
        if abs(after - before - step) > jitter:
            faults.append(f"{kind} steps from {float(before):.4f} to {float(after):.4f}")
    if len(times) > 1:
        mean = (times[-1] - times[0]) / (len(times) - 1)
        if abs(mean / step - 1) > Fraction(1, 1000):
            faults.append(f"{kind} frame lasts {float(mean):.5f} s, published {float(step):.5f}")
    return faults[:5]


def _judge_with_ffprobe(harvest: Harvest, folder: Path) -> list[str]:
    """Lay the playlist and its media out as files, under the names the playlist uses."""
    folder.mkdir(parents=True, exist_ok=True)
    for uri, data in harvest.inits.items():
        (folder / uri).write_bytes(data)
    for uri, _, data in harvest.segments.values():
        (folder / uri).write_bytes(data)
    whole = folder / "whole.mp4"
    whole.write_bytes(harvest.stream_bytes())
    playlist = folder / "playlist.m3u8"
    text = harvest.snapshots[-1].text
    playlist.write_text(text if "#EXT-X-ENDLIST" in text else f"{text}#EXT-X-ENDLIST\n")
    complaints = {path.name: ffprobe_warnings(path) for path in (whole, playlist)}
    return [f"ffprobe on {name}: {text}" for name, text in complaints.items() if text]
