"""RTMP messages in, tracks and samples out: tables, then random sequences."""

from collections.abc import Sequence
from pathlib import Path

import pytest
import rtmp_publishers as wire
from hypothesis import given
from hypothesis import strategies as st
from media_clips import ClipSpec, make_clip

from hls import MediaError, Sample, TrackKind
from origin.bridge import (
    MAX_HELD_SAMPLES,
    MAX_UNCONFIGURED_FRAMES,
    Bridge,
    MediaMessage,
    OtherPicture,
    Output,
    Tracks,
)
from rtmpcore import AudioMessage, RemoteProtocolError, VideoMessage

IDR = b"\x00\x00\x00\x02\x65\x88"
SLICE = b"\x00\x00\x00\x02\x41\x9a"
AAC_48K_STEREO = b"\x11\x90"
AAC_44K_MONO = b"\x12\x08"
PICTURES = "H.264, HEVC, AV1 or VP9"
SOUNDS = "AAC, Opus, FLAC, AC-3, E-AC-3 or MP3"


def video(payload: bytes, timestamp_ms: int = 0) -> VideoMessage:
    return VideoMessage(stream_id=1, timestamp_ms=timestamp_ms, payload=payload)


def audio(payload: bytes, timestamp_ms: int = 0) -> AudioMessage:
    return AudioMessage(stream_id=1, timestamp_ms=timestamp_ms, payload=payload)


def idr(timestamp_ms: int, offset_ms: int = 0) -> VideoMessage:
    return video(b"\x17\x01" + (offset_ms & 0xFFFFFF).to_bytes(3, "big") + IDR, timestamp_ms)


def inter(timestamp_ms: int) -> VideoMessage:
    return video(b"\x27\x01\x00\x00\x00" + SLICE, timestamp_ms)


def aac(timestamp_ms: int, data: bytes = b"sound") -> AudioMessage:
    return audio(b"\xaf\x01" + data, timestamp_ms)


def avc_config(record: bytes) -> VideoMessage:
    return video(b"\x17\x00\x00\x00\x00" + record)


def aac_config(config: bytes = AAC_48K_STEREO) -> AudioMessage:
    return audio(b"\xaf\x00" + config)


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """Two different AVC configurations, out of a real encoder."""
    folder = tmp_path_factory.mktemp("clips")
    return (
        record(ClipSpec(name="small", duration_s=0.2, channels=0), folder),
        record(ClipSpec(name="large", duration_s=0.2, channels=0, width=640, height=360), folder),
    )


def record(spec: ClipSpec, folder: Path) -> bytes:
    return wire.load_media(make_clip(spec, folder).path).avc_record


def run(bridge: Bridge, *messages: MediaMessage) -> list[str]:
    """Push, and tell in short what came out."""
    return [word for message in messages for word in tell(bridge.push(message))]


def tell(outputs: Sequence[Output]) -> list[str]:
    words = []
    for output in outputs:
        if isinstance(output, Tracks):
            words.append(f"tracks {'V' if output.video else ''}{'A' if output.audio else ''}")
        elif isinstance(output, OtherPicture):
            words.append(f"track {output.track_id} {output.sample.dts_ms}")
        else:
            words.append(f"{output.kind.value} {output.dts_ms}")
    return words


def test_tracks_come_before_samples_once_both_have_frames(records: tuple[bytes, bytes]) -> None:
    bridge = Bridge()
    assert run(bridge, avc_config(records[0]), aac_config(), idr(0), inter(33)) == []
    assert run(bridge, aac(40)) == ["tracks VA", "video 0", "video 33", "audio 40"]
    assert run(bridge, aac(61), inter(66)) == ["audio 61", "video 66"]


def test_sample_carries_times_bytes_and_claim(records: tuple[bytes, bytes]) -> None:
    bridge = Bridge()
    run(bridge, avc_config(records[0]), aac_config(), aac(0))
    bridge.push(inter(100))
    (sample,) = bridge.push(idr(133, offset_ms=-5))
    assert isinstance(sample, Sample)
    assert (sample.kind, sample.dts_ms, sample.pts_ms) == (TrackKind.VIDEO, 133, 128)
    assert sample.keyframe
    assert bytes(sample.data) == IDR
    (sample,) = bridge.push(aac(140, b"abc"))
    assert isinstance(sample, Sample)
    assert (sample.kind, sample.dts_ms, sample.pts_ms) == (TrackKind.AUDIO, 140, 140)
    assert bytes(sample.data) == b"abc"


@pytest.mark.parametrize("declared", [False, True], ids=["undeclared", "declared but silent"])
def test_a_second_track_is_waited_for_one_second(
    records: tuple[bytes, bytes], declared: bool
) -> None:
    bridge = Bridge()
    run(bridge, avc_config(records[0]), *([aac_config()] if declared else []))
    assert run(bridge, idr(0), inter(999)) == []
    assert run(bridge, inter(1000))[:2] == ["tracks V", "video 0"]


