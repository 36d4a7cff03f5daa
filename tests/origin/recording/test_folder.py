"""A recording's folder: byte for byte what was taken, whatever moment the writer died at."""

import resource
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import pytest
from hypothesis import given
from hypothesis import strategies as st
from recorded_parts import RecordedParts

import hls
from origin.recording import folder as folder_module
from origin.recording.folder import (
    INDEX_NAME,
    RecordingStopped,
    RecordingWriter,
    read_folder,
    remove,
    repair,
)
from origin.recording.playlist import render_master, render_recording
from origin.recording.tape import TapePart

MADE = RecordedParts(hls)
init, data_of = MADE.init, MADE.data


def taken(msn: int, *, init_index: int = 0, discontinuity: bool = False) -> list[TapePart]:
    """A segment of two parts, as the tape gives it."""
    data = data_of(msn)
    return [
        TapePart(
            init=init(init_index),
            data=piece,
            duration_us=1_000_000,
            epoch_ms=1_800_000_000_000 + msn * 2000 + index * 1000,
            begins=not index,
            discontinuity=discontinuity and not index,
            independent=not index,
        )
        for index, piece in enumerate((data[:50], data[50:]))
    ]


class NoShift:
    """Leaves parts that are none as they are."""

    track_id = 1
    timescale = 90_000

    def __init__(self, _init: bytes) -> None:
        pass

    def shift(self, part: bytes) -> bytes:
        return part


def open_writer(
    folder: Path, free_bytes: Callable[[Path], int] = lambda _: 10**12
) -> RecordingWriter:
    return RecordingWriter(folder, min_free_bytes=50, measure_free=free_bytes, make_shift=NoShift)


PART_BYTES = 20_000
"""More than an index has."""


def big_part(number: int) -> TapePart:
    return TapePart(
        init=init(),
        data=bytes([number]) * PART_BYTES,
        duration_us=1_000_000,
        epoch_ms=1_800_000_000_000 + number * 1000,
        begins=not number,
        independent=not number,
    )


def write(folder: Path, *segments: list[TapePart]) -> None:
    writer = open_writer(folder)
    for segment in segments:
        writer.append(segment)
    writer.close()


