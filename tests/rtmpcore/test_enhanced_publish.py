"""Whole connections that carry Enhanced RTMP: what FFmpeg encodes and packs, and other packings.

FFmpeg's own FLV reader is the judge of each track's frames.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import av
import pytest
import rtmp_publishers as wire
from enhanced_media import (
    AudioTrack,
    EnhancedMedia,
    Track,
    VideoTrack,
    load_enhanced,
    make_enhanced_clip,
    repacked,
)

from rtmpcore import (
    AudioCodec,
    AudioMessage,
    AudioTag,
    ColourInfo,
    Connect,
    ConnectAccepted,
    Connection,
    Metadata,
    Publish,
    PublishStarted,
    Role,
    Signal,
    TagKind,
    Unpublish,
    VideoCodec,
    VideoMessage,
    VideoTag,
    audio_tags,
    enhanced_audio,
    enhanced_video,
    parse_colour_info,
    video_tags,
)

if TYPE_CHECKING:
    from tests.rtmpcore.conftest import ConnectionPair

RANDOM = bytes(range(256)) * 12
CONFIG, FRAME = TagKind.CONFIG, TagKind.FRAME


class Publication(NamedTuple):
    """What encoders are asked for, and what codecs come of it."""

    tracks: Sequence[Track]
    video: Sequence[VideoCodec]
    """By track id."""
    audio: Sequence[AudioCodec]
    """By track id."""


PUBLICATIONS = {
    "a ladder of H.264 and two languages": Publication(
        [
            *(VideoTrack(height=height, gop=5, b_frames=1) for height in (180, 90)),
            *(AudioTrack(), AudioTrack(channels=1)),
        ],
        [VideoCodec.AVC, VideoCodec.AVC],
        [AudioCodec.AAC, AudioCodec.AAC],
    ),
    "HEVC and AV1, Opus and FLAC": Publication(
        [
            VideoTrack(encoder="libx265", b_frames=1),
            VideoTrack(encoder="libsvtav1", height=90),
            *(AudioTrack(encoder="libopus"), AudioTrack(encoder="flac")),
        ],
        [VideoCodec.HEVC, VideoCodec.AV1],
        [AudioCodec.OPUS, AudioCodec.FLAC],
    ),
    "VP9 and AC-3": Publication(
        [VideoTrack(encoder="libvpx-vp9"), AudioTrack(encoder="ac3", channels=6)],
        [VideoCodec.VP9],
        [AudioCodec.AC3],
    ),
    "E-AC-3 alone": Publication([AudioTrack(encoder="eac3")], [], [AudioCodec.EAC3]),
}
by_name = pytest.mark.parametrize("name", PUBLICATIONS)
with_video = pytest.mark.parametrize("name", [n for n in PUBLICATIONS if PUBLICATIONS[n].video])


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An FLV file of each publication, 0.4 s long."""
    folder = tmp_path_factory.mktemp("enhanced")
    return {
        name: make_enhanced_clip(folder / f"{index}.flv", publication.tracks, duration_s=0.4)
        for index, (name, publication) in enumerate(PUBLICATIONS.items())
    }


Message: TypeAlias = VideoMessage | AudioMessage
Tag: TypeAlias = VideoTag | AudioTag


def publish(media: EnhancedMedia, piece_bytes: int) -> list[Message]:
    """Send a clip to a server; return the media messages that come out."""
    data = wire.opening("live_key") + media.headers
    data += b"".join(message for _, message in media.messages()) + wire.unpublish("live_key")
    server = Connection(Role.SERVER, random_bytes=RANDOM)
    messages: list[Message] = []
    others: list[object] = []
    for start in range(0, len(data), piece_bytes):
        server.receive_data(data[start : start + piece_bytes])
        while (event := server.next_event()) not in (Signal.NEED_DATA, Signal.CLOSED):
            if isinstance(event, Signal):  # a pause
                continue
            if isinstance(event, VideoMessage | AudioMessage):
                messages.append(event)
                continue
            others.append(type(event))
            if isinstance(event, Connect):
                server.send(ConnectAccepted())
            elif isinstance(event, Publish):
                server.send(PublishStarted(stream_id=event.stream_id))
    assert others == [Connect, Publish, Metadata, Unpublish]
    return messages


def read(messages: Sequence[Message]) -> dict[tuple[str, int], list[Tag]]:
    """What the messages say of each track: its kind and id, its tags in order."""
    tracks: dict[tuple[str, int], list[Tag]] = defaultdict(list)
    for message in messages:
        if isinstance(message, VideoMessage):
            for video in video_tags(message.payload):
                tracks["video", video.track_id].append(video)
        else:
            for audio in audio_tags(message.payload):
                tracks["audio", audio.track_id].append(audio)
    return tracks


def ask_ffmpeg(path: Path) -> dict[tuple[str, int], list[bytes]]:
    """The frames that FFmpeg finds in a file, for each track."""
    with av.open(path) as container:
        frames: dict[tuple[str, int], list[bytes]] = {
            (stream.type, stream.id): [] for stream in container.streams
        }
        for packet in container.demux():
            if packet.size:
                frames[packet.stream.type, packet.stream.id].append(bytes(packet))
    return frames


def frames_of(tags: Sequence[Tag]) -> list[Tag]:
    return [tag for tag in tags if tag.kind is FRAME]


@by_name
def test_each_track_has_the_frames_that_ffmpeg_finds(name: str, files: dict[str, Path]) -> None:
    tracks = read(publish(load_enhanced(files[name]), 1 << 30))
    found = {key: [bytes(tag.body) for tag in frames_of(tags)] for key, tags in tracks.items()}
    assert found == ask_ffmpeg(files[name])
    assert all(len(frames) >= 4 for frames in found.values())


