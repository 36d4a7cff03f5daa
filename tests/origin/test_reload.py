"""A reload: what is live changes, the rest waits for a restart, and a mistake changes nothing."""

import os
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
import rtmp_publishers as wire
import structlog
import trio
from certificates import make_pair
from hypothesis import given
from hypothesis import strategies as st
from media_clips import ClipSpec, make_clip
from structlog.testing import capture_logs

from edge.process.errors import ConfigError
from edge.process.settings import gather
from origin import app
from origin.config import PLAN, Settings
from origin.reload import LIVE_NAMES, Commit, Outcome, Part, Reloading, part
from origin.rtmp.client import Publisher, PublisherError, PublishRefusedError, open_publisher

TOKEN = "0123456789abcdef"


# -- the mechanism


class Rig:
    """Settings whose next values a test chooses, and what the parts were told."""

    def __init__(self, **settings: Any) -> None:
        self.next = Settings(**settings)
        self.told: list[tuple[str, Settings]] = []
        self.refuses = ""
        self.prepare_fails = False
        self.reloading = Reloading(self.next, {"http": "a: http"}, self._load)
        self.reloading.tell(
            [
                Part(frozenset({"log_level"}), partial(self._prepare, "log")),
                Part(frozenset({"stale_s", "max_height"}), partial(self._prepare, "ingest")),
                Part(frozenset(), partial(self._prepare, "always"), always=True),
                part(*LIVE_NAMES - {"log_level", "stale_s"}, apply=lambda _new: None),
            ]
        )

    def _load(self) -> tuple[Settings, dict[str, str]]:
        return self.next, {"stale_s": "b: stale_s"}

    def _prepare(self, who: str, settings: Settings) -> Commit:
        if self.prepare_fails:
            raise ZeroDivisionError
        if who == self.refuses:
            raise ConfigError(f"{who} refuses")
        return lambda: self.told.append((who, settings))

    def reload(self, **changes: Any) -> Outcome:
        self.next = msgspec.structs.replace(self.next, **changes)
        return self.reloading.reload()


def test_only_whom_it_concerns_is_told() -> None:
    rig = Rig()
    assert rig.reload() == Outcome((), ())
    assert [who for who, _ in rig.told] == ["always"]
    rig.told.clear()
    outcome = rig.reload(stale_s=3.0)
    assert [(one.name, one.before, one.after) for one in outcome.changed] == [("stale_s", 2.0, 3.0)]
    assert [(who, new.stale_s) for who, new in rig.told] == [("ingest", 3.0), ("always", 3.0)]
    assert rig.reloading.settings.stale_s == 3.0
    assert rig.reloading.sources == {"stale_s": "b: stale_s"}


def test_what_is_not_live_waits_and_the_rest_is_taken() -> None:
    rig = Rig()
    outcome = rig.reload(http="127.0.0.1:1", log_level="error")
    assert [one.name for one in outcome.changed] == ["log_level"]
    assert outcome.needs_restart == ("http",)
    assert list(rig.reloading.needs_restart) == ["http"]
    assert rig.reloading.settings == Settings(log_level="error")
    assert rig.reloading.sources == {"stale_s": "b: stale_s", "http": "a: http"}
    assert rig.reload(http=Settings().http) == Outcome((), ())
    assert list(rig.reloading.needs_restart) == []


def test_whoever_refuses_refuses_for_all() -> None:
    rig = Rig()
    rig.refuses = "ingest"
    with pytest.raises(ConfigError, match=r"^ingest refuses$"):
        rig.reload(log_level="error", max_height=720)
    assert (rig.told, rig.reloading.settings, rig.reloading.needs_restart) == ([], Settings(), ())
    rig.refuses = ""
    rig.reload()
    assert [who for who, _ in rig.told] == ["log", "ingest", "always"]


def test_a_bug_in_a_part_does_not_end_the_process() -> None:
    rig = Rig()
    rig.prepare_fails = True
    with capture_logs() as logs:
        rig.reloading.reload_and_log()
        rig.prepare_fails = False
        rig.reloading.reload_and_log()
    assert [line["event"] for line in logs] == ["reload failed", "configuration taken"]


def test_what_stays_and_what_is_new_must_fit_together() -> None:
    """The file is right as a whole; with what a restart would change it is not yet."""
    rig = Rig(tls_certificate=Path("c"), tls_key=Path("k"), https="127.0.0.1:0")
    outcome = rig.reload(tls_certificate=None, tls_key=None, https=None)
    assert outcome == Outcome((), ("https", "tls_certificate", "tls_key"))
    assert rig.reloading.settings.tls_certificate == Path("c")


