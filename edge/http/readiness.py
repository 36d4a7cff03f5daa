"""The answer of `/ready`: whether this process should get new viewers and publishers, and why not.

One shape for origins and edges. Nobody is asked here: whoever answers knows its checks already, so
a balancer may ask as often as it likes.

May import: `edge.http.response`, `edge.http.rows`.
"""

from collections.abc import Mapping
from typing import Final

from edge.http.response import Response, json_response
from edge.http.rows import Check, Ready

RETRY_AFTER_S: Final = 1
"""What is said with a 503."""


def ready_response(checks: Mapping[str, str | None]) -> Response:
    """Make the answer: 200 if nothing is wrong, else 503 with every reason.

    Args:
        checks: What was looked at, by name, and what is wrong with it in one sentence that anybody
            may read; None: nothing.
    """
    shown = {name: Check(ok=reason is None, reason=reason) for name, reason in checks.items()}
    wrong = [reason for reason in checks.values() if reason is not None]
    if not wrong:
        return json_response(200, Ready(checks=shown))
    return json_response(
        503,
        {
            "status": "unready",
            "error": "; ".join(wrong),
            "code": "unavailable",
            "checks": shown,
        },
        extra={"Retry-After": str(RETRY_AFTER_S)},
    )
