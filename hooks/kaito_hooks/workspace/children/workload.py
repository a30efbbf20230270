"""What the check, the tuning and the serving pods have in common."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence

from kaito_contract import references
from kaito_contract.sections import FILE
from kaito_hooks.api import labels, pods
from kaito_hooks.kube.objects import Manifest
from kaito_hooks.presets import Preset
from kaito_hooks.workspace.api import Tuning, Workspace
from kaito_hooks.workspace.children import training_config
from kaito_hooks.workspace.children.resources import Resources
from kaito_hooks.workspace.children.volumes import WEIGHTS
from kaito_hooks.workspace.context import Images

_API_VERSIONS = {"Secret": "v1", "Service": "v1", "Job": "batch/v1", "Deployment": "apps/v1"}


def child(
    workspace: Workspace,
    kind: str,
    child_name: str,
    component: str,
    annotations: Mapping[str, str] | None = None,
) -> Manifest:
    """The frame of a child: names and labels, and annotations where there are any."""
    metadata: Manifest = {
        "name": child_name,
        "namespace": workspace.namespace,
        "labels": {
            labels.APP_INSTANCE: workspace.name,
            labels.APP_NAME: workspace.preset.name,
            labels.COMPONENT: component,
            labels.MANAGED_BY: "kaito",
            labels.PART_OF: "kaito",
            labels.WORKSPACE: workspace.name,
        },
    }
    if annotations:
        metadata["annotations"] = dict(annotations)
    return {"apiVersion": _API_VERSIONS[kind], "kind": kind, "metadata": metadata}


def config_secret_name(workspace: Workspace) -> str:
    """Name of the Secret with the rendered configuration."""
    return f"{workspace.name}-config"


def config_secret(
    workspace: Workspace, wanted_hash: str, config: training_config.Config
) -> Manifest:
    """The configuration as it was resolved when these inputs were first seen; an upgrade must not change it."""
    annotations = {labels.TUNING_HASH: wanted_hash}
    name = config_secret_name(workspace)
    manifest = child(workspace, "Secret", name, labels.TUNING, annotations)
    rendered = training_config.dump_config(config).encode()
    manifest["type"] = "Opaque"
    manifest["data"] = {FILE: base64.b64encode(rendered).decode()}
    return manifest


def config_volume(workspace: Workspace) -> pods.Volume:
    """The configuration at /mnt/config."""
    source = {"secret": {"secretName": config_secret_name(workspace), "defaultMode": 0o440}}
    return pods.Volume("config", "/mnt/config", source, read_only=True)


def credentials(tuning: Tuning) -> list[pods.Volume]:
    """Docker configs of the pull secrets, then of the push secret."""
    return [*pull_credentials(tuning.input.pull_secrets), push_credentials(tuning)]


def pull_credentials(secrets: Sequence[str]) -> list[pods.Volume]:
    """Docker configs of pull secrets, each once."""
    return [
        pods.docker_config(f"pull-secret-{index}", f"/mnt/pull-secrets/{secret}", secret)
        for index, secret in enumerate(sorted(set(secrets)))
    ]


def push_credentials(tuning: Tuning) -> pods.Volume:
    """The docker config that may push the output image."""
    return pods.docker_config("push-secret", "/mnt/push-secret", tuning.output.push_secret)


def credentials_arguments(secrets: Sequence[pods.Volume]) -> list[str]:
    """Flags that name the docker configs."""
    return [
        item for secret in secrets for item in ("--credentials", f"{secret.path}/.dockerconfigjson")
    ]


def weights_container(
    preset: Preset, images: Images, volumes: list[pods.Volume], resources: Resources
) -> Manifest:
    """Init container that brings the base model."""
    if preset.weights.repository:
        source = ["--repository", preset.weights.repository, "--revision", preset.weights.revision]
    else:
        image = preset_image(preset.weights.image, images)
        source = ["--image", image, "--path", preset.weights.path]
    return pods.Container(
        "weights",
        images.transfer,
        ["python", "-m", "kaito_runtime.transfer.pull"],
        ["weights", *source, "--to", WEIGHTS],
        volumes,
        resources.of_container(),
    ).to_manifest()


def preset_image(image: str, images: Images) -> str:
    """The image of a preset, with the registry of the installation when it names none."""
    return image if references.has_registry(image) else f"{images.registry}/{image}"
