"""The client, the recorder and the command line against small servers, polite and hostile."""

import http.server
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.conformance import client as client_module
from tests.conformance.__main__ import main
from tests.conformance.client import Client
from tests.conformance.every_rule import RULES, judge
from tests.conformance.healthy import MULTIVARIANT, healthy, init_bytes, part_bytes, playlist_text
from tests.conformance.recorder import Options, Recorder
from tests.conformance.recording import Recording, Rendition
from tests.conformance.report import report


@contextmanager
def hostile(talk: Callable[[socket.socket], None]) -> Iterator[str]:
    """A server that says what `talk` says to each connection; its URL."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                threading.Thread(target=run, args=(connection,), daemon=True).start()

        def run(connection: socket.socket) -> None:
            with connection:
                try:
                    connection.recv(65_536)
                    talk(connection)
                except OSError:
                    pass  # the client went away, as it should

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/m.m3u8"
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)


def trickle(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
    while True:
        connection.sendall(b"x")
        time.sleep(0.01)


def endless(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
    while True:
        connection.sendall(bytes(65_536))


def short(connection: socket.socket) -> None:
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc")


def silent(connection: socket.socket) -> None:
    connection.recv(1)


def garbage(connection: socket.socket) -> None:
    connection.sendall(b"\x00" * 1000)


@pytest.mark.slow
@pytest.mark.parametrize("talk", [trickle, endless, short, silent, garbage])
def test_no_server_holds_a_request(
    talk: Callable[[socket.socket], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "MAX_BODY_BYTES", 1_000_000)
    with hostile(talk) as url:
        client = Client()
        began_s = time.monotonic()
        exchange = client.get(url, timeout_s=0.3)
        client.close()
    assert exchange.status == 0
    assert exchange.error
    assert time.monotonic() - began_s < 5


def test_a_connection_is_kept() -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorded) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        client = Client()
        url = f"http://127.0.0.1:{server.server_port}/m.m3u8"
        exchanges = [client.get(url, method=method) for method in ("GET", "GET", "HEAD", "GET")]
        client.close()
        server.shutdown()
        thread.join()
    assert [exchange.status for exchange in exchanges] == [200] * 4
    assert not any(exchange.reopened for exchange in exchanges)


def test_without_a_broadcast_the_exit_code_is_2(capsys: pytest.CaptureFixture[str]) -> None:
    with hostile(garbage) as url:
        assert main([url, "--seconds=1", "--wait-start=0"]) == 2
    assert "no broadcast" in capsys.readouterr().out


STRANGE = b"""#EXTM3U
#EXT-X-VERSION:99999999999999999999999
#EXT-X-TARGETDURATION:9999999999999999999
#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=1
#EXT-X-PART-INF:PART-TARGET=0.000001
#EXT-X-MEDIA-SEQUENCE:9999999999999999999
#EXT-X-SKIP:SKIPPED-SEGMENTS=999999999999999999
#EXT-X-MAP:URI="http://[oops"
#EXT-X-PROGRAM-DATE-TIME:0001-01-01T00:00:00.000+23:59
#EXT-X-PART:DURATION=-1,URI="ftp://example/x"
#EXT-X-PART:DURATION=1,URI="\xff\xfe"
#EXTINF:1e999,
http://[oops
#EXT-X-PRELOAD-HINT:TYPE=PART,URI="http://:99999999/"
#EXT-X-RENDITION-REPORT:URI="http://[",LAST-MSN=99999999999999999999999,LAST-PART=x
"""


def strange(connection: socket.socket) -> None:
    body = MULTIVARIANT.encode() if not strange_asked else STRANGE
    strange_asked.append(1)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body)


strange_asked: list[int] = []


@pytest.mark.slow
def test_strange_playlists_end_in_a_report(capsys: pytest.CaptureFixture[str]) -> None:
    strange_asked.clear()
    with hostile(strange) as url:
        assert main([url, "--seconds=1"]) == 1
    text = capsys.readouterr().out
    assert "MP-01  MUST    FAIL" in text
    assert "the rule itself failed" not in text


def test_the_rules_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--list"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(RULES)
    assert "MP-02  MUST    4.4.3.1: EXTINF, rounded, is at most TD" in lines


def test_a_url_of_another_scheme_is_refused() -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["file:///etc/passwd"])


class Recorded(http.server.BaseHTTPRequestHandler):
    """A broadcast that has ended: the last version of `healthy`."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        folder, _, name = self.path.partition("?")[0].rpartition("/")
        rendition = folder.rpartition("/")[2]
        body, status = b"", 200
        if name == "m.m3u8":
            body = MULTIVARIANT.encode()
        elif name == "p.m3u8":
            body = playlist_text(rendition, (15, 3), ended=True).encode()
        elif name.startswith("init"):
            wide = 2 if name == "init1.mp4" else 1
            size = {"high": (320, 180), "low": (160, 90), "sound": (0, 0)}[rendition]
            size = (size[0] * wide, size[1] * wide)
            body = init_bytes(rendition != "sound", size)
        elif name.endswith("m4s"):
            msn = int(name.partition(".")[0])
            body = b"".join(part_bytes(rendition, msn, index) for index in range(4))
        elif name.endswith("mp4"):
            msn, index = map(int, name.split(".")[:2])
            body = part_bytes(rendition, msn, index)
        else:
            status = 404
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        kind = "application/vnd.apple.mpegurl" if "m3u8" in name else "video/mp4"
        self.send_header("Content-Type", kind)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    do_HEAD = do_GET

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.slow
def test_a_recorded_broadcast_is_read_to_its_end(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tests.conformance.recorder.TAIL_S", 0.1)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorded) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        code = main([f"http://127.0.0.1:{server.server_port}/m.m3u8", "--seconds=20"])
        server.shutdown()
        thread.join()
    text = capsys.readouterr().out
    lines = {line[:5]: line for line in text.splitlines() if line[2:3] == "-"}
    # It has neither CORS nor decodable pictures; what is listed is sound.
    for rule in ("MP-01", "MF-02", "MF-06", "EN-01", "EN-02", "EN-03", "EN-05", "PT-03", "MP-13"):
        assert " PASS " in lines[rule], text
    assert code == 1
    assert " FAIL " in lines["MF-09"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("bound", "value", "seen"),
    [
        ("MAX_RENDITIONS", 1, lambda recording: len(recording.renditions) == 1),
        ("MAX_MEDIA", 2, lambda recording: all(pieces(r) == 2 for r in all_of(recording))),
        ("MAX_LISTED", 5, lambda recording: "ends early" in recording.remarks[0]),
        ("MAX_SNAPSHOTS", 0, lambda recording: "ends early" in recording.remarks[0]),
        (
            "MAX_SAMPLES",
            0,
            lambda recording: not any(r.parts[14, 0].run for r in all_of(recording)),
        ),
        ("DECODED_BYTES", 0, lambda recording: not any(r.decoded for r in all_of(recording))),
    ],
)
def test_bounds_hold(
    bound: str,
    value: int,
    seen: Callable[[Recording], bool],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("tests.conformance.recorder.TAIL_S", 0.1)
    monkeypatch.setattr(f"tests.conformance.recorder.{bound}", value)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Recorded) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        url = f"http://127.0.0.1:{server.server_port}/m.m3u8"
        recording = Recorder(Options(url, seconds=2), print).record()
        server.shutdown()
        thread.join()
    assert recording.renditions
    assert seen(recording)


def all_of(recording: Recording) -> list[Rendition]:
    return list(recording.renditions.values())


def samples(rendition: Rendition) -> int:
    return sum(media.run.count for media in rendition.all_media() if media.run)


def pieces(rendition: Rendition) -> int:
    return len(rendition.parts) + len(rendition.segments)


def test_the_report_has_a_line_for_each_rule() -> None:
    recording = healthy()
    recording.protocol = "http/1.1"
    verdicts = judge(recording)
    text = report(recording, verdicts)
    for verdict in verdicts:
        assert f"\n{verdict.rule.id}  {verdict.rule.level} " in text
    assert "HT-13  MUST-P  FAIL     1 of 1" in text
    assert "Not conformant: HT-13" in text
