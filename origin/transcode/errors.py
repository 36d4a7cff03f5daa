"""What ends a transcode worker on purpose."""


class TranscodeError(Exception):
    """The worker cannot go on; ``str(error)`` is one line without any media, fit for a log."""
