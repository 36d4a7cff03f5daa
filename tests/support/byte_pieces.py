"""The same bytes in other pieces: a network may cut them anywhere."""

import itertools


def split(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut at any places, taken modulo the length; equal places make empty pieces."""
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    return [data[start:end] for start, end in itertools.pairwise(edges)]


def single(data: bytes) -> list[bytes]:
    """One piece for each byte."""
    return [bytes([byte]) for byte in data]
