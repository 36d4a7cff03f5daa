"""Self-signed certificates for tests, and clients that trust exactly one of them."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID


@dataclass(frozen=True, slots=True)
class Pair:
    """A certificate for "localhost" and its key, as PEM."""

    certificate: bytes
    key: bytes
    fingerprint: bytes
    """SHA-256 of the certificate's DER."""

    def write(self, folder: Path) -> tuple[Path, Path]:
        """Write both, over what is there; return their paths."""
        certificate, key = folder / "cert.pem", folder / "key.pem"
        certificate.write_bytes(self.certificate)
        key.write_bytes(self.key)
        return certificate, key

    def client(self, *alpn: str) -> ssl.SSLContext:
        """Make a client that trusts this certificate alone, and offers these protocols."""
        context = ssl.create_default_context(cadata=self.certificate.decode())
        if alpn:
            context.set_alpn_protocols(list(alpn))
        return context


def make_pair(*, password: bytes | None = None) -> Pair:
    """Make a certificate that is valid for an hour.

    Args:
        password: Encrypts the key; None does not.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=5))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encryption: serialization.KeySerializationEncryption = serialization.NoEncryption()
    if password is not None:
        encryption = serialization.BestAvailableEncryption(password)
    return Pair(
        certificate.public_bytes(serialization.Encoding.PEM),
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption
        ),
        certificate.fingerprint(hashes.SHA256()),
    )
