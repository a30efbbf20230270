"""Step 2 of a tuning: a Job on any CPU node reads the data and opens a push, before a GPU is asked for."""

from __future__ import annotations

from kaito_hooks.kube import labels, pods
from kaito_hooks.kube.objects import Manifest
from kaito_hooks.workspace.api import Tuning, Workspace
from kaito_hooks.workspace.context import Images
from kaito_hooks.workspace.workload import child, config_volume, credentials

COMPONENT = "check"
CHECK_SUFFIX = "-check"
DEADLINE_SECONDS = 1800
"""A check takes seconds; what takes longer hangs."""


def check_name(workspace: Workspace) -> str:
    """Name of the check Job."""
    return f"{workspace.name}{CHECK_SUFFIX}"


def check_job(workspace: Workspace, tuning: Tuning, wanted_hash: str, images: Images) -> Manifest:
    """The Job; docs/pods.md has its command line."""
    secrets = credentials(tuning)
    config = config_volume(workspace)
    arguments = data_arguments(tuning, "--data-")
    arguments += [
        "--output-image",
        tuning.output.image,
        "--config",
        "/mnt/config/training_config.yaml",
    ]
    arguments += [
        item for secret in secrets for item in ("--credentials", f"{secret.path}/.dockerconfigjson")
    ]
    volumes = [pods.scratch(), config, *secrets]
    main = pods.container(
        "check",
        images.transfer,
        ["python", "-m", "kaito_runtime.transfer.check"],
        arguments,
        volumes,
        pods.cpu_resources("250m", "512Mi"),
    )
    spec = pods.pod_spec([], main, volumes)
    return job(workspace, check_name(workspace), COMPONENT, wanted_hash, spec, DEADLINE_SECONDS)


def data_arguments(tuning: Tuning, prefix: str) -> list[str]:
    """Flags that name the training data."""
    if tuning.input.image:
        return [f"{prefix}image", tuning.input.image]
    return [item for url in tuning.input.urls for item in (f"{prefix}url", url)]


def job(
    workspace: Workspace,
    job_name: str,
    component: str,
    wanted_hash: str,
    pod_spec: Manifest,
    deadline_seconds: int,
) -> Manifest:
    """A Job that tries once: a failure is told, a disruption is no failure."""
    notes = {labels.TUNING_HASH: wanted_hash}
    manifest = child("batch/v1", "Job", workspace, job_name, component, notes)
    manifest["spec"] = {
        "activeDeadlineSeconds": deadline_seconds,
        "backoffLimit": 0,
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "Ignore",
                    "onPodConditions": [{"status": "True", "type": "DisruptionTarget"}],
                }
            ]
        },
        "template": {
            "metadata": {
                "annotations": dict(notes),
                "labels": manifest["metadata"]["labels"],
            },
            "spec": {**pod_spec, "restartPolicy": "Never"},
        },
    }
    return manifest
