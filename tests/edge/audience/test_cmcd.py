"""CMCD is read as CTA-5004 has it, and hostile text gives nothing."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.audience.cmcd import MAX_CHARS, MAX_SID_CHARS, NOTHING, Sample, parse_cmcd


@pytest.mark.parametrize(
    ("text", "sample"),
    [
        ("", NOTHING),
        ('sid="6e2fb550-c457-11e9-bb97"', Sample("6e2fb550-c457-11e9-bb97")),
        # The examples of CTA-5004, section 4.
        ("bl=21300,br=3200,bs,mtp=25400", Sample(None, 3200, 21300, 25400, True)),
        ('br=3200,bs,d=4004,mtp=2,sf=h,sid="6e2f",st=v', Sample("6e2f", 3200, None, 2, True)),
        ("d=4004,com.example-myNumericKey=500,bs", Sample(starved=True)),
        ('com.example-key=500,com.example-text="a, b=c",br=1', Sample(None, 1)),
        ('nor="..%2F300kbps%2Ftrack.m4v",sid="6e2f"', Sample("6e2f")),
        ('sid="a\\"b\\\\c"', Sample('a"b\\c')),
        ("su,bl=0", Sample(None, None, 0, urgent=True)),
        ("bs=true", Sample(starved=True)),
        ("bs=false", NOTHING),
        ("br=1.5", Sample(None, 1.5)),
        # A value that cannot be gives nothing of its key.
        ("br=-1,bl=10", Sample(None, None, 10)),
        ("br=1e9,bl=10", Sample(None, None, 10)),
        ("br=99999999,bl=10", Sample(None, None, 10)),
        ("br,bl=10", Sample(None, None, 10)),
        ('br="5",bl=10', Sample(None, None, 10)),
        ("sid=token,bl=10", Sample(None, None, 10)),
        ('sid="",bl=10', Sample(None, None, 10)),
        (f'sid="{"x" * MAX_SID_CHARS}"', Sample("x" * MAX_SID_CHARS)),
        (f'sid="{"x" * (MAX_SID_CHARS + 1)}",bl=10', Sample(None, None, 10)),
        ('sid="a\nb",bl=10', Sample(None, None, 10)),
        # A text that cannot be read gives nothing at all.
        ('br=1,sid="open', NOTHING),
        ("br=1,br=2", NOTHING),
        ("br=1,,bl=1", NOTHING),
        ("=1", NOTHING),
        ("br =1", NOTHING),
        (",".join(f"k{number}" for number in range(33)), NOTHING),
        ("x" * (MAX_CHARS + 1), NOTHING),
    ],
)  # fmt: skip
def test_what_it_says(text: str, sample: Sample) -> None:
    if len(quote(text)) <= MAX_CHARS:
        assert parse_cmcd(quote(text, safe="")) == sample
    assert parse_cmcd(text.replace("%2F", "/")) == sample


@pytest.mark.parametrize("text", ["%FF", "sid=%22%C3%22", "%zz"])
def test_bad_escapes(text: str) -> None:
    assert parse_cmcd(text) == NOTHING


@given(st.text(max_size=200) | st.text(alphabet='abrs=",\\%2C0.', max_size=600))
def test_any_text_gives_what_is_in_bounds(text: str) -> None:
    sample = parse_cmcd(text)
    assert sample.sid is None or 0 < len(sample.sid) <= MAX_SID_CHARS
    for value in (sample.bitrate_kbps, sample.buffer_ms, sample.throughput_kbps):
        assert value is None or 0 <= value <= 10_000_000


@given(
    st.integers(0, 10**7),
    st.integers(0, 10**6),
    st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=64),
)
def test_round_trip(bitrate: int, buffer: int, sid: str) -> None:
    escaped = sid.replace("\\", "\\\\").replace('"', '\\"')
    text = quote(f'br={bitrate},bl={buffer},sid="{escaped}"', safe="")
    expected = Sample(sid, bitrate, buffer) if len(text) <= MAX_CHARS else NOTHING
    assert parse_cmcd(text) == expected
