"""Faults, each planted in a healthy recording, by the id of the rule that must find it."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from tests.conformance.boxes import Run
from tests.conformance.healthy import (
    BASE,
    edit,
    exchange,
    healthy,
    playlist_text,
)
from tests.conformance.multivariant import parse_multivariant
from tests.conformance.playlist import parse_media_playlist
from tests.conformance.recording import Media, Recording, Rendition

Plant = Callable[[Recording], None]
FAULTS: dict[str, list[Plant]] = {}


def breaks(*rules: str) -> Callable[[Plant], Plant]:
    """The rules that must find it."""

    def register(plant: Plant) -> Plant:
        for rule in rules:
            FAULTS.setdefault(rule, []).append(plant)
        return plant

    return register


def broken(plant: Plant) -> Recording:
    """A healthy recording with one fault."""
    recording = healthy()
    plant(recording)
    return recording


def of(recording: Recording, name: str) -> Rendition:
    return recording.renditions[f"{BASE}{name}/p.m3u8"]


def text_fault(rule: str, old: str, new: str, *versions: int, name: str = "high") -> None:
    """Another text in the playlists of one rendition."""

    def plant(recording: Recording) -> None:
        before = [s.exchange.body for s in of(recording, name).snapshots]
        edit(of(recording, name), lambda text: re.sub(old, new, text), *versions)
        assert before != [s.exchange.body for s in of(recording, name).snapshots]

    breaks(rule)(plant)


def answer_fault(rule: str, name: str, index: int = 0, **fields: Any) -> None:
    """Another answer to an experiment."""

    def plant(recording: Recording) -> None:
        found = recording.tried[name]
        if "headers" in fields:
            headers = {**found[index].headers, **fields["headers"]}
            found[index] = replace(found[index], headers=headers)
        else:
            found[index] = replace(found[index], **fields)

    breaks(rule)(plant)


def run_of(recording: Recording, name: str, key: Any) -> Run:
    """Of a part or a segment that was fetched."""
    rendition = of(recording, name)
    media = rendition.segments[key] if isinstance(key, int) else rendition.parts[key]
    run = media.run
    assert run is not None
    return run


def change_media(recording: Recording, name: str, key: Any, **fields: Any) -> None:
    """Another answer to a request for a part or a segment."""
    rendition = of(recording, name)
    found: dict[Any, Media] = rendition.segments if isinstance(key, int) else rendition.parts
    found[key] = replace(found[key], exchange=replace(found[key].exchange, **fields))


def change_multivariant(recording: Recording, old: str, new: str) -> None:
    """Another text of all versions of the multivariant playlist."""
    for index, (came, _) in enumerate(recording.multivariants):
        body = came.body.replace(old.encode(), new.encode())
        assert body != came.body
        parsed = parse_multivariant(body, recording.url)
        recording.multivariants[index] = (replace(came, body=body), parsed)


def multivariant_fault(rule: str, old: str, new: str) -> None:
    breaks(rule)(lambda recording: change_multivariant(recording, old, new))


# Multivariant playlist.

multivariant_fault("MV-01", "#EXTM3U", "\ufeff#EXTM3U")
multivariant_fault("MV-01", "high", "hi\x07gh")
multivariant_fault("MV-02", "BANDWIDTH=90000,AVERAGE", "AVERAGE")
multivariant_fault("MV-02", "low/p.m3u8\n", "")
multivariant_fault("MV-02", "#EXT-X-INDEPENDENT-SEGMENTS", "#EXTINF:2,")
multivariant_fault("MV-03", ",mp4a.40.2", "")
multivariant_fault("MV-03", "mp4a.40.2", "mp4a.40.2,ec-3")
multivariant_fault("MV-03", "avc1.42C01F", "avc1.64001F")
multivariant_fault("MV-04", "640x360", "640x362")
multivariant_fault("MV-05", "10.000", "10")
multivariant_fault("MV-05", "10.000", "25.000")
multivariant_fault("MV-06", "BANDWIDTH=90000,AV", "BANDWIDTH=1000,AV")
multivariant_fault("MV-07", "AVERAGE-BANDWIDTH=80000", "AVERAGE-BANDWIDTH=1000")
multivariant_fault("MV-08", 'AUDIO="a"', 'AUDIO="b"')
multivariant_fault("MV-08", 'NAME="Sound",', "")
multivariant_fault("MV-08", "DEFAULT=YES", "DEFAULT=YES,AUTOSELECT=NO")
multivariant_fault("MV-09", "#EXT-X-INDEPENDENT-SEGMENTS\n", "")
multivariant_fault("MV-11", ',CHANNELS="2"', "")
multivariant_fault("MV-12", "640x360", "640x360,VIDEO-RANGE=PQ")


@breaks("MV-10")
def another_text(recording: Recording) -> None:
    came, parsed = recording.multivariants[1]
    recording.multivariants[1] = (replace(came, digest="other"), parsed)


# Media playlists.

text_fault("MP-01", "#EXTM3U", "#EXTM3")
text_fault("MP-01", "(#EXT-X-VERSION.*\n)", r"\1\1")
text_fault("MP-01", "VERSION:9", "VERSION:5")
text_fault("MP-01", "TARGETDURATION:2", "TARGETDURATION:two")
text_fault("MP-02", "EXTINF:2.000000", "EXTINF:2.500000")
text_fault("MP-03", "PART-TARGET=0.5", "PART-TARGET=0.6", 5)
text_fault("MP-03", "TARGETDURATION:2", "TARGETDURATION:3", 5)
text_fault("MP-04", "MEDIA-SEQUENCE:.*", "MEDIA-SEQUENCE:0", 20)
text_fault("MP-04", "MEDIA-SEQUENCE:.*", "MEDIA-SEQUENCE:9", 20)
text_fault("MP-05", "DISCONTINUITY-SEQUENCE:0", "DISCONTINUITY-SEQUENCE:1", 5)
text_fault("MP-06", "\n9.m4s", "\nother.m4s", 5)
text_fault("MP-06", "EXTINF:2.0", "EXTINF:1.9", 5)
text_fault("MP-06", "init0", "init9", 5)
text_fault("MP-06", ":00:(..).000Z", r":00:\1.500Z", 5)
text_fault("MP-09", "#EXT-X-PROGRAM-DATE-TIME.*\n", "")
text_fault("MP-09", ".000Z", "Z")
text_fault("MP-11", "#EXT-X-MAP.*\n", "")
text_fault("MP-12", "#EXT-X-VERSION", "#EXT-X-PLAYLIST-TYPE:EVENT\n#EXT-X-VERSION")
text_fault("MP-14", "CAN-SKIP-UNTIL=12", "CAN-SKIP-UNTIL=13")
text_fault("MP-17", "$(?![\n])", "#EXTINF:2,\n", 5)
text_fault("MP-17", "#EXTINF.*\n", "", 5)
text_fault("MP-17", "\n$", "", 5)


@breaks("MP-07")
def too_much_is_removed(recording: Recording) -> None:
    def cut(text: str) -> str:
        head, _, tail = text.partition("#EXT-X-MAP")
        head = re.sub("MEDIA-SEQUENCE:.*", "MEDIA-SEQUENCE:14", head)
        start = tail.index("#EXT-X-PROGRAM-DATE-TIME:2026-01-01T00:00:28")
        return f'{head}#EXT-X-MAP:URI="init1.mp4"\n{tail[start:]}'

    edit(of(recording, "high"), cut, 24)


@breaks("MP-08")
def a_segment_is_late(recording: Recording) -> None:
    snapshots = of(recording, "high").snapshots
    for index in range(4, len(snapshots)):
        came = snapshots[index].exchange
        late = replace(came, done_s=came.done_s + 2)
        snapshots[index] = replace(snapshots[index], exchange=late)


@breaks("MP-10", "AL-03")
def a_date_is_the_wall_clocks(recording: Recording) -> None:
    edit(of(recording, "low"), lambda text: text.replace(":18.000Z", ":18.100Z"))


@breaks("MP-11")
def an_init_section_is_missing(recording: Recording) -> None:
    rendition = of(recording, "high")
    url, (came, init) = next(iter(rendition.inits.items()))
    rendition.inits[url] = (replace(came, status=404), init)


@breaks("MP-13")
def samples_are_shorter(recording: Recording) -> None:
    run_of(recording, "high", 9).duration -= 60


def recheck_fault(rule: str, found: str, **fields: Any) -> None:
    def plant(recording: Recording) -> None:
        for index, again in enumerate(recording.rechecks):
            if again.rule == found:
                came = replace(again.exchange, **fields)
                recording.rechecks[index] = replace(again, exchange=came)

    breaks(rule)(plant)


recheck_fault("MP-15", "MP-15", digest="other")
recheck_fault("MP-16", "MP-16", status=404)
recheck_fault("PT-10", "PT-10", status=404)
recheck_fault("EN-05", "EN-05", status=404)

# Parts, hints, reports.

text_fault("PT-01", "CAN-BLOCK-RELOAD=YES,", "")
text_fault("PT-01", "PART-HOLD-BACK=1.5,", "")
text_fault("PT-01", "CAN-SKIP-UNTIL=12", "CAN-SKIP-UNTIL=11")
text_fault("PT-01", ",HOLD-BACK=6", ",HOLD-BACK=5")
text_fault("PT-01", "#EXT-X-PART-INF.*\n", "")
text_fault("PT-02", "PART-HOLD-BACK=1.5", "PART-HOLD-BACK=1.2")
text_fault("PT-03", 'DURATION=0.500000,URI="11.1', 'DURATION=0.500001,URI="11.1')
text_fault("PT-04", 'DURATION=0.500000,URI="11.1', 'DURATION=0.424000,URI="11.1')
text_fault("PT-05", 'DURATION=0.500000,URI="11.1', 'DURATION=0.480000,URI="11.1')
text_fault("PT-13", 'DURATION=0.500000,URI="11.1', 'DURATION=0.480000,URI="11.1', 9)
text_fault("PT-13", '#EXT-X-PART:DURATION=0.500000,URI="11.1.*\n', "", 9)
text_fault(
    "PT-14",
    '(#EXT-X-PROGRAM-DATE-TIME.*\n)(#EXT-X-PART:.*URI="11.0.*\n)',
    r"\2\1",
)
text_fault("PH-01", "#EXT-X-PRELOAD-HINT.*\n", "", 7)
text_fault("PH-02", r'HINT:TYPE=PART,URI="1', 'HINT:TYPE=PART,URI="9', 5)
text_fault("PH-05", "(#EXT-X-PRELOAD-HINT.*\n)", r"\1\1", 5)
text_fault("PH-07", "#EXT-X-ENDLIST", '#EXT-X-PRELOAD-HINT:TYPE=PART,URI="x"\n#EXT-X-ENDLIST', 25)
text_fault("RR-01", '#EXT-X-RENDITION-REPORT:URI="../low.*\n', "")
text_fault("RR-01", '#EXT-X-REND.*"../low(.*\n)', r'#EXT-X-RENDITION-REPORT:URI="../high\1')
text_fault("RR-02", r"LAST-MSN=12,LAST-PART=\d", "LAST-MSN=11,LAST-PART=0")
text_fault("RR-02", r",LAST-PART=\d", "")
text_fault("RR-03", "\\.\\./low/p.m3u8", "../low/q.m3u8")


@breaks("PT-05")
def a_part_says_more_than_it_has(recording: Recording) -> None:
    run_of(recording, "high", (9, 1)).duration -= 100


@breaks("PT-06")
def independent_is_a_lie(recording: Recording) -> None:
    run_of(recording, "high", (9, 0)).first_random = False


@breaks("PT-07")
def independent_is_not_said(recording: Recording) -> None:
    run_of(recording, "high", (9, 1)).first_sync = True


@breaks("PT-08")
def all_parts_are_kept(recording: Recording) -> None:
    def keep(text: str) -> str:
        line = '#EXT-X-PART:DURATION=2.0,URI="old"\n'
        return text.replace("#EXTINF", f"{line}#EXTINF", 1)

    edit(of(recording, "high"), keep)


@breaks("PT-09")
def only_open_parts_are_listed(recording: Recording) -> None:
    edit(
        of(recording, "high"),
        lambda text: re.sub(r'#EXT-X-PART:.*URI="(9|10|11|12|13|14)\..*\n', "", text),
        20,
    )


@breaks("PT-11")
def a_listed_part_is_missing(recording: Recording) -> None:
    change_media(recording, "high", (9, 1), status=404)


@breaks("PT-11")
def a_listed_part_is_slow(recording: Recording) -> None:
    change_media(recording, "high", (9, 1), done_s=2000.0)


@breaks("PT-12", "TM-02")
def parts_come_too_slowly(recording: Recording) -> None:
    snapshots = of(recording, "high").snapshots
    for index, snapshot in enumerate(snapshots):
        came = snapshot.exchange
        late = replace(came, done_s=came.done_s + 0.4 * index)
        snapshots[index] = replace(snapshot, exchange=late)


@breaks("PH-03")
def the_hint_had_other_bytes(recording: Recording) -> None:
    hints = of(recording, "high").hints
    hints[0] = replace(hints[0], digest="other")


@breaks("PH-03")
def the_hint_was_refused(recording: Recording) -> None:
    hints = of(recording, "high").hints
    hints[0] = replace(hints[0], status=404)


@breaks("PH-03")
def the_hint_was_put_off(recording: Recording) -> None:
    hints = of(recording, "high").hints
    hints[0] = replace(hints[0], status=503)


@breaks("PH-04")
def the_hint_trickled(recording: Recording) -> None:
    hints = of(recording, "high").hints
    hints[0] = replace(hints[0], head_s=hints[0].done_s - 0.45)


answer_fault("PH-06", "PH-06", status=200)

# Blocking reload, delta updates.


@breaks("BR-01", "BR-02")
def the_old_playlist_comes_at_once(recording: Recording) -> None:
    snapshots = of(recording, "high").snapshots
    snapshots[5] = replace(snapshots[5], playlist=snapshots[4].playlist)


@breaks("BR-01")
def a_listed_rendition_is_refused(recording: Recording) -> None:
    of(recording, "high").refusals.append(exchange("high/p.m3u8?_HLS_msn=9&_HLS_part=3", 404))


@breaks("BR-01")
def it_gives_up_early(recording: Recording) -> None:
    of(recording, "high").refusals.append(
        exchange("high/p.m3u8?_HLS_msn=9&_HLS_part=3", 503, asked_s=1024.0, done_s=1026.0)
    )


@breaks("BR-03")
def playlists_come_on_a_timer(recording: Recording) -> None:
    rendition = of(recording, "high")
    rendition.hints = [replace(hint, head_s=hint.head_s - 0.4) for hint in rendition.hints]


def unfinished() -> bytes:
    return playlist_text("high", (15, 0)).encode()


answer_fault("BR-04", "BR-04", status=400)
answer_fault("BR-04", "BR-04", body=unfinished())
answer_fault("BR-05", "BR-05", 3, done_s=1030.5)
answer_fault("BR-05", "BR-05", 3, body=unfinished())
answer_fault("BR-06", "BR-06", status=400)
answer_fault("BR-06", "BR-06", body=unfinished())
answer_fault("BR-07", "BR-07", status=400)
answer_fault("BR-07", "BR-07", done_s=1032.0)
answer_fault("BR-08", "BR-08", status=200)
answer_fault("BR-09", "BR-09 far", status=200)
answer_fault("BR-09", "BR-09 near", status=400)
answer_fault("BR-10", "BR-10", status=200)
answer_fault("BR-11", "BR-11", status=0)
answer_fault("BR-12", "BR-12", status=500)
answer_fault("BR-13", "BR-13", status=400)
answer_fault("BR-14", "BR-14", status=0)
answer_fault("BR-15", "BR-15", 1, body=unfinished())
answer_fault("DU-02", "DU-02", status=400)


@breaks("BR-06")
def a_players_request_is_refused(recording: Recording) -> None:
    of(recording, "high").refusals.append(exchange("high/p.m3u8?_HLS_msn=9&_HLS_part=4", 400))


def delta_fault(rule: str, old: str, new: str, skip: int = 3) -> None:
    def plant(recording: Recording) -> None:
        text = playlist_text("high", (15, 3), skip=skip)
        delta = parse_media_playlist(re.sub(old, new, text).encode())
        rendition = of(recording, "high")
        full, came, _ = rendition.deltas[0]
        rendition.deltas[0] = (full, came, delta)

    breaks(rule)(plant)


delta_fault("DU-01", "SKIPPED-SEGMENTS=3", "SKIPPED-SEGMENTS=2")
delta_fault("DU-01", "MEDIA-SEQUENCE:6", "MEDIA-SEQUENCE:9")
delta_fault("DU-01", "MEDIA-SEQUENCE:6", "MEDIA-SEQUENCE:5")
delta_fault("DU-01", "DISCONTINUITY-SEQUENCE:0", "DISCONTINUITY-SEQUENCE:-1", 6)
delta_fault("DU-01", "x", "x", 5)
delta_fault("DU-01", "#EXT-X-SKIP.*\n", "", 0)
delta_fault("DU-01", "#EXTINF.*\n15.m4s\n", "")
delta_fault("DU-04", "#EXT-X-MAP.*\n", "")
delta_fault("DU-04", "#EXT-X-PROGRAM-DATE-TIME.*\n", "")
text_fault("DU-03", "(#EXT-X-MEDIA-SEQUENCE.*\n)", r"\1#EXT-X-SKIP:SKIPPED-SEGMENTS=0\n", 5)


@breaks("DU-03")
def skipped_without_a_promise(recording: Recording) -> None:
    rendition = of(recording, "high")
    edit(rendition, lambda text: text.replace(",CAN-SKIP-UNTIL=12", ""))
    _, came, delta = rendition.deltas[0]
    rendition.deltas[0] = (rendition.snapshots[-2], came, delta)
