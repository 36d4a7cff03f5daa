"""Kernels on bytes, one for each hot path, and the selector between their two implementations.

``HEADRACE_PURE=1`` selects the Python twins (``_chunk_py``, ``_fragment_py``, ``_request_py``),
which are the readable specifications; otherwise the Cython builds are imported, and a missing or
broken build is an ``ImportError``: nothing falls back in silence. This module is the only importer
of either. The package imports nothing else of the project and keeps no policy: limits are
arguments.
"""

import os
from typing import TYPE_CHECKING, Literal

from native._fanout_types import FanoutCounters, FanoutEvent, FanoutLimits
from native._reactor_types import ReactorAccount, ReactorCounters, ReactorEvent, ReactorLimits
from native._tls_types import EncryptedKeyError, TlsError, TlsWant
from native._types import (
    ChunkError,
    FragmentSample,
    NotPlain,
    PlainRequest,
    RawMessage,
    TrackRun,
)

IMPLEMENTATION: Literal["c", "py"]
"""Which of the two the names below are."""

# mypy sees the Python twins; that the stubs of the Cython twins say the same is tested
# (tests/native/test_selector.py).
if TYPE_CHECKING or os.environ.get("HEADRACE_PURE") == "1":
    from native._chunk_py import ChunkReader
    from native._fragment_py import write_fragment
    from native._request_py import fnv1a, scan_request

    IMPLEMENTATION = "py"
else:
    from native._chunk import ChunkReader
    from native._fragment import write_fragment
    from native._request import fnv1a, scan_request

    IMPLEMENTATION = "c"

# These have no twin here: without them `edge.http` serves with h11 and with Python's own ssl, and
# `edge.chat` sends with `edge.chat.plain_fanout`.
if TYPE_CHECKING or os.environ.get("HEADRACE_PURE") != "1":
    from native._fanout import Fanout
    from native._reactor import Blob, Reactor
    from native._tls import TlsContext, TlsSocket

__all__ = [
    "IMPLEMENTATION",
    "Blob",
    "ChunkError",
    "ChunkReader",
    "EncryptedKeyError",
    "Fanout",
    "FanoutCounters",
    "FanoutEvent",
    "FanoutLimits",
    "FragmentSample",
    "NotPlain",
    "PlainRequest",
    "RawMessage",
    "Reactor",
    "ReactorAccount",
    "ReactorCounters",
    "ReactorEvent",
    "ReactorLimits",
    "TlsContext",
    "TlsError",
    "TlsSocket",
    "TlsWant",
    "TrackRun",
    "fnv1a",
    "scan_request",
    "write_fragment",
]
