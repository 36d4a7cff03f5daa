"""The Media Initialization Section: ``ftyp`` and ``moov`` for a set of tracks.

Says what the tracks are and nothing of what is in them: all sample tables are empty and all
durations zero, since fragments follow (rfc8216bis 3.1.2)::

    ftyp iso6, cmfc, mp42                                      and av01, if it is that
    moov
      mvhd
      trak (tkhd mdia (mdhd hdlr minf (vmhd|smhd dinf stbl)))    one for each track
      mvex (trex)                                                one for each track

In a sample entry stand the decoder's record and, as far as they are known, the colours of video:
colr for any, mdcv and clli for what was graded on a brighter display.

The same configurations always give the same bytes, so equal bytes mean nothing has changed.

Spec: ISO/IEC 14496-12, 4.3 (ftyp), 8.2 to 8.8 (moov), 12.1, 12.2 (sample entries, pasp, colr, mdcv,
clli); 14496-14, 5.6 (esds, mp4a); 14496-15, 5.4.2, 8.4.1 (avc1, avcC, hvc1, hvcC); AV1 Codec ISO
Media File Format Binding, 2.1 to 2.3 (brand, av01, av1C); the bindings of VP9, Opus, FLAC and AC-3
that `vp9`, `opus`, `flac` and `ac3` name.
"""

import struct
from typing import Final

from hls.aac import AacConfig
from hls.audio import AudioConfig
from hls.clock import VIDEO_TIMESCALE
from hls.colour import Colour, MasteringDisplay
from hls.flac import FlacConfig
from hls.fragment import AUDIO_TRACK_ID, VIDEO_TRACK_ID
from hls.media import InitSegment
from hls.mp3 import Mp3Config
from hls.video import VideoConfig
from hls.vp9 import Vp9Config

_MOVIE_TIMESCALE: Final = 1000
_UNITY_MATRIX: Final = struct.pack(">9I", 0x10000, 0, 0, 0, 0x10000, 0, 0, 0, 0x40000000)
_UNDETERMINED: Final = 0x55C4  # ISO 639-2 "und", five bits a letter
_TRACK_ENABLED_IN_MOVIE: Final = 3
_MPEG4_AUDIO: Final = 0x40  # objectTypeIndication

# Sample entry -> the box in it that holds the decoder configuration record.
_RECORD_BOXES: Final = {b"avc1": b"avcC", b"hvc1": b"hvcC", b"av01": b"av1C", b"vp09": b"vpcC"}


def build_init_segment(video: VideoConfig | None, audio: AudioConfig | None) -> bytes:
    """Return the init segment for these tracks, at least one of which is not None."""
    brands = b"iso6cmfcmp42"
    if video is not None and video.FOURCC == b"av01":
        brands += b"av01"  # AV1's binding, 2.1: it shall be there
    traks = b""
    trexes = b""
    if video is not None:
        traks += _video_trak(video)
        trexes += _trex(VIDEO_TRACK_ID)
    if audio is not None:
        traks += _audio_trak(audio)
        trexes += _trex(AUDIO_TRACK_ID)
    return _box(b"ftyp", b"iso6", b"\0\0\0\1", brands) + _box(
        b"moov", _mvhd(), traks, _box(b"mvex", trexes)
    )


def describe_init_segment(
    index: int,
    data: bytes,
    video: VideoConfig | None,
    audio: AudioConfig | None,
    frame_rate: float | None,
) -> InitSegment:
    """Return the event for an init segment: its bytes, and what playlists say of its tracks."""
    return InitSegment(
        index=index,
        data=data,
        codecs=tuple(track.codec_string for track in (video, audio) if track is not None),
        width=video.display_width if video is not None else None,
        height=video.height if video is not None else None,
        frame_rate=frame_rate,
        audio=audio,
        video=video,
    )


def _box(kind: bytes, *payload: bytes) -> bytes:
    return struct.pack(">I4s", 8 + sum(map(len, payload)), kind) + b"".join(payload)


def _full_box(kind: bytes, flags: int, *payload: bytes) -> bytes:
    """A box with version 0 and 24 bits of flags."""
    return _box(kind, struct.pack(">I", flags), *payload)


def _mvhd() -> bytes:
    return _full_box(
        b"mvhd",
        0,
        struct.pack(">4I", 0, 0, _MOVIE_TIMESCALE, 0),  # created, modified, timescale, duration
        struct.pack(">IHxx8x", 0x10000, 0x100),  # rate, volume
        _UNITY_MATRIX,
        bytes(24),
        struct.pack(">I", max(VIDEO_TRACK_ID, AUDIO_TRACK_ID) + 1),  # next_track_ID
    )


def _tkhd(track_id: int, volume: int, width: int, height: int) -> bytes:
    return _full_box(
        b"tkhd",
        _TRACK_ENABLED_IN_MOVIE,
        struct.pack(">5I8x", 0, 0, track_id, 0, 0),  # created, modified, id, reserved, duration
        struct.pack(">4H", 0, 0, volume, 0),  # layer, alternate_group, volume, reserved
        _UNITY_MATRIX,
        struct.pack(">2I", width << 16, height << 16),
    )


