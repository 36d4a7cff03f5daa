from typing import final

from typing_extensions import Buffer

from native._types import RawMessage

@final
class ChunkReader:
    def __init__(
        self,
        *,
        max_message_bytes: int,
        max_buffered_bytes: int,
        max_chunk_streams: int,
        max_messages_per_feed: int = 8192,
    ) -> None: ...
    @property
    def chunk_size(self) -> int: ...
    @property
    def buffered_bytes(self) -> int: ...
    def set_limits(
        self, *, max_message_bytes: int, max_buffered_bytes: int, max_chunk_streams: int
    ) -> None: ...
    def feed(self, data: Buffer, out: list[RawMessage]) -> None: ...
