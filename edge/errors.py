"""What a `Backend` raises instead of a result; `edge.http.api` turns each into a status code.

Every text here reaches the client as `{"error": text}`: it must never hold a key, a path or a
host. Anything else that a backend raises is our bug and becomes a generic 500.
"""


class BackendError(Exception):
    """A request that the backend understood and refuses; `str(error)` is shown to the client."""


class NoSuchStream(BackendError):
    """No stream has this id (404)."""

    def __init__(self) -> None:
        super().__init__("no such stream")


class WrongKey(BackendError):
    """The credential given does not open this stream (401)."""

    def __init__(self) -> None:
        super().__init__("the stream key or token is missing or wrong")


class AlreadyLive(BackendError):
    """The stream is live already (409)."""

    def __init__(self) -> None:
        super().__init__("the stream is live already")


class NotLive(BackendError):
    """The stream has no broadcast to end (409)."""

    def __init__(self) -> None:
        super().__init__("the stream is not live")


class BadMarker(BackendError):
    """The marker cannot be listed (400); the text says why."""


class Unavailable(BackendError):
    """What knows the streams cannot be asked now (503): its disk is full, or gone."""

    def __init__(self) -> None:
        super().__init__("the streams cannot be read or changed now, try again")
