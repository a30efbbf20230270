"""The kinds of the cluster: built-in ones, and those that CustomResourceDefinitions add."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass

from kaito_laptop.core.cluster import Manifest, Resource
from kaito_laptop.core.objects import copy, get
from kaito_laptop.store import schema
from kaito_laptop.store.defaults import DEFAULTS
from kaito_laptop.store.go_json import round_trip, whole_numbers
from kaito_laptop.store.validation import builtin_causes, metadata_causes, refuse

Admit = Callable[[Manifest, Manifest | None], Manifest]


@dataclass(frozen=True, slots=True)
class Kind:
    """How the API server treats objects of one kind."""

    resource: Resource
    admit: Admit
    """Returns the object as it will be stored, given the stored one, or raises `Invalid`."""
    has_status: bool
    """Whether status is a subresource: only a status update changes it."""
    has_generation: bool
    """Whether a change outside metadata and status counts as a generation."""
    definition: Manifest | None = None
    """The CustomResourceDefinition that added the kind."""


def _admit_builtin(manifest: Manifest, old: Manifest | None) -> Manifest:
    metadata, status = manifest["metadata"], manifest.get("status")
    read: Manifest = round_trip(
        {k: v for k, v in manifest.items() if k not in ("metadata", "status")}
    )
    if "spec" in manifest:
        read.setdefault("spec", {})
    read["metadata"] = {
        key: value
        for key, value in metadata.items()
        if value not in (None, {}, []) or key == "name"
    }
    if status is not None:
        read["status"] = whole_numbers(status)
    _merge_string_data(read)
    if read["kind"] in DEFAULTS:
        DEFAULTS[read["kind"]](read)
    refuse(read, [*metadata_causes(read), *builtin_causes(read, old)])
    return read


def _admit_as_it_is(manifest: Manifest, _old: Manifest | None) -> Manifest:
    """Store a kind whose own schema we do not carry."""
    refuse(manifest, list(metadata_causes(manifest)))
    return manifest


def _merge_string_data(manifest: Manifest) -> None:
    """Move `stringData` of a Secret into `data`: the field can only be written."""
    if manifest["kind"] == "Secret" and "stringData" in manifest:
        for key, text in manifest.pop("stringData").items():
            encoded = base64.b64encode(str(text).encode()).decode()
            manifest.setdefault("data", {})[key] = encoded


def custom(definition: Manifest) -> Kind:
    """Return the kind that a CustomResourceDefinition adds."""
    spec = definition["spec"]
    version = next(each for each in spec["versions"] if each.get("storage"))
    openapi = get(version, "schema", "openAPIV3Schema", default={})
    resource = Resource(
        f"{spec['group']}/{version['name']}",
        spec["names"]["kind"],
        spec["names"]["plural"],
        spec["scope"] == "Namespaced",
    )

    def admit(manifest: Manifest, old: Manifest | None) -> Manifest:
        read: Manifest = whole_numbers(schema.prune(openapi, manifest))
        schema.fill(openapi, read)
        metadata = read["metadata"]
        read["metadata"] = {k: v for k, v in metadata.items() if v not in (None, {}, [])}
        problems = [*metadata_causes(read), *schema.causes(openapi, read, old, old is not None)]
        refuse(read, problems)
        return read

    return Kind(resource, admit, "status" in version.get("subresources", {}), True, definition)


def established(definition: Manifest) -> Manifest:
    """Return the status of a CustomResourceDefinition that works."""
    names = definition["spec"]["names"]
    reasons = {"NamesAccepted": "NoConflicts", "Established": "InitialNamesAccepted"}
    return {
        "acceptedNames": copy(names),
        "conditions": [
            {"type": each, "status": "True", "reason": reason} for each, reason in reasons.items()
        ],
        "storedVersions": [each["name"] for each in definition["spec"]["versions"]],
    }


def _builtin(resource: Resource, *parts: str) -> Kind:
    """A kind of Kubernetes; `parts` are among `status` and `generation`."""
    admit = _admit_as_it_is if resource.kind in UNCHECKED else _admit_builtin
    return Kind(resource, admit, "status" in parts, "generation" in parts)


UNCHECKED = ("CustomResourceDefinition", "CompositeController")
"""Kinds whose own schema we do not carry."""
BUILTIN = (
    _builtin(Resource("v1", "Namespace", "namespaces", namespaced=False), "status"),
    _builtin(Resource("v1", "Node", "nodes", namespaced=False), "status"),
    _builtin(Resource("v1", "Pod", "pods"), "status", "generation"),
    _builtin(Resource("v1", "Service", "services"), "status"),
    _builtin(Resource("v1", "Endpoints", "endpoints")),
    _builtin(Resource("v1", "Secret", "secrets")),
    _builtin(Resource("v1", "ConfigMap", "configmaps")),
    _builtin(Resource("v1", "ServiceAccount", "serviceaccounts")),
    _builtin(Resource("v1", "ResourceQuota", "resourcequotas"), "status"),
    _builtin(Resource("v1", "LimitRange", "limitranges")),
    _builtin(Resource("v1", "Event", "events")),
    _builtin(Resource("coordination.k8s.io/v1", "Lease", "leases")),
    _builtin(Resource("discovery.k8s.io/v1", "EndpointSlice", "endpointslices"), "generation"),
    _builtin(Resource("batch/v1", "Job", "jobs"), "status", "generation"),
    _builtin(Resource("apps/v1", "Deployment", "deployments"), "status", "generation"),
    _builtin(
        Resource(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            "customresourcedefinitions",
            namespaced=False,
        ),
        "status",
        "generation",
    ),
    _builtin(
        Resource(
            "metacontroller.k8s.io/v1alpha1",
            "CompositeController",
            "compositecontrollers",
            namespaced=False,
        ),
        "status",
        "generation",
    ),
)
