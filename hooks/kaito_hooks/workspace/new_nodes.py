"""What keeps a new node from being made, whoever asks: told before Azure is asked, unless there is a node already."""

from __future__ import annotations

from kaito_hooks.api import commands, labels
from kaito_hooks.api.node_labels import reserved
from kaito_hooks.errors import InvalidObject
from kaito_hooks.workspace import reasons
from kaito_hooks.workspace.flows.plan import Plan, Scene


def require_makeable(scene: Scene, plan: Plan) -> None:
    """Raise `InvalidObject` with the way out when the first node would have to be made and can't be.

    Nodes of one's own go on, and so does what has begun.
    """
    if _has_begun(scene, plan):
        return
    _require_free_labels(scene)
    _require_size_on_sale(scene)


def _require_free_labels(scene: Scene) -> None:
    """AKS refuses a pool that brings labels which AKS itself sets."""
    found = reserved(scene.workspace.match_labels)
    if not found:
        return
    named = ", ".join(f"'{name}'" for name in found)
    raise InvalidObject(
        reasons.LABEL_RESERVED,
        f"`resource.labelSelector` asks for the label{'s' if len(found) > 1 else ''} {named}, which AKS sets itself "
        "and refuses on a new node. Create the Workspace with a label of your own instead, such as "
        f"'app: {scene.workspace.name}'; nodes that you have and that match are used once they are Ready.",
    )


def _require_size_on_sale(scene: Scene) -> None:
    """Clouds that still have a retired size go on by the annotation."""
    size, workspace = scene.chosen.instance_type, scene.workspace
    today = scene.context.now.date().isoformat()
    if size is None or not size.retired or size.retired >= today:
        return
    if workspace.bypass_resource_checks:
        return
    raise InvalidObject(
        reasons.INSTANCE_TYPE_RETIRED,
        f"Azure retired {size.name} on {size.retired}, so that no node of it can be made. Create the Workspace with "
        f"`resource.instanceType` {scene.chosen.successors}. Nodes of that size that you have are used once their "
        "labels match `resource.labelSelector`; where another cloud still makes them: "
        + commands.kubectl(
            *("annotate", "workspace", workspace.name, "-n", workspace.namespace),
            *(f"{labels.BYPASS_RESOURCE_CHECKS}=true", "--overwrite"),
        ),
    )


def _has_begun(scene: Scene, plan: Plan) -> bool:
    """Whether there is a node, or nothing to make one for: the result is there, or a person has to act first."""
    observed = scene.observed
    return bool(
        observed.machines
        or scene.nodes().free
        or plan.adapter
        or plan.failed
        or observed.child("Job", scene.workspace.name)
        or scene.deployment()
    )
