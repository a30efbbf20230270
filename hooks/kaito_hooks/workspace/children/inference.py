"""Step 5: the Deployment that serves a preset, alone or with the adapter that was tuned, and the Service in front
of it.
"""

from __future__ import annotations

from collections.abc import Mapping

from kaito_contract import references
from kaito_hooks.api import labels, pods
from kaito_hooks.kube.fingerprint import fingerprint
from kaito_hooks.kube.objects import Manifest, mapping
from kaito_hooks.workspace.api import Tuning, Workspace
from kaito_hooks.workspace.children import resources, training_config, volumes
from kaito_hooks.workspace.children.tuning import Adapter
from kaito_hooks.workspace.children.volumes import WEIGHTS
from kaito_hooks.workspace.children.workload import child, push_credentials, weights_container
from kaito_hooks.workspace.context import Images
from kaito_hooks.workspace.fit import Fit
from kaito_hooks.workspace.machines import Nodes, affinity, tolerations

COMPONENT = "inference"
HTTP_PORT = 5000
TORCH_PORT = 29500
PROBE_SECONDS = 5
"""Between two probes; loading is given the preset's `readySeconds`."""


def service(workspace: Workspace) -> Manifest:
    """Kaito's Service: 80 to the server, 29500 to torch's rendezvous. Selects serving pods, never the trainer."""
    manifest = child("v1", "Service", workspace, workspace.name, COMPONENT)
    manifest["spec"] = {
        "type": "LoadBalancer" if workspace.load_balancer else "ClusterIP",
        "selector": {labels.COMPONENT: COMPONENT, labels.WORKSPACE: workspace.name},
        "ports": [
            {"name": "http", "port": 80, "protocol": "TCP", "targetPort": HTTP_PORT},
            {"name": "torch", "port": TORCH_PORT, "protocol": "TCP", "targetPort": TORCH_PORT},
        ],
    }
    return manifest


def preset_deployment(workspace: Workspace, fit: Fit, nodes: Nodes, images: Images) -> Manifest:
    """Serves the base model."""
    arguments = dict(fit.preset.arguments)
    if workspace.preset.private:
        return _private_deployment(workspace, fit, nodes, arguments)
    return _deployment(workspace, fit, nodes, images, arguments, None, None)


def tuned_deployment(
    workspace: Workspace,
    tuning: Tuning,
    fit: Fit,
    nodes: Nodes,
    images: Images,
    adapter: Adapter,
    config: training_config.Config,
) -> Manifest:
    """Serves the base model as it was tuned on, with the adapter of that digest."""
    arguments = {**fit.preset.arguments, **training_config.serving_arguments(config)}
    return _deployment(workspace, fit, nodes, images, arguments, adapter, tuning)


def _deployment(
    workspace: Workspace,
    fit: Fit,
    nodes: Nodes,
    images: Images,
    arguments: Mapping[str, str],
    adapter: Adapter | None,
    tuning: Tuning | None,
) -> Manifest:
    scratch, shared = volumes.scratch(), volumes.shared_memory()
    weights, adapters = volumes.weights(fit.preset), volumes.adapters()
    folders = [scratch, shared, weights, *([adapters] if adapter else [])]
    figures = resources.of_serving(fit, arguments, folders, adapters=1 if adapter else 0)
    init = [weights_container(fit.preset, images, [scratch, weights], figures)]
    command_line = ["--weights", WEIGHTS]
    env: dict[str, str] = {}
    mounts = list(folders)
    notes: dict[str, str] = {}
    if adapter and tuning:
        push = push_credentials(tuning)
        init.append(
            _adapter_container(workspace, images, adapter, [scratch, adapters, push], push, figures)
        )
        folders.append(push)
        command_line += ["--adapters", adapters.path]
        env["KAITO_ADAPTER_DIGEST"] = adapter.digest
        notes = {
            labels.ADAPTER_DIGEST: adapter.digest,
            labels.ADAPTER_IMAGE: adapter.image,
            labels.TUNING_HASH: adapter.hash,
        }
    command_line += ["--host", "0.0.0.0", "--port", str(HTTP_PORT), *_flags(arguments)]
    main = pods.container(
        workspace.name,
        images.inference,
        ["python", "-m", "kaito_runtime.serve"],
        command_line,
        mounts,
        figures.of_container(fit.gpus),
        env,
    )
    _probe(main, fit.preset.ready_seconds, ready_path="/readyz")
    spec = pods.pod_spec(init, main, folders)
    return _roll(workspace, nodes, spec, notes)


