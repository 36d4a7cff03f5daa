"""What a command of ``headrace`` raises when it cannot do what it was told.

Pure; imports nothing of ours.
"""

from typing import Final

EXIT_FAILED: Final = 1
"""It went wrong."""

EXIT_REFUSED: Final = 2
"""It was told wrongly: flags, settings, a file that was named."""


class ToolError(Exception):
    """`str(error)` is the line that says why.

    Args:
        reason: That line; no secret.
        exit_code: `EXIT_FAILED` or `EXIT_REFUSED`.
    """

    def __init__(self, reason: str, exit_code: int = EXIT_FAILED) -> None:
        super().__init__(reason)
        self.exit_code = exit_code
