"""What can go wrong in this package. Every text is one line and holds no secret."""


class ControlError(Exception):
    """Anything this package reports."""


class StoreError(ControlError):
    """The store cannot be used: folder, file, lock, schema or disk. The text says which."""


class TooManyError(ControlError):
    """There are as many of something as there may be; the text says of what."""


class UnknownStreamError(ControlError):
    """A change was asked of a stream that does not exist, or no longer."""

    def __init__(self, stream_id: str) -> None:
        super().__init__("no such stream")
        self.stream_id = stream_id
