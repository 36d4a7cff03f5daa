"""Where streams are sent to and fetched from, as stored."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from old_database import STREAM_ID, make_old_file

from control import Relays, SqliteStore, UnknownStreamError

NOBODY = "0" * 12
SECRET = "live_far_0123456789"
RELAYS = Relays(
    forward=(f"rtmp://b/app/{SECRET}", f"rtmp://a/app/{SECRET}"), pull=f"rtmp://c/app/{SECRET}"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "headrace.sqlite3"


@pytest.fixture
async def store(path: Path) -> AsyncIterator[SqliteStore]:
    async with await SqliteStore.open(path) as store:
        yield store


async def new_stream(store: SqliteStore) -> str:
    stream, _key = await store.create_stream(broadcaster_id="someone", title="A title")
    return stream.id


async def test_relays_come_back_in_order_and_for_their_stream_only(store: SqliteStore) -> None:
    stream_id, other = await new_stream(store), await new_stream(store)
    assert await store.get_relays(stream_id) == Relays()
    await store.set_relays(stream_id, RELAYS)
    assert await store.get_relays(stream_id) == RELAYS
    assert await store.get_relays(other) == Relays()
    assert await store.list_pulls() == {stream_id: RELAYS.pull}


async def test_setting_replaces_all_of_them(store: SqliteStore) -> None:
    stream_id = await new_stream(store)
    await store.set_relays(stream_id, RELAYS)
    fewer = Relays(forward=RELAYS.forward[1:])
    await store.set_relays(stream_id, fewer)
    assert await store.get_relays(stream_id) == fewer
    assert await store.list_pulls() == {}


async def test_a_deleted_stream_takes_its_relays_along(store: SqliteStore) -> None:
    stream_id = await new_stream(store)
    await store.set_relays(stream_id, RELAYS)
    await store.delete_stream(stream_id)
    assert await store.get_relays(stream_id) == Relays()
    assert await store.list_pulls() == {}


@pytest.mark.parametrize("stream_id", [NOBODY, "", "no id"])
async def test_an_unknown_stream_has_none_and_gets_none(store: SqliteStore, stream_id: str) -> None:
    assert await store.get_relays(stream_id) == Relays()
    with pytest.raises(UnknownStreamError):
        await store.set_relays(stream_id, RELAYS)
    assert await store.list_pulls() == {}


async def test_a_text_that_is_no_unicode_changes_nothing(store: SqliteStore) -> None:
    stream_id = await new_stream(store)
    await store.set_relays(stream_id, RELAYS)
    with pytest.raises(ValueError, match="surrogates not allowed"):
        await store.set_relays(stream_id, Relays(forward=("\ud800",)))
    assert await store.get_relays(stream_id) == RELAYS


async def test_a_file_from_before_relays_is_brought_up_to_date(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_old_file(path, 1, monkeypatch)
    async with await SqliteStore.open(path) as store:
        await store.set_relays(STREAM_ID, RELAYS)
        assert await store.get_relays(STREAM_ID) == RELAYS


def test_a_repr_shows_no_url() -> None:
    assert repr(RELAYS) == "Relays(forward=2, pull=1)"
