"""Nodes as both hooks see them: whether one is Ready, which labels a new one may be given, and what services that
make nodes do to them by themselves.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from kaito_hooks.kube.conditions import is_true
from kaito_hooks.kube.objects import Manifest, get_in, is_deleting

_KUBERNETES = ("kubernetes.io", "k8s.io")
"""A kubelet that is told to use labels of these domains does not start."""
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class NodeConventions:
    """What one service that makes nodes does to each by itself."""

    service: str
    reserved_labels: frozenset[str] = frozenset()
    """Names without a prefix that only the service itself may set."""
    reserved_domains: frozenset[str] = frozenset()
    """Prefixes, and what ends in them, that only the service itself may set."""
    spot_toleration: Manifest = field(default_factory=dict)
    """Of the taint that its spot nodes carry; empty for none."""


def is_ready(node: Manifest) -> bool:
    """Whether the node's kubelet reports, and the node is not on its way out."""
    return is_true(get_in(node, "status", "conditions"), "Ready") and not is_deleting(node)


def accepted(labels: Mapping[str, str], conventions: Iterable[NodeConventions]) -> dict[str, str]:
    """Those of the labels that a new node may be given."""
    services = tuple(conventions)
    names = {name for service in services for name in service.reserved_labels}
    domains = (*_KUBERNETES, *(each for service in services for each in service.reserved_domains))
    return {
        key: value
        for key, value in labels.items()
        if key not in names and _is_well_formed(key, value) and not _is_below(key, domains)
    }


def reserved(
    labels: Mapping[str, str], conventions: Iterable[NodeConventions]
) -> list[tuple[str, str]]:
    """Names that only a service itself may set, sorted, with the service."""
    return sorted(
        (name, each.service) for each in conventions for name in each.reserved_labels & set(labels)
    )


def _is_below(key: str, domains: Sequence[str]) -> bool:
    prefix = key.rpartition("/")[0]
    return any(prefix == domain or prefix.endswith(f".{domain}") for domain in domains)


def _is_well_formed(key: str, value: str) -> bool:
    prefix, slash, name = key.rpartition("/")
    if slash and not _PREFIX.fullmatch(prefix):
        return False
    return bool(_NAME.fullmatch(name)) and (not value or bool(_NAME.fullmatch(value)))
