"""A slate's clip: a file coded in the tracks of whoever is away, and played without end."""

import io
import itertools
import wave
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from slate_files import make_moving, make_still

from origin.bridge import Bridge, Tracks
from origin.slate import clip as subject
from origin.slate import coder
from origin.slate.clip import FRAME_MS, Clip, Format, SlateError, Track, check_file, make_clip
from rtmpcore import AudioMessage, VideoMessage
from rtmpcore.flv_file import file_header, file_tag

AAC = ("mp4a", 48_000, 2)
AVC = ("avc1", 320, 180)


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_still(tmp_path_factory.mktemp("slate") / "still.png")


@pytest.fixture(scope="module")
def moving(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_moving(tmp_path_factory.mktemp("slate") / "moving.mp4", seconds=4.2)


def tracks_of(clip: Clip) -> Tracks:
    """What a bridge makes of it."""
    bridge = Bridge()
    for _, message in clip.messages():
        for output in bridge.push(message):
            assert isinstance(output, Tracks)
            return output
    raise AssertionError


def flv_of(clip: Clip, until_ms: int) -> bytes:
    tags = itertools.takewhile(lambda each: each[0] < until_ms, clip.messages())
    header = file_header(has_video=clip.video is not None, has_audio=clip.audio is not None)
    return header + b"".join(file_tag(message) for _, message in tags)


@pytest.mark.parametrize("fourcc", ["avc1", "hvc1", "av01", "vp09"])
async def test_the_picture_has_the_codec_and_the_size_of_the_source(
    still: Path, fourcc: str
) -> None:
    clip = await make_clip(still, Format((fourcc, 640, 480), None))
    video = tracks_of(clip).video
    assert video is not None
    assert (video.FOURCC.decode(), video.width, video.height) == (fourcc, 640, 480)
    assert clip.audio is None
    assert clip.video is not None
    assert len(clip.video.frames) == 2_000 / FRAME_MS


@pytest.mark.parametrize("fourcc", ["mp4a", "Opus", "fLaC", "ac-3", "ec-3", ".mp3"])
@pytest.mark.parametrize("channels", [1, 2])
async def test_the_sound_has_the_codec_of_the_source(
    still: Path, fourcc: str, channels: int
) -> None:
    clip = await make_clip(still, Format(None, (fourcc, 48_000, channels)))
    audio = tracks_of(clip).audio
    assert audio is not None
    assert (audio.FOURCC.decode(), audio.sample_rate, audio.channels) == (fourcc, 48_000, channels)
    assert clip.sound_ms == Fraction(audio.samples_per_frame * 1_000, 48_000)
    assert clip.video is None


async def test_a_picture_of_another_shape_has_bars(still: Path) -> None:
    """A source of 320x320: above and below the picture of 16 to 9 it is black."""
    clip = await make_clip(still, Format(("avc1", 320, 320), None))
    with av.open(io.BytesIO(flv_of(clip, 2_000)), "r") as container:
        picture = next(container.decode(video=0)).to_ndarray(format="rgb24")
    assert picture.shape == (320, 320, 3)
    assert picture[20].max() < 20
    assert picture[300].max() < 20
    assert np.abs(picture[160].mean(axis=0) - (0, 160, 0)).max() < 12


async def test_a_decoder_finds_no_fault_over_several_rounds(moving: Path) -> None:
    clip = await make_clip(moving, Format(AVC, AAC))
    assert clip.loop_ms == 4_000
    with av.open(io.BytesIO(flv_of(clip, 9_000)), "r") as container:
        frames = list(container.decode(video=0))
    assert [frame.pts for frame in frames] == list(range(0, 9_000, FRAME_MS))
    seconds = [frame.to_ndarray(format="rgb24")[90, 160, 1] > 100 for frame in frames[12::25]]
    greens = [second for second, is_green in enumerate(seconds) if is_green]
    assert greens == [0, 4, 8]  # the first second of each round


async def test_the_sound_of_a_clip_is_heard_and_that_of_a_still_is_silent(
    still: Path, moving: Path
) -> None:
    loudest = []
    for path in (still, moving):
        with av.open(
            io.BytesIO(flv_of(await make_clip(path, Format(None, AAC)), 2_000)), "r"
        ) as container:
            sounds = [frame.to_ndarray() for frame in container.decode(audio=0)]
        loudest.append(max(float(np.abs(sound).max()) for sound in sounds))
    assert loudest[0] == 0
    assert loudest[1] > 0.2


@pytest.mark.parametrize("sound_ms", [Fraction(64, 3), Fraction(20), Fraction(96)])
def test_sound_and_picture_never_part(sound_ms: Fraction) -> None:
    """An hour: at the start of every round they are within one frame of sound of each other."""
    loop_ms = 2_000
    clip = Clip(
        loop_ms=loop_ms,
        video=Track(b"c", [b"I"] + [b"P"] * (loop_ms // FRAME_MS - 1)),
        audio=Track(b"c", [b"%d" % n for n in range(int(loop_ms / sound_ms) + 2)]),
        sound_ms=sound_ms,
    )
    heard, before_ms, rounds = Fraction(0), 0, 0
    for at_ms, message in clip.messages():
        assert before_ms <= at_ms
        before_ms = at_ms
        assert message.timestamp_ms == at_ms
        if isinstance(message, AudioMessage) and message.payload != b"c":
            assert at_ms == int(heard)
            if message.payload == b"0":
                assert abs(heard - rounds * loop_ms) < sound_ms
                rounds += 1
            heard += sound_ms
        elif isinstance(message, VideoMessage) and message.payload == b"I" and rounds:
            assert at_ms % loop_ms == 0
        if at_ms > 3_600_000:
            break
    assert rounds > 1_790


async def test_a_clip_is_cut_after_ten_seconds(tmp_path: Path) -> None:
    path = make_moving(tmp_path / "long.mp4", seconds=13, fps=5, has_sound=False)
    clip = await make_clip(path, Format(AVC, None))
    assert clip.loop_ms == 10_000


async def test_a_clip_that_takes_too_much_is_refused(
    moving: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(coder, "MAX_CLIP_BYTES", 10_000)
    with pytest.raises(SlateError, match=r"moving\.mp4 is too large, coded$"):
        coder.code(moving, AVC, AAC)
    monkeypatch.setattr(subject, "MAX_CLIP_BYTES", 10_000)
    with pytest.raises(SlateError, match=r"moving\.mp4 prints without end$"):
        await make_clip(moving, Format(AVC, AAC))


async def test_a_publisher_cannot_ask_for_a_huge_picture(moving: Path) -> None:
    with pytest.raises(SlateError, match=r"^no slate as avc1 4096x2306: the picture is too large$"):
        await make_clip(moving, Format(("avc1", 4096, 2306), None))


async def test_a_coder_that_hangs_is_ended(moving: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subject, "CODE_TIMEOUT_S", 0.05)
    with pytest.raises(SlateError, match=r"moving\.mp4 took more than 0\.05 s$"):
        await make_clip(moving, Format(AVC, AAC))


async def test_what_ffmpeg_has_no_encoder_for_is_refused(moving: Path) -> None:
    with pytest.raises(SlateError, match=r"moving\.mp4 cannot be coded: 'evc1'$"):
        await make_clip(moving, Format(("evc1", 320, 180), None))


async def test_what_is_no_picture_is_refused_in_a_line(tmp_path: Path) -> None:
    text = tmp_path / "slate.txt"
    text.write_text("be right back")
    sound = tmp_path / "slate.wav"
    with wave.open(str(sound), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(48_000)
        file.writeframes(bytes(9_600))
    for path, reason in (
        (tmp_path / "nowhere.png", "No such file"),
        (text, "is neither a picture nor a clip"),
        (sound, "has no picture"),
    ):
        with pytest.raises(SlateError, match=reason) as caught:
            await check_file(path)
        assert "\n" not in str(caught.value)


async def test_a_file_that_went_after_the_start_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SlateError, match=r"cannot be coded: No such file"):
        await make_clip(tmp_path / "gone.png", Format(AVC, None))
