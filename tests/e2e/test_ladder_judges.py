"""The judges of a ladder are not blind: each fault planted into a clean one is named.

The clean ladder is made here, in process and faster than real time: a source with B-frames through
the package's own segmenter; clips of the same pictures in other sizes, taken for an encoder's
output, through `hls.rung`; all of it through timelines whose every version is kept, as a probe
would have kept it. One rendition has half the pictures, one has a gap.

No program and no network, so this runs with the unit tests.
"""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import pytest
from hls_probe import Harvest, SeenPart, Snapshot, judge_rendition
from ladder_rules import arrival_lags, judge_ladder, judge_pace, judge_update_lag, pace_of
from media_clips import ClipSpec, make_clip
from multivariant_reader import MultivariantPlaylist, read_multivariant_playlist
from playlist_reader import read_media_playlist
from rendition_media import MediaPart, MediaSample, Rendition
from rendition_switch import play_across
from rtmp_publishers import Media, load_media
from variant_rules import judge_variants

from hls import AacConfig, AvcConfig, MediaEvent, Sample, TrackKind
from hls.multivariant import render_multivariant
from hls.rung import CodedPicture, Rung
from hls.segmenter import Segmenter
from hls.segmenter_settings import SegmenterSettings
from hls.timeline import Timeline

FPS = 30
LENGTH_S = 8
GAP = range(3 * FPS + 12, 4 * FPS)
"""Pictures that the encoder of "gap" does not give: from 3.4 s to the end of the fourth segment."""

RUNG_LAG_S = 0.1

SIZES = {"source": (192, 144), "full": (160, 120), "half": (128, 96), "gap": (96, 72)}
DIVISORS = {"half": 2}


class Timelines:
    """Renditions from events to harvests; time is that of the media, plus a rung's lag."""

    def __init__(self) -> None:
        self.harvests = {name: Harvest() for name in SIZES}
        self.timelines = {name: Timeline(token=name, started_at_s=1e9) for name in SIZES}

    def publish(self, name: str, events: list[MediaEvent], now_s: float) -> None:
        timeline, harvest = self.timelines[name], self.harvests[name]
        if not events:
            return
        timeline.apply(events)
        if not timeline.ready:
            return
        self.look(name, now_s)
        for segment in read_media_playlist(timeline.playlist()).all_segments:
            harvest.maps[segment.msn] = segment.map_uri
            harvest.inits.setdefault(segment.map_uri, self._bytes(name, segment.map_uri))
            for index, part in enumerate(segment.parts):
                if part.gap:
                    harvest.gaps.setdefault((segment.msn, index), now_s)
                elif (segment.msn, index) not in harvest.parts:
                    harvest.parts[segment.msn, index] = SeenPart(
                        part.uri,
                        part.duration_us / 1e6,
                        part.independent,
                        self._bytes(name, part.uri),
                        now_s,
                        now_s,
                    )
            if segment.uri is not None and segment.gap:
                harvest.gap_segments.add(segment.msn)
            elif segment.uri is not None and segment.msn not in harvest.segments:
                data = self._bytes(name, segment.uri)
                seconds = segment.duration_us / 1e6
                harvest.segments[segment.msn] = (segment.uri, seconds, data)

    def look(self, name: str, now_s: float) -> None:
        text = self.timelines[name].playlist().decode()
        self.harvests[name].snapshots.append(Snapshot(now_s, now_s, text))

    def _bytes(self, name: str, uri: str) -> bytes:
        media = self.timelines[name].media(uri)
        assert media is not None
        return b"".join(media.chunks)


def samples(media: Media) -> list[Sample]:
    made = []
    for kind, stamp_ms, body in media.tags:
        if kind == "video":
            shown_ms = stamp_ms + int.from_bytes(body[2:5], "big")
            made.append(
                Sample(TrackKind.VIDEO, stamp_ms, shown_ms, body[0] == 0x17, bytes(body[5:]))
            )
        else:
            made.append(Sample(TrackKind.AUDIO, stamp_ms, stamp_ms, True, bytes(body[2:])))
    return made


