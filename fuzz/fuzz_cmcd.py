"""CMCD: any text gives a sample, and what it says is within its bounds.

Nothing is raised. A sample is that of its text escaped anew, in lower-case escapes too; keys that
nobody reads change nothing in front of the others; a name is one that could stand in a log.

Input: the value of a query's ``CMCD``, as a client sends it.
"""

from urllib.parse import quote, unquote

from edge.audience.cmcd import (
    MAX_BUFFER_MS,
    MAX_CHARS,
    MAX_KBPS,
    MAX_SID_CHARS,
    NOTHING,
    Sample,
    parse_cmcd,
)

OTHER_KEY = "rtp=15000,"


def check_bounds(sample: Sample) -> None:
    if sample.sid is not None:
        assert 0 < len(sample.sid) <= MAX_SID_CHARS
        assert sample.sid.isprintable()
    for rate in (sample.bitrate_kbps, sample.throughput_kbps):
        assert rate is None or 0 <= rate <= MAX_KBPS
    assert sample.buffer_ms is None or 0 <= sample.buffer_ms <= MAX_BUFFER_MS


def test_one_input(data: bytes) -> None:
    text = data.decode("latin-1")
    sample = parse_cmcd(text)
    check_bounds(sample)
    if sample == NOTHING:
        return
    decoded = unquote(text, errors="strict")
    for again in (quote(decoded, safe=""), "".join(f"%{byte:02x}" for byte in decoded.encode())):
        if len(again) <= MAX_CHARS:
            assert parse_cmcd(again) == sample
    if "rtp" not in decoded and len(OTHER_KEY) + len(text) <= MAX_CHARS:
        assert parse_cmcd(OTHER_KEY + text) in (sample, NOTHING)  # there may be 32 already
