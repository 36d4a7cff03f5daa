"""The HTTP application over a fake backend, with the API that such a backend can serve."""

from typing import Any

from edge.api.router import ApiRouter
from edge.api.streams import BackendAccess, StreamsApi
from edge.backend import Backend
from edge.http.routes import App
from edge.live import LiveStreams
from edge.relays import RelayBackend


def make_app(
    live: LiveStreams, backend: Backend, relays: RelayBackend | None = None, **more: Any
) -> App:
    """Build it; `more` goes to `App`."""
    router = ApiRouter(BackendAccess(backend), StreamsApi(backend, relays).operations)
    return App(live=live, router=router, **more)