def test_files_are_what_viewers_saw(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    write(folder, taken(0), taken(1), taken(2, init_index=1, discontinuity=True))
    assert (folder / "media-0.mp4").read_bytes() == b"init-0|" + data_of(0) + data_of(1)
    assert (folder / "media-1.mp4").read_bytes() == b"init-1|" + data_of(2)
    found = read_folder(folder)
    assert [(media.name, len(media.segments)) for media in found] == [
        ("media-0.mp4", 2),
        ("media-1.mp4", 1),
    ]
    assert repair(folder) == found


def test_a_full_disk_stops_it_and_leaves_what_there_is(tmp_path: Path) -> None:
    room = iter([1000, 1000, 149])
    writer = open_writer(tmp_path / "r", lambda _folder: next(room))
    writer.append(taken(0))
    writer.append(taken(1))
    with pytest.raises(RecordingStopped, match="nearly full"):
        writer.append(taken(2))
    writer.close()
    assert [len(media.segments) for media in repair(tmp_path / "r")] == [2]


def test_a_write_that_the_kernel_breaks_off_costs_its_part_alone(tmp_path: Path) -> None:
    """As on a disk that is full: some bytes are taken, then none."""
    big = [big_part(number) for number in range(4)]
    writer = open_writer(tmp_path / "r")
    writer.append(big[:2])
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (2 * PART_BYTES + PART_BYTES // 2, hard))
    try:
        with pytest.raises(OSError, match="File too large"):
            writer.append(big[2:])
        writer.close()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    media = tmp_path / "r" / "media-0.mp4"
    assert media.stat().st_size == 2 * PART_BYTES + PART_BYTES // 2, "half a part was taken"
    (found,) = repair(tmp_path / "r")
    assert media.read_bytes() == b"init-0|" + big[0].data + big[1].data
    assert found.duration_us == 2_000_000


class Killed(BaseException):
    """The process is no more."""


def test_whatever_moment_it_is_killed_at_every_part_before_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    segments = [taken(0), taken(1), taken(2, init_index=1, discontinuity=True)]
    parts = [part for segment in segments for part in segment]
    write_whole = folder_module._write
    left = 0

    def write_some(file: BinaryIO, data: bytes) -> None:
        nonlocal left
        write_whole(file, data[:left])
        if left < len(data):
            raise Killed
        left -= len(data)

    for number in range(10_000):
        folder, left, done = tmp_path / str(number), number, 0
        with monkeypatch.context() as patch:
            patch.setattr(folder_module, "_write", write_some)
            writer = open_writer(folder)
            try:
                for part in parts:
                    writer.append([part])
                    done += 1
                writer.close()
            except Killed:
                writer.drop()
            is_over = left > 0
        found = repair(folder)
        assert repair(folder) == found == read_folder(folder)
        kept = b"".join(
            (folder / media.name).read_bytes()[media.line.init_bytes :] for media in found
        )
        assert len(kept) in (50 * done, 50 * (done + 1))
        assert kept == b"".join(part.data for part in parts)[: len(kept)]
        assert sum(media.duration_us for media in found) == len(kept) // 50 * 1_000_000
        if is_over:
            break
    assert is_over


@given(cut=st.integers(0, 1000), media_cut=st.integers(0, 210), stray=st.booleans())
def test_repair_keeps_whole_segments_only(
    tmp_path_factory: pytest.TempPathFactory, cut: int, media_cut: int, stray: bool
) -> None:
    folder = tmp_path_factory.mktemp("repair") / "r"
    write(folder, taken(0), taken(1))
    index, media = folder / INDEX_NAME, folder / "media-0.mp4"
    index.write_bytes(index.read_bytes()[: max(0, index.stat().st_size - cut)])
    media.write_bytes(media.read_bytes()[: max(0, media.stat().st_size - media_cut)])
    if stray:
        (folder / "media-1.mp4").write_bytes(b"init without a segment")
    found = repair(folder)
    assert repair(folder) == found == read_folder(folder)
    whole = len(found[0].segments) if found else 0
    assert cut > 0 or whole == max(0, 2 - -(-media_cut // 100))
    if found:
        expected = b"init-0|" + b"".join(data_of(msn) for msn in range(whole))
        assert media.read_bytes() == expected
    assert {path.name for path in folder.iterdir()} == {INDEX_NAME} | (
        {"media-0.mp4"} if found else set()
    )
    remove(folder)
    remove(folder)  # it is gone: nothing to do


def test_playlists_say_what_the_folder_has(tmp_path: Path) -> None:
    write(
        tmp_path / "r",
        taken(0),
        taken(2, discontinuity=True),
        taken(3, init_index=1, discontinuity=True),
    )
    files = read_folder(tmp_path / "r")
    assert render_recording(files).decode() == (
        "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:2\n#EXT-X-MEDIA-SEQUENCE:0\n"
        "#EXT-X-PLAYLIST-TYPE:VOD\n#EXT-X-INDEPENDENT-SEGMENTS\n"
        '#EXT-X-MAP:URI="../media-0.mp4",BYTERANGE="7@0"\n'
        "#EXT-X-PROGRAM-DATE-TIME:2027-01-15T08:00:00.000Z\n"
        "#EXTINF:2.000000,\n#EXT-X-BYTERANGE:100@7\n../media-0.mp4\n"
        "#EXT-X-DISCONTINUITY\n#EXT-X-PROGRAM-DATE-TIME:2027-01-15T08:00:04.000Z\n"
        "#EXTINF:2.000000,\n#EXT-X-BYTERANGE:100@107\n../media-0.mp4\n"
        "#EXT-X-DISCONTINUITY\n"
        '#EXT-X-MAP:URI="../media-1.mp4",BYTERANGE="7@0"\n'
        "#EXT-X-PROGRAM-DATE-TIME:2027-01-15T08:00:06.000Z\n"
        "#EXTINF:2.000000,\n#EXT-X-BYTERANGE:100@7\n../media-1.mp4\n#EXT-X-ENDLIST\n"
    )
    master = render_master(files).decode()
    assert "BANDWIDTH=400,AVERAGE-BANDWIDTH=400" in master
    assert 'CODECS="avc1.64001f,mp4a.40.2",RESOLUTION=640x360' in master
    assert master.endswith("source/playlist.m3u8\n")
