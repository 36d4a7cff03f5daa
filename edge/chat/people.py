"""Who was in a room lately, by id and by the looks of the name.

Pure. Bound: `MAX_PEOPLE`; whoever was quiet the longest is forgotten first. May import:
`edge.chat`'s pure modules.
"""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

from edge.chat.names import skeleton
from edge.chat.rules import Identity

MAX_PEOPLE: Final = 10_000
"""People whose names and roles are remembered."""


@dataclass(slots=True)
class People:
    """Who was here lately, by id and by name."""

    by_id: OrderedDict[str, Identity] = field(default_factory=OrderedDict)
    by_name: dict[str, str] = field(default_factory=dict)

    def note(self, who: Identity) -> None:
        """Remember somebody, and forget whoever was quiet the longest if there are too many."""
        before = self.by_id.pop(who.user_id, None)
        if before is not None:
            self._forget_name(before)
        while len(self.by_id) >= MAX_PEOPLE:
            self._forget_name(self.by_id.popitem(last=False)[1])
        self.by_id[who.user_id] = who
        self.by_name[skeleton(who.username)] = who.user_id

    def owner_of(self, username: str) -> str | None:
        """Whose name it is."""
        return self.by_name.get(skeleton(username))

    def _forget_name(self, who: Identity) -> None:
        name = skeleton(who.username)
        if self.by_name.get(name) == who.user_id:
            del self.by_name[name]
