"""TLS: certificates and their renewal, handshakes, and what ALPN leads to.

All of it twice: with OpenSSL on the descriptor, over TCP, and with `trio.SSLStream`, over memory.
What only the first can do is tests/edge/test_tls_stream.py.
"""

import contextlib
import hashlib
import os
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing
from certificates import Pair, make_pair
from h2_peer import NO_ERROR, H2Peer
from http_peers import HttpPeer, MemoryListener

import native
from edge.http.messages import Answer, Hold, Request
from edge.http.response import error_response, make_response
from edge.http.server import Figures, serve_http
from edge.http.settings import HttpSettings
from edge.http.tls import (
    CHECK_S,
    Certificate,
    CertificateError,
    ServerContext,
    make_native_context,
    make_python_context,
)
from edge.table import ResponseTable

if TYPE_CHECKING:
    from trio.testing import MockClock


@pytest.fixture(scope="module")
def pairs() -> tuple[Pair, Pair]:
    return make_pair(), make_pair()


Make = Callable[[Path, Path], ServerContext]


@pytest.fixture(params=["native", "python"])
def make(request: pytest.FixtureRequest) -> Make:
    """Each TLS in turn."""
    if request.param == "python":
        return make_python_context
    if native.IMPLEMENTATION == "py":
        pytest.skip("HEADRACE_PURE=1: TLS is Python's ssl")
    return make_native_context


# --- certificates


def _served(certificate: Certificate) -> bytes:
    """Fingerprint of what a new connection is shown."""
    client_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client_context.check_hostname, client_context.verify_mode = False, ssl.CERT_NONE
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    context = certificate.context()
    server: ssl.SSLSocket | native.TlsSocket
    if isinstance(context, ssl.SSLContext):
        server = context.wrap_socket(ours, server_side=True, do_handshake_on_connect=False)
        step: Callable[[], object] = server.do_handshake
    else:
        server = native.TlsSocket(context, ours.detach())
        step = server.handshake
    client = client_context.wrap_socket(theirs, do_handshake_on_connect=False)
    with contextlib.closing(server), client:
        for _ in range(3):
            for side in (client.do_handshake, step):
                with contextlib.suppress(ssl.SSLWantReadError):
                    side()
        shown = client.getpeercert(binary_form=True)
    assert shown is not None
    return hashlib.sha256(shown).digest()


async def test_a_renewed_certificate_serves_new_connections(
    autojump_clock: "MockClock",
    tmp_path: Path,
    pairs: tuple[Pair, Pair],
    logged: list[Any],
    make: Make,
) -> None:
    old, new = pairs
    certificate = Certificate(*old.write(tmp_path), make=make)
    before = certificate.context()
    assert _served(certificate) == old.fingerprint
    assert certificate.context() is before
    new.write(tmp_path)
    assert certificate.context() is before  # looked at a moment ago
    await trio.sleep(CHECK_S)
    assert _served(certificate) == new.fingerprint
    await trio.sleep(CHECK_S)
    renewed = certificate.context()
    await trio.sleep(CHECK_S)
    assert certificate.context() is renewed
    assert [entry["event"] for entry in logged] == ["certificate reloaded"]


async def test_a_link_to_another_folder_is_a_change_too(
    autojump_clock: "MockClock", tmp_path: Path, pairs: tuple[Pair, Pair], make: Make
) -> None:
    """How mounted secrets and certbot renew. Sizes and times may be the same."""
    old, new = pairs
    for name, pair in (("1", old), ("2", new)):
        (tmp_path / name).mkdir()
        for path in pair.write(tmp_path / name):
            os.utime(path, (1_000_000_000, 1_000_000_000))
    current = tmp_path / "current"
    current.symlink_to(tmp_path / "1")
    certificate = Certificate(current / "cert.pem", current / "key.pem", make=make)
    assert _served(certificate) == old.fingerprint
    (tmp_path / "next").symlink_to(tmp_path / "2")
    (tmp_path / "next").rename(current)
    await trio.sleep(CHECK_S)
    assert _served(certificate) == new.fingerprint


