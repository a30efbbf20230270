"""What a pod asks of a node, and what it may take, as scheduler, quota and LimitRange count it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from kaito_laptop.core.cluster import Manifest
from kaito_laptop.core.quantities import Quantity

Amounts = dict[str, Quantity]
Which = Literal["requests", "limits"]


def containers(pod: Manifest) -> Iterator[Manifest]:
    """Containers, then init containers: the order in which the API server looks at them."""
    yield from pod["spec"].get("containers", [])
    yield from pod["spec"].get("initContainers", [])


def of_container(container: Manifest, which: Which) -> Amounts:
    """Requests or limits of one container."""
    return amounts(container.get("resources", {}).get(which, {}))


def effective(pod: Manifest, which: Which) -> Amounts:
    """The containers together, or the largest init container: those run one after the other."""
    total: Amounts = {}
    for container in pod["spec"].get("containers", []):
        total = added(total, of_container(container, which))
    for container in pod["spec"].get("initContainers", []):
        for resource, wanted in of_container(container, which).items():
            known = total.get(resource)
            total[resource] = wanted if known is None or wanted.value > known.value else known
    return total


def added(left: Mapping[str, Quantity], right: Mapping[str, Quantity]) -> Amounts:
    """The sum of two lists of amounts."""
    total = dict(left)
    for resource, amount in right.items():
        total[resource] = total[resource] + amount if resource in total else amount
    return total


def amounts(found: Mapping[str, str | int]) -> Amounts:
    """Read the quantities of a list of resources."""
    return {resource: Quantity.of(value) for resource, value in found.items()}
