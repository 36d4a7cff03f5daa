"""One door to all audio codecs."""

import pytest
from audio_records import Ac3Fields, Eac3Fields, mp3_frame, opus_head, stream_info
from media_samples import asc

from hls.aac import AacConfig
from hls.ac3 import Ac3Config, Eac3Config
from hls.audio import FRAME_CONFIGURED, AudioConfig, parse_audio_config
from hls.errors import MediaError
from hls.flac import FlacConfig
from hls.mp3 import Mp3Config
from hls.opus import OpusConfig

RECORDS: dict[bytes, tuple[bytes, type[AudioConfig]]] = {
    b"mp4a": (asc(), AacConfig),
    b"Opus": (opus_head(), OpusConfig),
    b"fLaC": (stream_info(), FlacConfig),
    b"ac-3": (Ac3Fields().frame(), Ac3Config),
    b"ec-3": (Eac3Fields().frame(), Eac3Config),
    b".mp3": (mp3_frame(), Mp3Config),
}


@pytest.mark.parametrize("fourcc", RECORDS)
def test_each_codec(fourcc: bytes) -> None:
    record, kind = RECORDS[fourcc]
    config = parse_audio_config(fourcc, record)
    assert type(config) is kind
    assert fourcc == config.FOURCC
    assert config == kind.parse(record)
    assert config.codec_string.startswith("mp4a" if fourcc == b".mp3" else fourcc.decode())
    assert config.record
    assert config.samples_in(b"") == 0


def test_aac_frames_are_of_one_length() -> None:
    config = AacConfig.parse(asc())
    assert config.record == config.config
    assert config.samples_in(b"\x21") == config.samples_per_frame == 1_024


@pytest.mark.parametrize("fourcc", [b"", b"OPUS", b"flac", b"ac-4", b"mp3"])
def test_other_codecs(fourcc: bytes) -> None:
    with pytest.raises(MediaError, match="is not supported"):
        parse_audio_config(fourcc, asc())


@pytest.mark.parametrize("fourcc", [b"Opus", b"fLaC", b"ac-3", b"ec-3", b".mp3"])
def test_a_record_of_another_codec(fourcc: bytes) -> None:
    for other, (record, _) in RECORDS.items():
        if other != fourcc:
            with pytest.raises(MediaError):
                parse_audio_config(fourcc, record)


def test_some_are_configured_by_any_frame() -> None:
    for fourcc in FRAME_CONFIGURED:
        frame, _ = RECORDS[fourcc]
        assert parse_audio_config(fourcc, frame) == parse_audio_config(fourcc, frame + frame)
    assert frozenset(RECORDS) - FRAME_CONFIGURED == {b"mp4a", b"Opus", b"fLaC"}
