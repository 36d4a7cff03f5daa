"""Settings: each source, their order, and the one line that each mistake gets."""

from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.process.address import Address
from edge.process.errors import ConfigError, StartupError
from origin.config import Settings, load_settings
from origin.transcode.rungs import RungOverride, RungSettings


def _load(
    tmp_path: Path, toml: str | None = None, environment: dict[str, str] | None = None, **flags: Any
) -> Settings:
    file = None
    if toml is not None:
        file = tmp_path / "h.toml"
        file.write_text(toml)
    return load_settings(config_file=file, environment=environment or {}, flags=flags)


def test_without_any_source_the_documented_defaults_hold(tmp_path: Path) -> None:
    settings = _load(tmp_path)
    assert settings == Settings()
    assert settings.http_address == Address("127.0.0.1", 8080)
    assert settings.rtmp_address == Address("127.0.0.1", 1935)
    assert settings.data == Path("headrace-data")
    assert (settings.demo, settings.admin_token) == (False, None)
    assert (settings.ladder, settings.encoder) == ("1080p,720p,480p,360p", "libx264")
    assert [rung.name for rung in settings.quality_ladder.rungs] == settings.ladder.split(",")


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    toml = 'http = "a:1"\nrtmp = "a:2"\nladder = "none"\nwindow_segments = 20'
    settings = _load(
        tmp_path, toml, {"HEADRACE_HTTP": "b:1", "HEADRACE_RTMP": "b:2"}, http="c:1", rtmp=None
    )
    assert (settings.http, settings.rtmp, settings.window_segments) == ("c:1", "b:2", 20)


def test_the_environment_may_name_the_file(tmp_path: Path) -> None:
    file = tmp_path / "named.toml"
    file.write_text("demo = true")
    assert load_settings(environment={"HEADRACE_CONFIG": str(file)}).demo
    other = tmp_path / "other.toml"
    other.write_text("")
    assert not load_settings(config_file=other, environment={"HEADRACE_CONFIG": str(file)}).demo


@pytest.mark.parametrize(
    ("toml", "field", "value"),
    [
        ('data = "/var/lib/headrace"', "data", Path("/var/lib/headrace")),
        ("demo = true", "demo", True),
        ('log_format = "json"', "log_format", "json"),
        ("segment_target_s = 4", "segment_target_s", 4.0),
        ("reconnect_grace_s = 0", "reconnect_grace_s", 0.0),
        ("part_target_s = 0.5", "part_target_s", 0.5),
        ('admin_token = "0123456789abcdef"', "admin_token", "0123456789abcdef"),
    ],
)
def test_toml_values_keep_their_types(tmp_path: Path, toml: str, field: str, value: object) -> None:
    assert getattr(_load(tmp_path, toml), field) == value


@pytest.mark.parametrize(
    ("variable", "text", "field", "value"),
    [
        ("HEADRACE_DATA", "/d", "data", Path("/d")),
        ("HEADRACE_DEMO", "true", "demo", True),
        ("HEADRACE_DEMO", "0", "demo", False),
        ("HEADRACE_WINDOW_SEGMENTS", "30", "window_segments", 30),
        ("HEADRACE_DRAIN_TIMEOUT_S", "2.5", "drain_timeout_s", 2.5),
        ("HEADRACE_LOG_LEVEL", "debug", "log_level", "debug"),
        ("HEADRACE_ADMIN_TOKEN", "1234567890123456", "admin_token", "1234567890123456"),
    ],
)
def test_variables_are_text_that_becomes_the_type(
    tmp_path: Path, variable: str, text: str, field: str, value: object
) -> None:
    assert getattr(_load(tmp_path, environment={variable: text}), field) == value


def test_build_switches_and_foreign_variables_are_no_settings(tmp_path: Path) -> None:
    environment = {"HEADRACE_PURE": "1", "HEADRACE_SANITIZE": "x", "HEADRACES": "y", "HTTP": "z"}
    assert _load(tmp_path, environment=environment) == Settings()


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("htpp = 1", "{file}: unknown setting 'htpp'"),
        ("[http]\nport = 1", "{file}: http: expected str, got object"),
        ("[origin]\nhttp = 'a:1'", "{file}: unknown setting 'origin'"),
        ("http = 8080", "{file}: http: expected str, got int"),
        ("demo = 'true'", "{file}: demo: expected bool, got str"),
        ("demo = 1", "{file}: demo: expected bool, got int"),
        ("data = 5", "{file}: data: expected a path"),
        ("data = ''", "{file}: data: expected a path"),
        ('data = "a\\u0000b"', "{file}: data: expected a path"),
        ("window_segments = 5", "{file}: window_segments: expected int >= 6"),
        ("window_segments = 6.5", "{file}: window_segments: expected int, got float"),
        ("window_segments = '6'", "{file}: window_segments: expected int, got str"),
        ("segment_target_s = nan", "{file}: segment_target_s: expected float >= 1.0"),
        ("drain_timeout_s = inf", "{file}: drain_timeout_s: expected float <= 3600.0"),
        ("log_format = 'xml'", "{file}: log_format: invalid enum value 'xml'"),
        ("x = ", "{file}: not TOML: Invalid value (at end of document)"),
        (
            "part_target_s = 1.2",
            "{file}: part_target_s: part_target_s (1.2) must be at most half of"
            " segment_target_s (2)",
        ),
        (
            "part_target_s = 0.6\nsegment_target_s = 1",
            "{file}: part_target_s: part_target_s (0.6) must be at most half of"
            " segment_target_s (1)",
        ),
    ],
)
def test_a_mistake_in_the_file_is_named(tmp_path: Path, toml: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, toml)
    assert str(caught.value) == message.format(file=tmp_path / "h.toml")


