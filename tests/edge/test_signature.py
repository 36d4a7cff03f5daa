"""The signature of what is sent to an operator's program, against values made with openssl."""

import pytest

from edge.signature import sign

# printf '%s' '1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret
KNOWN = "49f24e537407743fa4a0242bb63b94b9a47ee99cbbe071ccd8a22550ae411686"


def test_is_the_hmac_of_time_and_body() -> None:
    assert sign(b'{"a":1}', b"secret", 1_700_000_000) == f"t=1700000000,v1={KNOWN}"


@pytest.mark.parametrize(
    ("body", "secret", "now_s"),
    [
        (b'{"a":2}', b"secret", 1_700_000_000),
        (b'{"a":1}', b"Secret", 1_700_000_000),
        (b'{"a":1}', b"secret", 1_700_000_001),
    ],
    ids=["body", "secret", "time"],
)
def test_depends_on_everything(body: bytes, secret: bytes, now_s: int) -> None:
    assert sign(body, secret, now_s).partition(",v1=")[2] != KNOWN
