"""The tap: what a newcomer gets first, what a slow follower loses, and what all of it may hold."""

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from origin.relay import tap as tap_module
from origin.relay.tap import (
    BATCH_BYTES,
    MAX_FOLLOWERS,
    MAX_GROUP_BYTES,
    MAX_HEADERS_BYTES,
    MESSAGE_BYTES,
    QUEUE_BYTES,
    Follower,
    Message,
    Tap,
    TapError,
    Taps,
)
from rtmpcore import AudioMessage, Metadata, VideoMessage

AVC = b"\x17\x00\x00\x00\x00avcC"
AAC = b"\xaf\x00\x11\x90"
HEVC = b"\x90hvc1hvcC"
COLOUR = b"\xd4hvc1" + b"\x02\x00\x09colorInfo\x03\x00\x00\x09"


def video(payload: bytes, timestamp_ms: int = 0) -> VideoMessage:
    return VideoMessage(stream_id=1, timestamp_ms=timestamp_ms, payload=payload)


def audio(payload: bytes, timestamp_ms: int = 0) -> AudioMessage:
    return AudioMessage(stream_id=1, timestamp_ms=timestamp_ms, payload=payload)


def key(timestamp_ms: int, size_bytes: int = 8) -> VideoMessage:
    return video(b"\x17\x01" + bytes(size_bytes - 2), timestamp_ms)


def inter(timestamp_ms: int, size_bytes: int = 8) -> VideoMessage:
    return video(b"\x27\x01" + bytes(size_bytes - 2), timestamp_ms)


def sound(timestamp_ms: int) -> AudioMessage:
    return audio(b"\xaf\x01sound", timestamp_ms)


def push(tap: Tap, *messages: VideoMessage | AudioMessage) -> None:
    for message in messages:
        tap.push(message)


def queued(follower: Follower) -> list[Message]:
    """All that waits for a follower, without taking it."""
    return [message for message, _ in follower._queue]


async def drain(follower: Follower) -> list[Message]:
    messages: list[Message] = []
    while follower._queue:
        messages += await follower.receive()
    return messages


@pytest.fixture
def tap() -> Tap:
    tap = Tap()
    tap.describe({"width": 640.0})
    push(tap, video(AVC), audio(AAC))
    return tap


def headers_at(timestamp_ms: int, *payloads: bytes) -> list[Message]:
    """What the fixture's tap says first."""
    metadata = Metadata(stream_id=0, timestamp_ms=timestamp_ms, values={"width": 640.0})
    video_payloads = payloads or (AVC,)
    return [
        metadata,
        *[video(payload, timestamp_ms) for payload in video_payloads],
        audio(AAC, timestamp_ms),
    ]


def test_a_newcomer_begins_at_the_last_keyframe_with_the_headers(tap: Tap) -> None:
    push(tap, key(0), inter(33), key(66), sound(70), inter(99))
    with tap.follow() as follower:
        assert queued(follower) == [*headers_at(66), key(66), sound(70), inter(99)]
        push(tap, inter(132))
        assert queued(follower)[-1] == inter(132)


def test_without_a_keyframe_a_newcomer_waits_for_one(tap: Tap) -> None:
    push(tap, inter(0))
    with tap.follow() as follower:
        push(tap, inter(33), sound(40))
        assert queued(follower) == []
        push(tap, key(66))
        assert queued(follower) == [*headers_at(66), key(66)]
        assert follower.dropped_messages == 0  # it was not slow, only early


def test_a_header_that_changes_begins_a_new_group_and_one_that_is_resent_does_not(tap: Tap) -> None:
    push(tap, key(0), inter(33), video(AVC, 40), audio(AAC, 40))
    with tap.follow() as follower:
        assert queued(follower) == [*headers_at(0), key(0), inter(33)]
    changed = video(AVC + b"2", 50)
    push(tap, changed, inter(66))
    with tap.follow() as follower:
        assert queued(follower) == []
        push(tap, key(99))
        assert [m for m in queued(follower) if isinstance(m, VideoMessage)] == [
            video(AVC + b"2", 99),
            key(99),
        ]