def test_https_takes_a_certificate_and_a_key(tmp_path: Path) -> None:
    assert _load(tmp_path).https_address is None
    settings = _load(
        tmp_path,
        'https = "[::]:8443"\ntls_certificate = "/c.pem"',
        {"HEADRACE_TLS_KEY": "/k.pem"},
    )
    assert settings.https_address == Address("::", 8443)
    assert (settings.tls_certificate, settings.tls_key) == (Path("/c.pem"), Path("/k.pem"))


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ('https = "x"', "{file}: https: expected HOST:PORT"),
        ("https = 8443", "{file}: https: expected str | null, got int"),
        ('https = "a:1"', "{file}: https: https needs tls_certificate"),
        (
            'rtmps = ":1936"',
            "{file}: rtmps: the host is missing; 0.0.0.0 or [::] means every interface",
        ),
        ('rtmps = "a:1"', "{file}: rtmps: rtmps needs tls_certificate"),
        ('https = "a:1"\ntls_key = "k"', "{file}: https: https needs tls_certificate"),
        ('tls_certificate = "c"', "{file}: tls_certificate: tls_certificate needs https or rtmps"),
        ('tls_key = "k"', "{file}: tls_key: tls_key needs tls_certificate"),
        ('tls_certificate = ""', "{file}: tls_certificate: expected a path"),
    ],
)
def test_a_mistake_about_tls_is_named(tmp_path: Path, toml: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, toml)
    assert str(caught.value) == message.format(file=tmp_path / "h.toml")


def test_rtmps_has_the_same_certificate(tmp_path: Path) -> None:
    assert _load(tmp_path).rtmps_address is None
    settings = _load(tmp_path, 'tls_certificate = "/c.pem"', rtmps="0.0.0.0:1936")
    assert settings.rtmps_address == Address("0.0.0.0", 1936)
    assert settings.https_address is None


def test_balancers_are_addresses_and_networks(tmp_path: Path) -> None:
    assert _load(tmp_path).rtmp_balancers == []
    networks = [ip_network("192.0.2.7"), ip_network("10.0.0.0/8"), ip_network("2001:db8::/32")]
    toml = 'rtmp_proxy_protocol = ["192.0.2.7", "10.0.0.0/8", "2001:db8::/32"]'
    assert _load(tmp_path, toml).rtmp_balancers == networks
    flag = "192.0.2.7, 10.0.0.0/8,2001:db8::/32"
    assert _load(tmp_path, rtmp_proxy_protocol=flag).rtmp_balancers == networks
    assert _load(tmp_path, toml, {"HEADRACE_RTMP_PROXY_PROTOCOL": ""}).rtmp_balancers == []


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("rtmp_proxy_protocol = true", "{file}: rtmp_proxy_protocol: expected array, got bool"),
        (
            'rtmp_proxy_protocol = ["balancer"]',
            "{file}: rtmp_proxy_protocol: 'balancer' does not appear to be an IPv4 or IPv6 network",
        ),
        (
            'rtmp_proxy_protocol = ["10.0.0.1/8"]',
            "{file}: rtmp_proxy_protocol: 10.0.0.1/8 has host bits set",
        ),
        (
            "max_rtmp_connections_per_address = 0",
            "{file}: max_rtmp_connections_per_address: expected int >= 1",
        ),
    ],
)
def test_a_mistake_about_who_connects_is_named(tmp_path: Path, toml: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, toml)
    assert str(caught.value) == message.format(file=tmp_path / "h.toml")


def test_a_file_that_is_no_utf8_is_named(tmp_path: Path) -> None:
    file = tmp_path / "h.toml"
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match=r"h\.toml: not TOML: [^\n]*$"):
        load_settings(config_file=file, environment={})


