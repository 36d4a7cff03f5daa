"""What a client may ask whose types belong to the origin; see `edge.api.calls`.

May import: `edge.api.calls`, and the modules of the origin that have the types.
"""

from typing import Final

from edge.api.calls import Call
from origin.health.report import HealthReport

GET_HEALTH: Final = Call("getHealth", "GET", "/api/streams/{streamId}/health", HealthReport)