class Encoder:
    """Stands for a rung's encoder: a clip's pictures, each given once its slot is known."""

    def __init__(self, name: str, media: Media) -> None:
        self.rung = Rung(divisor=DIVISORS.get(name, 1))
        self._name = name
        self._config = AvcConfig.parse(media.avc_record)
        self._pictures = [sample for sample in samples(media) if sample.kind is TrackKind.VIDEO]

    def give(self, number: int, pts_ticks: int) -> list[MediaEvent]:
        if self._name == "gap" and number in GAP:
            return self.rung.lose() if number == GAP.start else []
        events = self.rung.resume(number) if number == GAP.stop and self._name == "gap" else []
        divisor = DIVISORS.get(self._name, 1)
        data, is_idr = b"", False
        if number % divisor == 0:
            picture = self._pictures[number // divisor]
            data, is_idr = bytes(picture.data), picture.keyframe
        picture_given = CodedPicture(number, pts_ticks, is_idr, data, self._config)
        return [*events, *self.rung.push(picture_given)]


def make_ladder(folder: Path) -> tuple[list[Rendition], MultivariantPlaylist]:
    spec = ClipSpec(name="source", b_frames=2, duration_s=LENGTH_S, keyint_s=1.0)
    clips = {
        name: load_media(
            make_clip(
                replace(
                    spec,
                    name=name,
                    fps=Fraction(FPS, DIVISORS.get(name, 1)),
                    b_frames=2 if name == "source" else 0,
                    channels=2 if name == "source" else 0,
                    width=size[0],
                    height=size[1],
                ),
                folder,
            ).path
        )
        for name, size in SIZES.items()
    }
    source = clips.pop("source")
    segmenter = Segmenter(
        video=AvcConfig.parse(source.avc_record),
        audio=AacConfig.parse(source.aac_config),
        settings=SegmenterSettings(segment_target_s=1.0),
    )
    encoders = {name: Encoder(name, media) for name, media in clips.items()}
    for encoder in encoders.values():
        encoder.rung.resume(0)
    views = Timelines()
    given = 0
    waiting: list[int] = []  # when pictures that are known are shown; the first ones are final

    def follow(events: list[MediaEvent], now_s: float, settled: int) -> None:
        nonlocal given
        views.publish("source", events, now_s)
        for name, encoder in encoders.items():
            views.publish(name, encoder.rung.follow(events), now_s + RUNG_LAG_S)
        ready = sorted(waiting)[:settled]
        for pts_ticks in ready[given:]:
            for name, encoder in encoders.items():
                views.publish(name, encoder.give(given, pts_ticks), now_s + RUNG_LAG_S)
            given += 1

    now_s = 0.0
    for sample in samples(source):
        now_s = sample.dts_ms / 1000
        events = segmenter.push(sample)
        if segmenter.placed is not None:
            waiting.append(segmenter.placed.pts_ticks)
        # With two B-frames, the picture three before the newest is out of the decoder.
        follow(events, now_s, len(waiting) - 3)
    follow(segmenter.flush(), now_s, len(waiting))
    for name, timeline in views.timelines.items():
        timeline.end()
        views.look(name, now_s + 1)
    text = render_multivariant(
        [views.timelines[name].variant(f"{name}/playlist.m3u8") for name in SIZES]
    )
    for harvest in views.harvests.values():
        harvest.multivariant = text.decode()
    renditions = [Rendition.read(name, harvest) for name, harvest in views.harvests.items()]
    return renditions, read_multivariant_playlist(text)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Rendition], MultivariantPlaylist]:
    return make_ladder(tmp_path_factory.mktemp("ladder"))


@pytest.fixture
def ladder(made: tuple[list[Rendition], MultivariantPlaylist]) -> dict[str, Rendition]:
    """A copy to spoil: what is not frozen is copied."""
    return {
        rendition.name: replace(
            rendition,
            harvest=replace(rendition.harvest, parts=dict(rendition.harvest.parts)),
            segments={
                msn: replace(segment, media=dict(segment.media))
                for msn, segment in rendition.segments.items()
            },
        )
        for rendition in made[0]
    }


@pytest.fixture(scope="module")
def variants(made: tuple[list[Rendition], MultivariantPlaylist]) -> MultivariantPlaylist:
    return made[1]


Ladder = dict[str, Rendition]


def test_the_clean_ladder_passes(ladder: Ladder, variants: MultivariantPlaylist) -> None:
    source, full, half, gap = ladder.values()
    assert len(source.segments) == LENGTH_S
    assert judge_ladder([source, full, half], divisors=DIVISORS) == []
    assert judge_ladder([source, gap], gaps_allowed=True) == []
    assert {msn for msn, _ in gap.gaps()} == {3}
    for rendition in ladder.values():
        assert judge_rendition(rendition.harvest) == []
        assert judge_pace(pace_of(rendition)) == []
        assert judge_update_lag(source, rendition) == []
    for before, after in ((source, full), (full, half), (half, source), (gap, source)):
        assert play_across(before, after, 3) == []
    assert judge_variants(variants, list(ladder.values()), sizes=SIZES) == []


