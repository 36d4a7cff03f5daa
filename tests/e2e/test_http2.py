"""HTTP/2 over TLS, judged by strangers: curl, h2load, httpx and hls.js in Chromium.

One origin with the demo broadcast serves them all.
"""

import re
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx
import pytest
from certificates import Pair, make_pair
from child_process import need_programs, wait_until
from chromium_player import Viewers
from origin_process import Origin, running_origin

pytestmark = pytest.mark.e2e

LATENCY_S = 1.5


@dataclass
class Secure:
    """An origin with TLS, and what trusts it."""

    origin: Origin
    folder: Path
    pair: Pair
    base: str
    """Path of the demo's source rendition."""

    @property
    def authority(self) -> str:
        """HOST:PORT, by the name that the certificate holds."""
        return f"localhost:{self.origin.https.rpartition(':')[2]}"

    def playlist(self) -> str:
        """The media playlist, over plain HTTP/1.1."""
        return self.origin.get(f"{self.base}/playlist.m3u8").text

    def newest(self, pattern: str) -> str:
        """The last name in the playlist that looks like this."""
        found = re.findall(rf'(?:^|URI=")({pattern})(?:$|")', self.playlist(), re.MULTILINE)
        assert found, pattern
        return f"{self.base}/{found[-1]}"

    def reload(self) -> tuple[str, str, str]:
        """Number and index of the part that comes next, and what is held until it does."""
        hint = re.search(r'PRELOAD-HINT:TYPE=PART,URI="part-\w+-(\d+)\.(\d+)\.', self.playlist())
        assert hint is not None
        msn, part = hint.groups()
        return msn, part, f"{self.base}/playlist.m3u8?_HLS_msn={msn}&_HLS_part={part}"


@contextmanager
def secure_origin(folder: Path) -> Iterator[Secure]:
    pair = make_pair()
    certificate, key = pair.write(folder)
    arguments = ["--demo", "--https", "127.0.0.1:0"]
    arguments += ["--tls-certificate", str(certificate), "--tls-key", str(key)]
    with running_origin(folder, *arguments) as origin:
        watch = origin.child.wait_for_log(r"/watch/([\w-]+)", timeout_s=15)
        base = f"/api/streams/{watch.group(1)}/source"
        secure = Secure(origin, folder, pair, base)
        wait_until(
            lambda: "\nseg-" in secure.playlist(), timeout_s=20, what="the demo has a segment"
        )
        yield secure


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    with secure_origin(tmp_path_factory.mktemp("secure")) as running:
        yield running


@dataclass
class Curled:
    """What curl has to say."""

    version: str
    status: int
    seconds: float
    head: str
    body: bytes


