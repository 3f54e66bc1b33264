"""What this machine has for work: cores, GPUs, memory, and how fast it multiplies. No torch."""

from __future__ import annotations

import math
import os
import time
from dataclasses import dataclass
from functools import cache
from pathlib import Path

WIDTH = 1024
"""Rows and columns of the matrices that are multiplied to find the speed."""
MEASURED_SECONDS = 0.15
SHARES = {True: 1.0, False: 0.5}
"""Share of the speed of numpy's float32 product that model steps reach, with and without bf16 in the processor.

Steps reach about half of what the hardware can do; where it has bf16, that is about twice its float32 speed
(docs/benchmarks.md)."""


@dataclass(frozen=True)
class Machine:
    """What one worker may ask for at most, and how fast it is.

    Attributes:
        cpus: cores that this process may use.
        gpus: GPUs that it may see.
        memory: bytes.
        flops_per_second: that model steps reach on all its cores together.
    """

    cpus: int
    gpus: int
    memory: int
    flops_per_second: float

    @classmethod
    def here(cls) -> Machine:
        """This machine, as far as this process may use it: affinity and the limits of its control group count.

        Memory is all that there is, not what is free right now. The speed is that of a float32 product in numpy, the
        best of 0.15 seconds, times the share that model steps reach; it is measured once per process.
        """
        cpus, memory = cgroup_limits()
        return cls(
            max(1, math.ceil(min(_cores(), cpus))), len(gpu_names()), int(min(_memory(), memory)), _speed()
        )


def _cores() -> int:
    # macOS and Windows have no affinity.
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def gpu_names() -> tuple[str, ...]:
    """GPUs that this process may see, each as ``CUDA_VISIBLE_DEVICES`` names it."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return tuple(part.strip() for part in named.split(",") if part.strip() not in ("", "-1"))
    driver = Path("/proc/driver/nvidia/gpus")
    return tuple(str(i) for i in range(len(list(driver.iterdir())))) if driver.is_dir() else ()


def cgroup_limits(
    root: Path = Path("/sys/fs/cgroup"), listing: Path = Path("/proc/self/cgroup")
) -> tuple[float, float]:
    """Cores and bytes of memory that the control groups of this process allow, versions 1 and 2; infinite for none.

    Args:
        root: where the groups are mounted.
        listing: which groups this process is in, lines ``number:controllers:path``.
    """
    cpus = memory = math.inf
    for line in listing.read_text().splitlines() if listing.is_file() else ():
        _, names, path = line.split(":", 2)
        inside = Path(path.lstrip("/"))
        # A group is bound by those around it. In a container the path may be the host's; the mounted root then counts.
        for part in (inside, *inside.parents):
            if not names:
                cpus = min(cpus, _quota(_numbers(root / part / "cpu.max")))
                memory = min([memory, *_numbers(root / part / "memory.max")])
            if "cpu" in names.split(","):
                folder = root / "cpu" / part
                quota = _numbers(folder / "cpu.cfs_quota_us") + _numbers(folder / "cpu.cfs_period_us")
                cpus = min(cpus, _quota(quota))
            if "memory" in names.split(","):
                memory = min([memory, *_numbers(root / "memory" / part / "memory.limit_in_bytes")])
    return cpus, memory


def _quota(numbers: list[int]) -> float:
    """Cores from microseconds of processor time per period; a quota of -1 is none."""
    return numbers[0] / numbers[1] if len(numbers) == 2 and numbers[0] > 0 else math.inf


def _numbers(path: Path) -> list[int]:
    try:
        return [int(word) for word in path.read_text().split()]
    except (OSError, ValueError):  # not there, not readable, or "max"
        return []


@cache
def _speed() -> float:
    import numpy as np

    matrix = np.ones((WIDTH, WIDTH), np.float32)
    best, started = math.inf, time.perf_counter()
    while time.perf_counter() - started < MEASURED_SECONDS:
        before = time.perf_counter()
        matrix @ matrix
        best = min(best, time.perf_counter() - before)
    return SHARES[_has_bf16()] * 2 * WIDTH**3 / best


def _has_bf16() -> bool:
    flags = Path("/proc/cpuinfo")
    return flags.is_file() and any(
        name in flags.read_text(errors="replace") for name in ("avx512_bf16", "amx_bf16")
    )
