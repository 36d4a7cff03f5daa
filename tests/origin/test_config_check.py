"""``headrace config check`` and ``show``: each problem in one line with its source, no secret."""

import json
import os
import socket
from collections.abc import Callable
from pathlib import Path

import pytest
from certificates import make_pair
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from origin import config_check, tool
from origin.transcode.capacity import Costs, EncodeCost
from origin.transcode.machine import usable_cores
from origin.transcode.measure import MeasureError, Speed, fingerprint, needed_pairs
from origin.transcode.rungs import Ladder

TOKEN = "0123456789abcdef"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("HEADRACE_")]:
        if variable != "HEADRACE_PURE":
            monkeypatch.delenv(variable)


@pytest.fixture
def allow_files(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Say how many files a process may have; any number, until it is called."""

    def allow(most: int) -> None:
        monkeypatch.setattr(config_check, "file_limit", lambda: most)

    allow(10**9)
    return allow


Check = Callable[..., tuple[int, list[str]]]


@pytest.fixture
def check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], allow_files: Callable[[int], None]
) -> Check:
    """Check a file, whose name and folder are cut out of the lines."""

    def run(toml: str = "", *arguments: str, mode: int = 0o600) -> tuple[int, list[str]]:
        file = tmp_path / "h.toml"
        if "--edge" not in arguments and "ladder" not in toml:
            toml = 'ladder = "none"\n' + toml
        if "--edge" not in arguments and "data" not in toml:
            toml = f'data = "{tmp_path / "data"}"\n' + toml
        file.write_text(toml)
        file.chmod(mode)
        code = tool.run(["config", "check", "--config", str(file), *arguments])
        captured = capsys.readouterr()
        assert captured.err == ""
        return code, captured.out.replace(f"{tmp_path}/", "").splitlines()

    return run


OK = "ok: the server would start"


def test_defaults_are_fine_and_nothing_is_made(check: Check, tmp_path: Path) -> None:
    assert check() == (0, [OK])
    assert [path.name for path in tmp_path.iterdir()] == ["h.toml"]


def test_every_mistake_is_told_not_only_the_first(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_HTPP", "x")
    code, lines = check('colour = "red"\nwindow_segments = 1\ndemo = "x"\nhttp = "x"')
    assert code == 2
    assert lines == [
        "error: h.toml: unknown setting 'colour'",
        "error: environment: unknown setting 'HEADRACE_HTPP'",
        "error: h.toml: window_segments: expected int >= 6",
        "error: h.toml: demo: expected bool, got str",
        "error: h.toml: http: expected HOST:PORT",
    ]


def test_all_that_does_not_fit_together_is_told(check: Check) -> None:
    code, lines = check('ladder = "1p"\nhttps = "127.0.0.1:0"\npart_target_s = 1.5')
    assert code == 2
    assert [line.split(": ")[2] for line in lines] == ["ladder", "https", "part_target_s"]


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        (
            'tls_certificate = "/no.pem"\nhttps = "127.0.0.1:0"',
            "error: h.toml: tls_certificate: /no.pem: No such file or directory",
        ),
        (
            'chat_public_key = "/no.pem"',
            "error: h.toml: chat_public_key: /no.pem: No such file or directory",
        ),
        (
            'playback_public_keys = ["/no.pem"]',
            "error: h.toml: playback_public_keys: /no.pem: No such file or directory",
        ),
        (
            'slate = "/no.png"',
            "error: h.toml: slate: /no.png is neither a picture nor a clip:"
            " No such file or directory",
        ),
        ('data = "/dev/null/data"', "error: h.toml: data: /dev/null: not a folder"),
    ],
)
def test_what_would_refuse_the_start_is_an_error(check: Check, toml: str, line: str) -> None:
    code, lines = check(toml)
    assert (code, lines) == (2, [line])


def test_a_folder_that_is_not_ours_is_an_error(
    check: Check, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    forbidden = [tmp_path]
    monkeypatch.setattr(os, "access", lambda path, _mode: path not in forbidden)
    data = tmp_path / "data"
    line = f"error: h.toml: data: {tmp_path}: not writable by this user"
    assert check() == (2, [line])
    data.mkdir()
    assert check() == (0, [OK])
    (data / "headrace.sqlite3").touch()
    forbidden.append(data / "headrace.sqlite3")
    line = "error: h.toml: data: data/headrace.sqlite3: not writable by this user"
    assert check() == (2, [line])


def test_a_key_of_another_certificate_is_an_error(check: Check, tmp_path: Path) -> None:
    one, other = make_pair(), make_pair()
    files = {"c.pem": one.certificate, "own.pem": one.key, "other.pem": other.key}
    for name, text in files.items():
        (tmp_path / name).write_bytes(text)
        (tmp_path / name).chmod(0o644 if name == "other.pem" else 0o600)
    tls = f'https = "127.0.0.1:0"\ntls_certificate = "{tmp_path}/c.pem"\ntls_key = "{{}}"'
    assert check(tls.format(tmp_path / "own.pem")) == (0, [OK])
    assert check(tls.format(tmp_path / "other.pem")) == (
        2,
        [
            "error: h.toml: tls_certificate: c.pem: the key in other.pem is not its own",
            "warning: h.toml: tls_key: other.pem: everybody on this machine may read the key",
        ],
    )


def test_a_public_key_is_read(check: Check, tmp_path: Path) -> None:
    file = tmp_path / "k.pem"
    toml = f'chat_public_key = "{file}"'
    public = Ed25519PrivateKey.generate().public_key()
    file.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert check(toml) == (0, [OK])
    file.write_text("no key")
    code, lines = check(toml)
    assert code == 2
    assert lines[0].startswith("error: h.toml: chat_public_key: ")


def test_a_token_that_others_may_read_is_an_error(check: Check, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "admin-token").write_text(TOKEN)
    (data / "admin-token").chmod(0o644)
    code, lines = check()
    assert (code, len(lines)) == (2, 1)
    assert lines[0].startswith("error: h.toml: data: data/admin-token: ")
    assert TOKEN not in lines[0]


@pytest.mark.parametrize(
    ("toml", "line"),
    [
        (
            'http = "0.0.0.0:8080"',
            "h.toml: http: 0.0.0.0:8080 is served without TLS: everybody between reads credentials;"
            " set https, or listen on 127.0.0.1 behind a proxy with TLS",
        ),
        (
            'rtmp = "[::]:1935"',
            "h.toml: rtmp: [::]:1935 is served without TLS: stream keys can be read; set rtmps",
        ),
        (
            "part_target_s = 1",
            "h.toml: part_target_s: viewers stay three parts back: 3 s and more behind",
        ),
        (
            "part_target_s = 0.3",
            "h.toml: part_target_s: 2 s are no whole number of parts of 0.3 s: each segment ends"
            " with a short one",
        ),
        (
            'chat_webhook = "http://127.0.0.1/x"',
            "h.toml: chat_webhook: it cannot tell who asks without chat_webhook_secret",
        ),
        (
            'publish_webhook = "http://127.0.0.1/x"',
            "h.toml: publish_webhook: it cannot tell who asks without publish_webhook_secret",
        ),
    ],
)
def test_what_is_odd_is_a_warning(check: Check, toml: str, line: str) -> None:
    assert check(toml) == (0, [f"warning: {line}", OK])


def test_a_secret_in_a_file_for_everybody_is_a_warning(check: Check) -> None:
    toml = f'admin_token = "{TOKEN}"'
    line = "warning: h.toml: admin_token: a secret in a file that everybody on this machine reads"
    assert check(toml, mode=0o644) == (0, [line, OK])
    assert check(toml) == (0, [OK])


def test_more_connections_than_descriptors_are_a_warning(
    check: Check, allow_files: Callable[[int], None]
) -> None:
    allow_files(100)
    code, lines = check()
    assert code == 0
    assert lines[0].startswith("warning: max_http_connections: ")
    assert lines[0].endswith("connections, the system 100 files a process (ulimit -Hn)")
    assert len(lines) == 2


def test_a_taken_port_is_an_error_if_one_asks(check: Check) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        toml = f'http = "127.0.0.1:0"\nrtmp = "127.0.0.1:{port}"'
        assert check(toml) == (0, [OK])
        line = f"error: h.toml: rtmp: cannot listen for RTMP on 127.0.0.1:{port}:"
        assert check(toml, "--ports") == (2, [f"{line} Address already in use"])
    assert check(toml, "--ports") == (0, [OK])


@pytest.mark.parametrize("fails", [False, True])
def test_an_encoder_is_tried(check: Check, monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    async def measure(ladder: Ladder) -> Speed:
        if fails:
            raise MeasureError("it crashed")
        pairs = needed_pairs(ladder)
        broken = {name: "no device" for name, _ in pairs if name == "h264_nvenc"}
        costs = Costs(
            decode_s=0.005,
            scale_s=0.001,
            encode=tuple(EncodeCost(*pair, 0.02) for pair in pairs if pair[0] not in broken),
            broken=broken,
        )
        return Speed(fingerprint=fingerprint(), auto=None, costs=costs)

    monkeypatch.setattr(config_check, "measure", measure)
    code, lines = check('ladder = "720p"\nencoder = "h264_nvenc"')
    reason = (
        "ladder: encoding cannot be tried: it crashed"
        if fails
        else "encoder: h264_nvenc does not work: no device"
    )
    assert (code, lines) == (2, [f"error: h.toml: {reason}"])


def test_an_edge_is_checked_too(check: Check) -> None:
    code, lines = check("cache_mb = 64", "--edge")
    missing = "error: --upstream: whom to ask is missing: http://HOST:PORT of an origin"
    assert (code, lines) == (2, [missing])
    code, lines = check('upstream = ["http://127.0.0.1:1"]', "--edge", "--ports")
    assert code == 0
    assert lines[0].startswith("warning: upstream_token: not set: bare players are not counted")
    toml = f'upstream = ["http://a.example", "https://b.example"]\nupstream_token = "{TOKEN}"'
    assert check(toml + "\nworkers = 256", "--edge")[1] == [
        "warning: h.toml: upstream: http://a.example: upstream_token is sent in clear",
        f"warning: h.toml: workers: 256 on {usable_cores():g} cores: more are no faster",
        OK,
    ]


def test_what_is_in_force_is_shown_with_its_sources(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "h.toml"
    rungs = '[{ name = "360p", bitrate_kbps = 600 }]'
    file.write_text(
        f'admin_token = "{TOKEN}"\nladder = "720p"\nslate = "/a b.png"\nrungs = {rungs}'
    )
    monkeypatch.setenv("HEADRACE_LADDER", "none")
    assert tool.run(["config", "show", "--config", str(file)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert TOKEN not in "".join(lines)
    pairs = dict(line.split("  #") for line in lines)
    shown = {left.strip(): source.strip() for left, source in pairs.items()}
    assert shown['admin_token = "(hidden)"'] == f"{file}: admin_token"
    assert shown['ladder = "none"'] == "HEADRACE_LADDER"
    assert shown['slate = "/a b.png"'] == f"{file}: slate"
    assert shown[f"rungs = {rungs}"] == f"{file}: rungs"
    assert shown["window_segments = 15"] == "default"
    assert shown["# https is not set"] == "default"

    monkeypatch.setenv("HEADRACE_CONFIG", str(file))
    assert tool.run(["config", "show", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert rows["ladder"] == {"value": "none", "source": "HEADRACE_LADDER"}
    assert rows["admin_token"]["value"] == "(hidden)"


def test_what_is_wrong_is_not_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "h.toml"
    file.write_text("demo = 3")
    assert tool.run(["config", "show", "--config", str(file)]) == 2
    assert capsys.readouterr() == ("", f"headrace: {file}: demo: expected bool, got int\n")
