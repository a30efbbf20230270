"""Figures of the machine in the JSON of Kaito's `/metrics`."""

import contextlib
import sys
from typing import Any

GIB = 1024**3


def machine_figures() -> dict[str, Any]:
    """Return GPU figures where there is a GPU, else those of the processor and its memory."""
    torch = sys.modules.get("torch")  # not to be imported for a scrape
    if torch is not None and torch.cuda.is_available():
        return {"gpu_info": [_gpu(torch, i) for i in range(torch.cuda.device_count())],
                "cpu_info": None}  # fmt: skip
    return {"gpu_info": None, "cpu_info": _cpu()}


def _gpu(torch: Any, index: int) -> dict[str, Any]:
    free, total = torch.cuda.mem_get_info(index)
    load = temperature = ""
    with contextlib.suppress(Exception):  # NVML is no part of torch: it may be missing
        load = f"{torch.cuda.utilization(index):.2f}%"
        temperature = f"{torch.cuda.temperature(index)} C"
    return {
        "id": str(index),
        "name": torch.cuda.get_device_name(index),
        "load": load,
        "temperature": temperature,
        "memory": {"used": f"{(total - free) / GIB:.2f} GB", "total": f"{total / GIB:.2f} GB"},
    }


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
