"""Rules of the media (MF), of the alignment of renditions (AL), and of time (TM)."""

from collections.abc import Iterator
from itertools import combinations, pairwise

from tests.conformance.boxes import DIGEST_BYTES
from tests.conformance.playlist import US
from tests.conformance.recording import Media, Rendition
from tests.conformance.rules import Check, at_95_percent, rule
from tests.conformance.rules_parts import releases
from tests.conformance.rules_playlist import DATE_SLACK_S, epochs

TIME_SLACK_S = 0.001
LONGEST_SAMPLE_S = 10.0


def _media(check: Check) -> Iterator[tuple[Rendition, Media]]:
    for rendition in check.recording.renditions.values():
        for media in rendition.all_media():
            if media.exchange.status == 200:
                yield rendition, media


def _noted(check: Check, rule_id: str) -> None:
    for rendition, media in _media(check):
        faults = [text for found, text in media.fragments.faults if found == rule_id]
        check(not faults, "%s %s: %s", rendition.name, media, faults[:3])


@rule
def init_sections_are_proper(check: Check) -> None:
    """MF-01 MUST 3.1.2: ftyp, then moov with mvex and trex, empty tables, no durations, no media"""
    for rendition in check.recording.renditions.values():
        for exchange, init in rendition.inits.values():
            if exchange.status == 200:
                check(not init.faults, "%s: %s", exchange.url, init.faults[:3])


@rule
def parts_are_whole_boxes(check: Check) -> None:
    """MF-02 MUST 3.1.2, CMAF 7.3.2: whole moof and mdat pairs, tfdt, each sample in its mdat"""
    _noted(check, "MF-02")


def _steps(rendition: Rendition) -> Iterator[tuple[Media, Media, bool]]:
    """Neighbouring parts, then neighbouring segments; and if a discontinuity begins between."""
    for parts in (True, False):
        source = sorted(rendition.parts.items()) if parts else sorted(rendition.segments.items())
        ordered = [media for _, media in source if media.fragments.runs]
        for before, after in pairwise(ordered):
            old, new = before.segment.msn, after.segment.msn
            index = after.index or 0
            within = parts and new == old and index == (before.index or 0) + 1
            last = not parts or (old, (before.index or 0) + 1) not in rendition.first_listed
            if within or (new == old + 1 and index == 0 and last):
                yield before, after, after.segment.discontinuity and new != old


@rule
def sequence_numbers_increase(check: Check) -> None:
    """MF-03 MUST CMAF 7.3.2.3: mfhd sequence numbers increase along a rendition"""
    for rendition in check.recording.renditions.values():
        for before, after, breaks in _steps(rendition):
            old, new = before.fragments.sequences, after.fragments.sequences
            if old and new and not breaks:
                text = "%s: %d at %s, %d at %s"
                check(new[0] > old[-1], text, rendition.name, old[-1], before, new[0], after)


def _jumps(before: Media, after: Media) -> list[str]:
    """Tracks that do not go on where they ended."""
    found = []
    timescales = {track.track_id: track.timescale for track in after.init.tracks}
    for track_id, run in before.fragments.runs.items():
        following = after.fragments.runs.get(track_id)
        if following is not None and track_id in timescales:
            jump_s = (following.start - run.start - run.duration) / timescales[track_id]
            if abs(jump_s) > TIME_SLACK_S:
                found.append(f"track {track_id} jumps by {jump_s:.4f} s")
    return found


@rule
def time_goes_on(check: Check) -> None:
    """MF-04 MUST 3: a track's next tfdt is the one before plus its durations, or DISCONTINUITY"""
    _noted(check, "MF-04")
    for rendition in check.recording.renditions.values():
        for before, after, breaks in _steps(rendition):
            if not breaks:
                jumps = _jumps(before, after)
                check(not jumps, "%s %s to %s: %s", rendition.name, before, after, jumps)


@rule
def sync_flags_are_true(check: Check) -> None:
    """MF-05 MUST ISO 14496-12 8.8.3.1: sample_is_non_sync_sample agrees with the NAL units"""
    _noted(check, "MF-05")