CHANGES: dict[str, list[Any]] = {
    "log_level": ["error", "debug"],
    "stale_s": [1.0, 3.0],
    "max_height": [720, 1080],
    "health_min_fps": [0.0, 30.0],
    "http": ["127.0.0.1:1", "127.0.0.1:2"],
    "window_segments": [6, 20],
    "data": [Path("a"), Path("b")],
}


@given(
    steps=st.lists(
        st.tuples(
            st.fixed_dictionaries(
                {}, optional={name: st.sampled_from(values) for name, values in CHANGES.items()}
            ),
            st.sampled_from(["", "", "log", "ingest", "always"]),
        ),
        max_size=8,
    )
)
def test_whatever_comes_a_reload_is_whole_or_nothing(
    steps: list[tuple[dict[str, Any], str]],
) -> None:
    rig = Rig()
    for changes, rig.refuses in steps:
        before, told = rig.reloading.settings, len(rig.told)
        try:
            outcome = rig.reload(**changes)
        except ConfigError:
            assert rig.refuses
            assert (rig.reloading.settings, len(rig.told)) == (before, told)
            continue
        after = rig.reloading.settings
        for name in before.__struct_fields__:
            wanted = rig.next if name in LIVE_NAMES else Settings()
            assert getattr(after, name) == getattr(wanted, name)
        waiting = {
            name
            for name in before.__struct_fields__
            if getattr(after, name) != getattr(rig.next, name)
        }
        assert set(outcome.needs_restart) == waiting
        assert {change.name for change in outcome.changed} == {
            name
            for name in before.__struct_fields__
            if getattr(after, name) != getattr(before, name)
        }
        assert all(settings is after for _, settings in rig.told[told:])


def test_secrets_are_in_no_outcome() -> None:
    rig = Rig()
    (change,) = rig.reload(chat_webhook_secret="hush").changed
    assert (change.name, change.before, change.after) == ("chat_webhook_secret", None, "(hidden)")


def test_a_live_setting_that_nobody_is_told_of_is_a_bug() -> None:
    names = LIVE_NAMES - {"log_level"}
    for wrong in (names, LIVE_NAMES | {"http"}):
        with pytest.raises(ValueError, match=r": (log_level|http)$"):
            Reloading(Settings()).tell([part(*wrong, apply=lambda _new: None)])


def test_without_sources_a_reload_changes_nothing() -> None:
    reloading = Reloading(Settings())
    reloading.tell([part(*LIVE_NAMES, apply=lambda _new: None)])
    assert reloading.reload() == Outcome((), ())


# -- an origin that runs


class Origin:
    """A running origin with a file that a test rewrites."""

    def __init__(self, folder: Path) -> None:
        self.file = folder / "h.toml"
        self.fixed = f'ladder = "none"\nadmin_token = "{TOKEN}"\ndata = "{folder}/data"\n'
        self.fixed += 'http = "127.0.0.1:0"\nrtmp = "127.0.0.1:0"\n'
        self.write("")
        self.load = partial(gather, PLAN, config_file=self.file, environment={}, flags={})
        self.listening: app.Listening
        self.http: httpx.AsyncClient

    def write(self, toml: str) -> None:
        self.file.write_text(self.fixed + toml)

    async def reload(self, toml: str, status: int = 200) -> Any:
        self.write(toml)
        answer = await self.http.post("/api/config/reload")
        assert answer.status_code == status, answer.text
        return answer.json()

    async def create_stream(self) -> tuple[str, str]:
        answer = await self.http.post("/api/streams", json={"broadcasterId": "b", "title": "t"})
        return answer.json()["id"], answer.json()["streamKey"]

    async def status(self, stream_id: str) -> Any:
        return (await self.http.get(f"/api/streams/{stream_id}")).json()["status"]

    def publisher(self, key: str) -> Any:
        address = self.listening.rtmp
        return open_publisher(address.host, address.port, "live", key)


