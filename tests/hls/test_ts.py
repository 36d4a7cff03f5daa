"""Segments as transport streams: the same access units, at the same times, behind a clock."""

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from media_samples import PPS, SpsFields, asc, avc_record, nal
from ts_reader import WRAP, Continuity, TsSegment, adts_frames, nal_units, read_segment
from video_records import (
    HEVC_PPS,
    HEVC_VPS,
    HevcSpsFields,
    av1_record,
    hevc_nal,
    hevc_record,
)

from hls import AacConfig, Av1Config, AvcConfig, HevcConfig, InitSegment, UsageError, VideoConfig
from hls.adts import MAX_FRAME_BYTES
from hls.fragment import NON_SYNC_FLAGS, SYNC_FLAGS, FragmentWriter
from hls.init_segment import describe_init_segment
from hls.ts import (
    CLOCK_LEAD_TICKS,
    MAX_AUDIO_UNIT_BYTES,
    MAX_CLOCK_INTERVAL_TICKS,
    MAX_SPAN_TICKS,
    TIME_OFFSET_TICKS,
    TsTracks,
    mux_segment,
)
from native import FragmentSample

AVC, HEVC, AAC = 0x1B, 0x24, 0x0F
SPS = SpsFields().unit()
AVC_CONFIG = AvcConfig.parse(avc_record())
HEVC_CONFIG = HevcConfig.parse(hevc_record())
AAC_CONFIG = AacConfig.parse(asc(48_000, 2))
AVC_DELIMITER = b"\x09\xf0"
FRAME = 1024


def described(video: VideoConfig | None, audio: AacConfig | None) -> InitSegment:
    return describe_init_segment(0, b"", video, audio, None)


def tracks(video: VideoConfig | None, audio: AacConfig | None = None) -> TsTracks:
    found = TsTracks.of(described(video, audio))
    assert found is not None
    return found


BOTH = tracks(AVC_CONFIG, AAC_CONFIG)
VIDEO = tracks(AVC_CONFIG)
AUDIO = tracks(None, AAC_CONFIG)


def picture(
    data: bytes = b"", duration: int = 3000, offset: int = 0, *, idr: bool = False
) -> FragmentSample:
    flags = SYNC_FLAGS if idr else NON_SYNC_FLAGS
    return FragmentSample(data or nal(5 if idr else 1), duration, offset, flags)


def sound(data: bytes = b"\x21sound", duration: int = FRAME) -> FragmentSample:
    return FragmentSample(data, duration, 0, SYNC_FLAGS)


def part(
    video: Sequence[FragmentSample] = (),
    audio: Sequence[FragmentSample] = (),
    *,
    video_time: int = 0,
    audio_time: int = 0,
) -> bytes:
    return FragmentWriter().write(video_time, video, audio_time, audio)


def mux(carried: TsTracks, *parts: bytes, msn: int = 0, start: int = 0) -> TsSegment:
    segment = read_segment(bytes(mux_segment(carried, parts, msn=msn, start_ticks=start)))
    once = Continuity()
    once.add(segment)
    return segment


def times(segment: TsSegment, stream_type: int) -> list[tuple[int, int]]:
    """(pts, dts) of each unit on the media clock."""
    offset = TIME_OFFSET_TICKS
    return [(unit.pts - offset, unit.dts - offset) for unit in segment.of(stream_type)]


def clock(segment: TsSegment) -> list[int]:
    """Every clock reference, on the media clock."""
    return [value - TIME_OFFSET_TICKS + CLOCK_LEAD_TICKS for _, value in segment.clocks]


# What can be carried, and what is said of it.

NOT_CARRIED = {
    "AV1": described(Av1Config.parse(av1_record()), AAC_CONFIG),
    "AAC that ADTS cannot describe": described(AVC_CONFIG, AacConfig.parse(asc(44_000, 2))),
    "only such AAC": described(None, AacConfig.parse(asc(48_000, 2, short_frames=True))),
    "a codec that nobody knows here": InitSegment(
        index=0,
        data=b"",
        codecs=("avc1.64001f", "opus"),
        width=None,
        height=None,
        frame_rate=None,
        video=AVC_CONFIG,
    ),
    "nothing": described(None, None),
}


