"""The command: flags, exit codes, and the one line that a refused start prints."""

import logging
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog
import trio

from edge import cli
from edge.config import NodeSettings
from edge.process.errors import StartupError

UPSTREAM = "http://origin.example:8080"
TWICE = "--upstream: an upstream is there twice"

pytestmark = pytest.mark.usefixtures("logging_restored")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("HEADRACE_")]:
        if variable != "HEADRACE_PURE":
            monkeypatch.delenv(variable)


Run = tuple[NodeSettings, Callable[[], NodeSettings]]


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[Run]:
    """What `edge.workers.run` was called with, which does nothing."""
    seen: list[Run] = []

    async def run(settings: NodeSettings, reload: Callable[[], NodeSettings]) -> None:
        await trio.lowlevel.checkpoint()
        seen.append((settings, reload))

    monkeypatch.setattr(cli, "workers", SimpleNamespace(run=run))
    return seen


def test_flags_become_settings(runs: list[Run]) -> None:
    arguments = [
        *("--http", "[::1]:0", "--https", "[::]:0", "--tls-certificate", "c.pem"),
        *("--tls-key", "k.pem", "--upstream", UPSTREAM, "--upstream", "https://b"),
        *("--workers", "3", "--cache-mb", "64", "--max-connections", "100", "--no-prefetch"),
        *("--log-format", "json"),
    ]
    assert cli.run(arguments) == 0
    assert runs[0][0] == NodeSettings(
        http="[::1]:0",
        https="[::]:0",
        tls_certificate=Path("c.pem"),
        tls_key=Path("k.pem"),
        upstream=(UPSTREAM, "https://b"),
        workers=3,
        cache_mb=64,
        max_connections=100,
        prefetch=False,
        log_format="json",
    )


def test_a_reload_reads_the_file_again_and_keeps_the_flags(runs: list[Run], tmp_path: Path) -> None:
    file = tmp_path / "edge.toml"
    file.write_text("cache_mb = 100\nworkers = 1")
    assert cli.run(["--config", str(file), "--upstream", UPSTREAM, "--workers", "2"]) == 0
    settings, reload = runs[0]
    assert (settings.cache_mb, settings.workers) == (100, 2)
    assert structlog.get_logger().is_enabled_for(logging.INFO)
    file.write_text("cache_mb = 200\nworkers = 1\nlog_level = 'error'")
    settings = reload()
    assert not structlog.get_logger().is_enabled_for(logging.INFO)
    assert settings == NodeSettings(
        upstream=(UPSTREAM,), cache_mb=200, workers=2, log_level="error"
    )


@pytest.mark.parametrize("flag", ["-h", "--help", "--version"])
def test_help_and_version_answer_and_run_nothing(
    flag: str, runs: list[Run], capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run([flag]) == 0
    captured = capsys.readouterr()
    assert "headrace-edge" in captured.out
    assert (captured.err, runs) == ("", [])


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "--upstream: whom to ask is missing: http://HOST:PORT of an origin"),
        (["--upstream", UPSTREAM, "--http", "x"], "--http: expected HOST:PORT"),
        (["--upstream", UPSTREAM, "--workers", "many"], "--workers: expected int"),
        (["--upstream", UPSTREAM, "--workers", "257"], "--workers: expected int <= 256"),
        (
            ["--upstream", UPSTREAM, "--upstream", UPSTREAM],
            "--upstream: an upstream is there twice",
        ),
        (["--upstream"], "Option '--upstream' requires an argument."),
        (["extra"], "Got unexpected extra argument (extra)"),
    ],
)
def test_a_bad_setting_is_one_line_and_exit_code_2(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str], runs: list[Run]
) -> None:
    assert cli.run(arguments) == 2
    assert capsys.readouterr() == ("", f"headrace-edge: {line}\n")
    assert runs == []


def test_a_refused_start_is_one_line_however_many_workers_refuse(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def run(*_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise ExceptionGroup("", [StartupError("port taken"), StartupError("port taken")])

    monkeypatch.setattr(cli, "workers", SimpleNamespace(run=run))
    assert cli.run(["--upstream", UPSTREAM]) == 2
    assert capsys.readouterr().err == "headrace-edge: port taken\n"


async def _edge(*arguments: str) -> tuple[int, str]:
    """Run the real command to its end."""
    with trio.fail_after(30):
        done = await trio.run_process(
            [sys.executable, "-m", "edge", *arguments],
            check=False,
            stdout=subprocess.DEVNULL,
            capture_stderr=True,
        )
    return done.returncode, done.stderr.decode()


@pytest.mark.slow
async def test_the_real_command_refuses_a_taken_port() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, error = await _edge("--http", address, "--upstream", UPSTREAM)
    reason = f"cannot listen for HTTP on {address}: Address already in use"
    assert (code, error) == (2, f"headrace-edge: {reason}\n")


@pytest.mark.slow
async def test_the_real_command_refuses_a_bad_certificate(tmp_path: Path) -> None:
    """Which only its workers read."""
    file = tmp_path / "c.pem"
    file.write_text("no certificate")
    code, error = await _edge(
        *("--http", "127.0.0.1:0", "--https", "127.0.0.1:0", "--upstream", UPSTREAM),
        *("--tls-certificate", str(file), "--workers", "2"),
    )
    reason = f"{file}: it or the key in {file} is not PEM"
    assert (code, error) == (2, f"headrace-edge: tls_certificate: {reason}\n")
