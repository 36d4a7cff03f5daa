"""Decoding: nothing held back that the stream does not need, and nothing that ends it."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext
from enhanced_media import AudioTrack, VideoTrack, load_enhanced, make_enhanced_clip
from media_clips import ClipSpec, make_clip
from transcode_runs import Source, bar_of, encode_source, load_source

from origin.transcode import wire
from origin.transcode.decode import AudioDecoder, VideoDecoder
from origin.transcode.errors import TranscodeError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("clips")


def load(folder: Path, b_frames: int = 0) -> Source:
    spec = ClipSpec(
        name=f"decode-{b_frames}", b_frames=b_frames, channels=1, duration_s=1, keyint_s=0.5
    )
    return load_source(make_clip(spec, folder).path)


@pytest.fixture(scope="module")
def plain(folder: Path) -> Source:
    return load(folder)


@pytest.fixture(scope="module")
def reordered(folder: Path) -> Source:
    return load(folder, b_frames=2)


def decode_all(source: Source, *, threads: int = 1) -> list[list[int | None]]:
    """Times of what came out, call by call."""
    decoder = VideoDecoder(source.config, threads)
    calls = [
        [frame.pts for frame in decoder.decode(picture.data, picture.pts_ticks)]
        for picture in source.pictures
    ]
    return [*calls, [frame.pts for frame in decoder.drain()]]


@pytest.mark.parametrize("threads", [1, 3])
def test_picture_comes_out_of_the_call_that_took_it(plain: Source, threads: int) -> None:
    calls = decode_all(plain, threads=threads)
    assert calls == [*([picture.pts_ticks] for picture in plain.pictures), []]


@pytest.mark.parametrize("threads", [1, 3])
def test_reordering_costs_what_the_stream_needs_and_no_more(
    reordered: Source, threads: int
) -> None:
    calls = decode_all(reordered, threads=threads)
    assert [pts for call in calls for pts in call] == reordered.shown
    assert [len(call) for call in calls[:4]] == [0, 0, 1, 1]
    assert len(calls[-1]) == 2


def test_times_are_kept_to_the_tick(plain: Source) -> None:
    decoder = VideoDecoder(plain.config, 1)
    for index, picture in enumerate(plain.pictures[:5]):
        (frame,) = decoder.decode(picture.data, 2**40 + 3003 * index + 1)
        assert (frame.pts, frame.time_base) == (2**40 + 3003 * index + 1, Fraction(1, 90_000))
        assert bar_of(frame) == index


GARBAGE = [b"", b"\0", b"\xff" * 100, b"\0\0\0\5\x65abc"]


def test_garbage_is_counted_and_the_next_keyframe_heals(plain: Source) -> None:
    decoder = VideoDecoder(plain.config, 1)
    keyframe = plain.pictures[0].data
    for index, data in enumerate([*GARBAGE, keyframe[:-200]]):
        assert decoder.decode(data, index) == []
    refused = decoder.errors
    assert refused == 5
    (frame,) = decoder.decode(keyframe, 100)
    assert frame.pts == 100
    assert decoder.errors == refused


def test_damaged_picture_comes_out_and_is_counted(plain: Source) -> None:
    decoder = VideoDecoder(plain.config, 1)
    damaged = bytearray(plain.pictures[0].data)
    at = len(damaged) * 8 // 10
    damaged[at : at + 100] = bytes(100)
    (frame,) = decoder.decode(bytes(damaged), 0)
    assert frame.pts == 0
    assert decoder.errors == 1


def test_drained_decoder_goes_on_with_the_next_keyframe(reordered: Source) -> None:
    decoder = VideoDecoder(reordered.config, 1)
    for _ in range(2):
        shown = []
        for picture in reordered.pictures[:9]:
            shown += [frame.pts for frame in decoder.decode(picture.data, picture.pts_ticks)]
        shown += [frame.pts for frame in decoder.drain()]
        assert shown == sorted(picture.pts_ticks for picture in reordered.pictures[:9])
    assert decoder.errors == 0


def test_drain_of_a_fresh_decoder_is_nothing(plain: Source) -> None:
    assert VideoDecoder(plain.config, 1).drain() == []


@pytest.mark.parametrize(
    ("fourcc", "record", "reason"),
    [
        (b"avc1", b"", "truncated"),
        (b"avc1", b"\1" * 40, "AVC configuration"),
        (b"vp08", b"\1" * 40, "not supported"),
    ],
)
def test_unusable_configuration_is_refused(fourcc: bytes, record: bytes, reason: str) -> None:
    with pytest.raises(TranscodeError, match=reason):
        VideoDecoder(wire.VideoConfig(fourcc, record), 1)


def grey(width: int, height: int, count: int = 3, level: int = 128) -> list[av.VideoFrame]:
    picture = np.full((height * 3 // 2, width), level, np.uint8)
    return [av.VideoFrame.from_ndarray(picture, format="yuv420p") for _ in range(count)]


def test_configuration_of_huge_pictures_is_refused() -> None:
    source = encode_source(grey(8208, 64, count=1))
    with pytest.raises(TranscodeError, match="8208 by 64 pixels are too large"):
        VideoDecoder(source.config, 1)


def in_band(source: Source) -> list[bytes]:
    """A source's pictures, its parameter sets before each as a publisher may send them."""
    record = source.record
    sps_size = int.from_bytes(record[6:8], "big")
    sps = record[8 : 8 + sps_size]
    pps_size = int.from_bytes(record[9 + sps_size : 11 + sps_size], "big")
    pps = record[11 + sps_size : 11 + sps_size + pps_size]
    head = b"".join(len(unit).to_bytes(4, "big") + unit for unit in (sps, pps))
    return [head + picture.data for picture in source.pictures]


