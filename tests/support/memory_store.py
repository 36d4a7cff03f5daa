"""A chat store in memory, with a switch that makes it fail."""

from collections.abc import Sequence

from control import StoreError
from control.chat_model import AuditEntry, ChatMessage, RoomSettings, Sanction, StoredRoom


class MemoryStore:
    """What `control.chat_store.ChatStore` promises, for as long as the test lasts."""

    def __init__(self) -> None:
        self.is_broken = False
        self.settings = RoomSettings(slow_mode_s=0)
        self.sanctions: dict[str, Sanction] = {}
        self.moderators: dict[str, str] = {}
        self.pinned: ChatMessage | None = None
        self.kept: list[ChatMessage] = []
        self.entries: list[AuditEntry] = []
        self.batches: list[int] = []
        self.loads = 0
        self.sweeps = 0

    def _touch(self) -> None:
        if self.is_broken:
            raise StoreError("the disk is full")

    async def load_room(self, stream_id: str, *, history: int, now_ms: int) -> StoredRoom:
        self._touch()
        self.loads += 1
        return StoredRoom(
            settings=self.settings,
            sanctions=tuple(self.sanctions.values()),
            moderators=tuple(self.moderators.items()),
            pinned=self.pinned,
            history=tuple(self.kept[-history:]),
            last_id=self.kept[-1].id if self.kept else "",
        )

    async def add_messages(self, messages: Sequence[ChatMessage]) -> None:
        self._touch()
        self.batches.append(len(messages))
        self.kept += messages

    async def messages(
        self,
        stream_id: str,
        *,
        limit: int,
        before: str | None = None,
        after: str | None = None,
    ) -> list[ChatMessage]:
        self._touch()
        found = [
            one
            for one in self.kept
            if (before is None or one.id < before) and (after is None or one.id > after)
        ]
        return found[-limit:]

    async def replay(
        self, stream_id: str, *, since_ms: int, until_ms: int, limit: int
    ) -> list[ChatMessage]:
        return [one for one in self.kept if since_ms <= one.timestamp < until_ms][:limit]

    async def delete_messages(
        self,
        stream_id: str,
        *,
        ids: Sequence[str] | None = None,
        user_id: str | None = None,
        everything: bool = False,
    ) -> int:
        self._touch()
        before = len(self.kept)
        self.kept = [
            one
            for one in self.kept
            if not (everything or one.user_id == user_id or one.id in (ids or ()))
        ]
        return before - len(self.kept)

    async def save_settings(self, stream_id: str, settings: RoomSettings) -> None:
        self._touch()
        self.settings = settings

    async def save_pin(self, stream_id: str, message: ChatMessage | None) -> None:
        self._touch()
        self.pinned = message

    async def put_sanction(self, stream_id: str, sanction: Sanction) -> None:
        self._touch()
        self.sanctions[sanction.user_id] = sanction

    async def drop_sanction(self, stream_id: str, user_id: str) -> None:
        self._touch()
        self.sanctions.pop(user_id, None)

    async def set_moderator(
        self, stream_id: str, user_id: str, username: str, is_moderator: bool
    ) -> None:
        self._touch()
        if is_moderator:
            self.moderators[user_id] = username
        else:
            self.moderators.pop(user_id, None)

    async def add_audit(self, stream_id: str, entry: AuditEntry) -> None:
        self._touch()
        self.entries.append(entry)

    async def audit(
        self, stream_id: str, *, limit: int, before: int | None = None
    ) -> list[tuple[int, AuditEntry]]:
        self._touch()
        rows = [row for row in enumerate(self.entries, 1) if before is None or row[0] < before]
        return rows[::-1][:limit]

    async def sweep(self, now_ms: int, *, keep_ms: int, audit_keep_ms: int) -> int:
        self._touch()
        self.sweeps += 1
        return 0