@by_name
def test_each_track_has_its_codec_and_its_configuration(name: str, files: dict[str, Path]) -> None:
    publication = PUBLICATIONS[name]
    tracks = read(publish(load_enhanced(files[name]), 1 << 30))
    wanted: dict[tuple[str, int], int] = {}
    wanted |= {("video", track): codec for track, codec in enumerate(publication.video)}
    wanted |= {("audio", track): codec for track, codec in enumerate(publication.audio)}
    assert {key: frames_of(tags)[0].codec for key, tags in tracks.items()} == wanted
    for key, codec in wanted.items():
        # AC-3 has no configuration: FFmpeg sends an empty one, which is nothing to decode.
        has_none = codec in (AudioCodec.AC3, AudioCodec.EAC3)
        first = tracks[key][0]
        assert first.kind is (TagKind.OTHER if has_none else CONFIG)
        assert first.codec == codec


@with_video
def test_pictures_say_whether_they_are_keyframes_and_when_they_are_shown(
    name: str, files: dict[str, Path]
) -> None:
    with av.open(files[name]) as container:
        expected = defaultdict(list)
        for packet in container.demux(container.streams.video):
            if packet.pts is not None and packet.dts is not None:
                expected[packet.stream.id].append((packet.is_keyframe, packet.pts - packet.dts))
    tracks = read(publish(load_enhanced(files[name]), 1 << 30))
    for track, pictures in expected.items():
        found = [
            (tag.keyframe, tag.composition_time_ms)
            for tag in frames_of(tracks["video", track])
            if isinstance(tag, VideoTag)
        ]
        assert found == pictures


@by_name
def test_a_connection_in_small_pieces_says_the_same(name: str, files: dict[str, Path]) -> None:
    media = load_enhanced(files[name])
    assert publish(media, 61) == publish(media, 1 << 30)


@with_video
def test_all_tracks_in_one_message_say_the_same(name: str, files: dict[str, Path]) -> None:
    media = load_enhanced(files[name])
    alone = publish(media, 1 << 30)
    together = publish(repacked(media, in_one_message=True), 1 << 30)
    assert read(together) == read(alone)
    most = max(len(video_tags(m.payload)) for m in together if isinstance(m, VideoMessage))
    assert most == len(PUBLICATIONS[name].video)


@by_name
def test_nanoseconds_are_those_of_each_track_of_the_message(
    name: str, files: dict[str, Path]
) -> None:
    media = load_enhanced(files[name])
    plain = read(publish(media, 1 << 30))
    fine = read(publish(repacked(media, in_one_message=True, offset_ns=123_456), 1 << 30))
    for key, tags in plain.items():
        expected = [tag._replace(offset_ns=123_456) for tag in frames_of(tags)]
        assert frames_of(fine[key]) == expected


def test_colours_of_a_picture_for_hdr(tmp_path: Path) -> None:
    hlg = VideoTrack(encoder="libx265", pix_fmt="yuv420p10le", colours=(9, 18, 9))
    media = load_enhanced(make_enhanced_clip(tmp_path / "hlg.flv", [hlg], duration_s=0.2))
    tags = read(publish(media, 1 << 30))["video", 0]
    colours = [parse_colour_info(tag.body) for tag in tags if tag.kind is TagKind.METADATA]
    assert colours == [ColourInfo(primaries=9, transfer=18, matrix=9)]
    kinds = [tag.kind for tag in tags]
    assert kinds.index(TagKind.METADATA) < kinds.index(FRAME)


def flv_file(path: Path, messages: Sequence[Message]) -> Path:
    """Messages as FLV's file has them."""
    out = b"FLV\x01\x05" + (9).to_bytes(4, "big") + bytes(4)
    for message in messages:
        time = message.timestamp_ms.to_bytes(4, "big")
        head = bytes([9 if isinstance(message, VideoMessage) else 8])
        head += len(message.payload).to_bytes(3, "big") + time[1:] + time[:1] + bytes(3)
        out += head + message.payload + (11 + len(message.payload)).to_bytes(4, "big")
    path.write_bytes(out)
    return path


def rebuilt(message: Message) -> Message:
    """What our builders make of a message; as it is where it says nothing."""
    if isinstance(message, VideoMessage):
        video = video_tags(message.payload)
        if any(tag.kind is TagKind.OTHER for tag in video):
            return message
        return replace(message, payload=enhanced_video(*video))
    audio = audio_tags(message.payload)
    if any(tag.kind is TagKind.OTHER for tag in audio):
        return message
    return replace(message, payload=enhanced_audio(*audio))


@by_name
def test_ffmpeg_reads_what_our_builders_write(
    name: str, files: dict[str, Path], tmp_path: Path
) -> None:
    messages = publish(load_enhanced(files[name]), 1 << 30)
    written = flv_file(tmp_path / "rebuilt.flv", [rebuilt(message) for message in messages])
    assert ask_ffmpeg(written) == ask_ffmpeg(files[name])


@by_name
def test_our_builders_write_many_tracks_as_the_specification_has_them(
    name: str, files: dict[str, Path]
) -> None:
    # FFmpeg is no judge here: of several tracks in one message, its reader finds the first.
    media = repacked(load_enhanced(files[name]), in_one_message=True, offset_ns=123_456)
    messages = publish(media, 1 << 30)
    assert [rebuilt(message) for message in messages] == messages


@by_name
def test_our_client_sends_them(name: str, files: dict[str, Path], pair: "ConnectionPair") -> None:
    pair.publish()
    for message in publish(load_enhanced(files[name]), 1 << 30):
        pair.send(pair.client, rebuilt(message))
