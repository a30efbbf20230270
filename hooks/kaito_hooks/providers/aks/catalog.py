"""What a region has to offer, asked before anything is asked for: sizes, and the quota that is left.

It is advice. Where nothing is known, AKS itself judges the request.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kaito_hooks.machine.errors import ProviderError
from kaito_hooks.providers.aks.errors import QuotaExceeded, QuotaIsZero, SkuNotAvailable

SPOT_QUOTA = "lowprioritycores"
REGIONAL_QUOTA = "cores"
"""Azure's names of the quotas beside those of the families."""


@dataclass(frozen=True, slots=True)
class Size:
    """One size as the subscription sees it."""

    name: str
    family: str
    """Name of its quota."""
    vcpus: int
    restriction: str = ""
    """Why it is not available; empty when it is."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes of a region."""

    region: str
    by_name: Mapping[str, Size]
    """By name in lower case."""
    is_complete: bool = True
    """Whether a size that is not here does not exist."""
    is_fresh: bool = False
    """Whether this very call of the hook asked for them."""


@dataclass(frozen=True, slots=True)
class Quota:
    """vCPUs of one family."""

    limit: int
    used: int


Quotas = Mapping[str, Quota]
"""By name in lower case."""


def unavailable_size(sizes: Sizes, wanted: str) -> ProviderError | None:
    """Why the size is not available in this region."""
    size = sizes.by_name.get(wanted.lower())
    if size is None:
        if not sizes.is_complete:
            return None
        return SkuNotAvailable("NotOffered", f"{wanted} is not offered in {sizes.region}.")
    if size.restriction:
        return SkuNotAvailable(size.restriction, f"{wanted} is restricted in {sizes.region}.")
    return None


def exceeded_quota(
    sizes: Sizes, quotas: Quotas, wanted: str, spot: bool, nodes: int = 1
) -> ProviderError | None:
    """Which quota is too small for so many nodes, with its figures."""
    size = sizes.by_name.get(wanted.lower())
    if size is None:
        return None
    needed = size.vcpus * nodes
    for name in (SPOT_QUOTA,) if spot else (size.family, REGIONAL_QUOTA):
        quota = quotas.get(name.lower())
        if quota is not None and quota.limit - quota.used < needed:
            kind = QuotaIsZero if quota.limit == 0 else QuotaExceeded
            detail = f"{name}: limit {quota.limit}, used {quota.used}, needed {needed} vCPUs."
            return kind("QuotaTooSmall", detail)
    return None