@pytest.mark.parametrize(
    ("name", "reason"), [("missing", "No such file or directory"), (".", "Is a directory")]
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=f": {reason}$"):
        load_settings(config_file=tmp_path / name, environment={})


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({"HEADRACE_HTPP": "x"}, "environment: unknown setting 'HEADRACE_HTPP'"),
        ({"HEADRACE_http": "x"}, "environment: unknown setting 'HEADRACE_http'"),
        ({"HEADRACE_": "x"}, "environment: unknown setting 'HEADRACE_'"),
        ({"HEADRACE_DEMO": "maybe"}, "HEADRACE_DEMO: expected bool"),
        ({"HEADRACE_WINDOW_SEGMENTS": "x"}, "HEADRACE_WINDOW_SEGMENTS: expected int"),
        ({"HEADRACE_HTTP": "8080"}, "HEADRACE_HTTP: expected HOST:PORT"),
    ],
)
def test_a_mistake_in_the_environment_is_named(
    tmp_path: Path, environment: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, environment=environment)
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("ladder", "message"),
    [
        ("", "--ladder: no rung is named ''; choose from 1080p, 720p, 480p, 360p, or say \"none\""),
        ("720p,", "--ladder: no rung is named ''; choose"),
        ("None", "--ladder: no rung is named 'None'; choose"),
        ("720p,144p", "--ladder: no rung is named '144p'; choose"),
        ("720p,480p,720p", "--ladder: it names a rung twice"),
    ],
)
def test_a_ladder_that_cannot_be_is_named(tmp_path: Path, ladder: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, ladder=ladder)
    assert str(caught.value).startswith(message)


RUNGS = """
ladder = "small,720p"
encoder = "libx265"
[[rungs]]
name = "720p"
bitrate_kbps = 3000
encoder = "libx264"
[[rungs]]
name = "small"
height = 240
bitrate_kbps = 250
max_fps = 25
preset = "fast"
"""


def test_rungs_are_changed_and_added_by_name(tmp_path: Path) -> None:
    ladder = _load(tmp_path, RUNGS).quality_ladder
    assert ladder.rungs == (
        RungSettings(
            name="720p", height=720, bitrate_kbps=3000, max_fps=60, preset=None, encoder="libx264"
        ),
        RungSettings(
            name="small", height=240, bitrate_kbps=250, max_fps=25, preset="fast", encoder=None
        ),
    )
    assert ladder.encoder == "libx265"
    assert [rung.name for rung in ladder.known] == ["1080p", "720p", "480p", "360p", "small"]


def test_a_variable_holds_rungs_as_json(tmp_path: Path) -> None:
    rungs = '[{"name": "360p", "bitrate_kbps": 600}]'
    settings = _load(tmp_path, RUNGS, {"HEADRACE_RUNGS": rungs}, ladder="360p")
    assert settings.rungs == (RungOverride(name="360p", bitrate_kbps=600),)
    assert [rung.bitrate_kbps for rung in settings.quality_ladder.rungs] == [600]


