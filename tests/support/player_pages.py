"""Players other than the page's own, on a page of another host: a few lines each, with defaults.

The page is what an integrator would write after reading the first paragraph of a player's manual.
It is served by a small HTTP server of its own, so that everything the player fetches is fetched
across origins.
"""

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent
HLS_JS = ROOT / "edge/web/node_modules/hls.js/dist"
SHAKA = ROOT / "tests/e2e/players/node_modules/shaka-player/dist"

SCRIPTS = {
    "hls.js": HLS_JS / "hls.min.js",
    "hls.js light": HLS_JS / "hls.light.min.js",
    "shaka": SHAKA / "shaka-player.compiled.js",
}

_HLS = """
const hls = new Hls();
hls.loadSource(url);
hls.attachMedia(video);
window.headrace = {hls, video};
"""
# Without its low-latency mode, which 5.2.12 has broken (docs/players.md).
# What `chromium_player` reads of hls.js is not there; errors go where it looks for them.
_SHAKA = """
window.headrace = {video, hls: {on() {}, latency: 0, targetLatency: 0, playingDate: null}};
shaka.polyfill.installAll();
const player = new shaka.Player();
const report = (error) => console.error("shaka", error.code, error.data);
player.addEventListener("error", ({detail}) => report(detail));
player.configure({streaming: {lowLatencyMode: false}});
player.attach(video).then(() => player.load(url)).catch(report);
"""
_PAGE = """<!doctype html><meta charset="utf-8"><link rel="icon" href="data:,">
<video id="video" muted autoplay playsinline></video>
<script src="/player.js"></script>
<script>
const url = new URLSearchParams(location.search).get("url");
const video = document.getElementById("video");
%s</script>
"""


@contextlib.contextmanager
def player_page(name: str) -> Iterator[str]:
    """Serve a page with a player of `SCRIPTS`; gives its address, to which `?url=` is added."""
    script = SCRIPTS[name].read_bytes()
    page = (_PAGE % (_SHAKA if name == "shaka" else _HLS)).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_script = self.path == "/player.js"
            body = script if is_script else page
            self.send_response(200)
            self.send_header("Content-Type", "text/javascript" if is_script else "text/html")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
