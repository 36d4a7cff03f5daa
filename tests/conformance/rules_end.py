"""Rules of the end, of gaps and of interruptions (EN): seen only where such a thing happens."""

from itertools import pairwise

from tests.conformance.playlist import parse_media_playlist
from tests.conformance.rules import Check, rule

AT_ONCE_S = 1.0
NO_END = "the broadcast did not end (see --wait-end)"


@rule
def the_end_is_told(check: Check) -> None:
    """EN-01 MUST 6.2.1: at the end every rendition has ENDLIST, reloads get it, the last segment is
    complete
    """
    check.unseen(NO_END)
    renditions = [item for item in check.recording.renditions.values() if item.latest]
    if any(item.latest.ended for item in renditions if item.latest):
        for rendition in renditions:
            if rendition.latest is not None:
                check(rendition.latest.ended, "%s has no ENDLIST", rendition.name)
                open_still = rendition.latest.open_segment is not None
                check(not open_still, "%s: its last segment is open", rendition.name)
            last_s = rendition.snapshots[-1].came_s
            failed = [item for item in rendition.refusals if last_s - 5 < item.asked_s < last_s]
            check(not failed, "%s: %s", rendition.name, [str(item) for item in failed[:3]])


@rule
def directives_end_too(check: Check) -> None:
    """EN-02 MUST 6.2.5.2: with ENDLIST directives are ignored: 200 at once, whole, without hints"""
    check.unseen(NO_END)
    for exchange in check.recording.tried.get("EN-02", ()):
        check(exchange.status == 200 and exchange.took_s < AT_ONCE_S, "%s", exchange)
        playlist = parse_media_playlist(exchange.inflated)
        bare = playlist.ended and playlist.skipped is None and not playlist.hints
        check(bare, "%s: no ENDLIST, or SKIP, or a hint", exchange)


@rule
def breaks_are_marked(check: Check) -> None:
    """EN-03 MUST 6.2.1: a break of timestamps, codec, size or init section has a DISCONTINUITY"""
    check.unseen("no break of the media was seen")
    for rendition in check.recording.renditions.values():
        media = [item for item in rendition.whole_media() if item.run is not None]
        for before, after in pairwise(media):
            if after.segment.msn != before.segment.msn + 1:
                continue
            one, other = before.init, after.init
            jumps = [
                track.track_id
                for track in one.tracks
                if track.track_id in before.fragments.runs
                and track.track_id in after.fragments.runs
                and abs(
                    after.fragments.runs[track.track_id].start
                    - before.fragments.runs[track.track_id].start
                    - before.fragments.runs[track.track_id].duration
                )
                > track.timescale // 1000 + 1
            ]
            if jumps or one.tracks != other.tracks or after.segment.discontinuity:
                text = "%s %s: times of %s jump, or the init section differs"
                marked = after.segment.discontinuity
                check(marked, text, rendition.name, after, jumps)
                renewed = one.tracks == other.tracks or before.segment.map_uri != (
                    after.segment.map_uri
                )
                check(renewed, "%s %s: the same MAP, other tracks", rendition.name, after)


@rule
def gaps_are_marked(check: Check) -> None:
    """EN-04 MUST 6.2.1, 4.4.4.7: missing media is EXT-X-GAP and GAP=YES in its place; a segment
    with a gap among its parts is one itself
    """
    check.unseen("no gap was listed")
    for rendition in check.recording.renditions.values():
        for msn, (_, segment) in rendition.first_whole.items():
            holes = any(part.gap for part in segment.parts)
            if holes or segment.gap:
                check(segment.gap, "%s %d: parts are gaps, it is none", rendition.name, msn)


@rule
def the_tail_stays(check: Check) -> None:
    """EN-05 MUST 6.2.1: after the end media stays for the playlist's duration (20 s are tried)"""
    check.unseen(NO_END)
    for again in check.recording.rechecks:
        if again.rule == "EN-05":
            check(again.exchange.status == 200, "%s", again.exchange)


@rule
def the_end_comes_alone(check: Check) -> None:
    """EN-06 SHOULD ours: ENDLIST comes in a version without new parts, which hls.js would drop"""
    check.unseen(NO_END)
    for rendition in check.recording.renditions.values():
        for before, after in rendition.pairs():
            if after.ended and not before.ended:
                same = (before.last_part or (0, 0)) >= (after.last_part or (0, 0))
                text = "%s: %s, then %s with ENDLIST"
                check(same, text, rendition.name, before.last_part, after.last_part)
