"""Which requests are upgrades that may come in, and where they come from."""

import pytest
from chat_upgrade import KEY, upgrade

from edge.chat.doorway import (
    check_upgrade,
)
from edge.http.messages import HttpError


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"upgrade": b"WebSocket", "connection": b"keep-alive, upgrade"},
        {"upgrade": b"h2c, websocket"},
        {"origin": b"http://chat.test:8080"},
        {"origin": b"HTTPS://Chat.Test:8080"},
        {"origin": b"https://friend.example"},
    ],
)
def test_a_right_upgrade(changes: dict[str, bytes]) -> None:
    check_upgrade(upgrade(**changes), allowed_origins=["https://Friend.example/"])


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"upgrade": None}, 426),
        ({"upgrade": b"h2c"}, 426),
        ({"sec_websocket_version": None}, 426),
        ({"sec_websocket_version": b"8"}, 426),
        ({"connection": None}, 400),
        ({"connection": b"keep-alive"}, 400),
        ({"host": None}, 400),
        ({"sec_websocket_key": None}, 400),
        ({"sec_websocket_key": b"short"}, 400),
        ({"sec_websocket_key": b"c2hvcnQ="}, 400),
        ({"sec_websocket_key": KEY.encode() + b"*"}, 400),
        ({"sec_websocket_key": b"\xff" * 24}, 400),
        ({"origin": b"http://chat.test"}, 403),
        ({"origin": b"http://evil.example"}, 403),
        ({"origin": b"http://chat.test:8080.evil.example"}, 403),
        ({"origin": b"http://friend.example"}, 403),
        ({"origin": b"null"}, 403),
        ({"origin": b""}, 403),
        ({"origin": b"http://["}, 403),
    ],
)
def test_a_wrong_upgrade(changes: dict[str, bytes | None], status: int) -> None:
    request = upgrade(**changes)
    with pytest.raises(HttpError) as caught:
        check_upgrade(request, allowed_origins=["https://friend.example"])
    assert caught.value.status == status


def test_a_wrong_upgrade_is_told_what_is_right() -> None:
    with pytest.raises(HttpError) as caught:
        check_upgrade(upgrade(upgrade=None), allowed_origins=())
    assert caught.value.extra == {"Upgrade": "websocket"}
    with pytest.raises(HttpError) as caught:
        check_upgrade(upgrade(sec_websocket_version=b"8"), allowed_origins=())
    assert caught.value.extra == {"Sec-WebSocket-Version": "13"}


def test_any_origin_if_so_configured() -> None:
    check_upgrade(upgrade(origin=b"null"), allowed_origins=["*"])
