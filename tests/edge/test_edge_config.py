"""Settings of an edge: where they come from, and the one line that each mistake gets."""

import os
from pathlib import Path
from typing import Any

import pytest

from edge.config import MAX_UPSTREAMS, MAX_WORKERS, NodeSettings, load_settings
from edge.process.address import Address
from edge.process.errors import ConfigError

NOBODY = "whom to ask is missing: http://HOST:PORT of an origin"
A, B = "http://a.example:8080", "https://b.example"


def load(
    tmp_path: Path, toml: str | None = None, environment: dict[str, str] | None = None, **flags: Any
) -> NodeSettings:
    file = None
    if toml is not None:
        file = tmp_path / "edge.toml"
        file.write_text(toml)
    return load_settings(config_file=file, environment=environment or {}, flags=flags)


def test_only_the_upstream_must_be_given(tmp_path: Path) -> None:
    settings = load(tmp_path, upstream=(A,))
    assert settings == NodeSettings(upstream=(A,))
    assert (settings.http_address, settings.https_address) == (Address("127.0.0.1", 8080), None)
    assert settings.worker_count == min(MAX_WORKERS, len(os.sched_getaffinity(0)))


@pytest.mark.parametrize(
    ("toml", "environment", "flags"),
    [
        (f'upstream = ["{A}", "{B}"]', {}, {}),
        ("", {"HEADRACE_UPSTREAM": f"{A}, {B}"}, {}),
        ("", {}, {"upstream": (A, B)}),
        ('upstream = ["http://c"]', {"HEADRACE_UPSTREAM": "http://d"}, {"upstream": (A, B)}),
    ],
)
def test_several_upstreams_come_from_any_source(
    tmp_path: Path, toml: str, environment: dict[str, str], flags: dict[str, Any]
) -> None:
    assert load(tmp_path, toml, environment, **flags).upstream == (A, B)


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("", "--upstream: whom to ask is missing: http://HOST:PORT of an origin"),
        (
            "upstream = []",
            "{file}: upstream: whom to ask is missing: http://HOST:PORT of an origin",
        ),
        (f'upstream = "{A}"', "{file}: upstream: expected array, got str"),
        (f'upstream = ["{A}", "{A}/"]', "{file}: upstream: an upstream is there twice"),
        (f'rtmp = "{A}"', "{file}: unknown setting 'rtmp'"),
        (f"workers = {MAX_WORKERS + 1}", "{file}: workers: expected int <= 256"),
        ("workers = -1", "{file}: workers: expected int >= 0"),
        ("shed_cpu = 1.5", "{file}: shed_cpu: expected float <= 1.0"),
        ("farewell_s = 301", "{file}: farewell_s: expected float <= 300.0"),
        ('https = "a:1"', "{file}: https: https needs tls_certificate"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, toml: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, toml)
    assert str(caught.value) == message.format(file=tmp_path / "edge.toml")


@pytest.mark.parametrize(
    "url",
    ["a.example:8080", "ftp://a", "http://", "http://a/path", "http://u:p@a", "http://a?b", ""],
)
def test_what_is_no_upstream_is_named(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match=r"^HEADRACE_UPSTREAM: [^\n]*$"):
        load(tmp_path, environment={"HEADRACE_UPSTREAM": url})


def test_upstreams_have_a_bound(tmp_path: Path) -> None:
    urls = tuple(f"http://a{number}" for number in range(MAX_UPSTREAMS + 1))
    assert len(load(tmp_path, upstream=urls[1:]).upstream) == MAX_UPSTREAMS
    with pytest.raises(ConfigError, match="--upstream: expected array of length <= 16"):
        load(tmp_path, upstream=urls)


def test_workers_share_the_bounds_of_the_node() -> None:
    settings = NodeSettings(upstream=(A + "/",), cache_mb=90, max_connections=1000, prefetch=False)
    cache = settings.for_cache(node_id="me", workers=3)
    assert (cache.upstreams, cache.node_id, cache.prefetch) == ((A,), "me", False)
    assert cache.cache_bytes == 30 * 1024 * 1024
    assert settings.for_http(workers=3).max_connections == 334


TOKEN = "edge-token-0123456789"


def test_the_token_is_kept_out_of_what_is_logged(tmp_path: Path) -> None:
    for settings in (
        load(tmp_path, f'upstream = ["{A}"]\nupstream_token = "{TOKEN}"'),
        load(tmp_path, environment={"HEADRACE_UPSTREAM": A, "HEADRACE_UPSTREAM_TOKEN": TOKEN}),
    ):
        cache = settings.for_cache(node_id="me", workers=1)
        assert settings.upstream_token == cache.upstream_token == TOKEN
        assert TOKEN not in repr(settings) + repr(cache)
        assert f"upstream=('{A}',)" in repr(settings)


@pytest.mark.parametrize("token", ["", "short", "with a space in it", "x" * 257, "ünïcode" * 5])
def test_what_is_no_token_is_not_repeated(tmp_path: Path, token: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, f'upstream = ["{A}"]\nupstream_token = "{token}"')
    where = f"{tmp_path / 'edge.toml'}: upstream_token: "
    assert str(caught.value).startswith(f"{where}must be 16 to 256 characters of A-Z")
