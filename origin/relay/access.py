"""Who may see a stream's source, and where it comes from.

The source is the publisher's own media, before any quality ladder and delay. It is for those who
run the stream: whoever has its key, or the admin token.

RTMP has a name only, so either it is the stream key itself (the very URL that is published to), or
the stream's id with ``?token=SECRET``. Over HTTP the API's router knows who asks
(`origin.relay.http_flv`). Wrong secrets are counted as guesses, as they are there.

May import control, edge and origin's own.
"""

from collections.abc import Callable
from typing import Final
from urllib.parse import parse_qs

import trio

from control import AdminToken, Store
from edge.guesses import Guesses
from origin.relay.tap import Tap, Taps

MAX_FIELDS: Final = 16
"""Fields of a query that are looked at: players add some of their own."""


class NoSourceError(Exception):
    """The source is not shown; ``str(error)`` is the reason, fit for whoever asked."""


class SourceAccess:
    """Gives out taps to those who may have them.

    Args:
        taps: Those of this process.
        store: Knows streams and keys.
        admin_token: The token that may do everything.
        guesses: Counts what opens nothing.
        clock: Seconds, for the guesses.
    """

    def __init__(
        self,
        *,
        taps: Taps,
        store: Store,
        admin_token: AdminToken,
        guesses: Guesses,
        clock: Callable[[], float] = trio.current_time,
    ) -> None:
        self._guesses = guesses
        self._clock = clock
        self._taps = taps
        self._store = store
        self._admin_token = admin_token

    async def _by_token(self, stream_id: str, token: str, client: str) -> Tap:
        """Return the tap of a stream; an id is public, so an unknown one is said to be unknown.

        Args:
            stream_id: The stream, of any content.
            token: Its key, or the admin token.
            client: The player's address.

        Raises:
            NoSourceError: There is no such stream, no permission, or no publisher now.
            StoreError: It cannot be known now.
        """
        if await self._store.get_stream(stream_id) is None:
            raise NoSourceError("no such stream")
        is_admin = self._admin_token.matches(token)
        if not is_admin and not await self._store.verify_key(stream_id, token):
            self._guesses.note_wrong(client, self._clock())
            raise NoSourceError("this needs the stream's key or the admin token")
        return self._tap(stream_id)

    async def by_name(self, name: str, query: str, *, client: str) -> Tap:
        """Return the tap of what an RTMP player asks for.

        Args:
            name: A stream key, or an id; never logged.
            query: What stood behind the name's question mark.
            client: The player's address.

        Raises:
            NoSourceError: There is no such stream, no permission, no publisher now, or there were
                too many wrong secrets from there.
            StoreError: It cannot be known now.
        """
        if not self._guesses.may_try(client, self._clock()):
            raise NoSourceError("too many wrong keys from your address")
        token = _token_in(query)
        if token is not None:
            return await self._by_token(name, token, client)
        stream = await self._store.find_by_key(name)
        if stream is None:
            self._guesses.note_wrong(client, self._clock())
            raise NoSourceError("unknown stream key")
        return self._tap(stream.id)

    def _tap(self, stream_id: str) -> Tap:
        tap = self._taps.get(stream_id)
        if tap is None:
            raise NoSourceError("the stream has no publisher now")
        return tap


def _token_in(query: str) -> str | None:
    try:
        return parse_qs(query, max_num_fields=MAX_FIELDS)["token"][0]
    except (KeyError, ValueError):  # none, or a query of a size that we never asked for
        return None
