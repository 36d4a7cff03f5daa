"""Playlist requests: any query gives directives or a refusal, and the form means nothing.

Further invariants: the canonical key reads as the same directives; foreign parameters and order
change nothing. While a broadcast goes on, the answer to a request goes from refused (too far
ahead) to waiting to ready and never back; whoever asks for less is never answered worse; after the
end all are ready.

Input: the query, as it stands in the request target.
"""

from dataclasses import replace

from hls import InitSegment, MediaEvent, Part, Presentation, SegmentEnd, Timeline
from hls.request import READY, BadRequest, Decision, Directives, Wait, decide, parse_directives

PARTS_OF_A_SEGMENT = 4
SEGMENTS = 3


def growing_timelines() -> list[Timeline]:
    """A broadcast's timeline after each of its parts, from the first complete segment on."""
    events: list[MediaEvent] = [
        Presentation(target_duration_s=1, part_target_s=0.25),
        InitSegment(
            index=0, data=b"init", codecs=("mp4a.40.2",), width=None, height=None, frame_rate=None
        ),
    ]
    timelines = []
    for count in range(SEGMENTS * PARTS_OF_A_SEGMENT):
        msn, index = divmod(count, PARTS_OF_A_SEGMENT)
        part = Part(
            msn=msn,
            index=index,
            duration_s=0.25,
            independent=True,
            data=b"part",
            init_index=0,
            discontinuity=False,
            media_time_s=count / 4,
        )
        events.append(part)
        if index == PARTS_OF_A_SEGMENT - 1:
            events.append(SegmentEnd(msn=msn, duration_s=1.0))
        timeline = Timeline(token="t", started_at_s=0)
        timeline.apply(events)
        if timeline.ready:
            timelines.append(timeline)
    return timelines


TIMELINES = growing_timelines()
ENDED = growing_timelines()[-1]
ENDED.end()


def rank(decision: Decision) -> int:
    """How good an answer is."""
    return 0 if isinstance(decision, BadRequest) else 1 if isinstance(decision, Wait) else 2


def less_than(asked: Directives) -> list[Directives]:
    """Requests for what comes before."""
    assert asked.msn is not None
    less = [replace(asked, msn=asked.msn - 1)] if asked.msn else []
    return [*less, replace(asked, part=asked.part - 1)] if asked.part else less


def test_one_input(data: bytes) -> None:
    query = data.decode("latin-1")
    directives = parse_directives(query)
    backwards = parse_directives("token=a&" + "&".join(reversed(query.split("&"))))
    if isinstance(directives, BadRequest):
        assert isinstance(backwards, BadRequest)
        return
    assert backwards == directives
    assert parse_directives(directives.key) == directives
    assert decide(ENDED, directives) is READY
    ranks = [rank(decide(timeline, directives)) for timeline in TIMELINES]
    assert ranks == sorted(ranks)
    if directives.msn is None:
        assert directives.part is None
        assert set(ranks) == {2}
        return
    for less in less_than(directives):
        for timeline, given in zip(TIMELINES, ranks, strict=True):
            assert rank(decide(timeline, less)) >= given
