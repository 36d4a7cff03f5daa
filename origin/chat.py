"""The chat of an origin: `edge.chat` put together with its store, its streams and its settings.

The secret that signs tokens is a file in the data folder, made on first start; who has it may be
anybody in any room.
"""

from pathlib import Path
from typing import Final

import httpx

from control import SqliteStore, StoreError
from control.secret_file import load_or_create_key
from edge.backend import Backend
from edge.chat.crowd import CrowdSettings
from edge.chat.doorway import ChatSocketSettings
from edge.chat.identity import Keyring
from edge.chat.sampling import Sampling
from edge.chat.service import ChatService, ChatSettings
from edge.chat.webhook import Webhook
from edge.events import EventBus
from edge.process.errors import ConfigError, StartupError
from origin.broadcast import Broadcasts
from origin.config import Settings

SECRET_NAME: Final = "chat-secret"

MAX_KEY_BYTES: Final = 4096
"""Of the PEM file of a public key."""


def make_chat(
    settings: Settings,
    store: SqliteStore,
    backend: Backend,
    broadcasts: Broadcasts,
    events: EventBus | None = None,
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
        keyring=make_keyring(settings, _secret(settings.data / SECRET_NAME)),
        webhook=make_webhook(settings),
        events=events,
        settings=chat_settings(settings),
    )


def chat_settings(settings: Settings) -> ChatSettings:
    """How this process chats."""
    return ChatSettings(
        batch_ms=settings.chat_batch_ms,
        max_connections_per_address=settings.max_chat_connections_per_address,
        sampling=Sampling(above=settings.chat_sampling_above, per_s=settings.chat_sampling_per_s),
        keep_days=settings.chat_keep_days,
        crowd=CrowdSettings(max_members=settings.max_chat_connections),
    )


def socket_settings(settings: Settings) -> ChatSocketSettings:
    """How WebSockets begin here."""
    return ChatSocketSettings(allowed_origins=settings.chat_origins)


def make_keyring(settings: Settings, secret: bytes) -> Keyring:
    """Put a secret and the public key of the settings together.

    Raises:
        ConfigError: The public key is none.
    """
    public_keys = {}
    try:
        if settings.chat_public_key is not None:
            with settings.chat_public_key.open("rb") as file:
                public_keys[""] = file.read(MAX_KEY_BYTES).decode("ascii")
        return Keyring(secret, public_keys=public_keys)
    except OSError as error:
        reason = error.strerror or str(error)
        raise ConfigError(f"chat_public_key: {settings.chat_public_key}: {reason}") from error
    except ValueError as error:
        raise ConfigError(f"chat_public_key: {error}") from error


def make_webhook(settings: Settings) -> Webhook | None:
    """Make what asks a program about messages; None: there is none.

    Raises:
        ConfigError: Its URL is none.
    """
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


def _secret(path: Path) -> bytes:
    try:
        return load_or_create_key(path)
    except StoreError as error:
        raise StartupError(str(error)) from error
