"""Real Chromium as a viewer: opens a watch page and writes down what a person would notice.

Nothing here trusts the page's own counters. A script injected before the page's own code listens
to the media events in the capture phase, to hls.js's error event, and samples the playhead four
times a second; Playwright notes console errors, page errors and every HTTP answer.

The page must offer `window.headrace = {hls, video}` (the watch page does).
"""

import contextlib
import json
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median, quantiles
from typing import Any

from child_process import need_programs, wait_until
from playwright.sync_api import Browser, CDPSession, Page, Response, sync_playwright

FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--autoplay-policy=no-user-gesture-required",
    # Several pages play at once in one browser: none may be throttled as a background tab.
    "--disable-background-timer-throttling",
    "--disable-backgrounding-occluded-windows",
    "--disable-renderer-backgrounding",
]

SETTLED_S = 2.0
"""Stalls are counted from this long after the first picture moved."""

OBSERVER = """
(() => {
  const log = {samples: [], events: [], hlsErrors: [], glass: [], levels: [], frames: 0};
  window.observed = log;
  const now = () => performance.now() / 1000;
  for (const name of ["playing", "waiting", "stalled", "seeking", "ended", "error", "pause"]) {
    document.addEventListener(name, (event) => {
      if (!(event.target instanceof HTMLMediaElement)) return;
      log.events.push({at: now(), name, playhead: event.target.currentTime});
    }, true);
  }
  // The demo's clock: 64 cells along the bottom twentieth of the picture, 0xA5, 48 bits of
  // milliseconds, CRC-8 (origin/demo/timecode.py documents it). Only that strip is drawn.
  const readClock = (from, canvas, paper) => {
    const {videoWidth: width, videoHeight: height} = from;
    if (!width) return null;
    const strip = [0, height * 0.95, width, height * 0.05];
    paper.drawImage(from, ...strip, 0, 0, canvas.width, canvas.height);
    const row = paper.getImageData(0, canvas.height / 2, canvas.width, 1).data;
    const cell = canvas.width / 64;
    const bytes = [];
    for (let i = 0; i < 8; i++) {
      let value = 0;
      for (let j = 0; j < 8; j++) {
        const x = Math.floor((8 * i + j + 0.5) * cell);
        value = value * 2 + (row[4 * x + 1] > 127 ? 1 : 0);
      }
      bytes.push(value);
    }
    let crc = 0, painted = 0;
    for (const byte of bytes.slice(1, 7)) {
      painted = painted * 256 + byte;
      crc ^= byte;
      for (let i = 0; i < 8; i++) crc = crc & 0x80 ? ((crc << 1) ^ 0x07) & 0xff : crc << 1;
    }
    return bytes[0] === 0xa5 && bytes[7] === crc ? painted : null;
  };
  let hls = null, video = null;
  const attach = () => {
    const page = window.headrace;
    if (page && page.hls && page.hls !== hls) {
      hls = page.hls;
      hls.on("hlsError", (_, data) => {
        // That it gave up a request of its own, to load another level instead, is no error.
        if (data.details !== "aborted") log.hlsErrors.push({
          at: now(), details: data.details, fatal: data.fatal,
          reason: String(data.reason || data.error || ""),
        });
      });
      hls.on("hlsLevelSwitched", (_, {level}) => log.levels.push({
        at: now(), height: hls.levels[level].height, rate: hls.levels[level].frameRate,
      }));
    }
    if (page && page.video && page.video !== video) {
      video = page.video;
      const canvas = new OffscreenCanvas(512, 20);
      const paper = canvas.getContext("2d", {willReadFrequently: true});
      const count = () => {
        log.frames += 1;
        if (log.frames % 5 === 0) {
          const painted = readClock(video, canvas, paper);
          if (painted !== null) log.glass.push({at: now(), latency: (Date.now() - painted) / 1000});
        }
        video.requestVideoFrameCallback(count);
      };
      video.requestVideoFrameCallback(count);
    }
  };
  setInterval(attach, 20);
  setInterval(() => {
    if (!video || !hls) return;
    const ranges = video.buffered;
    const end = ranges.length ? ranges.end(ranges.length - 1) : 0;
    const quality = video.getVideoPlaybackQuality();
    const shown = hls.playingDate ? Date.now() - hls.playingDate.getTime() : null;
    log.samples.push({
      at: now(), playhead: video.currentTime, latency: hls.latency, target: hls.targetLatency,
      rate: video.playbackRate, ahead: end - video.currentTime, paused: video.paused,
      behindArrival: shown === null ? null : shown / 1000, frames: log.frames,
      dropped: quality.droppedVideoFrames, height: video.videoHeight,
    });
  }, 250);
})();
"""


