"""RTMP playback: the source of a stream to a player such as ffplay, for monitoring.

``rtmp://HOST/live/STREAM_KEY``, the URL that is published to, or
``rtmp://HOST/live/STREAM_ID?token=...`` (`origin.relay.access`). Once a connection asks to play it
is served to its end here: one play on a connection.

It ends with the publisher, when the player leaves or stops, or takes nothing for the driver's send
time-out. One that is slower than the source loses messages up to the next keyframe.

Bounds: `tap.MAX_FOLLOWERS` of one stream; of each one queue (`tap.QUEUE_BYTES`) and one batch.

May import rtmpcore, control and origin's own.
"""

from dataclasses import replace
from typing import Final

import structlog
import trio

from control import StoreError
from origin.relay.access import NoSourceError, SourceAccess
from origin.relay.tap import Follower, TapError
from origin.rtmp.driver import RtmpDriver
from rtmpcore import (
    Event,
    LocalProtocolError,
    Play,
    PlayRefusal,
    PlayRefused,
    PlayStarted,
    PlayStopped,
    RemoteProtocolError,
    StopPlay,
)

LEFT: Final = "playback over: closed by the player"
LOST: Final = "playback over: connection lost"

log = structlog.get_logger("monitor")


class RtmpMonitors:
    """Serves players of sources.

    Args:
        access: Knows who may see which.
    """

    def __init__(self, access: SourceAccess) -> None:
        self._access = access

    async def serve(self, driver: RtmpDriver, play: Play, address: str) -> str:
        """Serve one player to its end, or refuse it; returns why the connection is over.

        Raises:
            As `RtmpDriver.send`, before media flows.

        Cancellation: the connection is finished.
        """
        stream_id = play.stream_id
        try:
            follower = await self._follow(play, address)
        except NoSourceError as error:
            return await _refuse(driver, stream_id, PlayRefusal.NOT_FOUND, str(error))
        except TapError as error:
            return await _refuse(driver, stream_id, PlayRefusal.FAILED, str(error))
        with follower:
            await driver.send(PlayStarted(stream_id=stream_id))
            return await _play(driver, follower, stream_id)

    async def _follow(self, play: Play, address: str) -> Follower:
        try:
            tap = await self._access.by_name(play.name, play.query, client=address)
        except StoreError as error:
            log.error("cannot look up a stream", reason=str(error))
            raise TapError("the stream cannot be looked up now") from error
        return tap.follow()


async def _refuse(driver: RtmpDriver, stream_id: int, code: PlayRefusal, reason: str) -> str:
    await driver.refuse(PlayRefused(stream_id=stream_id, code=code, description=reason))
    return f"playback refused: {reason}"


async def _play(driver: RtmpDriver, follower: Follower, stream_id: int) -> str:
    """Send until either side ends; returns why. The first reason is the true one."""
    reasons: list[str] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_watch, driver, nursery.cancel_scope, reasons)
        try:
            while batch := await follower.receive():
                for message in batch:
                    await driver.send(replace(message, stream_id=stream_id))
            reasons.append("playback over: publisher gone")
            await driver.send(PlayStopped(stream_id=stream_id))
        except LocalProtocolError:  # it has said that it stops, and its task has not yet heard
            reasons.append(LEFT)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            reasons.append(LOST)
        except trio.TooSlowError:
            reasons.append("playback over: the player takes nothing")
        nursery.cancel_scope.cancel(reason=reasons[0])
    return reasons[0]


async def _watch(driver: RtmpDriver, scope: trio.CancelScope, reasons: list[str]) -> None:
    """Read what the player says, until it has had enough; never raises."""
    try:
        await driver.relay(_means_nothing)
        reasons.append(LEFT)
    except RemoteProtocolError as error:
        reasons.append(f"protocol error: {error}")
    except (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError):
        reasons.append(LOST)
    scope.cancel(reason=reasons[0])


def _means_nothing(event: Event) -> bool:
    return not isinstance(event, StopPlay)
