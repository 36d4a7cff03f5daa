"""Logging for the whole process: structlog, a line per event on stderr, for people or machines.

Modules log events with fields (``log.info("publishing", stream=id)``), through
``structlog.get_logger()``, which works before and without `configure_logging`. What this file
adds is safety, in one processor that no field escapes:

* secrets: whatever looks like a stream key, a token (admin's, of the API, a JWT, the one in a path
  behind ``~``), the secret of a webhook or a bearer credential is cut out, in any field, key or
  traceback. The last line of defence; nothing should log one in the first place;
* injection: peers choose some of the texts. What is not printable (newlines, terminal escapes,
  bidirectional overrides) is written as an escape, so a line is always one line of ours;
* size: a value has at most `MAX_VALUE_CHARACTERS`.

What belongs to one connection says so by itself: a task that serves one binds `connection`, and
`stream` once that is known, with structlog's contextvars, and every line that it writes has them.
Tasks inherit them from who starts them; `start_apart` is for those that live longer.

Text lines are ``TIME level event key=value ...``; a value with spaces, quotes or escapes is
quoted as JSON. A traceback follows its line, each row behind a bar, so it cannot pass for a line
either.
"""

import json
import logging
import math
import re
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from contextvars import copy_context
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO, TypeVarTuple

import structlog

if TYPE_CHECKING:
    import trio

#: Enough for any sentence of ours; a peer's longer text is cut, with an ellipsis.
MAX_VALUE_CHARACTERS: Final = 500

#: Tracebacks are ours, and useful from their end.
MAX_EXCEPTION_CHARACTERS: Final = 16_384

REDACTED: Final = "[redacted]"

# Eight digits are enough to be worth hiding: keys get cut by other limits. `%5F` and `%7E` are how
# a URL may write `_` and `~`. A JWT begins with the base64 of `{"`.
_SECRETS: Final = re.compile(
    r"(?P<prefix>(?:live|admin|hrt|whsec)(?:_|%5F))[0-9a-f]{8,}"
    r"|(?P<scheme>bearer)\s+[^\s\"',;]+"
    r"|(?P<path>/(?:~|%7E))[^/\s\"'?#]+"
    r"|(?P<jwt>\beyJ)[\w-]{4,}\.[\w-]+(?:\.[\w-]*)?",
    re.IGNORECASE,
)

#: A secret that straddles the cut must be seen from its start: what is cut off cannot be read.
_CUT_MARGIN: Final = 80

_BARE: Final = re.compile(r"[!#-<>-\[\]-~]+")  # printable ASCII but space, quote, equals, backslash

BOUND: Final = ("connection", "stream")
"""What tasks of connections bind."""

Ts = TypeVarTuple("Ts")

Value = str | int | float | bool | None


def configure_logging(
    log_format: Literal["text", "json"], level: str = "info", *, stream: TextIO | None = None
) -> None:
    """Set up structlog and, for libraries that use it, the standard library's logging.

    Args:
        log_format: "text" for people, "json" for one object per line.
        level: Least severe level to write: "debug", "info", "warning" or "error".
        stream: Where lines go; None is stderr as it is now.
    """
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            make_safe,
            render_json if log_format == "json" else render_text,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelName(level.upper())),
        logger_factory=lambda *_: _Sink(stream or sys.stderr),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_ToStructlog()]
    root.setLevel(logging.WARNING)  # libraries' chatter is not ours


def redact(text: str) -> str:
    """Cut out every secret: ``live_[redacted]``, ``Bearer [redacted]``."""

    def cut(match: re.Match[str]) -> str:
        scheme, kept = match["scheme"], match["prefix"] or match["path"] or match["jwt"]
        return (scheme + " " if scheme else kept) + REDACTED

    return _SECRETS.sub(cut, text)


def start_apart(
    nursery: "trio.Nursery",
    task: Callable[[*Ts], Awaitable[object]],
    *arguments: *Ts,
) -> None:
    """Start a task that goes on when the connection that it comes from is over.

    Its lines name neither that connection nor its stream; it may bind what is its own.

    Args:
        nursery: Owns it.
        task: What is started.
        arguments: For it.
    """
    context = copy_context()
    context.run(structlog.contextvars.unbind_contextvars, *BOUND)
    context.run(lambda: nursery.start_soon(task, *arguments))


def make_safe(
    _logger: object, _method: str, event_dict: MutableMapping[str, Any]
) -> Mapping[str, Any]:
    """Structlog processor: redact and bound all keys and values, and flatten values to scalars."""
    return {
        _safe_text(key): _safe_exception(value) if key == "exception" else _safe_value(value)
        for key, value in event_dict.items()
    }


def render_json(_logger: object, _method: str, event_dict: Mapping[str, Value]) -> str:
    """Structlog renderer: one JSON object, in ASCII, so that no control character gets out."""
    head = {name: event_dict[name] for name in ("timestamp", "level", "event")}
    return json.dumps(head | dict(event_dict), ensure_ascii=True, allow_nan=False)


def render_text(_logger: object, _method: str, event_dict: Mapping[str, Value]) -> str:
    """Structlog renderer: the text form of the module's header."""
    rest = dict(event_dict)
    head = (rest.pop("timestamp", ""), f"{rest.pop('level', ''):<7}", rest.pop("event", ""))
    exception = rest.pop("exception", None)
    words = [
        *(_escape(str(word)) for word in head),
        *(f"{_escape(key)}={_quote(value)}" for key, value in rest.items()),
    ]
    return "\n".join((" ".join(words), *_rows(exception)))


def _rows(exception: Value) -> Iterator[str]:
    if exception is not None:
        for row in str(exception).splitlines():
            yield "    | " + _escape(row)


def _safe_value(value: object) -> Value:
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int) and abs(value) < 1 << 64:  # a larger one may not even have a str()
        return int(value)
    if isinstance(value, float) and math.isfinite(value):  # NaN is no JSON
        return float(value)
    try:
        return _safe_text(str(value))
    except Exception:  # a broken __str__ must not cost the line, nor its task
        return f"<{type(value).__name__}>"


def _safe_text(text: str) -> str:
    text = redact(text[: MAX_VALUE_CHARACTERS + _CUT_MARGIN])
    return text if len(text) <= MAX_VALUE_CHARACTERS else text[: MAX_VALUE_CHARACTERS - 1] + "…"


def _safe_exception(value: object) -> str:
    return redact(str(value))[-MAX_EXCEPTION_CHARACTERS:]


def _quote(value: Value) -> str:
    if isinstance(value, str) and _BARE.fullmatch(value):
        return value
    return _escape(json.dumps(value, ensure_ascii=False))


def _escape(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else json.dumps(character)[1:-1] for character in text
    )


class _Sink:
    """The end of the line: one write per event. A lost or full stderr never reaches the caller."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def _write(self, line: str) -> None:
        try:
            self._stream.write(line + "\n")
            self._stream.flush()
        except (OSError, ValueError):  # the reader is gone, or the stream was closed
            pass

    debug = info = warning = error = critical = _write


class _ToStructlog(logging.Handler):
    """Carries the records of libraries over, so that they get the same treatment."""

    def emit(self, record: logging.LogRecord) -> None:
        level = max(logging.DEBUG, min(logging.CRITICAL, record.levelno // 10 * 10))
        try:
            text = record.getMessage()
        except Exception:  # arguments that do not fit the format
            text = str(record.msg)
        structlog.get_logger().log(level, text, logger=record.name, exc_info=record.exc_info)
