"""Playback access put together: the key that is made, those of others, from policy to token."""

import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import jwt
import msgspec
import pytest
import trio
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from control import AdminToken, Playback, SqliteStore
from edge.api.router import ApiRouter
from edge.guesses import Guesses
from edge.http.messages import Call, Request
from edge.playback.gate import Admitted
from edge.playback.tokens import Signer
from edge.process.errors import ConfigError, StartupError
from origin.access import OriginAccess
from origin.config import Settings
from origin.playback import KEY_NAME, OriginPlayback

ADMIN = "an-admin-token-of-some-length"
SHOP = Signer(bytes(range(32)))


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[SqliteStore]:
    async with await SqliteStore.open(tmp_path / "headrace.sqlite3") as store:
        yield store


def make(store: SqliteStore, folder: Path, *keys: Path, told: list[str] | None = None) -> Any:
    return OriginPlayback(
        Settings(data=folder, playback_public_keys=keys),
        store=store,
        admin_token=AdminToken(ADMIN),
        guesses=Guesses(),
        on_change=([] if told is None else told).append,
    )


def pem(path: Path, key: Any = None) -> Path:
    public = SHOP.public_key if key is None else key.public_key()
    path.write_bytes(public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    return path


async def jwks(playback: OriginPlayback) -> list[str]:
    (row,) = [row for row in playback.operations if row.name == "getPlaybackKeys"]
    assert row.handler is not None
    response = await row.handler(None)  # type: ignore[arg-type] # it asks nothing
    keys = msgspec.json.decode(b"".join(response.chunks))["keys"]
    return [key["kid"] for key in keys]


async def test_the_key_is_made_once_and_kept_to_itself(store: SqliteStore, tmp_path: Path) -> None:
    first = await jwks(make(store, tmp_path))
    path = tmp_path / KEY_NAME
    assert path.stat().st_mode & 0o777 == 0o600
    assert await jwks(make(store, tmp_path)) == first
    path.unlink()
    assert await jwks(make(store, tmp_path)) != first


@pytest.mark.parametrize("content", ["", "rubbish", "00" * 31, "00" * 33])
async def test_a_file_that_is_no_key_stops_the_start(
    store: SqliteStore, tmp_path: Path, content: str
) -> None:
    path = tmp_path / KEY_NAME
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(StartupError, match="holds no key"):
        make(store, tmp_path)


async def test_a_key_that_others_may_read_stops_the_start(
    store: SqliteStore, tmp_path: Path
) -> None:
    (tmp_path / KEY_NAME).write_text("00" * 32)
    (tmp_path / KEY_NAME).chmod(0o644)
    with pytest.raises(StartupError, match="chmod 600"):
        make(store, tmp_path)


async def test_a_key_of_another_signer_is_called_as_its_file(
    store: SqliteStore, tmp_path: Path
) -> None:
    playback = make(store, tmp_path, pem(tmp_path / "shop.pem"))
    assert (await jwks(playback))[1:] == ["shop"]
    stream, _ = await store.create_stream(broadcaster_id="b", title="t")
    signed = jwt.encode(
        {"sub": stream.id, "exp": time.time() + 60},
        Ed25519PrivateKey.from_private_bytes(bytes(range(32))),
        "EdDSA",
        {"kid": "shop"},
    )
    assert isinstance(playback.gate.judge(stream.id, signed, "192.0.2.1"), Admitted)


@pytest.mark.parametrize("case", ["missing", "rubbish", "other kind", "bad name", "twice"])
async def test_a_public_key_that_is_none_stops_the_start(
    store: SqliteStore, tmp_path: Path, case: str
) -> None:
    good = pem(tmp_path / "shop.pem")
    paths = [tmp_path / "missing.pem"]
    if case == "rubbish":
        paths[0].write_text("rubbish")
    elif case == "other kind":
        pem(paths[0], generate_private_key(SECP256R1()))
    elif case == "bad name":
        paths = [pem(tmp_path / "my shop.pem")]
    elif case == "twice":
        paths = [good, good]
    with pytest.raises(ConfigError, match=r"^playback_public_keys: ") as refusal:
        make(store, tmp_path, *paths)
    assert "\n" not in str(refusal.value)


async def test_from_a_policy_to_a_token_that_admits(store: SqliteStore, tmp_path: Path) -> None:
    told: list[str] = []
    playback = make(store, tmp_path, told=told)
    stream, key = await store.create_stream(broadcaster_id="b", title="t")
    access = OriginAccess(
        store=store,
        admin_token=AdminToken(ADMIN),
        guesses=Guesses(),
        is_live=lambda _stream_id: False,
    )
    router = ApiRouter(access, playback.operations)

    async def call(method: str, body: bytes, path: str) -> Any:
        fields = [(b"authorization", f"Bearer {key}".encode())]
        request = Request(method, f"/api/streams/{stream.id}/{path}", fields)
        answer = router.route(request)
        assert isinstance(answer, Call)
        response = await answer.handler(request, body)
        return msgspec.json.decode(b"".join(response.chunks))

    async with trio.open_nursery() as nursery:
        await nursery.start(playback.run)
        await call("PUT", b'{"policy":"token"}', "playback")
        assert told == [stream.id]
        assert playback.policies.of(stream.id) == Playback(policy="token")
        token = (await call("POST", b"{}", "playback"))["token"]
        assert isinstance(playback.gate.judge(stream.id, token, "192.0.2.1"), Admitted)
        assert not isinstance(playback.gate.judge("another", token, "192.0.2.1"), Admitted)
        nursery.cancel_scope.cancel()
