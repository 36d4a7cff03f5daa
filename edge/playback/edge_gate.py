"""The gate of an edge: tokens are judged by the origin's keys before it is known if one is needed.

Whether a stream needs one is learnt from the upstream's answers (`edge.relay`), which say it
themselves; so a request is marked (`Request.is_admitted`, `refusal`), and what becomes of it is
decided when its answer is sent (`edge.http.representation`). Of a stream that was protected a
moment ago the refusal comes at once.

An edge below this one shows the token that they share.

May import: `edge`, trio.
"""

import hmac
from collections.abc import Awaitable, Callable

from edge.guesses import Guesses
from edge.http.messages import Pass, Request
from edge.http.response import Response
from edge.playback.gate import NEEDED, Gate, Refused
from edge.playback.learnt import LearntPolicies
from edge.playback.remote import RemoteKeys


class EdgeGate:
    """Marks requests.

    Args:
        token: What this node shows upstream; a secret.
        policies: Which streams are protected, as far as is known.
        fetch_keys: Gets the upstream's key set as JSON, or None.
    """

    def __init__(
        self,
        token: str,
        policies: LearntPolicies,
        fetch_keys: Callable[[], Awaitable[bytes | None]],
    ) -> None:
        self._token = token.encode()
        self._policies = policies
        self._gate = gate = Gate(Guesses())
        self.keys = RemoteKeys(fetch_keys, lambda keys: setattr(gate, "keys", keys))
        """What tokens are checked with; run by the owner."""

    def check(
        self, stream_id: str, token: str | None, request: Request, *, has_waited: bool = False
    ) -> Response | None:
        """Mark a request for media; returns the refusal if the stream is known to be protected.

        Args:
            stream_id: Of the path.
            token: What stood there.
            request: Is marked.
            has_waited: It has waited for keys already.

        Raises:
            UnknownKeyYet: The token's key may have come meanwhile: wait for `keys`, and ask again.
        """
        if request.is_admitted:
            return None
        if token is None:
            if self._is_below(request.bearer):
                request.is_admitted = True
                return None
            request.refusal = NEEDED
        else:
            verdict = self._gate.judge(stream_id, token, request.client)
            if not isinstance(verdict, Refused):
                request.is_admitted = True
                return None
            if verdict.is_unknown_key and self.keys.may_be_newer and not has_waited:
                raise UnknownKeyYet
            request.refusal = verdict.answer
        if self._policies.is_protected(f"/api/streams/{stream_id}"):
            request.is_protected = True
            return request.refusal
        return None

    def pass_of(self, request: Request) -> Pass | None:
        """See `edge.http.messages.Gatekeeper.pass_of`."""
        return self._gate.pass_of(request)

    def _is_below(self, credential: str | None) -> bool:
        return credential is not None and hmac.compare_digest(credential.encode(), self._token)


class UnknownKeyYet(Exception):
    """Whether a token is good can be said when the keys have been fetched again."""
