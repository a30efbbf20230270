"""From the preset to requests and limits: what the containers of each pod ask of the node, and may take.

Pure arithmetic over presets.yaml: the same preset on the same size gives the same figures, so that a Deployment does
not roll. docs/pods.md, Requests and limits, has the terms and the figures.

The containers of a pod run one after the other, and scheduler, quota and kubelet count the largest of them: so each
gets the figures of the pod, and a namespace pays once. Only the trainer and the server hold GPUs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kaito_hooks.api.pods import Volume
from kaito_hooks.kube.objects import Manifest
from kaito_hooks.kube.quantities import GIB, binary, cores
from kaito_hooks.presets import InstanceType, Preset, bits_per_weight
from kaito_hooks.presets.allocatable import allocatable
from kaito_hooks.workspace.children import training_config
from kaito_hooks.workspace.children.volumes import SHARED_MEMORY_BYTES, WEIGHTS
from kaito_hooks.workspace.fit import Fit

ENGINE_BYTES = 4 * GIB
"""The process without its model: 0.8 GiB after the imports (measured without a GPU); a CUDA context, its libraries and
the memory pinned for copies take 1 to 3 GiB more.
"""
ADAPTER_MEMORY_BYTES = GIB
"""An adapter between file and GPU: rank 64 on all linear layers of 14 billion weights, in float32, is 0.9 GiB."""
PROCESS_BYTES = 2 * GIB
"""Each process beside the server's own, with a CUDA context: one for each further GPU, or vLLM's."""
DATA_MEMORY_BYTES = 20 * GIB
"""Rows and tokens of the training data, above what is requested: 350 million tokens, all that three epochs see in the
three days of a tuning at 4,000 tokens a second, take 56 bytes each (42 measured for the number and its places in two
lists, the rest is its text).
"""
GPU_POD_MILLICORES = 2000
"""Requested: one processor prepares work for the GPU, another one loads, answers or pulls."""
MILLICORES_PER_GPU = 8000
"""Limit on a size that presets.yaml does not list; the size's own processors otherwise."""
CHECK_MEMORY_BYTES, CHECK_MEMORY_LIMIT_BYTES = GIB // 2, 4 * GIB
"""A check reads a hundred rows of each file; the limit holds a row group of a parquet file, which is read whole."""
CHECK_MILLICORES, CHECK_MILLICORES_LIMIT = 250, 1000
LOGS_BYTES = GIB
"""Logs of the containers, which count as ephemeral storage beside the volumes."""


@dataclass(frozen=True, slots=True)
class Resources:
    """Figures of a pod, and so of each of its containers."""

    millicores: int
    millicores_limit: int
    memory: int
    """Bytes, as the next ones."""
    memory_limit: int
    storage: int
    storage_limit: int

    def of_container(self, gpus: int = 0) -> Manifest:
        """The `resources` of a container, in the API server's own spelling."""
        held = {"nvidia.com/gpu": str(gpus)} if gpus else {}
        return {
            "limits": {
                "cpu": cores(self.millicores_limit),
                "ephemeral-storage": binary(self.storage_limit),
                "memory": binary(self.memory_limit),
                **held,
            },
            "requests": {
                "cpu": cores(self.millicores),
                "ephemeral-storage": binary(self.storage),
                "memory": binary(self.memory),
                **held,
            },
        }


def of_check(volumes: Sequence[Volume]) -> Resources:
    """On any CPU node: requests are small, the limits let it read what a tuning would read."""
    return Resources(
        millicores=CHECK_MILLICORES,
        millicores_limit=CHECK_MILLICORES_LIMIT,
        memory=CHECK_MEMORY_BYTES,
        memory_limit=CHECK_MEMORY_LIMIT_BYTES,
        storage=LOGS_BYTES,
        storage_limit=_on_disk(volumes) + LOGS_BYTES,
    )


def of_tuning(fit: Fit, config: training_config.Config, volumes: Sequence[Volume]) -> Resources:
    """Of a training with this configuration: its number type, not the preset's, is what is loaded."""
    dtype = str(config.get("ModelConfig", {}).get("torch_dtype") or "auto")
    arguments = {"torch_dtype": dtype, **training_config.serving_arguments(config)}
    memory = _loaded(fit.preset, arguments) + ADAPTER_MEMORY_BYTES
    return _of_gpu_pod(fit, memory, memory + DATA_MEMORY_BYTES, volumes)


def of_serving(
    fit: Fit,
    arguments: Mapping[str, str],
    volumes: Sequence[Volume],
    adapters: int = 0,
    processes: int = 0,
) -> Resources:
    """Of a server with these arguments, so many adapters and so many processes beside the first."""
    memory = _loaded(fit.preset, arguments) + adapters * ADAPTER_MEMORY_BYTES
    memory += processes * PROCESS_BYTES
    return _of_gpu_pod(fit, memory, memory, volumes)


def _loaded(preset: Preset, arguments: Mapping[str, str]) -> int:
    """Host memory until the weights are on the GPU.

    Unquantised, the whole model is built in host memory and then moved. Quantised, each tensor goes to the GPU and is
    quantised there: the few on their way are less than the quantised model.
    """
    weights = preset.parameters * bits_per_weight(arguments) // 8
    return weights + ENGINE_BYTES + SHARED_MEMORY_BYTES


def _of_gpu_pod(fit: Fit, memory: int, memory_limit: int, volumes: Sequence[Volume]) -> Resources:
    """Never more than the node has: the pod could not be scheduled, and one that outgrows its node is evicted, which is
    no failure and would be tried again for ever, where one that outgrows its limit ends as OutOfMemory.
    """
    size = fit.instance_type
    return Resources(
        millicores=_at_most(GPU_POD_MILLICORES, allocatable(size).millicores if size else None),
        millicores_limit=1000 * size.vcpus if size else fit.gpus * MILLICORES_PER_GPU,
        memory=_whole_gib(memory, size),
        memory_limit=_whole_gib(memory_limit, size),
        storage=_whole_gib(_weights_on_disk(fit.preset, volumes)) + LOGS_BYTES,
        storage_limit=_on_disk(volumes) + LOGS_BYTES,
    )


def _whole_gib(bytes_: int, size: InstanceType | None = None) -> int:
    up = -(-bytes_ // GIB) * GIB
    return _at_most(up, allocatable(size).memory // GIB * GIB if size else None)


def _at_most(amount: int, bound: int | None) -> int:
    return amount if bound is None else min(amount, bound)


def _weights_on_disk(preset: Preset, volumes: Sequence[Volume]) -> int:
    """What is certain to be written; an image of the user's own brings its weights along."""
    return preset.weights_bytes if any(volume.path == WEIGHTS for volume in volumes) else 0


def _on_disk(volumes: Sequence[Volume]) -> int:
    return sum(volume.size for volume in volumes if not volume.in_memory)
