"""Any video track's configuration: which codecs there are, and the reader for each.

Three codecs, one shape: ``record``, ``codec_string``, ``width``, ``height``, ``display_width``,
``sample_aspect_ratio``, ``frame_rate`` and the class's ``FOURCC``. What differs (NAL unit lengths,
OBUs) stays in the codec's own module.

Spec: ISO/IEC 14496-15, 5.4.2, 8.4.1; AV1 Codec ISO Media File Format Binding, 2.2 (the names of the
sample entries).
"""

from typing import Final, TypeAlias

from hls.av1 import Av1Config
from hls.errors import MediaError
from hls.h264 import AvcConfig
from hls.hevc import HevcConfig

VideoConfig: TypeAlias = AvcConfig | HevcConfig | Av1Config

_CODECS: Final[dict[bytes, type[VideoConfig]]] = {
    codec.FOURCC: codec for codec in (AvcConfig, HevcConfig, Av1Config)
}


def parse_video_config(fourcc: bytes, record: bytes) -> VideoConfig:
    """Read a decoder configuration record.

    Args:
        fourcc: Name of its sample entry: ``avc1``, ``hvc1`` or ``av01``.
        record: What goes into that entry's ``avcC``, ``hvcC`` or ``av1C``.

    Raises:
        MediaError: The record is unusable, or there is no such codec.
    """
    codec = _CODECS.get(fourcc)
    if codec is None:
        raise MediaError(f"video codec {fourcc!r} is not supported")
    return codec.parse(record)