def _trak(
    tkhd: bytes, timescale: int, handler: bytes, name: bytes, media_header: bytes, entry: bytes
) -> bytes:
    mdhd = _full_box(b"mdhd", 0, struct.pack(">4I2H", 0, 0, timescale, 0, _UNDETERMINED, 0))
    hdlr = _full_box(b"hdlr", 0, bytes(4), handler, bytes(12), name, b"\0")
    self_contained = _full_box(b"url ", 1)
    dinf = _box(b"dinf", _full_box(b"dref", 0, struct.pack(">I", 1), self_contained))
    stbl = _box(
        b"stbl",
        _full_box(b"stsd", 0, struct.pack(">I", 1), entry),
        _full_box(b"stts", 0, bytes(4)),
        _full_box(b"stsc", 0, bytes(4)),
        _full_box(b"stsz", 0, bytes(8)),
        _full_box(b"stco", 0, bytes(4)),
    )
    minf = _box(b"minf", media_header, dinf, stbl)
    return _box(b"trak", tkhd, _box(b"mdia", mdhd, hdlr, minf))


def _video_trak(config: VideoConfig) -> bytes:
    horizontal, vertical = config.sample_aspect_ratio
    entry = _box(
        config.FOURCC,
        struct.pack(">6xH16x", 1),  # data_reference_index
        struct.pack(">2H", config.width, config.height),
        struct.pack(">3IH", 0x480000, 0x480000, 0, 1),  # 72 dpi twice, reserved, frame_count
        bytes(32),  # compressorname
        struct.pack(">Hh", 24, -1),  # depth, pre_defined
        _box(
            _RECORD_BOXES[config.FOURCC],
            config.specific if isinstance(config, Vp9Config) else config.record,
        ),
        _box(b"pasp", struct.pack(">2I", horizontal, vertical)),
        _colour_boxes(config.colour) if config.colour is not None else b"",
    )
    return _trak(
        _tkhd(VIDEO_TRACK_ID, 0, config.display_width, config.height),
        VIDEO_TIMESCALE,
        b"vide",
        b"Headrace video",
        _full_box(b"vmhd", 1, bytes(8)),
        entry,
    )


def _colour_boxes(colour: Colour) -> bytes:
    code_points = (colour.primaries, colour.transfer, colour.matrix)
    boxes = _box(b"colr", b"nclx", struct.pack(">3HB", *code_points, colour.full_range << 7))
    if colour.mastering is not None:
        boxes += _mdcv(colour.mastering)
    if colour.max_cll is not None or colour.max_fall is not None:
        levels = (_clamped(level or 0, 16) for level in (colour.max_cll, colour.max_fall))
        boxes += _box(b"clli", struct.pack(">2H", *levels))  # 0: unknown
    return boxes


def _mdcv(display: MasteringDisplay) -> bytes:
    """MasteringDisplayColourVolumeBox: green, blue, red and white in steps of 0.00002, then
    luminances in steps of 0.0001 candela per square metre."""
    points = (display.green, display.blue, display.red, display.white)
    luminances = (display.max_luminance_nits, display.min_luminance_nits)
    return _box(
        b"mdcv",
        struct.pack(">8H", *(_clamped(at * 50_000, 16) for point in points for at in point)),
        struct.pack(">2I", *(_clamped(luminance * 10_000, 32) for luminance in luminances)),
    )


def _clamped(value: float, bits: int) -> int:
    return max(0, min(round(value), (1 << bits) - 1))


def _audio_trak(config: AudioConfig) -> bytes:
    name, bits_per_sample = config.FOURCC, 16
    if isinstance(config, AacConfig):
        specific = _esds(_MPEG4_AUDIO, _descriptor(5, config.config))
    elif isinstance(config, Mp3Config):
        name, specific = AacConfig.FOURCC, _esds(config.object_type, b"")
    else:
        specific = _box(config.BOX, config.specific)
        if isinstance(config, FlacConfig):
            bits_per_sample = config.bits_per_sample
    entry = _box(
        name,
        struct.pack(">6xH8x", 1),  # data_reference_index
        # channelcount, samplesize, pre_defined, reserved; the rate is 16.16, so 96 kHz is left to
        # the decoder's own box, which is what players read anyway.
        struct.pack(">4H", config.channels, bits_per_sample, 0, 0),
        struct.pack(">I", config.sample_rate << 16 if config.sample_rate < 1 << 16 else 0),
        specific,
    )
    return _trak(
        _tkhd(AUDIO_TRACK_ID, 0x100, 0, 0),
        config.sample_rate,
        b"soun",
        b"Headrace audio",
        _full_box(b"smhd", 0, bytes(4)),
        entry,
    )


def _esds(object_type: int, specific: bytes) -> bytes:
    """An ES_Descriptor (14496-1, 7.2.6.5) around a DecoderSpecificInfo, or none."""
    # Stream type audio, upstream 0, reserved 1; sizes and rates unknown.
    decoder_config = _descriptor(4, struct.pack(">BB11x", object_type, 0x15), specific)
    sl_config = _descriptor(6, b"\x02")  # predefined: as in MP4 files
    return _full_box(b"esds", 0, _descriptor(3, b"\0\0\0", decoder_config, sl_config))


def _descriptor(tag: int, *payload: bytes) -> bytes:
    """A descriptor with the usual four-byte size (14496-1, 8.3.3), 28 bits in sevens."""
    size = sum(map(len, payload))
    header = bytes(
        (tag, 0x80 | size >> 21 & 0x7F, 0x80 | size >> 14 & 0x7F, 0x80 | size >> 7 & 0x7F)
    )
    return header + bytes((size & 0x7F,)) + b"".join(payload)


def _trex(track_id: int) -> bytes:
    """Defaults for fragments: the one sample description; the rest every fragment says itself."""
    return _full_box(b"trex", 0, struct.pack(">5I", track_id, 1, 0, 0, 0))
