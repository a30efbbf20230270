"""Which layers of a model lie on which GPU, for one process that has several.

One GPU computes after the other: memory adds up, speed does not. It is possible for every model, quantised
or not.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from kaito_contract.reasons import Reason
from kaito_contract.sections import QuantizationConfig
from kaito_runtime.models.outline import outline
from kaito_runtime.pod.termination import Failure

_SHARE = 0.9
"""Of a GPU's free memory that weights may take: what is computed needs the rest."""
_GIB = 1 << 30


def free_bytes() -> list[int]:
    """Return the free memory of each GPU that this process sees."""
    return [torch.cuda.mem_get_info(gpu)[0] for gpu in range(torch.cuda.device_count())]


def layers_by_gpu(
    weights: Path,
    dtype: torch.dtype,
    quantization: QuantizationConfig,
    free: Sequence[int],
    *,
    trust_remote_code: bool = False,
) -> dict[str, int]:
    """Return the GPU of each part of a model, as from_pretrained takes it for a device_map.

    Each gets about the same share of the weights. Nothing is loaded. Raises Failure (OutOfMemory) where
    the GPUs, with `free` bytes each, are too small together.
    """
    from accelerate import infer_auto_device_map
    from accelerate.utils import get_balanced_memory

    model = outline(weights, dtype, trust_remote_code=trust_remote_code)
    model.tie_weights()
    sizes: dict[str, Any] = {
        "no_split_module_classes": list(model._no_split_modules or []),
        "dtype": _stored_in(dtype, quantization),
        "special_dtypes": {} if quantization.name == "none" else _not_quantised(model, dtype),
    }
    most = {gpu: int(size * _SHARE) for gpu, size in enumerate(free)}
    shares = get_balanced_memory(model, dict(most), **sizes)
    found: dict[str, Any] = infer_auto_device_map(model, max_memory=shares, **sizes)
    if any(not isinstance(each, int) for each in found.values()):
        # A share that a large layer did not fit in; the GPUs as a whole may still be large enough.
        found = infer_auto_device_map(model, max_memory=most, **sizes)
    if any(not isinstance(each, int) for each in found.values()):
        sizes_of_gpus = ", ".join(f"{size / _GIB:.1f}" for size in free)
        raise Failure(
            Reason.OUT_OF_MEMORY,
            f"the weights do not fit the memory of {len(free)} GPUs ({sizes_of_gpus} GiB are free); use a "
            "larger instance type, or quantise the base (qlora)",
        )
    return found


def described(by_gpu: Mapping[str, int]) -> str:
    """Return a plan as one line for the log: `GPU 0: 18 parts, GPU 1: 17 parts`."""
    counts = Counter(by_gpu.values())
    return ", ".join(f"GPU {gpu}: {counts[gpu]} parts" for gpu in sorted(counts))


def is_spread(model: Any) -> bool:
    """Whether the layers of a model lie on several devices."""
    return len(set((getattr(model, "hf_device_map", None) or {}).values())) > 1


def _stored_in(dtype: torch.dtype, quantization: QuantizationConfig) -> Any:
    from accelerate.utils import CustomDtype

    if quantization.load_in_4bit:
        return CustomDtype.INT4
    return torch.int8 if quantization.load_in_8bit else dtype


def _not_quantised(model: Any, dtype: torch.dtype) -> dict[str, torch.dtype]:
    """Return the parameters that bitsandbytes leaves as they are: it quantises the layers' linear ones."""
    head = model.get_output_embeddings()
    quantised = {
        f"{name}.weight"
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and module is not head
    }
    return {name: dtype for name, _ in model.named_parameters() if name not in quantised}
