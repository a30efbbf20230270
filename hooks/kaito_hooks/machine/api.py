"""A typed view of our Machine: Karpenter's Machine v1alpha5 in a namespace, machines.kaito.sh/v1alpha1."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fractions import Fraction
from functools import cached_property
from math import ceil

from kaito_hooks.api import labels as keys
from kaito_hooks.errors import InvalidObject
from kaito_hooks.kube.objects import (
    Manifest,
    annotations_of,
    generation,
    get_in,
    is_deleting,
    labels_of,
    mapping,
    metadata,
    name,
    namespace,
    sequence,
    text,
    uid,
)
from kaito_hooks.kube.quantities import GIB
from kaito_hooks.kube.times import parse_timestamp
from kaito_hooks.machine.provider import PoolRef, PoolRequest, Taint
from kaito_hooks.machine.reasons import INVALID_SPEC
from kaito_hooks.presets.instance_types import Accelerator, accelerator

FINALIZER_PREFIX = "metacontroller.io/"
"""Metacontroller puts its own on the parent before the first sync."""

SMALLEST_DISK_GIB, LARGEST_DISK_GIB = 30, 2048
"""What every provider accepts for an OS disk."""

_POOL_NAME = re.compile(r"[a-z][a-z0-9]{0,11}")
"""The strictest rule of any provider, so that a Machine of ours suits each."""
_SIZE = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_QUANTITY = re.compile(r"([0-9]*\.?[0-9]+)([eE][+-]?[0-9]{1,2}|[KMGTPE]i|[kMGTPE]|m)?", re.ASCII)
_UNITS = {
    "": Fraction(1),
    **{"m": Fraction(1, 1000), "k": Fraction(10**3), "Ki": Fraction(2**10)},
    **{unit: Fraction(1000**power) for power, unit in enumerate("MGTPE", 2)},
    **{f"{unit}i": Fraction(1024**power) for power, unit in enumerate("MGTPE", 2)},
}
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


@dataclass(frozen=True)
class Machine:
    """A Machine as observed; what its spec asks for is read by `wanted_pool`."""

    manifest: Manifest

    @cached_property
    def ref(self) -> PoolRef:
        """Its pool: pools are named as their Machines."""
        return PoolRef(name(self.manifest), uid(self.manifest))

    @property
    def generation(self) -> int:
        """Moves when the spec does."""
        return max(generation(self.manifest), 0)

    @property
    def is_deleting(self) -> bool:
        """Whether nothing may be created for it any more."""
        return is_deleting(self.manifest)

    @property
    def deleted_at(self) -> datetime | None:
        """When its deletion was asked for."""
        return parse_timestamp(metadata(self.manifest).get("deletionTimestamp"))

    @property
    def has_finalizer(self) -> bool:
        """Whether its deletion would be reported to us."""
        finalizers = sequence(metadata(self.manifest).get("finalizers"))
        return any(text(item).startswith(FINALIZER_PREFIX) for item in finalizers)

    @property
    def retry(self) -> str:
        """The annotation with which a person asks to try again after a refusal."""
        return annotations_of(self.manifest).get(keys.RETRY, "")[:256]

    @property
    def can_have_pool(self) -> bool:
        """Whether a pool of its name may exist."""
        return bool(_POOL_NAME.fullmatch(self.ref.name)) and bool(self.ref.uid)

    @cached_property
    def size(self) -> str:
        """The instance type, or nothing when there is not exactly one."""
        sizes = _sizes(self.manifest)
        return sizes[0] if len(sizes) == 1 else ""

    @cached_property
    def validation_error(self) -> InvalidObject | None:
        """Why no pool can be asked for, if so; looked for once in a call."""
        try:
            wanted_pool(self, datetime.min.replace(tzinfo=UTC))
        except InvalidObject as error:
            return error
        return None

    @property
    def wants_gpu(self) -> bool:
        """Whether the node must offer nvidia.com/gpu; gpu-provisioner waits for it on the whole N series."""
        return accelerator(self.size) is Accelerator.NVIDIA

    @property
    def capacity_types(self) -> frozenset[str]:
        """Karpenter's words for what the node may be: on-demand, spot, or either."""
        found = _requirement(self.manifest, keys.CAPACITY_TYPE)
        return frozenset(found) & {"spot", "on-demand"} or frozenset({"on-demand"})

    @property
    def startup_taints(self) -> frozenset[tuple[str, str]]:
        """Key and effect of taints that must go before the Node counts as initialized."""
        return frozenset(
            (taint.key, taint.effect) for taint in _taints(self.manifest, "startupTaints")
        )


