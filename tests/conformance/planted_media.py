"""More planted faults, see `planted`: of the media, of HTTP, of the end."""

from dataclasses import replace

from tests.conformance.boxes import read_init
from tests.conformance.healthy import NAMES, edit, exchange, init_bytes, packed, playlist_text
from tests.conformance.planted import (
    FAULTS,
    answer_fault,
    breaks,
    change_media,
    of,
    run_of,
    text_fault,
)
from tests.conformance.recording import Recording

__all__ = ["FAULTS"]

# Media.


def init_fault(rule: str, data: bytes) -> None:
    def plant(recording: Recording) -> None:
        rendition = of(recording, "high")
        url, (came, _) = next(iter(rendition.inits.items()))
        rendition.inits[url] = (came, read_init(data))

    breaks(rule)(plant)


init_fault("MF-01", init_bytes(True, (320, 180), duration=1))
init_fault("MF-01", init_bytes(True, (320, 180))[:-20])
init_fault("MF-01", b"")
init_fault("MF-10", init_bytes(True, (320, 180)).replace(b"avc1", b"avc3"))


def noted_fault(rule: str) -> None:
    """What `boxes` notes is found by the rule; test_boxes sees to the rest."""

    def plant(recording: Recording) -> None:
        of(recording, "high").parts[9, 1].fragments.faults.append((rule, "as noted"))

    breaks(rule)(plant)


noted_fault("MF-02")
noted_fault("MF-04")
noted_fault("MF-05")


@breaks("MF-03")
def numbers_repeat(recording: Recording) -> None:
    of(recording, "high").parts[9, 1].fragments.sequences[:] = [1]


@breaks("MF-04")
def time_jumps(recording: Recording) -> None:
    run_of(recording, "high", (9, 1)).start += 50


@breaks("MF-06")
def the_segment_has_other_samples(recording: Recording) -> None:
    run = run_of(recording, "high", 9)
    run.digests = run.digests[:-8] + bytes(8)


@breaks("MF-07")
def the_segment_is_longer(recording: Recording) -> None:
    change_media(recording, "high", 9, size_bytes=1)


@breaks("MF-08", "MV-09")
def a_segment_begins_between(recording: Recording) -> None:
    run_of(recording, "high", 9).first_sync = False


@breaks("MF-09")
def a_frame_is_lost(recording: Recording) -> None:
    of(recording, "high").decoded = (99, 100, "")


@breaks("MF-09")
def the_decoder_complains(recording: Recording) -> None:
    of(recording, "high").decoded = (100, 100, "invalid data")


@breaks("MF-11")
def a_sample_lasts_for_nothing(recording: Recording) -> None:
    run_of(recording, "high", (9, 1)).shortest = 0


@breaks("AL-01")
def a_variant_is_shifted(recording: Recording) -> None:
    run_of(recording, "low", 9).start += 150


@breaks("AL-02")
def audio_is_shifted(recording: Recording) -> None:
    run_of(recording, "sound", 9).start += 300


@breaks("AL-04")
def a_discontinuity_is_not_everywhere(recording: Recording) -> None:
    edit(of(recording, "low"), lambda text: text.replace("#EXT-X-DISCONTINUITY\n", ""))


@breaks("AL-05", "TM-01")
def a_rendition_is_late(recording: Recording) -> None:
    snapshots = of(recording, "low").snapshots
    for index, snapshot in enumerate(snapshots[1:], start=1):
        late = replace(snapshot.exchange, done_s=snapshot.exchange.done_s + 3)
        snapshots[index] = replace(snapshot, exchange=late)


# HTTP.


@breaks("HT-01")
def a_playlist_is_text(recording: Recording) -> None:
    snapshots = of(recording, "high").snapshots
    headers = {**snapshots[0].exchange.headers, "content-type": "text/plain"}
    snapshots[0] = replace(snapshots[0], exchange=replace(snapshots[0].exchange, headers=headers))


@breaks("HT-01")
def media_is_anything(recording: Recording) -> None:
    change_media(recording, "high", 9, headers={"content-type": "application/octet-stream"})


