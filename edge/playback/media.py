"""The gate in front of what an origin serves: of each request for media it knows at once.

May import: `edge.http`, `edge.playback`.
"""

from edge.http.messages import Pass, Request
from edge.http.response import Response
from edge.playback.gate import Gate, Refused
from edge.playback.policies import Policies


class MediaGate:
    """Lets requests in, or not.

    Args:
        policies: Who may watch what.
        gate: Judges tokens.
    """

    def __init__(self, policies: Policies, gate: Gate) -> None:
        self._policies = policies
        self._gate = gate

    def check(self, stream_id: str, token: str | None, request: Request) -> Response | None:
        """Look at a request for media, and mark it; returns the refusal, or None: it is let in.

        Args:
            stream_id: Of the path.
            token: What stood there.
            request: Is marked, so that its answer is what those get who are admitted.
        """
        if self._policies.of(stream_id).policy == "public":
            return None
        request.is_protected = True
        if request.is_admitted:
            return None
        if token is None and self._policies.is_edge(request.bearer):
            request.is_admitted = True  # it asks for tokens itself
            return None
        verdict = self._gate.judge(stream_id, token, request.client)
        if isinstance(verdict, Refused):
            request.refusal = verdict.answer
            return verdict.answer
        request.is_admitted = True
        return None

    def pass_of(self, request: Request) -> Pass | None:
        """See `edge.http.messages.Gatekeeper.pass_of`."""
        return self._gate.pass_of(request)
