"""Rules of the multivariant playlist (MV), and of what its attributes say about the media."""

from itertools import pairwise

from tests.conformance.boxes import without_colours
from tests.conformance.multivariant import Multivariant, Variant
from tests.conformance.recording import Media, Rendition
from tests.conformance.rules import Check, rule

PLAYLIST_TYPES = ("application/vnd.apple.mpegurl", "audio/mpegurl", "application/x-mpegurl")
LONG_MEAN_S = 10.0


def _latest(check: Check) -> Multivariant | None:
    check.unseen("no multivariant playlist")
    return check.recording.latest


@rule
def it_is_a_playlist(check: Check) -> None:
    """MV-01 MUST 4, 4.4.1.1: 200; #EXTM3U, UTF-8, no controls; named .m3u8 or of its type"""
    for exchange, playlist in check.recording.multivariants:
        check(exchange.status == 200, "%s", exchange)
        faults = [text for rule_id, text in playlist.faults if rule_id in ("MV-01", "MP-17")]
        check(not faults, "%s", faults)
        kind = exchange.header("content-type").partition(";")[0]
        named = exchange.url.partition("?")[0].endswith((".m3u8", ".m3u"))
        check(named or kind in PLAYLIST_TYPES, "neither name nor type: %s", kind)


@rule
def variants_are_whole(check: Check) -> None:
    """MV-02 MUST 4.4.6.2: every EXT-X-STREAM-INF has BANDWIDTH and a URI; no media tags"""
    for _, playlist in check.recording.multivariants:
        faults = [text for rule_id, text in playlist.faults if rule_id == "MV-02"]
        check(not faults, "%s", faults)


@rule
def codecs_are_those_of_the_media(check: Check) -> None:
    """MV-03 MUST 6.2.4: CODECS has the format of every track of the variant, and nothing else"""
    playlist = _latest(check)
    for variant in playlist.variants if playlist else ():
        renditions = check.recording.of_variant(variant)
        now: set[str] = set()
        ever: set[str] = set()
        for rendition in renditions:
            inits = [init for _, init in rendition.inits.values()]
            ever |= {codec.lower() for init in inits for codec in init.codecs}
            newest = rendition.latest.all_segments[-1:] if rendition.latest else ()
            for segment in newest:
                url = rendition.resolve(segment.map_uri or "")
                if url in rendition.inits:
                    now |= {codec.lower() for codec in rendition.inits[url][1].codecs}
        said = {without_colours(codec.lower()) for codec in variant.codecs}
        if ever:
            # Segments of a format before may still be listed: that may be named, this must be.
            holds = now <= said <= ever
            check(holds, "%s: CODECS %s, the media is %s", variant.url, sorted(said), sorted(now))


def _newest_video(rendition: Rendition) -> Media | None:
    return next((media for media in reversed(rendition.whole_media()) if media.track), None)


@rule
def resolution_is_true(check: Check) -> None:
    """MV-04 MUST 4.4.6.2: RESOLUTION is there, and the size that pictures are shown at"""
    playlist = _latest(check)
    for variant in playlist.variants if playlist else ():
        rendition = check.recording.renditions.get(variant.url)
        media = _newest_video(rendition) if rendition else None
        if media is not None and media.track and media.track.handler == b"vide":
            shown = "{}x{}".format(*media.track.size)
            said = variant.get("RESOLUTION")
            check(said == shown, "%s: RESOLUTION %s, shown %s", variant.url, said, shown)


@rule
def frame_rate_is_true(check: Check) -> None:
    """MV-05 SHOULD 4.4.6.2: FRAME-RATE has three decimals and is the rate of the pictures"""
    playlist = _latest(check)
    for variant in playlist.variants if playlist else ():
        rendition = check.recording.renditions.get(variant.url)
        media = [m for m in rendition.whole_media() if m.run] if rendition else []
        if not media or media[0].track is None or media[0].track.handler != b"vide":
            continue
        last = media[-3:]
        seconds = sum(item.duration_s or 0 for item in last)
        rate = sum(item.run.count for item in last if item.run) / max(seconds, 1e-3)
        said = variant.get("FRAME-RATE")
        whole, _, decimals = said.partition(".")
        shaped = whole.isdecimal() and decimals.isdecimal() and len(decimals) == 3
        check(shaped, "%s: FRAME-RATE %r", variant.url, said)
        if shaped:
            near = abs(float(said) - rate) <= 0.02 * rate + 0.01
            check(near, "%s: FRAME-RATE %s, measured %.3f", variant.url, said, rate)


def _rates(rendition: Rendition, target_s: float) -> tuple[float, float, float]:
    """Peak of any run of 0.5 to 1.5 TD, mean (bit/s), and seconds measured."""
    sizes = [
        (media.exchange.size_bytes * 8, media.segment.duration_us / 1e6)
        for media in rendition.whole_media()
        if media.exchange.status == 200
    ]
    peak = 0.0
    for first in range(len(sizes)):
        bits, seconds = 0, 0.0
        for more, lasts in sizes[first:]:
            bits, seconds = bits + more, seconds + lasts
            if seconds > 1.5 * target_s:
                break
            if seconds >= 0.5 * target_s:
                peak = max(peak, bits / seconds)
    total_s = sum(lasts for _, lasts in sizes)
    return peak, sum(bits for bits, _ in sizes) / max(total_s, 1e-3), total_s