@pytest.mark.parametrize("name", NOT_CARRIED)
def test_a_rendition_is_carried_whole_or_not_at_all(name: str) -> None:
    assert TsTracks.of(NOT_CARRIED[name]) is None


@pytest.mark.parametrize(
    ("video", "audio", "streams", "version"),
    [
        (AVC_CONFIG, AAC_CONFIG, {AVC: 0x100, AAC: 0x101}, 3),
        (AVC_CONFIG, None, {AVC: 0x100}, 2),
        (HEVC_CONFIG, AAC_CONFIG, {HEVC: 0x100, AAC: 0x101}, 5),
        (HEVC_CONFIG, None, {HEVC: 0x100}, 4),
        (None, AAC_CONFIG, {AAC: 0x101}, 1),
    ],
)
def test_the_program_map(
    video: VideoConfig | None, audio: AacConfig | None, streams: dict[int, int], version: int
) -> None:
    segment = mux(tracks(video, audio))
    assert segment.streams == streams
    assert segment.version == version
    assert segment.clock_pid == (0x101 if video is None else 0x100)
    assert segment.units == []


def test_tables_count_on_from_segment_to_segment() -> None:
    counted = Continuity()
    for msn in range(20):
        units = part([picture(idr=True)], [sound()])
        made = mux_segment(BOTH, [units], msn=msn, start_ticks=0)
        counted.add(read_segment(bytes(made)))


def test_the_same_segment_has_the_same_bytes() -> None:
    parts = [part([picture(idr=True), picture()], [sound()]), part([picture()], video_time=6000)]
    made = [mux_segment(BOTH, parts, msn=7, start_ticks=0) for _ in range(2)]
    assert made[0] == made[1]


# Pictures.


def avc_units(*pictures: FragmentSample, config: AvcConfig = AVC_CONFIG) -> list[list[bytes]]:
    segment = mux(tracks(config), part(pictures))
    return [nal_units(unit.data) for unit in segment.of(AVC)]


def test_parameter_sets_come_before_idr_pictures_and_the_first() -> None:
    first, second, third = avc_units(picture(), picture(), picture(idr=True))
    assert first == [AVC_DELIMITER, SPS, PPS, b"\x61\x88\x84"]
    assert second == [AVC_DELIMITER, b"\x61\x88\x84"]
    assert third == [AVC_DELIMITER, SPS, PPS, b"\x65\x88\x84"]


def test_decoding_can_start_where_an_idr_picture_is() -> None:
    segment = mux(VIDEO, part([picture(), picture(), picture(idr=True)]))
    assert [unit.random_access for unit in segment.of(AVC)] == [False, False, True]


def test_all_parameter_sets_of_a_record_are_there() -> None:
    other_sps, other_pps = SpsFields(width_mbs=40).unit(), b"\x68\x01\x02"
    record = avc_record(sps_units=[SPS, other_sps], pps_units=[PPS, other_pps])
    (units,) = avc_units(picture(idr=True), config=AvcConfig.parse(record))
    assert units[1:5] == [SPS, other_sps, PPS, other_pps]


def test_delimiters_of_the_publisher_and_empty_units_are_left_out() -> None:
    data = nal(9, b"\xf0") + bytes(4) + nal(6, b"\x05\x01") + nal(1) + bytes(4) + nal(12, b"\xff")
    _, units = avc_units(picture(idr=True), picture(data))
    assert units == [AVC_DELIMITER, b"\x66\x05\x01", b"\x61\x88\x84", b"\x6c\xff"]


@pytest.mark.parametrize("length_size", [1, 2, 4])
def test_lengths_of_each_size(length_size: int) -> None:
    config = AvcConfig.parse(avc_record(length_size=length_size))
    data = nal(6, b"\x05\x01", length_size=length_size) + nal(1, length_size=length_size)
    (units,) = avc_units(picture(data), config=config)
    assert units[3:] == [b"\x66\x05\x01", b"\x61\x88\x84"]


