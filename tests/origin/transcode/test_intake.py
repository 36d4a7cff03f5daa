"""The worker's first half: each slot becomes a row, with the right picture for each rung."""

from collections.abc import Sequence

import av
import numpy as np
import pytest
from av.video.codeccontext import VideoCodecContext
from av.video.frame import PictureType
from media_clips import ClipSpec, make_clip
from transcode_runs import Source, bar_of, encode_source, load_source, pictures_of, rung, setup_of

from origin.transcode import wire
from origin.transcode.errors import TranscodeError
from origin.transcode.intake import Intake, Row, VideoInput
from origin.transcode.signals import BLACK_AFTER_S
from origin.transcode.slots import MAX_PENDING

SMALL = rung("45p", width=80, height=46)
LARGE = rung("90p")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Thirty pictures with B-frames, a keyframe every ten."""
    spec = ClipSpec(name="intake", b_frames=2, channels=0, duration_s=1, keyint_s=1 / 3)
    return load_source(make_clip(spec, tmp_path_factory.mktemp("clips")).path)


def run(intake: Intake, messages: Sequence[VideoInput]) -> list[Row]:
    """One call for each message, and the end."""
    rows = [row for message in messages for row in intake.take([message])]
    return rows + intake.finish()


def marks(rows: Sequence[Row], index: int = 0) -> str:
    """A letter a slot: K, P, or - for nothing."""
    return "".join(
        "-" if row[index].frame is None else "K" if row[index].is_keyframe else "P" for row in rows
    )


def damaged(pictures: list[wire.Picture], *indexes: int) -> list[wire.Picture]:
    """The pictures, some of them replaced by bytes that no decoder takes."""
    return [
        picture._replace(data=b"\0\0\0\1\x65") if index in indexes else picture
        for index, picture in enumerate(pictures)
    ]


def test_rows_have_the_pictures_in_display_order_at_their_times(source: Source) -> None:
    intake = Intake(setup_of(LARGE, SMALL))
    rows = run(intake, [source.config, *pictures_of(source, segments=[0, 10, 20], first=100)])
    assert [row[0].number for row in rows] == list(range(100, 130))
    assert [row[0].pts_ticks for row in rows] == source.shown
    assert marks(rows) == marks(rows, 1) == "KPPPPPPPPP" * 3
    for index, row in enumerate(rows):
        sizes = []
        for job in row:
            assert job.frame is not None
            assert job.frame.pts == job.pts_ticks
            wanted = PictureType.I if index % 10 == 0 else PictureType.NONE
            assert job.frame.pict_type == wanted
            assert bar_of(job.frame) == index
            sizes.append((job.frame.width, job.frame.height))
        assert sizes == [(160, 90), (80, 46)]
    assert (intake.decoded, intake.lost, intake.decode_errors) == (30, 0, 0)
    assert intake.newest_pts_ticks == source.shown[-1]


def test_many_messages_in_one_call_are_the_same(source: Source) -> None:
    messages: list[VideoInput] = [source.config, *pictures_of(source, segments=[0, 10])]
    one_by_one = run(Intake(setup_of(LARGE)), messages)
    intake = Intake(setup_of(LARGE))
    at_once = intake.take(messages) + intake.finish()
    assert [job._replace(frame=None) for (job,) in at_once] == [
        job._replace(frame=None) for (job,) in one_by_one
    ]


def test_segment_begins_with_its_slot_and_not_with_its_packet(source: Source) -> None:
    """Slots are in display order: packet 3 is shown as the second picture, say, but slot 3 is the
    fourth picture, and that one becomes the keyframe."""
    rows = run(Intake(setup_of(LARGE)), [source.config, *pictures_of(source, segments=[0, 3, 8])])
    assert marks(rows) == "KPPKPPPPKP" + 20 * "P"


def test_divisor_leaves_out_every_second_picture(source: Source) -> None:
    intake = Intake(setup_of(LARGE, rung("45p", width=80, height=46, divisor=2)))
    rows = run(intake, [source.config, *pictures_of(source, segments=[0, 11])])
    assert marks(rows) == "KPPPPPPPPPPKPPPPPPPPPPPPPPPPPP"
    assert marks(rows, 1) == "K-P-P-P-P-PK-P-P-P-P-P-P-P-P-P"
    assert intake.lost == 0


def test_rung_off_and_on_from_the_next_segment(source: Source) -> None:
    messages: list[VideoInput] = [source.config, *pictures_of(source, segments=[0, 5, 10, 20])]
    messages.insert(4, wire.RungRate(1, 0))  # within the first segment
    messages.insert(14, wire.RungRate(1, 2))  # within the third
    intake = Intake(setup_of(LARGE, SMALL))
    rows = run(intake, messages)
    assert marks(rows) == "KPPPPKPPPPKPPPPPPPPPKPPPPPPPPP"
    assert marks(rows, 1) == "KPPPP---------------K-P-P-P-P-"
    assert [row[1].divisor for row in rows] == [1] * 5 + [0] * 15 + [2] * 10


def test_rate_that_comes_behind_a_segments_first_packet_waits_for_the_next(source: Source) -> None:
    """Also if that packet's picture is still in the decoder."""
    messages: list[VideoInput] = [source.config, *pictures_of(source, segments=[0, 6, 12])]
    messages.insert(8, wire.RungRate(0, 0))  # just behind picture 6
    rows = run(Intake(setup_of(LARGE)), messages)
    assert marks(rows) == "KPPPPPKPPPPP" + 18 * "-"


