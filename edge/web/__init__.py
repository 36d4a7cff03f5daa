"""The web pages: package files turned into responses, once, at start.

Pages refer to their scripts and styles as `/static/name`; loading adds `?v=` and a hash of the
content, so that those may be cached for ever and a new version is seen at once. No page loads
anything from another host, and the Content-Security-Policy keeps it so: no inline script or style.

hls.js comes from npm (`package.json` beside this file pins it; `make setup` copies it to
`vendor/hls.min.js`). Without it everything else works, and the watch page says what is missing.

May import: `edge.http.response`.
"""

import hashlib
import re
from dataclasses import dataclass
from importlib.resources import files
from importlib.resources.abc import Traversable

from edge.http.response import Response, make_response

# media-src blob: is how Media Source Extensions hand media to a <video>; data: is the page's icon.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'self'"
)
_COMMON = {"X-Content-Type-Options": "nosniff", "Referrer-Policy": "same-origin"}
_FOR_EVER = "public, max-age=31536000, immutable"
_CHECK_AGAIN = "no-cache"

# Path below /static/ -> file in this package, type.
_ASSETS = {
    "style.css": ("style.css", "text/css; charset=utf-8"),
    "index.js": ("index.js", "text/javascript; charset=utf-8"),
    "watch.js": ("watch.js", "text/javascript; charset=utf-8"),
    "access.js": ("access.js", "text/javascript; charset=utf-8"),
    "abr.js": ("abr.js", "text/javascript; charset=utf-8"),
    "chat.js": ("chat.js", "text/javascript; charset=utf-8"),
    "record.js": ("record.js", "text/javascript; charset=utf-8"),
    "presence.js": ("presence.js", "text/javascript; charset=utf-8"),
    "talk.js": ("talk.js", "text/javascript; charset=utf-8"),
    "chat.css": ("chat.css", "text/css; charset=utf-8"),
    "api.css": ("api.css", "text/css; charset=utf-8"),
    "hls.min.js": ("vendor/hls.min.js", "text/javascript; charset=utf-8"),
}
_CHAT_SCRIPT = '<script type="module" src="/static/chat.js"></script>'
_REFERENCE = re.compile(r'/static/([a-z.]+)(?=")')


@dataclass(frozen=True, slots=True)
class Pages:
    """Every page and asset as a ready response."""

    index: Response
    """The directory, ``/``."""
    watch: Response
    """The player, the same for every stream: its script reads the id from the address."""
    assets: dict[str, tuple[Response, Response]]
    """By path: the answer to a request with the right `?v=`, and to any other."""
    versions: dict[str, str]
    """By path: the query with the hash of the content, `v=...`."""

    @classmethod
    def load(cls, folder: Traversable | None = None, *, has_chat: bool = True) -> "Pages":
        """Read the package's files.

        Args:
            folder: Where they are; this package if None.
            has_chat: Whether the server that shows them has a chat; without one the watch page
                shows none.

        Raises:
            OSError: One is missing, other than hls.js.
        """
        folder = files(__name__) if folder is None else folder
        assets: dict[str, tuple[Response, Response]] = {}
        versions: dict[str, str] = {}
        for name, (file, content_type) in _ASSETS.items():
            source = folder.joinpath(file)
            if name == "hls.min.js" and not source.is_file():
                continue
            data = source.read_bytes()
            path = f"/static/{name}"
            versions[path] = f"v={hashlib.sha256(data).hexdigest()[:12]}"
            assets[path] = (
                _asset(data, content_type, _FOR_EVER),
                _asset(data, content_type, _CHECK_AGAIN),
            )
        watch = folder.joinpath("watch.html").read_text("utf-8")
        return cls(
            index=_page(folder.joinpath("index.html").read_text("utf-8"), versions),
            watch=_page(watch if has_chat else watch.replace(_CHAT_SCRIPT, ""), versions),
            assets=assets,
            versions=versions,
        )

    def page(self, html: str) -> Response:
        """Make a response of a page that is written elsewhere, under the same policy."""
        return _page(html, self.versions)

    def get(self, path: str, query: str) -> Response | None:
        """Return the directory page or an asset; None for any other path."""
        if path == "/":
            return self.index
        found = self.assets.get(path)
        if found is None:
            return None
        return found[0] if query == self.versions[path] else found[1]


def _asset(data: bytes, content_type: str, cache_control: str) -> Response:
    return make_response(
        200,
        (data,),
        content_type=content_type,
        cache_control=cache_control,
        etag=_tag(data),
        packable=True,
        extra=_COMMON,
    )


def _page(html: str, versions: dict[str, str]) -> Response:
    def stamp(match: re.Match[str]) -> str:
        version = versions.get(match.group())
        return match.group() if version is None else f"{match.group()}?{version}"

    data = _REFERENCE.sub(stamp, html).encode()
    return make_response(
        200,
        (data,),
        content_type="text/html; charset=utf-8",
        cache_control=_CHECK_AGAIN,
        etag=_tag(data),
        packable=True,
        extra={**_COMMON, "Content-Security-Policy": _POLICY},
    )


def _tag(data: bytes) -> str:
    return f'"{hashlib.sha256(data).hexdigest()[:32]}"'
