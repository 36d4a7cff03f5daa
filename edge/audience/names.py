"""What viewers are called here: hashes, so that nothing that is kept says who they are.

All names are 64 bits, as 16 hexadecimal digits. That of a player which names itself with random
text (a page's viewerId, a CMCD session id) is the same in every process, so that its signs meet
wherever they are heard. Those of networks and of bare players are keyed: four billion addresses are
tried in minutes by whoever has the key, and only by him.

Pure. May import: nothing of ours.
"""

from hashlib import blake2b
from typing import Annotated, Final

import msgspec

_BYTES: Final = 8

Name = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{16}\Z")]
"""Type of a field."""


def name_of_player(own_name: str) -> str:
    """Name a player that names itself.

    Args:
        own_name: Its text, of any content.
    """
    return blake2b(own_name.encode("utf-8", "replace"), digest_size=_BYTES).hexdigest()


class Namer:
    """Names networks, and the players there that do not name themselves.

    Args:
        secret: Whoever shares it gives the same names; of any length but 0.
    """

    def __init__(self, secret: bytes) -> None:
        if not secret:
            raise ValueError("without a secret the names would tell the addresses")
        self._key = blake2b(secret, digest_size=32).digest()

    def network(self, network: str) -> str:
        """Name a network, as `edge.http.network.network_of` gives it."""
        return self._hash(network.encode())

    def bare(self, network: str, agent: int) -> str:
        """Name all players of one kind in one network.

        Args:
            network: As for `network`.
            agent: Hash of their User-Agent.
        """
        return self._hash(b"%b\n%d" % (network.encode(), agent))

    def _hash(self, text: bytes) -> str:
        return blake2b(text, digest_size=_BYTES, key=self._key).hexdigest()
