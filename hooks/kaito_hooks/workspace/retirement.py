"""Sizes that Azure has retired: told before anything is asked of Azure, unless a node of the size is there already."""

from __future__ import annotations

from kaito_hooks.errors import InvalidObject
from kaito_hooks.kube import commands, labels
from kaito_hooks.workspace import reasons
from kaito_hooks.workspace.plan import Plan, Scene


def require_size_on_sale(scene: Scene, plan: Plan) -> None:
    """Raise `InvalidObject` with the successors when the first node of a retired size would have to be made.

    Nodes of one's own, and clouds that still have the size, go on: a node that matches, or the annotation.
    """
    size, workspace = scene.chosen.instance_type, scene.workspace
    today = scene.context.now.date().isoformat()
    if size is None or not size.retired or size.retired >= today:
        return
    if workspace.bypass_resource_checks or _has_begun(scene, plan):
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
