"""The flow of an inference Workspace: nodes, then the Deployment of the preset."""

from __future__ import annotations

from kaito_hooks.workspace import conflicts, inference, stages
from kaito_hooks.workspace import status as statuses
from kaito_hooks.workspace.plan import NO_NODES, Plan, Scene

REQUIRED = (statuses.MACHINE_READY, statuses.RESOURCE_READY, statuses.INFERENCE_READY)


def serve_preset(scene: Scene) -> Plan:
    """A Deployment that exists stays, whatever becomes of its node."""
    workspace, observed = scene.workspace, scene.observed
    service = inference.service(workspace)
    ground = conflicts.survey(observed, [service], [("Deployment", workspace.name)])
    wants_nodes = ground.is_firm or scene.has_machines() or scene.deployment() is not None
    nodes = scene.nodes() if wants_nodes else NO_NODES
    children = [service, *scene.machines(nodes)]
    deployment = None
    if scene.deployment() or (wants_nodes and nodes.ready):
        deployment = inference.preset_deployment(
            workspace, scene.chosen, nodes, scene.context.images
        )
        children.append(deployment)
    conditions = [
        *stages.nodes(
            observed, nodes, wants_nodes, scene.context.presets, waits_for=ground.pending
        ),
        stages.inference(
            observed, deployment, stages.waits_for(nodes), conflicts.stands(observed, service)
        ),
    ]
    return Plan(nodes, children, conditions, REQUIRED, ground.taken)
