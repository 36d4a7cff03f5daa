"""The API's rows on settings: what is in force, and a reload.

Secrets are hidden from everybody; where a setting was given is the name of a file or a variable.

May import edge and `origin.reload`.
"""

from collections.abc import Sequence
from typing import Any

import msgspec

from edge.api.operation import Asked, Need, Operation
from edge.http.messages import HttpError
from edge.http.response import Response, json_response
from edge.process.errors import ConfigError
from edge.process.settings import shown
from origin.reload import LIVE_NAMES, Outcome, Reloading, log_outcome


class SettingInfo(msgspec.Struct, frozen=True, rename="camel"):
    """A setting in force."""

    name: str
    value: Any
    """As TOML would have it; null: it is not set. A secret that is set is "(hidden)"."""
    source: str
    """Where it was given; "default": nowhere."""
    is_live: bool
    """Whether a reload applies it; else it needs a restart."""


class Configuration(msgspec.Struct, frozen=True, rename="camel"):
    """All settings in force."""

    settings: tuple[SettingInfo, ...]
    needs_restart: tuple[str, ...]
    """Settings that the last reload found changed and could not apply."""


class ConfigApi:
    """The handlers.

    Args:
        reloading: Has the settings.
    """

    def __init__(self, reloading: Reloading) -> None:
        self._reloading = reloading

    @property
    def operations(self) -> Sequence[Operation]:
        """The rows."""
        return (
            Operation(
                name="getConfig",
                method="GET",
                path="/api/config",
                handler=self._get,
                summary="The settings in force",
                description="Every setting of this server, with where it was given. Secrets, and"
                " passwords and queries of URLs, are hidden.",
                tag="Configuration",
                need=Need.ADMIN,
                scope="config",
                answer=Configuration,
            ),
            Operation(
                name="reloadConfig",
                method="POST",
                path="/api/config/reload",
                handler=self._reload,
                summary="Read the settings again",
                description="Reads the configuration file again, as SIGHUP does; flags and"
                " variables are those of the start. All that changed and can be applied is; or, if"
                " anything is wrong, nothing, and the error says what.",
                tag="Configuration",
                need=Need.ADMIN,
                scope="config",
                answer=Outcome,
                errors=(409,),
            ),
        )

    async def _get(self, _asked: Asked) -> Response:
        reloading = self._reloading
        values = shown(reloading.settings)
        return json_response(
            200,
            Configuration(
                tuple(
                    SettingInfo(
                        name, value, reloading.sources.get(name, "default"), name in LIVE_NAMES
                    )
                    for name, value in values.items()
                ),
                reloading.needs_restart,
            ),
        )

    async def _reload(self, asked: Asked) -> Response:
        try:
            outcome = self._reloading.reload()
        except ConfigError as error:
            raise HttpError(409, str(error), code="badConfiguration") from None
        log_outcome(outcome, by=asked.principal.name)
        return json_response(200, outcome)
