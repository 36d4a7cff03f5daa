"""H.265, AV1 and VP9 decoder configurations made by hand, bit by bit, independent of hls.

`HevcSpsFields` and `SequenceHeaderFields` write a parameter set from named fields, `hevc_record`
and `av1_record` a configuration record around it, `annex_b` and `obu` what an encoder would give;
`vp9_record` and `vp9_keyframe` are VP9's.
That FFmpeg finds these parameter sets legal is tested in
`tests/hls/test_hevc.py` and `test_av1.py`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from media_samples import BitWriter, escaped

ReferenceSet: TypeAlias = "tuple[list[int], list[int]] | str"
"""Distances back and forth; or one letter for each candidate of the set before: used, later, no."""


def annex_b(*units: bytes, start_code: bytes = b"\0\0\0\1") -> bytes:
    return b"".join(start_code + unit for unit in units)


def hevc_nal(kind: int, body: bytes = b"\x80", *, layer: int = 0) -> bytes:
    return (kind << 9 | layer << 3 | 1).to_bytes(2, "big") + body


@dataclass(kw_only=True)
class HevcSpsFields:
    profile_space: int = 0
    tier: int = 0
    profile: int = 1
    compatibility: int = 0x6000_0000
    constraints: int = 0x9000_0000_0000
    level: int = 93
    sub_layers: int = 1
    sub_layer_profiles: list[tuple[bool, bool]] = field(default_factory=list)
    """For each but the highest sub-layer: has a profile, has a level. All without, if left out."""
    nesting: bool = True
    chroma_format: int = 1
    separate_planes: bool = False
    width: int = 1280
    height: int = 720
    crop: tuple[int, int, int, int] | None = None  # left, right, top, bottom
    bit_depths: tuple[int, int] = (8, 8)
    poc_bits: int = 8
    ordering_per_layer: bool = False
    scaling_lists: str = ""
    """"default", or a letter for each of 20 lists: c(opied) or w(ritten)."""
    pcm: bool = False
    reference_sets: Sequence[ReferenceSet] = ()
    reference_set_count: int | None = None
    long_term: list[int] | None = None
    long_term_count: int | None = None
    aspect_idc: int | None = None
    extended_sar: tuple[int, int] = (0, 0)
    overscan: bool = False
    video_signal: bool = False
    colour: bool = False
    chroma_location: bool = False
    display_window: tuple[int, int, int, int] | None = None
    timing: tuple[int, int] | None = None  # num_units_in_tick, time_scale
    vui: bool = True

    def general_profile(self) -> bytes:
        w = BitWriter().u(2, self.profile_space).u(1, self.tier).u(5, self.profile)
        w.u(32, self.compatibility).u(48, self.constraints).u(8, self.level)
        return w.bytes(stop_bit=False)

    def unit(self, *, cut: int | None = None) -> bytes:
        """The NAL unit, or its first ``cut`` bytes before emulation prevention."""
        w = BitWriter().u(4, 0).u(3, self.sub_layers - 1).u(1, self.nesting)
        w.u(96, int.from_bytes(self.general_profile(), "big"))
        self._sub_layer_profiles(w)
        w.ue(0).ue(self.chroma_format)
        if self.chroma_format == 3:
            w.u(1, self.separate_planes)
        w.ue(self.width).ue(self.height).u(1, self.crop is not None)
        for edge in self.crop or ():
            w.ue(edge)
        for depth in self.bit_depths:
            w.ue(depth - 8)
        w.ue(self.poc_bits - 4).u(1, self.ordering_per_layer)
        for _ in range(self.sub_layers if self.ordering_per_layer else 1):
            w.ue(4).ue(2).ue(5)
        w.ue(0).ue(3).ue(0).ue(3).ue(0).ue(0)
        w.u(1, self.scaling_lists != "")
        if self.scaling_lists:
            w.u(1, self.scaling_lists != "default")
            if self.scaling_lists != "default":
                self._scaling_lists(w)
        w.u(1, 1).u(1, 1).u(1, self.pcm)
        if self.pcm:
            w.u(4, 7).u(4, 7).ue(0).ue(2).u(1, 1)
        self._reference_sets(w)
        w.u(1, self.long_term is not None)
        if self.long_term is not None:
            w.ue(len(self.long_term) if self.long_term_count is None else self.long_term_count)
            for lsb in self.long_term:
                w.u(self.poc_bits, lsb).u(1, 1)
        w.u(1, 1).u(1, 1).u(1, self.vui)
        if self.vui:
            self._vui(w)
        w.u(1, 0)
        return hevc_nal(33, escaped(w.bytes()[:cut]))

    def vps(self) -> bytes:
        """A video parameter set that goes with it."""
        w = BitWriter().u(4, 0).u(2, 3).u(6, 0).u(3, self.sub_layers - 1).u(1, self.nesting)
        w.u(16, 0xFFFF).u(96, int.from_bytes(self.general_profile(), "big"))
        self._sub_layer_profiles(w)
        w.u(1, 0).ue(4).ue(2).ue(5).u(6, 0).ue(0).u(1, 0).u(1, 0)
        return hevc_nal(32, escaped(w.bytes()))

    def _sub_layer_profiles(self, w: BitWriter) -> None:
        lower = self.sub_layers - 1
        present = self.sub_layer_profiles or [(False, False)] * lower
        for has_profile, has_level in present:
            w.u(1, has_profile).u(1, has_level)
        if lower:
            w.u(2 * (8 - lower), 0)
        for has_profile, has_level in present:
            if has_profile:
                w.u(88, int.from_bytes(self.general_profile()[:11], "big"))
            if has_level:
                w.u(8, self.level - 3)

    def _scaling_lists(self, w: BitWriter) -> None:
        letters = iter(self.scaling_lists)
        for size in range(4):
            for _ in range(6 if size < 3 else 2):
                written = next(letters) == "w"
                w.u(1, written)
                if not written:
                    w.ue(0)
                    continue
                if size > 1:
                    w.se(-3)
                for index in range((16, 64, 64, 64)[size]):
                    w.se(index % 3 - 1)

    def _reference_sets(self, w: BitWriter) -> None:
        count = self.reference_set_count
        w.ue(len(self.reference_sets) if count is None else count)
        for index, pictures in enumerate(self.reference_sets):
            if index:
                w.u(1, isinstance(pictures, str))
            if isinstance(pictures, str):
                w.u(1, 1).ue(0)  # each one picture further back
                for letter in pictures:
                    w.u(1, letter == "u")
                    if letter != "u":
                        w.u(1, letter == "l")
            else:
                w.ue(len(pictures[0])).ue(len(pictures[1]))
                for distances in pictures:
                    for distance in distances:
                        w.ue(distance - 1).u(1, 1)

    def _vui(self, w: BitWriter) -> None:
        w.u(1, self.aspect_idc is not None)
        if self.aspect_idc is not None:
            w.u(8, self.aspect_idc)
            if self.aspect_idc == 255:
                w.u(16, self.extended_sar[0]).u(16, self.extended_sar[1])
        w.u(1, self.overscan)
        if self.overscan:
            w.u(1, 1)
        w.u(1, self.video_signal)
        if self.video_signal:
            w.u(3, 5).u(1, 0).u(1, self.colour)
            if self.colour:
                w.u(24, 0x010101)
        w.u(1, self.chroma_location)
        if self.chroma_location:
            w.ue(1).ue(1)
        w.u(3, 0).u(1, self.display_window is not None)
        for edge in self.display_window or ():
            w.ue(edge)
        w.u(1, self.timing is not None)
        if self.timing is not None:
            w.u(32, self.timing[0]).u(32, self.timing[1]).u(1, 0).u(1, 0)
        w.u(1, 0)


HEVC_VPS = bytes.fromhex("40010c01ffff01600000030090000003000003005d928090")
HEVC_PPS = bytes.fromhex("4401c172b46240")


def hevc_record(
    sps: bytes | None = None,
    *,
    version: int = 1,
    length_size: int = 4,
    general_profile: bytes | None = None,
    arrays: Sequence[tuple[int, list[bytes]]] | None = None,
    tail: bytes = b"",
) -> bytes:
    """An HEVCDecoderConfigurationRecord of 4:2:0 video with eight bits."""
    if arrays is None:
        arrays = [(32, [HEVC_VPS]), (33, [sps or HevcSpsFields().unit()]), (34, [HEVC_PPS])]
    return b"".join(
        (
            bytes((version,)),
            general_profile or HevcSpsFields().general_profile(),
            bytes.fromhex("f000fcfdf8f80000"),
            bytes((0x0C | length_size - 1, len(arrays))),
            *(
                bytes((0x80 | kind,))
                + len(units).to_bytes(2, "big")
                + b"".join(len(unit).to_bytes(2, "big") + unit for unit in units)
                for kind, units in arrays
            ),
            tail,
        )
    )


def obu(kind: int, payload: bytes = b"", *, layer: bool = False, sized: bool = True) -> bytes:
    header = bytes((kind << 3 | layer << 2 | sized << 1,)) + b"\x08" * layer
    if not sized:
        return header + payload
    size = bytearray()
    rest = len(payload)
    while rest > 0x7F:
        size.append(rest & 0x7F | 0x80)
        rest >>= 7
    return header + bytes((*size, rest)) + payload


@dataclass(kw_only=True)
class SequenceHeaderFields:
    profile: int = 0
    reduced: bool = False
    timing: tuple[int, int, int | None] | None = None
    """Units in a tick, time scale, ticks a picture (None: not equal)."""
    decoder_model: bool = False
    display_delay: bool = False
    points: Sequence[tuple[int, int]] = ((5, 0),)
    """Level and tier of each operating point."""
    width: int = 1280
    height: int = 720
    frame_ids: bool = False
    order_hint: bool = True
    screen_content: str = "chosen"
    """"chosen", "on", "on, integer mv forced" or "off"."""
    bit_depth: int = 8
    monochrome: bool = False
    colour: tuple[int, int, int] | None = None
    full_range: bool = False
    subsampling: tuple[int, int] = (1, 1)
    chroma_position: int = 0

    def payload(self) -> bytes:
        w = BitWriter().u(3, self.profile).u(1, self.reduced).u(1, self.reduced)
        if self.reduced:
            w.u(5, self.points[0][0])
        else:
            self._timing_and_points(w)
        w.u(4, 13).u(4, 12).u(14, self.width - 1).u(13, self.height - 1)
        if not self.reduced:
            w.u(1, self.frame_ids)
            if self.frame_ids:
                w.u(4, 3).u(3, 2)
        w.u(3, 5)
        if not self.reduced:
            self._inter_tools(w)
        w.u(3, 2)
        self._colours(w)
        return w.u(1, 0).bytes()

    def _timing_and_points(self, w: BitWriter) -> None:
        w.u(1, self.timing is not None)
        if self.timing is not None:
            ticks, scale, ticks_per_picture = self.timing
            w.u(32, ticks).u(32, scale).u(1, ticks_per_picture is not None)
            if ticks_per_picture is not None:
                w.ue(ticks_per_picture - 1)
            w.u(1, self.decoder_model)
            if self.decoder_model:
                w.u(5, 9).u(32, 1).u(5, 8).u(5, 7)
        w.u(1, self.display_delay).u(5, len(self.points) - 1)
        for index, (level, tier) in enumerate(self.points):
            # Spatial layers 0 to n, fewer with every point.
            layers = (1 << len(self.points) - index) - 1 if len(self.points) > 1 else 0
            w.u(4, layers).u(8, 1 if layers else 0).u(5, level)
            if level > 7:
                w.u(1, tier)
            if self.decoder_model:
                w.u(1, index == 0)
                if index == 0:
                    w.u(10, 500).u(10, 400).u(1, 1)
            if self.display_delay:
                w.u(1, index == 0)
                if index == 0:
                    w.u(4, 3)

    def _inter_tools(self, w: BitWriter) -> None:
        w.u(4, 6).u(1, self.order_hint)
        if self.order_hint:
            w.u(2, 1)
        w.u(1, self.screen_content == "chosen")
        if self.screen_content != "chosen":
            w.u(1, self.screen_content != "off")
        if self.screen_content == "on, integer mv forced":
            w.u(1, 0).u(1, 1)
        elif self.screen_content != "off":
            w.u(1, 1)
        if self.order_hint:
            w.u(3, 6)

    def _colours(self, w: BitWriter) -> None:
        w.u(1, self.bit_depth > 8)
        if self.profile == 2 and self.bit_depth > 8:
            w.u(1, self.bit_depth == 12)
        if self.profile != 1:
            w.u(1, self.monochrome)
        w.u(1, self.colour is not None)
        for number in self.colour or ():
            w.u(8, number)
        if self.monochrome:
            w.u(1, self.full_range)
            return
        if self.colour == (1, 13, 0):
            w.u(1, 0)
            return
        w.u(1, self.full_range)
        subsampling = {0: (1, 1), 1: (0, 0), 2: (1, 0)}[self.profile]
        if self.profile == 2 and self.bit_depth == 12:
            subsampling = self.subsampling
            w.u(1, subsampling[0])
            if subsampling[0]:
                w.u(1, subsampling[1])
        if subsampling == (1, 1):
            w.u(2, self.chroma_position)
        w.u(1, 0)


def av1_record(
    header: bytes | None = None,
    *,
    version: int = 0x81,
    profile_level: int = 5,
    formats: int = 0x0C,
    obus: bytes | None = None,
) -> bytes:
    """An AV1CodecConfigurationRecord; its own fields do not follow the sequence header."""
    if obus is None:
        obus = obu(1, SequenceHeaderFields().payload() if header is None else header)
    return bytes((version, profile_level, formats, 0)) + obus


def vp9_record(
    *,
    profile: int = 0,
    level: int = 31,
    bit_depth: int = 8,
    chroma: int = 1,
    full_range: int = 0,
    colour: tuple[int, int, int] = (2, 2, 2),
    box_head: bool = True,
) -> bytes:
    """A VPCodecConfigurationRecord, with the box's version and flags or without."""
    formats = bit_depth << 4 | chroma << 1 | full_range
    return b"\1\0\0\0" * box_head + bytes((profile, level, formats, *colour, 0, 0))


def vp9_keyframe(
    *,
    profile: int = 0,
    width: int = 1280,
    height: int = 720,
    rgb: bool = False,
    sync_code: int = 0x498342,
    inter: bool = False,
    shows_existing: bool = False,
) -> bytes:
    """The beginning of a frame."""
    w = BitWriter().u(2, 2).u(1, profile & 1).u(1, profile >> 1)
    if profile == 3:
        w.u(1, 0)
    w.u(1, shows_existing).u(1, inter).u(2, 2).u(24, sync_code)
    if profile >= 2:
        w.u(1, 1)
    w.u(3, 7 if rgb else 2)
    if not rgb:
        w.u(1, 1)
    if profile & 1:
        w.u(1 if rgb else 3, 0)
    return w.u(16, width - 1).u(16, height - 1).u(1, 0).bytes() + bytes(20)
