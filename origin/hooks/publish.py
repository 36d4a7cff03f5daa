"""A program of the operator's that is asked who may publish, after the key was found good.

    judge -> POST, JSON of the publisher -> {"action": "allow" | "deny" | "rename", ...}

It may let the publisher in, turn it away with a reason that the broadcaster reads, or let it
publish into another stream that there is. Whatever happens there is a decision, in `TIMEOUT_S` at
the latest: if the program does not answer, or with what cannot be read, it is what the operator
chose, by default "no". One that has failed `MAX_FAILURES` times in a row is left alone for
`PAUSE_S`, then asked about one publisher.

Each publisher asks in its own task: nobody else waits. Bounds: `MAX_UNDER_WAY` questions at one
time, others wait within their time.

May import: trio, control, edge, origin.config, origin.rtmp.publisher.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import msgspec
import structlog
import trio

from control import Store, StoreError, StreamKey, is_stream_id
from edge.posting import Poster, PostError, check_url
from edge.process.errors import ConfigError
from origin.config import Settings
from origin.rtmp.publisher import NoRoomError, Peer, PublishDeniedError

TIMEOUT_S: Final = 3.0
"""For a decision; less than `handshake_timeout_s`, which goes on meanwhile."""

MAX_UNDER_WAY: Final = 64

MAX_FAILURES: Final = 5
PAUSE_S: Final = 5.0

MAX_REASON_CHARS: Final = 200
"""Of a reason; the rest is cut off."""

NO_REASON: Final = "you may not publish now"
NOT_ASKED: Final = "it cannot be checked now whether you may publish; try again"

log = structlog.get_logger("hooks")


class Question(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """Who wants to publish. The JSON that is sent."""

    stream_id: str
    key_id: str
    key_label: str
    address: str
    """IP address."""
    app: str
    """Of the RTMP URL: "live", with whatever the encoder put behind it."""
    encoder: str
    """What the encoder calls itself; it may lie."""
    at: int
    """UTC, milliseconds since 1970."""


class _Answer(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    action: Literal["allow", "deny", "rename"]
    reason: str | None = None
    stream_id: str | None = None


class _NoAnswerError(Exception):
    """There is none that can be used; the text says why, without an address."""


class PublishHook:
    """The program, and how much it is trusted to be there.

    Args:
        url: Where it listens.
        poster: Sends the questions.
        exists: Whether there is a stream of an id; raises `StoreError`.
        fails_open: Whether who has a good key may publish while it does not answer.
        secret: Signs what is sent; None: nothing is signed.
        clock_s: UTC, seconds.
    """

    def __init__(
        self,
        url: str,
        *,
        poster: Poster,
        exists: Callable[[str], Awaitable[bool]],
        fails_open: bool = False,
        secret: bytes | None = None,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._url = url
        self._poster = poster
        self._exists = exists
        self._fails_open = fails_open
        self._secret = secret
        self._clock_s = clock_s
        self._places = trio.CapacityLimiter(MAX_UNDER_WAY)
        self._failures = 0  # in a row
        self._again_s = 0.0  # when it is asked again after too many
        self._retired = trio.Event()

    async def judge(self, key: StreamKey, peer: Peer) -> str:
        """Ask about somebody who has shown a good key.

        Returns:
            The stream to publish into: the key's, or another that there is.

        Raises:
            PublishDeniedError: It says no, or did not answer and does not fail open.

        Cancellation: gives the question up.
        """
        if not self._may_ask():
            await trio.lowlevel.checkpoint()
            return self._unanswered(key)
        question = Question(
            stream_id=key.stream_id,
            key_id=key.id,
            key_label=key.label,
            address=peer.address,
            app=peer.app,
            encoder=peer.encoder,
            at=round(self._clock_s() * 1000),
        )
        try:
            answer = await self._ask(question)
            stream_id = await self._stream_of(answer, key)
        except _NoAnswerError as error:
            self._note_failure(str(error))
            return self._unanswered(key)
        if self._failures >= MAX_FAILURES:
            log.info("publish webhook is back")
        self._failures = 0
        if answer.action == "deny":
            raise PublishDeniedError(_clean(answer.reason or "") or NO_REASON, code="deniedByHook")
        if stream_id != key.stream_id:
            log.info("publisher is sent to another stream", stream=key.stream_id, to=stream_id)
        return stream_id

    async def run(self) -> None:
        """Wait to be cancelled or retired, then close the connections."""
        try:
            await self._retired.wait()
            await trio.sleep(TIMEOUT_S)  # who has asked is answered by then
        finally:
            await self.aclose()

    def retire(self) -> None:
        """Nobody will be sent here any more: `run` may end."""
        self._retired.set()

    async def aclose(self) -> None:
        """Close the connections; takes a second at most."""
        await self._poster.aclose()

    def _may_ask(self) -> bool:
        if self._failures < MAX_FAILURES:
            return True
        now_s = trio.current_time()
        if now_s < self._again_s:
            return False
        self._again_s = now_s + PAUSE_S  # so that this one is the only one
        return True

    def _unanswered(self, key: StreamKey) -> str:
        if self._fails_open:
            return key.stream_id
        raise NoRoomError(NOT_ASKED, code="notAsked")

    def _note_failure(self, reason: str) -> None:
        self._failures += 1
        self._again_s = trio.current_time() + PAUSE_S
        # At each of the first, for somebody is turned away; then once.
        if self._failures <= MAX_FAILURES:
            log.warning("publish webhook does not answer as it should", reason=reason)

    async def _ask(self, question: Question) -> _Answer:
        body = msgspec.json.encode(question)
        with trio.move_on_after(TIMEOUT_S):
            async with self._places:
                try:
                    answered = await self._poster.post(
                        self._url, body, secret=self._secret, timeout_s=TIMEOUT_S
                    )
                except PostError as error:
                    raise _NoAnswerError(str(error)) from None
            if not answered.is_success:
                raise _NoAnswerError(f"status {answered.status}")
            try:
                return msgspec.json.decode(answered.body, type=_Answer)
            except (msgspec.DecodeError, UnicodeError, RecursionError):
                raise _NoAnswerError("the answer is not the JSON that was expected") from None
        raise _NoAnswerError("no answer in time")

    async def _stream_of(self, answer: _Answer, key: StreamKey) -> str:
        if answer.action != "rename":
            return key.stream_id
        stream_id = answer.stream_id or ""
        try:
            if not is_stream_id(stream_id) or not await self._exists(stream_id):
                raise _NoAnswerError("it names a stream that there is not")
        except StoreError as error:
            log.error("cannot look up a stream", reason=str(error))
            raise _NoAnswerError("the store does not answer") from None
        return stream_id


def make_publish_hook(settings: Settings, store: Store) -> PublishHook | None:
    """Put it together; None: nobody is asked.

    Raises:
        ConfigError: `publish_webhook` is no URL.
    """
    url, secret = parse_publish_webhook(settings), settings.publish_webhook_secret
    if url is None:
        return None

    async def exists(stream_id: str) -> bool:
        return await store.get_stream(stream_id) is not None

    return PublishHook(
        url,
        poster=Poster(max_connections=MAX_UNDER_WAY),
        exists=exists,
        fails_open=settings.publish_webhook_fails_open,
        secret=None if secret is None else secret.encode(),
    )


def parse_publish_webhook(settings: Settings) -> str | None:
    """Return the URL of `publish_webhook`; raises `ConfigError` if it is none."""
    url = settings.publish_webhook
    if url is not None:
        try:
            check_url(url)
        except ValueError as error:
            raise ConfigError(f"publish_webhook: {error}") from error
    return url


def _clean(reason: str) -> str:
    """One line, fit for an encoder's window and for the log."""
    text = "".join(character if character.isprintable() else " " for character in reason)
    return " ".join(text.split())[:MAX_REASON_CHARS]
