from collections.abc import Sequence

from native._types import TrackRun

def write_fragment(sequence_number: int, runs: Sequence[TrackRun]) -> bytes: ...
