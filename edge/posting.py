"""One POST to a program of the operator's, which may be slow, down or lying.

Whatever is there costs its time-out and `MAX_ANSWER_BYTES` at the most: redirects are not followed,
no cookie is kept, nothing is decompressed, no proxy of the environment's is used.

May import: httpx, trio, `edge.signature`.
"""

import time
from collections.abc import Callable, Mapping
from http.cookiejar import DefaultCookiePolicy
from typing import Final, NamedTuple

import httpx
import trio

from edge.signature import sign

MAX_ANSWER_BYTES: Final = 16_384

_CLOSE_TIMEOUT_S: Final = 1.0


class PostError(Exception):
    """There is no answer that can be used; the text says why in one line, without an address."""


class Answered(NamedTuple):
    """What came back."""

    status: int
    body: bytes

    @property
    def is_success(self) -> bool:
        """Whether the status is one of success (2xx)."""
        return 200 <= self.status < 300


class Poster:
    """Sends.

    Args:
        client: By which connections; None: its own, which are the caller's to close (`aclose`).
        max_connections: Of its own client, to all addresses.
        clock_s: UTC, seconds, for signatures.
    """

    def __init__(
        self,
        client: httpx.AsyncClient | None = None,
        *,
        max_connections: int = 100,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        if client is None:
            client = httpx.AsyncClient(
                follow_redirects=False,
                trust_env=False,
                limits=httpx.Limits(max_connections=max_connections, max_keepalive_connections=20),
            )
        keep_no_cookies(client)
        self._client = client
        self._clock_s = clock_s

    async def post(
        self,
        url: str,
        body: bytes,
        *,
        secret: bytes | None,
        timeout_s: float,
        headers: Mapping[str, str] | None = None,
    ) -> Answered:
        """Send JSON, and read the answer to its end.

        Args:
            url: http or https.
            body: The JSON.
            secret: Signs it; None: nothing is signed.
            timeout_s: From here to the end of the answer.
            headers: More of them.

        Raises:
            PostError: No whole answer came in time, or a longer one than `MAX_ANSWER_BYTES`.
        """
        sent = {
            "User-Agent": "headrace",
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            **(headers or {}),
        }
        if secret is not None:
            sent["Headrace-Signature"] = sign(body, secret, int(self._clock_s()))
        pieces: list[bytes] = []
        size_bytes = status = 0
        with trio.move_on_after(timeout_s) as scope:
            try:
                async with self._client.stream(
                    "POST", url, content=body, headers=sent, follow_redirects=False, timeout=None
                ) as response:
                    status = response.status_code
                    async for piece in response.aiter_raw():
                        size_bytes += len(piece)
                        if size_bytes > MAX_ANSWER_BYTES:
                            # Not by `break`: what is below would not be closed in time.
                            scope.cancel(reason="the answer is too long")
                        else:
                            pieces.append(piece)
            except (httpx.HTTPError, httpx.InvalidURL, ValueError, OSError) as error:
                # Names that cannot be looked up are not all turned into errors of httpx.
                raise PostError(_say(error)) from None
        if size_bytes > MAX_ANSWER_BYTES:
            raise PostError(f"the answer is longer than {MAX_ANSWER_BYTES} bytes")
        if scope.cancelled_caught:
            raise PostError(f"no whole answer within {timeout_s:g} s")
        return Answered(status, b"".join(pieces))

    async def aclose(self) -> None:
        """Close the connections; takes a second at most."""
        with trio.move_on_after(_CLOSE_TIMEOUT_S, shield=True):
            await self._client.aclose()


def keep_no_cookies(client: httpx.AsyncClient) -> None:
    """Have a client forget every cookie: programs have no session with us, and httpx no bound."""
    client.cookies.jar.set_policy(DefaultCookiePolicy(allowed_domains=[]))


def check_url(url: str) -> None:
    """Raise ValueError, whose text does not repeat it, unless it is one to POST to."""
    try:
        parsed = httpx.URL(url)
    except httpx.InvalidURL:
        raise ValueError("not a URL") from None
    if parsed.scheme not in ("http", "https") or not parsed.host:
        raise ValueError("must be http://HOST... or https://HOST...")
    if parsed.port is not None and not 0 < parsed.port < 65536:
        raise ValueError("no such port")


def _say(error: Exception) -> str:
    if isinstance(error, httpx.ConnectError):
        return "cannot connect"
    if isinstance(error, httpx.RemoteProtocolError):
        return "what came back is not HTTP"
    return type(error).__name__
