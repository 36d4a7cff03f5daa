"""Real OBS Studio without a screen: Xvfb, llvmpipe, a fresh HOME, one looping clip with sound.

The settings are those a person would make: custom RTMP server, simple output mode, x264. The clip
comes in through OBS's media source, so the stream has moving pictures and audible sound although
the machine has neither a graphics card nor a sound server (seen with OBS 29.0.2 of Debian 12).
"""

import contextlib
import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from child_process import Child, need_programs

START_TIMEOUT_S = 45.0
"""OBS says `Streaming Start` 2 s after its start on an idle machine, 10 s on a loaded one."""

WIDTH = 640
HEIGHT = 360
FPS = 30


@dataclass(frozen=True, kw_only=True, slots=True)
class ObsOutput:
    """What a person sets in OBS before "Start Streaming"."""

    server: str
    key: str
    keyint_frames: int | None = None
    """Keyframe interval in frames; None leaves OBS's default ("auto": 250 frames of x264)."""
    preset: str = "ultrafast"
    bitrate_kbps: int = 1500
    width: int = WIDTH
    height: int = HEIGHT
    fps: int = FPS
    reconnects: bool = False
    """As OBS does unless told otherwise: first after two seconds."""


def need_obs() -> None:
    """Skip the running test when OBS cannot be run here."""
    need_programs("obs", "Xvfb", "dbus-run-session")


class Obs(Child):
    """OBS inside its session bus."""

    def stop(self) -> int:
        """End OBS as a desktop session does: SIGTERM to it alone; the session bus then follows.

        OBS 29 ends at once, without deleteStream: its publisher just closes the connection. (On
        SIGINT it asks "are you sure?", which nobody sees here.)
        """
        try:
            children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        except (FileNotFoundError, ProcessLookupError):
            children = []
        for pid in children:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                if Path(f"/proc/{pid}/comm").read_text().strip() == "obs":
                    os.kill(int(pid), signal.SIGTERM)
                    with contextlib.suppress(AssertionError):
                        self.wait(5)
        return super().stop()


@contextmanager
def running_obs(folder: Path, output: ObsOutput, clip: Path) -> Iterator[Obs]:
    """Start OBS streaming to `output.server`; it is ended on leaving.

    Args:
        folder: Empty folder for HOME, the logs and the X display's log.
        output: Where to stream to, and how.
        clip: Media file shown in a loop, of the output's size.
    """
    home = folder / "home"
    runtime = folder / "run"
    runtime.mkdir(mode=0o700)
    _write_settings(home / ".config" / "obs-studio", output, clip)
    with _x_display(folder / "xvfb.log") as display:
        # The display, HOME and GL driver are this run's own. XDG_CONFIG_HOME would win over HOME.
        env = {name: text for name, text in os.environ.items() if not name.startswith("XDG_")}
        env |= {
            "HOME": str(home),
            "XDG_RUNTIME_DIR": str(runtime),
            "DISPLAY": display,
            "LIBGL_ALWAYS_SOFTWARE": "1",
            "LP_NUM_THREADS": "1",
        }
        argv = ["dbus-run-session", "--", "obs", "--startstreaming", "--multi"]
        argv += ["--profile", "Test", "--collection", "Test"]
        argv += ["--disable-missing-files-check", "--minimize-to-tray"]
        with Obs(argv, log=folder / "obs.log", env=env) as obs:
            yield obs


@contextmanager
def _x_display(log: Path) -> Iterator[str]:
    """A virtual X display on a number that the server itself finds free."""
    reader, writer = os.pipe()
    try:
        argv = ["Xvfb", "-displayfd", str(writer), "-screen", "0", "800x600x24"]
        server = Child([*argv, "-nolisten", "tcp"], log=log, pass_fds=[writer])
    finally:
        os.close(writer)
    with server, os.fdopen(reader) as numbers:
        number = numbers.readline().strip()  # empty when Xvfb ended without a display
        assert number, f"Xvfb gave no display:\n{server.tail()}"
        yield f":{number}"


def _write_settings(config: Path, output: ObsOutput, clip: Path) -> None:
    profile = config / "basic" / "profiles" / "Test"
    scenes = config / "basic" / "scenes"
    profile.mkdir(parents=True)
    scenes.mkdir(parents=True)
    (config / "global.ini").write_text(
        "[General]\nFirstRun=true\nEnableAutoUpdates=false\n"
        "[Basic]\nProfile=Test\nProfileDir=Test\n"
        "SceneCollection=Test\nSceneCollectionFile=Test\n"
    )
    encoder = [
        f"VBitrate={output.bitrate_kbps}",
        "ABitrate=128",
        "StreamEncoder=x264",
        f"Preset={output.preset}",
    ]
    if output.keyint_frames is not None:
        encoder += ["UseAdvanced=true", f"x264Settings=keyint={output.keyint_frames}"]
    (profile / "basic.ini").write_text(
        f"[General]\nName=Test\n[Output]\nMode=Simple\nReconnect={str(output.reconnects).lower()}\n"
        "[SimpleOutput]\n" + "\n".join(encoder) + "\n"
        f"[Video]\nBaseCX={output.width}\nBaseCY={output.height}\n"
        f"OutputCX={output.width}\nOutputCY={output.height}\n"
        f"FPSCommon={output.fps}\n[Audio]\nSampleRate=48000\n"
    )
    service = {"server": output.server, "key": output.key, "use_auth": False}
    (profile / "service.json").write_text(json.dumps({"type": "rtmp_custom", "settings": service}))
    media = {"is_local_file": True, "local_file": str(clip), "looping": True, "hw_decode": False}
    shown = {"name": "Clip", "id": 1, "visible": True, "align": 5, "bounds_type": 0}
    sources = [
        {"id": "ffmpeg_source", "name": "Clip", "mixers": 255, "settings": media},
        {"id": "scene", "name": "Scene", "settings": {"id_counter": 1, "items": [shown]}},
    ]
    scene = {
        "name": "Test",
        "current_scene": "Scene",
        "current_program_scene": "Scene",
        "scene_order": [{"name": "Scene"}],
        "sources": sources,
    }
    (scenes / "Test.json").write_text(json.dumps(scene))
