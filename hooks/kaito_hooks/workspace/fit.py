"""Whether the model and the size go together, before any node is asked for. Works in bytes; names a size that fits."""

from __future__ import annotations

from dataclasses import dataclass

from kaito_hooks.errors import InvalidObject
from kaito_hooks.kube.quantities import gib
from kaito_hooks.presets import (
    CLOUD,
    DEFAULT_PRICE_REGION,
    InstanceType,
    Preset,
    Presets,
    capability,
)
from kaito_hooks.presets.instance_types import Accelerator, accelerator, is_gpu_size
from kaito_hooks.workspace import reasons
from kaito_hooks.workspace.api import Workspace
from kaito_hooks.workspace.sizes import Demand, successors, suggestion


@dataclass(frozen=True, slots=True)
class Fit:
    """A preset and the size that it runs on."""

    preset: Preset
    instance_type: InstanceType | None
    """None for a GPU size that is not known here."""
    gpus: int
    """GPUs that one pod asks for."""
    successors: str = ""
    """Sizes that fit in the place of one that is retired, in words that follow "`resource.instanceType`"."""


def fit(workspace: Workspace, presets: Presets, image_capabilities: tuple[str, ...]) -> Fit:
    """Raise `InvalidObject` with the remedy when the preset does not exist, can't do what is asked, or does not fit."""
    preset = _preset(workspace, presets)
    demand = _demand(workspace, preset, image_capabilities)
    size = _size(workspace, demand, presets)
    _check_cost(workspace, demand, size, presets)
    if size is None:
        return Fit(preset, None, preset.gpus)
    if not workspace.bypass_resource_checks:
        _check_memory(workspace, demand, size, presets)
        _check_capability(demand, size, presets)
    gpus = size.gpus if workspace.tuning else min(preset.gpus, size.gpus)
    return Fit(preset, size, gpus, successors(demand, size, presets) if size.retired else "")


def _preset(workspace: Workspace, presets: Presets) -> Preset:
    choice = workspace.preset
    preset = presets.presets.get(choice.name)
    if preset is None:
        known = ", ".join(presets.tunable() if workspace.tuning else sorted(presets.presets))
        raise InvalidObject(
            reasons.PRESET_UNKNOWN,
            f"The preset '{choice.name}' is unknown. `preset.name` must be one of: {known}",
        )
    if workspace.tuning and preset.lora is None:
        raise InvalidObject(
            reasons.PRESET_NOT_TUNABLE,
            f"The preset '{preset.name}' can't be tuned. These can: {', '.join(presets.tunable())}",
        )
    if preset.private and not choice.private:
        raise InvalidObject(
            reasons.PRESET_PRIVATE,
            f"The licence of '{preset.name}' forbids a public image. Set `preset.accessMode` to 'private' and "
            "`preset.presetOptions.image` to an image of your own",
        )
    if preset.distributed:
        raise InvalidObject(
            reasons.NOT_SUPPORTED_YET,
            f"The preset '{preset.name}' spans several processes, which is not supported yet",
        )
    if workspace.tuning and workspace.count > 1:
        raise InvalidObject(
            reasons.COUNT_NOT_SUPPORTED,
            f"Tuning runs on one node, and `resource.count` is {workspace.count}; create a Workspace with count 1",
        )
    return preset


def _size(workspace: Workspace, demand: Demand, presets: Presets) -> InstanceType | None:
    name = workspace.instance_type
    size = presets.instance_types.get(name)
    if size:
        return size
    has = accelerator(name)
    if has in (Accelerator.AMD, Accelerator.FPGA):
        raise InvalidObject(
            reasons.INSTANCE_TYPE_NOT_SUPPORTED,
            f"{name} has {has.value}, and models run on NVIDIA GPUs only. Create the Workspace with "
            f"`resource.instanceType` {suggestion(demand, presets)}",
        )
    if not is_gpu_size(name):
        raise InvalidObject(
            reasons.INSTANCE_TYPE_UNKNOWN,
            f"`resource.instanceType` is '{name}', which is not a GPU size of {CLOUD}. Create the Workspace with "
            f"`resource.instanceType` {suggestion(demand, presets)}",
        )
    return None


