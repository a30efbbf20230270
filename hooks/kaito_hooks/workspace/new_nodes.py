"""What keeps a new node from being made, said before a provider is asked, unless there is a node already."""

from __future__ import annotations

from kaito_hooks.api import commands, labels
from kaito_hooks.api.nodes import reserved
from kaito_hooks.errors import InvalidObject
from kaito_hooks.presets import CLOUD
from kaito_hooks.workspace import reasons
from kaito_hooks.workspace.plan import Plan
from kaito_hooks.workspace.request import RequestContext


def require_makeable(request: RequestContext, plan: Plan) -> None:
    """Raise `InvalidObject` with the way out when the first node would have to be made and can't be.

    Nodes of one's own go on, and so does what has begun.
    """
    if _has_begun(request, plan):
        return
    _require_free_labels(request)
    _require_size_on_sale(request)


def _require_free_labels(request: RequestContext) -> None:
    """Some services refuse a node that brings labels which they set themselves."""
    found = reserved(request.workspace.match_labels, request.context.conventions)
    if not found:
        return
    named = ", ".join(f"'{name}'" for name, _ in found)
    services = " and ".join(sorted({service for _, service in found}))
    raise InvalidObject(
        reasons.LABEL_RESERVED,
        f"`resource.labelSelector` asks for the label{'s' if len(found) > 1 else ''} {named}, "
        f"which {services} sets itself and refuses on a new node. "
        "Create the Workspace with a label of your own instead, "
        f"such as 'app: {request.workspace.name}'; nodes that you have and that match are used once they are Ready.",
    )


def _require_size_on_sale(request: RequestContext) -> None:
    """Clouds that still have a retired size go on by the annotation."""
    size, workspace = request.fit.instance_type, request.workspace
    today = request.now.date().isoformat()
    if size is None or not size.retired or size.retired >= today:
        return
    if workspace.bypass_resource_checks:
        return
    raise InvalidObject(
        reasons.INSTANCE_TYPE_RETIRED,
        f"{CLOUD} retired {size.name} on {size.retired}, so that no node of it can be made. Create the Workspace with "
        f"`resource.instanceType` {request.fit.successors}. Nodes of that size that you have are used once their "
        "labels match `resource.labelSelector`; where another cloud still makes them: "
        + commands.kubectl(
            *("annotate", "workspace", workspace.name, "-n", workspace.namespace),
            *(f"{labels.BYPASS_RESOURCE_CHECKS}=true", "--overwrite"),
        ),
    )


def _has_begun(request: RequestContext, plan: Plan) -> bool:
    """Whether there is a node, or nothing to make one for: the result is there, or a person has to act first."""
    observed = request.observed
    return bool(
        observed.machines
        or request.nodes().existing
        or plan.adapter
        or plan.failed
        or observed.child("Job", request.workspace.name)
        or request.deployment()
    )