@pytest.mark.parametrize("data", [nal(1)[:-1], nal(1) + b"\0\0\0", b"\xff\xff\xff\xff\x65"])
def test_a_unit_longer_than_its_picture_is_our_bug(data: bytes) -> None:
    with pytest.raises(UsageError, match="longer than its picture"):
        mux(VIDEO, part([picture(data)]))


def test_hevc() -> None:
    sps, sei, idr = HevcSpsFields().unit(), hevc_nal(39, b"\x01\x02"), hevc_nal(19)
    arrays = [(39, [sei]), (32, [HEVC_VPS]), (33, [sps]), (34, [HEVC_PPS, HEVC_PPS])]
    config = HevcConfig.parse(hevc_record(arrays=arrays))
    given_units = (hevc_nal(35, b"\x10"), idr)
    data = b"".join(len(unit).to_bytes(4, "big") + unit for unit in given_units)
    segment = mux(tracks(config), part([picture(data, idr=True)]))
    (unit,) = segment.of(HEVC)
    assert nal_units(unit.data) == [b"\x46\x01\x50", HEVC_VPS, sps, HEVC_PPS, HEVC_PPS, idr]


def test_presentation_times_are_the_media_s() -> None:
    pictures = [picture(idr=True, offset=6000), picture(offset=9000), picture(offset=0), picture()]
    segment = mux(VIDEO, part(pictures, video_time=180_000), start=180_000)
    assert times(segment, AVC) == [
        (186_000, 180_000),
        (192_000, 183_000),
        (186_000, 186_000),
        (189_000, 189_000),
    ]


def test_nothing_is_shown_before_it_is_decoded() -> None:
    """A composition offset may be below 0 where a decode time was held back."""
    pictures = [picture(idr=True), picture(offset=-90), picture()]
    segment = mux(VIDEO, part(pictures))
    assert times(segment, AVC) == [(0, 0), (2910, 2910), (6000, 6000)]


def test_times_wrap_at_33_bits() -> None:
    start = WRAP - TIME_OFFSET_TICKS - 3000
    segment = mux(
        VIDEO, part([picture(idr=True), picture(), picture()], video_time=start), start=start
    )
    assert [unit.pts for unit in segment.of(AVC)] == [WRAP - 3000, 0, 3000]


# Sounds.


def runs(*parts: bytes, carried: TsTracks = AUDIO) -> list[tuple[int, int]]:
    """(time of a PES packet, how many frames are in it)."""
    segment = mux(carried, *parts)
    return [
        (unit.pts - TIME_OFFSET_TICKS, len(list(adts_frames(unit.data))))
        for unit in segment.of(AAC)
    ]


def test_frames_share_a_packet_for_a_tenth_of_a_second() -> None:
    assert runs(part(audio=[sound()] * 10)) == [(0, 4), (7680, 4), (15_360, 2)]


def test_frames_share_a_packet_across_parts() -> None:
    parts = [part(audio=[sound()] * 3, audio_time=0), part(audio=[sound()], audio_time=3 * FRAME)]
    assert runs(*parts) == [(0, 4)]


def test_a_frame_longer_than_that_is_alone() -> None:
    carried = tracks(None, AacConfig.parse(asc(8000, 1)))
    assert runs(part(audio=[sound()] * 2), carried=carried) == [(0, 1), (11_520, 1)]


def test_a_time_that_is_not_the_next_begins_another_packet() -> None:
    stretched = sound(duration=FRAME + 480)
    assert runs(part(audio=[stretched, sound(), sound()])) == [(0, 1), (2820, 2)]


def test_times_are_rounded_to_the_nearest_tick() -> None:
    carried = tracks(None, AacConfig.parse(asc(44_100, 2)))
    parts = [part(audio=[sound()], audio_time=FRAME * n) for n in (1, 3)]
    assert runs(*parts, carried=carried) == [(2090, 1), (6269, 1)]  # 2089.8, 6269.4


