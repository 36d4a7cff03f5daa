"""A room with an outlet that remembers: what chat tests stand on."""

import json
from typing import Any

from control.chat_model import ChatMessage, Role, RoomSettings, StoredRoom
from edge.chat.room import Change, Room
from edge.chat.rules import Accept, Hold, Identity
from edge.chat.sampling import Sampling

NOW_MS = 1_790_000_000_000
STREAM = "stream1stream"


class Outlet:
    """Takes every frame, by tag."""

    def __init__(self) -> None:
        self.room: Room
        self.frames: dict[int, list[dict[str, Any]]] = {}
        self.broadcasts: list[dict[str, Any]] = []
        self.closed: dict[int, int] = {}

    def broadcast(self, room: int, payload: bytes) -> int:
        assert room == self.room.number
        frame = json.loads(payload)
        self.broadcasts.append(frame)
        for tag in self.room.members:
            self.frames.setdefault(tag, []).append(frame)
        return len(self.room.members)

    def send(self, tag: int, payload: bytes) -> bool:
        self.frames.setdefault(tag, []).append(json.loads(payload))
        return True

    def close(self, tag: int, code: int, reason: str) -> None:
        assert reason
        self.closed[tag] = code
        self.room.leave(tag)


class Rig:
    """One room at a time that the test sets."""

    def __init__(
        self, stored: StoredRoom | None = None, *, sampling: Sampling | None = None, **settings: Any
    ) -> None:
        self.out = Outlet()
        self.now_ms = NOW_MS
        self.notes = 0
        room_settings = RoomSettings(**({"slow_mode_s": 0} | settings))
        self.room = self.out.room = Room(
            7,
            STREAM,
            stored or StoredRoom(settings=room_settings),
            out=self.out,
            changed=self._note,
            sampling=sampling,
        )

    def _note(self) -> None:
        self.notes += 1

    def enter(self, tag: int, who: Identity) -> Identity:
        self.room.admit(who, self.now_ms)
        self.room.enter(tag, who)
        return who

    def say(self, who: Identity, content: str, **more: Any) -> ChatMessage:
        self.now_ms += 1000
        verdict = self.room.weigh(who, content, self.now_ms)
        if isinstance(verdict, Hold):
            return self.room.hold(who, verdict.content, verdict.reason, self.now_ms, **more)
        assert isinstance(verdict, Accept)
        return self.room.post(who, verdict.content, self.now_ms, **more)

    def flush(self) -> list[Change]:
        changes = self.room.take()
        self.room.publish(changes, self.now_ms)
        return changes

    def shown(self, tag: int) -> list[str]:
        """Contents of the messages that somebody was sent."""
        frames = self.out.frames.get(tag, [])
        batches = [one for one in frames if one["type"] == "messages"]
        return [message["content"] for batch in batches for message in batch["messages"]]

    def types(self, tag: int) -> list[str]:
        return [frame["type"] for frame in self.out.frames.get(tag, [])]


def viewer(name: str, **more: Any) -> Identity:
    return Identity(user_id=f"u-{name.lower()}", username=name, **more)


def guest(name: str, network: str = "net") -> Identity:
    return Identity(user_id=f"guest_{name}", username=name, is_guest=True, network=network)


MODERATOR = viewer("Mona", role=Role.MODERATOR)
BROADCASTER = viewer("Bro", role=Role.BROADCASTER)
ADMIN = viewer("Ada", role=Role.ADMIN)