def test_sound_alone_is_a_broadcast_too() -> None:
    bridge = Bridge()
    assert run(bridge, aac_config(), aac(0), aac(999)) == []
    assert run(bridge, aac(1021)) == ["tracks A", "audio 0", "audio 999", "audio 1021"]


def test_a_clock_that_stands_still_does_not_hold_for_ever() -> None:
    bridge = Bridge()
    run(bridge, aac_config())
    out = run(bridge, *[aac(7)] * MAX_HELD_SAMPLES)
    assert len(out) == MAX_HELD_SAMPLES + 1


def test_large_frames_are_not_held_for_long() -> None:
    bridge = Bridge()
    run(bridge, aac_config())
    out = run(bridge, *[aac(7, bytes(1024 * 1024))] * 8)
    assert len(out) == 9


def test_a_publisher_that_leaves_early_is_not_lost(records: tuple[bytes, bytes]) -> None:
    bridge = Bridge()
    run(bridge, avc_config(records[0]), idr(0))
    assert tell(bridge.finish()) == ["tracks V", "video 0"]
    assert bridge.finish() == ()


def test_repeated_headers_change_nothing(records: tuple[bytes, bytes]) -> None:
    bridge = Bridge()
    run(bridge, avc_config(records[0]), aac_config(), idr(0), aac(0))
    assert run(bridge, avc_config(records[0]), aac_config(), inter(33)) == ["video 33"]


def test_another_video_configuration_takes_effect_at_its_idr_picture(
    records: tuple[bytes, bytes],
) -> None:
    bridge = Bridge()
    run(bridge, avc_config(records[0]), aac_config(), idr(0), aac(0))
    assert run(bridge, avc_config(records[1]), aac(20), inter(33)) == ["audio 20"]
    assert run(bridge, idr(66), aac(70), inter(99)) == [
        *("tracks VA", "video 66", "audio 70", "video 99")
    ]


def test_an_idr_picture_is_known_by_its_bits_not_by_its_flag(
    records: tuple[bytes, bytes],
) -> None:
    bridge = Bridge()
    run(bridge, avc_config(records[0]), aac_config(), idr(0), aac(0), avc_config(records[1]))
    claims_to_be = video(b"\x17\x01\x00\x00\x00" + SLICE, 33)
    does_not_say = video(b"\x27\x01\x00\x00\x00" + IDR, 66)
    assert run(bridge, claims_to_be) == []
    assert run(bridge, does_not_say) == ["tracks VA", "video 66"]


def test_another_sound_waits_for_an_idr_picture(records: tuple[bytes, bytes]) -> None:
    bridge = Bridge()
    run(bridge, avc_config(records[0]), aac_config(), idr(0), aac(0))
    assert run(bridge, aac_config(AAC_44K_MONO), aac(20), inter(33)) == ["video 33"]
    assert run(bridge, idr(66), aac(70)) == ["tracks VA", "video 66", "audio 70"]


def test_another_sound_takes_effect_at_once_without_video() -> None:
    bridge = Bridge()
    run(bridge, aac_config(), aac(0), aac(1000))
    assert run(bridge, aac_config(AAC_44K_MONO), aac(1020)) == ["tracks A", "audio 1020"]


def test_a_track_that_comes_late_joins_at_an_idr_picture(records: tuple[bytes, bytes]) -> None:
    bridge = Bridge()
    run(bridge, avc_config(records[0]), idr(0), inter(1000))
    assert run(bridge, aac_config(), aac(1010), inter(1033)) == ["video 1033"]
    assert run(bridge, idr(1066), aac(1070)) == ["tracks VA", "video 1066", "audio 1070"]


def test_a_picture_that_comes_late_joins_a_broadcast_of_sound(
    records: tuple[bytes, bytes],
) -> None:
    bridge = Bridge()
    run(bridge, aac_config(), aac(0), aac(1000))
    assert run(bridge, avc_config(records[0]), inter(1010), aac(1020)) == ["audio 1020"]
    assert run(bridge, idr(1033)) == ["tracks VA", "video 1033"]


def test_a_configuration_that_changes_while_waiting_drops_what_it_does_not_fit(
    records: tuple[bytes, bytes],
) -> None:
    bridge = Bridge()
    run(bridge, avc_config(records[0]), idr(0), avc_config(records[1]))
    assert run(bridge, idr(33), aac_config(), aac(40)) == ["tracks VA", "video 33", "audio 40"]


