"""Which GPU sizes can hold what a Workspace asks for, and how a remedy names them: only ones that are sold."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kaito_hooks.presets import InstanceType, Preset, Presets, capability
from kaito_hooks.workspace.pod_memory import Need


@dataclass(frozen=True, slots=True)
class Demand:
    """What a node must have: each holds the whole model, however many there are."""

    preset: Preset
    needs: Sequence[Need]
    """Each must fit: a tuning, and what serves it afterwards."""
    lowest: tuple[int, int]
    """Compute capability that the model and the runtime images need."""
    highest: tuple[int, int]
    """Compute capability that the runtime images are built for at most."""

    def fits_memory(self, size: InstanceType) -> bool:
        """Whether the GPUs that a pod asks for hold what it loads."""
        return all(need.on(size).fits(size) for need in self.needs)

    def is_too_old(self, size: InstanceType) -> bool:
        """Whether the GPUs lack what the model or the images need."""
        return capability(size.compute_capability) < self.lowest

    def is_too_new(self, size: InstanceType) -> bool:
        """Whether the images hold no code for the GPUs: compiled code runs on later minor versions, not on the next
        major one (CUDA C++ Programming Guide, Binary Compatibility).
        """
        return capability(size.compute_capability)[0] > self.highest[0]

    def fitting(self, sizes: Sequence[InstanceType]) -> list[InstanceType]:
        """Those of the sizes that fit and that a message may name, the cheapest first."""
        found = [
            size
            for size in sizes
            if size.is_remedy
            and self.fits_memory(size)
            and not self.is_too_old(size)
            and not self.is_too_new(size)
        ]
        return sorted(found, key=lambda size: (size.hourly_cost, size.name))


def suggestion(demand: Demand, presets: Presets) -> str:
    """The cheapest size that fits, in words that follow "`resource.instanceType`"."""
    fitting = demand.fitting([*presets.instance_types.values()])
    return _words(fitting[:1])


def successors(demand: Demand, retired: InstanceType, presets: Presets) -> str:
    """What the cloud names in the place of a size, as far as it fits, else the cheapest size that does."""
    named = demand.fitting([presets.instance_types[name] for name in retired.successors])
    return _words(named) if named else suggestion(demand, presets)


def _words(sizes: Sequence[InstanceType]) -> str:
    if not sizes:
        return "of a larger size; none that is known is large enough"
    return " or ".join(f"'{size.name}' ({size.describe()})" for size in sizes)
