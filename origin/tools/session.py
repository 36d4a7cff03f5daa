"""What all commands that ask a server share: which server, as whom, and how the answer is shown.

A token comes from a file or from the environment, never from the command line: that is read by
everybody on the machine (ps), and kept in the shell's history. Where none is given, the admin token
of an origin on this machine serves, if its file can be read and the server is on this machine: to
no other is it sent unasked.

May import: click, trio, `edge.api.client`, `edge.process`, `origin.tools.show`.
"""

import functools
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import click
import trio

from edge.api.asker import ATTEMPTS
from edge.api.client import ApiError, Client
from origin.tools import show
from origin.tools.errors import EXIT_FAILED, EXIT_REFUSED, ToolError

DEFAULT_SERVER: Final = "http://127.0.0.1:8080"
DEFAULT_DATA: Final = "./headrace-data"

SERVER_VARIABLE: Final = "HEADRACE_SERVER"
TOKEN_VARIABLE: Final = "HEADRACE_TOKEN"

ADMIN_TOKEN_NAME: Final = "admin-token"
"""As in `origin.app`, which takes long to import."""

MAX_TOKEN_BYTES: Final = 4096

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Session:
    """What a command asks with."""

    server: str
    credential: str | None
    as_json: bool

    def __repr__(self) -> str:
        return f"Session({self.server!r})"

    def run(self, main: Callable[[Client], Awaitable[T]], *, attempts: int = ATTEMPTS) -> T:
        """Ask the server; `attempts` times, where that does no harm.

        Raises:
            ToolError: It failed.
        """

        async def asking() -> T:
            async with Client(self.server, credential=self.credential, attempts=attempts) as client:
                return await main(client)

        try:
            return trio.run(asking)
        except ApiError as error:
            raise explain(error, self.credential is not None) from None
        except BaseExceptionGroup as group:  # of a connection that was being made
            if group.subgroup(KeyboardInterrupt) is None:
                raise
            raise KeyboardInterrupt from None

    def hint(self, text: str) -> None:
        """Tell a person something beside the answer."""
        if not self.as_json:
            show.hint(text)


def asks(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the options of all of them; it is called with a `Session` first."""

    @click.option(
        "--server",
        metavar="URL",
        envvar=SERVER_VARIABLE,
        default=DEFAULT_SERVER,
        help=f"Whom to ask; or {SERVER_VARIABLE}.  [default: {DEFAULT_SERVER}]",
    )
    @click.option(
        "--token-file",
        metavar="FILE",
        type=click.Path(path_type=Path),
        help=f"An admin token or a stream's key is in it; or {TOKEN_VARIABLE} is one."
        "  [default: the admin token in --data, for a server on this machine]",
    )
    @click.option(
        "--data",
        metavar="DIR",
        envvar="HEADRACE_DATA",
        default=DEFAULT_DATA,
        type=click.Path(path_type=Path),
        help=f"Of an origin on this machine.  [default: {DEFAULT_DATA}]",
    )
    @click.option("--json", "as_json", is_flag=True, help="JSON in place of tables.")
    @functools.wraps(command)
    def asking(
        server: str, token_file: Path | None, data: Path, as_json: bool, **more: Any
    ) -> None:
        credential = find_credential(server, token_file, data)
        if credential is not None and goes_open(server):
            show.hint(f"headrace: the token goes to {server} unencrypted; https:// would hide it")
        command(Session(server, credential, as_json), **more)

    return asking  # fmt: skip


def find_credential(server: str, token_file: Path | None, data: Path) -> str | None:
    """Return whom to ask as; None: as nobody in particular.

    Raises:
        ToolError: The file that was named cannot be read, or holds no token.
    """
    if token_file is not None:
        try:
            return _read(token_file)
        except OSError as error:
            raise ToolError(f"{token_file}: {error.strerror}", EXIT_REFUSED) from None
        except ValueError:
            raise ToolError(f"{token_file} holds no token", EXIT_REFUSED) from None
    given = os.environ.get(TOKEN_VARIABLE, "").strip()
    if given:
        return given
    if is_here(server):
        with suppress(OSError, ValueError):
            return _read(data / ADMIN_TOKEN_NAME)
    return None


def _read(path: Path) -> str:
    with path.open("rb") as file:
        text = file.read(MAX_TOKEN_BYTES + 1).decode("ascii").strip()
    if not text or len(text) > MAX_TOKEN_BYTES or len(text.split()) != 1:
        raise ValueError
    return text


def is_here(server: str) -> bool:
    """Whether a server's URL means this machine."""
    host = _host(server)
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def goes_open(server: str) -> bool:
    """Whether what is sent to a server can be read on the way."""
    return server.lower().startswith("http://") and not is_here(server)


def _host(server: str) -> str:
    try:
        return urlsplit(server).hostname or ""
    except ValueError:
        return ""


def explain(error: ApiError, has_credential: bool) -> ToolError:
    """What is said of a call that failed."""
    reason = error.message
    if error.status == 401 and not has_credential:
        reason += f": set {TOKEN_VARIABLE}, or name a file with --token-file"
    told_wrongly = error.code == "badRequest" and not error.status
    return ToolError(reason, EXIT_REFUSED if told_wrongly else EXIT_FAILED)


def confirm(question: str, sure: bool) -> None:
    """Ask a person before something that cannot be taken back.

    Raises:
        ToolError: There is nobody to ask, and --yes was not given.
        click.Abort: The answer is no.
    """
    if sure:
        return
    if not os.isatty(0):
        raise ToolError("this cannot be taken back: say --yes", EXIT_REFUSED)
    click.confirm(show.clean(question), abort=True, err=True)
