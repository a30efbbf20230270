"""What processes weigh and use, from /proc."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

TICKS = os.sysconf("SC_CLK_TCK")


def children_of(parent: int) -> list[int]:
    """The workers of a gunicorn."""
    path = Path(f"/proc/{parent}/task/{parent}/children")
    return [int(pid) for pid in path.read_text(encoding="utf-8").split()]


def memory_mib(pids: Sequence[int]) -> float:
    """Resident memory of the largest process."""
    return max(
        int(line.split()[1]) / 1024
        for pid in pids
        for line in Path(f"/proc/{pid}/status").read_text(encoding="utf-8").splitlines()
        if line.startswith("VmRSS")
    )


def cpu_seconds(pids: Sequence[int]) -> float:
    """Processor time of all of them so far: what a busy machine does not change."""
    return sum(_ticks(pid) for pid in pids) / TICKS


def _ticks(pid: int) -> int:
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])