@pytest.mark.parametrize("wrap", [1 << 32, 1 << 31], ids=["32 bits", "31 bits, as OBS"])
def test_the_clock_does_not_wrap(records: tuple[bytes, bytes], wrap: int) -> None:
    bridge = Bridge()
    run(bridge, avc_config(records[0]), aac_config(), idr(wrap - 20), aac(wrap - 10))
    assert run(bridge, inter(13), aac(11)) == [f"video {wrap + 13}", f"audio {wrap + 11}"]


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\x57\x00",  # command frame
        b"\x17\x02\x00\x00\x00",  # end of sequence
        b"\x17\x01\x00\x00\x00",  # empty access unit
        b"\x17\x00\x00\x00\x00",  # empty configuration
        b"\x94hvc1",  # enhanced metadata
    ],
)
def test_video_that_means_nothing_is_left_out(records: tuple[bytes, bytes], payload: bytes) -> None:
    bridge = Bridge()
    run(bridge, avc_config(records[0]), aac_config(), idr(0), aac(0))
    assert run(bridge, video(payload, 33), inter(66)) == ["video 66"]


@pytest.mark.parametrize("payload", [b"", b"\xaf", b"\xaf\x00", b"\xaf\x01"])
def test_audio_that_means_nothing_is_left_out(payload: bytes) -> None:
    bridge = Bridge()
    run(bridge, aac_config(), aac(0), aac(1000))
    assert run(bridge, audio(payload, 1010), aac(1020)) == ["audio 1020"]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (audio(b"\x91zzzz" + bytes(9)), f"audio codec zzzz is not supported: use {SOUNDS}"),
        (audio(b"\xefdata"), f"audio codec 14 is not supported: use {SOUNDS}"),
        (audio(b"\x90zzzzhead"), f"audio codec zzzz is not supported: use {SOUNDS}"),
        (video(b"\x22data"), f"video codec SORENSON H263 is not supported: use {PICTURES}"),
        (video(b"\x90vvc1data"), f"video codec VVC is not supported: use {PICTURES}"),
        (video(b"\x90vp08data"), f"video codec VP8 is not supported: use {PICTURES}"),
        (video(b"\x90hvc1data"), None),
        (audio(b"\x90Opusdata"), "Opus configuration is no OpusHead, or is truncated"),
        (avc_config(b"\x01"), "AVC configuration is truncated"),
        (aac_config(b"\x11"), None),
    ],
)
def test_what_cannot_be_packaged_is_refused_in_words(
    message: MediaMessage, reason: str | None
) -> None:
    with pytest.raises(MediaError) as error:
        Bridge().push(message)
    assert reason is None or str(error.value) == reason


def test_a_codec_that_changes_to_an_unsupported_one_is_refused_too() -> None:
    bridge = Bridge()
    run(bridge, aac_config(), aac(0), aac(1000))
    with pytest.raises(MediaError, match="SPEEX"):
        bridge.push(audio(b"\xbfdata", 1020))


@pytest.mark.parametrize("message", [idr(0), aac(0)], ids=["video", "audio"])
def test_frames_that_never_get_a_configuration_are_refused(message: MediaMessage) -> None:
    bridge = Bridge()
    assert run(bridge, *[message] * MAX_UNCONFIGURED_FRAMES) == []
    with pytest.raises(MediaError, match=r"came without a sequence header for (AVC|AAC)$"):
        bridge.push(message)


def test_a_malformed_tag_is_the_peers_fault() -> None:
    with pytest.raises(RemoteProtocolError, match="ends inside its header"):
        Bridge().push(video(b"\x17\x01"))


HEADS = st.sampled_from(
    [
        *(b"", b"\x17\x00\x00\x00\x00", b"\x17\x01\x00\x00\x00", b"\x27\x01\xff\xff\xff"),
        *(b"\xaf\x00", b"\xaf\x01", b"\x90avc1", b"\x91avc1", b"\x93avc1", b"\x97\x01\x02\x03"),
    ]
)


@given(data=st.data())
def test_whatever_comes_only_documented_errors_leave(
    records: tuple[bytes, bytes], data: st.DataObject
) -> None:
    """And the outputs keep their promise: tracks first, samples only of tracks that exist."""
    bodies = st.one_of(
        st.binary(max_size=40),
        st.sampled_from([*records, AAC_48K_STEREO, AAC_44K_MONO, IDR, SLICE]),
    )
    messages = st.lists(
        st.builds(
            lambda make, head, body, at: make(head + body, at),
            st.sampled_from([video, audio]),
            HEADS,
            bodies,
            st.integers(0, 2**32 - 1),
        ),
        max_size=30,
    )
    bridge = Bridge()
    tracks: Tracks | None = None
    for message in data.draw(messages):
        try:
            outputs = bridge.push(message)
        except (MediaError, RemoteProtocolError):
            break
        for output in outputs:
            if isinstance(output, Tracks):
                tracks = output
            elif isinstance(output, Sample):
                assert tracks is not None
                track = tracks.video if output.kind is TrackKind.VIDEO else tracks.audio
                assert track is not None
    bridge.finish()
