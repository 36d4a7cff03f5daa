"""How what we send to an operator's program is signed: `Headrace-Signature: t=SECONDS,v1=HEX`.

The HMAC-SHA256 of "SECONDS.BODY"; the time lets the receiver refuse what is sent again. Chat's
moderation webhook, the events' and the publish webhook share it.

May import: nothing of ours.
"""

import hmac


def sign(body: bytes, secret: bytes, now_s: int) -> str:
    """Return the value of Headrace-Signature for a body.

    Args:
        body: What is sent, byte for byte.
        secret: What both sides know.
        now_s: UTC, seconds since 1970.
    """
    digest = hmac.digest(secret, b"%d." % now_s + body, "sha256")
    return f"t={now_s},v1={digest.hex()}"
