"""Rules of HTTP (HT)."""

import re

from tests.conformance.client import Exchange
from tests.conformance.playlist import parse_media_playlist
from tests.conformance.rules import Check, rule
from tests.conformance.rules_multivariant import PLAYLIST_TYPES

MEDIA_TYPES = ("video/mp4", "audio/mp4", "video/iso.segment", "application/mp4")


def _tried(check: Check, name: str) -> list[Exchange]:
    check.unseen("not tried: the run was too short, or nothing was live")
    return check.recording.tried.get(name, [])


def max_age_s(exchange: Exchange) -> int | None:
    """How long any cache may keep it; 0 with no-store, None when nothing is said."""
    text = exchange.header("cache-control")
    if "no-store" in text or "no-cache" in text:
        return 0
    ages = [int(age[:12]) for age in re.findall(r"max-?age=(\d+)", text)]
    return max(ages) if ages else None


def _target_s(check: Check) -> float:
    return check.recording.first.target_s if check.recording.first else 1.0


@rule
def types_are_right(check: Check) -> None:
    """HT-01 MUST 4: playlists are application/vnd.apple.mpegurl; media is video/mp4 or the like"""
    for rendition in check.recording.renditions.values():
        for snapshot in rendition.snapshots:
            kind = snapshot.exchange.header("content-type").partition(";")[0]
            check(kind in PLAYLIST_TYPES, "%s is %s", rendition.name, kind)
        media = [item.exchange for item in rendition.all_media()]
        for exchange in [*media, *(found for found, _ in rendition.inits.values())]:
            if exchange.status == 200:
                kind = exchange.header("content-type").partition(";")[0]
                check(kind in MEDIA_TYPES, "%s is %s", exchange.url, kind)


@rule
def playlists_are_packed(check: Check) -> None:
    """HT-02 MUST-P B.1: playlists come in gzip to who takes it, blocked ones too, same text"""
    found = _tried(check, "gzip")
    for exchange in found:
        packed = exchange.header("content-encoding") == "gzip"
        check(packed, "%s: Content-Encoding %r", exchange, exchange.header("content-encoding"))
        whole = exchange.inflated.startswith(b"#EXTM3U")
        check(whole, "%s does not inflate to a playlist", exchange)
    for packed_one, plain in zip(found, _tried(check, "identity"), strict=False):
        one, other = (parse_media_playlist(item.inflated) for item in (packed_one, plain))
        if (one.last_msn, one.last_part) == (other.last_msn, other.last_part):
            said = (one.segments, one.open_segment, one.hints)
            same = said == (other.segments, other.open_segment, other.hints)
            check(same, "%s: another text than without gzip", packed_one)


@rule
def packing_is_negotiated(check: Check) -> None:
    """HT-03 MUST-H RFC 9110: no gzip unasked, nor of media; Vary: Accept-Encoding on either form"""
    packed = any(item.header("content-encoding") for item in _tried(check, "gzip"))
    for exchange in _tried(check, "identity"):
        plain = exchange.header("content-encoding") in ("", "identity")
        check(plain, "%s is packed unasked", exchange)
    if packed:
        for exchange in [*_tried(check, "identity"), *_tried(check, "gzip")]:
            vary = exchange.header("vary")
            check("accept-encoding" in vary or vary == "*", "%s: Vary %r", exchange, vary)
    for exchange in _tried(check, "media gzip"):
        check(not exchange.header("content-encoding"), "%s is packed", exchange)


def _open_to_all(exchange: Exchange) -> bool:
    allowed = exchange.header("access-control-allow-origin")
    return allowed == "*" or (bool(allowed) and "origin" in exchange.header("vary"))


@rule
def pages_anywhere_may_play(check: Check) -> None:
    """HT-04 MUST-H Fetch: Access-Control-Allow-Origin on playlists and media"""
    for exchange in _tried(check, "cors"):
        text = "%s: Access-Control-Allow-Origin %r"
        allowed = exchange.header("access-control-allow-origin")
        check(_open_to_all(exchange), text, exchange, allowed)


@rule
def pages_see_errors(check: Check) -> None:
    """HT-05 SHOULD Fetch: the same on errors; a preflight for Range is 2xx; Age is exposed"""
    for exchange in _tried(check, "cors errors"):
        check(_open_to_all(exchange), "%s", exchange)
    for exchange in _tried(check, "preflight"):
        check(200 <= exchange.status < 300, "%s", exchange)
        allowed = exchange.header("access-control-allow-headers")
        check("range" in allowed or allowed == "*", "%s allows %r", exchange, allowed)
    for exchange in _tried(check, "cors"):
        exposed = exchange.header("access-control-expose-headers")
        seen = "age" in exposed or "*" in exposed
        check("age" not in exchange.headers or seen, "%s exposes %r", exchange, exposed)


