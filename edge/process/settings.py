"""A program's settings: one frozen value, gathered from a TOML file, the environment and flags.

Later sources win: defaults, then ``--config FILE`` (flat TOML, keys as the fields of the struct),
then ``HEADRACE_<FIELD>`` variables, then flags. Each value is checked on its own, so that an error
can name the setting and the source it came from, in one line. A setting that is unknown is an error
too: a typing mistake must not silently leave a default in force.

What the settings are, and what must hold between them, is the program's `Plan`.

A field may be marked in its type, ``Annotated[float, msgspec.Meta(ge=0), LIVE]``: `LIVE`, a reload
applies it; `SECRET`, nobody is shown it. A field without a mark needs a restart and is shown;
unless its name ends as secrets' do.

Pure but for reading the file. May import: msgspec, `edge.process`.
"""

import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Generic, NamedTuple, TypeVar

import msgspec

from edge.process.errors import ConfigError

ENVIRONMENT_PREFIX: Final = "HEADRACE_"

#: Variables with the prefix that are not settings: the file to read, what the command `headrace`
#: asks with (`origin.tools.session`), and the switches of the build.
_NOT_SETTINGS: Final = frozenset(
    {
        *("HEADRACE_CONFIG", "HEADRACE_SERVER", "HEADRACE_TOKEN"),
        *("HEADRACE_PURE", "HEADRACE_SANITIZE", "HEADRACE_ANNOTATE"),
    }
)

_URL_SECRETS: Final = re.compile(
    r"^([a-z][a-z0-9+.-]*://)(?:([^/?#]*)@)?([^?]*)(?:\?(.*))?$", re.IGNORECASE | re.DOTALL
)

#: Where in a nested value msgspec found the mistake: it ends the text.
_PATH: Final = re.compile(r" - at `\$([^`]*)`$")

Timeout = Annotated[float, msgspec.Meta(ge=0.1, le=3600)]
"""Type of a field in seconds; short enough to notice, long enough for any line."""

LIVE: Final = msgspec.Meta(extra={"live": True})
"""Mark of a field that a reload applies, without a restart."""

SECRET: Final = msgspec.Meta(extra={"secret": True})
"""Mark of a field that is shown to nobody: not in logs, not by the API, not by the tools."""

HIDDEN: Final = "(hidden)"
"""Stands where a secret is."""

_SECRET_ENDINGS: Final = ("_token", "_secret", "_password")

Sources = Mapping[str, str]
"""Setting to how an error names its source: variable, flag, or file and key. Defaults have none."""

S = TypeVar("S", bound=msgspec.Struct)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Generic[S]):
    """What the settings of a program are."""

    kind: type[S]
    """The struct; every field has a default."""
    check: Callable[[str, Any], None]
    """From a field's name and value: raises ValueError where the type does not say enough. The text
    does not repeat a secret; an attribute `where` names the place in a nested one."""
    parsers: Mapping[str, Callable[[str], Any]] = field(default_factory=dict)
    """For fields whose text form the type does not give away: from text to what TOML would hold, or
    ValueError."""
    together: Sequence[Callable[[S, Sources], None]] = ()
    """What must hold between settings: each raises `ConfigError`."""


class Survey(NamedTuple, Generic[S]):
    """What the sources say, right or wrong."""

    settings: S | None
    """None: a value cannot be used."""
    sources: Sources
    """Where each that was given came from."""
    problems: tuple[ConfigError, ...]
    """Every mistake, in the order in which a start would stumble over them."""


def gather(
    plan: Plan[S],
    *,
    config_file: Path | None,
    environment: Mapping[str, str],
    flags: Mapping[str, Any],
) -> tuple[S, Sources]:
    """Gather the settings of a program from all sources, each value checked.

    Args:
        plan: What they are.
        config_file: The TOML file; None takes the one that HEADRACE_CONFIG names, if any.
        environment: The environment variables.
        flags: Field name to value, of the flags that were given; None values do not count.

    Returns:
        The settings, and where each that was given came from.

    Raises:
        ConfigError: One line that names the setting and its source: the first mistake.
    """
    settings, sources, problems = survey(
        plan, config_file=config_file, environment=environment, flags=flags
    )
    if problems:
        raise problems[0]
    assert settings is not None
    return settings, sources