@asynccontextmanager
async def running(folder: Path, toml: str = "") -> AsyncIterator[Origin]:
    origin = Origin(folder)
    origin.write(toml)
    settings, sources = origin.load()
    async with trio.open_nursery() as nursery:
        origin.listening = await nursery.start(app.run, settings, sources, origin.load)
        headers = {"Authorization": f"Bearer {TOKEN}"}
        base_url = f"http://{origin.listening.http}"
        async with httpx.AsyncClient(base_url=base_url, headers=headers) as origin.http:
            yield origin
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> wire.Media:
    clip = ClipSpec(name="reload", duration_s=2.0, keyint_s=1.0)
    return wire.load_media(make_clip(clip, tmp_path_factory.mktemp("clip")).path)


async def line_of(logs: list[Any], event: str, reason: str = "") -> Any:
    """The first line with this event, and with this in its reason."""
    with trio.fail_after(5):
        while True:
            for line in logs:
                if line["event"] == event and reason in line.get("reason", ""):
                    return line
            await trio.sleep(0.01)


async def send(publisher: Publisher, media: wire.Media, *, from_ms: int = 0) -> None:
    await publisher.send_video_config(media.avc_record)
    await publisher.send_audio_config(media.aac_config)
    for kind, timestamp_ms, body in media.tags:
        if kind == "video":
            await publisher.send_video(
                body[5:], timestamp_ms=from_ms + timestamp_ms, keyframe=body[0] == 0x17
            )
        else:
            await publisher.send_audio(body[2:], timestamp_ms=from_ms + timestamp_ms)


async def test_a_signal_reloads_and_who_publishes_goes_on(
    tmp_path: Path, media: wire.Media, logs: list[Any]
) -> None:
    async with running(tmp_path) as origin:
        stream_id, key = await origin.create_stream()
        async with origin.publisher(key) as publisher:
            await send(publisher, media)

            origin.write("max_height = 90\nreconnect_grace_s = 0\nwindow_segments = 20")
            os.kill(os.getpid(), signal.SIGHUP)
            taken = await line_of(logs, "configuration taken")
            assert taken["changed"] == "max_height,reconnect_grace_s"
            assert taken["by"] == "SIGHUP"
            waits = await line_of(logs, "settings need a restart to change")
            assert waits["settings"] == "window_segments"

            origin.write("max_height = many")
            os.kill(os.getpid(), signal.SIGHUP)
            refused = await line_of(logs, "configuration not taken, nothing has changed")
            assert refused["reason"].startswith(f"{origin.file}: not TOML: ")

            await send(publisher, media, from_ms=2000)  # of 180 lines: it came before the limit
            assert await origin.status(stream_id) == "live"

        # Without a grace its end is the broadcast's; a new one is held to the new limit.
        _, other = await origin.create_stream()
        with suppress(PublisherError):
            async with origin.publisher(other) as publisher:
                await send(publisher, media)
        await line_of(logs, "connection closed", "a picture of 320x180: 90 lines are the most here")


async def test_the_api_reloads_shows_and_refuses(tmp_path: Path) -> None:
    async with running(tmp_path) as origin:
        before = (await origin.http.get("/api/config")).json()
        rows = {row["name"]: row for row in before["settings"]}
        assert rows["admin_token"]["value"] == "(hidden)"
        assert rows["ladder"] == {
            "name": "ladder",
            "value": "none",
            "source": f"{origin.file}: ladder",
            "isLive": True,
        }
        assert rows["window_segments"]["source"] == "default"
        assert rows["window_segments"]["isLive"] is False
        assert before["needsRestart"] == []

        toml = 'ladder = "360p"\nwindow_segments = 20\nhealth_min_fps = 5'
        origin.fixed = origin.fixed.replace('ladder = "none"\n', "")
        answer = await origin.reload(toml)
        assert answer == {
            "changed": [
                {"name": "health_min_fps", "before": 20.0, "after": 5.0},
                {"name": "ladder", "before": "none", "after": "360p"},
            ],
            "needsRestart": ["window_segments"],
        }
        after = (await origin.http.get("/api/config")).json()
        rows = {row["name"]: row for row in after["settings"]}
        assert (rows["ladder"]["value"], rows["window_segments"]["value"]) == ("360p", 15)
        assert after["needsRestart"] == ["window_segments"]

        refused = await origin.reload("window_segments = 1", 409)
        assert refused["code"] == "badConfiguration"
        assert refused["error"] == f"{origin.file}: window_segments: expected int >= 6"
        assert (await origin.http.get("/api/config")).json() == after
        assert TOKEN not in repr((before, after, answer, refused))