@rule
def playlists_are_cached_shortly(check: Check) -> None:
    """HT-06 SHOULD B.1: a blocked playlist is cached for 6 TD at most, a plain one for TD/2"""
    for rendition in check.recording.renditions.values():
        for snapshot in rendition.snapshots:
            age_s = max_age_s(snapshot.exchange)
            most_s = rendition.target_s * (6 if snapshot.wanted else 0.5)
            holds = age_s is not None and age_s <= most_s
            check(holds, "%s for %s s", snapshot.exchange, age_s)


@rule
def media_is_cached_long(check: Check) -> None:
    """HT-07 SHOULD B.1: media may be cached for 6 TD at least"""
    for rendition in check.recording.renditions.values():
        for media in rendition.all_media():
            if media.exchange.status == 200:
                age_s = max_age_s(media.exchange)
                holds = age_s is not None and age_s >= 6 * rendition.target_s
                check(holds, "%s for %s s", media.exchange, age_s)


@rule
def errors_are_cached_shortly(check: Check) -> None:
    """HT-08 SHOULD B.1: errors are cached for TD at most (blocked ones 4 TD), or not at all"""
    for exchange in [*_tried(check, "cors errors"), *_tried(check, "missing")]:
        age_s = max_age_s(exchange)
        holds = age_s is not None and age_s <= _target_s(check)
        check(holds, "%s for %s s", exchange, age_s)


@rule
def heads_are_like_gets(check: Check) -> None:
    """HT-09 MUST-H RFC 9110 9.3.2: HEAD has the headers of GET and no body; media has its length"""
    found = _tried(check, "head")
    for head, full in zip(found[::2], found[1::2], strict=False):
        check(head.status == full.status == 200, "%s, then %s", head, full)
        check(not head.size_bytes, "%s has a body", head)
        same = head.header("content-type") == full.header("content-type")
        check(same, "%s: Content-Type differs", head)
    for head, full in zip(found[2::2], found[3::2], strict=False):
        length = head.header("content-length")
        check(length == str(full.size_bytes), "%s: Content-Length %r", head, length)


@rule
def ranges_are_served(check: Check) -> None:
    """HT-10 SHOULD RFC 9110 14: Range is 206 with its very bytes; 416 behind the end"""
    found = _tried(check, "range")
    if len(found) == 4:
        full, first, last, behind = found
        size = full.size_bytes
        check(full.header("accept-ranges") == "bytes", "%s: no Accept-Ranges", full)
        for exchange, wanted, where in (
            (first, full.body[:100], f"bytes 0-99/{size}"),
            (last, full.body[-100:], f"bytes {size - 100}-{size - 1}/{size}"),
        ):
            check(exchange.status == 206, "%s", exchange)
            right = exchange.body == wanted and exchange.header("content-range") == where
            check(right, "%s: %s", exchange, exchange.header("content-range"))
        check(behind.status == 416, "%s", behind)


@rule
def media_can_be_revalidated(check: Check) -> None:
    """HT-11 SHOULD RFC 9110 13: ETag or Last-Modified on media; If-None-Match gets a bare 304"""
    for exchange in _tried(check, "cors")[1:]:
        named = "etag" in exchange.headers or "last-modified" in exchange.headers
        check(named, "%s: no ETag", exchange)
    for exchange in _tried(check, "conditional"):
        check(exchange.status == 304 and not exchange.size_bytes, "%s", exchange)


@rule
def connections_are_kept(check: Check) -> None:
    """HT-12 MUST-H RFC 9112 9.3: a connection survives blocked reloads, 304, 404 and HEAD"""
    names = ("gzip", "cors", "head", "conditional", "missing")
    found = [exchange for name in names for exchange in check.recording.tried.get(name, ())]
    for rendition in check.recording.renditions.values():
        found += [snapshot.exchange for snapshot in rendition.snapshots if snapshot.wanted]
    for exchange in found:
        check(not exchange.closes, "%s closed the connection", exchange)
        check(not exchange.reopened, "the connection had been closed before %s", exchange)


@rule
def http2_is_spoken(check: Check) -> None:
    """HT-13 MUST-P B.1: HTTP/2 over TLS, by ALPN"""
    check.unseen("the URL is not https")
    if check.recording.protocol:
        check(check.recording.protocol == "h2", "ALPN gave %s", check.recording.protocol)


@rule
def missing_is_404(check: Check) -> None:
    """HT-14 MUST RFC 9110: what is not there is 404, at once"""
    for exchange in _tried(check, "missing"):
        check(exchange.status == 404 and exchange.took_s < 2, "%s", exchange)
