"""Rules of parts (PT), preload hints (PH) and rendition reports (RR)."""

from bisect import bisect_right
from collections import Counter

from tests.conformance.playlist import US, Part, Playlist
from tests.conformance.recording import Position, Rendition
from tests.conformance.rules import Check, at_95_percent, rule

SUM_SLACK_US = 1000
"""Of a segment's DURATIONs against its EXTINF: each may be rounded."""
FETCH_LIMIT_S = 1.0


def _noted(check: Check, rule_id: str) -> None:
    for rendition in check.recording.renditions.values():
        for snapshot in rendition.snapshots:
            faults = [text for found, text in snapshot.playlist.faults if found == rule_id]
            check(not faults, "%s: %s", rendition.name, faults[:3])


@rule
def low_latency_is_announced(check: Check) -> None:
    """PT-01 MUST 4.4.3.7, 4.4.3.8: PART-INF, CAN-BLOCK-RELOAD=YES, PART-HOLD-BACK >= 2 PT;
    HOLD-BACK >= 3 TD, CAN-SKIP-UNTIL >= 6 TD
    """
    for rendition in check.recording.renditions.values():
        playlist = rendition.latest
        if playlist is None:
            continue
        target_us, name = playlist.target_s * US, rendition.name
        check(playlist.part_target_us > 0, "%s: no EXT-X-PART-INF", name)
        blocks = ("CAN-BLOCK-RELOAD", "YES") in playlist.control
        check(blocks, "%s: no CAN-BLOCK-RELOAD=YES", name)
        back_us = playlist.control_us("PART-HOLD-BACK") or 0
        check(back_us >= 2 * playlist.part_target_us > 0, "%s: PART-HOLD-BACK %d us", name, back_us)
        for attribute, least in (("HOLD-BACK", 3), ("CAN-SKIP-UNTIL", 6)):
            value = playlist.control_us(attribute)
            holds = value is None or value >= least * target_us
            check(holds, "%s: %s %s us", name, attribute, value)


@rule
def hold_back_is_safe(check: Check) -> None:
    """PT-02 SHOULD 4.4.3.8: PART-HOLD-BACK is at least 3 PT"""
    for rendition in check.recording.renditions.values():
        playlist = rendition.latest
        back_us = playlist.control_us("PART-HOLD-BACK") if playlist else None
        if playlist is not None and back_us is not None:
            safe = back_us >= 3 * playlist.part_target_us
            check(safe, "%s: PART-HOLD-BACK %d us", rendition.name, back_us)


@rule
def parts_fit_the_target(check: Check) -> None:
    """PT-03 MUST 4.4.4.9: no part is longer than PART-TARGET"""
    for rendition in check.recording.renditions.values():
        most_us = round(rendition.part_target_s * US)
        for (msn, index), (_, _, part) in rendition.first_listed.items():
            text = "%s %d.%d: %d us, PART-TARGET %d us"
            holds = part.duration_us <= most_us
            check(holds, text, rendition.name, msn, index, part.duration_us, most_us)


@rule
def parts_fill_the_target(check: Check) -> None:
    """PT-04 MUST 4.4.4.9: a part has 85 % of PT, unless independent, a gap or before one, or last
    of its segment
    """
    for rendition in check.recording.renditions.values():
        listed = rendition.first_listed
        for (msn, index), (_, _, part) in listed.items():
            follower = listed.get((msn, index + 1))
            if follower is None or follower[2].gap or part.independent or part.gap:
                continue
            holds = part.duration_us >= 0.85 * rendition.part_target_s * US - 1
            check(holds, "%s %d.%d: %d us", rendition.name, msn, index, part.duration_us)


@rule
def part_durations_are_true(check: Check) -> None:
    """PT-05 MUST 4.4.4.9: DURATION is that of the samples; a segment's add up to its EXTINF"""
    for rendition in check.recording.renditions.values():
        for media in rendition.parts.values():
            if media.part is not None and media.duration_s is not None and not media.part.gap:
                said_s = media.part.duration_us / US
                near = abs(said_s - media.duration_s) <= media.frame_s / 2 + 1e-3
                text = "%s %s: DURATION %.6f, samples %.6f"
                check(near, text, rendition.name, media, said_s, media.duration_s)
        for _, segment in rendition.first_whole.values():
            if segment.parts:
                off_us = sum(part.duration_us for part in segment.parts) - segment.duration_us
                text = "%s %d: parts are off by %d us"
                check(abs(off_us) <= SUM_SLACK_US, text, rendition.name, segment.msn, off_us)