async def test_limits_hold_from_then_on(tmp_path: Path) -> None:
    async with running(tmp_path) as origin:
        _, key = await origin.create_stream()
        async with origin.publisher(key):
            await origin.reload("max_rtmp_connections = 1\nmax_http_connections = 1")
            with pytest.raises(PublisherError, match=r"^connection lost before publishing$"):
                async with origin.publisher(key):
                    pass
            async with httpx.AsyncClient(base_url=str(origin.http.base_url)) as second:
                assert (await second.get("/health")).status_code == 503
            await origin.reload("max_http_connections = 2")
            async with httpx.AsyncClient(base_url=str(origin.http.base_url)) as second:
                assert (await second.get("/health")).status_code == 200


async def test_a_certificate_is_taken_at_once_or_not_at_all(tmp_path: Path) -> None:
    old, new = make_pair(), make_pair()
    chain, key = old.write(tmp_path)
    (tmp_path / "new").mkdir()
    new_chain, new_key = new.write(tmp_path / "new")
    toml = 'https = "127.0.0.1:0"\n'

    def tls(chain: Path, key: Path) -> str:
        return f'{toml}tls_certificate = "{chain}"\ntls_key = "{key}"\n'

    async with running(tmp_path, tls(chain, key)) as origin:
        https = origin.listening.https
        assert https is not None

        async def is_served_with(pair: Any) -> bool:
            url = f"https://localhost:{https.port}/health"
            try:
                async with httpx.AsyncClient(verify=pair.client()) as client:
                    return (await client.get(url)).status_code == 200
            except httpx.ConnectError:
                return False

        assert await is_served_with(old)
        refused = await origin.reload(tls(new_chain, key) + "max_height = 90", 409)
        assert refused["error"].startswith(f"tls_certificate: {new_chain}: ")
        assert await is_served_with(old)
        answer = await origin.reload(tls(new_chain, new_key))
        assert [one["name"] for one in answer["changed"]] == ["tls_certificate", "tls_key"]
        assert await is_served_with(new)
        old.write(tmp_path / "new")  # the same names, other files: nothing has changed but them
        assert (await origin.reload(tls(new_chain, new_key)))["changed"] == []
        assert await is_served_with(old)


@pytest.mark.usefixtures("logging_restored")
async def test_the_log_changes_its_level_and_form(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path) as origin:
        await origin.reload('log_level = "error"\nlog_format = "json"')
        structlog.get_logger().warning("not to be seen")
        structlog.get_logger().error("to be seen")
        await origin.reload('log_format = "json"')
    lines = capsys.readouterr().err.splitlines()
    assert "not to be seen" not in "".join(lines)
    assert any(line.startswith("{") and '"to be seen"' in line for line in lines)


async def test_the_publish_webhook_is_switched_on_and_off(tmp_path: Path, logs: list[Any]) -> None:
    """Nobody listens where it points, so nobody may publish; who publishes already goes on."""
    async with running(tmp_path) as origin:
        stream_id, key = await origin.create_stream()
        async with origin.publisher(key):
            await origin.reload('publish_webhook = "http://127.0.0.1:9/"')
            _, other = await origin.create_stream()
            with pytest.raises(PublishRefusedError) as refusal:
                async with origin.publisher(other):
                    pass
            assert "it cannot be checked now" in refusal.value.description
            refused = await origin.reload('publish_webhook = "ftp://x"', 409)
            assert refused["error"].startswith("publish_webhook: must be http")
            await origin.reload("")
            async with origin.publisher(other):
                pass
            assert await origin.status(stream_id) == "live"


async def test_a_webhook_is_switched_on_and_off(tmp_path: Path) -> None:
    """Nobody listens where it points: with `fails_open = false` a message does not pass."""
    hook = 'chat_webhook = "http://127.0.0.1:9/"\nchat_webhook_fails_open = false'
    async with running(tmp_path) as origin:
        stream_id, key = await origin.create_stream()

        async def said() -> int:
            answer = await origin.http.post(
                f"/api/streams/{stream_id}/chat",
                json={"content": "hello"},
                headers={"Authorization": f"Bearer {key}"},
            )
            return answer.status_code

        assert await said() == 201
        await origin.reload(hook)
        assert await said() == 403
        refused = await origin.reload('chat_webhook = "ftp://x"', 409)
        assert "chat_webhook" in refused["error"]
        assert await said() == 403
        await origin.reload("")
        assert await said() == 201
