"""The origin as a whole, in this process, over real sockets: a publisher's frames to a player.

Real time passes only where the origin itself waits (the end of a playlist, the drain).
"""

import io
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import httpx
import pytest
import rtmp_publishers as wire
import trio
from certificates import make_pair
from media_clips import ClipSpec, make_clip
from structlog.testing import capture_logs

from edge.process.errors import ConfigError, StartupError
from origin import app
from origin.config import Settings
from origin.rtmp.client import Publisher, PublisherError, PublishRefusedError, open_publisher

CLIP = ClipSpec(name="app", duration_s=5.0, keyint_s=1.0)


@dataclass
class House:
    """A running origin, and a client of its API."""

    listening: app.Listening
    http: httpx.AsyncClient
    token: str

    async def create_stream(self) -> tuple[str, str]:
        answer = await self.http.post(
            "/api/streams",
            json={"broadcasterId": "b", "title": "t"},
            headers={"Authorization": f"Bearer {self.token}"},
        )
        assert answer.status_code == 201, answer.text
        made = answer.json()
        return made["id"], made["streamKey"]

    async def status(self, stream_id: str) -> Any:
        return (await self.http.get(f"/api/streams/{stream_id}")).json()["status"]

    async def get(self, stream_id: str, name: str) -> httpx.Response:
        return await self.http.get(f"/api/streams/{stream_id}/{name}")


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> wire.Media:
    return wire.load_media(make_clip(CLIP, tmp_path_factory.mktemp("clip")).path)


@pytest.fixture
def logs() -> Iterator[list[Any]]:
    with capture_logs() as captured:
        yield captured


@asynccontextmanager
async def running(folder: Path, **settings: Any) -> AsyncIterator[House]:
    """Run an origin; it is stopped by a signal, like the real one."""
    settings = {"ladder": "none"} | settings
    chosen = Settings(http="127.0.0.1:0", rtmp="127.0.0.1:0", data=folder / "data", **settings)
    async with trio.open_nursery() as nursery:
        listening: app.Listening = await nursery.start(app.run, chosen)
        token = (folder / "data" / "admin-token").read_text().strip()
        async with httpx.AsyncClient(base_url=f"http://{listening.http}") as http:
            yield House(listening, http, token)
            os.kill(os.getpid(), signal.SIGTERM)


async def send(publisher: Publisher, media: wire.Media) -> None:
    """Send a whole clip as fast as it goes: the packager counts media time, not ours."""
    await publisher.send_video_config(media.avc_record)
    await publisher.send_audio_config(media.aac_config)
    for kind, timestamp_ms, body in media.tags:
        if kind == "video":
            await publisher.send_video(
                body[5:], timestamp_ms=timestamp_ms, keyframe=body[0] == 0x17
            )
        else:
            await publisher.send_audio(body[2:], timestamp_ms=timestamp_ms)


async def published(house: House, key: str, media: wire.Media) -> None:
    address = house.listening.rtmp
    async with open_publisher(address.host, address.port, "live", key) as publisher:
        await publisher.send_metadata({"width": 320.0, "height": 180.0})
        await send(publisher, media)


def uris(playlist: str, pattern: str) -> list[str]:
    return re.findall(rf"\b{pattern}-[0-9a-f]+-[\d.]+\.m4s", playlist)


