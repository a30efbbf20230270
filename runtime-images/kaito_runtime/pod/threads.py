"""How many threads torch may use; to be decided before torch is imported."""

import os
from pathlib import Path


def prepare() -> None:
    """Set libgomp's variables where the user has not: it reads them when torch is imported.

    The machine's processor count would start threads that only steal from each other, and threads
    that spin while they wait steal most: beside one busy neighbour two spinning threads computed
    half as fast as one, waiting ones nearly as fast as alone (measured on two processors).
    """
    os.environ.setdefault("OMP_NUM_THREADS", str(granted_processors()))
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def granted_processors(cgroup: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return how many processors this process may use, from its cgroup v2 quota."""
    available = len(os.sched_getaffinity(0))
    try:
        quota, period = cgroup.read_text().split()
        return max(1, min(available, round(int(quota) / int(period))))
    except (OSError, ValueError):  # no cgroup v2, or the quota is "max"
        return available
