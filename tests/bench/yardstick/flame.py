"""Draw where our server's CPU time goes while viewers watch: a flame graph, as one SVG.

    python flame.py SVG [VIEWERS]

Runs `delivery_server.py` on one core and `yard_load.c` on the other, and samples the server with
Debian's `linux-perf`. Wider is more time; above each function are those that it called. Orange is
the kernel, green what we compiled, blue Python and the rest. Frames under half a percent are left
out.
"""

import html
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
PLAYLIST_BYTES, FIXED_BYTES, PART_BYTES, INTERVAL_MS, BURST = 2048, 153_600, 62_500, 200, 1000
VIEWERS = 2500
CONNECTING_S, SAMPLED_S = 5.0, 5.0

SAMPLES_PER_S = 499
STACK_BYTES = 8192
WIDTH_PX, ROW_PX, FONT_PX = 1000, 17, 11
MIN_SHARE = 0.005
KERNEL, OURS, OTHER = "#f2a65a", "#8fc18a", "#9db8d9"


@dataclass(slots=True)
class Frame:
    """One function in one place of the tree."""

    name: str
    colour: str
    samples: int = 0
    calls: dict[str, "Frame"] = field(default_factory=dict)


def grow(text: str) -> Frame:
    """Make a tree of what `perf script -F ip,sym,dso` prints: stacks, innermost frame first."""
    root = Frame("all", OTHER)
    for block in text.strip().split("\n\n"):
        frame = root
        root.samples += 1
        for line in reversed(block.strip().splitlines()):
            _, _, rest = line.strip().partition(" ")
            symbol, _, library = rest.rpartition(" (")
            name = name_of(symbol.split("+0x")[0], library, frame.name)
            if name in ("", "[unknown]", frame.name):
                continue
            frame = frame.calls.setdefault(name, Frame(name, colour_of(symbol, library)))
            frame.samples += 1
    return root


def name_of(symbol: str, library: str, caller: str) -> str:
    """Undo Cython's names; all of the interpreter is one function, and so is the way to it."""
    is_interpreter = "/native/" not in library and "python" in library
    is_inlined_there = "inlined" in library and caller == "Python" and "__pyx" not in symbol
    if is_interpreter or is_inlined_there or symbol.startswith(("_start", "__libc_start")):
        return "Python"
    return re.sub(r"^__pyx_\w+?_6native_\d_[a-z]+_(7Reactor_)?\d*", "", symbol)


def colour_of(symbol: str, library: str) -> str:
    """Tell whose code it is by the file that it lies in."""
    if "[kernel" in library or "vmlinux" in library:
        return KERNEL
    return OURS if "/native/" in library or "__pyx" in symbol else OTHER


def draw(root: Frame, title: str) -> str:
    """Return the tree as an SVG, the root at the bottom."""
    cells = list(place(root, 0.0, 0, root.samples))
    rows = 1 + max(level for _, _, level in cells)
    height_px = (rows + 1) * ROW_PX + 8
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH_PX}" height="{height_px}"'
        f' font-family="sans-serif" font-size="{FONT_PX}">',
        f'<text x="4" y="{ROW_PX - 4}">{html.escape(title)}</text>',
    ]
    for frame, left, level in cells:
        x_px, width_px = left * WIDTH_PX, frame.samples / root.samples * WIDTH_PX
        y_px = height_px - (level + 1) * ROW_PX - 4
        letters = int(width_px / (FONT_PX * 0.58))
        name = html.escape(frame.name[:letters]) if letters >= 4 else ""
        parts.append(
            f"<g><title>{html.escape(frame.name)} {frame.samples / root.samples:.1%}</title>"
            f'<rect x="{x_px:.1f}" y="{y_px}" width="{max(width_px - 0.5, 0.5):.1f}"'
            f' height="{ROW_PX - 1}" fill="{frame.colour}"/>'
            f'<text x="{x_px + 2:.1f}" y="{y_px + ROW_PX - 5}">{name}</text></g>'
        )
    return "\n".join([*parts, "</svg>\n"])


def place(frame: Frame, left: float, level: int, total: int) -> Iterable[tuple[Frame, float, int]]:
    """Give each frame its left edge, of 1, and its level."""
    yield frame, left, level
    for call in sorted(frame.calls.values(), key=lambda call: -call.samples):
        if call.samples >= total * MIN_SHARE:
            yield from place(call, left, level + 1, total)
            left += call.samples / total


def sample(viewers: int, folder: str) -> str:
    """Run server and viewers, and return what `perf script` tells of the server."""
    load, data = f"{folder}/yard_load", f"{folder}/perf.data"
    subprocess.run(["cc", "-O2", "-o", load, str(HERE / "yard_load.c")], check=True)
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    start_ms = int(time.monotonic() * 1000) + 2000
    served = (port, PLAYLIST_BYTES, FIXED_BYTES, PART_BYTES, INTERVAL_MS, start_ms, BURST)
    seconds = CONNECTING_S + SAMPLED_S + 2
    asked = (port, viewers, seconds, INTERVAL_MS, start_ms, PART_BYTES, CONNECTING_S)
    program = [sys.executable, str(HERE / "delivery_server.py"), *map(str, served)]
    with subprocess.Popen(
        ["taskset", "-c", "0", *program],
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    ) as server:
        assert server.stdout is not None
        server.stdout.readline()  # "ready"
        with subprocess.Popen(
            ["taskset", "-c", "1", load, "live", *map(str, asked)], stdout=subprocess.DEVNULL
        ):
            time.sleep(CONNECTING_S + 1)
            graph = f"dwarf,{STACK_BYTES}"
            record = ["perf", "record", "-q", "-F", str(SAMPLES_PER_S), "--call-graph", graph]
            record += ["-p", str(server.pid), "-o", data, "--", "sleep", str(SAMPLED_S)]
            subprocess.run(record, check=True)
        server.terminate()
    script = ["perf", "script", "-i", data, "-F", "ip,sym,dso"]
    return subprocess.run(script, check=True, capture_output=True, text=True).stdout


def main(svg: str, viewers: str = str(VIEWERS)) -> None:
    """Draw the picture."""
    with tempfile.TemporaryDirectory() as folder:
        told = sample(int(viewers), folder)
    title = f"{int(viewers):,} viewers, a playlist and a part each every {INTERVAL_MS} ms"
    Path(svg).write_text(draw(grow(told), title))


if __name__ == "__main__":
    main(*sys.argv[1:])
