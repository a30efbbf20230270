"""Which GPU sizes can hold what a Workspace asks for, and how they are named in a remedy: never one that is retired."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kaito_hooks.presets import InstanceType, Memory, Preset, Presets, capability


@dataclass(frozen=True, slots=True)
class Demand:
    """What must fit into one node: each holds the whole model, however many there are."""

    preset: Preset
    memory: Memory
    tuning: bool
    lowest: tuple[int, int]
    """Compute capability that the model and the runtime images need."""

    def fits_memory(self, size: InstanceType) -> bool:
        """Whether GPUs and memory suffice."""
        enough_gpus = self.tuning or size.gpus >= self.preset.gpus
        return (
            enough_gpus
            and size.memory >= self.memory.total
            and size.memory_per_gpu >= self.memory.per_gpu
        )

    def runs_on(self, size: InstanceType) -> bool:
        """Whether the GPUs are new enough."""
        return capability(size.compute_capability) >= self.lowest

    def fitting(self, sizes: Sequence[InstanceType]) -> list[InstanceType]:
        """Those of the sizes that fit and that Azure has not retired, the cheapest first."""
        found = [
            size
            for size in sizes
            if not size.retired and self.fits_memory(size) and self.runs_on(size)
        ]
        return sorted(found, key=lambda size: (size.hourly_cost, size.name))


def suggestion(demand: Demand, presets: Presets) -> str:
    """The cheapest size that fits, in words that follow "`resource.instanceType`"."""
    fitting = demand.fitting([*presets.instance_types.values()])
    return _words(fitting[:1])


def successors(demand: Demand, retired: InstanceType, presets: Presets) -> str:
    """What Azure names in the place of a size, as far as it fits, else the cheapest size that does."""
    named = demand.fitting([presets.instance_types[name] for name in retired.successors])
    return _words(named) if named else suggestion(demand, presets)


def _words(sizes: Sequence[InstanceType]) -> str:
    if not sizes:
        return "of a larger size; none that is known is large enough"
    return " or ".join(f"'{size.name}' ({size.describe()})" for size in sizes)
