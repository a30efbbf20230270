"""LimitRange: defaults, bounds and ratios of what containers and pods of a namespace ask for.

The words are those of plugin/pkg/admission/limitranger of Kubernetes 1.36.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kaito_laptop.core.cluster import Manifest
from kaito_laptop.core.objects import get
from kaito_laptop.core.quantities import parse
from kaito_laptop.store.pod_resources import Amounts, containers, effective, of_container

ANNOTATION = "kubernetes.io/limit-ranger"


def fill(pod: Manifest, ranges: Sequence[Manifest]) -> bool:
    """Give containers what they did not say themselves; return whether anything was missing."""
    notes = [note for each in ranges for note in _fill(pod, each)]
    if notes:
        annotations = pod["metadata"].setdefault("annotations", {})
        annotations[ANNOTATION] = "LimitRanger plugin set: " + "; ".join(notes)
    return bool(notes)


def problem(pod: Manifest, ranges: Sequence[Manifest]) -> str:
    """Why the first LimitRange that refuses the pod does so; empty when none does."""
    for each in ranges:
        found = list(dict.fromkeys(_problems(pod, each)))
        if found:
            return found[0] if len(found) == 1 else f"[{', '.join(found)}]"
    return ""


def _fill(pod: Manifest, limit_range: Manifest) -> Iterator[str]:
    limits: dict[str, str] = {}
    requests: dict[str, str] = {}
    for item in _items(limit_range, "Container"):
        limits |= item.get("default", {})
        requests |= item.get("defaultRequest", {})
    for group, what in (("containers", "container"), ("initContainers", "init container")):
        for container in pod["spec"].get(group, []):
            for which, defaults in (("requests", requests), ("limits", limits)):
                resources = container.setdefault("resources", {})
                missing = {k: v for k, v in defaults.items() if k not in resources.get(which, {})}
                if missing:
                    resources[which] = {**resources.get(which, {}), **missing}
                    names = ", ".join(sorted(missing))
                    yield f"{names} {which[:-1]} for {what} {container['name']}"


def _problems(pod: Manifest, limit_range: Manifest) -> Iterator[str]:
    for item in get(limit_range, "spec", "limits", default=[]):
        if item["type"] == "Container":
            for container in containers(pod):
                asked = of_container(container, "requests")
                yield from _of_item(item, asked, of_container(container, "limits"))
        elif item["type"] == "Pod":
            yield from _of_item(item, effective(pod, "requests"), effective(pod, "limits"))


def _of_item(item: Manifest, requests: Amounts, limits: Amounts) -> Iterator[str]:
    per = item["type"]
    for resource, bound in sorted(item.get("min", {}).items()):
        words = f"minimum {resource} usage per {per} is {bound}"
        yield from _below(words, resource, bound, requests, limits)
    for resource, bound in sorted(item.get("max", {}).items()):
        words = f"maximum {resource} usage per {per} is {bound}"
        yield from _above(words, resource, bound, requests, limits)
    for resource, bound in sorted(item.get("maxLimitRequestRatio", {}).items()):
        words = f"{resource} max limit to request ratio per {per} is {bound}"
        yield from _ratio(words, resource, bound, requests, limits)


def _below(
    words: str, resource: str, bound: str, requests: Amounts, limits: Amounts
) -> Iterator[str]:
    asked, most = requests.get(resource), limits.get(resource)
    if asked is None:
        yield f"{words}.  No request is specified"
    elif asked.value < parse(bound):
        yield f"{words}, but request is {asked}"
    elif most is not None and most.value < parse(bound):
        yield f"{words}, but limit is {most}"


def _above(
    words: str, resource: str, bound: str, requests: Amounts, limits: Amounts
) -> Iterator[str]:
    asked, most = requests.get(resource), limits.get(resource)
    if most is None:
        yield f"{words}.  No limit is specified"
    elif most.value > parse(bound):
        yield f"{words}, but limit is {most}"
    elif asked is not None and asked.value > parse(bound):
        yield f"{words}, but request is {asked}"


def _ratio(
    words: str, resource: str, bound: str, requests: Amounts, limits: Amounts
) -> Iterator[str]:
    asked, most = requests.get(resource), limits.get(resource)
    if asked is None or not asked.value:
        yield f"{words}, but no request is specified or request is 0"
    elif most is None or not most.value:
        yield f"{words}, but no limit is specified or limit is 0"
    elif most.value / asked.value > parse(bound):
        yield f"{words}, but provided ratio is {float(most.value / asked.value):f}"


def _items(limit_range: Manifest, type_: str) -> list[Manifest]:
    found: list[Manifest] = get(limit_range, "spec", "limits", default=[])
    return [item for item in found if item["type"] == type_]
