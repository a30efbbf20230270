"""What a Workspace wants to see beside its children: nodes, its own pods, the ConfigMaps that it names, whoever
else has the names of its children, and the quotas and limits of its namespace.

Never a Secret: whether one works is proven by the check Job, so no credential crosses a hook. Never a bare
rule: each node's heartbeat would sync every Workspace. The answer depends on metadata and top-level fields
only, as Metacontroller caches it by generation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kaito_hooks.api import labels
from kaito_hooks.kube.objects import get_in, mapping, name, namespace, sequence, text, uid
from kaito_hooks.metacontroller import RelatedRule
from kaito_hooks.presets import Presets
from kaito_hooks.workspace.api import DEFAULT_INSTANCE_TYPE, config_maps
from kaito_hooks.workspace.job_kinds import CHECK, PUSH


def customize(parent: Mapping[str, Any], presets: Presets) -> list[RelatedRule]:
    """The rules, narrow enough for a cluster of a thousand nodes."""
    named = config_maps(parent)
    rules = [
        RelatedRule("v1", "nodes", match_labels={labels.WORKSPACE_UID: uid(parent)}),
        _matching_nodes(parent, presets),
        RelatedRule(
            "v1", "pods", namespace=namespace(parent), match_labels={labels.WORKSPACE: name(parent)}
        ),
        *_same_names(parent),
        # What decides whether the namespace lets the pods in: few objects, and no selector fits them all.
        RelatedRule("v1", "resourcequotas", namespace=namespace(parent)),
        RelatedRule("v1", "limitranges", namespace=namespace(parent)),
    ]
    if named:
        rules.append(RelatedRule("v1", "configmaps", namespace=namespace(parent), names=named))
    return rules


def _same_names(parent: Mapping[str, Any]) -> list[RelatedRule]:
    """Objects that have the names of our children, ours or not: a foreign one is no child and never shown as one."""
    own = name(parent)
    kinds = [("v1", "services", [own]), ("apps/v1", "deployments", [own])]
    if get_in(parent, "tuning") is not None:
        kinds.append(("batch/v1", "jobs", [own, CHECK.name(own), PUSH.name(own)]))
    return [
        RelatedRule(api_version, resource, namespace=namespace(parent), names=names)
        for api_version, resource, names in kinds
    ]


def _matching_nodes(parent: Mapping[str, Any], presets: Presets) -> RelatedRule:
    selector = mapping(get_in(parent, "resource", "labelSelector"))
    match_labels = {
        key: value
        for key, value in mapping(selector.get("matchLabels")).items()
        if isinstance(key, str) and isinstance(value, str)
    }
    expressions = [
        item for item in sequence(selector.get("matchExpressions")) if isinstance(item, Mapping)
    ]
    if not match_labels and not expressions:
        instance_type = text(get_in(parent, "resource", "instanceType")) or DEFAULT_INSTANCE_TYPE
        match_labels = {labels.INSTANCE_TYPE: presets.api_name(instance_type)}
    return RelatedRule("v1", "nodes", match_labels=match_labels, match_expressions=expressions)