def test_pictures_that_outgrow_their_configuration_are_refused_undecoded(plain: Source) -> None:
    decoder = VideoDecoder(plain.config, 1)  # 320 by 180
    for index, data in enumerate(in_band(encode_source(grey(2560, 1440)))):
        assert decoder.decode(data, index) == []
    assert decoder.errors == 3
    # Twice as large each way is what an encoder may do.
    for index, data in enumerate(in_band(encode_source(grey(640, 360))), 10):
        (frame,) = decoder.decode(data, index)
        assert (frame.width, frame.height) == (640, 360)
    assert decoder.errors == 3


def test_matrix_that_cannot_be_scaled_is_taken_for_none() -> None:
    def ycgco(context: VideoCodecContext) -> None:
        context.colorspace = 8

    source = encode_source(grey(320, 180), prepare=ycgco)
    (frame,) = VideoDecoder(source.config, 1).decode(source.pictures[0].data, 0)
    assert frame.colorspace == 2


@pytest.mark.parametrize(("codec", "preset"), [("libx265", "ultrafast"), ("libsvtav1", "12")])
def test_other_codecs_come_out_at_once(codec: str, preset: str) -> None:
    def prepare(context: VideoCodecContext) -> None:
        context.options = {"preset": preset}
        if codec == "libx265":
            context.options |= {"tune": "zerolatency", "x265-params": "log-level=none:pools=none"}

    source = encode_source(grey(320, 180, count=5), codec=codec, prepare=prepare)
    decoder = VideoDecoder(source.config, 1)
    for picture in sorted(source.pictures, key=lambda each: each.pts_ticks)[:1]:
        (frame,) = decoder.decode(picture.data, picture.pts_ticks)
        assert frame.pts == picture.pts_ticks
        assert frame.format.name == "yuv420p"


def test_sound_is_decoded(plain: Source) -> None:
    decoder = AudioDecoder(wire.AudioConfig(b"mp4a", plain.asc))
    blocks = [block for _, data in plain.sounds for block in decoder.decode(data)]
    assert {block.shape for block in blocks} == {(1, 1024)}
    loud = float(np.abs(np.concatenate(blocks, axis=1)).max())
    assert 0.15 < loud < 0.3  # the clip's tone has 0.2


@pytest.mark.parametrize("data", [b"", b"\xff" * 50, b"\x21\x00"])
def test_sound_that_is_none_is_passed_over(plain: Source, data: bytes) -> None:
    decoder = AudioDecoder(wire.AudioConfig(b"mp4a", plain.asc))
    decoder.decode(data)
    good = [block for _, each in plain.sounds[:4] for block in decoder.decode(each)]
    assert len(good) == 4


def test_sound_of_an_impossible_configuration_is_passed_over(plain: Source) -> None:
    decoder = AudioDecoder(wire.AudioConfig(b"mp4a", b"\xff\xff\xff\xff"))
    assert decoder.decode(plain.sounds[0][1]) == []


SOUND_CODECS = {
    "libopus": b"Opus",
    "flac": b"fLaC",
    "ac3": b"ac-3",
    "eac3": b"ec-3",
}


@pytest.mark.parametrize("encoder", SOUND_CODECS)
def test_every_sound_is_decoded(encoder: str, tmp_path: Path) -> None:
    path = make_enhanced_clip(tmp_path / "sound.mkv", [AudioTrack(encoder=encoder)], duration_s=1)
    with av.open(path) as container:
        (stream,) = container.streams.audio
        record = bytes(stream.codec_context.extradata or b"")
        decoder = AudioDecoder(wire.AudioConfig(SOUND_CODECS[encoder], record))
        packets = [bytes(packet) for packet in container.demux() if packet.size]
    blocks = [block for data in packets for block in decoder.decode(data)]
    assert len(blocks) == len(packets) > 10
    assert max(float(np.abs(block).max()) for block in blocks) > 0.05


@pytest.mark.parametrize("record", [b"", b"fLaC", b"\xff" * 42])
def test_sound_of_an_unusable_flac_header_is_passed_over(record: bytes) -> None:
    assert AudioDecoder(wire.AudioConfig(b"fLaC", record)).decode(b"\xff" * 40) == []


def test_vp9_is_decoded(tmp_path: Path) -> None:
    track = VideoTrack(encoder="libvpx-vp9")
    media = load_enhanced(make_enhanced_clip(tmp_path / "clip.flv", [track], duration_s=1))
    (record,) = [tag[5:] for kind, tag in media.header_tags if tag[:5] == b"\x90vp09"]
    decoder = VideoDecoder(wire.VideoConfig(b"vp09", record), threads=1)
    frames = [
        frame
        for _, at, tag in media.tags
        if tag[0] & 15 in (1, 3)
        for frame in decoder.decode(tag[5:], 90 * at)
    ]
    assert [(frame.width, frame.height) for frame in frames] == [(320, 180)] * 25
    assert decoder.errors == 0
