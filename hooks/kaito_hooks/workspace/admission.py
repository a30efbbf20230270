"""Whether the namespace would take a pod: its ResourceQuotas and LimitRanges, before a node is paid for.

The API server decides when the pod is made, and then says so in an Event alone if a Job makes it. What is computed
here is what it computes (plugin/pkg/admission/resourcequota and limitranger of Kubernetes 1.36), in its own words.
Quotas with scopes are left to it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from decimal import Decimal
from typing import Any

from kaito_hooks.kube.objects import Manifest, get_in, mapping, name, namespace, sequence, text
from kaito_hooks.kube.quantities import binary, cores, quantity
from kaito_hooks.workspace.observed import Observed

_REQUESTED_BY_NAME = frozenset({"cpu", "memory", "ephemeral-storage"})
"""In a quota the bare name of a resource is its request."""


def refusal(observed: Observed, workload: Manifest | None) -> str:
    """Why the pod of a Job or Deployment would be refused, in the API server's words; empty when nothing is known."""
    template = mapping(get_in(workload, "spec", "template"))
    if not template:
        return ""
    spec, place = template.get("spec"), namespace(observed.parent)
    refusals = [
        *_by_ranges(spec, _of_namespace(observed, "LimitRange", place)),
        *_by_quotas(spec, _of_namespace(observed, "ResourceQuota", place)),
    ]
    return refusals[0] if refusals else ""


def _of_namespace(observed: Observed, kind: str, place: str) -> list[Manifest]:
    return [item for item in observed.related.get(kind, ()) if namespace(item) == place]


def _by_ranges(spec: object, ranges: Sequence[Manifest]) -> Iterator[str]:
    for item in ranges:
        for limit in sequence(get_in(item, "spec", "limits")):
            kind = text(get_in(limit, "type"))
            if kind == "Container":
                for container in _containers(spec):
                    yield from _outside(kind, limit, _resources(container))
            if kind == "Pod":
                yield from _outside(kind, limit, _of_pod(spec))


def _outside(
    kind: str, limit: object, resources: Mapping[str, Mapping[str, Decimal]]
) -> Iterator[str]:
    for resource, most in sorted(mapping(get_in(limit, "max")).items()):
        asked = resources["limits"].get(resource)
        if asked is not None and asked > quantity(most):
            yield (
                f"maximum {resource} usage per {kind} is {most}, but limit is {_written(resource, asked)}"
            )
    for resource, least in sorted(mapping(get_in(limit, "min")).items()):
        asked = resources["requests"].get(resource)
        if asked is not None and asked < quantity(least):
            yield (
                f"minimum {resource} usage per {kind} is {least}, but request is {_written(resource, asked)}"
            )
    for resource, ratio in sorted(mapping(get_in(limit, "maxLimitRequestRatio")).items()):
        asked, most = resources["requests"].get(resource), resources["limits"].get(resource)
        if asked and most and most / asked > quantity(ratio):
            yield (
                f"{resource} max limit to request ratio per {kind} is {ratio}, "
                f"but provided ratio is {float(most / asked):f}"
            )


def _by_quotas(spec: object, quotas: Sequence[Manifest]) -> Iterator[str]:
    asked = _of_pod(spec)
    for quota in quotas:
        rules = mapping(quota.get("spec"))
        if rules.get("scopes") or rules.get("scopeSelector"):
            continue
        hard, used = mapping(rules.get("hard")), mapping(get_in(quota, "status", "used"))
        exceeded = []
        for key in sorted(hard):
            group, resource = _place(key)
            if key in ("pods", "count/pods"):
                wanted = Decimal(1)
            elif (found := asked.get(group, {}).get(resource)) is not None:
                wanted = found
            else:
                continue
            if quantity(used.get(key, 0)) + wanted > quantity(hard[key]):
                exceeded.append((key, _written(resource, wanted), used.get(key, 0), hard[key]))
        if exceeded:
            parts = (
                ",".join(f"{row[0]}={row[column]}" for row in exceeded) for column in (1, 2, 3)
            )
            requested, taken, limited = parts
            yield (
                f"exceeded quota: {name(quota)}, requested: {requested}, used: {taken}, limited: {limited}"
            )


def _place(key: str) -> tuple[str, str]:
    """Requests or limits, and the resource, that a key of a quota counts."""
    group, _, resource = key.partition(".")
    if key in _REQUESTED_BY_NAME:
        return "requests", key
    return group, resource


def _of_pod(spec: object) -> dict[str, dict[str, Decimal]]:
    """What the pod asks for: the sum of its containers, or more where one of its init containers does."""
    total: dict[str, dict[str, Decimal]] = {"requests": {}, "limits": {}}
    for container in sequence(get_in(spec, "containers")):
        for group, amounts in _resources(container).items():
            for resource, amount in amounts.items():
                total[group][resource] = total[group].get(resource, Decimal(0)) + amount
    for container in sequence(get_in(spec, "initContainers")):
        for group, amounts in _resources(container).items():
            for resource, amount in amounts.items():
                total[group][resource] = max(total[group].get(resource, Decimal(0)), amount)
    return total


def _containers(spec: object) -> list[Any]:
    return [*sequence(get_in(spec, "initContainers")), *sequence(get_in(spec, "containers"))]


def _resources(container: object) -> dict[str, dict[str, Decimal]]:
    """Requests and limits; a request that is not written is the limit."""
    limits = mapping(get_in(container, "resources", "limits"))
    requests = {**limits, **mapping(get_in(container, "resources", "requests"))}
    return {
        "requests": {key: quantity(value) for key, value in requests.items()},
        "limits": {key: quantity(value) for key, value in limits.items()},
    }


def _written(resource: str, amount: Decimal) -> str:
    if resource in ("memory", "ephemeral-storage"):
        return binary(int(amount))
    return cores(int(amount * 1000))
