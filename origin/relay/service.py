"""All relays of an origin: one object for the application to start, ask and hand out.

Implements `edge.relays.RelayBackend`. What is stored, and what runs, is put together here; who may
ask is the API layer's business.

May import rtmpcore, control, edge and origin's own.
"""

import ssl
from collections.abc import Sequence

import structlog
import trio

from control import AdminToken, Relays, Store, StoreError, UnknownStreamError
from edge.api.operation import Operation
from edge.errors import NoSuchStream, Unavailable
from edge.guesses import Guesses
from edge.relays import BadRelay, RelayInfo, RelaysInfo, RelaysRequest
from origin.relay.access import SourceAccess
from origin.relay.forward import Connect as ConnectForward
from origin.relay.forward import Forwards, connect_trusting
from origin.relay.http_flv import HttpFlv
from origin.relay.pull import Connect as ConnectPull
from origin.relay.pull import Pulls, TakeStream, play_trusting
from origin.relay.rtmp_play import RtmpMonitors
from origin.relay.tap import Taps
from origin.relay.target import parse_target
from origin.rtmp.driver import RtmpDriver
from rtmpcore import Play

log = structlog.get_logger("relay")


class Relaying:
    """The relays of a process.

    Args:
        store: Knows streams, keys and where they are relayed to.
        admin_token: The token that may do everything.
        taps: The taps of the publishers; ingest opens and feeds them.
        take: Takes a stream for a pull.
        forward: Publishes to a far server; None: by RTMP, to those that the system trusts.
        pull: Plays a far server; None: the same.
        guesses: Counts wrong keys by network; None: nobody else does.
    """

    def __init__(
        self,
        *,
        store: Store,
        admin_token: AdminToken,
        taps: Taps,
        take: TakeStream,
        forward: ConnectForward | None = None,
        pull: ConnectPull | None = None,
        guesses: Guesses | None = None,
    ) -> None:
        trusted = ssl.create_default_context()
        access = SourceAccess(
            taps=taps,
            store=store,
            admin_token=admin_token,
            guesses=Guesses() if guesses is None else guesses,
        )
        self._store = store
        self._flv = HttpFlv(taps)
        self._monitors = RtmpMonitors(access)
        self._forwards = Forwards(
            taps=taps, urls_of=self._forwards_of, connect=forward or connect_trusting(trusted)
        )
        self._pulls = Pulls(
            list_urls=store.list_pulls, connect=pull or play_trusting(trusted), take=take
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Relay until cancelled."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self._forwards.run)
            await nursery.start(self._pulls.run)
            task_status.started()

    async def play(self, driver: RtmpDriver, play: Play, address: str) -> str:
        """Serve an RTMP player to its end; returns why it ended."""
        return await self._monitors.serve(driver, play, address)

    @property
    def operations(self) -> Sequence[Operation]:
        """The rows on sources; those on relays are `edge.api.streams`'."""
        return self._flv.operations

    async def relays(self, stream_id: str) -> RelaysInfo:
        """See `edge.relays.RelayBackend.relays`."""
        try:
            relays = await self._store.get_relays(stream_id)
        except StoreError as error:
            raise _unavailable(error) from None
        return self._info(stream_id, relays)

    async def set_relays(self, stream_id: str, request: RelaysRequest) -> RelaysInfo:
        """See `edge.relays.RelayBackend.set_relays`."""
        relays = Relays(forward=request.forward, pull=request.pull)
        try:
            for url in (*relays.forward, relays.pull):
                if url is not None:
                    parse_target(url)
            await self._store.set_relays(stream_id, relays)
        except ValueError as error:
            raise BadRelay(str(error)) from None
        except UnknownStreamError:
            raise NoSuchStream from None
        except StoreError as error:
            raise _unavailable(error) from None
        log.info(
            "relays set",
            stream=stream_id,
            forwards=len(relays.forward),
            pulls=int(relays.pull is not None),
        )
        self._forwards.refresh(stream_id)
        self._pulls.set(stream_id, relays.pull)
        return self._info(stream_id, relays)

    def _info(self, stream_id: str, relays: Relays) -> RelaysInfo:
        forwards = self._forwards.infos(stream_id)
        return RelaysInfo(
            forward=forwards or [_idle(url) for url in relays.forward],
            pull=self._pulls.info(stream_id),
        )

    async def _forwards_of(self, stream_id: str) -> Sequence[str]:
        return (await self._store.get_relays(stream_id)).forward


def _idle(url: str) -> RelayInfo:
    return RelayInfo(peer=parse_target(url).name, state="idle")


def _unavailable(error: StoreError) -> Unavailable:
    log.error("cannot ask the store", reason=str(error))
    return Unavailable()