@rule
def independent_parts_are(check: Check) -> None:
    """PT-06 MUST 4.4.4.9: the first video sample of an INDEPENDENT part is a random access point"""
    for rendition in check.recording.renditions.values():
        for media in rendition.parts.values():
            if media.part is not None and media.part.independent and media.run is not None:
                holds = media.run.first_sync and media.run.first_random is not False
                check(holds, "%s %s is not", rendition.name, media)


@rule
def independent_parts_say_so(check: Check) -> None:
    """PT-07 SHOULD 4.4.4.9: a part with an independent frame, and every audio part, says so"""
    for rendition in check.recording.renditions.values():
        for media in rendition.parts.values():
            if media.part is not None and media.run is not None and media.run.first_sync:
                said = media.part.independent or media.part.gap
                check(said, "%s %s: no INDEPENDENT=YES", rendition.name, media)


def _parts_span_us(playlist: Playlist) -> int:
    """How far back from the end parts are listed."""
    span_us = 0
    for segment in reversed(playlist.all_segments):
        if not segment.parts:
            break
        span_us += segment.duration_us
    return span_us


@rule
def old_parts_go(check: Check) -> None:
    """PT-08 SHOULD 6.2.2: EXT-X-PART tags go once they are more than 3 TD from the end (4 here)"""
    for rendition in check.recording.renditions.values():
        for snapshot in rendition.snapshots:
            playlist, after_us = snapshot.playlist, 0
            for segment in reversed(playlist.all_segments):
                old = segment.parts and after_us > 4 * playlist.target_s * US
                check(not old, "%s: parts of %d are listed", rendition.name, segment.msn)
                after_us += segment.duration_us


@rule
def parts_reach_back(check: Check) -> None:
    """PT-09 SHOULD ours: parts are listed back to PART-HOLD-BACK, or players load whole segments"""
    for rendition in check.recording.renditions.values():
        for snapshot in rendition.snapshots:
            playlist = snapshot.playlist
            whole = all(segment.parts for segment in playlist.all_segments)
            least_us = playlist.control_us("PART-HOLD-BACK") or 0
            span_us = _parts_span_us(playlist)
            check(whole or span_us >= least_us, "%s: %d us of parts", rendition.name, span_us)


@rule
def removed_parts_stay(check: Check) -> None:
    """PT-10 MUST 6.2.2: a part can be had for 3 TD after its tag is gone"""
    check.unseen("no part was removed, or no time to ask for it again")
    for again in check.recording.rechecks:
        if again.rule == "PT-10":
            check(again.exchange.status == 200, "%s: %s", again.why, again.exchange)


@rule
def listed_media_is_there(check: Check) -> None:
    """PT-11 MUST 6.2.1: a listed part or segment is complete, and comes at once"""
    for rendition in check.recording.renditions.values():
        for media in rendition.all_media():
            check(media.exchange.status == 200, "%s", media.exchange)
            check(media.exchange.took_s <= FETCH_LIMIT_S, "%s", media.exchange)


def releases(rendition: Rendition) -> list[tuple[Position, float, bool]]:
    """(part, seconds since the part before it came, a discontinuity begins there)."""
    found = []
    last_s: float | None = None
    group: list[tuple[Position, float, bool]] = []
    # What the first playlist lists was there before: its release was not seen.
    first_s = rendition.snapshots[0].came_s if rendition.snapshots else 0.0
    for position, (came_s, segment, _) in rendition.first_listed.items():
        if came_s == first_s:
            continue
        group.append((position, came_s, segment.discontinuity and position[1] == 0))
    together = Counter(came_s for _, came_s, _ in group)
    for position, came_s, breaks in group:
        if last_s is not None and came_s > last_s:
            found.append((position, (came_s - last_s) / together[came_s], breaks))
        last_s = came_s
    return found


