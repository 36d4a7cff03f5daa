"""Rules of blocking playlist reload (BR) and of delta updates (DU)."""

from itertools import islice, pairwise

from tests.conformance.client import Exchange
from tests.conformance.playlist import US, Playlist, Segment, parse_media_playlist
from tests.conformance.rules import Check, at_95_percent, rule

AT_ONCE_S = 1.0
TOGETHER_S = 0.25


def _tried(check: Check, name: str) -> list[Exchange]:
    check.unseen("not tried: the run was too short, or nothing was live")
    return check.recording.tried.get(name, [])


def _blocked(check: Check) -> list[tuple[str, float, tuple[int, int], Playlist]]:
    """(rendition, seconds held, part asked for, what came) of every blocked reload."""
    return [
        (rendition.name, snapshot.exchange.took_s, snapshot.wanted, snapshot.playlist)
        for rendition in check.recording.renditions.values()
        for snapshot in rendition.snapshots
        if snapshot.wanted is not None
    ]


@rule
def reloads_are_held(check: Check) -> None:
    """BR-01 MUST 6.2.5.2: a request for the next part is held; an old playlist is no answer, nor an
    error, but for 503 after 3 TD
    """
    for name, took_s, wanted, playlist in _blocked(check):
        early = took_s < AT_ONCE_S and not playlist.has(*wanted) and not playlist.ended
        check(not early, "%s: %s answered after %.3f s without it", name, wanted, took_s)
    listed = check.recording.latest.urls if check.recording.latest else {}
    for rendition in check.recording.renditions.values():
        since_s = rendition.snapshots[0].came_s if rendition.snapshots else 0.0
        for refusal in rendition.refusals if rendition.url in listed else ():
            # 400 is the business of BR-06, and before the first segment there is nothing to answer.
            if refusal.status != 400 and refusal.asked_s >= since_s:
                patient = refusal.took_s >= 3 * rendition.target_s - 0.5
                check(refusal.status == 503 and patient, "%s", refusal)


@rule
def the_part_is_in_the_answer(check: Check) -> None:
    """BR-02 MUST 6.2.5.2: a 200 has the part that was asked for, or a later one"""
    for name, _, wanted, playlist in _blocked(check):
        check(playlist.has(*wanted) or playlist.ended, "%s: %s is not there", name, wanted)


@rule
def release_is_prompt(check: Check) -> None:
    """BR-03 SHOULD ours: playlist and hinted part are released within max(0.1 s, PT/2)
    (95 of 100)
    """
    check.unseen("no hinted part was asked for")
    for rendition in check.recording.renditions.values():
        came = {
            rendition.resolve(part.uri): came_s
            for came_s, _, part in rendition.first_listed.values()
        }
        apart = [
            abs(exchange.head_s - came[exchange.url])
            for exchange in rendition.hints
            if exchange.status == 200 and exchange.url in came
        ]
        if len(apart) >= 5:
            most_s, worst_s = max(0.1, rendition.part_target_s / 2), at_95_percent(apart)
            check(worst_s <= most_s, "%s: %.3f s apart", rendition.name, worst_s)


@rule
def a_segment_is_waited_for(check: Check) -> None:
    """BR-04 MUST 6.2.5.2: _HLS_msn alone waits for the whole segment"""
    for exchange in _tried(check, "BR-04"):
        ((msn, _),) = check.recording.asked["BR-04"]
        check(exchange.status == 200, "%s", exchange)
        if exchange.status == 200:
            playlist = parse_media_playlist(exchange.inflated)
            holds = playlist.has(msn, None) or playlist.ended
            check(holds, "segment %d is not complete: %s", msn, exchange)


@rule
def equal_reloads_are_released_together(check: Check) -> None:
    """BR-05 MUST-H ours: equal held requests are released by the same event, within 250 ms"""
    found = _tried(check, "BR-05")
    if found:
        (position,) = check.recording.asked["BR-05"]
        for exchange in found:
            check(exchange.status == 200, "%s", exchange)
            playlist = parse_media_playlist(exchange.inflated)
            check(playlist.has(*position) or playlist.ended, "%s lacks %s", exchange, position)
        first_s = min(exchange.done_s for exchange in found)
        # One that was asked after the event was not held for it.
        spread_s = max(e.done_s for e in found if e.asked_s < first_s) - first_s
        check(spread_s <= TOGETHER_S, "released over %.3f s", spread_s)


