"""A pod on its way in: LimitRanges complete and bound it, ResourceQuotas count it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

from kaito_laptop.core.cluster import Forbidden, Manifest
from kaito_laptop.core.objects import name
from kaito_laptop.store.admission import limit_ranges, quotas


def let_in(
    pod: Manifest,
    ranges: Sequence[Manifest],
    charged: Sequence[Manifest],
    validated: Callable[[Manifest], Manifest],
    now: datetime,
) -> tuple[Manifest, Sequence[Manifest]]:
    """Return the pod as it is stored, and the quotas with a new status; raise `Forbidden`.

    `validated` checks the pod again after LimitRanges have filled it in: a default limit may be below a request.
    """
    if limit_ranges.fill(pod, ranges):
        pod = validated(pod)
    verdict = limit_ranges.problem(pod, ranges) or quotas.admit(pod, charged, now)
    if isinstance(verdict, str):
        raise Forbidden(f'pods "{name(pod)}" is forbidden: {verdict}')
    return pod, verdict
