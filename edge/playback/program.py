"""A program of the operator's that is asked whether somebody may watch.

    ask -> POST, JSON of a question -> {"action": "allow" | "deny", ...}

A viewer shows it whatever it has given them, a ticket or a session: text that means nothing here.
There is an answer in `TIMEOUT_S`, or `NoVerdict`: nobody gets in by its silence. A program that has
failed `MAX_FAILURES` times in a row is left alone for `PAUSE_S`, then tried with one question.

What is sent is signed, as `edge.signature` has it. A redirect is no answer.

Bounds: `MAX_UNDER_WAY` questions of one stream at one time and `MAX_ALL_UNDER_WAY` of all, more are
not asked; `MAX_ANSWER_BYTES`; `MAX_PROGRAMS`. May import: httpx, trio, `edge.posting`,
`edge.signature`, `edge.playback.tokens`.
"""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, Literal

import httpx
import msgspec
import structlog
import trio

from edge.playback.tokens import MAX_LIFETIME_S, parse_net
from edge.posting import keep_no_cookies
from edge.signature import sign

TIMEOUT_S: Final = 3.0
"""From a question to the end of its answer; somebody waits for a picture."""

MAX_UNDER_WAY: Final = 32
MAX_ALL_UNDER_WAY: Final = 256
MAX_ANSWER_BYTES: Final = 16_384

MAX_FAILURES: Final = 5
PAUSE_S: Final = 5.0

MAX_PROGRAMS: Final = 1000
"""Whose failures are remembered; who was asked longest ago is forgotten first."""

MAX_REASON_CHARS: Final = 200
"""Of a reason; the rest is cut off."""

NO_REASON: Final = "you may not watch this stream"

_CLOSE_TIMEOUT_S: Final = 1.0

log = structlog.get_logger("playback")