@rule
def part_numbers_roll_over(check: Check) -> None:
    """BR-06 MUST 6.2.5.2: a part behind a segment's last is part 0 of the next; not 400"""
    for exchange in _tried(check, "BR-06"):
        (position, *_) = check.recording.asked["BR-06"]
        check(exchange.status == 200, "%s", exchange)
        if exchange.status == 200:
            playlist = parse_media_playlist(exchange.inflated)
            reached = playlist.last_part is not None and playlist.last_part >= position
            check(reached or playlist.ended, "%s ends at %s", exchange, playlist.last_part)
    for rendition in check.recording.renditions.values():
        for refusal in rendition.refusals:
            check(refusal.status != 400, "a player's request: %s", refusal)


@rule
def the_past_is_served(check: Check) -> None:
    """BR-07 MUST 6.2.5.2: a segment or part of the past, even removed, gets the playlist at once"""
    for exchange in _tried(check, "BR-07"):
        check(exchange.status == 200 and exchange.took_s < AT_ONCE_S, "%s", exchange)


@rule
def a_part_needs_a_segment(check: Check) -> None:
    """BR-08 MUST 6.2.5.2: _HLS_part without _HLS_msn is 400"""
    for exchange in _tried(check, "BR-08"):
        check(exchange.status == 400, "%s", exchange)


@rule
def far_segments_are_refused(check: Check) -> None:
    """BR-09 SHOULD 6.2.5.2: more than two segments ahead is 400 at once; two are held"""
    for exchange in _tried(check, "BR-09 far"):
        check(exchange.status == 400 and exchange.took_s < AT_ONCE_S, "%s", exchange)
    for exchange in _tried(check, "BR-09 near"):
        check(exchange.status != 400, "%s", exchange)


@rule
def far_parts_are_refused(check: Check) -> None:
    """BR-10 SHOULD 6.2.5.2: a part beyond the Advance Part Limit is 400 at once"""
    for exchange in _tried(check, "BR-10"):
        check(exchange.status == 400 and exchange.took_s < AT_ONCE_S, "%s", exchange)


@rule
def blocking_has_an_end(check: Check) -> None:
    """BR-11 SHOULD 6.2.5.2: without news for 3 TD it is 503"""
    for exchange in _tried(check, "BR-11"):
        check(exchange.status == 503, "%s", exchange)


@rule
def nonsense_is_refused(check: Check) -> None:
    """BR-12 SHOULD 6.2.5.2: a directive that is no number is 400"""
    for exchange in _tried(check, "BR-12"):
        check(exchange.status == 400, "%s", exchange)


@rule
def strange_parameters_are_ignored(check: Check) -> None:
    """BR-13 SHOULD 6.2.5: unknown query parameters are ignored"""
    for exchange in _tried(check, "BR-13"):
        check(exchange.status == 200, "%s", exchange)


@rule
def hanging_up_harms_nobody(check: Check) -> None:
    """BR-14 MUST-H ours: after 20 clients that hung up while blocked the server answers at once"""
    for exchange in _tried(check, "BR-14"):
        check(exchange.status == 200 and exchange.took_s < AT_ONCE_S, "%s", exchange)


@rule
def time_does_not_go_back(check: Check) -> None:
    """BR-15 MUST-P B.1: the same directives again give a playlist that is not older"""
    found = [parse_media_playlist(e.inflated) for e in _tried(check, "BR-15") if e.status == 200]
    for old, new in pairwise(found):
        before = (old.last_msn, old.last_part or (-1, -1))
        after = (new.last_msn, new.last_part or (-1, -1))
        check(after >= before, "%s, then %s", before, after)


# Delta updates.