def edit(
    rendition: Rendition,
    msn: int,
    index: int,
    *,
    video: Callable[[list[MediaSample]], list[MediaSample]] = list,
    audio: Callable[[list[MediaSample]], list[MediaSample]] = list,
) -> None:
    media = rendition.segments[msn].media
    part: MediaPart = media[index]
    media[index] = replace(
        part, video=tuple(video(list(part.video))), audio=tuple(audio(list(part.audio)))
    )


def later(samples: list[MediaSample], by: Fraction) -> list[MediaSample]:
    return [replace(sample, start=sample.start + by, shown=sample.shown + by) for sample in samples]


TICK = Fraction(1, 90_000)


def shift_a_segment(rendition: Rendition) -> None:
    for index in rendition.segments[2].media:
        edit(rendition, 2, index, video=lambda old: later(old, TICK))


def stretch_a_segment(rendition: Rendition) -> None:
    segment = rendition.segments[2]
    segment.listed = replace(segment.listed, duration_us=segment.listed.duration_us + 1)


def change_a_part(rendition: Rendition) -> None:
    segment = rendition.segments[2]
    first, second, *rest = segment.parts
    segment.parts = (
        replace(first, duration_us=first.duration_us + 2000),
        replace(second, duration_us=second.duration_us - 2000),
        *rest,
    )


def lose_a_part(rendition: Rendition) -> None:
    segment = rendition.segments[2]
    segment.parts = segment.parts[:-1]
    del segment.media[len(segment.parts)]


def shift_a_picture(rendition: Rendition) -> None:
    def shift(old: list[MediaSample]) -> list[MediaSample]:
        return [*old[:2], replace(old[2], shown=old[2].shown + TICK), *old[3:]]

    edit(rendition, 2, 1, video=shift)


def lose_a_picture(rendition: Rendition) -> None:
    def lose(old: list[MediaSample]) -> list[MediaSample]:
        kept = replace(old[1], duration=old[1].duration + old[2].duration)
        return [old[0], kept, *old[3:]]

    edit(rendition, 2, 1, video=lose)


def swap_two_pictures(rendition: Rendition) -> None:
    def swap(old: list[MediaSample]) -> list[MediaSample]:
        shown = [old[1].shown, old[0].shown]
        swapped = [replace(old[i], shown=shown[i]) for i in range(2)]
        return [*swapped, *old[2:]]

    edit(rendition, 2, 1, video=swap)


def begin_without_idr(rendition: Rendition) -> None:
    other = rendition.segments[2].media[1].video[0]
    edit(
        rendition,
        2,
        0,
        video=lambda old: [replace(old[0], is_sync=False, data=other.data), *old[1:]],
    )


def add_an_idr(rendition: Rendition) -> None:
    idr = rendition.segments[2].media[0].video[0]
    edit(
        rendition,
        2,
        1,
        video=lambda old: [replace(old[0], is_sync=True, data=idr.data), *old[1:]],
    )


def lie_in_the_flags(rendition: Rendition) -> None:
    other = rendition.segments[2].media[1].video[0]
    edit(rendition, 2, 0, video=lambda old: [replace(old[0], data=other.data), *old[1:]])


def change_the_sound(rendition: Rendition) -> None:
    edit(rendition, 2, 1, audio=lambda old: [replace(old[0], data=b"\0"), *old[1:]])


def shift_the_sound(rendition: Rendition) -> None:
    for index in rendition.segments[2].media:
        edit(rendition, 2, index, audio=lambda old: later(old, Fraction(1, 5)))


def shift_a_date(rendition: Rendition) -> None:
    segment = rendition.segments[2]
    date = segment.listed.date + timedelta(milliseconds=3)
    segment.listed = replace(segment.listed, date=date)


def count_a_discontinuity(rendition: Rendition) -> None:
    segment = rendition.segments[2]
    sequence = segment.listed.discontinuity_sequence + 1
    segment.listed = replace(segment.listed, discontinuity_sequence=sequence)


def tear_the_video(rendition: Rendition) -> None:
    edit(rendition, 2, 1, video=lambda old: [replace(old[0], duration=TICK), *old[1:]])


def repeat_a_sequence_number(rendition: Rendition) -> None:
    media = rendition.segments[2].media
    media[1] = replace(media[1], sequence_number=media[0].sequence_number)


def end_early(rendition: Rendition) -> None:
    del rendition.segments[max(rendition.segments)]


PLANTED: list[tuple[Callable[[Rendition], None], str]] = [
    (shift_a_segment, "AL-01"),
    (stretch_a_segment, "AL-01"),
    (change_the_sound, "AL-02"),
    (shift_the_sound, "AL-02"),
    (shift_a_date, "AL-03"),
    (shift_a_date, "MP-10"),
    (count_a_discontinuity, "AL-04"),
    (shift_a_picture, "AL-06"),
    (lose_a_picture, "AL-06"),
    (swap_two_pictures, "AL-06"),
    (begin_without_idr, "AL-07"),
    (add_an_idr, "AL-07"),
    (lie_in_the_flags, "MF-05"),
    (change_a_part, "AL-08"),
    (change_a_part, "PT-05"),
    (lose_a_part, "AL-08"),
    (tear_the_video, "MF-04"),
    (repeat_a_sequence_number, "MF-03"),
    (end_early, "EN-04"),
]