def test_the_bytes_of_frames_are_theirs() -> None:
    frames = [b"\x21" + bytes((n,)) * (n + 1) for n in range(9)]
    segment = mux(BOTH, part([picture(idr=True)], [sound(data) for data in frames]))
    found = [frame for unit in segment.of(AAC) for frame in adts_frames(unit.data)]
    assert [frame.data for frame in found] == frames
    assert {(frame.rate_index, frame.channels) for frame in found} == {(3, 2)}


def test_what_cannot_be_a_frame_is_left_out() -> None:
    frames = [b"\x01", b"", b"\x02", bytes(MAX_FRAME_BYTES + 1), b"\x03" * MAX_FRAME_BYTES]
    segment = mux(AUDIO, part(audio=[sound(data) for data in frames]))
    found = [frame.data for unit in segment.of(AAC) for frame in adts_frames(unit.data)]
    assert found == [b"\x01", b"\x02", b"\x03" * MAX_FRAME_BYTES]
    assert times(segment, AAC) == [(0, 0), (3840, 3840), (7680, 7680)]


def test_a_packet_is_no_longer_than_its_length_can_say() -> None:
    """Frames of 10 ms are the shortest, and nine of the longest are too much."""
    carried = tracks(None, AacConfig.parse(asc(96_000, 2)))
    frames = [sound(bytes(MAX_FRAME_BYTES))] * 9
    assert runs(part(audio=frames), carried=carried) == [(0, 7), (6720, 2)]
    assert 7 * (MAX_FRAME_BYTES + 7) <= MAX_AUDIO_UNIT_BYTES < 8 * (MAX_FRAME_BYTES + 7)


# Order and clock.


def test_pictures_and_sounds_are_sent_in_the_order_of_their_times() -> None:
    pictures = [picture(idr=True, duration=9000), *[picture(duration=9000)] * 2]
    segment = mux(BOTH, part(pictures, [sound()] * 12))
    assert [(unit.pid - 0x100, unit.pts - TIME_OFFSET_TICKS) for unit in segment.units] == [
        (0, 0), (1, 0), (1, 7680), (0, 9000), (1, 15_360), (0, 18_000),
    ]  # fmt: skip


def test_each_picture_carries_the_clock() -> None:
    segment = mux(BOTH, part([picture(idr=True), *[picture()] * 4], [sound()] * 4))
    assert clock(segment) == [0, 3000, 6000, 9000, 12_000]
    assert [unit.clock is not None for unit in segment.units] == [True, False, *[True] * 4]


def test_the_clock_alone_fills_what_is_longer_than_a_tenth_of_a_second() -> None:
    segment = mux(VIDEO, part([picture(idr=True, duration=30_000), picture(duration=20_000)]))
    assert clock(segment) == [0, 9000, 18_000, 27_000, 30_000, 39_000, 48_000]


def test_without_video_sounds_carry_the_clock() -> None:
    segment = mux(AUDIO, part(audio=[sound()] * 9))
    assert clock(segment) == [0, 7680, 15_360]


def test_without_a_picture_the_clock_runs_with_the_sounds() -> None:
    """Audio has filled a gap in the video."""
    segment = mux(BOTH, part(audio=[sound()] * 12, audio_time=48_000), start=90_000)
    assert clock(segment) == [90_000, 99_000]
    assert [unit.pid for unit in segment.units] == [0x101] * 3


def test_the_clock_begins_with_the_segment() -> None:
    """Its first picture comes late, behind a gap."""
    segment = mux(BOTH, part([picture(idr=True)], video_time=20_000), start=0)
    assert clock(segment) == [0, 9000, 18_000, 20_000]


def test_a_picture_is_decoded_no_earlier_than_its_segment_starts() -> None:
    """Behind a gap that audio has filled, a decode time is that of the gap's start."""
    pictures = [picture(idr=True, duration=73_000, offset=70_000), picture()]
    segment = mux(BOTH, part(pictures, video_time=20_000), start=90_000)
    assert times(segment, AVC) == [(90_000, 90_000), (93_000, 93_000)]
    assert clock(segment) == [90_000, 93_000]


def test_the_clock_never_goes_back() -> None:
    pictures = [picture(idr=True), picture(offset=-2000), picture(offset=-5000)]
    segment = mux(BOTH, part(pictures, [sound()], audio_time=0), start=0)
    assert clock(segment) == [0, 1000, 1000]


