"""A program of the operator's that is asked about a message before anybody sees it.

    ask -> POST, JSON of the message -> {"action": "allow" | "deny" | "change", ...}

Whatever happens there is an answer, in `timeout_s` at the latest: one that does not come, comes
late, or cannot be read is what the operator chose, allow or deny. One that has failed
`MAX_FAILURES` times in a row is left alone for `PAUSE_S`, then tried with one message.

What is sent is signed, as `edge.signature` has it.

Bounds: `MAX_UNDER_WAY` questions at one time, more are not asked; `MAX_ANSWER_BYTES`. May import:
httpx, trio, `control.chat_model`, `edge.posting`, `edge.signature`, `edge.chat`'s pure modules.
"""

import time
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

import httpx
import msgspec
import structlog
import trio

from control.chat_model import ChatMessage
from edge.chat.filters import clean_content
from edge.posting import keep_no_cookies
from edge.signature import sign

MAX_UNDER_WAY: Final = 64
MAX_ANSWER_BYTES: Final = 16_384

MAX_FAILURES: Final = 5
PAUSE_S: Final = 5.0

MAX_CONTENT_CHARS: Final = 500
"""Of what a message may be changed to: what anybody may write."""

MAX_REASON_CHARS: Final = 200
"""Of a reason; the rest is cut off."""

NO_REASON: Final = "your message was not accepted"
NOT_ASKED: Final = "messages cannot be checked now, try again"

_CLOSE_TIMEOUT_S: Final = 1.0

log = structlog.get_logger("chat")


class Allow(msgspec.Struct, frozen=True):
    """The message may be shown as it is."""


class Change(msgspec.Struct, frozen=True):
    """The message may be shown, as this."""

    content: str
    """Cleaned; 1 to `MAX_CONTENT_CHARS`."""


class Deny(msgspec.Struct, frozen=True):
    """The message may not be shown."""

    text: str
    """For the person, one line."""


Decision = Allow | Change | Deny


class WebhookStatistics(NamedTuple):
    """What has come of the questions so far."""

    asked: int
    failed: int
    """Of those asked: no answer, or none that could be read."""
    not_asked: int
    """There were too many at one time, or it was left alone."""


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    action: Literal["allow", "deny", "change"]
    content: str | None = None
    reason: str | None = None


class _NoAnswer(Exception):
    """There is none that can be used; the text says why, without an address."""


class Webhook:
    """The program, and how much it is trusted to be there.

    Args:
        url: Where it listens: http or https.
        client: Sends the questions.
        timeout_s: From a question to the end of its answer.
        fails_open: Whether a message passes that it has not answered about.
        secret: Signs what is sent; None: nothing is signed.
        clock_s: UTC, seconds.

    Raises:
        ValueError: `url` is none; the text does not repeat it.
    """

    def __init__(
        self,
        url: str,
        *,
        client: httpx.AsyncClient,
        timeout_s: float = 0.5,
        fails_open: bool,
        secret: bytes | None = None,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._url = _parse_url(url)
        keep_no_cookies(client)
        self._client = client
        self._timeout_s = timeout_s
        self._unanswered = Allow() if fails_open else Deny(NOT_ASKED)
        self._secret = secret
        self._clock_s = clock_s
        self._under_way = 0
        self._failures = 0  # in a row
        self._again_s = 0.0  # when it is tried again after too many
        self._asked = self._failed = self._not_asked = 0

    def statistics(self) -> WebhookStatistics:
        """Count what has come of the questions so far."""
        return WebhookStatistics(self._asked, self._failed, self._not_asked)

    async def ask(self, message: ChatMessage) -> Decision:
        """Ask about a message. Never fails.

        Cancellation: gives the question up, which then counts for nothing.
        """
        if not self._may_ask():
            self._not_asked += 1
            await trio.lowlevel.checkpoint()
            return self._unanswered
        self._asked += 1
        self._under_way += 1
        try:
            decision = await self._exchange(msgspec.json.encode(message))
        except _NoAnswer as error:
            self._note_failure(str(error))
            return self._unanswered
        finally:
            self._under_way -= 1
        if self._failures >= MAX_FAILURES:
            log.info("chat webhook is back")
        self._failures = 0
        return decision

    async def retire(self) -> None:
        """Close the connections when what was asked has been answered, or should have been."""
        try:
            await trio.sleep(self._timeout_s)
        finally:
            await self.aclose()

    async def aclose(self) -> None:
        """Close the connections; takes a second at most."""
        with trio.move_on_after(_CLOSE_TIMEOUT_S, shield=True):
            await self._client.aclose()

    def _may_ask(self) -> bool:
        if self._under_way >= MAX_UNDER_WAY:
            return False
        if self._failures < MAX_FAILURES:
            return True
        now_s = trio.current_time()
        if now_s < self._again_s:
            return False
        self._again_s = now_s + PAUSE_S  # so that this one is the only one
        return True

    def _note_failure(self, reason: str) -> None:
        self._failed += 1
        self._failures += 1
        self._again_s = trio.current_time() + PAUSE_S
        if self._failures == MAX_FAILURES:  # said once: not for each message
            log.warning("chat webhook does not answer", reason=reason)

    async def _exchange(self, body: bytes) -> Decision:
        headers = {
            "User-Agent": "headrace",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
        }
        if self._secret is not None:
            headers["Headrace-Signature"] = sign(body, self._secret, int(self._clock_s()))
        with trio.move_on_after(self._timeout_s):
            return _read(await self._post(body, headers))
        raise _NoAnswer("no answer in time")

    async def _post(self, body: bytes, headers: dict[str, str]) -> bytes:
        pieces: list[bytes] = []
        size_bytes = 0
        try:
            async with self._client.stream(
                "POST",
                self._url,
                content=body,
                headers=headers,
                follow_redirects=False,
                timeout=None,
            ) as response:
                async for piece in response.aiter_raw():
                    size_bytes += len(piece)
                    if size_bytes <= MAX_ANSWER_BYTES:  # the rest is read, until time is up
                        pieces.append(piece)
        except httpx.HTTPError as error:
            raise _NoAnswer(type(error).__name__) from None
        if not response.is_success:
            raise _NoAnswer(f"status {response.status_code}")
        if size_bytes > MAX_ANSWER_BYTES:
            raise _NoAnswer("the answer is too long")
        return b"".join(pieces)


def _read(body: bytes) -> Decision:
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise _NoAnswer("the answer is not the JSON that was expected") from None
    if answer.action == "allow":
        return Allow()
    if answer.action == "deny":
        reason = " ".join(clean_content(answer.reason or "").split())
        return Deny(reason[:MAX_REASON_CHARS] or NO_REASON)
    content = clean_content(answer.content or "")
    if not 1 <= len(content) <= MAX_CONTENT_CHARS:
        raise _NoAnswer("the changed message is empty or too long")
    return Change(content)


def _parse_url(url: str) -> httpx.URL:
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise ValueError("not a URL") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError("must be http://HOST... or https://HOST...")
    return parsed
