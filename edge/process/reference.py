"""The reference of a program's settings, made of the struct that holds them.

A setting's name, type, bounds and default are its field's; its text is the string that follows the
field in the source, which `ast` finds; whether a reload applies it is its mark
(`edge.process.settings.LIVE`). So a new field is documented by being written, and what nobody has
marked says that it needs a restart.

Two forms: Markdown for docs/settings.md, and a TOML file with every setting commented out.

Pure but for reading the struct's source. May import: msgspec, `edge.process.settings`.
"""

import ast
import inspect
import json
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import msgspec

from edge.process.settings import ENVIRONMENT_PREFIX, is_live, is_secret

_WIDTH = 100
"""Of the comments of a TOML file, in characters."""

Is = Callable[[msgspec.structs.FieldInfo], bool]


@dataclass(frozen=True, slots=True)
class Entry:
    """All that is to be said about a setting."""

    name: str
    """Its field, and its key in TOML."""
    kind: str
    """Type and bounds, for people."""
    default: Any
    """None: it is not set."""
    flag: str | None
    """As it is typed, with its value's name; None: it has none."""
    is_live: bool
    """Whether a reload applies it; else it needs a restart."""
    is_secret: bool
    """Whether its value is shown to nobody."""
    text: str
    """What it means, one paragraph of Markdown."""

    @property
    def variable(self) -> str:
        """The environment variable."""
        return ENVIRONMENT_PREFIX + self.name.upper()


def entries_of(
    kind: type[msgspec.Struct], *, flags: Mapping[str, str], live: Is = is_live
) -> tuple[Entry, ...]:
    """Say what there is to set.

    Args:
        kind: The struct; every field has a default and a text.
        flags: Field name to the flag as it is typed, of the fields that have one.
        live: Whether a reload applies a field.

    Raises:
        ValueError: A field has no text.
    """
    texts = _texts(kind)
    fields = msgspec.structs.fields(kind)
    if silent := [field.name for field in fields if not texts.get(field.name)]:
        raise ValueError(f"{kind.__name__}: no text follows {', '.join(silent)}")
    return tuple(
        Entry(
            name=field.name,
            kind=_described(msgspec.inspect.type_info(field.type)),
            default=field.default,
            flag=flags.get(field.name),
            is_live=live(field),
            is_secret=is_secret(field),
            text=texts[field.name],
        )
        for field in fields
    )


def as_markdown(entries: Iterable[Entry]) -> str:
    """A section for each setting, and a line of facts under its text."""
    blocks = []
    for entry in entries:
        facts = [
            entry.kind,
            "not set by default" if entry.default is None else f"default `{_shown(entry.default)}`",
            f"`{entry.variable}`",
            f"`{entry.flag}`" if entry.flag else "no flag",
            "live" if entry.is_live else "restart",
            *(["secret"] if entry.is_secret else []),
        ]
        text = "\n".join(textwrap.wrap(entry.text, _WIDTH, break_on_hyphens=False))
        blocks.append(f"### `{entry.name}`\n\n{text}\n\n{' · '.join(facts)}\n")
    return "\n".join(blocks)


def as_toml(entries: Iterable[Entry]) -> str:
    """A file for `--config`, every setting commented out, with its default where it has one."""
    blocks = []
    for entry in entries:
        facts = entry.kind + ("" if entry.is_live else "; needs a restart")
        text = "\n".join(
            textwrap.wrap(
                f"{entry.text} ({facts})",
                _WIDTH,
                initial_indent="# ",
                subsequent_indent="# ",
                break_on_hyphens=False,
            )
        )
        value = '""  # not set' if entry.default is None else to_toml(entry.default)
        blocks.append(f"{text}\n#{entry.name} = {value}\n")
    return "\n".join(blocks)


def settings_as_toml(settings: msgspec.Struct) -> str:
    """A file for `--config` that gives these very settings, secrets and all.

    Args:
        settings: None stands for what is not set, and is left out.
    """
    values = ((name, getattr(settings, name)) for name in settings.__struct_fields__)
    return "".join(f"{name} = {to_toml(value)}\n" for name, value in values if value is not None)


def to_toml(value: Any) -> str:
    """Write a value of a setting as TOML.

    Args:
        value: str, bool, int, finite float, Path, or a list, tuple, dict or struct of these; None
            only in the last two.
    """
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str | Path):
        # JSON's strings are TOML's, but for one control character.
        return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
    if isinstance(value, msgspec.Struct):
        value = msgspec.structs.asdict(value)
    if isinstance(value, Mapping):
        pairs = (f"{name} = {to_toml(one)}" for name, one in value.items() if one is not None)
        return f"{{ {', '.join(pairs)} }}"
    if isinstance(value, Sequence):
        return f"[{', '.join(map(to_toml, value))}]"
    raise TypeError(f"no setting is a {type(value).__name__}")


def _shown(value: Any) -> str:
    """A default in one line of Markdown."""
    return to_toml(value) if not isinstance(value, float) else f"{value:g}"


def _texts(kind: type[msgspec.Struct]) -> dict[str, str]:
    """The string after each field, its lines joined."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(kind)))
    assert isinstance(tree.body[0], ast.ClassDef)
    return dict(_pairs(tree.body[0].body))


def _pairs(body: Sequence[ast.stmt]) -> Iterator[tuple[str, str]]:
    for statement, following in pairwise(body):
        match statement, following:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                yield name, " ".join(text.split())


def _described(kind: msgspec.inspect.Type) -> str:
    """A type and its bounds in words."""
    match kind:
        case msgspec.inspect.Metadata(type=inner):
            return _described(inner)
        case msgspec.inspect.UnionType(types=types):
            known = [one for one in types if not isinstance(one, msgspec.inspect.NoneType)]
            choices = [one for one in known if isinstance(one, msgspec.inspect.LiteralType)]
            if choices == known:
                return _choice([value for one in choices for value in one.values])
            return " or ".join(map(_described, known))
        case msgspec.inspect.LiteralType(values=values):
            return _choice(values)
        case msgspec.inspect.BoolType():
            return "true or false"
        case msgspec.inspect.IntType(ge=low, le=high):
            return "whole number" + _range(low, high)
        case msgspec.inspect.FloatType(ge=low, le=high):
            return "number" + _range(low, high)
        case msgspec.inspect.StrType():
            return "text"
        case msgspec.inspect.CustomType(cls=cls) if issubclass(cls, Path):
            return "path"
        case msgspec.inspect.StructType(fields=fields):
            return f"table ({', '.join(field.name for field in fields)})"
        case msgspec.inspect.VarTupleType(item_type=item, max_length=most):
            return f"list of {_described(item)}" + ("" if most is None else f", at most {most}")
    raise TypeError(f"no words for {kind!r}")


def _choice(values: Iterable[Any]) -> str:
    return "one of " + ", ".join(f'"{value}"' for value in values)


def _range(low: float | None, high: float | None) -> str:
    if low is not None and high is not None:
        return f", {low:_} to {high:_}".replace("_", " ")
    if low is not None:
        return f", at least {low}"
    return "" if high is None else f", at most {high}"
