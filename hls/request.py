"""Delivery directives of a playlist request, and the decision what to do with it.

Pure: `parse_directives` reads a query string, `decide` looks at a timeline. The caller holds a
request that must `Wait`, asks again after each `Timeline.apply`, and owns the time-out ("A Server
that cannot provide the requested Playlist after blocking for more than three Target Durations
SHOULD return Service Unavailable, such as HTTP 503").

`_HLS_skip` says in which form the answer comes, and has no part in the decision. Parameters of any
other name are ignored, so that a viewer's own (`?token=...`) neither break a request nor split a
cache.

May import `hls`. Spec: draft-pantos-hls-rfc8216bis-22 section 6.2.5, quoted above each branch.
"""

import math
import re
from dataclasses import dataclass
from typing import TypeAlias
from urllib.parse import unquote

from hls.timeline import Timeline

_DECIMAL_INTEGER = re.compile(r"[0-9]{1,20}")  # 4.2: "1 to 20 characters"


@dataclass(frozen=True, slots=True)
class Directives:
    """The directives of a request that have an effect."""

    msn: int | None = None
    """`_HLS_msn`: the Media Sequence Number to wait for; None to wait for nothing."""

    part: int | None = None
    """`_HLS_part`: the part index in it; None to wait for the whole segment."""

    skip: bool = False
    """`_HLS_skip`: answer with a delta update. "v2" would let date ranges be skipped too, if the
    playlist said CAN-SKIP-DATERANGES; it does not, so both values mean the same."""

    @property
    def key(self) -> str:
        """The canonical query: equal for all requests that mean the same, whatever their order.

        A cache may file a response under path + "?" + this. Empty without directives.
        """
        pairs = []
        if self.msn is not None:
            pairs.append(f"_HLS_msn={self.msn}")
        if self.part is not None:
            pairs.append(f"_HLS_part={self.part}")
        if self.skip:
            pairs.append("_HLS_skip=YES")
        return "&".join(pairs)


@dataclass(frozen=True, slots=True)
class Ready:
    """Answer now with the whole playlist."""


@dataclass(frozen=True, slots=True)
class Wait:
    """Hold the request and decide again after the timeline's next change."""


@dataclass(frozen=True, slots=True)
class BadRequest:
    """Answer 400 at once."""

    reason: str
    """For the response's body; a fixed text, never an echo of what the client sent."""


Decision: TypeAlias = Ready | Wait | BadRequest

# The two without a reason exist once each.
READY = Ready()
WAIT = Wait()


def parse_directives(query: str) -> Directives | BadRequest:
    """Read the delivery directives out of a query string.

    Args:
        query: What follows the ``?`` of the request target, percent-encoded, without the ``?``; its
            length is the caller's to bound.

    Returns:
        The directives, or BadRequest for one that is not a decimal-integer (4.2), that is there
        twice, or that is not enough alone.

    Cost: O(len(query)).
    """
    values: dict[str, int] = {}
    skip: bool | None = None
    for pair in query.split("&"):
        name, _, value = pair.partition("=")
        name = unquote(name)
        if name not in ("_HLS_msn", "_HLS_part", "_HLS_skip"):
            continue
        if name in values or (name == "_HLS_skip" and skip is not None):
            return BadRequest(f"{name} is given twice")
        if name == "_HLS_skip":
            skip = value in ("YES", "v2")  # 6.2.5.1; another value asks for something unknown
            continue
        if not _DECIMAL_INTEGER.fullmatch(value):
            return BadRequest(f"{name} is not a decimal integer of 1 to 20 digits")
        values[name] = int(value)
    # "If the Playlist URI contains an _HLS_part directive but no _HLS_msn directive, the Server
    # MUST return Bad Request, such as HTTP 400."
    if "_HLS_part" in values and "_HLS_msn" not in values:
        return BadRequest("_HLS_part needs _HLS_msn")
    return Directives(values.get("_HLS_msn"), values.get("_HLS_part"), skip or False)


def decide(timeline: Timeline, directives: Directives) -> Decision:
    """Decide whether a playlist request can be answered with the timeline as it is.

    The answer to equal directives goes from Wait to Ready (or to BadRequest, while nothing was
    known yet) and never back.

    Args:
        timeline: The rendition that is asked for.
        directives: What `parse_directives` returned.

    Returns:
        Ready: `Timeline.playlist` is the answer. Wait: nothing to say before the next change.
        BadRequest: no change will make this a good request within reason.

    Spec: 6.2.5.2.
    Cost: O(1).
    """
    last_msn, last_part = timeline.last_msn, timeline.last_part
    if not timeline.ready or last_msn is None or last_part is None:
        # There is no playlist before the first segment is complete.
        return BadRequest("the broadcast ended before it began") if timeline.ended else WAIT

    # "A Server MUST ignore _HLS_msn and _HLS_part if the Playlist contains an EXT-X-ENDLIST tag."
    msn, part = directives.msn, directives.part
    if timeline.ended or msn is None:
        return READY

    # "If the _HLS_msn is greater than the Media Sequence Number of the last Media Segment in the
    # current Playlist plus two ... then the server SHOULD immediately return Bad Request". The last
    # Media Segment is the last complete one; the open one is not in the playlist yet.
    if msn > last_msn + 2:
        return BadRequest("_HLS_msn is too far ahead")

    if part is None:
        # "When the Playlist URI contains an _HLS_msn directive and no _HLS_part directive, the
        # Server MUST defer responding to the request until the Playlist contains a Media Segment
        # with a Media Sequence Number of M or later". So not at its first part (hls.js without low
        # latency mode asks like this). "The Server MUST deliver the entire Playlist, even if the
        # requested Media Segment is not the last one in the Playlist, and even if it is no longer
        # in the Playlist": the past is ready.
        return READY if msn <= last_msn else WAIT

    # "... the Server MUST defer responding to the request until the Playlist contains the Partial
    # Segment with Part Index N and with a Media Sequence Number of M or later". Positions compare
    # as (msn, index), and that includes: "If the Client requests a Part Index greater than that of
    # the final Partial Segment of the Parent Segment, the Server MUST treat the request as one for
    # Part Index 0 of the following Parent Segment", for no part lies between those two. hls.js
    # relies on it: it asks for lastIndex + 1 before it knows that the segment has ended, and on a
    # level switch it takes a LAST-PART of 0 for the last index of its old level.
    if (msn, part) <= last_part:
        return READY

    # "... or if the _HLS_part exceeds the last Partial Segment in the current Playlist by the
    # Advance Part Limit, then the server SHOULD immediately return Bad Request". Counted from the
    # last part if that is in the segment asked for, else from the segment's start, which is never
    # too strict. An index past the end of a complete segment means the part after it, and that is
    # near.
    reach = last_part[1] if last_part[0] == msn else -1
    if msn > last_msn and part - reach > advance_part_limit(timeline.presentation.part_target_s):
        return BadRequest("_HLS_part is too far ahead")
    return WAIT


def advance_part_limit(part_target_s: float) -> int:
    """How many parts ahead of the last one a request may be.

    Spec: 6.2.5.2: "The Advance Part Limit is three divided by the Part Target Duration if the Part
    Target Duration is less than one second, or three otherwise"; rounded up.
    """
    return math.ceil(3 / part_target_s) if part_target_s < 1 else 3
