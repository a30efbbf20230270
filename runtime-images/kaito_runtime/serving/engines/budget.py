"""How many bytes keys and values may take."""

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import torch

_SHARE_OF_MEMORY = 0.4
"""Of what is free on a CPU: forward passes, bodies and other programs need the rest."""
_SHARE_OF_GPU = 0.85
_CGROUP = Path("/sys/fs/cgroup")
_MEMINFO = Path("/proc/meminfo")


def device_budget(device: torch.device) -> int:
    """Return the bytes for keys and values on a device that holds the weights already."""
    if device.type == "cuda":
        free, _ = torch.cuda.mem_get_info(device)
        return int(free * _SHARE_OF_GPU)
    return int(free_memory() * _SHARE_OF_MEMORY)


def cache_budget(
    layers: Sequence[torch.device], of_device: Callable[[torch.device], int] = device_budget
) -> int:
    """Return the bytes for the whole key-value cache, whose layers lie on these devices.

    Each layer takes the same: the device that has the least for each of its layers is the limit.
    """
    return min(
        of_device(device) * len(layers) // count for device, count in Counter(layers).items()
    )


def free_memory() -> int:
    """Return the bytes that this process may still take: of the machine, or of its container."""
    found = [_available()]
    try:
        limit = (_CGROUP / "memory.max").read_text().strip()
        used = int((_CGROUP / "memory.current").read_text())
        found += [int(limit) - used] if limit.isdigit() else []
    except (OSError, ValueError):
        pass  # no cgroup of version 2: the machine is the limit
    return max(0, min(found))


def _available() -> int:
    for line in _MEMINFO.read_text().splitlines():
        name, _, value = line.partition(":")
        if name == "MemAvailable":
            return int(value.split()[0]) * 1024
    raise OSError("/proc/meminfo has no MemAvailable")
