"""The pipe protocol: byte for byte, cut anywhere, and everything that is not it."""

import struct
from collections.abc import Callable

import msgspec
import pytest
from byte_pieces import single, split
from hypothesis import given
from hypothesis import strategies as st

from origin.transcode import wire
from origin.transcode.wire import (
    GREETING,
    Audio,
    AudioConfig,
    Coded,
    Fault,
    Picture,
    Ready,
    RungConfig,
    RungRate,
    RungSetup,
    RungStatus,
    Setup,
    Status,
    ToParentReader,
    ToWorkerReader,
    VideoConfig,
    WireError,
    encode,
)

SETUP = Setup(
    rungs=(
        RungSetup(
            name="720p",
            width=1280,
            height=720,
            bitrate_bps=2_500_000,
            encoder="libx264",
            preset="veryfast",
            frame_rate=29.97,
            divisor=1,
        ),
    ),
    decoder_threads=2,
)
SETUP_JSON = (
    b'{"rungs":[{"name":"720p","width":1280,"height":720,"bitrate_bps":2500000,'
    b'"encoder":"libx264","preset":"veryfast","frame_rate":29.97,"divisor":1}],'
    b'"decoder_threads":2}'
)
STATUS = Status(
    decoded=7,
    decode_errors=1,
    lost=2,
    newest_pts_ticks=-3000,
    rungs=(RungStatus(frames=5, bytes=4000, encode_s=0.25, newest_pts_ticks=None),),
    black=False,
    frozen=True,
    silent=None,
    av_drift_s=-0.5,
    busy_s=0.0,
    rss_bytes=100_000_000,
)


def frame(kind: int, payload: bytes) -> bytes:
    return bytes((kind, 0, 0, 0)) + len(payload).to_bytes(4, "big") + payload


# Written by hand, not with the module's own structs.
TO_WORKER = [
    (SETUP, frame(1, SETUP_JSON)),
    (VideoConfig(b"avc1", b"\1record"), frame(2, b"avc1\1record")),
    (
        Picture(2**64 - 1, -1, True, True, b"units"),
        frame(3, b"\xff" * 8 + b"\xff" * 8 + b"\3" + b"units"),
    ),
    (
        Picture(258, 3000, True, False, b""),
        frame(3, bytes.fromhex("0000000000000102 0000000000000bb8 01")),
    ),
    (
        Picture(0, 0, False, True, b"x"),
        frame(3, bytes(16) + b"\2x"),
    ),
    (AudioConfig(b"mp4a", b"\x11\x90"), frame(4, b"mp4a\x11\x90")),
    (Audio(1920, b"aac"), frame(5, bytes.fromhex("0000000000000780") + b"aac")),
    (RungRate(7, 255), frame(6, b"\x07\xff")),
]
TO_PARENT = [
    (
        Ready(encoders=("libx264",), confinement="confined"),
        frame(65, b'{"encoders":["libx264"],"confinement":"confined"}'),
    ),
    (RungConfig(1, b"hvc1", b"\1r"), frame(66, b"\1hvc1\1r")),
    (
        Coded(2, 258, -1, True, b"sample"),
        frame(67, b"\2" + bytes.fromhex("0000000000000102") + b"\xff" * 8 + b"\1sample"),
    ),
    (Coded(0, 1, 0, False, b""), frame(67, b"\0" + bytes(7) + b"\1" + bytes(8) + b"\0")),
    (
        STATUS,
        frame(
            68,
            b'{"decoded":7,"decode_errors":1,"lost":2,"newest_pts_ticks":-3000,"rungs":[{"frames":'
            b'5,"bytes":4000,"encode_s":0.25,"newest_pts_ticks":null}],"black":false,'
            b'"frozen":true,"silent":null,"av_drift_s":-0.5,"busy_s":0.0,"rss_bytes":100000000}',
        ),
    ),
    (Fault("out of memory"), frame(69, b"out of memory")),
]
WORKER_BYTES = b"HRTX\0\0\0\2" + b"".join(data for _, data in TO_WORKER)
PARENT_BYTES = b"HRTX\0\0\0\2" + b"".join(data for _, data in TO_PARENT)
MESSAGES = [pytest.param(*case, id=type(case[0]).__name__) for case in TO_WORKER + TO_PARENT]


@pytest.mark.parametrize(("message", "data"), MESSAGES)
def test_message_is_written_as_these_bytes(
    message: wire.ToWorker | wire.ToParent, data: bytes
) -> None:
    assert encode(message) == data


def test_greeting_names_version_one() -> None:
    assert GREETING == b"HRTX\0\0\0\2"


CUTS: list[Callable[[bytes], list[bytes]]] = [lambda data: [data], single]


