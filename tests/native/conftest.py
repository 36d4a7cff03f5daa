"""Both implementations of the kernels, side by side, whichever the selector picked."""

import importlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from native import ChunkReader, NotPlain, PlainRequest, TrackRun


@dataclass(frozen=True)
class Twin:
    """One implementation of everything in `native`."""

    name: str
    chunk_reader: "type[ChunkReader]"
    write_fragment: "Callable[[int, Sequence[TrackRun]], bytes]"
    scan_request: "Callable[..., PlainRequest | NotPlain]"
    fnv1a: "Callable[[bytes], int]"

    def reader(
        self,
        *,
        max_message_bytes: int = 0xFFFFFF,
        max_buffered_bytes: int = 0x2000000,
        max_chunk_streams: int = 64,
        max_messages_per_feed: int = 8192,
    ) -> "ChunkReader":
        """A chunk reader whose limits are out of the way unless given."""
        return self.chunk_reader(
            max_message_bytes=max_message_bytes,
            max_buffered_bytes=max_buffered_bytes,
            max_chunk_streams=max_chunk_streams,
            max_messages_per_feed=max_messages_per_feed,
        )


def _load(name: str) -> Twin:
    suffix = "_py" if name == "py" else ""
    if name == "c" and os.environ.get("HEADRACE_PURE") == "1":
        pytest.skip("HEADRACE_PURE=1: the extensions need not be built")
    return Twin(
        name=name,
        chunk_reader=importlib.import_module(f"native._chunk{suffix}").ChunkReader,
        write_fragment=importlib.import_module(f"native._fragment{suffix}").write_fragment,
        scan_request=importlib.import_module(f"native._request{suffix}").scan_request,
        fnv1a=importlib.import_module(f"native._request{suffix}").fnv1a,
    )


@pytest.fixture(scope="session", params=["py", "c"])
def twin(request: pytest.FixtureRequest) -> Twin:
    """Each implementation in turn."""
    return _load(request.param)


@pytest.fixture(scope="session")
def python_twin() -> Twin:
    """The specification."""
    return _load("py")


@pytest.fixture(scope="session")
def c_twin() -> Twin:
    """The Cython build."""
    return _load("c")
