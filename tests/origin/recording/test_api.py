"""The operations on recordings: who may what, pages, playlists, ranges, and what is gone."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio
from recorded_parts import RecordedParts
from structlog.testing import capture_logs
from trio.testing import memory_stream_pair

import hls
from control import AdminToken, Playback, Recording, RecordingStatus, SqliteStore, StoreError
from edge.api.operation import ALL_SCOPES
from edge.api.router import ApiRouter
from edge.events import EventBus
from edge.guesses import Guesses
from edge.http.messages import Call, HandOver, HttpError, Request
from edge.http.representation import represent
from edge.http.response import Response
from edge.http.routes import App
from edge.live import LiveStreams
from edge.playback.gate import Gate
from edge.playback.tokens import Claims, KeySet, Signer
from origin.access import OriginAccess
from origin.recording import api as api_module
from origin.recording import send_file
from origin.recording.api import RecordingsApi
from origin.recording.folder import RecordingWriter
from origin.recording.recorder import Recorder, RecorderSettings
from origin.recording.tape import QueuedBytes, Tape

MADE = RecordedParts(hls)
ADMIN = "admin_0123456789abcdef"
NOW_S = 1_800_000_000.0
NOBODY = "0" * 12
INIT = b"init-0|"
SIGNER = Signer(bytes(range(32)))


class NoShift:
    """Leaves parts that are none as they are."""

    track_id = 1
    timescale = 90_000

    def __init__(self, _init: bytes) -> None:
        pass

    def shift(self, part: bytes) -> bytes:
        return part


class Answer(msgspec.Struct):
    status: int
    fields: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body)


class House:
    """The API over a real store and folder."""

    def __init__(self, store: SqliteStore, folder: Path) -> None:
        self.store = store
        self.folder = folder
        self.guesses = Guesses()
        self.recorder = Recorder(
            settings=RecorderSettings(folder=folder),
            recordings=store.recordings,
            get_stream=store.get_stream,
            events=EventBus(),
        )
        access = OriginAccess(
            store=store,
            admin_token=AdminToken(ADMIN),
            guesses=self.guesses,
            is_live=lambda _stream_id: False,
        )
        gate = Gate(self.guesses, KeySet({SIGNER.kid: SIGNER.public_key}), clock=lambda: NOW_S)
        protected = store.access.list_playback
        api = RecordingsApi(self.recorder, store.recordings, protected, gate)
        self.router = ApiRouter(access, api.operations)
        self.made = 0

    async def stream(self, *, is_public: bool = True) -> tuple[str, str]:
        stream, key = await self.store.create_stream(broadcaster_id="b", title="t")
        if not is_public:
            await self.store.access.set_playback(stream.id, Playback(policy="token"))
        return stream.id, key

    async def record(
        self, stream_id: str, *, inits: int = 1, title: str = "First light!", **more: Any
    ) -> str:
        """Make a finished recording of two segments a configuration; returns its id."""
        self.made += 1
        one = Recording(
            id=f"{self.made:012}",
            stream_id=stream_id,
            broadcast_id="b",
            title=title,
            started_at=NOW_S + self.made,
        )
        tape = Tape(started_at_s=NOW_S, queued=QueuedBytes(), on_loss=lambda: None)
        for number in range(inits):
            tape.take([MADE.init(number)])
            for msn in (2 * number, 2 * number + 1):
                tape.take(MADE.segment(msn, init_index=number, discontinuity=not msn % 2))
        tape.end()
        writer = RecordingWriter(self.folder / one.id, min_free_bytes=0, make_shift=NoShift)
        writer.append(await tape.receive())
        writer.close()
        await self.store.recordings.add(one)
        values: dict[str, Any] = {"ended_at": NOW_S, "duration_s": 4.0, "size_bytes": 207}
        values |= {"status": RecordingStatus.READY}
        await self.store.recordings.finish(msgspec.structs.replace(one, **values | more))
        return one.id

    async def ask(
        self, path: str, *, token: str = "", method: str = "GET", **headers: str
    ) -> Answer:
        """Have a request answered, as a connection would."""
        fields = [(b"authorization", f"Bearer {token}".encode())] if token else []
        fields += [
            (name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()
        ]
        request = Request(method, path, fields)
        app = App(live=LiveStreams(), router=self.router) if "/~" in path else self.router
        found = app.route(request)
        try:
            if isinstance(found, Call):
                answer = represent(await found.handler(request, b""), request)
                return Answer(
                    answer.status,
                    {name.decode(): value.decode() for name, value in answer.fields},
                    b"".join(answer.chunks),
                )
            assert isinstance(found, HandOver)
            return await taken(found)
        except HttpError as error:
            return Answer(error.status, error.extra, msgspec.json.encode({"code": error.code}))


async def taken(found: HandOver) -> Answer:
    """Read what is sent on a connection that is handed over, to its end."""
    ours, theirs = memory_stream_pair()
    data = bytearray()

    async def serve() -> None:
        async with theirs:
            await found.take(theirs, b"")

    async def read() -> None:
        async for piece in ours:
            data.extend(piece)

    try:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(serve)
            nursery.start_soon(read)
    except* HttpError as group:
        raise group.exceptions[0] from None
    head, _, body = bytes(data).partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    named = {name.lower(): text for name, _, text in (field.partition(": ") for field in fields)}
    assert named["connection"] == "close"
    return Answer(int(line.split()[1]), named, body)


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with await SqliteStore.open(tmp_path / "db") as store:
        with capture_logs():
            yield House(store, tmp_path / "recordings")


def media(*msns: int) -> bytes:
    return b"".join(MADE.data(msn) for msn in msns)


# -- watched and downloaded


async def test_a_recording_is_described(house: House) -> None:
    stream_id, _ = await house.stream()
    recording_id = await house.record(stream_id, reason="the disk is nearly full")
    assert (await house.ask(f"/api/recordings/{recording_id}")).json() == {
        "recordingId": recording_id,
        "streamId": stream_id,
        "broadcastId": "b",
        "title": "First light!",
        "status": "ready",
        "startedAt": "2027-01-15T08:00:01.000Z",
        "endedAt": "2027-01-15T08:00:00.000Z",
        "durationSeconds": 4.0,
        "sizeBytes": 207,
        "reason": "the disk is nearly full",
        "playlistUrl": f"/api/recordings/{recording_id}/master.m3u8",
    }


async def test_its_playlists_lead_to_its_media(house: House) -> None:
    stream_id, _ = await house.stream()
    path = f"/api/recordings/{await house.record(stream_id, inits=2)}"
    master = await house.ask(f"{path}/master.m3u8")
    assert (master.status, master.fields["content-type"]) == (200, "application/vnd.apple.mpegurl")
    assert master.fields["cache-control"] == "public, max-age=3600"
    assert master.body.endswith(b"\nsource/playlist.m3u8\n")
    playlist = await house.ask(f"{path}/source/playlist.m3u8")
    assert playlist.body.count(b"#EXTINF") == 4
    again = await house.ask(f"{path}/source/playlist.m3u8", if_none_match=playlist.fields["etag"])
    assert (again.status, again.body) == (304, b"")
    packed = await house.ask(f"{path}/source/playlist.m3u8", accept_encoding="gzip")
    assert packed.fields["content-encoding"] == "gzip"
    found = b""
    for line in playlist.body.decode().splitlines():
        if line.startswith("#EXT-X-BYTERANGE:"):
            size, _, offset = line.partition(":")[2].partition("@")
            wanted = f"bytes={offset}-{int(offset) + int(size) - 1}"
        elif line.startswith("../"):
            answer = await house.ask(f"{path}/{line[3:]}", range=wanted)
            assert answer.status == 206
            found += answer.body
    assert found == media(0, 1, 2, 3)


async def test_a_download_is_the_whole_with_an_index(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_file, "PIECE_BYTES", 33)
    stream_id, _ = await house.stream()
    recording_id = await house.record(stream_id)
    path = f"/api/recordings/{recording_id}/download.mp4"
    answer = await house.ask(path)
    whole = answer.body
    assert whole.startswith(INIT)
    assert whole[len(INIT) + 4 :].startswith(b"sidx")
    assert whole.endswith(media(0, 1))
    assert int(answer.fields["content-length"]) == len(whole) == 207 + 40 + 4 * 12
    assert answer.fields["content-type"] == "video/mp4"
    assert answer.fields["accept-ranges"] == "bytes"
    assert answer.fields["content-disposition"] == (
        f'attachment; filename="First-light-{recording_id}.mp4"'
    )
    head = await house.ask(path, method="HEAD")
    assert (head.status, head.body) == (200, b"")
    assert head.fields["content-length"] == answer.fields["content-length"]
    for first in range(0, len(whole), 5):
        for last in (first, first + 40, len(whole) - 1, len(whole) + 9):
            part = await house.ask(path, range=f"bytes={first}-{last}")
            assert part.body == whole[first : last + 1]
            assert part.fields["content-range"] == (
                f"bytes {first}-{min(last, len(whole) - 1)}/{len(whole)}"
            )
    assert (await house.ask(path, range="bytes=-10")).body == whole[-10:]
    assert (await house.ask(path, range=f"bytes={len(whole)}-")).status == 416
    assert (await house.ask(path, range="bytes=0-1", if_range='"other"')).body == whole
    assert (await house.ask(path, if_none_match=answer.fields["etag"])).status == 304


@pytest.mark.parametrize(
    ("title", "name"),
    [("", "recording"), ('a"\r\nX: y', "a-X-y"), ("../..", "recording"), ("Grüße", "Gr-e")],
)
async def test_a_download_has_a_harmless_name(house: House, title: str, name: str) -> None:
    stream_id, _ = await house.stream()
    recording_id = await house.record(stream_id, title=title)
    answer = await house.ask(f"/api/recordings/{recording_id}/download.mp4", method="HEAD")
    assert answer.fields["content-disposition"] == (
        f'attachment; filename="{name}-{recording_id}.mp4"'
    )


async def test_several_configurations_are_several_downloads(house: House) -> None:
    stream_id, _ = await house.stream()
    path = f"/api/recordings/{await house.record(stream_id, inits=2)}/download.mp4"
    refused = await house.ask(path)
    assert (refused.status, refused.json()) == (409, {"code": "severalFiles"})
    assert (await house.ask(f"{path}?file=0")).body.endswith(media(0, 1))
    second = await house.ask(f"{path}?file=1")
    assert second.body.startswith(b"init-1|")
    assert second.body.endswith(media(2, 3))
    assert "-1.mp4" in second.fields["content-disposition"]
    assert (await house.ask(f"{path}?file=2")).status == 404
    assert (await house.ask(f"{path}?file=x")).status == 400


@pytest.mark.parametrize(
    ("name", "status"),
    [("media-1.mp4", 404), ("index", 404), ("..%2Fdb", 404), ("media-0.mp4", 200)],
)
async def test_no_other_file_is_served(house: House, name: str, status: int) -> None:
    stream_id, _ = await house.stream()
    recording_id = await house.record(stream_id)
    assert (await house.ask(f"/api/recordings/{recording_id}/{name}")).status == status


async def test_what_is_not_ready_cannot_be_watched(house: House) -> None:
    stream_id, key = await house.stream()
    recording_id = await house.record(stream_id, status=RecordingStatus.RECORDING)
    assert (await house.ask(f"/api/recordings/{recording_id}")).json()["playlistUrl"] is None
    for name in ("master.m3u8", "source/playlist.m3u8", "download.mp4", "media-0.mp4"):
        answer = await house.ask(f"/api/recordings/{recording_id}/{name}")
        assert (answer.status, answer.json()["code"]) == (409, "notReady")
    answer = await house.ask(f"/api/recordings/{recording_id}", method="DELETE", token=key)
    assert (answer.status, answer.json()["code"]) == (409, "stillRecording")


async def test_a_folder_that_is_gone_or_cannot_be_read_is_said_so(house: House) -> None:
    stream_id, _ = await house.stream()
    recording_id = await house.record(stream_id)
    path = f"/api/recordings/{recording_id}"
    assert (await house.ask(f"{path}/master.m3u8")).status == 200
    (house.folder / recording_id / "media-0.mp4").unlink()
    assert (await house.ask(f"{path}/download.mp4")).status == 404  # its texts are known
    other = await house.record(stream_id)
    (house.folder / other / "index").unlink()
    assert (await house.ask(f"/api/recordings/{other}/master.m3u8")).status == 404
    (house.folder / other / "index").mkdir()
    assert (await house.ask(f"/api/recordings/{other}/master.m3u8")).status == 503


async def test_few_texts_are_kept_and_many_who_ask_cost_one_reading(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api_module, "MAX_TEXTS", 1)
    reads = []
    read = house.recorder.read

    async def count(recording_id: str, make: Any) -> Any:
        reads.append(recording_id)
        return await read(recording_id, make)

    monkeypatch.setattr(house.recorder, "read", count)
    stream_id, _ = await house.stream()
    first, second = await house.record(stream_id), await house.record(stream_id)

    async def watch(recording_id: str) -> None:
        assert (await house.ask(f"/api/recordings/{recording_id}/master.m3u8")).status == 200

    async with trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(watch, first)
    await watch(second)
    await watch(first)
    assert reads == [first, second, first]


async def test_more_downloads_than_there_is_memory_for_come_again(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_file, "MAX_SENDS", 1)
    monkeypatch.setattr(send_file, "PIECE_BYTES", 10)
    stream_id, _ = await house.stream()
    path = f"/api/recordings/{await house.record(stream_id)}/download.mp4"
    found = house.router.route(Request("GET", path))
    assert isinstance(found, HandOver)
    ours, theirs = memory_stream_pair()
    async with trio.open_nursery() as nursery:

        async def slow() -> None:
            async with theirs:
                await found.take(theirs, b"")

        theirs.send_stream.send_all_hook = trio.sleep_forever
        nursery.start_soon(slow)
        await trio.testing.wait_all_tasks_blocked(0.01)
        answer = await house.ask(path)
        assert (answer.status, answer.fields["Retry-After"]) == (503, "5")
        nursery.cancel_scope.cancel()
    assert (await house.ask(path)).status == 200
    await ours.aclose()


async def test_a_client_that_takes_nothing_is_let_go(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(send_file, "SEND_TIMEOUT_S", 0.01)
    stream_id, _ = await house.stream()
    path = f"/api/recordings/{await house.record(stream_id)}/download.mp4"
    found = house.router.route(Request("GET", path))
    assert isinstance(found, HandOver)
    ours, theirs = memory_stream_pair()
    theirs.send_stream.send_all_hook = trio.sleep_forever
    with trio.fail_after(10):
        await found.take(theirs, b"")
    await theirs.aclose()
    await ours.aclose()


# -- pages


async def test_pages_list_all_that_may_be_seen(house: House) -> None:
    ours, key = await house.stream(is_public=False)
    theirs, their_key = await house.stream()
    made = [await house.record(ours if number % 2 else theirs) for number in range(6)]

    async def pages(query: str = "", token: str = "") -> list[str]:
        found: list[str] = []
        after = ""
        while True:
            answer = await house.ask(f"/api/recordings?limit=2{after}{query}", token=token)
            assert answer.status == 200, answer
            page = answer.json()
            found += [one["recordingId"] for one in page["recordings"]]
            if page["next"] is None:
                return found
            after = f"&after={page['next']}"

    newest_first, public = made[::-1], made[::2][::-1]
    assert await pages() == public
    assert await pages(token=ADMIN) == newest_first
    assert await pages(f"&streamId={theirs}") == public
    assert await pages(f"&streamId={ours}") == []
    assert await pages(f"&streamId={ours}", key) == made[1::2][::-1]
    assert await pages(f"&streamId={ours}", their_key) == []
    assert await pages(token=key) == public  # a key says nothing where no stream is named


@pytest.mark.parametrize(
    ("query", "status"),
    [
        (f"streamId={NOBODY}", 404),
        ("streamId=", 200),
        ("streamId=no+id", 200),
        ("limit=0", 400),
        ("limit=1001", 400),
        ("limit=x", 400),
        (f"after={NOBODY}", 200),
        ("&".join(f"a{number}=1" for number in range(40)), 400),
        ("streamId=a&streamId=b", 400),
    ],
)
async def test_odd_queries(house: House, query: str, status: int) -> None:
    await house.record((await house.stream())[0])
    answer = await house.ask(f"/api/recordings?{query}")
    assert answer.status == status
    if query.startswith("streamId=no"):
        assert answer.json() == {"recordings": [], "next": None}


# -- who may

READS = ("", "/master.m3u8", "/source/playlist.m3u8", "/download.mp4", "/media-0.mp4")


async def test_who_may_watch_and_who_may_delete(house: House) -> None:
    """The permission table, of a recording that is there."""
    public, public_key = await house.stream()
    hidden, hidden_key = await house.stream(is_public=False)
    recordings = {public: await house.record(public), hidden: await house.record(hidden)}
    tokens = {
        scope: (await house.store.access.add_token(name="n", scopes=[scope]))[1]
        for scope in ALL_SCOPES
    }
    wrong = "live_" + "0" * 32

    def expected(stream_id: str, token: str, *, deletes: bool) -> int:
        key = public_key if stream_id == public else hidden_key
        if stream_id == public and not deletes:
            return 200
        if token in (key, ADMIN) or token == tokens["streams" if deletes else "read"]:
            return 204 if deletes else 200
        return 403 if token in tokens.values() else 401

    everybody = ["", wrong, public_key, hidden_key, *tokens.values(), ADMIN]
    for stream_id, recording_id in recordings.items():
        for token in everybody:
            for name in READS:
                answer = await house.ask(f"/api/recordings/{recording_id}{name}", token=token)
                assert answer.status == expected(stream_id, token, deletes=False), (name, token)
                if answer.status == 200 and stream_id == hidden:
                    assert answer.fields["cache-control"] == "no-store"
                house.guesses.__init__()  # type: ignore[misc] # as if much later
            status = expected(stream_id, token, deletes=True)
            answer = await house.ask(
                f"/api/recordings/{recording_id}", token=token, method="DELETE"
            )
            assert answer.status == status, token
            if status == 204:
                assert not (house.folder / recording_id).exists()
                recording_id = await house.record(stream_id)


async def test_the_owner_is_no_guesser(house: House) -> None:
    stream_id, key = await house.stream(is_public=False)
    recording_id = await house.record(stream_id)
    for _ in range(60):  # more than wrong credentials may be shown
        assert (await house.ask(f"/api/recordings/{recording_id}", token=key)).status == 200
        answer = await house.ask(f"/api/recordings?streamId={stream_id}", token=key)
        assert len(answer.json()["recordings"]) == 1


@pytest.mark.parametrize("recording_id", [NOBODY, "x", "%2e%2e", "'"])
@pytest.mark.parametrize("name", READS)
async def test_of_what_is_not_there_everybody_learns_that(
    house: House, recording_id: str, name: str
) -> None:
    answer = await house.ask(f"/api/recordings/{recording_id}{name}")
    assert (answer.status, answer.json()["code"]) == (404, "noSuchRecording")
    deleted = await house.ask(f"/api/recordings/{recording_id}", method="DELETE", token=ADMIN)
    assert deleted.status == 404
    assert (await house.ask(f"/api/recordings/{recording_id}", method="DELETE")).status == 401


async def test_a_deleted_one_is_gone_at_once(house: House) -> None:
    stream_id, key = await house.stream()
    path = f"/api/recordings/{await house.record(stream_id)}"
    assert (await house.ask(f"{path}/master.m3u8")).status == 200
    assert (await house.ask(path, method="DELETE", token=key)).status == 204
    for name in READS:
        assert (await house.ask(path + name)).status == 404
    assert (await house.ask("/api/recordings")).json()["recordings"] == []
    assert (await house.ask(path, method="DELETE", token=ADMIN)).status == 404


async def test_a_store_that_fails_is_said_so(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    stream_id, _ = await house.stream()
    recording_id = await house.record(stream_id)

    async def fail(*_: Any, **__: Any) -> None:
        raise StoreError("disk on fire")

    for name in ("get", "list_ready"):
        monkeypatch.setattr(house.store.recordings, name, fail)
    for path in ("", *(f"/{recording_id}{name}" for name in READS)):
        assert (await house.ask(f"/api/recordings{path}")).status == 503


# -- playback tokens


def mint(stream_id: str, **claims: Any) -> str:
    said: dict[str, Any] = {"sub": stream_id, "exp": NOW_S + 60, **claims}
    return SIGNER.mint(Claims(**said))


async def test_a_playback_token_shows_a_recording_and_no_other(house: House) -> None:
    stream_id, key = await house.stream(is_public=False)
    other_id, _ = await house.stream(is_public=False)
    one = f"/api/recordings/{await house.record(stream_id)}"
    token = mint(stream_id)
    paths = ["master.m3u8", "source/playlist.m3u8", "download.mp4", "media-0.mp4"]
    for path in paths:
        shown = await house.ask(f"{one}/~{token}/{path}")
        assert (shown.status, shown.body) == (
            200,
            (await house.ask(f"{one}/{path}", token=key)).body,
        )
        assert shown.fields["cache-control"] == "no-store"
        assert (await house.ask(f"{one}/{path}")).status == 401
        for wrong in ("x", mint(other_id), mint(stream_id, exp=NOW_S - 60)):
            assert (await house.ask(f"{one}/~{wrong}/{path}")).status == 403
    part = await house.ask(f"{one}/~{token}/{paths[-1]}", range="bytes=0-3")
    assert part.status == 206
    app = App(live=LiveStreams(), router=house.router)
    for method, rest, status in (("DELETE", "x", 405), ("GET", "a/b", 404), ("GET", "~x/y", 404)):
        answer = app.route(Request(method, f"{one}/~{token}/{rest}"))
        assert isinstance(answer, Response)
        assert answer.status == status


async def test_a_public_recording_takes_any_token(house: House) -> None:
    stream_id, _ = await house.stream()
    one = f"/api/recordings/{await house.record(stream_id)}"
    assert (await house.ask(f"{one}/~x/master.m3u8")).status == 200
