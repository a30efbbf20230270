"""Figures of the machine in the JSON of Kaito's `/metrics`."""

import logging
import sys
from collections.abc import Callable
from functools import cache
from typing import Any

log = logging.getLogger(__name__)

GIB = 1024**3


def machine_figures() -> dict[str, Any]:
    """Return GPU figures where there is a GPU, else those of the processor and its memory."""
    torch = sys.modules.get("torch")  # not to be imported for a scrape
    if torch is not None and torch.cuda.is_available():
        gpus = [gpu_figures(torch.cuda, index) for index in range(torch.cuda.device_count())]
        return {"gpu_info": gpus, "cpu_info": None}
    return {"gpu_info": None, "cpu_info": _cpu()}


def gpu_figures(cuda: Any, index: int) -> dict[str, Any]:
    """Return the figures of one GPU; `cuda` is torch's module, which asks the driver (nvidia-ml-py)."""
    free, total = cuda.mem_get_info(index)
    return {
        "id": str(index),
        "name": cuda.get_device_name(index),
        "load": _figure("load", lambda: f"{cuda.utilization(index):.2f}%"),
        "temperature": _figure("temperature", lambda: f"{cuda.temperature(index)} C"),
        "memory": {"used": f"{(total - free) / GIB:.2f} GB", "total": f"{total / GIB:.2f} GB"},
    }


def _figure(name: str, read: Callable[[], str]) -> str | None:
    """Return a figure, or None where the driver has none: virtual GPUs and slices of one lack some."""
    try:
        return read()
    except Exception as error:  # noqa: BLE001  torch raises kinds of three packages
        _log_missing(name, f"{type(error).__name__}: {error}")
        return None


@cache
def _log_missing(name: str, why: str) -> None:
    """Say so once: a scrape comes every few seconds."""
    log.warning("The %s of the GPU is not known: %s", name, why)


def _cpu() -> dict[str, Any]:
    import psutil

    memory = psutil.virtual_memory()
    return {
        "load_percentage": psutil.cpu_percent(),
        "physical_cores": psutil.cpu_count(logical=False),
        "total_cores": psutil.cpu_count(),
        "memory": {
            "used": f"{memory.used / GIB:.2f} GB",
            "total": f"{memory.total / GIB:.2f} GB",
        },
    }
