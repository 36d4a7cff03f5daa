"""An origin with a ladder, seen from outside: its renditions, its worker processes, its figures.

`LadderProbe` follows every rendition of a stream at once and keeps each version of the multivariant
playlist. Workers are found in /proc, figures are read from `/metrics` as Prometheus would. Shares
no code with what it watches.
"""

import json
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from child_process import wait_until
from hls_probe import HlsProbe
from multivariant_reader import MultivariantPlaylist, read_multivariant_playlist
from origin_process import CreatedStream, HttpClient, Origin, running_origin
from rendition_media import Rendition

CORES = "64"
"""What the origin is told it may fill, so that no rung is left out: what fits on this machine would
depend on its neighbours. How much it really takes is for the tests of falling behind."""

SMALL_RUNGS = [
    {"name": "144p", "height": 144, "bitrate_kbps": 150, "max_fps": 60},
    {"name": "90p", "height": 90, "bitrate_kbps": 80, "max_fps": 30},
]
"""Rungs for sources of 320x180: many publishers at once cost little then."""

WORKER = "origin.transcode"

SPEED_FILE = "encode-speed.json"
MEASURED_WITHIN_S = 60.0
_measured = b""


@contextmanager
def running_ladder(
    folder: Path,
    ladder: str,
    *arguments: str,
    rungs: Sequence[Mapping[str, object]] = (),
    **settings: str,
) -> Iterator[Origin]:
    """Start an origin that transcodes; see `running_origin`.

    A first start measures how fast the machine encodes, for some seconds and at full load. That is
    done and waited for once; later origins find the result in their data folders.

    Args:
        folder: Empty folder for the data and the log.
        ladder: Value of `--ladder`.
        arguments: More of the command line.
        rungs: Rungs that are changed or added.
        settings: More settings, by name.
    """
    global _measured
    env = {"HEADRACE_TRANSCODE_CORES": CORES}
    env |= {f"HEADRACE_{name.upper()}": value for name, value in settings.items()}
    if rungs:
        env["HEADRACE_RUNGS"] = json.dumps(list(rungs))
    speed_file = folder / "data" / SPEED_FILE
    if _measured:
        speed_file.parent.mkdir(mode=0o700)
        speed_file.write_bytes(_measured)
        speed_file.chmod(0o600)
    with running_origin(folder, "--ladder", ladder, *arguments, env=env) as origin:
        if not _measured:
            wait_until(speed_file.is_file, timeout_s=MEASURED_WITHIN_S, what=f"a {SPEED_FILE}")
            _measured = speed_file.read_bytes()
        yield origin


@dataclass(frozen=True, slots=True)
class SeenLadder:
    """What was seen of one stream."""

    variants: list[tuple[float, MultivariantPlaylist]] = field(default_factory=list)
    """Each version of the multivariant playlist, and when it was met first."""
    renditions: dict[str, Rendition] = field(default_factory=dict)
    """In the order in which they were asked for."""

    @property
    def newest(self) -> MultivariantPlaylist:
        """The last version of the multivariant playlist."""
        return self.variants[-1][1]

    @property
    def listed(self) -> list[Rendition]:
        """All renditions, the reference first."""
        return list(self.renditions.values())