def test_headers_pass_to_those_who_follow_already(tap: Tap) -> None:
    push(tap, key(0))
    with tap.follow() as follower:
        push(tap, video(AVC, 10), video(AVC + b"2", 20))
        tap.describe({"height": 1.0}, timestamp_ms=30)
        assert queued(follower)[-3:] == [
            video(AVC, 10),
            video(AVC + b"2", 20),
            Metadata(stream_id=0, timestamp_ms=30, values={"height": 1.0}),
        ]


def test_audio_alone_begins_anywhere() -> None:
    tap = Tap()
    push(tap, audio(AAC), sound(0))
    with tap.follow() as follower:
        push(tap, sound(23))
        assert queued(follower) == [audio(AAC, 23), sound(23)]


def test_enhanced_headers_of_all_tracks_and_colour_are_remembered() -> None:
    tap = Tap()
    second = b"\x96\x00avc1\x01avcC"  # multitrack, one track, sequence start, track 1
    opus = b"\x90OpusOpusHead"
    frame = b"\x91hvc1\x00\x00\x00idr"
    push(tap, video(HEVC), video(COLOUR), video(second), audio(opus), video(frame, 5))
    with tap.follow() as follower:
        assert queued(follower) == [
            video(HEVC, 5),
            video(COLOUR, 5),
            video(second, 5),
            audio(opus, 5),
            video(frame, 5),
        ]


def test_only_keyframes_of_the_first_track_begin() -> None:
    tap = Tap()
    push(tap, video(HEVC), video(b"\x91hvc1\x00\x00\x00idr"))
    of_second = video(b"\x96\x01avc1\x01\x00\x00\x00idr", 33)
    push(tap, of_second)
    with tap.follow() as follower:
        assert queued(follower)[-2:] == [video(b"\x91hvc1\x00\x00\x00idr"), of_second]


@pytest.mark.parametrize("payload", [b"\x17", b"\x90hv", b"\x17\x00\x00"])
def test_a_malformed_message_goes_no_further(tap: Tap, payload: bytes) -> None:
    push(tap, key(0))
    with tap.follow() as follower:
        before = queued(follower)
        tap.push(video(payload))
        assert queued(follower) == before


@pytest.mark.parametrize(
    "message", [video(b""), video(b"\x57\x00"), audio(b""), audio(b"\xaf"), audio(b"\x92Opus")]
)
def test_what_is_neither_header_nor_frame_is_passed_on_and_begins_nothing(
    tap: Tap, message: VideoMessage | AudioMessage
) -> None:
    with tap.follow() as follower:
        tap.push(message)
        assert queued(follower) == []
        push(tap, key(0), message)
        assert queued(follower)[-1] == message


def test_a_group_beyond_its_bound_is_forgotten(tap: Tap) -> None:
    size_bytes = MAX_GROUP_BYTES // 2 - MESSAGE_BYTES
    push(tap, key(0, size_bytes), inter(33, size_bytes))
    with tap.follow() as follower:
        assert len(queued(follower)) == len([*headers_at(0), key(0), inter(33)])
    tap.push(sound(40))
    with tap.follow() as follower:
        assert queued(follower) == []
    push(tap, key(66))
    with tap.follow() as follower:
        assert queued(follower) == [*headers_at(66), key(66)]


def test_headers_beyond_their_bound_are_passed_on_but_not_remembered() -> None:
    tap = Tap()
    tap.push(video(AVC))
    largest = b"\xaf\x00" + bytes(MAX_HEADERS_BYTES - 2 * MESSAGE_BYTES - len(AVC) - 2)
    tap.push(audio(largest))
    assert tap.headers() == [video(AVC), audio(largest)]
    push(tap, key(0))
    with tap.follow() as follower:
        tap.push(audio(largest + b"!"))
        assert queued(follower)[-1] == audio(largest + b"!")
    assert tap.headers() == [video(AVC)]