class Question(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    """What a program is sent."""

    stream_id: str
    credential: str
    """What the viewer has shown; "" if nothing."""
    address: str
    """The viewer's IP address, as far as it is known; else ""."""

    def __repr__(self) -> str:
        return f"Question(stream_id={self.stream_id!r})"  # a repr goes into logs


class Allow(msgspec.Struct, frozen=True):
    """They may watch."""

    lifetime_s: int | None = None
    """For so long, then it is asked again; None: the usual time."""
    net: str | None = None
    """From these addresses only; "address": from where they are now."""


class Deny(msgspec.Struct, frozen=True):
    """They may not."""

    text: str
    """For the person, one line."""


class NoVerdict(Exception):
    """There is no answer that can be used; the text says why, without an address."""


class _Answer(msgspec.Struct, rename="camel", frozen=True, kw_only=True):
    action: Literal["allow", "deny"]
    reason: str | None = None
    lifetime_s: Annotated[int, msgspec.Meta(ge=1, le=MAX_LIFETIME_S)] | None = None
    net: Annotated[str, msgspec.Meta(max_length=64)] | None = None


@dataclass(slots=True)
class _Program:
    """One stream's, and how much it is trusted to be there."""

    url: str
    under_way: int = 0
    failures: int = 0
    """In a row."""
    again_s: float = 0.0
    """When it is tried again after too many."""


class Programs:
    """The programs of all streams.

    Args:
        client: Sends the questions.
        clock: Gives UTC seconds since 1970.
    """

    def __init__(
        self, client: httpx.AsyncClient, *, clock: Callable[[], float] = time.time
    ) -> None:
        keep_no_cookies(client)
        self._client = client
        self._clock = clock
        self._programs: OrderedDict[str, _Program] = OrderedDict()
        self._under_way = 0

    def __len__(self) -> int:
        """How many programs are remembered."""
        return len(self._programs)

    async def ask(self, url: str, secret: bytes, question: Question) -> Allow | Deny:
        """Ask about one viewer.

        Args:
            url: Where the stream's program listens.
            secret: Signs the question.
            question: About whom.

        Raises:
            NoVerdict: There is no answer.

        Cancellation: gives the question up, which then counts for nothing.
        """
        program = self._program(question.stream_id, url)
        if not self._may_ask(program):
            await trio.lowlevel.checkpoint()
            raise NoVerdict("not asked: there are too many questions, or it does not answer")
        program.under_way += 1
        self._under_way += 1
        try:
            verdict = await self._exchange(url, secret, msgspec.json.encode(question))
        except NoVerdict as error:
            self._note_failure(program, question.stream_id, str(error))
            raise
        finally:
            program.under_way -= 1
            self._under_way -= 1
        if program.failures >= MAX_FAILURES:
            log.info("playback webhook is back", stream=question.stream_id)
        program.failures = 0
        return verdict

    async def aclose(self) -> None:
        """Close the connections; takes a second at most."""
        with trio.move_on_after(_CLOSE_TIMEOUT_S, shield=True):
            await self._client.aclose()

    def _program(self, stream_id: str, url: str) -> _Program:
        program = self._programs.get(stream_id)
        if program is None or program.url != url:
            program = self._programs[stream_id] = _Program(url)
        self._programs.move_to_end(stream_id)
        if len(self._programs) > MAX_PROGRAMS:
            self._programs.popitem(last=False)
        return program

    def _may_ask(self, program: _Program) -> bool:
        if program.under_way >= MAX_UNDER_WAY or self._under_way >= MAX_ALL_UNDER_WAY:
            return False
        if program.failures < MAX_FAILURES:
            return True
        now_s = trio.current_time()
        if now_s < program.again_s:
            return False
        program.again_s = now_s + PAUSE_S  # so that this one is the only one
        return True

    def _note_failure(self, program: _Program, stream_id: str, reason: str) -> None:
        program.failures += 1
        program.again_s = trio.current_time() + PAUSE_S
        if program.failures == MAX_FAILURES:  # said once: not for each viewer
            log.warning("playback webhook does not answer", stream=stream_id, reason=reason)

    async def _exchange(self, url: str, secret: bytes, body: bytes) -> Allow | Deny:
        headers = {
            "User-Agent": "headrace",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "Headrace-Signature": sign(body, secret, int(self._clock())),
        }
        with trio.move_on_after(TIMEOUT_S):
            return _read(await self._post(url, body, headers))
        raise NoVerdict("no answer in time")

    async def _post(self, url: str, body: bytes, headers: dict[str, str]) -> bytes:
        pieces: list[bytes] = []
        size_bytes = 0
        try:
            async with self._client.stream(
                "POST", url, content=body, headers=headers, follow_redirects=False, timeout=None
            ) as response:
                async for piece in response.aiter_raw():
                    size_bytes += len(piece)
                    if size_bytes <= MAX_ANSWER_BYTES:  # the rest is read, until time is up
                        pieces.append(piece)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise NoVerdict(type(error).__name__) from None
        if not response.is_success:
            raise NoVerdict(f"status {response.status_code}")
        if size_bytes > MAX_ANSWER_BYTES:
            raise NoVerdict("the answer is too long")
        return b"".join(pieces)


def check_url(url: str) -> str:
    """Return the address of a program, if it can be one.

    Raises:
        ValueError: It is none; the text does not repeat it.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise ValueError("webhookUrl: not a URL") from None
    if parsed.scheme not in ("http", "https") or not parsed.host or parsed.fragment:
        raise ValueError("webhookUrl: http://HOST... or https://HOST...")
    if parsed.userinfo:
        raise ValueError("webhookUrl: no user and password in it; questions are signed")
    return url


def _read(body: bytes) -> Allow | Deny:
    try:
        answer = msgspec.json.decode(body, type=_Answer)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        raise NoVerdict("the answer is not the JSON that was expected") from None
    if answer.action == "deny":
        return Deny(_one_line(answer.reason or "") or NO_REASON)
    net = answer.net
    if net is not None and net != "address":
        try:
            net = parse_net(net)
        except ValueError:
            raise NoVerdict("the answer's net is no address prefix") from None
    return Allow(answer.lifetime_s, net)


def _one_line(text: str) -> str:
    shown = "".join(letter if letter.isprintable() else " " for letter in text)
    return " ".join(shown.split())[:MAX_REASON_CHARS]
