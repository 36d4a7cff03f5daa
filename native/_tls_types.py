"""The values that cross the border of ``_tls.pyx``; there is no Python twin, so they stand alone.

No protocol logic, which is OpenSSL's. Imports the standard library only.
"""

from enum import Enum


class TlsWant(Enum):
    """What a `TlsSocket` waits for before the same call can go on."""

    READ = "readable"
    """The descriptor must be readable."""
    WRITE = "writable"
    """It must be writable."""


class TlsError(Exception):
    """A context cannot be made, or a connection has failed; one line says why.

    The text is OpenSSL's reason or the system's, never a byte of a file or of the peer's.
    """


class EncryptedKeyError(TlsError):
    """The private key is encrypted; nobody is asked for its password."""