async def test_a_slow_follower_costs_nobody_else_anything(tap: Tap) -> None:
    push(tap, key(0))
    with tap.follow() as slow, tap.follow() as quick:
        received = await drain(quick)
        frames = [inter(number, QUEUE_BYTES // 4) for number in range(8)]
        for frame in frames:
            tap.push(frame)
            received += await drain(quick)
        assert received == [*headers_at(0), key(0), *frames]
        assert quick.dropped_messages == 0
        assert slow.dropped_messages == len(received)


async def test_what_overflows_is_dropped_until_a_keyframe(tap: Tap) -> None:
    push(tap, key(0))
    with tap.follow() as follower:
        await drain(follower)
        frame = inter(33, QUEUE_BYTES // 4 - MESSAGE_BYTES)
        push(tap, frame, frame, frame, frame)
        assert len(queued(follower)) == 4  # full to the byte
        push(tap, sound(40), inter(66))
        assert queued(follower) == []
        assert follower.dropped_messages == 6
        push(tap, video(AVC + b"2"), key(99), inter(132))
        assert queued(follower) == [*headers_at(99, AVC + b"2"), key(99), inter(132)]
        assert follower.dropped_messages == 7


async def test_a_follower_without_video_drops_what_waits_and_goes_on() -> None:
    tap = Tap()
    with tap.follow() as follower:
        frame = audio(b"\xaf\x01" + bytes(QUEUE_BYTES // 2 - MESSAGE_BYTES - 2))
        push(tap, frame, frame)
        assert len(queued(follower)) == 2
        push(tap, sound(1))
        assert queued(follower) == [sound(1)]


async def test_a_batch_is_bounded(tap: Tap) -> None:
    push(tap, key(0))
    with tap.follow() as follower:
        await drain(follower)
        frame = inter(1, BATCH_BYTES // 2 - MESSAGE_BYTES)
        longer = inter(2, 2 * BATCH_BYTES)
        push(tap, frame, frame, longer, frame)
        assert [await follower.receive() for _ in range(3)] == [[frame, frame], [longer], [frame]]
        assert follower._queued_bytes == 0


async def test_a_follower_waits_for_what_comes_and_for_the_end(tap: Tap) -> None:
    received: list[list[Message]] = []

    async def follow() -> None:
        with tap.follow() as follower:
            while batch := await follower.receive():
                received.append(batch)
        received.append([])

    push(tap, key(0))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await wait_all_tasks_blocked()
        tap.push(inter(33))
        await wait_all_tasks_blocked()
        tap.push(inter(66))
        tap.close()
        tap.close()
    assert received[1:] == [[inter(33)], [inter(66)], []]
    await tap.wait_closed()


def test_there_is_a_bound_of_followers_and_an_end(tap: Tap) -> None:
    followers = [tap.follow() for _ in range(MAX_FOLLOWERS)]
    with pytest.raises(TapError, match="too many follow this stream"):
        tap.follow()
    with followers[0]:
        pass
    tap.follow()
    tap.close()
    with pytest.raises(TapError, match="the publisher is gone"):
        tap.follow()


def test_a_stream_has_the_tap_of_its_newest_publisher() -> None:
    taps = Taps()
    opened: list[tuple[str, Tap]] = []
    taps.watch(lambda stream_id, tap: opened.append((stream_id, tap)))
    first = taps.open("s")
    second = taps.open("s")
    assert opened == [("s", first), ("s", second)]
    assert first.is_closed
    assert taps.get("s") is second
    first.close()
    assert taps.get("s") is second
    second.close()
    assert taps.get("s") is None


def test_the_queue_holds_a_group_and_the_headers() -> None:
    """Else nobody could begin at the longest group."""
    assert MAX_GROUP_BYTES + MAX_HEADERS_BYTES + tap_module.METADATA_BYTES <= QUEUE_BYTES
