"""How long a cache may keep an HLS answer; rfc8216bis, Appendix B.1."""

import pytest

from edge.hls_response import media_response, playlist_response


@pytest.mark.parametrize(
    ("target_s", "waited", "cache_control"),
    [
        (2, False, b"public, max-age=0, s-maxage=1"),
        (1, False, b"public, max-age=0"),  # a second is more than half of this one
        (2, True, b"public, max-age=12"),
        (1, True, b"public, max-age=6"),
    ],
)
def test_a_playlist_may_be_kept_for_half_a_target_or_six(
    target_s: int, waited: bool, cache_control: bytes
) -> None:
    response = playlist_response((b"x",), etag="t-1", target_duration_s=target_s, waited=waited)
    fields = dict(response.fields)
    assert fields[b"cache-control"] == cache_control
    assert fields[b"content-type"] == b"application/vnd.apple.mpegurl"
    assert (fields[b"etag"], response.packable) == (b'"t-1"', True)


def test_media_is_kept_for_ever_and_in_ranges() -> None:
    response = media_response("seg-t-1.ts", (b"ab", b"c"), content_type="video/mp2t")
    fields = dict(response.fields)
    assert b"immutable" in fields[b"cache-control"]
    assert (fields[b"content-type"], fields[b"etag"]) == (b"video/mp2t", b'"seg-t-1.ts"')
    assert response.accepts_ranges
    assert not response.packable
