"""ResourceQuota: what the pods of a namespace may ask for together.

The words and the order are those of k8s.io/apiserver/pkg/admission/plugin/resourcequota of Kubernetes 1.36: what counts
is `status.hard`, which the controller copies from the spec, and `status.used`, which each pod that is let in raises.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from kaito_laptop.core.clock import parse_timestamp
from kaito_laptop.core.cluster import Manifest
from kaito_laptop.core.objects import get, name
from kaito_laptop.core.quantities import Quantity
from kaito_laptop.store.pod_resources import (
    Amounts,
    Which,
    added,
    amounts,
    containers,
    effective,
    of_container,
)

ONE = Quantity.of(1)
FINISHED = ("Succeeded", "Failed")
COMPUTE = ("cpu", "memory", "ephemeral-storage")
MUST_BE_STATED = frozenset(
    f"{prefix}{resource}"
    for prefix in ("", "requests.", "limits.")
    for resource in ("cpu", "memory")
)
"""What a quota makes each container state; of other resources it counts what is there."""


def admit(pod: Manifest, quotas: Sequence[Manifest], now: datetime) -> str | list[Manifest]:
    """Why the pod is refused, or the quotas with what they count when it is let in."""
    charged = []
    for quota in quotas:
        hard = amounts(get(quota, "status", "hard", default={}))
        counted = [resource for resource in hard if _counts(resource)]
        if not counted:
            continue
        missing = _unstated(pod, MUST_BE_STATED.intersection(counted))
        if missing:
            return f"failed quota: {name(quota)}: must specify {missing}"
    for quota in quotas:
        hard = amounts(get(quota, "status", "hard", default={}))
        used = amounts(get(quota, "status", "used", default={}))
        asked = {k: v for k, v in usage(pod, now).items() if k in hard and v.value}
        after = added(used, asked)
        exceeded = sorted(each for each in asked if after[each].value > hard[each].value)
        if exceeded:
            return (
                f"exceeded quota: {name(quota)}, requested: {_shown(asked, exceeded)}, "
                f"used: {_shown(used, exceeded)}, limited: {_shown(hard, exceeded)}"
            )
        if asked:
            status = {**quota["status"], "used": {k: str(v) for k, v in sorted(after.items())}}
            charged.append({**quota, "status": status})
    return charged


def counted(hard: Mapping[str, str], pods: Iterable[Manifest], now: datetime) -> dict[str, str]:
    """What the pods of a namespace use of each resource that the quota names."""
    used: Amounts = {resource: Quantity.of(0) for resource in hard if _counts(resource)}
    for pod in pods:
        asked = usage(pod, now)
        used = added(used, {k: v for k, v in asked.items() if k in used})
    return {resource: str(amount) for resource, amount in sorted(used.items())}


def usage(pod: Manifest, now: datetime) -> Amounts:
    """What a quota counts of a pod; one that has ended, or should have, counts as an object only."""
    found: Amounts = {"count/pods": ONE}
    if _is_over(pod, now):
        return found
    found["pods"] = ONE
    for resource, amount in effective(pod, "requests").items():
        if resource in COMPUTE:
            found[resource] = found[f"requests.{resource}"] = amount
        elif "/" in resource:
            found[f"requests.{resource}"] = amount
    for resource, amount in effective(pod, "limits").items():
        if resource in COMPUTE:
            found[f"limits.{resource}"] = amount
    return found


def _counts(resource: str) -> bool:
    """Whether pods count against it; other objects are not counted here."""
    plain = resource.removeprefix("requests.").removeprefix("limits.")
    extended = resource.startswith("requests.") and "/" in resource
    return resource in ("pods", "count/pods") or plain in COMPUTE or extended


def _unstated(pod: Manifest, required: Iterable[str]) -> str:
    """Resources and the containers that do not state them, as in `limits.memory for: base,weights`."""
    found = []
    for resource in sorted(required):
        which: Which = "limits" if resource.startswith("limits.") else "requests"
        plain = resource.rpartition(".")[2]
        silent = sorted(
            each["name"] for each in containers(pod) if plain not in of_container(each, which)
        )
        if silent:
            found.append(f"{resource} for: {','.join(silent)}")
    return "; ".join(found)


def _is_over(pod: Manifest, now: datetime) -> bool:
    if get(pod, "status", "phase") in FINISHED:
        return True
    asked = get(pod, "metadata", "deletionTimestamp")
    grace = get(pod, "metadata", "deletionGracePeriodSeconds")
    return (
        asked is not None
        and grace is not None
        and now > parse_timestamp(asked) + timedelta(seconds=grace)
    )


def _shown(found: Mapping[str, Quantity], chosen: Sequence[str]) -> str:
    return ",".join(f"{each}={found[each]}" for each in chosen if each in found)
