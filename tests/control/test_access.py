"""Stream keys and admin tokens as they are kept: made, found, ended, expired, bounded, migrated."""

import sqlite3
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from old_database import STREAM_ID, STREAM_KEY, make_old_file

from control import SqliteStore, StoreError, StreamKey, TooManyError, UnknownStreamError
from control.access_model import FIRST_LABEL, MAX_KEYS, MAX_TOKENS, PUBLIC, Playback
from control.keys import hash_key

NOBODY = "zzzzzzzzzzzz"
NOW_S = 1_000_000.0


class Clock:
    """A wall clock that stands until it is moved."""

    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def store(tmp_path: Path, clock: Clock) -> AsyncIterator[SqliteStore]:
    async with await SqliteStore.open(tmp_path / "headrace.sqlite3", clock=clock) as store:
        yield store


async def opens(store: SqliteStore, key: str) -> str | None:
    """Id of the stream that a key opens, by every way of asking."""
    found = await store.access.find_key(key)
    stream = await store.find_by_key(key)
    opened = None if found is None else found.stream_id
    assert opened == (None if stream is None else stream.id)
    if opened is not None:
        assert await store.verify_key(opened, key)
    return opened


async def test_a_stream_is_made_with_one_key(store: SqliteStore) -> None:
    stream, key = await store.create_stream(broadcaster_id="b", title="t")
    (known,) = await store.access.list_keys(stream.id)
    assert known == await store.access.find_key(key)
    assert (known.label, known.created_at, known.expires_at) == (FIRST_LABEL, NOW_S, None)


async def test_several_keys_open_one_stream_and_each_ends_alone(store: SqliteStore) -> None:
    stream, first = await store.create_stream(broadcaster_id="b", title="t")
    other, others = await store.create_stream(broadcaster_id="b", title="t")
    known, second = await store.access.add_key(stream.id, label="OBS at home")
    assert known == StreamKey(
        id=known.id, stream_id=stream.id, label="OBS at home", created_at=NOW_S, expires_at=None
    )
    assert await opens(store, first) == await opens(store, second) == stream.id

    assert not await store.access.end_key(other.id, known.id), "another stream's"
    assert await store.access.end_key(stream.id, known.id)
    assert not await store.access.end_key(stream.id, known.id)
    assert await opens(store, second) is None
    assert await opens(store, first) == stream.id
    assert await opens(store, others) == other.id


async def test_a_key_ends_at_its_time(store: SqliteStore, clock: Clock) -> None:
    stream, _ = await store.create_stream(broadcaster_id="b", title="t")
    known, key = await store.access.add_key(stream.id, label="for tonight", lasts_s=60.0)
    assert known.expires_at == NOW_S + 60
    clock.now_s += 59.9
    assert await opens(store, key) == stream.id
    clock.now_s += 0.1
    assert await opens(store, key) is None
    assert not await store.verify_key(stream.id, key)
    assert [one.label for one in await store.access.list_keys(stream.id)] == [FIRST_LABEL]
    assert not await store.access.end_key(stream.id, known.id)


async def test_a_rotation_ends_the_others_at_once(store: SqliteStore) -> None:
    stream, first = await store.create_stream(broadcaster_id="b", title="t")
    _, second = await store.access.add_key(stream.id, label="second")
    known, new = await store.access.rotate(stream.id, label="new", grace_s=0.0)
    assert await opens(store, first) is await opens(store, second) is None
    assert await opens(store, new) == stream.id
    assert await store.access.list_keys(stream.id) == [known]


async def test_a_rotation_lets_the_others_last_for_a_grace(
    store: SqliteStore, clock: Clock
) -> None:
    stream, first = await store.create_stream(broadcaster_id="b", title="t")
    _, soon = await store.access.add_key(stream.id, label="soon", lasts_s=10.0)
    _, new = await store.access.rotate(stream.id, label="new", grace_s=100.0)
    clock.now_s += 10
    assert await opens(store, soon) is None, "a grace prolongs nothing"
    assert await opens(store, first) == stream.id
    clock.now_s += 90
    assert await opens(store, first) is None
    assert await opens(store, new) == stream.id


async def test_a_stream_has_so_many_keys(store: SqliteStore, clock: Clock) -> None:
    stream, _ = await store.create_stream(broadcaster_id="b", title="t")
    for number in range(MAX_KEYS - 1):
        await store.access.add_key(stream.id, label=f"{number}", lasts_s=1.0)
    with pytest.raises(TooManyError, match="20 keys at most"):
        await store.access.add_key(stream.id, label="one more")
    _, new = await store.access.rotate(stream.id, label="always", grace_s=0.5)
    assert len(await store.access.list_keys(stream.id)) == MAX_KEYS
    assert await opens(store, new) == stream.id
    clock.now_s += 1.0
    await store.access.add_key(stream.id, label="what has expired does not count")
    assert len(await store.access.list_keys(stream.id)) == 2


async def test_an_unknown_stream_gets_no_key(store: SqliteStore) -> None:
    for stream_id in (NOBODY, "no id at all"):
        with pytest.raises(UnknownStreamError):
            await store.access.add_key(stream_id, label="x")
        with pytest.raises(UnknownStreamError):
            await store.access.rotate(stream_id, label="x", grace_s=0.0)
        assert await store.access.list_keys(stream_id) == []
        assert not await store.access.end_key(stream_id, "x")


async def test_keys_go_with_their_stream(store: SqliteStore) -> None:
    stream, key = await store.create_stream(broadcaster_id="b", title="t")
    await store.delete_stream(stream.id)
    assert await store.access.find_key(key) is None


