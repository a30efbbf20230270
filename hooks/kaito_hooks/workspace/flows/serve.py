"""The flow of an inference Workspace: nodes, then the Deployment of the preset."""

from __future__ import annotations

from kaito_hooks.workspace import conditions as types
from kaito_hooks.workspace import conflicts
from kaito_hooks.workspace.children import inference
from kaito_hooks.workspace.flows import conditions
from kaito_hooks.workspace.flows.nodes import NO_NODES, idle_of, refusal_of
from kaito_hooks.workspace.flows.verification import adapters_verified
from kaito_hooks.workspace.observed import as_last_applied
from kaito_hooks.workspace.plan import Plan
from kaito_hooks.workspace.request import RequestContext

REQUIRED = (types.MACHINE_READY, types.RESOURCE_READY, types.INFERENCE_READY)


def serve_preset(request: RequestContext) -> Plan:
    """A Deployment that exists stays, whatever becomes of its node.

    Raises `InvalidObject` where the size is too small and nothing has begun: model and size of a Workspace never
    change, so that what is there was made for them.
    """
    workspace, observed, existing = request.workspace, request.observed, request.deployment()
    if request.fit.too_small and not (existing or request.observed.machines):
        raise request.fit.too_small
    service = inference.service(workspace)
    ground = conflicts.survey(observed, [service], [("Deployment", workspace.name)])
    refused = refusal_of(request, lambda nodes: inference.preset_deployment(request, nodes))
    begins = ground.is_firm and not refused
    wants_nodes = not request.released and (
        begins or request.has_machines() or existing is not None
    )
    nodes = request.nodes() if wants_nodes else NO_NODES
    deployment = None
    if existing and request.released:
        deployment = inference.with_replicas(as_last_applied(existing), 0)
    elif existing or (wants_nodes and nodes.ready):
        deployment = inference.preset_deployment(request, nodes)
    none = None if wants_nodes else conditions.NoNodes(refused, ground.pending)
    has_service = conflicts.stands(observed, service)
    waits = conditions.waits_for(nodes)
    return Plan(
        nodes=nodes,
        children=[service, *request.machines(nodes), *([deployment] if deployment else [])],
        conditions=[
            *conditions.nodes(observed, nodes, request.fit, none),
            conditions.inference(observed, deployment, waits, has_service, request.now),
            *adapters_verified(observed, workspace, deployment),
        ],
        required=REQUIRED,
        taken=ground.taken,
        idle=idle_of(request, nodes),
    )