def survey(
    plan: Plan[S],
    *,
    config_file: Path | None,
    environment: Mapping[str, str],
    flags: Mapping[str, Any],
) -> Survey[S]:
    """Do as `gather`, but go on after a mistake and return them all."""
    if config_file is None and environment.get("HEADRACE_CONFIG"):
        config_file = Path(environment["HEADRACE_CONFIG"])
    fields = {info.name: info.type for info in msgspec.structs.fields(plan.kind)}
    problems: list[ConfigError] = []
    given: list[_Given] = []
    for one in (
        *(_file_settings(config_file, fields) if config_file else ()),
        *_environment_settings(environment, fields),
        *_flag_settings(flags),
    ):
        if isinstance(one, ConfigError):
            problems.append(one)
        else:
            given.append(one)
    values: dict[str, Any] = {}
    for setting in given:  # every value is checked, also one that a later source replaces
        try:
            values[setting.name] = _checked(setting, fields[setting.name], plan.check, plan.parsers)
        except ConfigError as error:
            problems.append(error)
    sources = {setting.name: setting.source for setting in given}
    if problems:
        return Survey(None, sources, tuple(problems))
    settings = plan.kind(**values)
    for check in plan.together:
        try:
            check(settings, sources)
        except ConfigError as error:
            problems.append(error)
    return Survey(settings, sources, tuple(problems))


def is_live(field: msgspec.structs.FieldInfo) -> bool:
    """Whether a reload applies a field."""
    return _is_marked(field, LIVE)


def is_secret(field: msgspec.structs.FieldInfo) -> bool:
    """Whether a field is shown to nobody."""
    return _is_marked(field, SECRET) or field.name.endswith(_SECRET_ENDINGS)


def _is_marked(field: msgspec.structs.FieldInfo, mark: msgspec.Meta) -> bool:
    assert mark.extra is not None
    kind = msgspec.inspect.type_info(field.type)
    extra = kind.extra if isinstance(kind, msgspec.inspect.Metadata) else None
    return extra is not None and mark.extra.items() <= extra.items()


def safe_repr(settings: msgspec.Struct) -> str:
    """What `repr` would say, without secrets: it goes into logs."""
    hidden = {field.name for field in msgspec.structs.fields(settings) if is_secret(field)}
    values = ((name, getattr(settings, name)) for name in settings.__struct_fields__)
    pairs = ", ".join(
        f"{name}={HIDDEN if name in hidden and value is not None else repr(value)}"
        for name, value in values
    )
    return f"{type(settings).__name__}({pairs})"


def shown(settings: msgspec.Struct) -> dict[str, Any]:
    """Settings as they may be shown: by name, what TOML would hold, None for what is not set.

    Secrets are `HIDDEN`, and so are a URL's password and query, where programs expect secrets.
    """
    values = {}
    for info in msgspec.structs.fields(settings):
        value = getattr(settings, info.name)
        if is_secret(info):
            values[info.name] = None if value is None else HIDDEN
        else:
            values[info.name] = _without_secrets(msgspec.to_builtins(value, enc_hook=str))
    return values


def _without_secrets(plain: Any) -> Any:
    if isinstance(plain, str):
        return _URL_SECRETS.sub(_hide, plain)
    if isinstance(plain, list | tuple):
        return [_without_secrets(one) for one in plain]
    return plain


def _hide(match: re.Match[str]) -> str:
    before, user, after, query = match.groups()
    return before + (f"{HIDDEN}@" if user else "") + after + (f"?{HIDDEN}" if query else "")


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


def _file_settings(path: Path, known: Mapping[str, Any]) -> Iterator[_Given | ConfigError]:
    try:
        with path.open("rb") as file:
            table = tomllib.load(file)
    except OSError as error:
        yield ConfigError(f"{path}: {error.strerror or error}")
        return
    except ValueError as error:  # bad TOML, or bytes that are no UTF-8
        yield ConfigError(f"{path}: not TOML: {error}")
        return
    for name, value in table.items():
        if name in known:
            yield _Given(name, value, f"{path}: {name}", is_text=False)
        else:
            yield ConfigError(f"{path}: unknown setting {name!r}")


def _environment_settings(
    environment: Mapping[str, str], known: Mapping[str, Any]
) -> Iterator[_Given | ConfigError]:
    for variable in sorted(environment):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in _NOT_SETTINGS:
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name not in known or variable != variable.upper():
            yield ConfigError(f"environment: unknown setting {variable!r}")
        else:
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
