"""Which requests are upgrades that may come in, and where they come from."""

from pathlib import Path

import pytest
import trio
import trio.testing
from certificates import make_pair
from chat_upgrade import KEY, upgrade
from crowd_rig import socket_pair

import native
from edge.chat.doorway import (
    address_of,
    check_upgrade,
    client_address,
)
from edge.http.messages import HttpError
from edge.http.tls import make_native_context, make_python_context
from edge.http.tls_stream import TlsStream


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


@pytest.mark.parametrize("is_native", [False, True])
async def test_addresses_of_tls(is_native: bool, tmp_path: Path) -> None:
    if is_native and native.IMPLEMENTATION == "py":
        pytest.skip("HEADRACE_PURE=1: TLS is Python's ssl")
    files = make_pair().write(tmp_path)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    client = await trio.open_tcp_stream(*listeners[0].socket.getsockname())
    server = await listeners[0].accept()
    stream: trio.abc.Stream
    if not is_native:
        stream = trio.SSLStream(server, make_python_context(*files), server_side=True)
    else:
        context = make_native_context(*files)
        stream = TlsStream(native.TlsSocket(context, server.socket.detach()))
    assert address_of(stream) == "127.0.0.1"
    await trio.aclose_forcefully(stream)
    await client.aclose()
    await listeners[0].aclose()


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        (None, "127.0.0.1"),
        (b"203.0.113.7", "203.0.113.7"),
        (b"spoofed, 198.51.100.1,2001:db8::1 ", "2001:db8::1"),
        (b"nonsense", "127.0.0.1"),
        (b"203.0.113.7, ", "127.0.0.1"),
    ],
)
async def test_a_proxy_on_this_machine_is_believed(forwarded: bytes | None, address: str) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    client = await trio.open_tcp_stream(*listeners[0].socket.getsockname())
    async with client, await listeners[0].accept() as server, listeners[0]:
        assert client_address(server, upgrade(x_forwarded_for=forwarded)) == address


async def test_nobody_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    memory, _ = trio.testing.memory_stream_pair()
    request = upgrade(x_forwarded_for=b"203.0.113.7")
    assert client_address(memory, request) == ""
    monkeypatch.setattr("edge.chat.doorway.address_of", lambda _stream: "192.0.2.1")
    assert client_address(memory, request) == "192.0.2.1"


async def test_addresses() -> None:
    memory, _ = trio.testing.memory_stream_pair()
    assert address_of(memory) == ""
    ours, theirs = socket_pair()
    assert address_of(ours) == ""
    await ours.aclose()
    await theirs.aclose()
    assert address_of(ours) == ""