@rule
def parts_keep_coming(check: Check) -> None:
    """PT-12 MUST 6.2.1: a part comes at most 1 PT after the one before (95 of 100; 10 % and 150 ms
    of slack). Discontinuities are left out: the source may have been away
    """
    for rendition in check.recording.renditions.values():
        gaps = [gap_s for _, gap_s, breaks in releases(rendition) if not breaks]
        if len(gaps) >= 5:
            most_s, worst_s = rendition.part_target_s * 1.1 + 0.15, at_95_percent(gaps)
            check(worst_s <= most_s, "%s: 95 %% within %.3f s", rendition.name, worst_s)


@rule
def listed_parts_stay(check: Check) -> None:
    """PT-13 MUST 6.2.1: a listed part never changes, and its segment keeps it when it closes"""
    for rendition in check.recording.renditions.values():
        known = {position: part for position, (_, _, part) in rendition.first_listed.items()}
        gone: set[Position] = set()
        before: set[Position] = set()
        for snapshot in rendition.snapshots:
            listed: dict[Position, Part] = {}
            for segment in snapshot.playlist.all_segments:
                listed |= {(segment.msn, i): part for i, part in enumerate(segment.parts)}
            changed = [where for where, part in listed.items() if part != known[where]]
            check(not changed, "%s: parts %s changed", rendition.name, changed[:3])
            gone |= before - listed.keys()
            back = gone & listed.keys()
            check(not back, "%s: parts %s came back", rendition.name, sorted(back)[:3])
            whole = {segment.msn for segment in snapshot.playlist.all_segments if segment.parts}
            lost = [where for where in before - listed.keys() if where[0] in whole]
            check(not lost, "%s: parts %s are missing", rendition.name, lost[:3])
            before = set(listed)


@rule
def tags_come_before_parts(check: Check) -> None:
    """PT-14 MUST 4.4.4.9: DISCONTINUITY, KEY, MAP and date of a segment precede its first part"""
    _noted(check, "PT-14")


# Preload hints.


@rule
def next_part_is_hinted(check: Check) -> None:
    """PH-01 MUST-P B.1: a live playlist with parts has a TYPE=PART hint"""
    for rendition in check.recording.renditions.values():
        for snapshot in rendition.snapshots:
            playlist = snapshot.playlist
            if playlist.last_part is not None and not playlist.ended:
                hinted = any(hint.kind == "PART" for hint in playlist.hints)
                check(hinted, "%s: no hint behind %s", rendition.name, playlist.last_part)


@rule
def hints_come_true(check: Check) -> None:
    """PH-02 MUST 4.4.5.3: the hinted URI is that of the next EXT-X-PART (a discontinuity may
    overthrow the plan)
    """
    for rendition in check.recording.renditions.values():
        listed = rendition.first_listed
        for snapshot in rendition.snapshots:
            last = snapshot.playlist.last_part
            if last is None:
                continue
            coming = listed.get((last[0], last[1] + 1)) or listed.get((last[0] + 1, 0))
            for hint in snapshot.playlist.hints:
                if hint.kind == "PART" and coming is not None:
                    overthrown = coming[1].discontinuity or coming[2].gap
                    true = hint.uri == coming[2].uri or overthrown
                    check(true, "%s: hinted %s, came %s", rendition.name, hint.uri, coming[2].uri)


@rule
def hinted_bytes_are_the_parts(check: Check) -> None:
    """PH-03 MUST 6.2.6: a hinted part's request is held and gets its very bytes; 404 only if the
    part never comes, 503 only after 3 TD
    """
    for rendition in check.recording.renditions.values():
        digests = {
            rendition.resolve(media.part.uri): media.exchange.digest
            for media in rendition.parts.values()
            if media.part is not None and media.exchange.status == 200
        }
        for exchange in rendition.hints:
            if exchange.status == 404:
                check(exchange.url not in digests, "%s, and the part came", exchange)
            elif exchange.status == 503:  # the publisher is away, and may come back
                check(exchange.took_s >= 3 * rendition.target_s - 0.5, "%s", exchange)
            elif exchange.status != 200:
                check(False, "%s", exchange)
            elif exchange.url in digests:
                same = exchange.digest == digests[exchange.url]
                check(same, "%s: other bytes than the part", exchange)


