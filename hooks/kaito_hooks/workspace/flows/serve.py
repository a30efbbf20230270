"""The flow of an inference Workspace: nodes, then the Deployment of the preset."""

from __future__ import annotations

from functools import partial

from kaito_hooks.kube.objects import Manifest
from kaito_hooks.workspace import conflicts
from kaito_hooks.workspace import status as statuses
from kaito_hooks.workspace.children import inference
from kaito_hooks.workspace.flows import stages
from kaito_hooks.workspace.flows.plan import NO_NODES, Plan, Scene
from kaito_hooks.workspace.machines import Nodes
from kaito_hooks.workspace.observed import kept

REQUIRED = (statuses.MACHINE_READY, statuses.RESOURCE_READY, statuses.INFERENCE_READY)


def serve_preset(scene: Scene) -> Plan:
    """A Deployment that exists stays, whatever becomes of its node."""
    workspace, observed, there = scene.workspace, scene.observed, scene.deployment()
    service = inference.service(workspace)
    ground = conflicts.survey(observed, [service], [("Deployment", workspace.name)])
    refused = scene.refused(partial(_deployment, scene))
    begins = ground.is_firm and not refused
    wants_nodes = not scene.released and (begins or scene.has_machines() or there is not None)
    nodes = scene.nodes() if wants_nodes else NO_NODES
    deployment = _deployment(scene, nodes) if there or (wants_nodes and nodes.ready) else None
    if there and scene.released:
        deployment = inference.with_replicas(kept(there), 0)
    conditions = [
        *stages.nodes(
            observed,
            nodes,
            wants_nodes,
            scene.chosen,
            waits_for=ground.pending,
            refused=refused,
        ),
        stages.inference(
            observed, deployment, stages.waits_for(nodes), conflicts.stands(observed, service)
        ),
    ]
    return Plan(
        nodes=nodes,
        children=[service, *scene.machines(nodes), *([deployment] if deployment else [])],
        stages=conditions,
        required=REQUIRED,
        taken=ground.taken,
        idle=scene.idle(nodes),
    )


def _deployment(scene: Scene, nodes: Nodes) -> Manifest:
    return inference.preset_deployment(scene.workspace, scene.chosen, nodes, scene.context.images)