async def test_a_pair_that_cannot_be_used_changes_nothing_and_is_said_once(
    autojump_clock: "MockClock",
    tmp_path: Path,
    pairs: tuple[Pair, Pair],
    logged: list[Any],
    make: Make,
) -> None:
    old, new = pairs
    path, key = old.write(tmp_path)
    certificate = Certificate(path, key, make=make)
    path.write_bytes(new.certificate)  # and not yet its key
    for _ in range(5):
        await trio.sleep(CHECK_S)
        assert _served(certificate) == old.fingerprint
    assert [entry["log_level"] for entry in logged] == ["error"]
    assert logged[0]["reason"] == f"{path}: the key in {key} is not its own"
    path.unlink()
    for _ in range(5):
        await trio.sleep(CHECK_S)
        assert _served(certificate) == old.fingerprint
    assert [entry["reason"] for entry in logged[1:]] == [f"{path}: No such file or directory"]
    new.write(tmp_path)
    await trio.sleep(CHECK_S)
    assert _served(certificate) == new.fingerprint
    assert logged[-1]["event"] == "certificate reloaded"


async def test_the_key_may_be_in_the_same_file(
    autojump_clock: "MockClock", tmp_path: Path, pairs: tuple[Pair, Pair], make: Make
) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(pairs[0].certificate + pairs[0].key)
    assert _served(Certificate(both, make=make)) == pairs[0].fingerprint


@pytest.mark.parametrize(
    ("certificate", "key", "reason"),
    [
        (b"", b"", "{folder}/cert.pem: it or the key in {folder}/key.pem is not PEM"),
        (b"x", None, "{folder}/cert.pem: it or the key in {folder}/key.pem is not PEM"),
        (None, b"x", "{folder}/cert.pem: it or the key in {folder}/key.pem is not PEM"),
    ],
)
def test_what_is_no_certificate_is_named(
    tmp_path: Path,
    pairs: tuple[Pair, Pair],
    certificate: bytes | None,
    key: bytes | None,
    reason: str,
    make: Make,
) -> None:
    paths = pairs[0].write(tmp_path)
    for path, content in zip(paths, (certificate, key), strict=True):
        if content is not None:
            path.write_bytes(content)
    with pytest.raises(CertificateError) as caught:
        Certificate(*paths, make=make)
    assert str(caught.value) == reason.format(folder=tmp_path)


def test_files_that_cannot_be_read_are_named(
    tmp_path: Path, pairs: tuple[Pair, Pair], make: Make
) -> None:
    path, key = pairs[0].write(tmp_path)
    with pytest.raises(CertificateError, match=r"none\.pem: No such file or directory$"):
        Certificate(path, tmp_path / "none.pem", make=make)
    with pytest.raises(CertificateError, match=r": Is a directory$"):
        Certificate(tmp_path, key, make=make)


def test_an_encrypted_key_is_refused_and_nobody_is_asked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], make: Make
) -> None:
    with pytest.raises(CertificateError, match="the private key is encrypted"):
        Certificate(*make_pair(password=b"secret").write(tmp_path), make=make)
    assert capfd.readouterr() == ("", "")


# --- handshakes


class HoldApp:
    """Holds /hold, answers everything else."""

    def __init__(self) -> None:
        self.table: ResponseTable[str] = ResponseTable()

    def route(self, request: Request) -> Answer:
        if request.path == "/hold":
            return Hold(self.table.gate("held"), 60.0, error_response(503, "late"))
        return make_response(200, (b"ok",))


TCP_IDLE_S = 0.05
"""Nothing has moved between sockets for so long: the clock may jump."""