@pytest.mark.parametrize("rung_index", [2, 7])
def test_rate_of_a_rung_that_is_not_there_is_refused(rung_index: int) -> None:
    with pytest.raises(TranscodeError, match=f"no rung {rung_index}"):
        Intake(setup_of(LARGE, SMALL)).take([wire.RungRate(rung_index, 1)])


def test_lost_pictures_shift_nobody(source: Source) -> None:
    pictures = pictures_of(source, segments=[0, 10, 20])
    keyframe = next(i for i, each in enumerate(source.pictures) if i and each.is_key)
    intake = Intake(setup_of(LARGE))
    rows = run(intake, [source.config, *damaged(pictures, keyframe - 1)])
    assert [job.number for (job,) in rows] == list(range(30))
    assert [job.pts_ticks for (job,) in rows] == source.shown
    missing = source.shown.index(source.pictures[keyframe - 1].pts_ticks)
    assert [i for i, (job,) in enumerate(rows) if job.frame is None] == [missing]
    for index, (job,) in enumerate(rows):
        assert job.frame is None or bar_of(job.frame) == index
    assert (intake.decoded, intake.lost, intake.decode_errors) == (29, 1, 1)


def flat(count: int, size: tuple[int, int] = (320, 180), level: int = 90) -> list[av.VideoFrame]:
    planes = np.full((size[1] * 3 // 2, size[0]), 128, np.uint8)
    planes[: size[1]] = level
    return [av.VideoFrame.from_ndarray(planes, format="yuv420p") for _ in range(count)]


def all_keys(context: VideoCodecContext) -> None:
    context.gop_size = 1


def test_keyframe_that_is_lost_is_the_next_picture() -> None:
    keys = encode_source(flat(12), prepare=all_keys)
    pictures = damaged(pictures_of(keys, segments=[0, 4, 8]), 4, 8, 9)
    setup = setup_of(LARGE, rung("45p", width=80, height=46, divisor=2))
    rows = run(Intake(setup), [keys.config, *pictures])
    assert marks(rows) == "KPPP-KPP--KP"
    assert marks(rows, 1) == "K-P--KP---K-"


def test_decoder_that_gives_nothing_is_not_waited_for() -> None:
    source = encode_source(flat(3 * MAX_PENDING))
    pictures = damaged(pictures_of(source), *range(3 * MAX_PENDING))
    intake = Intake(setup_of(LARGE))
    rows = intake.take([source.config, *pictures])
    assert marks(rows) == "-" * (2 * MAX_PENDING)
    assert [job.number for (job,) in rows] == list(range(2 * MAX_PENDING))
    intake.finish()
    assert intake.lost == intake.decode_errors == 3 * MAX_PENDING


def test_epoch_begins_with_other_times(source: Source) -> None:
    before = pictures_of(source)[:8]  # two of them are still in the decoder
    after = pictures_of(source, segments=[0], first=50, shift_ticks=-500_000)
    rows = run(Intake(setup_of(LARGE)), [source.config, *before, *after])
    assert [job.number for (job,) in rows] == [*range(8), *range(50, 80)]
    assert marks(rows) == "KPPPPPPPKPPPPPPPPP" + 20 * "P"
    assert [job.pts_ticks for (job,) in rows[8:]] == [ticks - 500_000 for ticks in source.shown]


def test_epoch_that_begins_where_pictures_are_missing_loses_what_the_decoder_lacks(
    source: Source,
) -> None:
    before = damaged(pictures_of(source)[:8], 6, 7)
    after = pictures_of(source, segments=[0], first=50)
    intake = Intake(setup_of(LARGE))
    rows = run(intake, [source.config, *before, *after])
    assert [job.number for (job,) in rows] == [*range(8), *range(50, 80)]
    assert marks(rows)[8:] == "K" + 29 * "P"
    assert marks(rows)[:8].count("-") == intake.lost == 2


def test_other_configuration_keeps_the_rungs_sizes(source: Source) -> None:
    other = encode_source(flat(6, (200, 240)))
    second = pictures_of(other, first=30, shift_ticks=90_000)
    messages: list[VideoInput] = [source.config, *pictures_of(source), other.config, *second]
    intake = Intake(setup_of(LARGE, SMALL))
    rows = run(intake, messages)
    assert [job.number for job, _ in rows] == list(range(36))
    assert marks(rows) == "K" + 29 * "P" + "KPPPPP"
    for row in rows:
        assert [(j.frame.width, j.frame.height) for j in row if j.frame] == [(160, 90), (80, 46)]
    assert intake.decode_errors == 0


def test_errors_of_all_decoders_are_counted() -> None:
    source = encode_source(flat(3))
    bad = damaged(pictures_of(source), 1)
    again = damaged(pictures_of(source, first=10), 2)
    intake = Intake(setup_of(LARGE))
    run(intake, [source.config, *bad, source.config, *again])
    assert intake.decode_errors == 2


def test_order_of_messages_is_checked(source: Source) -> None:
    (picture, *_) = pictures_of(source)
    with pytest.raises(TranscodeError, match="before its configuration"):
        Intake(setup_of(LARGE)).take([picture])
    with pytest.raises(TranscodeError, match="picture 0 comes after 0"):
        Intake(setup_of(LARGE)).take([source.config, picture, picture])
    assert Intake(setup_of(LARGE)).finish() == []


def test_interlaced_pictures_are_taken_as_they_are() -> None:
    def interlaced(context: VideoCodecContext) -> None:
        context.flags |= av.codec.context.Flags.interlaced_dct
        context.options |= {"x264-params": "interlaced=1:tff=1"}

    source = encode_source(flat(4), prepare=interlaced)
    rows = run(Intake(setup_of(LARGE, SMALL)), [source.config, *pictures_of(source)])
    assert marks(rows) == marks(rows, 1) == "KPPP"


@pytest.mark.parametrize("level", [16, 90])
def test_signals_see_the_pictures(level: int) -> None:
    """One a second is enough; and whether a rung takes them does not matter."""
    count = int(BLACK_AFTER_S) + 3
    source = encode_source(flat(count, level=level), interval_ticks=90_000)
    intake = Intake(setup_of(rung("90p", divisor=0)))
    rows = run(intake, [source.config, *pictures_of(source)])
    assert marks(rows) == "-" * count
    assert intake.signals.black is (level == 16)
