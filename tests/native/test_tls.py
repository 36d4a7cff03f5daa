"""TLS on a descriptor: contexts, handshakes, and whose the descriptor is.

The client is Python's `ssl` on the other end of a pair of sockets. Where only OpenSSL's own tool
can misbehave, it is the client. Bytes and ends are tests/native/test_tls_bytes.py.
"""

import contextlib
import gc
import os
import select
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from certificates import Pair, make_pair
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from tls_clients import read, shake_hands, wrap_client

if os.environ.get("HEADRACE_PURE") == "1":
    pytest.skip("HEADRACE_PURE=1: TLS is Python's ssl", allow_module_level=True)

from native import EncryptedKeyError, TlsContext, TlsError, TlsSocket, TlsWant

CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"
VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture(scope="module")
def pair() -> Pair:
    return make_pair()


@pytest.fixture
def files(tmp_path: Path, pair: Pair) -> tuple[bytes, bytes]:
    chain, key = pair.write(tmp_path)
    return os.fsencode(chain), os.fsencode(key)


@pytest.fixture
def context(files: tuple[bytes, bytes]) -> TlsContext:
    return TlsContext(*files, ciphers=CIPHERS, alpn=[b"h2", b"http/1.1"])


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Ours and the peer's end of a connection; ours is detached where TLS takes it."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    with ours, theirs:
        yield ours, theirs


def begin(context: TlsContext, ours: socket.socket) -> TlsSocket:
    tls = TlsSocket(context, ours.fileno())
    ours.detach()
    return tls


# --- contexts


def test_a_key_that_is_encrypted_is_refused_and_nobody_is_asked(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    chain, key = make_pair(password=b"secret").write(tmp_path)
    with pytest.raises(EncryptedKeyError, match=r"^the private key is encrypted$"):
        TlsContext(os.fsencode(chain), os.fsencode(key), ciphers=CIPHERS)
    assert capfd.readouterr() == ("", "")


def test_a_key_that_belongs_to_another_certificate(
    tmp_path: Path, files: tuple[bytes, bytes]
) -> None:
    of_its_kind = make_pair().key
    of_another = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    for pem in (of_its_kind, of_another):
        (tmp_path / "other.pem").write_bytes(pem)
        with pytest.raises(TlsError, match=r"^key values mismatch$"):
            TlsContext(files[0], os.fsencode(tmp_path / "other.pem"), ciphers=CIPHERS)


@pytest.mark.parametrize("which", [0, 1])
@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"top-secret",
        b"-----BEGIN PRIVATE KEY-----\ntop-secret\n",
        # An encrypted certificate: there is such a thing, and OpenSSL would ask for its password.
        b"-----BEGIN CERTIFICATE-----\nProc-Type: 4,ENCRYPTED\n"
        b"DEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\n"
        b"top+secret==\n-----END CERTIFICATE-----\n",
    ],
)
def test_what_is_no_pem_is_one_line_without_what_is_in_it(
    files: tuple[bytes, bytes], which: int, content: bytes
) -> None:
    Path(os.fsdecode(files[which])).write_bytes(content)
    with pytest.raises(TlsError) as caught:
        TlsContext(*files, ciphers=CIPHERS)
    text = str(caught.value)
    assert text
    assert "\n" not in text
    assert "secret" not in text
    assert os.fsdecode(files[which]) not in text


def test_what_is_not_there_is_said_in_the_words_of_the_system(
    files: tuple[bytes, bytes],
) -> None:
    with pytest.raises(TlsError, match=r"^No such file or directory$"):
        TlsContext(files[0] + b"x", files[1], ciphers=CIPHERS)
    with pytest.raises(TlsError, match=r"^No such file or directory$"):
        TlsContext(files[0], files[1] + b"x", ciphers=CIPHERS)


