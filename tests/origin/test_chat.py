"""The chat of an origin: its secret, its keys, and where it is on the media clock."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from control.chat_model import Role
from edge.chat.identity import BadToken
from edge.chat.service import ChatService
from edge.process.errors import ConfigError, StartupError
from origin.chat import SECRET_NAME, make_chat, socket_settings
from origin.config import Settings

STORE: Any = SimpleNamespace(chat=None)


def make(tmp_path: Path, broadcast: object = None, **settings: Any) -> ChatService:
    broadcasts: Any = SimpleNamespace(live=lambda _stream_id: broadcast)
    backend: Any = None
    return make_chat(Settings(data=tmp_path, **settings), STORE, backend, broadcasts)


def token_of(chat: ChatService) -> str:
    return chat.keyring.mint(
        stream_id="s", user_id="u", username="U", role=Role.VIEWER, ttl_s=60, now_s=0
    )


async def test_the_secret_is_made_once_and_only_the_owner_reads_it(tmp_path: Path) -> None:
    token = token_of(make(tmp_path))
    assert (tmp_path / SECRET_NAME).stat().st_mode & 0o777 == 0o600
    assert make(tmp_path).keyring.read(token, stream_id="s", now_s=1).user_id == "u"
    os.unlink(tmp_path / SECRET_NAME)
    with pytest.raises(BadToken):
        make(tmp_path).keyring.read(token, stream_id="s", now_s=1)


@pytest.mark.parametrize("content", [b"", b"\n", b"ab" * 31, b"ab" * 33, b"zz" * 32, b"\xff" * 64])
async def test_a_file_that_holds_no_secret_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / SECRET_NAME
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(StartupError, match="holds no secret; delete it"):
        make(tmp_path)


async def test_a_secret_that_others_may_read_is_refused(tmp_path: Path) -> None:
    make(tmp_path)
    (tmp_path / SECRET_NAME).chmod(0o640)
    with pytest.raises(StartupError, match="chmod 600"):
        make(tmp_path)


async def test_a_public_key_must_be_one(tmp_path: Path) -> None:
    key = Ed25519PrivateKey.generate()
    pem = tmp_path / "key.pem"
    pem.write_bytes(key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    make(tmp_path, chat_public_key=pem)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    for content in (b"no key", b"\xff", private):
        pem.write_bytes(content)
        with pytest.raises(ConfigError, match="chat_public_key"):
            make(tmp_path, chat_public_key=pem)
    with pytest.raises(ConfigError, match="chat_public_key"):
        make(tmp_path, chat_public_key=tmp_path / "absent")


async def test_a_webhook_must_have_an_address(tmp_path: Path) -> None:
    make(tmp_path, chat_webhook="http://localhost/hook", chat_webhook_secret="s")
    with pytest.raises(ConfigError, match="chat_webhook"):
        make(tmp_path, chat_webhook="file:///etc/passwd")


@pytest.mark.parametrize(
    ("broadcast", "time_s"),
    [
        (None, None),
        (SimpleNamespace(live=None), None),
        (SimpleNamespace(live=SimpleNamespace(edge_ms=None)), None),
        (SimpleNamespace(live=SimpleNamespace(edge_ms=103_500), started_at_s=100.0), 3.5),
        (SimpleNamespace(live=SimpleNamespace(edge_ms=99_000), started_at_s=100.0), 0.0),
    ],
)
async def test_the_time_of_a_stream_is_its_live_edge(
    tmp_path: Path, broadcast: object, time_s: float | None
) -> None:
    assert make(tmp_path, broadcast)._stream_time_s("s") == time_s


def test_other_sites_are_allowed_by_setting() -> None:
    settings = Settings(chat_origins=("https://example.org",))
    assert socket_settings(settings).allowed_origins == ("https://example.org",)
