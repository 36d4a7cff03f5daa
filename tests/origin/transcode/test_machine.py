"""What the machine has, read from made-up ``/proc`` and ``/sys`` trees."""

import os
from pathlib import Path

import pytest

from origin.transcode.machine import (
    SIBLING_WORTH,
    processor_name,
    usable_cores,
    video_devices,
)


def put(root: Path, name: str, text: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def siblings(root: Path, *groups: str) -> None:
    """Each group as the kernel writes it: "0,2"."""
    for group in groups:
        for processor in group.split(","):
            folder = f"sys/devices/system/cpu/cpu{processor}/topology"
            put(root, f"{folder}/thread_siblings_list", group + "\n")


def test_without_files_processors_are_cores(tmp_path: Path) -> None:
    assert usable_cores(system=tmp_path, processors={0, 1, 5}) == 3


def test_here_it_is_between_nothing_and_all() -> None:
    assert 0 < usable_cores() <= (os.cpu_count() or 1)


def test_a_sibling_is_worth_less_than_a_core(tmp_path: Path) -> None:
    siblings(tmp_path, "0,2", "1,3")
    assert usable_cores(system=tmp_path, processors=range(4)) == 2 + 2 * SIBLING_WORTH
    assert usable_cores(system=tmp_path, processors={0, 1}) == 2
    assert usable_cores(system=tmp_path, processors={0, 2}) == 1 + SIBLING_WORTH


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000\n"}, 1.5),
        ({"cpu.max": "max 100000\n"}, 4),
        ({"cpu.max": "800000 100000\n"}, 4),
        ({"cpu.max": "50000 0\n"}, 4),
        ({"cpu.max": "nonsense"}, 4),
        ({"cpu/cpu.cfs_quota_us": "50000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 4),
    ],
)
def test_a_containers_quota_is_kept(tmp_path: Path, files: dict[str, str], cores: float) -> None:
    for name, text in files.items():
        put(tmp_path, f"sys/fs/cgroup/{name}", text)
    assert usable_cores(system=tmp_path, processors=range(4)) == cores


def test_the_processor_is_named(tmp_path: Path) -> None:
    put(
        tmp_path,
        "proc/cpuinfo",
        "processor\t: 0\nmodel name\t: Some CPU @ 3 GHz\n\nmodel name: x\n",
    )
    assert processor_name(system=tmp_path).startswith("Some CPU @ 3 GHz (")
    assert processor_name(system=tmp_path / "none") == os.uname().machine


def test_devices_are_seen(tmp_path: Path) -> None:
    assert video_devices(system=tmp_path) == ()
    put(tmp_path, "dev/dri/renderD128", "")
    assert video_devices(system=tmp_path) == ("dev/dri/renderD128",)
