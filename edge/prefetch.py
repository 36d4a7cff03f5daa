"""What an edge asks for before a viewer does.

A rendition is *watched* while viewers ask for what comes next in it. Then the edge follows it by
itself: each version names the one after it and the part that is being made, and both are asked for
at once, so that they come down one hop as soon as they exist upstream and wait here for the
viewers.

Where viewers ask for delta updates, the whole playlist is fetched now and then as well: it is what
a player asks for when a reload fails, and what it is given while no upstream answers.

Following stops when nobody has asked for `WATCHED_S`, and with the first answer that is not a new
version; the next viewer's request begins it anew.

Pure. Bound: three targets and a segment's parts (`edge.outline.MAX_PARTS`) for each version.

May import: `edge.outline`, `hls.request`. Spec: rfc8216bis-22, sections 6.2.5.2 and 6.2.6.
"""

import math
from dataclasses import dataclass

from edge.outline import Outline
from hls.request import Directives

WATCHED_S = 10.0
"""Longer than any player waits between two reloads."""


@dataclass(frozen=True, slots=True)
class Ahead:
    """One thing to ask for."""

    path: str
    directives: Directives | None
    """For a playlist; None for media."""
    is_held: bool
    """It is not there yet: the upstream holds the request until it is."""


def ahead_of(
    path: str, outline: Outline, *, skip: bool, whole_age_s: float = math.inf
) -> list[Ahead]:
    """Say what comes after a version, most urgent first.

    Args:
        path: Of the playlist.
        outline: Its newest version.
        skip: Viewers ask for delta updates.
        whole_age_s: How old the whole playlist is that is known.

    Returns:
        The next version, the hinted part, then the parts that a viewer who joins now begins with,
        newest first, then the whole playlist if it is older than a target duration. Nothing once
        the broadcast has ended.
    """
    if outline.ended:
        return []
    folder = path.rpartition("/")[0]
    msn, part = outline.next_part
    ahead = [Ahead(path, Directives(msn, part, skip), is_held=True)]
    if outline.hint is not None:
        ahead.append(Ahead(f"{folder}/{outline.hint}", None, is_held=True))
    ahead += [Ahead(f"{folder}/{name}", None, is_held=False) for name in reversed(outline.parts)]
    if skip and whole_age_s >= outline.target_duration_s:
        ahead.append(Ahead(path, Directives(), is_held=True))
    return ahead


def is_watched(asked_s: float | None, now_s: float) -> bool:
    """Whether to go on, after a viewer asked at `asked_s` (None: never)."""
    return asked_s is not None and now_s - asked_s <= WATCHED_S
