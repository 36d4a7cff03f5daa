"""Poisoned H.264 and AAC in a real worker process.

It may lose pictures, say why it ends (`wire.Fault`) or die; in bounded time and memory, and if it
lives it decodes the next good pictures.
"""

import contextlib
import random
import signal
import subprocess
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hostile_media import (
    BROKEN,
    HARMLESS_TO_PACKAGING,
    PARAMETER_ATTACKS,
    POISON,
    RECORDS,
    SOUND,
    good_media,
    pictures_of,
    spoil,
)
from rtmp_publishers import Media

from hls import MediaError
from hls.h264 import AvcConfig
from origin.transcode import wire

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]

ADDRESS_SPACE_BYTES = 2 * 1024**3
ENDS_WITHIN_S = 45.0
"""A generous bound for two busy cores; what is fed takes some two seconds."""

PICTURE_MS = 33
SETUP = wire.Setup(
    rungs=(
        wire.RungSetup(
            name="72p",
            width=128,
            height=72,
            bitrate_bps=200_000,
            encoder="libx264",
            preset="ultrafast",
            frame_rate=30.0,
            divisor=1,
        ),
    ),
    decoder_threads=1,
)


@pytest.fixture
def media() -> Media:
    return good_media()


@dataclass
class Feed:
    """What goes into a worker: groups of pictures, good or poisoned, on one clock."""

    media: Media
    messages: list[wire.ToWorker] = field(default_factory=list)
    good: list[range] = field(default_factory=list)
    """Numbers of the groups that must come back whole."""
    number: int = 0

    def configure(self, record: bytes | None = None) -> None:
        self.messages.append(wire.VideoConfig(b"avc1", record or self.media.avc_record))

    def add(self, pictures: Iterable[tuple[int, bytes]], *, begins_epoch: bool) -> None:
        """One group, its times moved to where the clock is."""
        group = list(pictures)
        start = self.number
        earliest = min(pts_ms for pts_ms, _ in group)
        for pts_ms, data in group:
            is_first = self.number == start
            ticks = (start * PICTURE_MS + pts_ms - earliest) * 90
            self.messages.append(
                wire.Picture(self.number, ticks, is_first, is_first and begins_epoch, data)
            )
            self.number += 1
        # Two seconds that hold nothing: no picture is late for the group behind.
        self.number += 60

    def add_good(self) -> None:
        start = self.number
        self.add(group_of(self.media, 1), begins_epoch=True)
        self.good.append(range(start, self.number - 60))


def group_of(media: Media, index: int) -> list[tuple[int, bytes]]:
    """(pts, sample) of the pictures from one keyframe to the next."""
    pictures = list(pictures_of(media))
    keys = [number for number, (_, _, key, _) in enumerate(pictures) if key] + [len(pictures)]
    return [(pts_ms, data) for _, pts_ms, _, data in pictures[keys[index] : keys[index + 1]]]


@dataclass
class Life:
    """What a worker said from its start to its end."""

    exit_code: int
    messages: list[wire.ToParent]

    @property
    def numbers(self) -> set[int]:
        """Slots that have a picture."""
        return {each.number for each in self.messages if isinstance(each, wire.Coded) and each.data}

    @property
    def fault(self) -> str:
        return next((each.text for each in self.messages if isinstance(each, wire.Fault)), "")

    @property
    def status(self) -> wire.Status:
        return next(each for each in reversed(self.messages) if isinstance(each, wire.Status))

    def check_end(self) -> None:
        """It ended in a way that a supervisor understands, and not by its own sandbox."""
        assert self.exit_code != -signal.SIGSYS
        assert self.exit_code <= 0 or self.fault, self.exit_code


def live(
    messages: Sequence[wire.ToWorker],
    *,
    space_bytes: int = ADDRESS_SPACE_BYTES,
    rest: bytes = b"",
) -> Life:
    """Run a worker on messages, then on some bytes."""
    said = wire.GREETING + b"".join(map(wire.encode, (SETUP, *messages))) + rest
    worker = subprocess.run(
        [sys.executable, "-m", "origin.transcode", str(space_bytes)],
        cwd=ROOT,
        input=said,
        capture_output=True,
        timeout=ENDS_WITHIN_S,
        check=False,
    )
    reader = wire.ToParentReader()
    life = Life(worker.returncode, list(reader.feed(worker.stdout)))
    first = life.messages[0]
    if isinstance(first, wire.Ready):  # else it has a fault to tell, before anything is decoded
        assert "address space" in first.confinement  # the bound of its memory
    assert worker.stderr == b"" or worker.returncode < 0, worker.stderr  # no media, no traceback
    return life


def test_a_good_group_comes_back_whole(media: Media) -> None:
    feed = Feed(media)
    feed.configure()
    feed.add_good()
    life = live(feed.messages)
    assert (life.exit_code, life.fault) == (0, "")
    assert life.numbers == set(feed.good[0])
    assert life.status.decode_errors == 0


