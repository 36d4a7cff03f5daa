"""FLV and Enhanced RTMP tag headers, and colours: any bytes give tags or `FlvError`.

Further invariants: there is a tag at least, and no more than there are track ids; a body is a piece
of the payload, and never empty in what is to be used; numbers are in their ranges; tags that
Enhanced RTMP can say are read again from what `enhanced_video` and `enhanced_audio` build of them.
Colours never raise.

Input: byte 0 modulo 3: video, audio, a metadata body; the rest is the payload.
"""

from rtmpcore.errors import FlvError
from rtmpcore.flv import (
    AudioTag,
    TagKind,
    VideoTag,
    audio_tags,
    enhanced_audio,
    enhanced_video,
    parse_colour_info,
    video_tags,
)
from rtmpcore.flv_tags import AUDIO_FOURCC, VIDEO_FOURCC

_UNUSED = (TagKind.END, TagKind.OTHER)


def test_one_input(data: bytes) -> None:
    if not data:
        return
    payload = data[1:]
    try:
        if data[0] % 3 == 0:
            _check_video(payload)
        elif data[0] % 3 == 1:
            _check_audio(payload)
        else:
            _check_colours(payload)
    except FlvError:
        return


def _check_video(payload: bytes) -> None:
    tags = list(video_tags(payload))
    _check_tags(tags, payload)
    for tag in tags:
        assert -0x800000 <= tag.composition_time_ms <= 0x7FFFFF
        if tag.kind is TagKind.METADATA:
            _check_colours(bytes(tag.body))
    can_be_built = all(t.codec in VIDEO_FOURCC and t.kind is not TagKind.OTHER for t in tags)
    if can_be_built and payload[0] & 0x80:
        assert list(video_tags(enhanced_video(*tags))) == tags


def _check_audio(payload: bytes) -> None:
    tags = list(audio_tags(payload))
    _check_tags(tags, payload)
    can_be_built = all(t.codec in AUDIO_FOURCC and t.kind is not TagKind.OTHER for t in tags)
    if can_be_built:
        assert list(audio_tags(enhanced_audio(*tags))) == tags


def _check_tags(tags: list[VideoTag] | list[AudioTag], payload: bytes) -> None:
    assert 1 <= len(tags) <= 256
    for tag in tags:
        assert bytes(tag.body) in payload
        assert len(tag.body) > 0 or tag.kind in _UNUSED
        assert 0 <= tag.track_id <= 255
        assert 0 <= tag.offset_ns <= 999_999


def _check_colours(body: bytes) -> None:
    info = parse_colour_info(body)
    if info is None:
        return
    assert all(0 <= index <= 255 for index in (info.primaries, info.transfer, info.matrix))
    assert all(level is None or 1 <= level <= 10_000 for level in (info.max_cll, info.max_fall))
    if info.mastering is not None:
        assert info.mastering.min_luminance_nits < info.mastering.max_luminance_nits <= 10_000
