"""A program's settings: one frozen value, gathered from a TOML file, the environment and flags.

Later sources win: defaults, then ``--config FILE`` (flat TOML, keys as the fields of the struct),
then ``HEADRACE_<FIELD>`` variables, then flags. Each value is checked on its own, so that an error
can name the setting and the source it came from, in one line. A setting that is unknown is an error
too: a typing mistake must not silently leave a default in force.

What the settings are, and what must hold between them, is the program's: it calls `gather`, then
checks the rest with the sources that it got.

Pure but for reading the file. May import: msgspec, `edge.process`.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Final, NamedTuple, TypeVar

import msgspec

from edge.process.errors import ConfigError

ENVIRONMENT_PREFIX: Final = "HEADRACE_"

#: Variables with the prefix that are not settings: the file to read, and the switches of the build.
_NOT_SETTINGS: Final = frozenset(
    {"HEADRACE_CONFIG", "HEADRACE_PURE", "HEADRACE_SANITIZE", "HEADRACE_ANNOTATE"}
)

#: Where in a nested value msgspec found the mistake: it ends the text.
_PATH: Final = re.compile(r" - at `\$([^`]*)`$")

Timeout = Annotated[float, msgspec.Meta(ge=0.1, le=3600)]
"""Type of a field in seconds; short enough to notice, long enough for any line."""

Sources = Mapping[str, str]
"""Setting to how an error names its source: variable, flag, or file and key. Defaults have none."""

S = TypeVar("S", bound=msgspec.Struct)


def gather(
    kind: type[S],
    *,
    config_file: Path | None,
    environment: Mapping[str, str],
    flags: Mapping[str, Any],
    check: Callable[[str, Any], None],
    parsers: Mapping[str, Callable[[str], Any]] | None = None,
) -> tuple[S, Sources]:
    """Gather the settings of a program from all sources, each value checked.

    Args:
        kind: The struct; every field has a default.
        config_file: The TOML file; None takes the one that HEADRACE_CONFIG names, if any.
        environment: The environment variables.
        flags: Field name to value, of the flags that were given; None values do not count.
        check: From a field's name and value: raises ValueError where the type does not say enough.
            The text does not repeat a secret; an attribute `where` names the place in a nested one.
        parsers: For fields whose text form the type does not give away: from text to what TOML
            would hold, or ValueError.

    Returns:
        The settings, and where each that was given came from.

    Raises:
        ConfigError: One line that names the setting and its source.
    """
    if config_file is None and environment.get("HEADRACE_CONFIG"):
        config_file = Path(environment["HEADRACE_CONFIG"])
    fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
    given = (
        *(_file_settings(config_file, fields) if config_file else ()),
        *_environment_settings(environment, fields),
        *_flag_settings(flags),
    )
    # Every value is checked, also one that a later source replaces.
    values = {
        setting.name: _checked(setting, fields[setting.name], check, parsers or {})
        for setting in given
    }
    return kind(**values), {setting.name: setting.source for setting in given}


def check_tls(settings: Any, sources: Sources, *listeners: str) -> None:
    """Check that a certificate is there where it is needed, and nowhere else.

    Args:
        settings: Has `tls_certificate` and `tls_key`.
        sources: Of `gather`.
        listeners: Settings of the places that are served over TLS, None where they are not.

    Raises:
        ConfigError: It is not so.
    """
    secure = [name for name in listeners if getattr(settings, name) is not None]
    if secure and settings.tls_certificate is None:
        raise ConfigError(f"{sources[secure[0]]}: {secure[0]} needs tls_certificate")
    if not secure and settings.tls_certificate is not None:
        needed = " or ".join(listeners)
        raise ConfigError(f"{sources['tls_certificate']}: tls_certificate needs {needed}")
    if settings.tls_key is not None and settings.tls_certificate is None:
        raise ConfigError(f"{sources['tls_key']}: tls_key needs tls_certificate")


def path_hook(type_: type, value: Any) -> Any:
    """Teach msgspec what a path is: a `dec_hook`. Raises ValueError for anything else."""
    if type_ is Path and isinstance(value, str) and value and "\0" not in value:
        return Path(value)
    raise ValueError("expected a path")


class _Given(NamedTuple):
    """A setting as one source gives it."""

    name: str
    value: Any
    source: str
    is_text: bool
    """Everything is text here, so "0.3" may be a number; in TOML that is a mistake."""


def _file_settings(path: Path, known: Mapping[str, Any]) -> Iterator[_Given]:
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror or error}") from error
    except ValueError as error:  # bad TOML, or bytes that are no UTF-8
        raise ConfigError(f"{path}: not TOML: {error}") from error
    for name, value in table.items():
        if name not in known:
            raise ConfigError(f"{path}: unknown setting {name!r}")
        yield _Given(name, value, f"{path}: {name}", is_text=False)


def _environment_settings(
    environment: Mapping[str, str], known: Mapping[str, Any]
) -> Iterator[_Given]:
    for variable in sorted(environment):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in _NOT_SETTINGS:
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name not in known or variable != variable.upper():
            raise ConfigError(f"environment: unknown setting {variable!r}")
        yield _Given(name, environment[variable], variable, is_text=True)


def _flag_settings(flags: Mapping[str, Any]) -> Iterator[_Given]:
    for name, value in flags.items():
        if value is not None:
            yield _Given(name, value, "--" + name.replace("_", "-"), is_text=True)


def _checked(
    setting: _Given,
    kind: Any,
    check: Callable[[str, Any], None],
    parsers: Mapping[str, Callable[[str], Any]],
) -> Any:
    """Convert a value to its field's type and check it, or name the setting it was for."""
    try:
        value = setting.value
        if isinstance(value, str) and setting.is_text and setting.name in parsers:
            value = parsers[setting.name](value)
        value = msgspec.convert(value, kind, strict=not setting.is_text, dec_hook=path_hook)
        check(setting.name, value)
    except (msgspec.ValidationError, ValueError) as error:
        text = str(error)
        place = _PATH.search(text)
        where = getattr(error, "where", None) or (place[1] if place else "")
        text = _PATH.sub("", text).replace("`", "")
        if setting.is_text:
            text = text.removesuffix(", got str")  # true of every variable and flag
        raise ConfigError(f"{setting.source}{where}: {text[:1].lower()}{text[1:]}") from None
    return value