@rule
def segments_are_their_parts(check: Check) -> None:
    """MF-06 MUST 3.2: a segment has exactly the samples of its parts, timing and bytes"""
    check.unseen("no segment was fetched with all of its parts")
    for rendition in check.recording.renditions.values():
        for media, parts in _with_parts(rendition):
            for track_id, run in media.fragments.runs.items():
                runs = [part.fragments.runs.get(track_id) for part in parts]
                digests = b"".join(found.digests for found in runs if found is not None)
                text = "%s %s: track %d has %d samples, its parts %d"
                counts = (run.count, len(digests) // DIGEST_BYTES)
                check(digests == run.digests, text, rendition.name, media, track_id, *counts)


def _with_parts(rendition: Rendition) -> Iterator[tuple[Media, list[Media]]]:
    """Whole segments, and all of their parts."""
    for media in rendition.whole_media():
        listed = media.segment.parts
        parts = [rendition.parts.get((media.segment.msn, i)) for i in range(len(listed))]
        found = [part for part in parts if part is not None and part.exchange.status == 200]
        if listed and len(found) == len(listed) and media.exchange.status == 200:
            yield media, found


@rule
def segments_are_joined_parts(check: Check) -> None:
    """MF-07 SHOULD ours: a segment's bytes are its parts', one after the other (by size)"""
    for rendition in check.recording.renditions.values():
        for media, parts in _with_parts(rendition):
            size = sum(part.exchange.size_bytes for part in parts)
            text = "%s %s: %d bytes, its parts %d"
            same = media.exchange.size_bytes == size
            check(same, text, rendition.name, media, media.exchange.size_bytes, size)


@rule
def segments_begin_with_idr(check: Check) -> None:
    """MF-08 MUST B.1, AA 7.4: every video segment begins with an IDR picture"""
    for rendition in check.recording.video():
        for media in rendition.whole_media():
            if media.run is not None:
                random = media.run.first_sync and media.run.first_random is not False
                check(random, "%s %s does not", rendition.name, media)


@rule
def media_decodes(check: Check) -> None:
    """MF-09 MUST 3.1: init section and parts decode without an error, every sample of them"""
    check.unseen("PyAV is not installed, or no segment was seen from its first part on")
    for rendition in check.recording.renditions.values():
        if rendition.decoded is not None:
            frames, samples, error = rendition.decoded
            check(not error, "%s: %s", rendition.name, error)
            check(frames == samples, "%s: %d of %d", rendition.name, frames, samples)


@rule
def entries_hold_parameter_sets(check: Check) -> None:
    """MF-10 SHOULD AA 1.10: sample entries are avc1 or hvc1, not avc3 or hev1"""
    for rendition in check.recording.renditions.values():
        for _, init in rendition.inits.values():
            entries = [track.entry for track in init.tracks]
            check(not {"avc3", "hev1"} & set(entries), "%s: %s", rendition.name, entries)


@rule
def samples_have_durations(check: Check) -> None:
    """MF-11 MUST-H ours: each sample lasts longer than 0 and less than 10 s"""
    for rendition, media in _media(check):
        timescales = {track.track_id: track.timescale for track in media.init.tracks}
        for track_id, run in media.fragments.runs.items():
            longest_s = run.longest / timescales.get(track_id, 1)
            proper = run.shortest > 0 and longest_s < LONGEST_SAMPLE_S
            check(proper, "%s %s: track %d", rendition.name, media, track_id)


# Alignment.


def _together(check: Check, kinds: tuple[str, str]) -> Iterator[tuple[Rendition, Media, Media]]:
    """The same segment in two renditions, of these kinds."""
    for one, other in combinations(check.recording.renditions.values(), 2):
        if (one.kind, other.kind) == kinds:
            for msn, media in sorted(one.segments.items()):
                twin = other.segments.get(msn)
                if twin is not None and twin.start_s is not None and media.start_s is not None:
                    yield other, media, twin


@rule
def video_is_aligned(check: Check) -> None:
    """AL-01 MUST 6.2.4: a segment has the same start and EXTINF (within a frame) in all variants"""
    check.unseen("one video rendition only")
    for rendition, media, twin in _together(check, ("video", "video")):
        off_s = abs((media.start_s or 0) - (twin.start_s or 0))
        frame_s = max(media.frame_s, twin.frame_s)
        check(off_s <= frame_s, "%s %s begins %.4f s off", rendition.name, twin, off_s)
        longer_s = abs(media.segment.duration_us - twin.segment.duration_us) / US
        check(longer_s <= frame_s, "%s %s lasts %.4f s more", rendition.name, twin, longer_s)


@rule
def audio_is_aligned(check: Check) -> None:
    """AL-02 SHOULD 6.2.4: audio begins within an audio and a video frame of its video segment"""
    check.unseen("no audio rendition of its own")
    for rendition, media, twin in _together(check, ("video", "audio")):
        off_s = abs((media.start_s or 0) - (twin.start_s or 0))
        near = off_s <= media.frame_s + twin.frame_s + TIME_SLACK_S
        check(near, "%s %s begins %.4f s off", rendition.name, twin, off_s)


@rule
def dates_are_aligned(check: Check) -> None:
    """AL-03 MUST 6.2.4: date minus timestamp is the same in all renditions"""
    check.unseen("one rendition only")
    for one, other in combinations(check.recording.renditions.values(), 2):
        found = {msn: offset for item in epochs(one).values() for msn, offset in item}
        for item in epochs(other).values():
            for msn, offset_s in item:
                off_s = abs(offset_s - found.get(msn, offset_s))
                if msn in found:
                    text = "%s %d: its date is %.3f s off"
                    check(off_s <= DATE_SLACK_S, text, other.name, msn, off_s)


@rule
def discontinuities_are_aligned(check: Check) -> None:
    """AL-04 MUST 6.2.4: the discontinuity sequence is the same for the same segment"""
    check.unseen("one rendition only")
    for one, other in combinations(check.recording.renditions.values(), 2):
        for msn, (_, segment) in one.first_whole.items():
            twin = other.first_whole.get(msn)
            if twin is not None:
                numbers = (segment.discontinuity_sequence, twin[1].discontinuity_sequence)
                check(numbers[0] == numbers[1], "%s %d: %s", other.name, msn, numbers)


@rule
def renditions_come_together(check: Check) -> None:
    """AL-05 MUST-P B.1: all renditions are updated within 1 PT of each other (95 of 100)"""
    check.unseen("one rendition only")
    for one, other in combinations(check.recording.renditions.values(), 2):
        early_s = max(
            (r.snapshots[0].came_s for r in (one, other) if r.snapshots), default=0.0
        )  # what the first playlist lists was there before
        apart = [
            abs(came_s - other.first_whole[msn][0])
            for msn, (came_s, _) in one.first_whole.items()
            if msn in other.first_whole and min(came_s, other.first_whole[msn][0]) > early_s
        ]
        if len(apart) >= 3:
            most_s = max(one.part_target_s, other.part_target_s) + 0.05
            worst_s = at_95_percent(apart)
            check(worst_s <= most_s, "%s and %s: %.3f s apart", one.name, other.name, worst_s)


# Time.


@rule
def latency_is_low(check: Check) -> None:
    """TM-01 SHOULD ours: a part is had --max-latency after its last sample (95 of 100); no dates
    in the future. Clocks must agree
    """
    for rendition in check.recording.renditions.values():
        delays = []
        dates = {}
        for snapshot in rendition.snapshots:
            dates.update(snapshot.playlist.dates())
        first_s = rendition.snapshots[0].came_s if rendition.snapshots else 0.0
        for (msn, index), (came_s, segment, part) in rendition.first_listed.items():
            if msn in dates and came_s > first_s:
                before = rendition.first_listed
                parts = [before[msn, i][2] for i in range(index) if (msn, i) in before]
                lasted_us = sum(item.duration_us for item in parts) + part.duration_us
                end_s = (dates[segment.msn] + lasted_us) / US
                delays.append(came_s + check.recording.wall_offset_s - end_s)
        if delays:
            worst_s, least_s = at_95_percent(delays), min(delays)
            check(worst_s <= check.recording.max_latency_s, "%s: %.2f s", rendition.name, worst_s)
            check(least_s >= -0.25, "%s: a date %.2f s ahead", rendition.name, -least_s)


@rule
def release_is_even(check: Check) -> None:
    """TM-02 SHOULD ours: parts are released evenly: 95 of 100 within max(0.15 s, PT/2)"""
    for rendition in check.recording.renditions.values():
        listed = rendition.first_listed
        late = []
        for position, gap_s, breaks in releases(rendition):
            if not breaks:
                late.append(gap_s - listed[position][2].duration_us / US)
        if len(late) >= 5:
            most_s, worst_s = max(0.15, rendition.part_target_s / 2), at_95_percent(late)
            check(worst_s <= most_s, "%s: %.3f s late", rendition.name, worst_s)
