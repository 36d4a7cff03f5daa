"""Rules of a media playlist over its life (MP): one version, and one after the other."""

from collections import defaultdict
from itertools import pairwise

from tests.conformance.playlist import US, Playlist, Segment
from tests.conformance.recording import Rendition
from tests.conformance.rules import Check, rule

DATE_SLACK_S = 0.05


def _noted(check: Check, rule_id: str) -> None:
    """What the reader noted in any version."""
    for rendition in check.recording.renditions.values():
        for snapshot in rendition.snapshots:
            faults = [text for found, text in snapshot.playlist.faults if found == rule_id]
            check(not faults, "%s: %s", rendition.name, faults[:3])
        for _, _, delta in rendition.deltas:
            faults = [text for found, text in delta.faults if found == rule_id]
            check(not faults, "%s (delta): %s", rendition.name, faults[:3])


@rule
def it_parses(check: Check) -> None:
    """MP-01 MUST 4.1, 4.4.1-4.4.3: parses; tags once and in place; EXT-X-VERSION suffices"""
    _noted(check, "MP-01")


@rule
def segments_fit_the_target(check: Check) -> None:
    """MP-02 MUST 4.4.3.1: EXTINF, rounded, is at most TD"""
    for rendition in check.recording.renditions.values():
        for _, segment in rendition.first_whole.values():
            rounded_s = (segment.duration_us + US // 2) // US
            text = "%s %d: EXTINF %.6f, TD %d"
            holds = rounded_s <= rendition.target_s
            check(
                holds, text, rendition.name, segment.msn, segment.duration_us / US,
                rendition.target_s,
            )  # fmt: skip


@rule
def promises_stand(check: Check) -> None:
    """MP-03 MUST 6.2.1: TARGETDURATION, PART-TARGET and SERVER-CONTROL never change"""
    for rendition in check.recording.renditions.values():
        for before, after in rendition.pairs():
            old = (before.target_s, before.part_target_us, before.control)
            new = (after.target_s, after.part_target_us, after.control)
            check(old == new, "%s: %s became %s", rendition.name, old, new)


@rule
def numbers_grow(check: Check) -> None:
    """MP-04 MUST 6.2.2: MEDIA-SEQUENCE grows by the number of segments removed, never falls"""
    for rendition in check.recording.renditions.values():
        for before, after in rendition.pairs():
            old, new = before.media_sequence, after.media_sequence
            check(new >= old, "%s: %d became %d", rendition.name, old, new)
            numbers = {segment.uri: segment.msn for segment in before.segments if not segment.gap}
            moved = [
                (segment.uri, numbers[segment.uri], segment.msn)
                for segment in after.segments
                if numbers.get(segment.uri, segment.msn) != segment.msn and not segment.byterange
            ]
            check(not moved, "%s: segments were renumbered: %s", rendition.name, moved[:3])


@rule
def discontinuities_are_counted(check: Check) -> None:
    """MP-05 MUST 6.2.2: DISCONTINUITY-SEQUENCE counts the EXT-X-DISCONTINUITY tags removed"""
    for rendition in check.recording.renditions.values():
        for before, after in rendition.pairs():
            old, new = before.discontinuity_sequence, after.discontinuity_sequence
            check(new >= old, "%s: %d became %d", rendition.name, old, new)
            known = {item.msn: item.discontinuity_sequence for item in before.all_segments}
            wrong = [
                (item.msn, known[item.msn], item.discontinuity_sequence)
                for item in after.all_segments
                if known.get(item.msn, item.discontinuity_sequence) != item.discontinuity_sequence
            ]
            check(not wrong, "%s: (msn, was, is) %s", rendition.name, wrong[:3])


def _facts(segment: Segment) -> tuple[object, ...]:
    return (
        segment.uri.partition("?")[0] if segment.uri else None,
        segment.duration_us,
        segment.discontinuity,
        segment.gap,
        segment.byterange,
    )


@rule
def only_growth(check: Check) -> None:
    """MP-06 MUST 6.2.1: a version appends, or removes at the head; what is listed never changes"""
    for rendition in check.recording.renditions.values():
        for before, after in rendition.pairs():
            text = "%s: last segment %d became %d"
            grown = after.last_msn >= before.last_msn
            check(grown, text, rendition.name, before.last_msn, after.last_msn)
            check(after.ended or not before.ended, "%s: ENDLIST went away", rendition.name)
            known = {segment.msn: segment for segment in before.segments}
            dates = before.dates()
            for segment, date in _with_dates(after):
                old = known.get(segment.msn)
                if old is None or old is segment:
                    continue
                where = (rendition.name, segment.msn)
                check(_facts(old) == _facts(segment), "%s %d changed: %s", *where, segment)
                check(old.map_uri == segment.map_uri, "%s %d: another MAP", *where)
                moved_us = abs((date or 0) - dates.get(segment.msn, date or 0))
                check(moved_us <= 1000, "%s %d: date moved by %d us", *where, moved_us)


def _with_dates(playlist: Playlist) -> list[tuple[Segment, int | None]]:
    dates = playlist.dates()
    return [(segment, dates.get(segment.msn)) for segment in playlist.segments]


@rule
def enough_is_left(check: Check) -> None:
    """MP-07 MUST 6.2.2: no removal leaves less than 3 TD of complete segments"""
    check.unseen("no segment was removed")
    for rendition in check.recording.renditions.values():
        for before, after in rendition.pairs():
            if after.media_sequence > before.media_sequence:
                left_s = after.duration_us / US
                check(left_s >= 3 * after.target_s, "%s: %.3f s left", rendition.name, left_s)


@rule
def segments_keep_coming(check: Check) -> None:
    """MP-08 MUST 6.2.1: a segment is there at most 1.5 TD after the one before. A segment that
    begins with EXT-X-DISCONTINUITY is left out: the source may have been away
    """
    for rendition in check.recording.renditions.values():
        seen = sorted(rendition.first_whole.items())
        for (_, (before_s, _)), (msn, (came_s, segment)) in pairwise(seen):
            if not segment.discontinuity:
                most_s = 1.5 * rendition.target_s + 0.1
                late = "%s %d came %.2f s after the one before"
                check(came_s - before_s <= most_s, late, rendition.name, msn, came_s - before_s)


@rule
def dates_are_there(check: Check) -> None:
    """MP-09 MUST-P B.1: EXT-X-PROGRAM-DATE-TIME in every playlist, with milliseconds and zone"""
    _noted(check, "MP-09")
    for rendition in check.recording.renditions.values():
        for snapshot in rendition.snapshots:
            playlist = snapshot.playlist
            dated = any(segment.date_us is not None for segment in playlist.all_segments)
            check(dated, "%s: a version without a date", rendition.name)
            bare = [s.msn for s in playlist.all_segments if s.discontinuity and s.date_us is None]
            check(not bare, "%s: no date at discontinuity %s", rendition.name, bare)


def epochs(rendition: Rendition) -> dict[int, list[tuple[int, float]]]:
    """Discontinuity sequence -> (msn, date minus presentation time in s) of each segment."""
    dates: dict[int, int] = {}
    for snapshot in rendition.snapshots:
        found = snapshot.playlist.dates()
        if found.keys() - dates.keys():
            dates = found | dates
    result: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for media in rendition.whole_media():
        start_s, date_us = media.start_s, dates.get(media.segment.msn)
        if start_s is not None and date_us is not None:
            sequence = media.segment.discontinuity_sequence
            result[sequence].append((media.segment.msn, date_us / US - start_s))
    return result


@rule
def dates_follow_the_media(check: Check) -> None:
    """MP-10 MUST 6.2.1: date minus timestamp is one constant per discontinuity sequence"""
    for rendition in check.recording.renditions.values():
        for found in epochs(rendition).values():
            base = found[0][1]
            for msn, offset_s in found:
                off_s = offset_s - base
                text = "%s %d: its date is off by %.3f s"
                check(abs(off_s) <= DATE_SLACK_S, text, rendition.name, msn, off_s)


@rule
def maps_are_there(check: Check) -> None:
    """MP-11 MUST 3.1.2: every fMP4 segment has an EXT-X-MAP, and that is an init section"""
    _noted(check, "MP-11")
    for rendition in check.recording.renditions.values():
        for url, (exchange, _) in rendition.inits.items():
            check(exchange.status == 200, "%s: %s", url, exchange)


@rule
def no_type_while_it_slides(check: Check) -> None:
    """MP-12 MUST 6.2.2: a playlist that removes segments has no EXT-X-PLAYLIST-TYPE"""
    for rendition in check.recording.renditions.values():
        slid = any(new.media_sequence > old.media_sequence for old, new in rendition.pairs())
        for snapshot in rendition.snapshots:
            kind = snapshot.playlist.kind
            check(not (slid and kind), "%s: PLAYLIST-TYPE %s", rendition.name, kind)


@rule
def extinf_is_true(check: Check) -> None:
    """MP-13 MUST 3, 4.4.4.1: EXTINF is the duration of the segment's samples"""
    for rendition in check.recording.renditions.values():
        for media in rendition.whole_media():
            if media.duration_s is not None and not media.segment.gap:
                said_s = media.segment.duration_us / US
                near = abs(said_s - media.duration_s) <= media.frame_s / 2 + 1e-3
                text = "%s %s: EXTINF %.6f, samples %.6f"
                check(near, text, rendition.name, media, said_s, media.duration_s)


@rule
def renditions_promise_the_same(check: Check) -> None:
    """MP-14 MUST 6.2.4: all media playlists have the same TD and the same SERVER-CONTROL"""
    check.unseen("one rendition only")
    found = [item for item in check.recording.renditions.values() if item.latest]
    for rendition in found[1:]:
        first, other = found[0].latest, rendition.latest
        if first is not None and other is not None:
            old, new = (first.target_s, first.control), (other.target_s, other.control)
            check(old == new, "%s: %s, not %s", rendition.name, new, old)


def _rechecked(check: Check, rule_id: str) -> None:
    for again in check.recording.rechecks:
        if again.rule == rule_id:
            check(again.exchange.status == 200, "%s: %s", again.why, again.exchange)


@rule
def media_never_changes(check: Check) -> None:
    """MP-15 MUST 6.2.1: the bytes behind a URI never change"""
    for again in check.recording.rechecks:
        if again.exchange.status == 200:
            check(again.exchange.digest == again.digest, "other bytes: %s", again.exchange.url)


@rule
def removed_segments_stay(check: Check) -> None:
    """MP-16 MUST 6.2.2: a removed segment can be had for its duration and the longest playlist's"""
    check.unseen("no segment was removed, or no time to ask for it again")
    _rechecked(check, "MP-16")


@rule
def versions_are_whole(check: Check) -> None:
    """MP-17 MUST 6.2.1: a response is one whole version, no torn line, no dangling tag"""
    _noted(check, "MP-17")
