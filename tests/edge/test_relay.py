"""How long an upstream lets its answer be kept, and which of its fields reach a viewer."""

import pytest

from edge.life import Life
from edge.relay import MAX_KEPT_S, is_relayable, kept_s, relay, strong_etag
from edge.upstream_lanes import Fetched


def fetched(status: int = 200, body: bytes = b"body", **fields: str) -> Fetched:
    return Fetched(status, {name.replace("_", "-"): value for name, value in fields.items()}, body)


@pytest.mark.parametrize(
    ("cache_control", "age", "expected_s"),
    [
        ("public, max-age=86400, immutable", "", 86400),
        ("public, max-age=0, s-maxage=1", "", 1),
        ("s-maxage=1, max-age=60", "", 1),
        ("Max-Age=60", "", 60),
        ('max-age="60"', "", 60),
        ("max-age=60", "20", 40),
        ("max-age=60", "61", 0),
        ("max-age=60", "-5", 60),
        ("max-age=60", "x", 60),
        ("max-age=60", "9" * 40, 60),
        ("max-age=60, max-age=90", "", 60),
        ("max-age=999999999", "", MAX_KEPT_S),
        ("max-age=" + "9" * 30, "", 0),
        ("max-age=-1", "", 0),
        ("max-age", "", 0),
        ("max-age=60, no-store", "", 0),
        ("private, max-age=60", "", 0),
        ("no-cache, max-age=60", "", 0),
        ("public", "", 0),
        ("", "", 0),
    ],
)
def test_how_long_it_may_be_kept(cache_control: str, age: str, expected_s: float) -> None:
    assert kept_s(fetched(cache_control=cache_control, age=age)) == expected_s


def test_media_goes_through_as_it_is() -> None:
    life = Life()
    response = relay(
        fetched(
            body=b"bytes",
            content_type="video/mp4",
            cache_control="max-age=5",
            etag='"part-1"',
            accept_ranges="bytes",
            age="3",
            connection="keep-alive",
            set_cookie="who=me",
            server="them",
        ),
        life,
    )
    assert response.life is life
    assert response.accepts_ranges
    assert not response.packable
    assert response.etag == '"part-1"'
    assert response.chunks == (b"bytes",)
    names = [name for name, _ in response.fields if not name.startswith(b"access-control")]
    assert names == [
        b"cache-control",
        b"content-length",
        b"content-type",
        b"accept-ranges",
        b"etag",
    ]


def test_a_playlist_is_packed_here() -> None:
    response = relay(fetched(content_type="application/vnd.apple.mpegurl", etag='"v1"'))
    assert response.packable
    assert response.etag == '"v1"'
    assert not response.accepts_ranges


def test_an_error_keeps_what_tells_the_client_what_to_do() -> None:
    response = relay(
        fetched(
            401,
            b'{"error":"no"}',
            content_type="application/json",
            www_authenticate="Bearer",
            retry_after="5",
            allow="GET",
            location="/x",
            etag='"e"',
            accept_ranges="bytes",
        )
    )
    fields = dict(response.fields)
    assert response.status == 401
    assert fields[b"www-authenticate"] == b"Bearer"
    assert fields[b"retry-after"] == b"5"
    assert fields[b"allow"] == b"GET"
    assert fields[b"location"] == b"/x"
    assert fields[b"cache-control"] == b"no-store"
    assert response.etag is None
    assert not response.accepts_ranges


@pytest.mark.parametrize("value", ["a\r\nSet-Cookie: x", "a\nb", "a\x00b", "é", "x" * 1001, ""])
def test_a_field_that_could_split_the_head_is_left_out(value: str) -> None:
    response = relay(fetched(302, location=value, content_type=value))
    assert b"location" not in dict(response.fields)
    assert b"content-type" not in dict(response.fields)


@pytest.mark.parametrize(
    ("etag", "expected"),
    [('"a"', '"a"'), ('W/"a"', None), ("a", None), ('"a"b"', None), ("", None), ('"\n"', None)],
)
def test_weak_tags_are_not_passed_on(etag: str, expected: str | None) -> None:
    assert strong_etag(fetched(etag=etag)) == expected


@pytest.mark.parametrize(
    ("status", "known"), [(200, True), (503, True), (100, False), (799, False)]
)
def test_statuses_that_nobody_knows(status: int, known: bool) -> None:
    assert is_relayable(fetched(status)) is known