@pytest.mark.parametrize("name", ["full", "half"])
@pytest.mark.parametrize(("plant", "rule"), PLANTED)
def test_a_planted_fault_is_named(
    ladder: Ladder, name: str, plant: Callable[[Rendition], None], rule: str
) -> None:
    plant(ladder[name])
    faults = judge_ladder([ladder["source"], ladder[name]], divisors=DIVISORS)
    assert any(fault.startswith(f"{rule} {name}:") for fault in faults), faults


def test_a_gap_is_a_fault_where_nothing_failed(ladder: Ladder) -> None:
    (fault,) = judge_ladder([ladder["source"], ladder["gap"]])
    assert fault.startswith("EN-04 gap: 3.2 is a gap")


def test_what_comes_late_is_named(ladder: Ladder) -> None:
    source, full = ladder["source"], ladder["full"]
    for key, part in full.harvest.parts.items():
        if key[0] in (4, 5):
            full.harvest.parts[key] = replace(part, listed_at_s=part.listed_at_s + 0.25)
    (fault,) = judge_update_lag(source, full)
    assert fault.startswith("AL-05 full")
    (fault,) = judge_pace(pace_of(full))
    assert "a stall" not in fault
    for key, part in full.harvest.parts.items():
        if key >= (7, 3):
            full.harvest.parts[key] = replace(part, listed_at_s=part.listed_at_s + 1.5)
    assert max(arrival_lags(pace_of(full))) > 1.4
    assert "a stall" in judge_pace(pace_of(full), calm=False)[0]


def without_key(rendition: Rendition) -> None:
    harvest = rendition.harvest
    first, second = harvest.parts[3, 0], harvest.parts[3, 1]
    harvest.parts[3, 0] = replace(first, data=second.data)


def leave_a_hole(rendition: Rendition) -> None:
    del rendition.harvest.parts[3, 0]
    harvest = rendition.harvest
    for index in range(1, 5):
        harvest.parts[3, index] = harvest.parts[4, index - 1]


def damage_a_picture(rendition: Rendition) -> None:
    part = rendition.harvest.parts[3, 0]
    middle = len(part.data) // 2
    spoilt = part.data[:middle] + bytes(60) + part.data[middle + 60 :]
    rendition.harvest.parts[3, 0] = replace(part, data=spoilt)


@pytest.mark.parametrize("plant", [without_key, leave_a_hole, damage_a_picture])
def test_a_seam_is_seen(ladder: Ladder, plant: Callable[[Rendition], None]) -> None:
    plant(ladder["full"])
    assert play_across(ladder["source"], ladder["full"], 3)


@pytest.mark.parametrize(
    ("rule", "old", "new"),
    [
        ("MV-02", "half/", "other/"),
        ("MV-03", "mp4a.40.2", "mp4a.40.5"),
        ("MV-03", ",mp4a.40.2", ""),
        ("MV-04", "RESOLUTION=160x120", "RESOLUTION=160x122"),
        ("MV-05", "FRAME-RATE=15.000", "FRAME-RATE=30.000"),
        ("MV-05", "FRAME-RATE=30.000", "FRAME-RATE=29.700"),
    ],
)
def test_a_wrong_attribute_is_named(ladder: Ladder, rule: str, old: str, new: str) -> None:
    text = ladder["source"].harvest.multivariant
    assert old in text
    playlist = read_multivariant_playlist(text.replace(old, new, 1).encode())
    faults = judge_variants(playlist, list(ladder.values()), sizes=SIZES)
    assert any(fault.startswith(rule) for fault in faults), faults


@pytest.mark.parametrize("factor", [0.7, 2.0])
def test_a_wrong_bit_rate_is_named(
    ladder: Ladder, variants: MultivariantPlaylist, factor: float
) -> None:
    first, *others = variants.variants
    rates = {
        name: str(round(int(first.attributes[name]) * factor))
        for name in ("BANDWIDTH", "AVERAGE-BANDWIDTH")
    }
    spoilt = replace(first, attributes={**first.attributes, **rates})
    playlist = replace(variants, variants=(spoilt, *others))
    faults = judge_variants(playlist, list(ladder.values()), sizes=SIZES)
    assert {fault[:5] for fault in faults} == {"MV-06", "MV-07"}
