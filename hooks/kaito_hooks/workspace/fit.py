"""Whether the model and the size go together, before any node is asked for. Works in bytes; names a size that fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from kaito_hooks.errors import InvalidObject
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
from kaito_hooks.workspace.pod_memory import Need, PresetNeed, Use, available
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
    too_small: InvalidObject | None = None
    """Why the GPUs don't hold the model: to be raised where nothing has begun, since what runs has shown that they
    do.
    """


def fit(
    workspace: Workspace,
    presets: Presets,
    *image_capabilities: tuple[str, ...],
    server: Callable[[Preset], Need] | None = None,
) -> Fit:
    """Raise `InvalidObject` with the remedy when the preset does not exist, can't do what is asked, or does not fit.

    `image_capabilities` are those of each image that computes; `server` is what another engine than transformers
    needs, whose lack of memory is raised.
    """
    preset = _preset(workspace, presets)
    demand = _demand(workspace, preset, image_capabilities, server)
    size = _size(workspace, demand, presets)
    _check_cost(workspace, demand, size, presets)
    if size is None:
        return Fit(preset, None, preset.gpus)
    pod = demand.needs[0].on(size)
    gpus = pod.gpus if workspace.tuning or pod.fits(size) else min(preset.gpus, size.gpus)
    too_small = None
    if not workspace.bypass_resource_checks:
        _check_capability(demand, size, presets)
        too_small = _too_small(demand, size, presets)
        if too_small and server and not demand.needs[-1].on(size).fits(size):
            raise too_small
    named = successors(demand, size, presets) if size.retired else ""
    return Fit(preset, size, gpus, named, too_small)


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


def _demand(
    workspace: Workspace,
    preset: Preset,
    image_capabilities: Sequence[tuple[str, ...]],
    server: Callable[[Preset], Need] | None,
) -> Demand:
    needs: list[Need] = [server(preset)] if server else []
    if workspace.tuning:
        needs.insert(0, PresetNeed(preset, Use(workspace.tuning.method)))
    if not needs:
        needs = [PresetNeed(preset, Use.INFERENCE)]
    builds = [sorted(map(capability, each)) for each in image_capabilities]
    lowest = max(capability(preset.compute_capability), *(build[0] for build in builds))
    return Demand(preset, needs, lowest, min(build[-1] for build in builds))


def _too_small(demand: Demand, size: InstanceType, presets: Presets) -> InvalidObject | None:
    """What of the first need that the size does not meet, and a size that meets all."""
    need = next((need for need in demand.needs if not need.on(size).fits(size)), None)
    if need is None:
        return None
    return InvalidObject(
        reasons.INSTANCE_TYPE_TOO_SMALL,
        f"{demand.preset.name} needs {need.on(size).describe()} for {need.words}; {size.name} gives "
        f"{available(size)}. Create the Workspace with `resource.instanceType` "
        f"{suggestion(demand, presets)}{need.alternative(size)}",
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
