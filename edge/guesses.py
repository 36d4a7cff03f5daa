"""How often somebody may show a credential that opens nothing.

Secrets here have 128 random bits, so that nobody finds one by guessing. What is bounded is what the
guesses cost (a look-up in the store each), and the noise that they make.

What counts as one address: of IPv6 the first 64 bits. This machine is exempt: a proxy on it may
speak for everybody. Time is an argument.

Bounds: `MAX_NETWORKS`; who has guessed longest ago is forgotten first. May import: `edge.http`.
"""

from collections import OrderedDict
from typing import Final

from edge.http.budget import Budget
from edge.http.network import is_local, network_of

GUESSES_BURST: Final = 20
"""Wrong ones at once: somebody looks for the right one of several keys."""

GUESSES_PER_S: Final = 1.0
"""The same, each second."""

MAX_NETWORKS: Final = 10_000
"""Networks that are remembered."""


class Guesses:
    """Counts wrong credentials by network."""

    def __init__(self) -> None:
        self._budgets: OrderedDict[str, Budget] = OrderedDict()
        self.wrong = 0
        """Wrong credentials so far, those from this machine too."""

    def __len__(self) -> int:
        """How many networks are remembered."""
        return len(self._budgets)

    def may_try(self, address: str, now_s: float) -> bool:
        """Whether a credential from there is looked at.

        Args:
            address: IP address; "" for a peer that has none.
            now_s: Any clock that does not go back.
        """
        budget = self._budgets.get(network_of(address))
        return budget is None or budget.has(now_s)

    def note_wrong(self, address: str, now_s: float) -> None:
        """A credential from there opened nothing."""
        self.wrong += 1
        if is_local(address):
            return
        network = network_of(address)
        budget = self._budgets.pop(network, None) or Budget(GUESSES_BURST, GUESSES_PER_S)
        budget.spend(now_s)
        self._budgets[network] = budget
        if len(self._budgets) > MAX_NETWORKS:
            self._budgets.popitem(last=False)