def _said(check: Check, variant: Variant, name: str) -> int:
    """The highest value of any version: the media may be of any of them."""
    values = [
        item.number(name)
        for _, playlist in check.recording.multivariants
        for item in playlist.variants
        if item.url == variant.url
    ]
    return max(values, default=0)


@rule
def bandwidth_holds(check: Check) -> None:
    """MV-06 MUST AA 1.29: the measured peak of a variant is below 125 % of BANDWIDTH"""
    playlist = _latest(check)
    for variant in playlist.variants if playlist else ():
        found = [_rates(item, item.target_s) for item in check.recording.of_variant(variant)]
        peak, said = sum(rates[0] for rates in found), _said(check, variant, "BANDWIDTH")
        if peak:
            check(peak < 1.25 * said, "%s: BANDWIDTH %d, peak %.0f", variant.url, said, peak)


@rule
def average_bandwidth_holds(check: Check) -> None:
    """MV-07 MUST AA 1.28: the measured mean is at most 110 % of AVERAGE-BANDWIDTH"""
    playlist = _latest(check)
    check.unseen(f"no variant with AVERAGE-BANDWIDTH was seen for {LONG_MEAN_S:g} s")
    for variant in playlist.variants if playlist else ():
        found = [_rates(item, item.target_s) for item in check.recording.of_variant(variant)]
        mean, said = sum(rates[1] for rates in found), _said(check, variant, "AVERAGE-BANDWIDTH")
        if said and found and min(rates[2] for rates in found) >= LONG_MEAN_S:
            text = "%s: AVERAGE-BANDWIDTH %d, mean %.0f"
            check(mean <= 1.1 * said, text, variant.url, said, mean)


@rule
def groups_exist(check: Check) -> None:
    """MV-08 MUST 4.4.6.1, 4.4.6.2.1: groups exist; EXT-X-MEDIA has TYPE, GROUP-ID, NAME; names are
    unique in a group, and one is DEFAULT=YES at the most, with AUTOSELECT=YES
    """
    playlist = _latest(check)
    if playlist is None:
        return
    groups = {(item.get("TYPE"), item.get("GROUP-ID")) for item in playlist.media}
    for variant in playlist.variants:
        for kind in ("AUDIO", "VIDEO", "SUBTITLES"):
            group = variant.get(kind)
            check(not group or (kind, group) in groups, "%s group %s is missing", kind, group)
    for item in playlist.media:
        whole = all(item.get(name) for name in ("TYPE", "GROUP-ID", "NAME"))
        check(whole, "EXT-X-MEDIA %s", item.attributes)
        proper = item.get("DEFAULT") != "YES" or item.get("AUTOSELECT") != "NO"
        check(proper, "DEFAULT=YES with AUTOSELECT=NO: %s", item.attributes)
    for group_key in groups:
        inside = [m for m in playlist.media if (m.get("TYPE"), m.get("GROUP-ID")) == group_key]
        names = [item.get("NAME") for item in inside]
        check(len(set(names)) == len(names), "names of group %s: %s", group_key, names)
        defaults = sum(item.get("DEFAULT") == "YES" for item in inside)
        check(defaults <= 1, "group %s has %d defaults", group_key, defaults)


@rule
def independent_segments_are_announced(check: Check) -> None:
    """MV-09 SHOULD 4.4.2.1: EXT-X-INDEPENDENT-SEGMENTS is there, and is true"""
    playlist = _latest(check)
    if playlist is None:
        return
    check(playlist.independent_segments, "EXT-X-INDEPENDENT-SEGMENTS is missing")
    for rendition in check.recording.video() if playlist.independent_segments else ():
        for media in rendition.whole_media():
            if media.run is not None:
                check(media.run.first_sync, "%s %s is not independent", rendition.name, media)


def _ladder(playlist: Multivariant) -> list[tuple[str, ...]]:
    names = ("CODECS", "RESOLUTION", "FRAME-RATE", "VIDEO-RANGE")
    return [(item.url, *(item.get(name) for name in names)) for item in playlist.variants]


@rule
def it_stays_the_same(check: Check) -> None:
    """MV-10 SHOULD ours: a second GET gives the same text, unless the ladder changed"""
    seen = check.recording.multivariants
    for (before, old), (after, new) in pairwise(seen):
        same = before.digest == after.digest or _ladder(old) != _ladder(new)
        changed = sorted(set(old.lines) ^ set(new.lines))
        check(same, "the text changed, the ladder did not: %s", changed[:4])


@rule
def channels_are_named(check: Check) -> None:
    """MV-11 SHOULD 4.4.6.1: an audio EXT-X-MEDIA has CHANNELS"""
    playlist = _latest(check)
    check.unseen("no audio EXT-X-MEDIA")
    for item in playlist.media if playlist else ():
        if item.get("TYPE") == "AUDIO":
            check(item.get("CHANNELS"), "EXT-X-MEDIA %s", item.attributes)


@rule
def video_range_is_true(check: Check) -> None:
    """MV-12 MUST 4.4.6.2: VIDEO-RANGE is that of the media; it may be missing where that is SDR"""
    playlist = _latest(check)
    for variant in playlist.variants if playlist else ():
        rendition = check.recording.renditions.get(variant.url)
        media = _newest_video(rendition) if rendition else None
        if media is not None and media.track and media.track.handler == b"vide":
            said = variant.get("VIDEO-RANGE") or "SDR"
            shown = media.track.video_range
            check(said == shown, "%s: VIDEO-RANGE %s, the media is %s", variant.url, said, shown)
