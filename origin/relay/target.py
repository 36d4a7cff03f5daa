"""The URL of a far RTMP server, read: where to connect, what to ask for there.

::

    rtmp://HOST[:PORT]/APP/KEY[?QUERY]      rtmps: the same over TLS, port 443

The last part of the path is the key, the rest the application, as every service writes it (Twitch,
YouTube, Facebook). The key is a secret of the far account, and people paste keys into applications
too: a repr, a log line or an answer of the API shows `Target.name`, which is host and port.

Pure. May import nothing of ours.
"""

from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

MAX_URL_CHARS: Final = 1024
"""Longest URL: services with signed keys need some 300."""

DEFAULT_PORTS: Final = {"rtmp": 1935, "rtmps": 443}

HIDDEN: Final = "[hidden]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One stream of a far server. Equal targets are the same stream."""

    host: str
    port: int
    secure: bool
    """Over TLS, with the certificate checked."""
    app: str = field(repr=False)
    key: str = field(repr=False)
    """The name that is published or played, with its query."""

    @property
    def name(self) -> str:
        """Where it is, for people: host and port."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def tc_url(self) -> str:
        """The URL without the key, as `connect` sends it."""
        return f"{'rtmps' if self.secure else 'rtmp'}://{self.name}/{self.app}"

    def hide(self, text: str) -> str:
        """Take key and application out of a text, such as what the far server says of them."""
        for secret in (self.key, self.key.partition("?")[0], self.app):
            if len(secret) >= 8:  # "live" and "app" are no secrets, and parts of other words
                text = text.replace(secret, HIDDEN)
        return text


def parse_target(url: str) -> Target:
    """Read the URL of a far stream.

    Raises:
        ValueError: It is none; the text says why and repeats nothing of it.
    """
    if len(url) > MAX_URL_CHARS:
        raise ValueError(f"an RTMP URL is longer than {MAX_URL_CHARS} characters")
    if not url.isascii() or not url.isprintable() or " " in url:
        raise ValueError("an RTMP URL holds characters that need percent encoding")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError("an RTMP URL has a malformed host or port") from None
    if parts.scheme not in DEFAULT_PORTS:
        raise ValueError("an RTMP URL begins with rtmp:// or rtmps://")
    if not parts.hostname or port == 0:
        raise ValueError("an RTMP URL has a malformed host or port")
    if parts.username is not None or parts.fragment:
        raise ValueError("an RTMP URL holds no user name and no #")
    app, _, key = parts.path.strip("/").rpartition("/")
    if not app or not key:
        raise ValueError("an RTMP URL needs an application and a key: rtmp://HOST/APP/KEY")
    return Target(
        host=parts.hostname,
        port=port or DEFAULT_PORTS[parts.scheme],
        secure=parts.scheme == "rtmps",
        app=app,
        key=f"{key}?{parts.query}" if parts.query else key,
    )
