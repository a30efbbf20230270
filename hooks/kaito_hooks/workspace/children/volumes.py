"""The folders of the pods, and how much each may hold: a pod that writes more is ended by the kubelet.

docs/pods.md, Requests and limits, has the table. All lie on the node's OS disk, but /dev/shm.
"""

from __future__ import annotations

from kaito_hooks.api import pods
from kaito_hooks.kube.quantities import GIB
from kaito_hooks.presets import Preset

WEIGHTS = "/workspace/weights"
"""Where the base model lies in every pod."""
DATA_BYTES = 10 * GIB
"""Training data as it was downloaded. A tuning has three days; at 4,000 tokens a second and three epochs it sees 350
million tokens, 1.4 GB of text: seven times that leaves room for JSON around it and for columns that nobody reads.
"""
ADAPTER_BYTES = 4 * GIB
"""An adapter, tuned or served: rank 256 on all linear layers of 14 billion weights, in float32, is 3.4 GiB."""
SCRATCH_BYTES = 5 * GIB
"""Home, compiler caches and temporary files; the push packs the adapter there once more."""
SHARED_MEMORY_BYTES = GIB
"""Of shared memory, as NVIDIA advises for NCCL (docker run --shm-size=1g); Kubernetes' own is 64 MiB."""
COPIES_OF_WEIGHTS = 2
"""Images and repositories often hold the weights twice: pickled and safetensors (Falcon), in shards and in one piece
(Mistral).
"""


def scratch() -> pods.Volume:
    """The writable folder: home, caches and temporary files."""
    return pods.empty("scratch", pods.SCRATCH, SCRATCH_BYTES)


def scratch_of_check() -> pods.Volume:
    """The same for the check, which may have to download data that can't be read in parts."""
    return pods.empty("scratch", pods.SCRATCH, DATA_BYTES)


def shared_memory() -> pods.Volume:
    """Shared memory, for the collectives of torch."""
    return pods.empty_in_memory("dshm", "/dev/shm", SHARED_MEMORY_BYTES)  # noqa: S108  the pod's own


def weights(preset: Preset) -> pods.Volume:
    """The base model, with its tokenizer and code."""
    size = COPIES_OF_WEIGHTS * preset.weights_bytes + GIB
    return pods.empty("weights", WEIGHTS, -(-size // GIB) * GIB)


def data() -> pods.Volume:
    """The training data."""
    return pods.empty("data", "/mnt/data", DATA_BYTES)


def results() -> pods.Volume:
    """The tuned adapter, before it is pushed."""
    return pods.empty("results", "/mnt/results", ADAPTER_BYTES)


def adapters(count: int = 1) -> pods.Volume:
    """The adapters that are served."""
    return pods.empty("adapters", "/mnt/adapter", count * ADAPTER_BYTES)
