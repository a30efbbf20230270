"""Keys that we write and select by."""

from __future__ import annotations

WORKSPACE = "kaito.sh/workspace"
"""Label on every child and pod: the Workspace's name (Kaito's)."""
WORKSPACE_NAMESPACE = "kaito.sh/workspacenamespace"
"""Label on Machines and their nodes: the Workspace's namespace (Kaito's)."""
WORKSPACE_UID = "kaito.sh/workspace-uid"
"""Label on Machines and their nodes: which Workspace the node was made for."""
MACHINE_UID = "kaito.sh/machine-uid"
"""Label on nodes: which Machine made them."""
MACHINE_INDEX = "kaito.sh/machine-index"
"""Label on Machines: position among the Workspace's nodes, from 0."""
MACHINE_ATTEMPT = "kaito.sh/machine-attempt"
"""Label on Machines: how many Machines of this position came before."""
PROVISIONER = "karpenter.sh/provisioner-name"
"""Label on Machines (Kaito's; the value is 'default')."""

COMPONENT = "app.kubernetes.io/component"
"""Label on children and pods: check, tuning or inference."""
APP_NAME = "app.kubernetes.io/name"
"""Recommended label."""
APP_INSTANCE = "app.kubernetes.io/instance"
"""Recommended label."""
PART_OF = "app.kubernetes.io/part-of"
"""Recommended label."""
MANAGED_BY = "app.kubernetes.io/managed-by"
"""Recommended label."""

TUNING_HASH = "kaito.sh/tuning-hash"
"""Annotation: fingerprint of the explicit inputs of a tuning."""
ADAPTER_DIGEST = "kaito.sh/adapter-digest"
"""Annotation on the Deployment: digest of the adapter that it serves."""
ADAPTER_IMAGE = "kaito.sh/adapter-image"
"""Annotation on the Deployment: reference that the adapter was pushed to."""
SPEC_HASH = "kaito.sh/spec-hash"
"""Annotation: fingerprint of the spec that was asked for."""

RETRY = "kaito.sh/retry"
"""Annotation of the user: any new value runs a failed check, tuning or push again."""
ENABLE_LOAD_BALANCER = "kaito.sh/enablelb"
"""Annotation of the user: Service of type LoadBalancer (Kaito's)."""
BYPASS_RESOURCE_CHECKS = "kaito.sh/bypass-resource-checks"
"""Annotation of the user: don't compare the model's memory with the size (Kaito's)."""

LAST_APPLIED = "metacontroller.k8s.io/last-applied-configuration"
"""Annotation of Metacontroller: the child as it was last asked for."""


def is_truthy(value: str) -> bool:
    """YAML's words for true, whatever their case."""
    return value.strip().lower() in {"true", "yes", "on", "1", "y"}