answer_fault("HT-02", "gzip", headers={"content-encoding": ""})
answer_fault("HT-02", "gzip", body=b"no gzip")


@breaks("HT-02")
def another_text_is_packed(recording: Recording) -> None:
    (found,) = recording.tried["gzip"]
    text = found.inflated.replace(b"9.m4s", b"8.m4s")
    recording.tried["gzip"] = [packed(exchange("high/p.m3u8", body=text))]


answer_fault("HT-03", "identity", headers={"content-encoding": "gzip"})
answer_fault("HT-03", "gzip", headers={"vary": "Origin"})
answer_fault("HT-03", "media gzip", headers={"content-encoding": "gzip"})
answer_fault("HT-04", "cors", headers={"access-control-allow-origin": ""})
answer_fault("HT-04", "cors", headers={"access-control-allow-origin": "https://player.example"})
answer_fault("HT-05", "cors errors", headers={"access-control-allow-origin": ""})
answer_fault("HT-05", "preflight", status=405)
answer_fault("HT-05", "cors", headers={"age": "3"})
answer_fault("HT-08", "missing", headers={"cache-control": "max-age=600"})
answer_fault("HT-09", "head", size_bytes=10)
answer_fault("HT-09", "head", 2, headers={"content-length": "1"})
answer_fault("HT-09", "head", status=405)
answer_fault("HT-10", "range", 1, status=200)
answer_fault("HT-10", "range", 2, headers={"content-range": "bytes 0-99/500"})
answer_fault("HT-10", "range", 3, status=206)
answer_fault("HT-11", "conditional", status=200)
answer_fault("HT-12", "missing", closes=True)
answer_fault("HT-12", "head", 1, reopened=True)
answer_fault("HT-14", "missing", status=500)
answer_fault("HT-14", "missing", done_s=1040.0)


@breaks("HT-06")
def playlists_are_cached_long(recording: Recording) -> None:
    snapshots = of(recording, "high").snapshots
    headers = {**snapshots[3].exchange.headers, "cache-control": "max-age=60"}
    snapshots[3] = replace(snapshots[3], exchange=replace(snapshots[3].exchange, headers=headers))


@breaks("HT-07")
def media_is_cached_shortly(recording: Recording) -> None:
    change_media(recording, "high", 9, headers={"cache-control": "max-age=1"})


@breaks("HT-13")
def no_http2(recording: Recording) -> None:
    recording.protocol = "http/1.1"


# The end, gaps, interruptions.


@breaks("EN-01")
def one_rendition_has_no_end(recording: Recording) -> None:
    of(recording, "low").snapshots.pop()


@breaks("EN-01")
def the_end_is_told_by_404(recording: Recording) -> None:
    rendition = of(recording, "low")
    asked_s = rendition.snapshots[-1].came_s - 1
    rendition.refusals.append(exchange("low/p.m3u8", 404, asked_s=asked_s))


answer_fault("EN-02", "EN-02", status=400)
answer_fault("EN-02", "EN-02", body=playlist_text("high", (15, 3)).encode())


@breaks("EN-03", "MF-04")
def the_break_is_not_marked(recording: Recording) -> None:
    for name in NAMES:
        rendition = of(recording, name)
        for media in rendition.all_media():
            if media.segment.msn == 12:
                segment = replace(media.segment, discontinuity=False)
                if media.index is None:
                    rendition.segments[12] = replace(media, segment=segment)
                else:
                    rendition.parts[12, media.index] = replace(media, segment=segment)


@breaks("EN-03")
def an_init_uri_is_used_again(recording: Recording) -> None:
    rendition = of(recording, "high")
    for msn, media in list(rendition.segments.items()):
        rendition.segments[msn] = replace(media, segment=replace(media.segment, map_uri="init"))


text_fault("EN-04", "#EXT-X-GAP\n", "")


@breaks("EN-06")
def the_end_comes_with_news(recording: Recording) -> None:
    of(recording, "high").snapshots.pop(-2)