@dataclass(kw_only=True, slots=True)
class Playback:
    """What one page showed, in the page's own clock (seconds since navigation)."""

    samples: list[dict[str, Any]]
    events: list[dict[str, Any]]
    hls_errors: list[dict[str, Any]]
    glass: list[dict[str, float]]
    levels: list[dict[str, Any]] = field(default_factory=list)
    """Each change of the level that is on the screen."""
    console: list[str] = field(default_factory=list)
    bad_answers: list[str] = field(default_factory=list)

    def started_at(self) -> float | None:
        """When the playhead first moved between two samples."""
        for before, after in zip(self.samples, self.samples[1:], strict=False):
            if 0 < after["playhead"] - before["playhead"] < 1.0 and not after["paused"]:
                return float(before["at"])
        return None

    def played_s(self) -> float:
        """Time from the first movement to the last sample."""
        started = self.started_at()
        return 0.0 if started is None else float(self.samples[-1]["at"]) - started

    def stalls(self) -> list[str]:
        """Every interruption after the first SETTLED_S seconds of playing.

        A `waiting` event is one; so is a playhead that moved less than 0.1 s in 0.5 s.
        """
        started = self.started_at()
        if started is None:
            return ["never started"]
        since = started + SETTLED_S
        found = [
            f"waiting at {event['at']:.2f} s (playhead {event['playhead']:.2f})"
            for event in self.events
            if event["name"] == "waiting" and event["at"] > since
        ]
        settled = [sample for sample in self.samples if sample["at"] > since]
        for before, after in zip(settled, settled[2:], strict=False):
            moved = after["playhead"] - before["playhead"]
            if after["at"] - before["at"] >= 0.45 and moved < 0.1:
                found.append(f"playhead stands at {after['at']:.2f} s ({before['playhead']:.2f})")
        return found

    def latencies(self, after_s: float = SETTLED_S) -> list[float]:
        """hls.js's latency samples from `after_s` seconds after the start on."""
        started = self.started_at()
        if started is None:
            return []
        since = started + after_s
        return [float(sample["latency"]) for sample in self.samples if sample["at"] > since]

    def behind_arrival(self, after_s: float = SETTLED_S) -> list[float]:
        """Wall clock minus EXT-X-PROGRAM-DATE-TIME of the playhead: arrival to glass, seconds."""
        since = (self.started_at() or 0.0) + after_s
        return [
            float(sample["behindArrival"])
            for sample in self.samples
            if sample["at"] > since and sample["behindArrival"] is not None
        ]

    def glass_latencies(self, after_s: float = SETTLED_S) -> list[float]:
        """Capture-to-glass samples: wall clock on showing minus wall clock in the picture."""
        since = (self.started_at() or 0.0) + after_s
        return [sample["latency"] for sample in self.glass if sample["at"] > since]

    def heights(self) -> list[int]:
        """Heights of the levels that were shown, one after the other."""
        return [int(level["height"]) for level in self.levels]

    def summary(self) -> str:
        """One line of figures for the log of a run."""
        rates = [float(sample["rate"]) for sample in self.samples]
        pictures = self.samples[-1]["frames"] if self.samples else 0
        return (
            f"played {self.played_s():.1f} s, {pictures} pictures, "
            f"latency {spread(self.latencies())}, "
            f"arrival to glass {spread(self.behind_arrival())}, "
            f"capture to glass {spread(self.glass_latencies())}, "
            f"rate {min(rates, default=1):.2f}..{max(rates, default=1):.2f}, "
            f"{len(self.stalls())} stalls, {len(self.hls_errors)} hls.js errors"
            + (f", levels {self.heights()}" if len(self.levels) > 1 else "")
        )


def spread(values: Sequence[float]) -> str:
    """Median, 95th percentile and maximum of a list of seconds, as text."""
    if len(values) < 2:
        return "-"
    p95 = percentile(values, 95)
    return f"median {median(values):.3f} p95 {p95:.3f} max {max(values):.3f} s"


def percentile(values: Sequence[float], percent: int) -> float:
    """The `percent`-th percentile (1..99) of at least two values."""
    return quantiles(values, n=100, method="inclusive")[percent - 1]