def test_arguments_that_openssl_cannot_take(files: tuple[bytes, bytes]) -> None:
    with pytest.raises(TlsError, match=r"^no cipher match$"):
        TlsContext(*files, ciphers=b"NONE-OF-THESE")
    for alpn in ([b""], [b"x" * 256], [b"x" * 70_000], [b"x" * 255] * 256):
        with pytest.raises(ValueError, match=r"^a protocol is empty, or they are too long$"):
            TlsContext(*files, ciphers=CIPHERS, alpn=alpn)
    TlsContext(*files, ciphers=CIPHERS, alpn=[b"x" * 255] * 255 + [b"y" * 254])


# --- handshakes


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (("h2", "http/1.1"), "h2"),
        (("http/1.1", "h2"), "h2"),
        (("http/1.1",), "http/1.1"),
        (("spdy/3",), None),
        ((), None),
    ],
)
def test_alpn_is_ours_to_choose(
    context: TlsContext,
    pair: Pair,
    ends: tuple[socket.socket, socket.socket],
    version: ssl.TLSVersion,
    offered: tuple[str, ...],
    chosen: str | None,
) -> None:
    tls = begin(context, ends[0])
    assert tls.selected_alpn is None
    assert tls.handshake() is TlsWant.READ
    del context  # a renewed certificate has taken its place
    gc.collect()
    with wrap_client(pair, ends[1], *offered, maximum_version=version) as client:
        shake_hands(tls.handshake, client)
        assert client.version() == {772: "TLSv1.3", 771: "TLSv1.2"}[version]
        assert client.compression() is None
        assert client.selected_alpn_protocol() == tls.selected_alpn == chosen


def test_without_alpn_nothing_is_chosen(
    files: tuple[bytes, bytes], pair: Pair, ends: tuple[socket.socket, socket.socket]
) -> None:
    tls = begin(TlsContext(*files, ciphers=CIPHERS), ends[0])
    with wrap_client(pair, ends[1], "h2") as client:
        shake_hands(tls.handshake, client)
        assert tls.selected_alpn is None


def test_a_handshake_byte_by_byte(
    context: TlsContext, pair: Pair, ends: tuple[socket.socket, socket.socket]
) -> None:
    tls = begin(context, ends[0])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = pair.client().wrap_bio(incoming, outgoing, server_hostname="localhost")
    ours: TlsWant | None = TlsWant.READ
    while ours is not None:
        with contextlib.suppress(ssl.SSLWantReadError):
            client.do_handshake()
        for byte in outgoing.read():
            assert ours is TlsWant.READ
            ends[1].send(bytes((byte,)))
            ours = tls.handshake()
        with contextlib.suppress(BlockingIOError):
            incoming.write(ends[1].recv(65536))
    assert client.version() == "TLSv1.3"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "http request"),
        (bytes(64), "wrong version number"),
        (b"\x16\x03\x01\x00\x05\x02\x00\x00\x01\x00", "unexpected message"),
    ],
)
def test_what_is_no_handshake_fails_with_a_reason(
    context: TlsContext, ends: tuple[socket.socket, socket.socket], said: bytes, reason: str
) -> None:
    tls = begin(context, ends[0])
    ends[1].send(said)
    with pytest.raises(TlsError) as caught:
        tls.handshake()
    assert str(caught.value) == reason
    with pytest.raises(TlsError):
        tls.shutdown()


def test_a_peer_that_leaves_before_its_handshake(
    context: TlsContext, ends: tuple[socket.socket, socket.socket]
) -> None:
    tls = begin(context, ends[0])
    ends[1].close()
    with pytest.raises(TlsError, match=r"^the peer closed the connection$"):
        tls.handshake()


