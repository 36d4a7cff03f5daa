"""Asking upstreams: several in order of preference, their health, and failing over between them.

A request goes to the first upstream that is healthy. If that fails (no connection, no answer in
time, 5xx, a body that is cut short) it goes to the next one, within the same call, while whoever
waits goes on waiting; when all have failed, again after a jittered pause that doubles, until the
caller's patience ends.

The health of each is asked for (`GET /health`) every `PROBE_EVERY_S`, and at once when something
failed there. Without a good answer, or after `MAX_FAILURES` in a row, it is not asked for anything
else until that comes, and what it holds is taken elsewhere. Being late is no failure, for there are
requests that an upstream holds on purpose. While none is healthy nobody knocks but these probes,
and all calls go on in the moment that one comes back.

503 and 429 are words, not failures: "not yet", or "too many". Another upstream may know better; if
none does, they are the answer.

What is read from an upstream is whole or an error: Content-Length must be true, a body that ends
with its connection and nothing else is refused, and none may be larger than its bound.

May import: `edge.edge_settings`, `edge.upstream_lanes`, trio, httpx, structlog. Spec: RFC 9110,
sections 7.6.3 (Via), 9.2.2 (what may be repeated), 15.6.
"""

import random
import ssl
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass

import httpx
import structlog
import trio

from edge.edge_settings import EdgeSettings
from edge.upstream_lanes import Fetched, Lanes, UpstreamError

_logger = structlog.get_logger(__name__)

MAX_FAILURES = 3
"""In a row, of requests that an upstream took and did not answer rightly."""

PROBE_EVERY_S = 2.0
"""Between two looks at an upstream's health."""

PROBE_TIMEOUT_S = 1.0
"""For GET /health; one that is late is asked once more before anything is made of it."""

_MAX_HEALTH_BYTES = 4096
_CLOSE_TIMEOUT_S = 1.0

_PROBE_PAUSES_S = (0.1, 1.0)  # after a failure, at first and at most
_RETRY_PAUSES_S = (0.05, 1.0)

_FAILURES = (500, 502, 504)
_WORDS = (429, 503)
_REPEATABLE = ("GET", "HEAD")  # after they may have been acted on

Transport = Callable[[], httpx.AsyncBaseTransport]