def test_sound_from_before_the_segment_does_not_move_the_clock() -> None:
    segment = mux(BOTH, part([picture(idr=True)], [sound()], video_time=90_000), start=90_000)
    assert clock(segment) == [90_000]
    assert times(segment, AAC) == [(0, 0)]


def test_a_segment_that_lasts_too_long_is_our_bug() -> None:
    longest = MAX_SPAN_TICKS - MAX_CLOCK_INTERVAL_TICKS
    segment = mux(VIDEO, part([picture(idr=True, duration=longest), picture(duration=9000)]))
    assert len(segment.clocks) == MAX_SPAN_TICKS // MAX_CLOCK_INTERVAL_TICKS
    with pytest.raises(UsageError, match="lasts for 600 s"):
        mux(VIDEO, part([picture(idr=True, duration=longest), picture(duration=9001)]))
    with pytest.raises(UsageError, match="lasts for 601 s"):
        mux(AUDIO, part(audio=[sound()], audio_time=601 * 48_000))


# Whatever there is.

BODIES = st.binary(min_size=1, max_size=400).map(lambda raw: bytes(byte | 1 for byte in raw))
PICTURES = st.lists(
    st.builds(
        lambda bodies, duration, offset, idr: picture(
            b"".join(nal(5 if idr else 1, body) for body in bodies), duration, offset, idr=idr
        ),
        st.lists(BODIES, min_size=1, max_size=3),
        st.integers(1, 30_000),
        st.integers(0, 20_000),
        st.booleans(),
    ),
    max_size=4,
)
SOUNDS = st.lists(st.builds(sound, BODIES, st.sampled_from((FRAME, FRAME + 100))), max_size=6)


@given(st.lists(st.tuples(PICTURES, SOUNDS), min_size=1, max_size=4), st.integers(0, WRAP))
def test_what_goes_in_comes_out(
    contents: list[tuple[list[FragmentSample], list[FragmentSample]]], start: int
) -> None:
    video_time, audio_time = start, start * 48_000 // 90_000 + 1
    parts = []
    pictures: list[tuple[int, int, bytes]] = []
    sounds: list[tuple[int, bytes]] = []
    for video, audio in contents:
        if video or audio:
            parts.append(part(video, audio, video_time=video_time, audio_time=audio_time))
        for sample in video:
            shown = video_time + sample.composition_offset + TIME_OFFSET_TICKS
            slices = b"\0\0\0\1".join(nal_lengths(bytes(sample.data)))
            pictures.append((shown % WRAP, (video_time + TIME_OFFSET_TICKS) % WRAP, slices))
            video_time += sample.duration
        for sample in audio:
            sounds.append((audio_time, bytes(sample.data)))
            audio_time += sample.duration
    segment = mux(BOTH, *parts, start=start)
    found = [
        (
            unit.pts,
            unit.dts,
            b"\0\0\0\1".join(u for u in nal_units(unit.data) if u[0] & 31 in (1, 5)),
        )
        for unit in segment.of(AVC)
    ]
    assert found == pictures
    heard = []
    for unit in segment.of(AAC):
        for number, frame in enumerate(adts_frames(unit.data)):
            heard.append(((unit.pts + number * 1920) % WRAP, frame.data))
    assert heard == [
        (((time * 15 + 4) // 8 + TIME_OFFSET_TICKS) % WRAP, data) for time, data in sounds
    ]
    clocks = [value for _, value in segment.clocks]
    for before, after in itertools.pairwise(clocks):
        assert (after - before) % WRAP <= MAX_CLOCK_INTERVAL_TICKS
    for unit in segment.units:
        now = [value for number, value in segment.clocks if number <= unit.packet]
        assert not now or (unit.dts - now[-1]) % WRAP < WRAP // 2, "late"


def nal_lengths(data: bytes) -> list[bytes]:
    units = []
    while data:
        size = int.from_bytes(data[:4], "big")
        units.append(data[4 : 4 + size])
        data = data[4 + size :]
    return units
