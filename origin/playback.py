"""Playback access of an origin, put together: its key, the keys of other signers, the parts.

The private key is made on first start (`KEY_NAME` in the data folder); without it tokens that are
under way open nothing, and the secrets of playback webhooks are others.

May import control, edge and origin's own.
"""

import hmac
import secrets
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import httpx
import trio
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from control import AdminToken, SqliteStore, StoreError
from control.secret_file import load_or_create
from edge.api.operation import Operation
from edge.guesses import Guesses
from edge.playback.api import PlaybackApi
from edge.playback.gate import Gate
from edge.playback.policies import Policies
from edge.playback.program import Programs
from edge.playback.tokens import KeySet, Signer
from edge.process.errors import ConfigError, StartupError
from origin.config import Settings

KEY_NAME: Final = "playback-key"
"""Of the private key's file in the data folder."""

SEED_BYTES: Final = 32

MAX_PEM_BYTES: Final = 4096
"""Of the file of a public key."""


class OriginPlayback:
    """The parts of an origin that say who may watch.

    Args:
        settings: Where the key is, and those of others.
        store: Keeps who may watch.
        admin_token: The token that may do everything.
        guesses: Counts what opens nothing.
        on_change: Called with a stream's id when whether it needs a token has changed.

    Raises:
        StartupError: The private key cannot be read or made.
        ConfigError: A public key is none.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        store: SqliteStore,
        admin_token: AdminToken,
        guesses: Guesses,
        on_change: Callable[[str], object],
    ) -> None:
        seed = _seed(settings.data / KEY_NAME)
        signer = Signer(seed)
        keys = KeySet({signer.kid: signer.public_key, **read_public_keys(settings)})
        self._programs = Programs(httpx.AsyncClient(follow_redirects=False, trust_env=False))
        self.policies = Policies(store.access, admin_token, on_change)
        """Who may watch what."""
        self.gate = Gate(guesses, keys)
        """Judges tokens."""
        self._api = PlaybackApi(
            self.policies,
            signer=signer,
            webhook_key=hmac.digest(seed, b"headrace playback webhook", "sha256"),
            keys=keys,
            programs=self._programs,
            guesses=guesses,
        )

    @property
    def operations(self) -> Sequence[Operation]:
        """The rows of the API."""
        return self._api.operations

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep up with the store until cancelled."""
        try:
            await self.policies.run(task_status=task_status)
        finally:
            await self._programs.aclose()


def _seed(path: Path) -> bytes:
    try:
        seed = bytes.fromhex(load_or_create(path, lambda: secrets.token_hex(SEED_BYTES)))
    except StoreError as error:
        raise StartupError(str(error)) from error
    except ValueError:
        seed = b""
    if len(seed) != SEED_BYTES:
        raise StartupError(f"{path}: holds no key; delete it to get a new one")
    return seed


def read_public_keys(settings: Settings) -> dict[str, Ed25519PublicKey]:
    """Those of the operator's signers, by the names of their files; raises `ConfigError`."""
    keys: dict[str, Ed25519PublicKey] = {}
    for path in settings.playback_public_keys:
        try:
            if path.stem in keys:
                raise ConfigError(f"playback_public_keys: two are called {path.stem}")
            keys[path.stem] = _public_key(path)
            KeySet(keys)
        except OSError as error:
            reason = error.strerror or error
            raise ConfigError(f"playback_public_keys: {path}: {reason}") from error
        except ValueError as error:
            raise ConfigError(f"playback_public_keys: {path}: {error}") from error
    return keys


def _public_key(path: Path) -> Ed25519PublicKey:
    with path.open("rb") as file:
        pem = file.read(MAX_PEM_BYTES)
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm):
        raise ValueError("must be the PEM of a public key") from None
    if not isinstance(key, Ed25519PublicKey):
        raise ValueError("must be an Ed25519 key")
    return key
