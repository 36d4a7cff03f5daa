"""Settings that change while an origin runs: all of them, or none.

`Reloading.reload` reads the sources again, as a start would, and compares. What changed and is
marked live (`edge.process.settings.LIVE`) is handed to the `Part`s that it concerns, in two steps:
every part *prepares*, which may fail (a certificate that cannot be read), and only when all have
are the changes made, which cannot. What changed and is not live stays as it is, and is named as
waiting for a restart.

Everything is synchronous, so nobody ever sees half of it, and two reloads cannot overlap. It reads
a few small files: 2 ms, and some 20 ms more where a webhook is made.

May import: `edge.process`, `origin.config`, msgspec, structlog.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, TypeAlias

import msgspec
import structlog

from edge.process.errors import ConfigError
from edge.process.settings import Sources, is_live, shown
from origin.config import PLAN, Settings

Commit: TypeAlias = Callable[[], None]
"""Makes a change that has been prepared; must not fail."""

Load: TypeAlias = Callable[[], tuple[Settings, Sources]]
"""Gathers the settings again, checked; raises `ConfigError`."""

log = structlog.get_logger("config")


@dataclass(frozen=True, slots=True)
class Part:
    """Whom a change of some settings concerns."""

    names: frozenset[str]
    """The settings."""
    prepare: Callable[[Settings], Commit]
    """From the settings that are to be in force; raises `ConfigError` if it cannot use them."""
    always: bool = False
    """Whether it is asked at every reload, whatever has changed: files may have."""


def part(*names: str, apply: Callable[[Settings], None]) -> Part:
    """A part that takes whatever is valid."""
    return Part(frozenset(names), lambda settings: lambda: apply(settings))


class Change(msgspec.Struct, frozen=True, rename="camel"):
    """A setting that has another value now; secrets are hidden."""

    name: str
    before: Any
    after: Any


class Outcome(msgspec.Struct, frozen=True, rename="camel"):
    """What a reload did."""

    changed: tuple[Change, ...]
    needs_restart: tuple[str, ...]
    """Settings whose sources say something else than what is in force."""


class Reloading:
    """The settings in force, and who is told when they change.

    Args:
        settings: Of the start.
        sources: Where each of them was given.
        load: Gathers them again; None: there is nothing to read again.
    """

    def __init__(
        self, settings: Settings, sources: Sources | None = None, load: Load | None = None
    ) -> None:
        self.settings = settings
        """In force."""
        self.sources: Sources = sources or {}
        """Where each was given, as far as its value is in force."""
        self.needs_restart: tuple[str, ...] = ()
        """What the last reload could not apply."""
        self._load = load or (lambda: (self.settings, self.sources))
        self._parts: list[Part] = []

    def tell(self, parts: Iterable[Part]) -> None:
        """Have parts told from now on, in this order.

        Raises:
            ValueError: A live setting is nobody's by now, or one of a part's is not live.
        """
        self._parts += parts
        told = frozenset[str]().union(*(part.names for part in self._parts))
        if wrong := told ^ LIVE_NAMES:
            raise ValueError(
                f"marked live and told to nobody, or the reverse: {', '.join(sorted(wrong))}"
            )

    def reload(self) -> Outcome:
        """Take what the sources say now.

        Raises:
            ConfigError: One line; nothing has changed.
        """
        found, sources = self._load()
        before = self.settings
        changed = {
            name
            for name in before.__struct_fields__
            if getattr(found, name) != getattr(before, name)
        }
        waiting = (changed - LIVE_NAMES) | (changed & _bound_to_restart(before, found))
        taken = changed - waiting
        after = msgspec.structs.replace(before, **{name: getattr(found, name) for name in taken})
        in_force = dict.fromkeys(before.__struct_fields__, "in force")
        for check in PLAN.together:  # what stays and what is new must fit too
            check(after, {**in_force, **sources})
        commits = [part.prepare(after) for part in self._parts if part.always or part.names & taken]
        # From here on nothing can fail.
        self.settings = after
        self.sources = {name: text for name, text in sources.items() if name not in waiting} | {
            name: self.sources[name] for name in waiting if name in self.sources
        }
        self.needs_restart = tuple(sorted(waiting))
        for commit in commits:
            commit()
        was, now = shown(before), shown(after)
        return Outcome(
            tuple(Change(name, was[name], now[name]) for name in sorted(taken)), self.needs_restart
        )

    def reload_and_log(self) -> None:
        """Do it for a signal: who sent it reads the log."""
        try:
            outcome = self.reload()
        except ConfigError as error:
            log.error("configuration not taken, nothing has changed", reason=str(error))
            return
        except Exception:  # a bug of ours: it must not end what is being broadcast
            log.exception("reload failed")
            return
        log_outcome(outcome)


def log_outcome(outcome: Outcome, *, by: str = "SIGHUP") -> None:
    """Say what a reload did, and who asked for it."""
    changed = ",".join(change.name for change in outcome.changed) or "nothing"
    log.info("configuration taken", changed=changed, by=by)
    if outcome.needs_restart:
        log.warning("settings need a restart to change", settings=",".join(outcome.needs_restart))


LIVE_NAMES = frozenset(info.name for info in msgspec.structs.fields(Settings) if is_live(info))
"""Settings that a reload applies."""


def _bound_to_restart(before: Settings, found: Settings) -> frozenset[str]:
    """Live settings that are not live this time: TLS is not switched on or off while running."""
    if (before.tls_certificate is None) != (found.tls_certificate is None):
        return frozenset({"tls_certificate", "tls_key"})
    return frozenset()
