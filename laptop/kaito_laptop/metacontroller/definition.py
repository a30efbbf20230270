"""A CompositeController object, resolved against the kinds of the cluster."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kaito_laptop.core.cluster import Cluster, Manifest, NotFound, Resource
from kaito_laptop.core.objects import get, name

SUPPORTED_STRATEGIES = ("OnDelete", "InPlace")


class UnusableDefinitionError(Exception):
    """The controller cannot start."""


@dataclass(frozen=True, slots=True)
class Definition:
    """What one CompositeController asks for."""

    manifest: Manifest
    parent: Resource
    parent_selector: Manifest
    ignore_status_changes: bool
    children: Sequence[Resource]
    strategies: Mapping[tuple[str, str], str]
    """Update methods by apiVersion and kind."""
    hooks: Mapping[str, Manifest]
    generate_selector: bool
    resync_seconds: float | None
    finalizer: str


def read(cluster: Cluster, manifest: Manifest) -> Definition:
    """Resolve the kinds, and refuse the update methods that nobody should use."""
    spec = manifest["spec"]
    children, strategies = [], {}
    for rule in spec.get("childResources") or []:
        resource = _resource(cluster, rule)
        method = get(rule, "updateStrategy", "method", default="OnDelete")
        if method not in SUPPORTED_STRATEGIES:
            raise UnusableDefinitionError(
                f"update method {method!r} of {rule['resource']} is not supported here: it loops "
                f"or stops in Metacontroller 4.17; use one of {', '.join(SUPPORTED_STRATEGIES)}"
            )
        children.append(resource)
        strategies[resource.api_version, resource.kind] = method
    parent = spec["parentResource"]
    return Definition(
        manifest=manifest,
        parent=_resource(cluster, parent),
        parent_selector=parent.get("labelSelector") or {},
        ignore_status_changes=bool(parent.get("ignoreStatusChanges")),
        children=children,
        strategies=strategies,
        hooks={which: hook for which, hook in (spec.get("hooks") or {}).items() if hook},
        generate_selector=bool(spec.get("generateSelector")),
        resync_seconds=spec.get("resyncPeriodSeconds"),
        finalizer=f"metacontroller.io/compositecontroller-{name(manifest)}",
    )


def _resource(cluster: Cluster, rule: Manifest) -> Resource:
    try:
        return cluster.resource(rule["apiVersion"], rule["resource"])
    except NotFound as error:
        raise UnusableDefinitionError(
            f"discovery: can't find resource {rule['resource']} in apiVersion {rule['apiVersion']}"
        ) from error
