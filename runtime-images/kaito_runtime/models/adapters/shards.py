"""Which part of a layer this process has, where several compute one model (tensor parallel).

transformers cuts linear layers by the model's plan. A layer cut by its outputs ("colwise") gets all inputs, and
gives this process's outputs; one cut by its inputs ("rowwise") gets this process's inputs, and gives the sum
over all processes. The other ways that are known here get and give everything.
"""

import re
from dataclasses import dataclass
from typing import Any

from torch import Tensor, distributed
from torch.distributed.tensor import DTensor

_WITH_ALL = {
    "colwise_gather_output",
    "colwise_rep",
    "embedding_colwise",
    "embedding_rowwise",
    "replicated_with_grad_allreduce",
    "rowwise_rep",
    "rowwise_split_input",
}


@dataclass(frozen=True)
class Shard:
    """The inputs and outputs that a layer has here; None for all of them."""

    inputs: slice | None = None
    outputs: slice | None = None
    group: Any = None
    """torch's process group, over which what comes of some of the inputs is summed."""

    def of_inputs(self, tensor: Tensor) -> Tensor:
        """Return a matrix [..., inputs] as this process needs it."""
        return tensor if self.inputs is None else tensor[..., self.inputs]

    def of_outputs(self, tensor: Tensor) -> Tensor:
        """Return a vector or matrix [..., outputs] as this process needs it."""
        return tensor if self.outputs is None else tensor[..., self.outputs]

    def agreed(self, tensor: Tensor) -> Tensor:
        """Return the first process's tensor: parts of two factorisations do not make a product."""
        if self.inputs is not None:
            tensor = tensor.contiguous()
            distributed.broadcast(tensor, group=self.group, group_src=0)
        return tensor

    def summed(self, tensor: Tensor) -> Tensor:
        """Return what was computed of the inputs here, summed over all processes."""
        if self.inputs is not None:
            distributed.all_reduce(tensor, group=self.group)
        return tensor


WHOLE = Shard()


def shard_of(model: Any, name: str) -> Shard | None:
    """Return the part of a module that is here; None where it is cut in a way that is not known."""
    module = model.get_submodule(name)
    if not isinstance(module.weight, DTensor):
        return WHOLE
    style = model.tp_plan.get(re.sub(r"(?<=\.)\d+(?=\.)", "*", name))
    mesh = module.weight.device_mesh
    group = mesh.get_group() if mesh.ndim == 1 else mesh.get_group("tp")
    if style in _WITH_ALL or style is None:  # an embedding is cut without a line of the plan
        return WHOLE
    if style == "colwise":
        return Shard(outputs=_slice(module.out_features, group))
    if style == "rowwise":
        return Shard(inputs=_slice(module.in_features, group), group=group)
    return None


def whole(tensor: Tensor) -> Tensor:
    """Return a parameter with the parts of all processes; each of them has to ask for it."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _slice(length: int, group: Any) -> slice:
    """Return this process's part, as torch.chunk cuts."""
    size = -(-length // distributed.get_world_size(group))
    start = min(size * distributed.get_rank(group), length)
    return slice(start, min(start + size, length))