def curl(secure: Secure, path: str, *arguments: str) -> Curled:
    """Ask by HTTP/2, on a connection of its own."""
    body, head = secure.folder / "body", secure.folder / "head"
    body.write_bytes(b"")
    told = subprocess.run(
        [
            *("curl", "-sS", "--http2", "--max-time", "10"),
            *("--cacert", str(secure.folder / "cert.pem")),
            *("-D", str(head), "-o", str(body)),
            *("-w", "%{http_version} %{http_code} %{time_total}", *arguments),
            f"https://{secure.authority}{path}",
        ],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.split()
    return Curled(
        told[0], int(told[1]), float(told[2]), head.read_text().lower(), body.read_bytes()
    )


def test_curl_speaks_http2(secure: Secure) -> None:
    need_programs("curl")
    path = f"{secure.base}/playlist.m3u8"
    plain = curl(secure, path)
    assert (plain.version, plain.status) == ("2", 200)
    assert plain.body.startswith(b"#EXTM3U")

    head = curl(secure, path, "--head")
    assert (head.version, head.status) == ("2", 200)
    assert "content-length:" in head.head
    assert "\ndate:" in head.head

    packed = curl(secure, path, "--compressed")
    assert "content-encoding: gzip" in packed.head
    assert packed.body.startswith(b"#EXTM3U")

    segment = secure.newest(r"seg-[\w.-]+")
    whole = curl(secure, segment)
    part = curl(secure, segment, "--range", "100-299")
    assert (part.version, part.status) == ("2", 206)
    assert part.body == whole.body[100:300]
    tag = re.search(r"^etag: (.+)$", whole.head, re.MULTILINE)
    if tag is not None:
        known = curl(secure, segment, "--header", f"If-None-Match: {tag[1].strip()}")
        assert (known.version, known.status, known.body) == ("2", 304, b"")

    assert curl(secure, "/nowhere").status == 404
    refused = curl(secure, "/api/streams", "--json", "{}")
    assert (refused.version, refused.status) == ("2", 401)


def test_curl_without_http2_is_served_too(secure: Secure) -> None:
    need_programs("curl")
    assert curl(secure, "/health", "--http1.1").version == "1.1"
    assert curl(secure, "/health", "--no-alpn").version == "1.1"


def test_a_blocking_reload_comes_with_its_part(secure: Secure) -> None:
    need_programs("curl")
    for _ in range(5):
        names = re.findall(
            r'PRELOAD-HINT:TYPE=PART,URI="part-\w+-(\d+)\.(\d+)\.', secure.playlist()
        )
        msn, part = names[-1]
        answer = curl(secure, f"{secure.base}/playlist.m3u8?_HLS_msn={msn}&_HLS_part={part}")
        assert (answer.version, answer.status) == ("2", 200)
        assert f"-{msn}.{part}." in answer.body.decode()
        assert answer.seconds < 2


def test_many_blocking_reloads_share_one_connection(secure: Secure) -> None:
    need_programs("nghttp")
    msn, part, path = secure.reload()
    told = subprocess.run(
        ["nghttp", "-n", "-s", "-m", "50", f"https://{secure.authority}{path}"],
        check=True,
        capture_output=True,
        text=True,
        timeout=20,
    ).stdout
    assert len(re.findall(rf" 200 .*_HLS_msn={msn}&_HLS_part={part}$", told, re.MULTILINE)) == 50


@pytest.mark.parametrize("name", ["playlist.m3u8", r"part-[\w.-]+", r"seg-[\w.-]+"])
def test_h2load_sees_no_failure(secure: Secure, name: str, figures: Callable[[str], None]) -> None:
    need_programs("h2load")
    path = f"{secure.base}/{name}" if name.endswith("m3u8") else secure.newest(name)
    rates = {}
    for protocol, at_once in (("h2", "20"), ("http/1.1", "1")):
        told = subprocess.run(
            [
                *("h2load", "-n", "2000", "-c", "10", "-m", at_once, f"--npn-list={protocol}"),
                f"https://{secure.authority}{path}",
            ],
            check=True,
            capture_output=True,
            text=True,
            timeout=50,
        ).stdout
        assert f"Application protocol: {protocol}" in told
        assert "2000 succeeded, 0 failed, 0 errored, 0 timeout" in told, told
        assert "2000 2xx, 0 3xx, 0 4xx, 0 5xx" in told, told
        rates[protocol] = re.search(r"([\d.]+) req/s", told)
    figures(", ".join(f"{protocol}: {rate[1]} req/s" for protocol, rate in rates.items() if rate))


def test_chromium_plays_over_http2(
    secure: Secure, viewers: Viewers, figures: Callable[[str], None]
) -> None:
    stream_id = secure.base.split("/")[3]
    with viewers.viewer("http2", trusts_anybody=True) as player:
        player.open(f"https://{secure.authority}/watch/{stream_id}")
        played = player.play_for(10)
        used = player.page.evaluate(
            "performance.getEntriesByType('resource').map((entry) => entry.nextHopProtocol)"
        )
    figures(f"{len(used)} requests, {played.summary()}")
    assert len(used) > 50
    assert set(used) == {"h2"}
    assert not played.stalls(), played.stalls()
    assert not played.hls_errors, played.hls_errors
    assert not played.bad_answers, played.bad_answers
    assert median(played.latencies()) <= LATENCY_S


def _shown(secure: Secure) -> str:
    """The certificate that a new connection is shown, as PEM."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, _, port = secure.origin.https.rpartition(":")
    with (
        socket.create_connection((host, int(port)), timeout=5) as connection,
        context.wrap_socket(connection, server_hostname="localhost") as tls,
    ):
        shown = tls.getpeercert(binary_form=True)
        assert shown is not None
        return ssl.DER_cert_to_PEM_cert(shown)


def test_a_renewed_certificate_is_seen_by_new_connections(secure: Secure) -> None:
    """Last, for it changes the certificate."""
    old, new = secure.pair, make_pair()
    with httpx.Client(
        http2=True, verify=old.client(), base_url=f"https://{secure.authority}"
    ) as client:
        assert client.get("/health").http_version == "HTTP/2"
        assert _shown(secure) == old.certificate.decode()
        new.write(secure.folder)
        wait_until(
            lambda: _shown(secure) == new.certificate.decode(),
            timeout_s=10,
            what="a new connection is shown the new certificate",
        )
        assert client.get("/health").status_code == 200  # on the connection it has
    with pytest.raises(httpx.ConnectError, match="certificate verify failed"):
        httpx.get(f"https://{secure.authority}/health", verify=old.client())
    assert secure.origin.child.log_text().count("certificate reloaded") == 1
