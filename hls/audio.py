"""Any audio track's configuration: which codecs there are, and the reader for each.

One shape: ``record``, ``codec_string``, ``sample_rate``, ``channels``, ``samples_per_frame``,
``silence``, the class's ``FOURCC`` and ``samples_in(frame)``, which says how long one frame lasts,
in samples, or 0 for what is none. Only AAC's frames are all of one length.

Spec: Enhanced RTMP v2, Enhanced Audio (FourCC, SequenceStart); ISO/IEC 14496-12, 12.2 (sample
entries).
"""

from typing import Final, TypeAlias

from hls.aac import AacConfig
from hls.ac3 import Ac3Config, Eac3Config
from hls.errors import MediaError
from hls.flac import FlacConfig
from hls.mp3 import Mp3Config
from hls.opus import OpusConfig

AudioConfig: TypeAlias = AacConfig | OpusConfig | FlacConfig | Ac3Config | Eac3Config | Mp3Config

_CODECS: Final[dict[bytes, type[AudioConfig]]] = {
    codec.FOURCC: codec
    for codec in (AacConfig, OpusConfig, FlacConfig, Ac3Config, Eac3Config, Mp3Config)
}

FRAME_CONFIGURED: Final = frozenset((Ac3Config.FOURCC, Eac3Config.FOURCC, Mp3Config.FOURCC))
"""Codecs without a sequence header: every frame says what it needs."""


def parse_audio_config(fourcc: bytes, record: bytes) -> AudioConfig:
    """Read the configuration of an audio track.

    Args:
        fourcc: As in Enhanced RTMP: ``mp4a``, ``Opus``, ``fLaC``, ``ac-3``, ``ec-3``, ``.mp3``.
        record: What the sequence header carries: an AudioSpecificConfig, an ``OpusHead``, FLAC's
            first metadata blocks. The others (`FRAME_CONFIGURED`) have none; there it is any frame,
            and configurations are equal as long as nothing a decoder must know has changed.

    Raises:
        MediaError: The record is unusable, or there is no such codec.
    """
    codec = _CODECS.get(fourcc)
    if codec is None:
        raise MediaError(f"audio codec {fourcc!r} is not supported")
    return codec.parse(record)