@rule
def hinted_parts_do_not_trickle(check: Check) -> None:
    """PH-04 MUST 6.2.6: no byte of a hinted part comes before all of it can"""
    for rendition in check.recording.renditions.values():
        most_s = rendition.part_target_s / 2 + 0.1
        for exchange in rendition.hints:
            if exchange.status == 200:
                took_s = exchange.done_s - exchange.head_s
                check(took_s <= most_s, "%s trickled for %.2f s", exchange, took_s)


@rule
def one_hint_of_a_type(check: Check) -> None:
    """PH-05 SHOULD 4.4.5.3: one hint of each type"""
    for rendition in check.recording.renditions.values():
        for snapshot in rendition.snapshots:
            kinds = [hint.kind for hint in snapshot.playlist.hints]
            check(len(kinds) == len(set(kinds)), "%s: hints %s", rendition.name, kinds)


@rule
def unknown_media_is_refused(check: Check) -> None:
    """PH-06 SHOULD 6.2.6: media that is neither listed nor hinted is 404 at once"""
    check.unseen("not tried")
    for exchange in check.recording.tried.get("PH-06", ()):
        check(exchange.status == 404 and exchange.took_s < 1, "%s", exchange)


@rule
def no_hint_at_the_end(check: Check) -> None:
    """PH-07 MUST 4.4.5.3: no hint beside EXT-X-ENDLIST"""
    check.unseen("the broadcast did not end")
    for rendition in check.recording.renditions.values():
        for snapshot in rendition.snapshots:
            if snapshot.playlist.ended:
                check(not snapshot.playlist.hints, "%s: a hint with ENDLIST", rendition.name)


# Rendition reports.


@rule
def every_other_rendition_is_reported(check: Check) -> None:
    """RR-01 MUST-P B.1: one report for each other media playlist, and none of itself"""
    check.unseen("one rendition only")
    latest = check.recording.latest
    for rendition in check.recording.renditions.values() if latest else ():
        others = set(latest.urls if latest else ()) - {rendition.url}
        snapshot = next((s for s in reversed(rendition.snapshots)), None)
        if not others or snapshot is None:
            continue
        found = sorted(rendition.resolve(item.uri) for item in snapshot.playlist.reports)
        check(found == sorted(others), "%s reports %s", rendition.name, found)


REPORT_SLACK_S = 0.25
"""Two connections do not see one instant."""


@rule
def reports_are_fresh(check: Check) -> None:
    """RR-02 MUST 4.4.5.4: LAST-MSN and LAST-PART are there, and right within one part"""
    check.unseen("no reports")
    renditions = check.recording.renditions
    orders = {url: list(found.first_listed) for url, found in renditions.items()}
    times = {url: [at for at, _, _ in f.first_listed.values()] for url, f in renditions.items()}
    places = {url: {part: i for i, part in enumerate(order)} for url, order in orders.items()}
    for rendition in renditions.values():
        for snapshot in rendition.snapshots:
            for report in snapshot.playlist.reports:
                url, at_s = rendition.resolve(report.uri), snapshot.came_s
                if not times.get(url):
                    continue
                if report.last_msn is None or report.last_part is None:
                    check(False, "%s: %s", rendition.name, report)
                    continue
                # Of the first and the last parts it was not seen when they came.
                if times[url][0] + renditions[url].part_target_s <= at_s <= times[url][-1]:
                    least = bisect_right(times[url], at_s - REPORT_SLACK_S) - 1
                    most = bisect_right(times[url], at_s + REPORT_SLACK_S) - 1
                    said = (report.last_msn, report.last_part)
                    holds = least - 1 <= places[url].get(said, -2) <= most + 1
                    text = "%s reports %s of %s, which had %s to %s"
                    had = orders[url][max(0, least)], orders[url][most]
                    check(holds, text, rendition.name, said, renditions[url].name, *had)


@rule
def report_urls_match(check: Check) -> None:
    """RR-03 MUST 4.4.5.4: a report's URI resolves to that of the multivariant playlist"""
    check.unseen("no reports")
    latest = check.recording.latest
    for rendition in check.recording.renditions.values() if latest else ():
        known = {url.partition("?")[0] for url in (latest.urls if latest else ())}
        for snapshot in rendition.snapshots[-1:]:
            for report in snapshot.playlist.reports:
                url = rendition.resolve(report.uri).partition("?")[0]
                check(url in known, "%s reports %s", rendition.name, url)
