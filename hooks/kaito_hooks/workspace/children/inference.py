"""Step 5: the Deployment that serves a preset, alone or with the adapter that was tuned, and the Service in front
of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kaito_contract import references
from kaito_hooks.api import labels, pods
from kaito_hooks.kube.fingerprint import fingerprint
from kaito_hooks.kube.objects import Manifest, get_in, mapping, sequence
from kaito_hooks.workspace.adapters import Adapter
from kaito_hooks.workspace.api import Workspace
from kaito_hooks.workspace.children import resources, training_config, volumes
from kaito_hooks.workspace.children.volumes import WEIGHTS
from kaito_hooks.workspace.children.workload import (
    child,
    credentials_arguments,
    pull_credentials,
    push_credentials,
    weights_container,
)
from kaito_hooks.workspace.client_access import VOLUME, ClientAccess, without_access
from kaito_hooks.workspace.job_kinds import PULLER
from kaito_hooks.workspace.machines import Nodes, affinity, tolerations
from kaito_hooks.workspace.observed import strings
from kaito_hooks.workspace.request import RequestContext

DIGEST_VARIABLE = "KAITO_ADAPTER_DIGEST"
"""Of the model server: which adapter its pod serves."""
HTTP_PORT = 5000
EVERYWHERE = "0.0.0.0"  # noqa: S104  the pod's own network
TORCH_PORT = 29500
PROBE_SECONDS = 5
"""Between two probes; loading is given the preset's `readySeconds`."""


def service(workspace: Workspace) -> Manifest:
    """Kaito's Service: 80 to the server, 29500 to torch's rendezvous. Selects serving pods, never the trainer."""
    manifest = child(workspace, "Service", workspace.name, labels.INFERENCE)
    manifest["spec"] = {
        "type": "LoadBalancer" if workspace.load_balancer else "ClusterIP",
        "selector": _selector(workspace),
        "ports": [
            {"name": "http", "port": 80, "protocol": "TCP", "targetPort": HTTP_PORT},
            {"name": "torch", "port": TORCH_PORT, "protocol": "TCP", "targetPort": TORCH_PORT},
        ],
    }
    return manifest


def preset_deployment(request: RequestContext, nodes: Nodes) -> Manifest:
    """Serves the base model."""
    arguments = dict(request.fit.preset.arguments)
    if request.workspace.preset.private:
        return _private_deployment(request, nodes, arguments)
    return _deployment(request, nodes, arguments, None)


def tuned_deployment(
    request: RequestContext, nodes: Nodes, adapter: Adapter, config: training_config.Config
) -> Manifest:
    """Serves the base model as it was tuned on, with the adapter of that digest."""
    arguments = {**request.fit.preset.arguments, **training_config.serving_arguments(config)}
    return _deployment(request, nodes, arguments, adapter)


def _deployment(
    request: RequestContext, nodes: Nodes, arguments: Mapping[str, str], adapter: Adapter | None
) -> Manifest:
    workspace, fit, images = request.workspace, request.fit, request.images
    scratch, shared = volumes.scratch(), volumes.shared_memory()
    count = 1 if adapter else len(workspace.adapters)
    weights, adapters = volumes.weights(fit.preset), volumes.adapters(count)
    folders = [scratch, shared, weights, *([adapters] if count else [])]
    vllm = request.vllm
    figures = resources.of_serving(
        fit,
        arguments,
        folders,
        adapters=count,
        processes=vllm.processes if vllm else max(0, fit.gpus - 1),
    )
    init = [weights_container(fit.preset, images, [scratch, weights], figures)]
    command_line = ["--weights", WEIGHTS]
    env: dict[str, str] = {}
    mounts = list(folders)
    annotations: dict[str, str] = {}
    if adapter and workspace.tuning:
        push = push_credentials(workspace.tuning)
        image = references.with_digest(adapter.image, adapter.digest)
        pulled = [(PULLER, image, workspace.name)]
        init += _adapter_containers(request, pulled, [scratch, adapters, push], figures)
        folders.append(push)
        command_line += ["--adapters", adapters.path]
        env[DIGEST_VARIABLE] = adapter.digest
        annotations = {
            labels.ADAPTER_DIGEST: adapter.digest,
            labels.ADAPTER_IMAGE: adapter.image,
            labels.TUNING_HASH: adapter.hash,
        }
    if workspace.adapters:
        pulls = pull_credentials([each for one in workspace.adapters for each in one.pull_secrets])
        pulled = [
            (f"{PULLER}-{number}", each.image, each.name)
            for number, each in enumerate(workspace.adapters)
        ]
        init += _adapter_containers(request, pulled, [scratch, adapters, *pulls], figures)
        folders += pulls
        command_line += ["--adapters", adapters.path]
        for each in workspace.adapters:
            command_line += ["--strength", f"{each.name}={each.strength}"]
    command_line += ["--host", EVERYWHERE, "--port", str(HTTP_PORT)]
    if vllm:
        command_line += vllm.command_line()
        arguments = {**arguments, **vllm.arguments(arguments)}
    command_line += [*workspace.access.command_line(), *_flags(arguments)]
    if keys := workspace.access.volume:
        mounts.append(keys)
        folders.append(keys)
    main = pods.Container(
        workspace.name,
        images.vllm if vllm else images.inference,
        ["python", "-m", "kaito_runtime.serve"],
        command_line,
        mounts,
        figures.of_container(fit.gpus),
        env,
    ).to_manifest()
    _probe(main, fit.preset.ready_seconds, ready_path="/readyz")
    return _roll(request, nodes, pods.pod_spec(init, main, folders), annotations)