def wanted_pool(machine: Machine, now: datetime) -> PoolRequest:
    """The pool that the spec asks for; raise `InvalidObject`."""
    if not machine.can_have_pool:
        raise _invalid(
            "`metadata.name` must be 1 to 12 lower-case letters and digits and start with a "
            f"letter, as the names of pools do, found '{machine.ref.name[:64]}'"
        )
    return PoolRequest(
        ref=machine.ref,
        machine=f"{namespace(machine.manifest)}.{machine.ref.name}",
        size=_size(machine),
        disk_gib=_disk_gib(machine),
        labels=_node_labels(machine),
        taints=_taints(machine.manifest, "taints"),
        created=now,
    )


def _size(machine: Machine) -> str:
    sizes = _sizes(machine.manifest)
    if len(sizes) != 1 or not _SIZE.fullmatch(sizes[0]):
        shown = ", ".join(f"'{size[:64]}'" for size in sizes[:8]) or "none"
        raise _invalid(
            f"`spec.requirements` must name exactly one {keys.INSTANCE_TYPE} with operator In, "
            f"found {shown}"
        )
    return sizes[0]


def _sizes(manifest: Manifest) -> Sequence[str]:
    return _requirement(manifest, keys.INSTANCE_TYPE)


def _requirement(manifest: Manifest, key: str) -> Sequence[str]:
    """The values that a label may have."""
    found: dict[str, None] = {}
    for item in sequence(get_in(manifest, "spec", "requirements")):
        requirement = mapping(item)
        if requirement.get("key") == key and requirement.get("operator") == "In":
            found.update((value, None) for value in map(text, sequence(requirement.get("values"))))
    return list(found)


def _disk_gib(machine: Machine) -> int | None:
    """Rounded up; None leaves the choice to the provider, as Kaito's "0" means."""
    asked = get_in(machine.manifest, "spec", "resources", "requests", "storage")
    if asked is None or asked == "":
        return None
    match = _QUANTITY.fullmatch(str(asked)) if isinstance(asked, str | int) else None
    if match is None or isinstance(asked, bool) or len(str(asked)) > 32:
        raise _invalid(
            "`spec.resources.requests.storage` must be a quantity such as '100Gi', "
            f"found '{str(asked)[:32]}'"
        )
    gib = ceil(_bytes(match) / GIB)
    if gib == 0:
        return None
    if gib > LARGEST_DISK_GIB:
        raise _invalid(
            f"`spec.resources.requests.storage` must be at most {LARGEST_DISK_GIB}Gi, "
            f"found '{asked}'"
        )
    return max(gib, SMALLEST_DISK_GIB)


def _bytes(match: re.Match[str]) -> Fraction:
    number, unit = match[1], match[2] or ""
    return Fraction(number) * _UNITS[unit] if unit in _UNITS else Fraction(number + unit)


def _taints(manifest: Manifest, field: str) -> Sequence[Taint]:
    found = []
    for item in sequence(get_in(manifest, "spec", field)):
        taint = mapping(item)
        key, effect = text(taint.get("key")), text(taint.get("effect"))
        if key and effect in _EFFECTS:
            found.append(Taint(key, effect, text(taint.get("value"))))
    return found


def _node_labels(machine: Machine) -> Mapping[str, str]:
    """Those of the Machine, by which Kaito finds its nodes, and ours."""
    own = {
        key: value for key, value in labels_of(machine.manifest).items() if key != "controller-uid"
    }
    kind = "gpu" if machine.wants_gpu else "cpu"
    return {**own, keys.MACHINE_TYPE: kind, keys.MACHINE_UID: machine.ref.uid}


def _invalid(message: str) -> InvalidObject:
    return InvalidObject(INVALID_SPEC, message)