def _private_deployment(
    workspace: Workspace, fit: Fit, nodes: Nodes, arguments: Mapping[str, str]
) -> Manifest:
    """The user's image with Kaito's command (pkg/inference of v0.3.0)."""
    folders = [volumes.scratch(), volumes.shared_memory()]
    run = " ".join(_flags(arguments))
    command = (
        "cd /workspace/llama/llama-2 && torchrun --nnodes=1 --nproc_per_node=1 --node_rank=0 --master_addr=localhost "
        f"--master_port={TORCH_PORT} --max_restarts=3 --rdzv_id=job --rdzv_backend=c10d "
        f"--rdzv_endpoint=localhost:{TORCH_PORT} inference_api.py {run}"
        if fit.preset.private
        else "accelerate launch --num_processes=1 --num_machines=1 --machine_rank=0 --gpu_ids=all "
        f"inference_api.py {run}"
    )
    main = pods.container(
        workspace.name,
        workspace.preset.image,
        ["/bin/sh", "-c", command],
        [],
        folders,
        resources.of_serving(fit, arguments, folders).of_container(fit.gpus),
    )
    _probe(main, fit.preset.ready_seconds, ready_path="/healthz")
    spec = pods.pod_spec([], main, folders, workspace.preset.pull_secrets)
    return _roll(workspace, nodes, spec, {})


def _adapter_container(
    workspace: Workspace,
    images: Images,
    adapter: Adapter,
    mounts: list[pods.Volume],
    push: pods.Volume,
    figures: resources.Resources,
) -> Manifest:
    return pods.container(
        "adapter",
        images.transfer,
        ["python", "-m", "kaito_runtime.transfer.pull"],
        ["adapter", "--image", references.with_digest(adapter.image, adapter.digest)]
        + [
            "--to",
            f"/mnt/adapter/{workspace.name}",
            "--credentials",
            f"{push.path}/.dockerconfigjson",
        ],
        mounts,
        figures.of_container(),
    )


def _flags(arguments: Mapping[str, str]) -> list[str]:
    """Sorted, so that the same preset gives the same bytes."""
    return [f"--{key}={value}" if value else f"--{key}" for key, value in sorted(arguments.items())]


def _probe(main: Manifest, ready_seconds: int, ready_path: str) -> None:
    main["ports"] = [
        {"containerPort": HTTP_PORT, "name": "http"},
        {"containerPort": TORCH_PORT, "name": "torch"},
    ]
    ready = {"httpGet": {"path": ready_path, "port": "http"}, "periodSeconds": PROBE_SECONDS}
    main["startupProbe"] = {**ready, "failureThreshold": max(1, ready_seconds // PROBE_SECONDS)}
    main["readinessProbe"] = dict(ready)
    main["livenessProbe"] = {"httpGet": {"path": "/healthz", "port": "http"}, "failureThreshold": 6}


def _roll(workspace: Workspace, nodes: Nodes, spec: Manifest, notes: Mapping[str, str]) -> Manifest:
    """The Deployment; one GPU has room for one pod, so none is made before the old one is gone."""
    spec["affinity"] = affinity(workspace, nodes)
    spec["tolerations"] = tolerations(workspace)
    manifest = child("apps/v1", "Deployment", workspace, workspace.name, COMPONENT, notes)
    selector = {labels.COMPONENT: COMPONENT, labels.WORKSPACE: workspace.name}
    manifest["spec"] = {
        "replicas": workspace.count,
        "selector": {"matchLabels": selector},
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
        },
        "template": {"metadata": {"labels": manifest["metadata"]["labels"]}, "spec": spec},
    }
    return with_spec_hash(manifest)


def with_replicas(deployment: Manifest, replicas: int) -> Manifest:
    """The same Deployment with another number of pods."""
    return with_spec_hash(
        {**deployment, "spec": {**mapping(deployment.get("spec")), "replicas": replicas}}
    )


def with_spec_hash(deployment: Manifest) -> Manifest:
    """The Deployment with the fingerprint of its spec, so that `ready` can be told of this spec."""
    metadata = mapping(deployment.get("metadata"))
    notes = {
        **mapping(metadata.get("annotations")),
        labels.SPEC_HASH: fingerprint(deployment["spec"]),
    }
    return {**deployment, "metadata": {**metadata, "annotations": notes}}