def _private_deployment(
    request: RequestContext, nodes: Nodes, arguments: Mapping[str, str]
) -> Manifest:
    """The user's image with Kaito's command (pkg/inference of v0.3.0)."""
    workspace, fit = request.workspace, request.fit
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
    main = pods.Container(
        workspace.name,
        workspace.preset.image,
        ["/bin/sh", "-c", command],
        [],
        folders,
        resources.of_serving(fit, arguments, folders).of_container(fit.gpus),
    ).to_manifest()
    _probe(main, fit.preset.ready_seconds, ready_path="/healthz")
    spec = pods.pod_spec([], main, folders, workspace.preset.pull_secrets)
    return _roll(request, nodes, spec, {})


def _adapter_containers(
    request: RequestContext,
    adapters: Sequence[tuple[str, str, str]],
    mounts: Sequence[pods.Volume],
    figures: resources.Resources,
) -> list[Manifest]:
    """Init containers that bring adapters: (container, image, name); the mounts after two have the credentials."""
    return [
        pods.Container(
            container,
            request.images.transfer,
            ["python", "-m", "kaito_runtime.transfer.pull"],
            [
                *("adapter", "--image", image, "--to", f"/mnt/adapter/{name}"),
                *credentials_arguments(mounts[2:]),
            ],
            mounts,
            figures.of_container(),
        ).to_manifest()
        for container, image, name in adapters
    ]


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


def _roll(
    request: RequestContext, nodes: Nodes, spec: Manifest, annotations: Mapping[str, str]
) -> Manifest:
    """The Deployment; one GPU has room for one pod, so none is made before the old one is gone."""
    workspace = request.workspace
    spec["affinity"] = affinity(workspace, nodes)
    spec["tolerations"] = tolerations(workspace, request.context.conventions)
    manifest = child(workspace, "Deployment", workspace.name, labels.INFERENCE, annotations)
    manifest["spec"] = {
        "replicas": workspace.count,
        "selector": {"matchLabels": _selector(workspace)},
        "strategy": {
            "type": "RollingUpdate",
            "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1},
        },
        "template": {"metadata": {"labels": manifest["metadata"]["labels"]}, "spec": spec},
    }
    return with_spec_hash(manifest)


def _selector(workspace: Workspace) -> dict[str, str]:
    return {labels.COMPONENT: labels.INFERENCE, labels.WORKSPACE: workspace.name}


def with_replicas(deployment: Manifest, replicas: int) -> Manifest:
    """The same Deployment with another number of pods."""
    return with_spec_hash(
        {**deployment, "spec": {**mapping(deployment.get("spec")), "replicas": replicas}}
    )


def with_access(deployment: Manifest, access: ClientAccess) -> Manifest:
    """The same Deployment with other API keys and limits; as it is where it has these."""
    spec = mapping(get_in(deployment, "spec", "template", "spec"))
    main, *others = map(mapping, sequence(spec.get("containers")) or ({},))
    before = strings(main.get("args"))
    arguments, keys = without_access(before), access.volume
    at = arguments.index("--port") + 2 if "--port" in arguments else len(arguments)
    arguments[at:at] = access.command_line()
    volumes = [each for each in sequence(spec.get("volumes")) if get_in(each, "name") != VOLUME]
    mounts = [each for each in sequence(main.get("volumeMounts")) if get_in(each, "name") != VOLUME]
    if keys:
        volumes, mounts = [*volumes, keys.volume()], [*mounts, keys.mount()]
    if sorted(arguments) == sorted(before) and volumes == spec.get("volumes"):
        return deployment
    main = {**main, "args": arguments, "volumeMounts": mounts}
    template = mapping(get_in(deployment, "spec", "template"))
    template = {**template, "spec": {**spec, "containers": [main, *others], "volumes": volumes}}
    return {**deployment, "spec": {**mapping(deployment.get("spec")), "template": template}}


def with_spec_hash(deployment: Manifest) -> Manifest:
    """The Deployment with the fingerprint of its spec, so that `ready` can be told of this spec."""
    metadata = mapping(deployment.get("metadata"))
    annotations = {
        **mapping(metadata.get("annotations")),
        labels.SPEC_HASH: fingerprint(deployment["spec"]),
    }
    return {**deployment, "metadata": {**metadata, "annotations": annotations}}