@dataclass(slots=True)
class UpstreamCounters:
    """What was asked of upstreams since the start."""

    requests: int = 0
    errors: int = 0
    failovers: int = 0
    """Requests that another upstream than the preferred one was asked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """What to fetch, and how long to try."""

    target: str
    """Path and canonical query."""
    via: str
    """The Via field: who has passed this request on."""
    timeout_s: float
    """For an answer in all."""
    attempt_s: float
    """For an answer from one upstream."""
    patience_s: float = 0.0
    """How long to go on after all have failed."""
    is_held: bool = False
    """The upstream may hold it on purpose."""


class Upstream:
    """One of them.

    Args:
        url: As `parse_upstream` returns it.
        settings: Limits and time-outs.
        transport: Opens something that speaks HTTP.
        counters: Shared by all.
        on_back: Called when it is healthy again.
    """

    def __init__(
        self,
        url: str,
        settings: EdgeSettings,
        *,
        transport: Transport,
        counters: UpstreamCounters,
        on_back: Callable[[], object],
    ) -> None:
        self.url = url
        self._base = httpx.URL(url)
        self._settings = settings
        self._counters = counters
        self._on_back = on_back
        self._held = Lanes(transport, max_requests=settings.max_held)
        self._fetches = Lanes(transport, max_requests=settings.max_fetches)
        # Probes have a way of their own: they must not wait behind what they are to judge.
        self._probes = Lanes(transport, max_requests=1)
        self._failures = 0
        self._under_way: set[trio.CancelScope] = set()
        self.is_healthy = True
        """Whether requests are sent there."""
        self.doubted = trio.Event()
        """Set when its health should be asked for."""

    async def fetch(self, ask: Ask) -> Fetched:
        """GET something.

        Raises:
            UpstreamError: There is no whole answer, or one of 500, 502, 504; it has been counted.
        """
        lanes = self._held if ask.is_held else self._fetches
        fields = {"Via": ask.via}
        if self._settings.upstream_token is not None:
            # Who shows it gets what not everybody may have, and is told of whom.
            fields["Authorization"] = f"Bearer {self._settings.upstream_token}"
        request = self._request("GET", ask.target, fields)
        return await self._judged(
            lanes, request, timeout_s=ask.attempt_s, max_bytes=self._settings.max_body_bytes
        )

    async def call(self, method: str, target: str, fields: dict[str, str], body: bytes) -> Fetched:
        """Pass on a request of the API; raises as `fetch`."""
        settings = self._settings
        return await self._judged(
            self._fetches,
            self._request(method, target, fields, body),
            timeout_s=settings.call_timeout_s,
            max_bytes=settings.max_call_bytes,
        )

    async def probe(self, via: str) -> bool:
        """Ask for its health, and believe the answer."""
        request = self._request("GET", "/health", {"Via": via})
        for tries_left in (1, 0):
            try:
                answer = await self._probes.exchange(
                    request, timeout_s=PROBE_TIMEOUT_S, max_bytes=_MAX_HEALTH_BYTES
                )
            except UpstreamError as error:
                if error.is_late and tries_left:
                    continue
                break
            if answer.status != 200:
                break
            self.doubted = trio.Event()
            self._note_success()
            return True
        self._fall()
        return False

    async def aclose(self) -> None:
        """Close every connection."""
        for lanes in (self._held, self._fetches, self._probes):
            await lanes.aclose()

    async def _judged(
        self, lanes: Lanes, request: httpx.Request, *, timeout_s: float, max_bytes: int
    ) -> Fetched:
        self._counters.requests += 1
        try:
            answer = await self._cut_by_fall(
                lanes.exchange(request, timeout_s=timeout_s, max_bytes=max_bytes)
            )
            if answer.status in _FAILURES:
                raise UpstreamError(f"status {answer.status}")
        except UpstreamError as error:
            self._counters.errors += 1
            _logger.debug("upstream failed", upstream=self.url, reason=str(error))
            self._note_failure(error)
            raise
        self._note_success()
        return answer

    async def _cut_by_fall(self, exchange: Awaitable[Fetched]) -> Fetched:
        """Await an exchange for as long as this upstream is believed in."""
        with trio.CancelScope() as scope:
            self._under_way.add(scope)
            try:
                return await exchange
            finally:
                self._under_way.discard(scope)
        raise UpstreamError("the upstream is down")

    def _request(
        self, method: str, target: str, fields: dict[str, str], body: bytes = b""
    ) -> httpx.Request:
        headers = {"User-Agent": "headrace-edge", "Accept-Encoding": "identity", **fields}
        # Without a body there is no Content-Length: a GET must not look as if it had one.
        return httpx.Request(
            method,
            self._base.copy_with(raw_path=target.encode("ascii")),
            headers=headers,
            content=body or None,
            extensions={"timeout": {"connect": self._settings.connect_timeout_s}},
        )

    def _note_failure(self, error: UpstreamError) -> None:
        self.doubted.set()
        if not error.is_late:
            self._failures += 1
            if self._failures >= MAX_FAILURES:
                self._fall()

    def _fall(self) -> None:
        if self.is_healthy:
            _logger.warning("upstream is down", upstream=self.url)
            self.is_healthy = False
            for scope in self._under_way:
                scope.cancel()

    def _note_success(self) -> None:
        self._failures = 0
        if not self.is_healthy:
            _logger.info("upstream is back", upstream=self.url)
            self.is_healthy = True
            self._on_back()


class Upstreams:
    """All of them, in order of preference.

    Args:
        settings: Who they are, limits and time-outs.
        transport: Opens something that speaks HTTP; httpx's own, with HTTP/2 where it is offered,
            if None.
        rand: Gives numbers from 0 to 1, for jitter.
    """

    def __init__(
        self,
        settings: EdgeSettings,
        *,
        transport: Transport | None = None,
        rand: Callable[[], float] = random.random,
    ) -> None:
        self.counters = UpstreamCounters()
        self._via = via_line(None, settings.node_id)
        self._rand = rand
        open_transport = _httpx_transport(settings) if transport is None else transport
        self._all = [
            Upstream(
                parse_upstream(url),
                settings,
                transport=open_transport,
                counters=self.counters,
                on_back=self._note_back,
            )
            for url in settings.upstreams
        ]
        self._came_back = trio.Event()  # set, and a new one made, each time

    @property
    def is_reachable(self) -> bool:
        """Whether one of them is healthy, as far as is known."""
        return any(upstream.is_healthy for upstream in self._all)

    async def run(self) -> None:
        """Probe what is in doubt, and what is down until it is back; all once at the start.

        Cancellation: closes all connections, for a second at most.
        """
        try:
            async with trio.open_nursery() as nursery:
                for upstream in self._all:
                    nursery.start_soon(self._watch, upstream)
        finally:
            with trio.move_on_after(_CLOSE_TIMEOUT_S, shield=True):
                await self.aclose()

    async def aclose(self) -> None:
        """Close every connection; what is under way fails."""
        for upstream in self._all:
            await upstream.aclose()

    async def fetch(self, ask: Ask) -> Fetched:
        """GET from the first upstream that has an answer.

        Returns:
            An answer that is whole: not 500, 502 or 504. 429 and 503 only if nobody says better.

        Raises:
            UpstreamError: There is none, in the time given.
        """
        answer: Fetched | None = None
        reason = "no upstream is healthy"
        patient_until_s = trio.current_time() + ask.patience_s
        with trio.move_on_after(ask.timeout_s):
            for pause_s in self._pauses(*_RETRY_PAUSES_S):
                for upstream in self._healthy():
                    try:
                        answer = await upstream.fetch(ask)
                    except UpstreamError as error:
                        reason = str(error)
                        continue
                    if answer.status not in _WORDS:
                        return answer
                if answer is not None or trio.current_time() >= patient_until_s:
                    break
                with trio.move_on_after(pause_s):
                    await self._came_back.wait()
        if answer is not None:
            return answer
        raise UpstreamError(reason)

    async def call(self, method: str, target: str, fields: dict[str, str], body: bytes) -> Fetched:
        """Pass a request of the API on, to one upstream that takes it.

        What may change something is asked again elsewhere only if it cannot have arrived.

        Raises:
            UpstreamError: There is no answer.
        """
        failure = UpstreamError("no upstream is healthy", was_sent=False)
        for upstream in self._healthy():
            try:
                return await upstream.call(method, target, fields, body)
            except UpstreamError as error:
                failure = error
                if error.was_sent and method not in _REPEATABLE:
                    break
        raise failure

    def _healthy(self) -> Iterator[Upstream]:
        """Those to ask, one after the other, each judged when its turn has come."""
        for number, upstream in enumerate(self._all):
            if upstream.is_healthy:
                self.counters.failovers += number > 0
                yield upstream

    async def _watch(self, upstream: Upstream) -> None:
        while True:
            for pause_s in self._pauses(*_PROBE_PAUSES_S):
                if await upstream.probe(self._via):
                    break
                await trio.sleep(pause_s)
            with trio.move_on_after(PROBE_EVERY_S):
                await upstream.doubted.wait()

    def _note_back(self) -> None:
        came_back, self._came_back = self._came_back, trio.Event()
        came_back.set()

    def _pauses(self, first_s: float, most_s: float) -> Iterator[float]:
        """Pauses that double, each between half and all of what it would be: no two in step."""
        pause_s = first_s
        while True:
            yield pause_s * (0.5 + self._rand() / 2)
            pause_s = min(2 * pause_s, most_s)


def parse_upstream(url: str) -> str:
    """Check the address of an upstream, and return it without a slash at its end.

    Raises:
        ValueError: It is not `http://host:port` or `https://host:port`; the text says why.
    """
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL as error:
        raise ValueError(f"not a URL: {error}") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError("an upstream is http://host:port or https://host:port")
    if parsed.userinfo:
        raise ValueError("an upstream's URL has no user and password")
    if parsed.raw_path != b"/" or parsed.fragment:
        raise ValueError("an upstream's URL has no path: its addresses are the edge's own")
    return url.rstrip("/")


def via_line(received: str | None, node_id: str) -> str:
    """Add a node to the Via field (RFC 9110 7.6.3) of what it passes on."""
    own = f"1.1 {node_id}"
    return own if received is None else f"{received}, {own}"


def _httpx_transport(settings: EdgeSettings) -> Transport:
    # Made once: it reads a few hundred certificates.
    context = settings.tls_context or ssl.create_default_context()

    def open_transport() -> httpx.AsyncBaseTransport:
        limits = httpx.Limits(keepalive_expiry=30.0)
        return httpx.AsyncHTTPTransport(
            verify=context, trust_env=False, http2=True, limits=limits, retries=0
        )

    return open_transport
