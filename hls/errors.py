"""What the hls package raises: two families, and nothing else.

`MediaError` is the publisher's doing: its bitstream or its timing cannot be packaged, and the text
says why in words fit for a log line and for the publisher. `UsageError` is ours: a caller broke the
documented order of calls, which is a bug to fix and never a state to recover from.

Any other exception out of this package is a bug.
"""


class HlsError(Exception):
    """Base of every error raised on purpose by this package."""


class MediaError(HlsError):
    """The publisher's media is unusable; ``str(error)`` is a clear reason without any secret."""


class UsageError(HlsError):
    """A caller used this package against its documentation."""