def test_poison_costs_its_own_pictures(media: Media) -> None:
    """Every attack in turn: two poisoned groups, then a good one under a fresh configuration."""
    rng = random.Random(1)
    attacks = {**POISON, **BROKEN}
    waiting = list(attacks)
    while waiting:
        feed = Feed(media)
        for name in waiting:
            feed.configure()
            for group in (2, 3):
                spoiled = [(pts, attacks[name](rng, data)) for pts, data in group_of(media, group)]
                feed.add(spoiled, begins_epoch=group == 2)
            feed.configure()
            feed.add_good()
        life = live(feed.messages)
        life.check_end()
        done = [set(good) <= life.numbers for good in feed.good]
        if life.exit_code == 0:
            assert all(done), [name for name, whole in zip(waiting, done, strict=True) if not whole]
            assert life.status.decode_errors > 50
            break
        # It died of one of them: the rest is for the next.
        del waiting[: done.index(False) + 1]


def test_a_mixture_of_everything(media: Media) -> None:
    """Eight publishers one after the other, a third of whose pictures and sounds are poisoned."""
    feed = Feed(media)
    for seed in range(8):
        spoiled = spoil(media, seed, share=0.3, attacks=HARMLESS_TO_PACKAGING)
        feed.configure()
        feed.messages.append(wire.AudioConfig(b"mp4a", media.aac_config))
        feed.messages += [
            wire.Audio(timestamp_ms * 90, body[2:])
            for kind, timestamp_ms, body in spoiled.tags
            if kind == "audio"
        ]
        feed.add([(pts_ms, data) for _, pts_ms, _, data in pictures_of(spoiled)], begins_epoch=True)
    feed.configure()
    feed.add_good()
    life = live(feed.messages)
    life.check_end()
    assert life.exit_code != 0 or set(feed.good[-1]) <= life.numbers


def test_poison_without_a_new_configuration_is_over_with_its_group(media: Media) -> None:
    """What does not replace parameter sets leaves nothing behind in the decoder."""
    rng = random.Random(3)
    feed = Feed(media)
    feed.configure()
    for name in sorted(set(POISON) - PARAMETER_ATTACKS):
        spoiled = [(pts, POISON[name](rng, data)) for pts, data in group_of(media, 2)]
        feed.add(spoiled, begins_epoch=False)
        feed.add_good()
    life = live(feed.messages)
    assert (life.exit_code, life.fault) == (0, "")
    for good in feed.good:
        assert set(good) <= life.numbers


def test_sound_costs_no_picture(media: Media) -> None:
    feed = Feed(media)
    feed.configure()
    rng = random.Random(4)
    sounds = [body[2:] for kind, _, body in media.tags if kind == "audio"]
    configs = [media.aac_config, b"", b"\xff" * 40, rng.randbytes(20), b"\x11\x90"]
    for config in configs:
        feed.messages.append(wire.AudioConfig(b"mp4a", config))
        for number, sound in enumerate(sounds):
            attack = SOUND[sorted(SOUND)[number % len(SOUND)]]
            feed.messages.append(wire.Audio(number * 1920, attack(rng, sound)))
        feed.add_good()
    life = live(feed.messages)
    assert (life.exit_code, life.fault) == (0, "")
    for good in feed.good:
        assert set(good) <= life.numbers


def accepted(media: Media, name: str, seed: int) -> bytes | None:
    """A spoiled record, if the packager takes it."""
    record = RECORDS[name](random.Random(seed), media.avc_record)
    with contextlib.suppress(MediaError):
        AvcConfig.parse(record)
        return record if record != media.avc_record else None
    return None


@pytest.mark.parametrize("name", ["flipped SPS", "huge picture"])
def test_any_record_is_used_or_refused_in_a_worker(media: Media, name: str) -> None:
    """One that the packager accepts, since no other gets there, then pictures not made for it."""
    record = next(filter(None, (accepted(media, name, seed) for seed in range(1000))))
    feed = Feed(media)
    feed.configure(record)
    feed.add(group_of(media, 1), begins_epoch=True)
    feed.configure()
    feed.add_good()
    life = live(feed.messages)
    life.check_end()
    assert life.exit_code != 0 or set(feed.good[0]) <= life.numbers


def test_too_little_memory_is_an_end_that_is_told(media: Media) -> None:
    """Or pictures that are left out; never a hang."""
    feed = Feed(media)
    feed.configure(RECORDS["huge picture"](random.Random(1), media.avc_record))
    feed.add(group_of(media, 1), begins_epoch=True)
    life = live(feed.messages, space_bytes=400 * 1024**2)
    life.check_end()
    assert not life.numbers


def test_a_parent_that_speaks_another_language_is_refused(media: Media) -> None:
    feed = Feed(media)
    feed.configure()
    life = live(feed.messages, rest=b"\xff" * 8)
    assert life.exit_code == 1
    assert life.fault