@pytest.mark.parametrize("cut", CUTS, ids=["whole", "byte by byte"])
def test_what_is_written_is_read(cut: Callable[[bytes], list[bytes]]) -> None:
    to_worker, to_parent = ToWorkerReader(), ToParentReader()
    read = [message for piece in cut(WORKER_BYTES) for message in to_worker.feed(piece)]
    assert read == [message for message, _ in TO_WORKER]
    said = [message for piece in cut(PARENT_BYTES) for message in to_parent.feed(piece)]
    assert said == [message for message, _ in TO_PARENT]
    to_worker.finish()
    to_parent.finish()


@given(cuts=st.lists(st.integers(0, 10_000), max_size=12))
def test_cuts_do_not_matter(cuts: list[int]) -> None:
    reader = ToWorkerReader()
    read = [message for piece in split(WORKER_BYTES, cuts) for message in reader.feed(piece)]
    assert read == [message for message, _ in TO_WORKER]


ticks = st.integers(-wire.MAX_TICKS, wire.MAX_TICKS)
numbers = st.integers(0, 2**64 - 1)
data = st.binary(max_size=200)
rungs = st.integers(0, wire.MAX_RUNGS - 1)
to_worker = st.one_of(
    st.builds(VideoConfig, st.binary(min_size=4, max_size=4), data),
    st.builds(Picture, numbers, ticks, st.booleans(), st.booleans(), data),
    st.builds(AudioConfig, st.binary(min_size=4, max_size=4), data),
    st.builds(Audio, ticks, data),
    st.builds(RungRate, rungs, st.integers(0, 255)),
)
to_parent = st.one_of(
    st.builds(Ready, encoders=st.lists(st.text(max_size=20)).map(tuple), confinement=st.text()),
    st.builds(RungConfig, rungs, st.binary(min_size=4, max_size=4), data),
    st.builds(Coded, rungs, numbers, ticks, st.booleans(), data),
    st.builds(Fault, st.text(max_size=100)),
)


@given(messages=st.lists(to_worker, max_size=8), cuts=st.lists(st.integers(0, 5000), max_size=6))
def test_any_input_survives_the_way(messages: list[wire.ToWorker], cuts: list[int]) -> None:
    reader = ToWorkerReader()
    written = GREETING + b"".join(map(encode, [SETUP, *messages]))
    read = [message for piece in split(written, cuts) for message in reader.feed(piece)]
    assert read == [SETUP, *messages]


@given(messages=st.lists(to_parent, max_size=8), cuts=st.lists(st.integers(0, 5000), max_size=6))
def test_any_output_survives_the_way(messages: list[wire.ToParent], cuts: list[int]) -> None:
    reader = ToParentReader()
    written = GREETING + b"".join(map(encode, messages))
    read = [message for piece in split(written, cuts) for message in reader.feed(piece)]
    assert read == messages


@given(noise=st.binary(max_size=64), keep=st.integers(0, len(WORKER_BYTES)))
def test_noise_is_refused_and_nothing_else_happens(noise: bytes, keep: int) -> None:
    for reader, good in ((ToWorkerReader(), WORKER_BYTES), (ToParentReader(), PARENT_BYTES)):
        try:
            reader.feed(good[:keep] + noise)
            reader.finish()
        except WireError:
            pass


def rung_json(**changes: object) -> bytes:
    rung = msgspec.to_builtins(SETUP)["rungs"][0] | changes
    return msgspec.json.encode({"rungs": [rung], "decoder_threads": 1})