async def test_an_admin_token_is_found_until_it_ends(store: SqliteStore, clock: Clock) -> None:
    known, token = await store.access.add_token(name="grafana", scopes=["read"], lasts_s=60.0)
    lasting, other = await store.access.add_token(name="edge", scopes=["edge", "read"])
    assert await store.access.find_token(token) == known
    assert known.scopes == ("read",)
    assert await store.access.find_token(other) == lasting
    assert lasting.scopes == ("edge", "read")
    assert await store.access.list_tokens() == sorted([known, lasting], key=lambda one: one.id)
    clock.now_s += 60
    assert await store.access.find_token(token) is None
    assert await store.access.list_tokens() == [lasting]
    assert not await store.access.end_token(known.id)
    assert await store.access.end_token(lasting.id)
    assert await store.access.find_token(other) is None


async def test_there_are_so_many_tokens(store: SqliteStore, clock: Clock) -> None:
    for number in range(MAX_TOKENS):
        await store.access.add_token(name=f"{number}", scopes=["read"], lasts_s=1.0)
    with pytest.raises(TooManyError, match="100 admin tokens at most"):
        await store.access.add_token(name="one more", scopes=["read"])
    clock.now_s += 1.0
    await store.access.add_token(name="one more", scopes=["read"])


@pytest.mark.parametrize("text", ["", "hrt_", "hrt_" + "0" * 31, "hrt_" + "g" * 32, "\ud800"])
async def test_what_has_no_shape_is_not_looked_up(store: SqliteStore, text: str) -> None:
    assert await store.access.find_token(text) is None
    assert await store.access.find_key(text) is None


async def test_no_secret_is_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file.sqlite3"
    async with await SqliteStore.open(path) as store:
        stream, first = await store.create_stream(broadcaster_id="b", title="t")
        _, second = await store.access.add_key(stream.id, label="l")
        _, token = await store.access.add_token(name="n", scopes=["read"])
    content = path.read_bytes()
    assert b"OBS" not in content
    for secret in (first, second, token):
        assert secret.partition("_")[2].encode() not in content


@pytest.mark.parametrize("version", [1, 2, 3])
async def test_the_key_of_an_older_file_goes_on_opening_its_stream(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int
) -> None:
    path = tmp_path / "file.sqlite3"
    make_old_file(path, version, monkeypatch)
    async with await SqliteStore.open(path) as store:
        assert await opens(store, STREAM_KEY) == STREAM_ID
        stream = await store.get_stream(STREAM_ID)
        assert stream is not None
        assert (stream.title, stream.started_at, stream.created_at) == ("A title", 5.0, 4.0)
        await store.chat.save_settings(
            STREAM_ID, (await store.chat.load_room(STREAM_ID, history=1, now_ms=0)).settings
        )
        await store.delete_stream(STREAM_ID)
        assert await opens(store, STREAM_KEY) is None
    connection = sqlite3.connect(path)
    assert connection.execute("PRAGMA foreign_key_check").fetchall() == []
    assert connection.execute("SELECT count(*) FROM chat_rooms").fetchone() == (0,)
    connection.close()


async def test_a_store_that_fails_says_so(store: SqliteStore) -> None:
    await store.aclose()
    with pytest.raises(StoreError, match="closed"):
        await store.access.list_tokens()


# -- who may watch


async def test_a_stream_is_public_until_something_else_is_said(store: SqliteStore) -> None:
    stream, _ = await store.create_stream(broadcaster_id="b", title="t")
    other, _ = await store.create_stream(broadcaster_id="b", title="t")
    assert await store.access.list_playback() == {}
    webhook = Playback(policy="webhook", webhook_url="https://shop.test/may")
    for playback in (Playback(policy="token"), webhook):
        await store.access.set_playback(stream.id, playback)
        assert await store.access.list_playback() == {stream.id: playback}
    await store.access.set_playback(other.id, Playback(policy="token"))
    assert set(await store.access.list_playback()) == {stream.id, other.id}
    await store.access.set_playback(stream.id, PUBLIC)
    assert set(await store.access.list_playback()) == {other.id}
    await store.delete_stream(other.id)
    assert await store.access.list_playback() == {}


@pytest.mark.parametrize("stream_id", [NOBODY, "", "no id"])
async def test_of_an_unknown_stream_nothing_is_said(store: SqliteStore, stream_id: str) -> None:
    with pytest.raises(UnknownStreamError):
        await store.access.set_playback(stream_id, Playback(policy="token"))
    assert await store.access.list_playback() == {}


async def test_who_may_watch_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "headrace.sqlite3"
    async with await SqliteStore.open(path) as store:
        stream, _ = await store.create_stream(broadcaster_id="b", title="t")
        await store.access.set_playback(stream.id, Playback(policy="token"))
    async with await SqliteStore.open(path) as store:
        assert await store.access.list_playback() == {stream.id: Playback(policy="token")}


async def test_the_hashes_of_tokens_with_a_scope(store: SqliteStore, clock: Clock) -> None:
    _, lasting = await store.access.add_token(name="a", scopes=["edge", "read"])
    _, ending = await store.access.add_token(name="b", scopes=["edge"], lasts_s=10)
    await store.access.add_token(name="c", scopes=["read"])
    assert await store.access.token_hashes("edge") == {
        hash_key(lasting): None,
        hash_key(ending): NOW_S + 10,
    }
    assert await store.access.token_hashes("edg") == {}
    clock.now_s += 10
    assert await store.access.token_hashes("edge") == {hash_key(lasting): None}