async def test_frames_go_in_at_rtmp_and_come_out_at_http(
    tmp_path: Path, media: wire.Media, logs: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(tmp_path) as house:
        stream_id, key = await house.create_stream()
        assert await house.status(stream_id) == "idle"
        assert (await house.get(stream_id, "master.m3u8")).status_code == 404

        address = house.listening.rtmp
        async with open_publisher(address.host, address.port, "live", key) as publisher:
            await send(publisher, media)
            master = await house.get(stream_id, "master.m3u8")
            assert "source/playlist.m3u8" in master.text
            assert "RESOLUTION=320x180" in master.text
            await judge_other_forms(house, stream_id, master.text)
            await publisher.send_cue_point({"name": "goal"}, timestamp_ms=media.duration_ms)
            await wait_for_text(house, stream_id, 'X-NAME="goal"')
            live = (await house.http.get("/api/streams/live")).json()["streams"]
            assert [(one["id"], one["quality"]) for one in live] == [(stream_id, ["source"])]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(stay_alive, publisher)
                with pytest.raises(PublishRefusedError) as refusal:
                    async with open_publisher(address.host, address.port, "live", key):
                        pass
                nursery.cancel_scope.cancel()
            assert refusal.value.code == "NetStream.Publish.BadName"
            assert refusal.value.description == "stream is already live"

        playlist = await wait_for_endlist(house, stream_id)
        assert await house.status(stream_id) == "ended"
        await judge_media(house, stream_id, playlist, media)

    said = repr(logs) + "".join(capsys.readouterr())
    assert key not in said
    assert house.token not in said
    assert str(tmp_path / "data" / "admin-token") in said


async def stay_alive(publisher: Publisher) -> None:
    """Say something now and then."""
    while True:
        await publisher.send_metadata({})
        await trio.sleep(0.2)


async def wait_for_endlist(house: House, stream_id: str) -> str:
    return await wait_for_text(house, stream_id, "EXT-X-ENDLIST")


async def wait_for_text(house: House, stream_id: str, text: str) -> str:
    """The first playlist that has it."""
    with trio.fail_after(5):
        while True:
            playlist = (await house.get(stream_id, "source/playlist.m3u8")).text
            if text in playlist:
                return playlist
            await trio.sleep(0.05)


async def judge_media(house: House, stream_id: str, playlist: str, media: wire.Media) -> None:
    """Every picture and every sound frame is there once, and parts are pieces of segments."""
    init_name = re.findall(r'EXT-X-MAP:URI="([^"]+)"', playlist)[0]
    init = (await house.get(stream_id, f"source/{init_name}")).content
    segments = [
        (await house.get(stream_id, f"source/{name}")).content for name in uris(playlist, "seg")
    ]
    parts = [
        (await house.get(stream_id, f"source/{name}")).content for name in uris(playlist, "part")
    ]
    assert parts
    assert b"".join(segments).endswith(b"".join(parts))
    with av.open(io.BytesIO(init + b"".join(segments)), "r") as container:
        pictures = len(list(container.decode(video=0)))
    with av.open(io.BytesIO(init + b"".join(segments)), "r") as container:
        sounds = len([packet for packet in container.demux(audio=0) if packet.size])
    kinds = [kind for kind, _, _ in media.tags]
    assert pictures == kinds.count("video")
    # A sound frame that began before the first picture has no place in the first segment.
    assert kinds.count("audio") - 1 <= sounds <= kinds.count("audio")


async def judge_other_forms(house: House, stream_id: str, master: str) -> None:
    """The same segments as I-frames and as a transport stream, where the playlists say so."""
    assert 'URI="source/iframes.m3u8"' in master
    iframes = (await house.get(stream_id, "source/iframes.m3u8")).text
    pictures = re.findall(r"^iframe-[0-9a-f]+-\d+\.m4s", iframes, re.MULTILINE)
    [init_name] = re.findall(r'EXT-X-MAP:URI="([^"]+)"', iframes)
    init = (await house.get(stream_id, f"source/{init_name}")).content
    picture = (await house.get(stream_id, f"source/{pictures[-1]}")).content
    with av.open(io.BytesIO(init + picture), "r") as container:
        assert len(list(container.decode(video=0))) == 1

    answer = await house.get(stream_id, "master.m3u8?container=ts")
    assert "source/ts.m3u8" in answer.text
    playlist = (await house.get(stream_id, "source/ts.m3u8")).text
    names = re.findall(r"^seg-[0-9a-f]+-\d+\.ts", playlist, re.MULTILINE)
    fmp4 = (await house.get(stream_id, "source/playlist.m3u8")).text  # not older than the other
    msns = [name.split("-")[-1][:-4] for name in uris(fmp4, "seg")]
    assert [name.split("-")[-1][:-3] for name in names] == msns[: len(names)]
    segment = await house.get(stream_id, f"source/{names[0]}")
    assert segment.headers["content-type"] == "video/mp2t"
    with av.open(io.BytesIO(segment.content), "r") as container:
        assert len(list(container.decode(video=0))) > 1
    assert (await house.get(stream_id, "source/seg-none-0.ts")).status_code == 404
    assert (await house.get(stream_id, "none/ts.m3u8")).status_code == 404


async def test_a_wrong_key_is_refused_by_name_and_never_told(
    tmp_path: Path, logs: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = "live_" + "0" * 32
    async with running(tmp_path) as house:
        address = house.listening.rtmp
        with pytest.raises(PublishRefusedError) as refusal:
            async with open_publisher(address.host, address.port, "live", wrong):
                pass
    assert refusal.value.code == "NetStream.Publish.BadName"
    assert refusal.value.description == "unknown stream key"
    assert wrong not in repr(logs) + str(refusal.value) + "".join(capsys.readouterr())
    assert {"refused: unknown stream key"} == {
        line["reason"] for line in logs if line["event"] == "connection closed"
    }


async def test_ending_by_api_disconnects_the_publisher(
    tmp_path: Path, media: wire.Media, logs: list[Any]
) -> None:
    async with running(tmp_path) as house:
        stream_id, key = await house.create_stream()
        address = house.listening.rtmp
        with pytest.raises(PublisherError):  # noqa: PT012 - it must leave from inside
            async with open_publisher(address.host, address.port, "live", key) as publisher:
                await send(publisher, media)
                answer = await house.http.post(
                    f"/api/streams/{stream_id}/end", headers={"Authorization": f"Bearer {key}"}
                )
                assert answer.status_code == 200
                assert answer.json()["status"] == "ended"
                with trio.fail_after(5):
                    while True:
                        await publisher.send_audio(b"sound", timestamp_ms=6_000)
                        await trio.sleep(0.01)
        assert "ended by API" in {line.get("reason") for line in logs}
        await wait_for_endlist(house, stream_id)
        again = await house.http.post(
            f"/api/streams/{stream_id}/end", headers={"Authorization": f"Bearer {key}"}
        )
        assert again.status_code == 409


async def test_a_stream_started_by_api_waits_for_its_publisher(
    tmp_path: Path, media: wire.Media, logs: list[Any]
) -> None:
    async with running(tmp_path) as house:
        stream_id, key = await house.create_stream()
        path = f"/api/streams/{stream_id}/start"
        assert (await house.http.post(path, json={"streamKey": "live_no"})).status_code == 401
        assert (await house.http.post(path, json={"streamKey": key})).status_code == 200
        assert (await house.http.post(path, json={"streamKey": key})).status_code == 409
        assert await house.status(stream_id) == "live"
        await published(house, key, media)
        assert "EXT-X-ENDLIST" in await wait_for_endlist(house, stream_id)


async def test_publishing_again_uses_no_url_twice(
    tmp_path: Path, media: wire.Media, logs: list[Any]
) -> None:
    async with running(tmp_path) as house:
        stream_id, key = await house.create_stream()
        names: list[set[str]] = []
        for _ in range(2):
            await published(house, key, media)
            playlist = await wait_for_endlist(house, stream_id)
            names.append({*uris(playlist, "seg"), *uris(playlist, "part")})
        assert names[0]
        assert names[1]
        assert not names[0] & names[1]


async def test_viewers_that_are_held_see_the_end_when_the_origin_stops(
    tmp_path: Path, media: wire.Media, logs: list[Any]
) -> None:
    seen: list[str] = []
    async with trio.open_nursery() as guests, running(tmp_path) as house:
        stream_id, key = await house.create_stream()
        guests.start_soon(publish_until_cut_off, house, key, media)
        playlist = (await wait_until_served(house, stream_id)).text
        guests.start_soon(watch_to_the_end, house, stream_id, playlist, seen)
        await trio.sleep(0.1)
    assert "EXT-X-ENDLIST" in seen[-1]
    # hls.js never loads a part that it first sees together with ENDLIST.
    assert uris(seen[-1], "part")[-1] in seen[-2]
    assert "server stopping" in {line.get("reason") for line in logs}


async def publish_until_cut_off(house: House, key: str, media: wire.Media) -> None:
    address = house.listening.rtmp
    with pytest.raises(PublisherError):  # noqa: PT012 - the loop is the statement
        async with open_publisher(address.host, address.port, "live", key) as publisher:
            await send(publisher, media)
            while True:
                await publisher.send_metadata({"still": "here"})
                await trio.sleep(0.02)


async def watch_to_the_end(house: House, stream_id: str, playlist: str, seen: list[str]) -> None:
    seen.append(playlist)
    async with httpx.AsyncClient(base_url=f"http://{house.listening.http}") as http:
        while "EXT-X-ENDLIST" not in seen[-1]:
            hint = re.search(r'PRELOAD-HINT:TYPE=PART,URI=".*-(\d+)\.(\d+)\.m4s"', seen[-1])
            assert hint is not None, seen[-1]
            query = f"?_HLS_msn={hint[1]}&_HLS_part={hint[2]}"
            answer = await http.get(f"/api/streams/{stream_id}/source/playlist.m3u8{query}")
            seen.append(answer.text)


async def wait_until_served(house: House, stream_id: str) -> httpx.Response:
    with trio.fail_after(5):
        while True:
            answer = await house.get(stream_id, "source/playlist.m3u8")
            if answer.status_code == 200:
                return answer
            await trio.sleep(0.02)


async def test_https_serves_the_same_over_http2(tmp_path: Path, logs: list[Any]) -> None:
    pair = make_pair()
    certificate, key = pair.write(tmp_path)
    async with running(
        tmp_path, https="127.0.0.1:0", tls_certificate=certificate, tls_key=key
    ) as house:
        await house.create_stream()
        address = house.listening.https
        assert address is not None
        async with httpx.AsyncClient(
            http2=True, verify=pair.client(), base_url=f"https://localhost:{address.port}"
        ) as https:
            answer = await https.get("/health")
            assert (answer.http_version, answer.status_code) == ("HTTP/2", 200)
    listening = next(entry for entry in logs if entry["event"] == "listening")
    assert listening["https"] == str(address)


async def test_rtmps_is_rtmp_with_the_same_certificate(
    tmp_path: Path, logs: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    pair = make_pair()
    certificate, key = pair.write(tmp_path)
    async with running(
        tmp_path, rtmps="127.0.0.1:0", tls_certificate=certificate, tls_key=key
    ) as house:
        stream_id, stream_key = await house.create_stream()
        address = house.listening.rtmps
        assert address is not None
        async with open_publisher("localhost", address.port, "live", stream_key, tls=pair.client()):
            assert await house.status(stream_id) == "live"
    listening = next(entry for entry in logs if entry["event"] == "listening")
    assert listening["rtmps"] == str(address)
    assert "https" not in listening
    assert f"rtmps://{address}/live" in capsys.readouterr().out


# -- starts that are refused


async def test_a_taken_port_is_named_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        settings = Settings(http="127.0.0.1:0", rtmp=taken, data=tmp_path / "data")
        with pytest.raises(StartupError) as refusal:
            await app.run(settings)
    assert str(refusal.value) == f"cannot listen for RTMP on {taken}: Address already in use"


async def test_a_host_that_is_nowhere_is_named_in_one_line(tmp_path: Path) -> None:
    settings = Settings(http="192.0.2.1:0", rtmp="127.0.0.1:0", data=tmp_path / "data")
    with pytest.raises(StartupError, match=r"^cannot listen for HTTP on 192\.0\.2\.1:0: "):
        await app.run(settings)


async def test_a_slate_that_is_no_picture_is_refused_at_the_start(tmp_path: Path) -> None:
    text = tmp_path / "slate.png"
    text.write_text("be right back")
    settings = Settings(http="127.0.0.1:0", rtmp="127.0.0.1:0", data=tmp_path, slate=text)
    with pytest.raises(ConfigError, match=r"^slate: .*slate\.png is neither a picture nor a clip"):
        await app.run(settings)


async def test_a_data_folder_that_is_a_file_is_named_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    settings = Settings(http="127.0.0.1:0", rtmp="127.0.0.1:0", data=tmp_path / "data")
    with pytest.raises(StartupError, match="data"):
        await app.run(settings)


async def test_a_token_that_others_may_read_stops_the_start(tmp_path: Path) -> None:
    token = tmp_path / "admin-token"
    token.write_text("admin_" + "0" * 32)
    token.chmod(0o644)
    settings = Settings(http="127.0.0.1:0", rtmp="127.0.0.1:0", data=tmp_path)
    with pytest.raises(StartupError, match="chmod 600"):
        await app.run(settings)


async def test_a_token_from_the_settings_needs_no_file(
    tmp_path: Path, logs: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    token = "a-token-of-our-own"
    settings = Settings(
        http="127.0.0.1:0",
        rtmp="127.0.0.1:0",
        data=tmp_path / "data",
        ladder="none",
        admin_token=token,
    )
    async with trio.open_nursery() as nursery:
        listening: app.Listening = await nursery.start(app.run, settings)
        async with httpx.AsyncClient(base_url=f"http://{listening.http}") as http:
            answer = await http.post(
                "/api/streams",
                json={"broadcasterId": "b", "title": "t"},
                headers={"Authorization": f"Bearer {token}"},
            )
            assert answer.status_code == 201
        os.kill(os.getpid(), signal.SIGINT)
    assert not (tmp_path / "data" / "admin-token").exists()
    assert token not in repr(logs) + "".join(capsys.readouterr())


@pytest.fixture
def endless_drain(monkeypatch: pytest.MonkeyPatch) -> None:
    """The end of a broadcast is never settled."""

    async def never(*_: object) -> None:
        await trio.sleep_forever()

    monkeypatch.setattr("origin.broadcast.Broadcasts.settled", never)


@pytest.mark.usefixtures("endless_drain")
async def test_a_second_signal_stops_at_once(tmp_path: Path, logs: list[Any]) -> None:
    settings = Settings(
        http="127.0.0.1:0",
        rtmp="127.0.0.1:0",
        data=tmp_path / "data",
        ladder="none",
        drain_timeout_s=60,
    )
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(app.run, settings)
            os.kill(os.getpid(), signal.SIGTERM)
            await trio.testing.wait_all_tasks_blocked()  # the first signal has been taken
            os.kill(os.getpid(), signal.SIGTERM)
    assert logs[-1]["event"] == "stopped"


@pytest.mark.usefixtures("endless_drain")
async def test_a_drain_that_gets_stuck_is_bounded(tmp_path: Path, logs: list[Any]) -> None:
    settings = Settings(
        http="127.0.0.1:0",
        rtmp="127.0.0.1:0",
        data=tmp_path / "data",
        ladder="none",
        drain_timeout_s=0.2,
    )
    with trio.fail_after(5):
        async with trio.open_nursery() as nursery:
            await nursery.start(app.run, settings)
            os.kill(os.getpid(), signal.SIGTERM)


async def test_a_stopping_origin_asks_its_publishers_to_come_back(
    tmp_path: Path, media: wire.Media, logs: list[Any]
) -> None:
    async with running(tmp_path) as house:
        _, key = await house.create_stream()
        address = house.listening.rtmp
        peer = await trio.open_tcp_stream(address.host, address.port)
        properties = {"app": "live", "tcUrl": "rtmp://host/live", "capsEx": 1}
        capable = wire.SET_CHUNK_SIZE + wire.command("connect", 1, properties)
        said = b""
        with trio.fail_after(5):
            async with peer:
                await peer.send_all(wire.opening(key).replace(wire.connect(), capable))
                while b"NetStream.Publish.Start" not in said:
                    said += await peer.receive_some(65_536)
                os.kill(os.getpid(), signal.SIGTERM)
                said = b""
                while data := await peer.receive_some(65_536):
                    said += data
    assert b"NetConnection.Connect.ReconnectRequest" in said
