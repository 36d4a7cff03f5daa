"""The command: its exit codes, and the one line that a refused start prints."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import trio

from control import SqliteStore, StreamStatus
from edge.process.errors import StartupError
from origin import cli
from origin.config import Settings

KEY = "live_0123456789abcdef0123456789abcdef"

pytestmark = pytest.mark.usefixtures("logging_restored")


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("HEADRACE_")]:
        if variable != "HEADRACE_PURE":
            monkeypatch.delenv(variable)


@pytest.fixture
def app(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[Settings], Awaitable[None]]], None]:
    """Put a coroutine function in the place of `origin.app.run`."""

    def install(run: Callable[[Settings], Awaitable[None]]) -> None:
        monkeypatch.setattr(cli, "app", SimpleNamespace(run=run))

    return install


AppInstaller = Callable[[Callable[[Settings], Awaitable[None]]], None]


def _raises(error: BaseException) -> Callable[[Settings], Awaitable[None]]:
    async def run(_settings: Settings, *_: object) -> None:
        await trio.lowlevel.checkpoint()
        raise error

    return run


def test_flags_reach_the_app_as_settings(app: AppInstaller, tmp_path: Path) -> None:
    seen: list[Settings] = []

    async def run(settings: Settings, *_: object) -> None:
        await trio.lowlevel.checkpoint()
        seen.append(settings)

    app(run)
    config = tmp_path / "h.toml"
    config.write_text("window_segments = 9")
    arguments = [
        *("--config", str(config), "--http", "[::1]:0", "--rtmp", "localhost:0"),
        *("--https", "[::]:0", "--tls-certificate", "c.pem", "--tls-key", "k.pem"),
        *("--rtmps", "[::]:1936", "--rtmp-proxy-protocol", "192.0.2.7,10.0.0.0/8"),
        *("--data", str(tmp_path), "--ladder", "720p,360p", "--encoder", "auto"),
        *("--demo", "--log-format", "json", "--reconnect-grace-s", "7.5"),
    ]
    assert cli.run(arguments) == 0
    assert seen == [
        Settings(
            http="[::1]:0",
            https="[::]:0",
            tls_certificate=Path("c.pem"),
            tls_key=Path("k.pem"),
            rtmps="[::]:1936",
            rtmp_proxy_protocol=("192.0.2.7", "10.0.0.0/8"),
            rtmp="localhost:0",
            data=tmp_path,
            ladder="720p,360p",
            encoder="auto",
            demo=True,
            log_format="json",
            reconnect_grace_s=7.5,
            window_segments=9,
        )
    ]


def test_a_reload_reads_the_file_again_and_keeps_the_flags(
    app: AppInstaller, tmp_path: Path
) -> None:
    file = tmp_path / "h.toml"
    file.write_text("stale_s = 1\nmax_height = 100")
    seen: list[tuple[Settings, object]] = []

    async def run(settings: Settings, sources: object, load: Callable[[], object]) -> None:
        await trio.lowlevel.checkpoint()
        seen.append((settings, sources))
        file.write_text("stale_s = 3\nladder = 'none'")
        seen.append(load())  # type: ignore[arg-type]

    app(run)  # type: ignore[arg-type]
    assert cli.run(["--config", str(file), "--ladder", "720p"]) == 0
    sources = {"stale_s": f"{file}: stale_s", "ladder": "--ladder"}
    assert seen == [
        (
            Settings(stale_s=1, max_height=100, ladder="720p"),
            sources | {"max_height": f"{file}: max_height"},
        ),
        (Settings(stale_s=3, ladder="720p"), sources),
    ]


def test_without_flags_the_defaults_hold(app: AppInstaller) -> None:
    seen: list[Settings] = []

    async def run(settings: Settings, *_: object) -> None:
        await trio.lowlevel.checkpoint()
        seen.append(settings)

    app(run)
    assert cli.run([]) == 0
    assert seen == [Settings()]


@pytest.mark.parametrize("flag", ["-h", "--help", "--version"])
def test_help_and_version_answer_and_run_nothing(
    flag: str, app: AppInstaller, capsys: pytest.CaptureFixture[str]
) -> None:
    app(_raises(ZeroDivisionError()))
    assert cli.run([flag]) == 0
    captured = capsys.readouterr()
    assert "headrace-origin" in captured.out
    assert captured.err == ""


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["--http", "x"], "--http: expected HOST:PORT"),
        (["--https", "localhost:0"], "--https: https needs tls_certificate"),
        (["--rtmp", "::1:1935"], "--rtmp: an IPv6 address goes in brackets: [::1]:8080"),
        (
            ["--ladder", "720"],
            "--ladder: no rung is named '720'; choose from 1080p, 720p, 480p, 360p,"
            ' or say "none"',
        ),
        (["--encoder", "x264"], "--encoder: invalid enum value 'x264'"),
        (["--log-format", "xml"], "--log-format: invalid enum value 'xml'"),
        (["--config", "/nonexistent.toml"], "/nonexistent.toml: No such file or directory"),
        (["extra"], "Got unexpected extra argument (extra)"),
        (["--http"], "Option '--http' requires an argument."),
        (["--http", KEY], "--http: expected HOST:PORT"),
        ([KEY], "Got unexpected extra argument (live_[redacted])"),
        (["a\nb\x1b[31m"], "Got unexpected extra argument (a b?[31m)"),
    ],
)
def test_a_bad_setting_is_one_line_and_exit_code_2(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == f"headrace-origin: {line}\n"


def test_a_mistyped_flag_is_one_line_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--htpp", "x"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("headrace-origin: No such option")
    assert "--htpp" in error
    assert error.count("\n") == 1


def test_a_bad_variable_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HEADRACE_HTTP", "nowhere")
    assert cli.run([]) == 2
    assert capsys.readouterr().err == "headrace-origin: HEADRACE_HTTP: expected HOST:PORT\n"


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (StartupError("port taken"), "port taken"),
        (ExceptionGroup("", [ExceptionGroup("", [StartupError("port taken")])]), "port taken"),
        (ExceptionGroup("", [StartupError("a"), StartupError("b"), StartupError("a")]), "a; b"),
        (StartupError(f"two\nlines {KEY}"), "two lines live_[redacted]"),
    ],
)
def test_a_refused_start_is_one_line_and_exit_code_2(
    error: BaseException, line: str, app: AppInstaller, capsys: pytest.CaptureFixture[str]
) -> None:
    app(_raises(error))
    assert cli.run([]) == 2
    assert capsys.readouterr().err == f"headrace-origin: {line}\n"


@pytest.mark.parametrize(
    "error",
    [
        ZeroDivisionError(KEY),
        ExceptionGroup("", [StartupError("port taken"), ZeroDivisionError(KEY)]),
        BaseExceptionGroup("", [KeyboardInterrupt(), ZeroDivisionError(KEY)]),
    ],
)
def test_a_bug_is_logged_with_its_traceback_and_no_key(
    error: BaseException, app: AppInstaller, capsys: pytest.CaptureFixture[str]
) -> None:
    app(_raises(error))
    assert cli.run([]) == 1
    logged = capsys.readouterr().err
    assert "critical crashed" in logged
    assert "ZeroDivisionError: live_[redacted]" in logged
    assert KEY not in logged


@pytest.mark.parametrize(
    "error", [KeyboardInterrupt(), BaseExceptionGroup("", [KeyboardInterrupt()])]
)
def test_an_early_interrupt_is_quiet(
    error: BaseException, app: AppInstaller, capsys: pytest.CaptureFixture[str]
) -> None:
    app(_raises(error))
    assert cli.run([]) == 130
    assert capsys.readouterr().err == ""


def test_main_leaves_with_the_exit_code(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["headrace-origin", "--http", "x"])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2


async def _origin(*arguments: str) -> tuple[int, str]:
    """Run the real command to its end."""
    command = [sys.executable, "-m", "origin", *arguments]
    with trio.fail_after(30):
        done = await trio.run_process(
            command, check=False, capture_stdout=True, capture_stderr=True
        )
    return done.returncode, done.stderr.decode()


@pytest.mark.slow
async def test_the_real_command_refuses_a_bad_setting() -> None:
    code, error = await _origin("--http", "x")
    assert (code, error) == (2, "headrace-origin: --http: expected HOST:PORT\n")


@pytest.mark.slow
@pytest.mark.parametrize("flag", ["--http", "--rtmp"])
async def test_the_real_command_refuses_a_taken_port(flag: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        others = {"--http": "127.0.0.1:0", "--rtmp": "127.0.0.1:0", "--data": str(tmp_path)}
        code, error = await _origin(
            *(x for pair in (others | {flag: address}).items() for x in pair)
        )
    assert code == 2
    assert error.startswith("headrace-origin: ")
    assert address in error
    assert "Address already in use" in error
    assert error.count("\n") == 1


@pytest.mark.slow
async def test_the_real_command_refuses_a_bad_certificate(tmp_path: Path) -> None:
    file = tmp_path / "c.pem"
    file.write_text("no certificate")
    code, error = await _origin(
        *("--http", "127.0.0.1:0", "--rtmp", "127.0.0.1:0", "--data", str(tmp_path / "data")),
        *("--https", "127.0.0.1:0", "--tls-certificate", str(file)),
    )
    assert code == 2
    reason = f"{file}: it or the key in {file} is not PEM"
    assert error == f"headrace-origin: tls_certificate: {reason}\n"


@pytest.mark.slow
async def test_a_refusal_after_a_crash_is_one_line_too(tmp_path: Path) -> None:
    async with await SqliteStore.open(tmp_path / "headrace.sqlite3") as store:
        stream, _key = await store.create_stream(broadcaster_id="x", title="x")
        await store.set_status(stream.id, StreamStatus.LIVE, 1.0)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, error = await _origin("--http", address, "--data", str(tmp_path))
    assert code == 2
    assert error.count("\n") == 1


@pytest.mark.slow
async def test_the_real_command_refuses_an_unusable_data_folder(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    listeners = ("--http", "127.0.0.1:0", "--rtmp", "127.0.0.1:0")
    code, error = await _origin(*listeners, "--data", str(tmp_path / "data"))
    assert code == 2
    assert error.startswith(f"headrace-origin: {tmp_path / 'data'}")
    assert error.count("\n") == 1


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_the_real_command_leaves_with_0_after_a_signal(
    number: signal.Signals, tmp_path: Path
) -> None:
    command = [
        *(sys.executable, "-m", "origin", "--http", "127.0.0.1:0", "--rtmp", "127.0.0.1:0"),
        *("--data", str(tmp_path / "data"), "--ladder", "none", "--log-format", "json"),
    ]
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(_start, command)
            assert process.stderr is not None
            logged = b""
            async for chunk in process.stderr:
                logged += chunk
                if b'"listening"' in logged:
                    process.send_signal(number)
                    break
            async for chunk in process.stderr:
                logged += chunk
    assert process.returncode == 0
    assert b"Traceback" not in logged


async def _start(
    command: list[str], *, task_status: trio.TaskStatus[trio.Process] = trio.TASK_STATUS_IGNORED
) -> None:
    await trio.run_process(
        command,
        check=False,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        task_status=task_status,
    )
