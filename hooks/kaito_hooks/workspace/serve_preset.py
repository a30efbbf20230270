"""The flow of an inference Workspace: nodes, then the Deployment of the preset."""

from __future__ import annotations

from kaito_hooks.workspace import inference, stages
from kaito_hooks.workspace import status as statuses
from kaito_hooks.workspace.plan import Plan, Scene

REQUIRED = (statuses.MACHINE_READY, statuses.RESOURCE_READY, statuses.INFERENCE_READY)


def serve_preset(scene: Scene) -> Plan:
    """A Deployment that exists stays, whatever becomes of its node."""
    nodes = scene.nodes()
    children = [inference.service(scene.workspace), *scene.machines(nodes)]
    deployment = None
    if nodes.ready or scene.deployment():
        deployment = inference.preset_deployment(
            scene.workspace, scene.chosen, nodes, scene.context.images
        )
        children.append(deployment)
    conditions = [
        *stages.nodes(scene.observed, nodes, wanted=True, presets=scene.context.presets),
        stages.inference(scene.observed, deployment, stages.waits_for(nodes)),
    ]
    return Plan(nodes, children, conditions, REQUIRED)
