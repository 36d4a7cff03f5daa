"""``headrace config``: the reference, and the round trip of any settings through a file."""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import config as edge_config
from edge.process.reference import as_toml, settings_as_toml
from origin import config as origin_config
from origin import tool
from origin.tools.config import edge_entries, origin_entries, settings_page
from origin.transcode.rungs import RungOverride

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in [name for name in os.environ if name.startswith("HEADRACE_")]:
        if variable != "HEADRACE_PURE":
            monkeypatch.delenv(variable)


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def run_tool(*arguments: str) -> tuple[int, str, str]:
        code = tool.run(["config", *arguments])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run_tool


def test_the_page_of_settings_is_as_the_code_has_them(run: Run) -> None:
    page = (ROOT / "docs/settings.md").read_text()
    advice = "run: .venv/bin/headrace config reference --all > docs/settings.md"
    assert page == settings_page(), advice
    assert run("reference", "--all") == (0, page, "")


@pytest.mark.parametrize(
    ("arguments", "beginning"),
    [
        ([], "### `http`\n\nWhere viewers and the API are served"),
        (["--edge"], "### `http`\n\nWhere viewers are served"),
        (["--format", "toml"], "# Where viewers and the API are served"),
        (["--edge", "--format", "toml"], "# Where viewers are served"),
    ],
)
def test_the_reference_is_printed(run: Run, arguments: list[str], beginning: str) -> None:
    code, out, err = run("reference", *arguments)
    assert (code, err) == (0, "")
    assert out.startswith(beginning)


def test_the_reference_of_both_has_one_form(run: Run) -> None:
    expected = (2, "", "headrace: --all is Markdown of both programs\n")
    assert run("reference", "--all", "--edge") == expected
    assert run("reference", "--all", "--format", "toml") == expected


def test_flags_are_those_of_the_program() -> None:
    flags = {entry.name: entry.flag for entry in (*origin_entries(), *edge_entries())}
    assert flags["http"] == "--http HOST:PORT"
    assert flags["demo"] == "--demo"
    assert flags["prefetch"] == "--prefetch/--no-prefetch"
    assert flags["window_segments"] is None


@pytest.mark.parametrize(
    ("entries", "load"),
    [(origin_entries, origin_config.load_settings), (edge_entries, edge_config.load_settings)],
)
def test_the_sample_file_uncommented_is_the_defaults(
    tmp_path: Path, entries: Callable[[], Any], load: Callable[..., msgspec.Struct]
) -> None:
    lines = as_toml(entries()).splitlines()
    given = [line[1:] for line in lines if line.startswith("#") and not line.startswith("# ")]
    file = tmp_path / "h.toml"
    file.write_text("\n".join(line for line in given if "# not set" not in line))
    flags = {"upstream": "http://origin:8080"} if entries is edge_entries else {}
    assert load(config_file=file, environment={}, flags=flags) == load(environment={}, flags=flags)


PRINTABLE = st.text(st.characters(exclude_categories=["C"]), min_size=1, max_size=20)

PATHS = PRINTABLE.map(Path)

ADDRESSES = st.builds(
    "{}:{}".format, st.sampled_from(["127.0.0.1", "[::1]", "a.example"]), st.integers(0, 65535)
)

#: Of fields whose type does not say what they may hold. Other texts keep their default.
WORDS: dict[str, st.SearchStrategy[Any]] = {
    "http": ADDRESSES,
    "rtmp": ADDRESSES,
    "https": st.just(None),
    "rtmps": st.just(None),
    "tls_certificate": st.just(None),
    "tls_key": st.just(None),
    "ladder": st.sampled_from(["none", "720p", "1080p,360p"]),
    "rungs": st.lists(
        st.builds(
            RungOverride,
            name=st.sampled_from(["720p", "480p", "360p"]),
            bitrate_kbps=st.integers(50, 100_000),
        ),
        max_size=3,
        unique_by=lambda rung: rung.name,
    ).map(tuple),
    "admin_token": st.none() | st.text("aZ09._~+/-", min_size=16, max_size=30),
    "upstream_token": st.none() | st.just("0123456789abcdef"),
    "rtmp_proxy_protocol": st.lists(st.ip_addresses().map(str), max_size=3).map(tuple),
    "upstream": st.lists(st.integers(1, 65535), min_size=1, max_size=3, unique=True).map(
        lambda ports: tuple(f"http://origin:{port}" for port in ports)
    ),
    "chat_webhook_secret": st.none() | PRINTABLE,
    "publish_webhook_secret": st.none() | PRINTABLE,
    "segment_target_s": st.floats(4, 10),
}


def _values_of(kind: msgspec.inspect.Type, default: Any) -> st.SearchStrategy[Any]:
    match kind:
        case msgspec.inspect.Metadata(type=inner):
            return _values_of(inner, default)
        case msgspec.inspect.UnionType(types=types):
            return st.one_of([_values_of(one, default) for one in types])
        case msgspec.inspect.LiteralType(values=values):
            return st.sampled_from(values)
        case msgspec.inspect.BoolType():
            return st.booleans()
        case msgspec.inspect.IntType(ge=low, le=high):
            return st.integers(low, high)
        case msgspec.inspect.FloatType(ge=low, le=high):
            return st.floats(low, high)
        case msgspec.inspect.CustomType(cls=cls) if issubclass(cls, Path):
            return PATHS
        case msgspec.inspect.NoneType():
            return st.none()
    return st.just(default)


def _any(kind: type[msgspec.Struct]) -> st.SearchStrategy[Any]:
    return st.builds(
        kind,
        **{
            field.name: WORDS[field.name]
            if field.name in WORDS
            else _values_of(msgspec.inspect.type_info(field.type), field.default)
            for field in msgspec.structs.fields(kind)
        },
    )


@pytest.mark.parametrize(
    ("kind", "load"),
    [
        (origin_config.Settings, origin_config.load_settings),
        (edge_config.NodeSettings, edge_config.load_settings),
    ],
)
@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_settings_survive_a_file(
    kind: type[msgspec.Struct], load: Callable[..., msgspec.Struct], data: st.DataObject
) -> None:
    wanted = data.draw(_any(kind))
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "h.toml"
        file.write_text(settings_as_toml(wanted))
        assert load(config_file=file, environment={}) == wanted