class LadderProbe:
    """Follows renditions of one stream, each on a thread, until ENDLIST or `stop`.

    Args:
        origin: Serves them.
        stream: The stream.
        names: Of the renditions, best first.
    """

    def __init__(self, origin: Origin, stream: CreatedStream, names: Sequence[str]) -> None:
        self.probes = {
            name: HlsProbe(origin.http, stream.id, origin.saw, quality=name) for name in names
        }
        self._origin = origin
        self._path = f"/api/streams/{stream.id}/master.m3u8"
        self._variants: list[tuple[float, MultivariantPlaylist]] = []
        self._stopping = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._text = ""

    def start(self) -> None:
        """Begin; the stream need not be live yet."""
        for probe in self.probes.values():
            probe.start()
        self._watcher.start()

    def stop(self) -> None:
        """End after the reloads that are under way."""
        self._stopping.set()
        for probe in self.probes.values():
            probe.stop()

    def wait_segments(self, count: int, *, timeout_s: float) -> None:
        """Wait until so many complete segments of each rendition have been fetched part by part."""

        def look() -> bool:
            return all(
                len({msn for msn, index in list(probe.harvest.parts) if index == 0}) > count
                for probe in self.probes.values()
            )

        wait_until(look, timeout_s=timeout_s, what=f"{count} segments of each rendition")

    def wait_parts_after(self, at_s: float, *, timeout_s: float) -> None:
        """Wait until each rendition has listed something (a gap, too) after an instant."""

        def look() -> bool:
            return all(
                max(
                    [
                        *(part.listed_at_s for part in list(probe.harvest.parts.values())),
                        *list(probe.harvest.gaps.values()),
                    ],
                    default=0.0,
                )
                > at_s
                for probe in self.probes.values()
            )

        wait_until(look, timeout_s=timeout_s, what="something new of each rendition")

    def finish(
        self, timeout_s: float, *, ended: bool = True, constant_rate: bool = True
    ) -> SeenLadder:
        """Wait until every rendition has been followed to its end, and read it back.

        Args:
            timeout_s: For all of them.
            ended: The broadcast is over, so ENDLIST must come; if not, it is left now.
            constant_rate: As in `read_media_playlist`.
        """
        deadline = time.monotonic() + timeout_s
        if not ended:
            self.stop()
        seen = SeenLadder()
        for name, probe in self.probes.items():
            harvest = probe.finish(max(0.1, deadline - time.monotonic()))
            assert harvest.snapshots, f"nothing was seen of {name}: {harvest.faults}"
            seen.renditions[name] = Rendition.read(name, harvest, constant_rate=constant_rate)
        self.stop()
        self._watcher.join(5)
        seen.variants.extend(self._variants)
        return seen

    def _watch(self) -> None:
        client = HttpClient(self._origin.http)
        while not self._stopping.wait(0.3):
            answer = client.get(self._path)
            if answer.status == 200 and answer.text != self._text:
                self._text = answer.text
                self._origin.saw(f"GET {self._path}", answer.text)
                playlist = read_multivariant_playlist(answer.body)
                self._variants.append((time.monotonic(), playlist))
        client.close()


def names_listed(origin: Origin, stream: CreatedStream) -> tuple[str, ...]:
    """Names of the renditions that a new viewer is offered, best first; perhaps none yet."""
    answer = origin.get(f"/api/streams/{stream.id}/master.m3u8")
    if answer.status != 200:
        return ()
    return read_multivariant_playlist(answer.body).names


def wait_listed(
    origin: Origin, stream: CreatedStream, names: Sequence[str], *, timeout_s: float
) -> None:
    """Wait until a new viewer is offered just these renditions."""
    wanted = tuple(names)
    wait_until(
        lambda: names_listed(origin, stream) == wanted,
        timeout_s=timeout_s,
        what=f"{wanted} are listed (now {names_listed(origin, stream)})",
    )


def workers(origin: Origin) -> set[int]:
    """Process ids of the origin's running transcode workers."""
    found = set()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended meanwhile
        state, parent = fields[0], int(fields[1])
        if WORKER in words and parent == origin.child.pid and state != "Z":
            found.add(int(folder.name))
    return found


def new_worker(origin: Origin, known: set[int], *, timeout_s: float) -> int:
    """Wait for a worker that is not among the known ones; its process id."""

    def look() -> set[int]:
        return workers(origin) - known

    (pid,) = wait_until(look, timeout_s=timeout_s, what="a new worker")
    return pid


def resident_bytes(pid: int) -> int:
    """Resident memory of a process; 0 when it is gone."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


_SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


@dataclass(frozen=True, slots=True)
class Figures:
    """One scrape of /metrics."""

    samples: dict[tuple[str, frozenset[tuple[str, str]]], float]

    @classmethod
    def scrape(cls, origin: Origin) -> "Figures":
        """Ask the origin."""
        answer = origin.get("/metrics")
        assert answer.status == 200, answer.text
        samples = {}
        for line in answer.text.splitlines():
            if line and not line.startswith("#"):
                match = _SAMPLE.fullmatch(line)
                assert match is not None, f"no Prometheus text: {line!r}"
                labels = frozenset(_LABEL.findall(match[2] or ""))
                samples[match[1], labels] = float(match[3])
        return cls(samples)

    def of(self, name: str, **labels: str) -> float:
        """The sum of all series of `headrace_transcode_<name>` with these labels; 0 for none."""
        wanted = set(labels.items())
        return sum(
            value
            for (family, found), value in self.samples.items()
            if family == f"headrace_transcode_{name}" and wanted <= found
        )

    def has(self, name: str, **labels: str) -> bool:
        """There is such a series."""
        wanted = set(labels.items())
        return any(
            family == f"headrace_transcode_{name}" and wanted <= found
            for family, found in self.samples
        )