def _demand(workspace: Workspace, preset: Preset, image_capabilities: tuple[str, ...]) -> Demand:
    memory = preset.inference
    if workspace.tuning:  # `_preset` has refused one that can't be tuned.
        memory = (preset.qlora if workspace.tuning.method == "qlora" else preset.lora) or memory
    built_for = sorted(map(capability, image_capabilities))
    lowest = max(capability(preset.compute_capability), built_for[0])
    return Demand(preset, memory, workspace.tuning is not None, lowest, built_for[-1])


def _check_memory(
    workspace: Workspace, demand: Demand, size: InstanceType, presets: Presets
) -> None:
    if demand.fits_memory(size):
        return
    preset, need = demand.preset, demand.memory
    use = f"{workspace.tuning.method} tuning" if workspace.tuning else "inference"
    each = f" and {gib(need.per_gpu)} on each GPU" if need.per_gpu else ""
    gpus = "" if demand.tuning else f" on {preset.gpus} GPU{'s' if preset.gpus > 1 else ''}"
    hint = ""
    if workspace.tuning and workspace.tuning.method == "lora" and preset.qlora:
        hint = f", or `tuning.method` 'qlora', which needs {gib(preset.qlora.total)}"
    raise InvalidObject(
        reasons.INSTANCE_TYPE_TOO_SMALL,
        f"{preset.name} needs {gib(need.total)} of GPU memory{gpus}{each} for {use}; "
        f"{size.name} gives {size.describe()}. Create the Workspace with `resource.instanceType` "
        f"{suggestion(demand, presets)}{hint}",
    )


def _check_capability(demand: Demand, size: InstanceType, presets: Presets) -> None:
    has = f"{size.name} has {size.gpu} GPUs of compute capability {size.compute_capability}"
    remedy = f"Create the Workspace with `resource.instanceType` {suggestion(demand, presets)}"
    if demand.is_too_old(size):
        raise InvalidObject(
            reasons.COMPUTE_CAPABILITY_TOO_LOW,
            f"{has}; {demand.preset.name} and the runtime images need {_dotted(demand.lowest)}. {remedy}",
        )
    if demand.is_too_new(size):
        raise InvalidObject(
            reasons.COMPUTE_CAPABILITY_TOO_HIGH,
            f"{has}; the runtime images are built for {_dotted(demand.highest)} at most. {remedy}",
        )


def _dotted(version: tuple[int, int]) -> str:
    return f"{version[0]}.{version[1]}"


def _check_cost(
    workspace: Workspace, demand: Demand, size: InstanceType | None, presets: Presets
) -> None:
    """List prices: what is billed depends on the contract, and spot costs less."""
    limit = workspace.max_hourly_cost
    if limit is None:
        return
    if size is None:
        raise InvalidObject(
            reasons.COST_TOO_HIGH,
            f"The price of {workspace.instance_type} is not known, and `resource.maxHourlyCost` is {limit}. "
            "Remove the limit, or create the Workspace with `resource.instanceType` "
            f"{suggestion(demand, presets)}",
        )
    cost = size.hourly_cost * workspace.count
    if cost <= limit:
        return
    fitting = demand.fitting([*presets.instance_types.values()])
    best = next((each for each in fitting if each.hourly_cost * workspace.count <= limit), None)
    remedy = f"raise it to {cost}"
    if best:
        remedy += (
            f", or create the Workspace with `resource.instanceType` '{best.name}' "
            f"({best.hourly_cost * workspace.count} USD{_region(best)})"
        )
    nodes = f"{workspace.count} x " if workspace.count > 1 else ""
    raise InvalidObject(
        reasons.COST_TOO_HIGH,
        f"{nodes}{size.name} costs {cost} USD an hour{_region(size)} by {CLOUD}'s price list, and "
        f"`resource.maxHourlyCost` is {limit}: {remedy}",
    )


def _region(size: InstanceType) -> str:
    """Said of a price that is of another region than most are."""
    return "" if size.price_region == DEFAULT_PRICE_REGION else f" in {size.price_region}"
