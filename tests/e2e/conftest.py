"""Fixtures of the end-to-end tests: real programs on one side, real strangers on the other.

* Every test has a hard cap in seconds (`@pytest.mark.hard_cap(90)`, default 60), kept by SIGALRM.
  One that hangs on in its clean-up, or where no signal is heard, ends the run with every stack.
* A test whose program is missing is skipped by name, with one line that says what to install.
* Figures (latency, stalls, counts) are printed at the end of the run, failed or not.
* Evidence of a failure (screenshot, observations, logs) goes to test-artifacts/.

Length of the OBS runs: `HEADRACE_E2E_SECONDS`, default 60.
"""

import faulthandler
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType

import pytest
from chromium_player import Viewers, chromium, need_chromium
from media_clips import Clip, ClipSpec, make_clip
from origin_process import ROOT, Origin, running_origin

ARTIFACTS = ROOT / "test-artifacts"
DEFAULT_CAP_S = 60.0
AGAIN_S = 20.0
"""A test that goes on after its cap, cleaning up, is told again every so often."""
LAST_S = 90.0
"""After so long the whole run ends: CI would only see that it takes too long."""
WATCHED_S = float(os.environ.get("HEADRACE_E2E_SECONDS", "60"))

FIGURES = pytest.StashKey[list[str]]()
STDERR = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "hard_cap(seconds): the test fails when it takes longer")
    config.stash[FIGURES] = []
    with config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        config.stash[STDERR] = os.dup(2)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    # pytest folds equal reasons into a count; here every test that did not run is named.
    for report in terminalreporter.stats.get("skipped", []):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        terminalreporter.write_line(f"skipped {report.nodeid}: {reason}")
    if config.stash[FIGURES]:
        terminalreporter.section("measured end to end")
        for line in config.stash[FIGURES]:
            terminalreporter.write_line(line)


@pytest.fixture(autouse=True)
def hard_cap(request: pytest.FixtureRequest) -> Iterator[None]:
    """Fail the test, wherever it hangs, when its time is over."""
    marker = request.node.get_closest_marker("hard_cap")
    seconds = float(marker.args[0]) if marker else DEFAULT_CAP_S
    seconds += max(0.0, WATCHED_S - 60.0)

    def over(_number: int, _frame: FrameType | None) -> None:
        pytest.fail(f"the test took more than its {seconds:g} s")  # no `except Exception` takes it

    before = signal.signal(signal.SIGALRM, over)
    signal.setitimer(signal.ITIMER_REAL, seconds, AGAIN_S)
    faulthandler.dump_traceback_later(
        seconds + LAST_S, exit=True, file=request.config.stash[STDERR]
    )
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture
def figures(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Note a measured figure; it is printed at the end of the run."""

    def note(text: str) -> None:
        line = f"{request.node.name}: {text}"
        print(line)
        request.config.stash[FIGURES].append(line)

    return note


@pytest.fixture
def artifacts(request: pytest.FixtureRequest) -> Path:
    """Where evidence of a failure goes; emptied before the test, made only on need."""
    folder = ARTIFACTS / str(request.node.name).replace("/", "-")
    shutil.rmtree(folder, ignore_errors=True)
    return folder


@pytest.fixture
def viewers(artifacts: Path) -> Iterator[Viewers]:
    """A running Chromium."""
    need_chromium()
    with chromium(artifacts) as running:
        yield running


@pytest.fixture
def origin(tmp_path: Path, artifacts: Path) -> Iterator[Origin]:
    """A running origin; on the way out it must stop cleanly and have told no secret."""
    folder = tmp_path / "origin"
    folder.mkdir()
    try:
        with running_origin(folder) as running:
            yield running
    except BaseException:
        artifacts.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "origin.log", artifacts)
        raise


@pytest.fixture(scope="session")
def clip_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[ClipSpec], Clip]:
    """Make a clip, or give the one already made from the same specification."""
    folder = tmp_path_factory.mktemp("clips")
    made: dict[ClipSpec, Clip] = {}

    def make(spec: ClipSpec) -> Clip:
        if spec not in made:
            made[spec] = make_clip(spec, folder)
        return made[spec]

    return make


@pytest.fixture(scope="session")
def e2e_seconds() -> float:
    """How long the OBS runs play."""
    return WATCHED_S
