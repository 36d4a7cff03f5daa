"""The chat of an origin: `edge.chat` put together with its store, its streams and its settings.

The secret that signs tokens is a file in the data folder, made on first start; who has it may be
anybody in any room.
"""

import os
import secrets
import stat
from pathlib import Path
from typing import Final

import httpx

from control import SqliteStore
from edge.backend import Backend
from edge.chat.crowd import CrowdSettings
from edge.chat.doorway import ChatSocketSettings
from edge.chat.identity import Keyring
from edge.chat.sampling import Sampling
from edge.chat.service import ChatService, ChatSettings
from edge.chat.webhook import Webhook
from edge.process.errors import ConfigError, StartupError
from origin.broadcast import Broadcasts
from origin.config import Settings

SECRET_NAME: Final = "chat-secret"
SECRET_BYTES: Final = 32

MAX_KEY_BYTES: Final = 4096
"""Of the PEM file of a public key."""


def make_chat(
    settings: Settings, store: SqliteStore, backend: Backend, broadcasts: Broadcasts
) -> ChatService:
    """Put the chat together; it runs with `ChatService.run`.

    Raises:
        StartupError: The secret cannot be read or made.
        ConfigError: The public key is none.
    """

    def stream_time_s(stream_id: str) -> float | None:
        broadcast = broadcasts.live(stream_id)
        edge_ms = None if broadcast is None or broadcast.live is None else broadcast.live.edge_ms
        if broadcast is None or edge_ms is None:
            return None
        return max(0.0, edge_ms / 1000 - broadcast.started_at_s)

    return ChatService(
        store=store.chat,
        backend=backend,
        stream_time_s=stream_time_s,
        keyring=_keyring(settings),
        webhook=_webhook(settings),
        settings=ChatSettings(
            batch_ms=settings.chat_batch_ms,
            max_connections_per_address=settings.max_chat_connections_per_address,
            sampling=Sampling(
                above=settings.chat_sampling_above, per_s=settings.chat_sampling_per_s
            ),
            keep_days=settings.chat_keep_days,
            crowd=CrowdSettings(max_members=settings.max_chat_connections),
        ),
    )


def socket_settings(settings: Settings) -> ChatSocketSettings:
    """How WebSockets begin here."""
    return ChatSocketSettings(allowed_origins=settings.chat_origins)


def _keyring(settings: Settings) -> Keyring:
    public_keys = {}
    if settings.chat_public_key is not None:
        try:
            with settings.chat_public_key.open("rb") as file:
                public_keys[""] = file.read(MAX_KEY_BYTES).decode("ascii")
        except (OSError, UnicodeError) as error:
            raise ConfigError(f"chat_public_key: {error}") from error
    secret = _load_or_create_secret(settings.data / SECRET_NAME)
    try:
        return Keyring(secret, public_keys=public_keys)
    except ValueError as error:
        raise ConfigError(f"chat_public_key: {error}") from error


def _webhook(settings: Settings) -> Webhook | None:
    if settings.chat_webhook is None:
        return None
    secret = settings.chat_webhook_secret
    try:
        return Webhook(
            settings.chat_webhook,
            client=httpx.AsyncClient(follow_redirects=False, trust_env=False),
            fails_open=settings.chat_webhook_fails_open,
            secret=None if secret is None else secret.encode(),
        )
    except ValueError as error:
        raise ConfigError(f"chat_webhook: {error}") from error


def _load_or_create_secret(path: Path) -> bytes:
    """Read the secret, or make one; as strict as with the admin token."""
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return _read_secret(path)
        secret = secrets.token_bytes(SECRET_BYTES)
        with open(descriptor, "wb") as file:
            file.write(secret.hex().encode() + b"\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise StartupError(f"{path}: {error.strerror or error}") from error
    return secret


def _read_secret(path: Path) -> bytes:
    with path.open("rb") as file:
        if stat.S_IMODE(os.fstat(file.fileno()).st_mode) & 0o077:
            raise StartupError(f"{path}: other users may read this secret; run chmod 600 on it")
        text = file.read(4 * SECRET_BYTES)
    try:
        secret = bytes.fromhex(text.decode("ascii").strip())
    except ValueError:
        secret = b""
    if len(secret) != SECRET_BYTES:
        # Also what a kill between creation and write leaves: an empty file.
        raise StartupError(f"{path}: holds no secret; delete it to get a new one")
    return secret
