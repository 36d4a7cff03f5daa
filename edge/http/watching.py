"""What a served request says of viewers: who watches, and what lets a connection watch on.

The functions that connections of all kinds share. What the reactor serves is told by its accounts
(`edge.http.delivery`); what h11 and h2 serve, request by request, here. Both tell the same.

Pure but for the `Audience` that is called. May import: structlog, `native`, `edge.http.messages`.
Spec: rfc8216bis-22, section 6.2.5.2 (`_HLS_msn`); CTA-5004, section 2.1 (CMCD in queries and in
fields).
"""

from ipaddress import ip_address
from urllib.parse import quote

import structlog

from edge.http.messages import Application, Audience, Gatekeeper, Pass, Request
from native import fnv1a

PREFIX = "/api/streams/"
"""Under this lies what players fetch."""

MAX_STREAM_CHARS = 64
"""No stream has a longer name; as in the reactor."""

MAX_CMCD_CHARS = 512
"""More is taken for none; as in the reactor."""

_logger = structlog.get_logger(__name__)

_MEDIA_PLAYLISTS = ("playlist.m3u8", "ts.m3u8")
_CMCD_FIELDS = (b"cmcd-object", b"cmcd-request", b"cmcd-session", b"cmcd-status")


class SafeAudience:
    """An `Audience` whose bugs are its own: whoever serves goes on, and the log has the first."""

    def __init__(self, audience: Audience) -> None:
        self._audience = audience
        self._has_failed = False

    def note(
        self, *, stream_id: str, client: str, agent: int, cmcd: str, blocking: int, plain: int
    ) -> None:
        """See `Audience.note`."""
        try:
            self._audience.note(
                stream_id=stream_id,
                client=client,
                agent=agent,
                cmcd=cmcd,
                blocking=blocking,
                plain=plain,
            )
        except Exception:
            if not self._has_failed:
                self._has_failed = True
                _logger.exception("a viewer is not counted; further ones are not logged")


def note_request(audience: Audience, request: Request, status: int) -> None:
    """Tell of one request that is being answered, if it says something of a viewer.

    Args:
        audience: Is told at most once.
        request: Any request.
        status: Of its answer; from 400 on nobody watches.
    """
    if status >= 400 or request.method != "GET" or not request.path.startswith(PREFIX):
        return
    stream_id, _, rest = request.path[len(PREFIX) :].partition("/")
    file = rest.rpartition("/")[2]
    if not 0 < len(stream_id) <= MAX_STREAM_CHARS or not file:
        return
    is_playlist = file in _MEDIA_PLAYLISTS
    cmcd = _cmcd_of(request)
    if not is_playlist and (not cmcd or "." not in file):
        return
    is_blocking = any(item.startswith("_HLS_msn=") for item in request.query.split("&"))
    audience.note(
        stream_id=stream_id,
        client=request.client,
        agent=_agent_of(request),
        cmcd=cmcd,
        blocking=int(is_playlist and is_blocking),
        plain=int(is_playlist and not is_blocking),
    )


def pass_of(app: Application, request: Request | None) -> Pass | None:
    """Ask what the last request of a connection admits the next ones to.

    A connection that carries requests of many clients has no pass: what admits one of them does not
    admit another.
    """
    if request is None or request.is_forwarded or not isinstance(app, Gatekeeper):
        return None
    return app.pass_of(request)


def has_token(request: Request) -> bool:
    """Tell whether there may be a token in the path: a segment that begins with ``~``."""
    return "/~" in request.path


def believed_address(forwarded: str, address: str) -> str:
    """Return the IP address that a trusted proxy names, or its own if that is none.

    Args:
        forwarded: The last element of its X-Forwarded-For.
        address: Its own.
    """
    try:
        return str(ip_address(forwarded.strip()))
    except ValueError:
        return address


def _agent_of(request: Request) -> int:
    agent = request.header(b"user-agent")
    return 0 if agent is None else fnv1a(agent.encode("latin-1"))


def _cmcd_of(request: Request) -> str:
    """Its CMCD as in a query, whichever way it came."""
    cmcd = ""
    for item in request.query.split("&"):
        name, _, value = item.partition("=")
        if name == "CMCD":
            cmcd = value
            break
    if not cmcd:
        values = [request.header(name) for name in _CMCD_FIELDS]
        cmcd = quote(",".join(value for value in values if value), safe="")
    return cmcd if len(cmcd) <= MAX_CMCD_CHARS else ""
