"""What this machine has for transcoding: processors, quotas, devices.

Reads a few small files of Linux; elsewhere, and where one is missing, the plain answer holds.
"""

import os
import platform
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Final

SIBLING_WORTH: Final = 0.3
"""Processors that share a core: each but the first is worth so much of one."""

#: Where drivers of video encoders show that they are there.
_DEVICES: Final = ("dev/nvidia0", "dev/dri/renderD128", "dev/dri/renderD129")


def usable_cores(*, system: Path = Path("/"), processors: Collection[int] | None = None) -> float:
    """How much this process may compute, in cores.

    Counts the processors that it may run on, one that shares its core with another as
    `SIBLING_WORTH`, and no more than a container's quota allows.

    Args:
        system: Where ``sys`` and ``proc`` are.
        processors: Numbers of those that it may run on; None: as the kernel says.
    """
    if processors is None:
        if not hasattr(os, "sched_getaffinity"):
            return float(os.cpu_count() or 1)
        processors = os.sched_getaffinity(0)
    whole = len({_siblings(system, processor) for processor in processors})
    cores = whole + SIBLING_WORTH * (len(processors) - whole)
    return min([cores, *_quotas(system)])


def _siblings(system: Path, processor: int) -> str:
    topology = f"sys/devices/system/cpu/cpu{processor}/topology/thread_siblings_list"
    return _text(system / topology) or str(processor)


def _quotas(system: Path) -> Iterable[float]:
    """Cores that control groups allow, seen from within a container: version 2, then 1."""
    quota, _, period = _text(system / "sys/fs/cgroup/cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit():
        yield int(quota) / max(1, int(period))
    quota = _text(system / "sys/fs/cgroup/cpu/cpu.cfs_quota_us")
    period = _text(system / "sys/fs/cgroup/cpu/cpu.cfs_period_us")
    if quota.isdigit() and period.isdigit():  # -1 is no quota
        yield int(quota) / max(1, int(period))


def processor_name(*, system: Path = Path("/")) -> str:
    """What the processor calls itself, with its architecture."""
    for line in _text(system / "proc/cpuinfo").splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return f"{value.strip()} ({platform.machine()})"
    return platform.machine()


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace").strip()
    except OSError:
        return ""


def video_devices(*, system: Path = Path("/")) -> tuple[str, ...]:
    """Devices that may encode."""
    return tuple(name for name in _DEVICES if (system / name).exists())
