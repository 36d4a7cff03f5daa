"""The bus: everybody who wants it hears each event, in order; chat must be asked for."""

from typing import Any

import pytest
from structlog.testing import capture_logs

from edge.events import EventBus, PlatformEvent


def test_who_listens_hears_all_but_chat_in_order() -> None:
    bus = EventBus(lambda: 5.0)
    heard: list[PlatformEvent] = []
    bus.listen(heard.append)
    bus.emit("stream.live", "s", a=1)
    bus.emit("chat.message", "s")
    bus.emit("stream.ended", "s")
    assert [(one.type, one.stream_id, one.at, one.data) for one in heard] == [
        ("stream.live", "s", 5000, {"a": 1}),
        ("stream.ended", "s", 5000, {}),
    ]
    assert heard[0].id != heard[1].id


@pytest.mark.parametrize("kind", ["chat.message", "stream.live"])
def test_what_somebody_wants_is_heard_for_as_long_as_it_is_wanted(kind: str) -> None:
    bus = EventBus()
    wanted = {kind}
    heard: list[str] = []
    bus.listen(lambda event: heard.append(event.type), wants=lambda kind: kind in wanted)
    assert bus.is_heard(kind)
    assert not bus.is_heard("alert.started")
    bus.emit(kind, "s")
    wanted.clear()
    assert not bus.is_heard(kind)
    bus.emit(kind, "s")
    assert heard == [kind]


def test_a_bug_in_a_listener_is_its_own() -> None:
    bus = EventBus()
    heard: list[Any] = []

    def broken(_event: PlatformEvent) -> None:
        raise RuntimeError("a bug")

    bus.listen(broken)
    bus.listen(heard.append)
    with capture_logs() as logs:
        bus.emit("stream.live", "s")
    assert len(heard) == 1
    assert [line["event"] for line in logs] == ["event not heard"]
