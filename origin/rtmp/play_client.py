"""Play over RTMP with the client role of `rtmpcore`: what pulls read.

Use::

    async with open_player("127.0.0.1", 1935, "live", name) as player:
        while (message := await player.receive()) is not None:
            ...

Not here: reconnecting, and patience with a server that plays nothing: the caller's policy.

May import rtmpcore and trio.
"""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from secrets import token_bytes
from typing import TypeAlias

import trio

from origin.rtmp.client import FLASH_VERSION, SEND_TIMEOUT_S, TRANSPORT_ERRORS, open_stream
from origin.rtmp.driver import RtmpDriver
from rtmpcore import (
    AudioMessage,
    Connect,
    ConnectAccepted,
    Connection,
    ConnectRejected,
    CreateStream,
    Metadata,
    Play,
    PlayRefused,
    PlayStarted,
    PlayStopped,
    ProtocolError,
    Role,
    StreamCreated,
    VideoMessage,
)
from rtmpcore.handshake import RANDOM_BYTES

Message: TypeAlias = VideoMessage | AudioMessage | Metadata


class PlayError(Exception):
    """The server plays nothing, or no longer; the text says why, perhaps in the server's words."""


class Player:
    """What a server plays; made by `open_player` only, for one task."""

    def __init__(self, driver: RtmpDriver) -> None:
        self._driver = driver

    async def receive(self) -> Message | None:
        """Return the next message, or None when the server has ended it.

        Raises:
            PlayError: The connection was lost, or broke the protocol.
        """
        try:
            while (event := await self._driver.next_event()) is not None:
                if isinstance(event, VideoMessage | AudioMessage | Metadata):
                    return event
                if isinstance(event, PlayStopped):
                    break
                if isinstance(event, PlayRefused):
                    raise PlayError(_refusal(event))
        except ProtocolError as error:
            raise PlayError(f"protocol error: {error}") from error
        except TRANSPORT_ERRORS as error:
            raise PlayError("connection lost") from error
        return None


@asynccontextmanager
async def open_player(
    host: str,
    port: int,
    app: str,
    name: str,
    *,
    tls: ssl.SSLContext | None = None,
    timeout_s: float = 10.0,
) -> AsyncIterator[Player]:
    """Connect, ask for a stream and hand over a `Player`; close on leaving.

    Args:
        host: Name or address of the server.
        port: TCP port.
        app: Application, the path before the name: ``live``.
        name: The stream, with its query.
        tls: Says what certificates are trusted, for RTMPS; None: plain TCP.
        timeout_s: Most time from the first packet to the server's consent.

    Raises:
        PlayError: The server could not be reached, refused, hung up, or broke the protocol.
    """
    started_s = trio.current_time()
    try:
        stream = await open_stream(host, port, tls=tls, timeout_s=timeout_s)
    except OSError as error:
        raise PlayError(str(error)) from error
    left_s = timeout_s - (trio.current_time() - started_s)
    tc_url = f"{'rtmp' if tls is None else 'rtmps'}://{host}:{port}/{app}"
    async with play_over(stream, tc_url, app, name, timeout_s=left_s) as player:
        yield player


@asynccontextmanager
async def play_over(
    stream: trio.abc.Stream, tc_url: str, app: str, name: str, *, timeout_s: float = 10.0
) -> AsyncIterator[Player]:
    """Do as `open_player` does, over a connected stream; closes it at the end."""
    driver = RtmpDriver(
        stream,
        Connection(Role.CLIENT, random_bytes=token_bytes(RANDOM_BYTES)),
        send_timeout_s=SEND_TIMEOUT_S,
    )
    try:
        await _ask(driver, tc_url, app, name, timeout_s)
        yield Player(driver)
    finally:
        await driver.close()


async def _ask(driver: RtmpDriver, tc_url: str, app: str, name: str, timeout_s: float) -> None:
    """Go from the handshake to the server's consent."""
    try:
        with trio.fail_after(timeout_s):
            await _converse(driver, tc_url, app, name)
    except ProtocolError as error:
        raise PlayError(f"protocol error: {error}") from error
    except trio.TooSlowError as error:
        raise PlayError(f"no consent to play within {timeout_s:.0f} s") from error
    except TRANSPORT_ERRORS as error:
        raise PlayError("connection lost before playing") from error


async def _converse(driver: RtmpDriver, tc_url: str, app: str, name: str) -> None:
    await driver.shake_hands()
    await driver.send(Connect(app=app, tc_url=tc_url, flash_version=FLASH_VERSION, properties={}))
    while (event := await driver.next_event()) is not None:
        if isinstance(event, ConnectAccepted):
            await driver.send(CreateStream())
        elif isinstance(event, ConnectRejected):
            raise PlayError(f"{event.code.value}: {event.description}")
        elif isinstance(event, StreamCreated):
            bare, _, query = name.partition("?")
            await driver.send(Play(stream_id=event.stream_id, name=bare, query=query))
        elif isinstance(event, PlayStarted):
            return
        elif isinstance(event, PlayRefused):
            raise PlayError(_refusal(event))
    raise PlayError("the server closed the connection before playing")


def _refusal(event: PlayRefused) -> str:
    return f"{event.code.value}: {event.description}" if event.description else event.code.value
