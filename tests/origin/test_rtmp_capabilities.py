"""What publishers are told that we take is what is taken."""

from collections.abc import Callable

import pytest

from hls.audio import parse_audio_config
from hls.errors import MediaError
from hls.video import parse_video_config
from origin.rtmp.capabilities import INGESTED

Parse = Callable[[bytes, bytes], object]


def is_taken(parse: Parse, name: str) -> bool:
    try:
        parse(name.encode("ascii"), b"")
    except MediaError as error:
        return "is not supported" not in str(error)
    return True


def test_every_codec_that_is_named_is_taken() -> None:
    assert INGESTED.codecs == {*INGESTED.video, *INGESTED.audio}
    assert all(is_taken(parse_video_config, name) for name in INGESTED.video)
    assert all(is_taken(parse_audio_config, name) for name in INGESTED.audio)


@pytest.mark.parametrize("name", ["vp08", "vvc1"])
def test_what_is_not_named_is_not_taken(name: str) -> None:
    assert name not in INGESTED.codecs
    assert not is_taken(parse_video_config, name)