def _skipped_wrongly(full: Playlist, delta: Playlist) -> list[str]:
    """What a delta update does to a viewer who has the full version before it."""
    faults = []
    known = {segment.msn: segment for segment in full.segments}
    first = delta.media_sequence + (delta.skipped or 0)
    if not full.media_sequence <= delta.media_sequence:
        faults.append(f"MEDIA-SEQUENCE {full.media_sequence} became {delta.media_sequence}")
    if delta.discontinuity_sequence < full.discontinuity_sequence:
        faults.append("DISCONTINUITY-SEQUENCE fell")
    strange = (msn for msn in range(delta.media_sequence, first) if msn not in known)
    missing = list(islice(strange, 3))  # however many a server says
    if missing:
        faults.append(f"skipped {missing}, which were never listed")
    for segment in delta.segments:
        old = known.get(segment.msn)
        if old is not None and (old.uri, old.duration_us) != (segment.uri, segment.duration_us):
            faults.append(f"segment {segment.msn} is {segment.uri}, was {old.uri}")
    if delta.last_msn < full.last_msn:
        faults.append(f"it ends at segment {delta.last_msn}, {full.last_msn} was there")
    boundary_us = delta.control_us("CAN-SKIP-UNTIL") or 0
    kept_us = sum(segment.duration_us for segment in delta.all_segments)
    if delta.skipped and kept_us < boundary_us:
        faults.append(f"only {kept_us} us are kept, CAN-SKIP-UNTIL is {boundary_us}")
    due = _older(full, boundary_us) - (delta.media_sequence - full.media_sequence)
    if delta.skipped is None and due > 0 and not delta.ended:
        faults.append(f"nothing is skipped, {due} segments could be")
    return faults[:5]


def _older(playlist: Playlist, boundary_us: int) -> int:
    """How many segments end further than the boundary from the end."""
    after_us, count = 0, 0
    segments: tuple[Segment, ...] = playlist.all_segments
    for segment in reversed(segments):
        count += segment.uri is not None and after_us > boundary_us
        after_us += segment.duration_us
    return count


@rule
def deltas_can_be_undone(check: Check) -> None:
    """DU-01 MUST 6.2.5.1: with _HLS_skip=YES old segments are skipped, nothing else is, and the
    full playlist can be made of it
    """
    check.unseen("no CAN-SKIP-UNTIL, or the window is shorter than that")
    for rendition in check.recording.renditions.values():
        for snapshot, exchange, delta in rendition.deltas:
            full = snapshot.playlist
            boundary_us = full.control_us("CAN-SKIP-UNTIL")
            if boundary_us is None or full.ended:
                continue
            check(exchange.status == 200, "%s", exchange)
            if exchange.status == 200 and (_older(full, boundary_us) or delta.skipped is not None):
                faults = _skipped_wrongly(full, delta)
                check(not faults, "%s: %s", rendition.name, faults)


@rule
def second_version_is_understood(check: Check) -> None:
    """DU-02 MUST 6.2.5.1: _HLS_skip=v2 is answered too"""
    for exchange in _tried(check, "DU-02"):
        playlist = parse_media_playlist(exchange.inflated)
        whole = exchange.status == 200 and bool(playlist.segments)
        check(whole, "%s", exchange)


@rule
def nothing_is_skipped_unasked(check: Check) -> None:
    """DU-03 MUST 6.2.5.1: no EXT-X-SKIP without _HLS_skip, nor without CAN-SKIP-UNTIL"""
    for rendition in check.recording.renditions.values():
        for snapshot in rendition.snapshots:
            check(snapshot.playlist.skipped is None, "%s: EXT-X-SKIP unasked", rendition.name)
        for snapshot, _, delta in rendition.deltas:
            able = snapshot.playlist.control_us("CAN-SKIP-UNTIL") is not None
            check(able or delta.skipped is None, "%s: no CAN-SKIP-UNTIL", rendition.name)


@rule
def deltas_are_enough(check: Check) -> None:
    """DU-04 SHOULD ours: a delta has an EXT-X-MAP for its first segment, and a date soon"""
    check.unseen("nothing was skipped")
    for rendition in check.recording.renditions.values():
        for _, _, delta in rendition.deltas:
            if delta.skipped and delta.segments:
                check(delta.segments[0].map_uri, "%s: no EXT-X-MAP", rendition.name)
                dates = delta.dates()
                near = any(segment.msn in dates for segment in delta.segments[:3])
                check(near, "%s: no date in %.1f s", rendition.name, delta.duration_us / US)