class TcpListener(trio.abc.Listener[trio.abc.Stream]):
    """What a `MemoryListener` is, over the loopback interface."""

    def __init__(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        listening.setblocking(False)
        self._listener = trio.SocketListener(trio.socket.from_stdlib_socket(listening))
        self.closed = False
        self.clients = contextlib.ExitStack()
        """Closes what was connected."""

    def open_stream(self) -> trio.SocketStream:
        """Connect; return the client's end."""
        client = socket.create_connection(self._listener.socket.getsockname())
        self.clients.enter_context(client)
        client.setblocking(False)
        return trio.SocketStream(trio.socket.from_stdlib_socket(client))

    async def accept(self) -> trio.abc.Stream:
        """Return the server's end of what was opened first."""
        return await self._listener.accept()

    async def aclose(self) -> None:
        """Note that it was closed."""
        self.closed = True
        await self._listener.aclose()


@dataclass
class Server:
    """A TLS server."""

    pair: Pair
    listener: TcpListener | MemoryListener
    app: HoldApp = field(default_factory=HoldApp)
    stop: trio.Event = field(default_factory=trio.Event)
    done: trio.Event = field(default_factory=trio.Event)
    figures: Figures = field(init=False)

    async def connect(
        self, *alpn: str, context: ssl.SSLContext | None = None
    ) -> "trio.SSLStream[trio.abc.Stream]":
        """Connect and shake hands."""
        stream: trio.SSLStream[trio.abc.Stream] = trio.SSLStream(
            self.listener.open_stream(),
            context or self.pair.client(*alpn),
            server_hostname="localhost",
        )
        await stream.do_handshake()
        return stream


@asynccontextmanager
async def serving(folder: Path, pair: Pair, make: Make, **limits: float) -> AsyncIterator[Server]:
    server = Server(pair, TcpListener() if make is make_native_context else MemoryListener())
    certificate = Certificate(*pair.write(folder), make=make)
    settings = HttpSettings(**limits)  # type: ignore[arg-type]

    async def serve(*, task_status: trio.TaskStatus[Figures] = trio.TASK_STATUS_IGNORED) -> None:
        await serve_http(
            [],
            server.app,
            settings=settings,
            tls_listeners=[server.listener],
            tls_context=certificate.context,
            stop=server.stop,
            task_status=task_status,
        )
        server.done.set()

    async with trio.open_nursery() as nursery:
        server.figures = await nursery.start(serve)
        yield server
        nursery.cancel_scope.cancel()
    if isinstance(server.listener, TcpListener):
        server.listener.clients.close()


Start = Callable[..., "contextlib.AbstractAsyncContextManager[Server]"]


@pytest.fixture
def start(
    autojump_clock: "MockClock", tmp_path: Path, pairs: tuple[Pair, Pair], make: Make
) -> Start:
    """Starts a server; its arguments are `HttpSettings`. The test itself asks for the clock too."""
    if make is make_native_context:
        autojump_clock.autojump_threshold = TCP_IDLE_S
    return partial(serving, tmp_path, pairs[0], make)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_alpn_chooses_http2(
    autojump_clock: "MockClock", start: Start, version: ssl.TLSVersion, pairs: tuple[Pair, Pair]
) -> None:
    async with start() as server:
        context = pairs[0].client("http/1.1", "h2")
        context.maximum_version = version
        stream = await server.connect(context=context)
        assert stream.selected_alpn_protocol() == "h2"
        assert stream.compression() is None
        peer = H2Peer(stream)
        await peer.start()
        for _ in range(3):
            assert (await peer.get("/x")).body == b"ok"


@pytest.mark.parametrize(
    ("alpn", "chosen"), [(("http/1.1",), "http/1.1"), ((), None), (("spdy/3", "http/1.0"), None)]
)
async def test_all_others_get_http_1(
    autojump_clock: "MockClock",
    start: Start,
    alpn: tuple[str, ...],
    chosen: str | None,
) -> None:
    async with start() as server:
        stream = await server.connect(*alpn)
        assert stream.selected_alpn_protocol() == chosen
        peer = HttpPeer(stream)
        assert (await peer.get("/x")).body == b"ok"
        assert (await peer.get("/y")).body == b"ok"


async def test_a_player_goes_to_the_reactor_and_back(
    autojump_clock: "MockClock", start: Start, make: Make
) -> None:
    """As in clear: with its TLS, in the middle of a connection. Python's own stays with h11."""
    is_native = make is make_native_context
    async with start() as server:
        peer = HttpPeer(await server.connect("http/1.1"))
        for path, adopted in (
            ("/x", 0),
            ("/api/streams/x.m4s", 1),
            ("/api/streams/y.m4s", 1),
            ("/x", 0),
            ("/api/streams/x.m4s", 1),
        ):
            assert (await peer.get(path)).body == b"ok"
            assert server.figures.adopted == (adopted if is_native else 0)
            assert server.figures.connections == 1


@pytest.mark.parametrize(
    ("version", "ciphers", "reason"),
    [
        (ssl.TLSVersion.TLSv1_1, "DEFAULT:@SECLEVEL=0", "unsupported protocol"),
        # No forward secrecy; no authenticated encryption.
        (ssl.TLSVersion.TLSv1_2, "AES128-SHA256:@SECLEVEL=0", "no shared cipher"),
        (ssl.TLSVersion.TLSv1_2, "ECDHE-ECDSA-AES128-SHA", "no shared cipher"),
    ],
)
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1:DeprecationWarning")
async def test_what_http2_forbids_is_not_spoken(
    autojump_clock: "MockClock",
    start: Start,
    pairs: tuple[Pair, Pair],
    version: ssl.TLSVersion,
    ciphers: str,
    reason: str,
    logged: list[Any],
) -> None:
    async with start() as server:
        context = pairs[0].client("h2")
        context.set_ciphers(ciphers)
        context.minimum_version = context.maximum_version = version
        with pytest.raises(trio.BrokenResourceError):
            await server.connect(context=context)
        assert reason in logged[0]["reason"].replace("_", " ").lower()
        await server.connect()  # nobody else is harmed


async def test_http_in_clear_at_the_tls_port_is_closed(
    autojump_clock: "MockClock", start: Start, logged: list[Any]
) -> None:
    async with start() as server:
        peer = HttpPeer(server.listener.open_stream())
        await peer.send("GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        with pytest.raises(EOFError):
            await peer.answer()
        await server.connect()
    assert [entry["event"] for entry in logged][:1] == ["tls handshake failed"]
    assert {entry["log_level"] for entry in logged} == {"debug"}


async def test_a_handshake_that_stalls_holds_a_place_for_a_time(
    autojump_clock: "MockClock", start: Start
) -> None:
    async with start(max_connections=2, handshake_timeout_s=10) as server:
        silent, half = server.listener.open_stream(), server.listener.open_stream()
        await half.send_all(b"\x16\x03\x01\x02\x00")
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        third = server.listener.open_stream()
        assert await third.receive_some() == b""  # at once, and without a word
        assert trio.current_time() == began
        for stream in (silent, half):
            with contextlib.suppress(trio.BrokenResourceError):
                assert await stream.receive_some() == b""
        assert trio.current_time() - began == pytest.approx(10)
        await server.connect()
        await server.connect()


async def test_drain_ends_handshakes_and_finishes_the_rest(
    autojump_clock: "MockClock", start: Start
) -> None:
    async with start() as server:
        stalled = server.listener.open_stream()
        one, two = HttpPeer(await server.connect()), H2Peer(await server.connect("h2"))
        await two.start()
        await one.send("GET /hold HTTP/1.1\r\nHost: test\r\n\r\n")
        held = await two.ask("/hold")
        await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        server.stop.set()
        assert await stalled.receive_some() == b""
        assert (await one.answer()).status == 503
        assert (await two.answer(held)).status == 503
        assert trio.current_time() == began
        assert await two.end_code() == NO_ERROR
        await server.done.wait()
        assert trio.current_time() - began <= HttpSettings().linger_timeout_s
        assert server.listener.closed


async def test_the_end_of_an_http2_connection_is_authenticated(
    autojump_clock: "MockClock", start: Start
) -> None:
    """close_notify comes before the end, or this side would call it broken."""
    async with start() as server:
        stream = await server.connect("h2")
        peer = H2Peer(stream)
        await peer.start()
        await peer.get("/x")
        server.stop.set()
        while peer.goaway is None:
            await peer.frame()
        assert await stream.receive_some() == b""


async def test_over_real_sockets(tmp_path: Path, pairs: tuple[Pair, Pair], make: Make) -> None:
    """Old connections keep the certificate they began with, new ones get the new one."""
    old, new = pairs
    certificate = Certificate(*old.write(tmp_path), make=make)
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    port = listeners[0].socket.getsockname()[1]

    async def connect(pair: Pair) -> H2Peer:
        stream = trio.SSLStream(
            await trio.open_tcp_stream("127.0.0.1", port),
            pair.client("h2"),
            server_hostname="localhost",
        )
        await stream.do_handshake()
        peer = H2Peer(stream)
        await peer.start()
        return peer

    async with trio.open_nursery() as nursery:
        await nursery.start(
            lambda task_status: serve_http(
                [],
                HoldApp(),
                tls_listeners=listeners,
                tls_context=certificate.context,
                task_status=task_status,
            )
        )
        first = await connect(old)
        assert (await first.get("/x")).body == b"ok"
        new.write(tmp_path)
        certificate._check_at_s = float("-inf")  # as if `CHECK_S` had passed
        second = await connect(new)
        assert (await second.get("/x")).body == b"ok"
        assert (await first.get("/y")).body == b"ok"
        for peer in (first, second):
            await peer.stream.aclose()
        nursery.cancel_scope.cancel()
