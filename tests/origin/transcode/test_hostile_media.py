"""Hostile H.264 and AAC through the origin, in process: from a publisher's tags to parts.

The origin may refuse a publisher with a reason (`MediaError`, `RemoteProtocolError`). Anything else
is a bug.
"""

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import hostile_media
import pytest
from hostile_media import (
    ALL,
    BROKEN,
    HARMLESS_TO_PACKAGING,
    ORDER,
    POISON,
    RECORDS,
    SOUND,
    good_media,
    pictures_of,
    spoil,
    units_of,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from media_rules import judge
from rtmp_publishers import Media

from hls import MediaError, MediaEvent, Part, Sample, Segmenter
from hls.h264 import AvcConfig, scan_nal_units
from origin.bridge import Bridge, MediaMessage, Output, Tracks
from rtmpcore import AudioMessage, RemoteProtocolError, VideoMessage

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session")
def media() -> Media:
    return good_media()


# -- the maker


@pytest.fixture(scope="session")
def samples(media: Media) -> list[bytes]:
    return [data for *_, data in pictures_of(media)]


def test_a_seed_spoils_alike(media: Media) -> None:
    assert spoil(media, 1) == spoil(media, 1)
    assert spoil(media, 1) != spoil(media, 2)
    assert spoil(media, 1, share=0) == media


def test_good_frames_stay_where_they_shall(media: Media) -> None:
    spoiled = spoil(media, 1, share=1, attacks=tuple(POISON), from_ms=500, until_ms=1500)
    changed = [good[:2] for good, bad in zip(media.tags, spoiled.tags, strict=True) if good != bad]
    assert {kind for kind, _ in changed} == {"video"}
    assert all(500 <= timestamp_ms < 1500 for _, timestamp_ms in changed)
    assert 25 <= len(changed) <= 30


@pytest.mark.parametrize("name", POISON)
def test_poison_adds_up(samples: list[bytes], name: str) -> None:
    rng = random.Random(1)
    changed = 0
    for sample in samples[:30]:
        poisoned = POISON[name](rng, sample)
        scan_nal_units(poisoned, 4)  # raises nothing
        changed += poisoned != sample
    assert changed >= 10


@pytest.mark.parametrize("name", BROKEN)
def test_broken_samples_are_refused(samples: list[bytes], name: str) -> None:
    rng = random.Random(1)
    refused = 0
    for sample in samples[:30]:
        try:
            scan_nal_units(BROKEN[name](rng, sample), 4)
        except MediaError:
            refused += 1
    assert refused >= 15


@pytest.mark.parametrize("name", RECORDS)
def test_records_are_read_or_refused(media: Media, name: str) -> None:
    for seed in range(200):
        record = RECORDS[name](random.Random(seed), media.avc_record)
        try:
            config = AvcConfig.parse(record)
        except MediaError:
            continue
        assert config.record == record
        assert max(config.width, config.height) <= 16_384


def test_units_come_back(samples: list[bytes]) -> None:
    for sample in samples:
        assert hostile_media.sample_of(units_of(sample)) == sample


# -- through the origin, in process


@dataclass
class Outcome:
    """What became of a publisher."""

    batches: list[list[MediaEvent]] = field(default_factory=list)
    samples: int = 0
    refusal: str = ""
    is_whole: bool = True
    """The last segment was ended."""

    @property
    def parts(self) -> list[Part]:
        return [event for batch in self.batches for event in batch if isinstance(event, Part)]


def messages_of(media: Media) -> Iterable[MediaMessage]:
    """As an RTMP connection gives them; a repeated header now and then, as OBS sends it."""
    header = VideoMessage(
        stream_id=1, timestamp_ms=0, payload=b"\x17\x00\x00\x00\x00" + media.avc_record
    )
    yield header
    yield AudioMessage(stream_id=1, timestamp_ms=0, payload=b"\xaf\x00" + media.aac_config)
    for number, (kind, timestamp_ms, body) in enumerate(media.tags):
        if number % 50 == 49:
            yield header
        if kind == "video":
            yield VideoMessage(stream_id=1, timestamp_ms=timestamp_ms, payload=body)
        else:
            yield AudioMessage(stream_id=1, timestamp_ms=timestamp_ms, payload=body)


def publish(messages: Iterable[MediaMessage]) -> Outcome:
    """As `origin.ingest.Publication` does it: what may end a publisher does, the rest is a bug."""
    bridge = Bridge()
    segmenter: Segmenter | None = None
    outcome = Outcome()

    def package(outputs: Sequence[Output]) -> None:
        nonlocal segmenter
        for output in outputs:
            if isinstance(output, Sample):
                assert segmenter is not None
                outcome.batches.append(segmenter.push(output))
                outcome.samples += 1
            elif not isinstance(output, Tracks):
                continue  # another track's picture
            elif segmenter is None:
                segmenter = Segmenter(video=output.video, audio=output.audio)
            else:
                outcome.batches.append(
                    segmenter.reconfigure(video=output.video, audio=output.audio)
                )

    try:
        for message in messages:
            package(bridge.push(message))
        package(bridge.finish())
    except (MediaError, RemoteProtocolError) as error:
        outcome.refusal = str(error)
        assert outcome.refusal
    if segmenter is not None:
        try:
            outcome.batches.append(segmenter.flush())
        except MediaError:
            outcome.is_whole = False
    return outcome


def check(outcome: Outcome) -> None:
    """Every rule of the output that holds for any input."""
    if outcome.is_whole and any(outcome.batches):
        judge(
            outcome.batches, constant_rate=False, idr_segments=False, filled=True, long_parts=True
        )


def test_the_good_publisher_is_good(media: Media) -> None:
    outcome = publish(messages_of(media))
    assert not outcome.refusal
    assert outcome.samples == len(media.tags)
    judge(outcome.batches)


seeds = st.integers(0, 2**32 - 1)


@given(
    seed=seeds,
    share=st.sampled_from([0.01, 0.1, 0.5, 1.0]),
    attacks=st.lists(st.sampled_from(ALL), min_size=1, max_size=6, unique=True),
)
@settings(max_examples=60)
def test_any_spoiled_publisher_is_packaged_or_refused(
    seed: int, share: float, attacks: list[str]
) -> None:
    media = good_media()
    check(publish(messages_of(spoil(media, seed, share=share, attacks=attacks))))


@given(seed=seeds, share=st.sampled_from([0.05, 0.5]))
@settings(max_examples=20)
def test_what_packaging_does_not_look_at_ends_nobody(seed: int, share: float) -> None:
    media = good_media()
    spoiled = spoil(media, seed, share=share, attacks=HARMLESS_TO_PACKAGING)
    outcome = publish(messages_of(spoiled))
    assert not outcome.refusal
    check(outcome)
    assert len(outcome.parts) >= 5


@given(seed=seeds, attacks=st.lists(st.sampled_from(sorted(ORDER)), min_size=1, max_size=3))
@settings(max_examples=30)
def test_a_publisher_out_of_order_keeps_the_rules(seed: int, attacks: list[str]) -> None:
    """Lost, repeated and misdated frames: every rule that holds for any input."""
    media = good_media()
    outcome = publish(messages_of(spoil(media, seed, share=0.1, attacks=attacks)))
    assert not outcome.refusal
    check(outcome)


@given(
    seed=seeds,
    name=st.sampled_from(sorted(RECORDS)),
    sound=st.binary(max_size=40),
    late=st.integers(0, 60),
)
@settings(max_examples=60)
def test_any_configuration_is_used_or_refused(
    seed: int, name: str, sound: bytes, late: int
) -> None:
    """At the start, or in the middle, where it is a change."""
    media = good_media()
    record = RECORDS[name](random.Random(seed), media.avc_record)
    spoiled = replace(media, avc_record=record, aac_config=sound or media.aac_config)
    headers = list(messages_of(replace(spoiled, tags=[])))
    messages = list(messages_of(media))
    messages[2 + late : 2 + late] = headers
    check(publish(headers + messages))
    check(publish(messages))


@given(
    payloads=st.lists(st.tuples(st.booleans(), st.integers(0, 0xFFFFFFFF), st.binary(max_size=60))),
    after=st.integers(0, 40),
)
@settings(max_examples=100)
def test_any_bytes_are_packaged_or_refused(
    payloads: list[tuple[bool, int, bytes]], after: int
) -> None:
    """Within a good publisher, who is known by then."""
    media = good_media()
    messages = list(messages_of(media))[:60]
    messages[after:after] = [
        VideoMessage(stream_id=1, timestamp_ms=at, payload=payload)
        if is_video
        else AudioMessage(stream_id=1, timestamp_ms=at, payload=payload)
        for is_video, at, payload in payloads
    ]
    check(publish(messages))


def test_a_configuration_for_every_picture_stays_bounded(media: Media) -> None:
    """Each IDR picture under another configuration than the last: a break each."""
    first = next(tag for tag in media.tags if tag[0] == "video")
    messages = list(messages_of(media))
    for number in range(200):
        at_ms = media.duration_ms + number * 33
        record = media.avc_record + bytes((number % 2,))
        payload = b"\x17\x00\x00\x00\x00" + record
        messages += [
            VideoMessage(stream_id=1, timestamp_ms=at_ms, payload=payload),
            VideoMessage(stream_id=1, timestamp_ms=at_ms, payload=first[2]),
        ]
    outcome = publish(messages)
    check(outcome)
    assert not outcome.refusal
    assert sum(part.discontinuity for part in outcome.parts) >= 199


def test_names_are_not_used_twice() -> None:
    assert len(set(ALL)) == len(ALL) == len(BROKEN) + len(POISON) + len(SOUND) + len(ORDER)
