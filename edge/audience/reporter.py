"""An edge process's viewers: heard here, counted at the origin, told back to pages.

Every `REPORT_S` what was gathered goes upstream (`POST /api/edge/audience`, with `upstream_token`),
and the answer says how many watch each of those streams. Pages that give a sign are answered with
that; of a stream that nothing is known of yet, the sign itself goes upstream. An edge in between
passes reports on as it does all of the API, so viewers are counted once, however many edges there
are above each other.

A report is an attempt: if no upstream takes it, the next one says it again, as long as that is of
use (`edge.audience.gathering`). Nothing of it ever keeps a viewer waiting.

Bounds: `MAX_REPORTS` in one round; `MAX_STREAMS` whose counts are remembered, `KNOWN_S` each. May
import: `edge.audience`, `edge.api.router`, `edge.http`, `edge.upstream`, trio, structlog.
"""

import random
import secrets
from collections import OrderedDict
from typing import Final, Protocol

import msgspec
import structlog
import trio

from edge.api.router import decode_json
from edge.audience.gathering import Gathering
from edge.audience.names import Namer
from edge.audience.reports import AudienceCounts, EdgeReport
from edge.audience.signs import ViewerCount, ViewerSign
from edge.http.messages import Request
from edge.http.response import Response, json_response
from edge.upstream_lanes import Fetched, UpstreamError

PATH: Final = "/api/edge/audience"

REPORT_S: Final = 2.5
"""From one report to the next. A player counts fully after ten seconds of its requests, and must
count at the origin within fifteen."""

TIMEOUT_S: Final = 3.0
"""For a report to be taken."""

MAX_REPORTS: Final = 32
"""In one round: ten thousand viewers. The rest waits for the next."""

MAX_STREAMS: Final = 2_000
KNOWN_S: Final = 30.0
"""How long a count is told to pages when nothing newer comes."""

log = structlog.get_logger("audience")


class Caller(Protocol):
    """Asks upstreams; `edge.upstream.Upstreams` does."""

    async def call(self, method: str, target: str, fields: dict[str, str], body: bytes) -> Fetched:
        """See `edge.upstream.Upstreams.call`."""
        ...


class EdgeAudience:
    """Implements `edge.http.messages.Audience` for a process of an edge.

    Args:
        upstreams: Are told.
        token: Shown to them.
        via: The Via field of what this node asks.
    """

    def __init__(self, upstreams: Caller, *, token: str, via: str) -> None:
        self._upstreams = upstreams
        self._fields = {
            "Authorization": f"Bearer {token}",
            "Content-Type": "application/json",
            "Via": via,
        }
        self._gathering = Gathering(secrets.token_hex(8), Namer(token.encode()))
        # How many watch, and when that was said. What was said longest ago is first.
        self._counts: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self._trouble = ""
        self.reports = 0
        """That were sent upstream so far."""
        self.failures = 0
        """Of those, the ones that nobody took."""

    def note(
        self, *, stream_id: str, client: str, agent: int, cmcd: str, blocking: int, plain: int
    ) -> None:
        """See `edge.http.messages.Audience.note`. Costs some 30 us."""
        self._gathering.note(
            stream_id=stream_id,
            client=client,
            agent=agent,
            cmcd=cmcd,
            blocking=blocking,
            plain=plain,
            now_s=trio.current_time(),
        )

    def count(self, stream_id: str) -> int | None:
        """How many watch a stream; None: nobody has said so lately."""
        count, said_s = self._counts.get(stream_id, (0, -KNOWN_S))
        return count if trio.current_time() - said_s < KNOWN_S else None

    def learn(self, stream_id: str, answer: Fetched) -> None:
        """Read what an upstream has answered to a sign that was passed on."""
        if answer.status == 200:
            try:
                said = msgspec.json.decode(answer.body, type=ViewerCount)
            except (msgspec.DecodeError, UnicodeDecodeError):
                return
            self._remember(stream_id, said.count)

    async def hear(self, request: Request, body: bytes) -> Response:
        """Take a page's sign, for a stream whose count is known.

        Raises:
            HttpError: 400, it is none.
        """
        sign = decode_json(body, ViewerSign)
        stream_id = request.path.split("/")[3]
        self._gathering.sign(
            stream_id,
            sign.viewer_id,
            request.client,
            leaving=sign.leaving,
            unnamed=sign.native,
            now_s=trio.current_time(),
        )
        # Who gives a sign is one of those who watch, though nobody has counted it yet.
        count = max(self.count(stream_id) or 0, not sign.leaving)
        await trio.lowlevel.checkpoint()
        return json_response(200, ViewerCount(count=count))

    async def run(self) -> None:
        """Report, until cancelled."""
        while True:
            await trio.sleep(REPORT_S * random.uniform(0.9, 1.1))  # no two in step
            for number, report in enumerate(self._gathering.reports(trio.current_time())):
                if number >= MAX_REPORTS or not await self._tell(report):
                    break

    async def _tell(self, report: EdgeReport) -> bool:
        """Tell the upstreams; whether one has taken it."""
        body = msgspec.json.encode(report)
        self.reports += 1
        try:
            with trio.fail_after(TIMEOUT_S):
                answer = await self._upstreams.call("POST", PATH, self._fields, body)
            if answer.status != 200:
                raise UpstreamError(f"status {answer.status}")
            told = msgspec.json.decode(answer.body, type=AudienceCounts)
        except (UpstreamError, trio.TooSlowError, msgspec.DecodeError, UnicodeDecodeError) as error:
            self.failures += 1
            self._note_trouble(str(error) or "no answer in time")
            return False
        self._note_trouble("")
        self._gathering.told(report, trio.current_time())
        for part in report.streams:
            if part.stream_id in told.counts:
                self._remember(part.stream_id, told.counts[part.stream_id])
            else:
                self._counts.pop(part.stream_id, None)  # it is not live
        return True

    def _remember(self, stream_id: str, count: int) -> None:
        self._counts[stream_id] = count, trio.current_time()
        self._counts.move_to_end(stream_id)
        if len(self._counts) > MAX_STREAMS:
            self._counts.popitem(last=False)

    def _note_trouble(self, reason: str) -> None:
        """Say once that viewers are not told of, and once that they are again."""
        if reason and not self._trouble:
            log.warning("viewers are not counted: the upstream takes no report", reason=reason)
        elif self._trouble and not reason:
            log.info("viewers are counted again")
        self._trouble = reason
