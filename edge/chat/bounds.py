"""What moderators may set, and for how long they may silence.

Pure. May import: `control.chat_model`, `edge.chat`'s pure modules.
"""

from control.chat_model import RoomSettings
from edge.chat.protocol import ChatError
from edge.chat.rules import MAX_TIMEOUT_S, MIN_TIMEOUT_S


def check_timeout(seconds: float) -> None:
    """Hold a timeout to its bounds.

    Raises:
        ChatError: badRequest.
    """
    if not MIN_TIMEOUT_S <= seconds <= MAX_TIMEOUT_S:
        raise ChatError("badRequest", "a timeout lasts from 10 seconds to 14 days")


def check_settings(settings: RoomSettings) -> None:
    """Hold settings to their bounds.

    Raises:
        ChatError: badRequest; the text names the setting.
    """
    if not 0 <= settings.slow_mode_s <= 3600:
        raise ChatError("badRequest", "slowModeS must be 0 to 3600")
    for name, values, most, longest in (
        ("blockedWords", settings.blocked_words, 500, 64),
        ("allowedHosts", settings.allowed_hosts, 100, 255),
        ("requiredClaims", settings.required_claims, 16, 64),
        ("reservedNames", settings.reserved_names, 100, 64),
    ):
        if len(values) > most or any(not 1 <= len(value) <= longest for value in values):
            raise ChatError(
                "badRequest", f"{name} must have up to {most} entries of up to {longest} characters"
            )
