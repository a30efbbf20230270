"""Which labels a new node may be given."""

from __future__ import annotations

import re
from collections.abc import Mapping

_RESERVED = re.compile(r"(?:.*\.)?(?:kubernetes\.azure\.com|kubernetes\.io|k8s\.io)")
"""AKS refuses its own prefixes; a kubelet that is told to use Kubernetes' does not start."""
RESERVED = frozenset({"agentpool", "accelerator", "storageprofile", "storagetier"})
"""Without a prefix, and AKS' own all the same: it refuses a pool that brings one with NodeLabelKeyNotAllowed
(Azure/karpenter-provider-azure#1707; hashicorp/terraform-provider-azurerm#28636)."""
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


def accepted(labels: Mapping[str, str]) -> dict[str, str]:
    """Those that AKS and the kubelet accept."""
    return {key: value for key, value in labels.items() if _is_accepted(key, value)}


def reserved(labels: Mapping[str, str]) -> list[str]:
    """Names of those that only AKS itself may set."""
    return sorted(RESERVED & set(labels))


def _is_accepted(key: str, value: str) -> bool:
    if key in RESERVED:
        return False
    prefix, slash, name = key.rpartition("/")
    if slash and (not _PREFIX.fullmatch(prefix) or _RESERVED.fullmatch(prefix)):
        return False
    return bool(_NAME.fullmatch(name)) and (not value or bool(_NAME.fullmatch(value)))