def test_a_failure_leaves_nothing_in_the_queue_of_errors(
    context: TlsContext, pair: Pair, ends: tuple[socket.socket, socket.socket]
) -> None:
    """Python's `ssl` reads the same queue, and would call its own connection broken."""
    tls = begin(context, ends[0])
    client = wrap_client(pair, ends[1])
    shake_hands(tls.handshake, client)
    read(client)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with theirs:
        broken = begin(context, ours)
        theirs.send(b"GET / HTTP/1.1\r\n\r\n")
        with pytest.raises(TlsError):
            broken.handshake()
        broken.close()
    with client, pytest.raises(ssl.SSLWantReadError):
        client.recv(1)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_session_is_resumed_by_its_ticket(
    context: TlsContext, pair: Pair, version: ssl.TLSVersion
) -> None:
    session: ssl.SSLSession | None = None
    client_context = pair.client()
    client_context.maximum_version = version
    for is_second in (False, True):
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        theirs.setblocking(False)
        tls = begin(context, ours)
        with client_context.wrap_socket(
            theirs,
            server_hostname="localhost",
            do_handshake_on_connect=False,
            session=session,
        ) as client:
            shake_hands(tls.handshake, client)
            read(client)  # tickets of TLS 1.3 come after the handshake
            assert client.session_reused is is_second
            session = client.session
        tls.close()


# --- whose the descriptor is


def is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def test_a_descriptor_that_would_wait_is_refused_and_stays_its_owners(
    context: TlsContext, ends: tuple[socket.socket, socket.socket]
) -> None:
    ends[0].setblocking(True)
    with pytest.raises(ValueError, match=r"is not open and non-blocking$"):
        TlsSocket(context, ends[0].fileno())
    with pytest.raises(ValueError, match=r"^descriptor -1 is not open"):
        TlsSocket(context, -1)
    gc.collect()
    assert is_open(ends[0].fileno())


def test_closed_is_closed(context: TlsContext, ends: tuple[socket.socket, socket.socket]) -> None:
    tls = begin(context, ends[0])
    fd = tls.fd
    with pytest.raises(ValueError, match=r"^it has a descriptor already$"):
        tls.__init__(context, fd)
    tls.close()
    assert not is_open(fd)
    assert tls.fd == -1
    tls.close()
    calls: list[Callable[[], object]] = [
        tls.handshake,
        lambda: tls.receive(1),
        lambda: tls.send(b"x"),
        tls.shutdown,
        lambda: tls.pending,
        lambda: tls.selected_alpn,
    ]
    for call in calls:
        with pytest.raises(ValueError, match=r"^the TLS connection is closed$"):
            call()


def test_what_is_forgotten_is_closed(
    context: TlsContext, ends: tuple[socket.socket, socket.socket]
) -> None:
    tls = begin(context, ends[0])
    fd = tls.fd
    del tls
    gc.collect()
    assert not is_open(fd)


# --- what another server than ours might allow


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
@pytest.mark.parametrize(
    ("version", "command", "expected"),
    [
        # A new handshake within the connection would be the peer's way to make us compute.
        ("-tls1_2", b"R\n", b"no renegotiation"),
        # New keys: the peer's, and it asks for ours, which come with the next bytes we send.
        ("-tls1_3", b"K\n", b"answer"),
    ],
)
def test_renegotiation_is_refused_and_new_keys_are_taken(
    context: TlsContext, version: str, command: bytes, expected: bytes
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        client = subprocess.Popen(
            ["openssl", "s_client", version, "-connect", address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        listener.settimeout(20)
        ours, _ = listener.accept()
    ours.setblocking(False)
    tls = begin(context, ours)
    with client:
        while (want := tls.handshake()) is not None:
            wait(tls, want)
        assert client.stdin is not None
        with contextlib.suppress(TlsError):  # a refused client may break off
            for line in (command, b"question\n"):  # of one read it would take the first line only
                client.stdin.write(line)
                client.stdin.flush()
                wait(tls, TlsWant.READ)
                got = tls.receive(100)
            assert got == b"question\n"
            assert tls.send(b"answer\n") == 7
            assert tls.shutdown() is None
        tls.close()
        output, _ = client.communicate(timeout=20)
    assert expected in output


def wait(tls: TlsSocket, want: TlsWant) -> None:
    """Until the descriptor is ready; a client that hangs fails the test."""
    reading, writing = ([tls.fd], []) if want is TlsWant.READ else ([], [tls.fd])
    assert any(select.select(reading, writing, [], 20)), "the client hangs"