S = frame(1, SETUP_JSON)
BAD_INPUT = {
    "another protocol": (b"GET / HT", "begins with"),
    "another version": (b"HRTX\0\0\0\1", "begins with"),
    "reserved bits": (GREETING + b"\1\0\0\1\0\0\0\0", "reserved"),
    "kind 0": (GREETING + frame(0, b""), "kind 0"),
    "a kind of the other direction": (GREETING + S + frame(67, bytes(18)), "kind 67"),
    "no setup": (GREETING + frame(4, b"\x11\x90"), "first frame is no setup"),
    "two setups": (GREETING + S + S, "second setup"),
    "setup is no JSON": (GREETING + frame(1, b"{"), "kind 1"),
    "setup without rungs": (GREETING + frame(1, b'{"rungs":[],"decoder_threads":1}'), "rungs"),
    "setup with a stranger's field": (GREETING + frame(1, SETUP_JSON[:-1] + b',"x":1}'), "x"),
    "nine rungs": (
        GREETING
        + frame(1, msgspec.json.encode({"rungs": [SETUP.rungs[0]] * 9, "decoder_threads": 1})),
        "rungs",
    ),
    "odd width": (GREETING + frame(1, rung_json(width=853)), "width"),
    "huge height": (GREETING + frame(1, rung_json(height=8194)), "height"),
    "no bits": (GREETING + frame(1, rung_json(bitrate_bps=0)), "bitrate_bps"),
    "no rate": (GREETING + frame(1, rung_json(frame_rate=0)), "frame_rate"),
    "divisor 256": (GREETING + frame(1, rung_json(divisor=256)), "divisor"),
    "no threads": (
        GREETING + frame(1, SETUP_JSON.replace(b'threads":2', b'threads":0')),
        "decoder_threads",
    ),
    "long setup": (GREETING + struct.pack(">II", 1 << 24, wire.MAX_JSON_BYTES + 1), "65537"),
    "configuration without codec": (GREETING + S + frame(2, b"avc"), "no codec"),
    "sound without codec": (GREETING + S + frame(4, b"mp4"), "no codec"),
    "long configuration": (
        GREETING + S + struct.pack(">II", 2 << 24, wire.MAX_CONFIG_BYTES + 1),
        "65537",
    ),
    "short picture": (GREETING + S + frame(3, bytes(16)), "truncated"),
    "unknown flags": (GREETING + S + frame(3, bytes(16) + b"\4"), "flags 0x4"),
    "no time": (GREETING + S + frame(3, bytes(8) + b"\x80" + bytes(7) + b"\0"), "out of range"),
    "huge picture": (
        GREETING + S + struct.pack(">II", 3 << 24, wire.MAX_PAYLOAD_BYTES + 1),
        "16777217",
    ),
    "short audio": (GREETING + S + frame(5, bytes(7)), "truncated"),
    "audio out of time": (GREETING + S + frame(5, b"\x7f" + bytes(7)), "out of range"),
    "long audio": (GREETING + S + struct.pack(">II", 5 << 24, 65_537), "65537"),
    "short rate": (GREETING + S + frame(6, b"\1"), "1 bytes"),
    "long rate": (GREETING + S + frame(6, b"\1\1\1"), "3 bytes"),
    "rate of no rung": (GREETING + S + frame(6, b"\x08\1"), "rung 8"),
}
BAD_OUTPUT = {
    "another protocol": (b"HTTP/1.1", "begins with"),
    "a kind of the other direction": (GREETING + S, "kind 1"),
    "ready without encoders": (GREETING + frame(65, b"{}"), "encoders"),
    "configuration of no rung": (GREETING + frame(66, b"\x08avc1"), "rung 8"),
    "short configuration": (GREETING + frame(66, b"\1avc"), "truncated"),
    "short sample": (GREETING + frame(67, bytes(17)), "truncated"),
    "sample of no rung": (GREETING + frame(67, b"\x08" + bytes(17)), "rung 8"),
    "unknown flags": (GREETING + frame(67, bytes(17) + b"\2"), "flags 0x2"),
    "no time": (GREETING + frame(67, bytes(9) + b"\x80" + bytes(8)), "out of range"),
    "status with text for a number": (GREETING + frame(68, b'{"decoded":"7"}'), "decoded"),
    "long fault": (GREETING + frame(69, bytes(501)), "501"),
}


@pytest.mark.parametrize(("sent", "reason"), BAD_INPUT.values(), ids=BAD_INPUT)
@pytest.mark.parametrize("cut", CUTS, ids=["whole", "byte by byte"])
def test_malformed_input_is_refused(
    sent: bytes, reason: str, cut: Callable[[bytes], list[bytes]]
) -> None:
    reader = ToWorkerReader()
    with pytest.raises(WireError, match=reason):
        list(map(reader.feed, cut(sent)))


@pytest.mark.parametrize(("sent", "reason"), BAD_OUTPUT.values(), ids=BAD_OUTPUT)
def test_malformed_output_is_refused(sent: bytes, reason: str) -> None:
    with pytest.raises(WireError, match=reason):
        ToParentReader().feed(sent)


def test_first_wrong_byte_is_enough() -> None:
    with pytest.raises(WireError, match="begins with"):
        ToWorkerReader().feed(b"HRTY")


@pytest.mark.parametrize("length", [1, 7, 9, 20, len(WORKER_BYTES) - 1])
def test_end_within_a_frame_is_an_error(length: int) -> None:
    reader = ToWorkerReader()
    reader.feed(WORKER_BYTES[:length])
    with pytest.raises(WireError, match="ended within"):
        reader.finish()


def test_end_before_the_first_byte_is_none() -> None:
    ToParentReader().finish()


def test_longest_frame_passes_and_a_longer_one_is_not_written() -> None:
    longest = wire.MAX_PAYLOAD_BYTES - 17
    message = Picture(1, 2, True, False, bytes(longest))
    reader = ToWorkerReader()
    reader.feed(GREETING + S)
    assert reader.feed(encode(message)) == [message]
    with pytest.raises(WireError, match="16777217"):
        encode(message._replace(data=bytes(longest + 1)))


def test_fault_is_cut_to_its_bound() -> None:
    (read,) = ToParentReader().feed(GREETING + encode(Fault("ä" * 400)))
    assert isinstance(read, Fault)
    assert read.text.startswith("ä" * 249)
    assert len(read.text) <= 251
