"""A publisher's connection, as its publication sees it (`origin.rtmp.publisher.Peer`)."""

import trio

from origin.rtmp.tcp_info import TcpFigures


class FakePeer:
    """How long it has been silent is the test's to say; how it was hung up on is kept."""

    def __init__(self, address: str = "") -> None:
        self.address = address
        self.app = "live"
        self.encoder = "FMLE/3.0"
        self.heard_s = trio.current_time()
        self.tcp: TcpFigures | None = None
        self.hung_up: list[tuple[str, bool]] = []

    @property
    def silent_s(self) -> float:
        return trio.current_time() - self.heard_s

    def tcp_figures(self) -> TcpFigures | None:
        return self.tcp

    def disconnect(self, reason: str, *, for_good: bool = False) -> None:
        self.hung_up.append((reason, for_good))