@pytest.mark.parametrize(
    ("toml", "message"),
    [
        ("rungs = 3", "{file}: rungs: expected array, got int"),
        ('rungs = ["720p"]', "{file}: rungs[0]: expected object, got str"),
        ("[[rungs]]\nheight = 300", "{file}: rungs[0]: object missing required field name"),
        (
            '[[rungs]]\nname = "a"\ntallness = 300',
            "{file}: rungs[0]: object contains unknown field tallness",
        ),
        (
            '[[rungs]]\nname = "360p"\n[[rungs]]\nname = "a"\nheight = 4400\nbitrate_kbps = 100',
            "{file}: rungs[1].height: expected int <= 4320",
        ),
        (
            '[[rungs]]\nname = "360p"\nbitrate_kbps = "500"',
            "{file}: rungs[0].bitrate_kbps: expected int | null, got str",
        ),
        (
            '[[rungs]]\nname = "360p"\nencoder = "x264"',
            "{file}: rungs[0].encoder: invalid enum value 'x264'",
        ),
        ('[[rungs]]\nname = "a"\nheight = 300', "{file}: rungs[0]: a new rung needs bitrate_kbps"),
        (
            '[[rungs]]\nname = "a"\nbitrate_kbps = 300',
            "{file}: rungs[0]: a new rung needs height",
        ),
        (
            '[[rungs]]\nname = "a/b"\nheight = 300\nbitrate_kbps = 300',
            "{file}: rungs[0].name: expected up to 16 characters of a-z 0-9 _ -",
        ),
        (
            '[[rungs]]\nname = "source"\nheight = 300\nbitrate_kbps = 300',
            "{file}: rungs[0].name: 'source' cannot be the name of a rung",
        ),
        (
            '[[rungs]]\nname = "360p"\n[[rungs]]\nname = "360p"',
            "{file}: rungs[1].name: '360p' is there already",
        ),
        (
            '[[rungs]]\nname = "360p"\nheight = 240',
            "{file}: rungs[0].name: '360p' says another height than 240",
        ),
        (
            'encoder = "h264_nvenc"\n[[rungs]]\nname = "360p"\npreset = "veryfast"',
            "{file}: rungs: h264_nvenc has no preset 'veryfast' (rung 360p),"
            " but p7, p6, p5, p4, p3, p2, p1",
        ),
        (
            '[[rungs]]\nname = "360p"\nencoder = "h264_vaapi"\npreset = "fast"',
            "{file}: rungs: h264_vaapi has no preset 'fast' (rung 360p), but none",
        ),
        ("max_gop_s = 0.5", "{file}: max_gop_s: expected float >= 1.0"),
        ("transcode_memory_mb = 100", "{file}: transcode_memory_mb: expected int >= 256"),
        ("transcode_cores = -1", "{file}: transcode_cores: expected float >= 0.0"),
        ('ladder = ["720p"]', "{file}: ladder: expected str, got array"),
    ],
)
def test_a_mistake_about_transcoding_is_named(tmp_path: Path, toml: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, toml)
    assert str(caught.value) == message.format(file=tmp_path / "h.toml")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("720p", "HEADRACE_RUNGS: expected a JSON list of objects"),
        ('"720p"', "HEADRACE_RUNGS: expected array"),
        ('[{"name": "360p", "height": 1}]', "HEADRACE_RUNGS[0].height: expected int >= 64"),
    ],
)
def test_a_mistake_in_the_variable_of_rungs_is_named(
    tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        _load(tmp_path, environment={"HEADRACE_RUNGS": text})
    assert str(caught.value) == message


def test_rungs_have_a_bound(tmp_path: Path) -> None:
    toml = "".join(
        f'[[rungs]]\nname = "r{n}"\nheight = {100 + n}\nbitrate_kbps = 100\n' for n in range(33)
    )
    with pytest.raises(ConfigError, match=r"rungs: expected array of length <= 32$"):
        _load(tmp_path, toml)


def test_presets_are_checked_against_the_encoder_that_won(tmp_path: Path) -> None:
    toml = 'encoder = "h264_nvenc"\n[[rungs]]\nname = "360p"\npreset = "p1"'
    assert _load(tmp_path, toml).quality_ladder.rungs[-1].preset == "p1"
    with pytest.raises(ConfigError, match="rungs: libx264 has no preset 'p1'"):
        _load(tmp_path, toml, encoder="libx264")


def test_only_the_ladder_that_wins_must_fit_the_rungs_that_win(tmp_path: Path) -> None:
    assert _load(tmp_path, 'ladder = "999p"', ladder="720p").ladder == "720p"
    with pytest.raises(ConfigError, match=r"h\.toml: ladder: no rung is named 'small'"):
        _load(tmp_path, RUNGS, {"HEADRACE_RUNGS": "[]"})


def test_a_flag_is_named_as_it_was_typed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^--log-format: invalid enum value 'xml'$"):
        _load(tmp_path, log_format="xml")


def test_a_mistake_is_refused_even_where_a_later_source_would_replace_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="window_segments: expected int >= 6"):
        _load(tmp_path, "window_segments = 1", {"HEADRACE_WINDOW_SEGMENTS": "20"})


@pytest.mark.parametrize("secret", ["tooshort", "with a space in it", "sécret-sécret-sécret"])
def test_a_bad_admin_token_is_not_repeated(tmp_path: Path, secret: str) -> None:
    with pytest.raises(ConfigError, match=r"^HEADRACE_ADMIN_TOKEN: must be 16 to 256") as caught:
        _load(tmp_path, environment={"HEADRACE_ADMIN_TOKEN": secret})
    assert secret not in str(caught.value)


def test_the_admin_token_is_in_no_repr(tmp_path: Path) -> None:
    settings = _load(tmp_path, environment={"HEADRACE_ADMIN_TOKEN": "0123456789abcdef"})
    assert settings.admin_token == "0123456789abcdef"
    assert "0123456789abcdef" not in repr(settings)
    assert repr(Settings()).startswith("Settings(http=")


def test_settings_do_not_change() -> None:
    with pytest.raises(AttributeError):
        Settings().http = "x"  # type: ignore[misc]


def test_a_config_error_refuses_the_start() -> None:
    assert issubclass(ConfigError, StartupError)


@given(
    st.dictionaries(
        st.sampled_from(["http", "data", "demo", "window_segments", "ladder", "rungs"]), st.text()
    )
)
def test_any_environment_gives_settings_or_one_line(values: dict[str, str]) -> None:
    environment = {"HEADRACE_" + name.upper(): text for name, text in values.items()}
    try:
        outcome = repr(load_settings(environment=environment))
    except ConfigError as error:
        outcome = str(error)
    assert len(outcome.splitlines()) == 1
