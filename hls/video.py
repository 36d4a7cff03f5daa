"""Any video track's configuration: which codecs there are, and the reader for each.

Four codecs, one shape: ``record``, ``codec_string``, ``width``, ``height``, ``display_width``,
``sample_aspect_ratio``, ``frame_rate``, ``colour``, ``length_size`` and the class's ``FOURCC``.
What differs (NAL unit lengths, OBUs, superframes) stays in the codec's own module; `scanner` and
`declared_keyframe_interval` look into samples of any.

Spec: ISO/IEC 14496-15, 5.4.2, 8.4.1; AV1 Codec ISO Media File Format Binding, 2.2; VP Codec ISO
Media File Format Binding, "Sample Entry" (the names of the sample entries).
"""

from collections.abc import Callable
from typing import Final, TypeAlias

from hls import h264, hevc
from hls.av1 import Av1Config, scan_obus
from hls.errors import MediaError
from hls.h264 import AvcConfig
from hls.hevc import HevcConfig
from hls.picture import PictureSummary
from hls.vp9 import Vp9Config, scan_frame

VideoConfig: TypeAlias = AvcConfig | HevcConfig | Av1Config | Vp9Config

Scanner: TypeAlias = Callable[[bytes | memoryview, int], PictureSummary]
"""What is in a sample: its arguments are the bytes and the configuration's ``length_size``."""

_CODECS: Final[dict[bytes, type[VideoConfig]]] = {
    codec.FOURCC: codec for codec in (AvcConfig, HevcConfig, Av1Config, Vp9Config)
}

_SCANNERS: Final[dict[bytes, Scanner]] = {
    AvcConfig.FOURCC: h264.scan_nal_units,
    HevcConfig.FOURCC: hevc.scan_nal_units,
    Av1Config.FOURCC: scan_obus,
    Vp9Config.FOURCC: scan_frame,
}


def parse_video_config(fourcc: bytes, record: bytes) -> VideoConfig:
    """Read a decoder configuration record.

    Args:
        fourcc: Name of its sample entry: ``avc1``, ``hvc1``, ``av01`` or ``vp09``.
        record: What goes into that entry's ``avcC``, ``hvcC``, ``av1C`` or ``vpcC``.

    Returns:
        The configuration. That of VP9 has no size, and AV1's need not have one (0), before a
        keyframe has been seen: whoever makes a track of it comes to `with_size` at each of these.

    Raises:
        MediaError: The record is unusable, or there is no such codec.
    """
    codec = _CODECS.get(fourcc)
    if codec is None:
        raise MediaError(f"video codec {fourcc!r} is not supported")
    return codec.parse(record)


def with_size(config: VideoConfig, keyframe: bytes | memoryview) -> VideoConfig:
    """Return the configuration as a keyframe has it: VP9 says its size only there, AV1 may.

    Raises:
        MediaError: It is not a keyframe of the codec; never for codecs that know their size.
    """
    return config.sized(keyframe) if isinstance(config, Vp9Config | Av1Config) else config


def scanner(config: VideoConfig) -> Scanner:
    """Return the function that looks into samples of this configuration."""
    return _SCANNERS[config.FOURCC]


def declared_keyframe_interval(config: VideoConfig, sample: bytes | memoryview) -> int | None:
    """Return the longest GOP that x264 or x265 declares, in frames, or None without a declaration.

    Args:
        config: Of the sample.
        sample: One that its `scanner` has accepted.

    Returns:
        At least 1; 2**32 for ``keyint=infinite``.
    """
    if isinstance(config, AvcConfig):
        return h264.declared_keyframe_interval(sample, config.length_size)
    if isinstance(config, HevcConfig):
        return hevc.declared_keyframe_interval(sample, config)
    return None