class Player:
    """One page of one viewer."""

    def __init__(self, page: Page, artifacts: Path, name: str) -> None:
        self.page = page
        self.name = name
        self.texts: list[str] = []
        """Every text body (HTML, JSON, playlists, scripts of ours) that the page received."""
        self._artifacts = artifacts
        self._devtools: CDPSession | None = None
        self._console: list[str] = []
        self._bad_answers: list[str] = []
        page.add_init_script(OBSERVER)
        page.on("console", lambda message: self._note_console(message.type, message.text))
        page.on("pageerror", lambda error: self._console.append(f"pageerror: {error}"))
        page.on("response", self._note_answer)

    def open(self, url: str) -> None:
        """Navigate; the page plays by itself."""
        self.page.goto(url, wait_until="domcontentloaded", timeout=15_000)

    def wait_playing(self, timeout_s: float = 20.0) -> None:
        """Wait until the playhead moves."""

        def look() -> bool:
            self.page.wait_for_timeout(50)  # lets Playwright deliver events meanwhile
            return self.report().started_at() is not None

        try:
            wait_until(look, timeout_s=timeout_s, what=f"{self.name} plays")
        except AssertionError as error:
            error.add_note(self.describe())
            raise

    def play_for(self, seconds: float) -> Playback:
        """Watch until `seconds` have been played since the start, and report."""
        self.wait_playing()

        def look() -> bool:
            self.page.wait_for_timeout(250)
            return self.report().played_s() >= seconds

        wait_until(look, timeout_s=seconds + 15, what=f"{seconds:g} s of playback")
        return self.report()

    def watch_on(self, seconds: float) -> Playback:
        """Watch for `seconds` of real time more, and report."""
        self.page.wait_for_timeout(seconds * 1000)
        return self.report()

    def qualities(self) -> list[str]:
        """What the quality menu offers, from top to bottom."""
        return [str(text) for text in self.page.locator("#quality option").all_inner_texts()]

    def choose(self, quality: str) -> None:
        """Choose a line of the quality menu, as a person does."""
        self.page.select_option("#quality", label=quality)

    def wait_height(self, *heights: int, timeout_s: float) -> float:
        """Wait until pictures of one of these heights are on the screen; how long that took."""

        def look() -> bool:
            self.page.wait_for_timeout(50)
            return int(self.page.evaluate("headrace.video.videoHeight")) in heights

        began = time.monotonic()
        try:
            wait_until(look, timeout_s=timeout_s, what=f"{self.name} shows {heights} lines")
        except AssertionError as error:
            error.add_note(self.describe())
            raise
        return time.monotonic() - began

    def throttle(self, kbps: float, *, latency_ms: float) -> None:
        """Give this page a line of so many kilobits a second, with so long a way."""
        if self._devtools is None:
            self._devtools = self.page.context.new_cdp_session(self.page)
            self._devtools.send("Network.enable")
        self._devtools.send(
            "Network.emulateNetworkConditions",
            {
                "offline": False,
                "latency": latency_ms,
                "downloadThroughput": kbps * 1000 / 8,
                "uploadThroughput": -1,
            },
        )

    def report(self) -> Playback:
        """What was observed so far."""
        seen = self.page.evaluate("window.observed")
        return Playback(
            samples=seen["samples"],
            events=seen["events"],
            hls_errors=seen["hlsErrors"],
            glass=seen["glass"],
            levels=seen["levels"],
            console=list(self._console),
            bad_answers=list(self._bad_answers),
        )

    def describe(self) -> str:
        """Everything that helps to find out why a page does not play."""
        report = self.report()
        return "\n".join(
            [
                report.summary(),
                f"events: {report.events[-20:]}",
                f"hls.js errors: {report.hls_errors}",
                f"console: {report.console}",
                f"bad answers: {report.bad_answers}",
                f"last samples: {report.samples[-4:]}",
            ]
        )

    def save_evidence(self) -> None:
        """A screenshot and the raw observations, for a failed test."""
        self._artifacts.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(Exception):  # evidence must never hide the failure itself
            self.page.screenshot(path=self._artifacts / f"{self.name}.png", timeout=5_000)
            seen = self.page.evaluate("window.observed")
            (self._artifacts / f"{self.name}.json").write_text(json.dumps(seen, indent=1))
            (self._artifacts / f"{self.name}.txt").write_text(self.describe())

    def _note_console(self, kind: str, text: str) -> None:
        if kind in ("error", "warning"):
            self._console.append(f"{kind}: {text}")

    def _note_answer(self, response: Response) -> None:
        if response.status >= 400:
            self._bad_answers.append(f"{response.status} {response.url}")


class Viewers:
    """A running Chromium; each viewer is a profile of its own (own connections, own cache)."""

    def __init__(self, browser: Browser, artifacts: Path) -> None:
        self._browser = browser
        self._artifacts = artifacts

    @contextlib.contextmanager
    def viewer(
        self, name: str, *, pixel_ratio: int = 1, trusts_anybody: bool = False
    ) -> Iterator[Player]:
        """One page, closed on leaving; a failure inside leaves evidence in `artifacts`.

        Args:
            name: For the evidence.
            pixel_ratio: What the page believes of its screen; nothing is drawn larger. The page
                plays no more pixels than there is room for, by itself.
            trusts_anybody: Take any certificate.
        """
        context = self._browser.new_context(
            viewport={"width": 1000, "height": 700}, ignore_https_errors=trusts_anybody
        )
        player = Player(context.new_page(), self._artifacts, name)
        if pixel_ratio != 1:
            player.page.add_init_script(
                f"Object.defineProperty(window, 'devicePixelRatio', {{get: () => {pixel_ratio}}})"
            )
        try:
            yield player
        except BaseException:
            player.save_evidence()
            raise
        finally:
            context.close()


def need_chromium() -> None:
    """Skip the running test when Chromium cannot be run here."""
    need_programs("chromium")


@contextlib.contextmanager
def chromium(artifacts: Path) -> Iterator[Viewers]:
    """Start Chromium (about 2 s); it is closed on leaving."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=shutil.which("chromium"), args=FLAGS)
        try:
            yield Viewers(browser, artifacts)
        finally:
            browser.close()
