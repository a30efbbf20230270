"""Step 2 of a tuning: a Job on any CPU node reads the data and opens a push, before a GPU is asked for."""

from __future__ import annotations

from collections.abc import Sequence

from kaito_contract.termination import RETRYABLE
from kaito_hooks.api import labels, pods
from kaito_hooks.kube.objects import Manifest
from kaito_hooks.workspace.api import Tuning, Workspace
from kaito_hooks.workspace.children import resources, volumes
from kaito_hooks.workspace.children.workload import child, config_volume, credentials
from kaito_hooks.workspace.context import Images

COMPONENT = "check"
CHECK_SUFFIX = "-check"
DEADLINE_SECONDS = 2 * 3600
"""A check takes seconds, and its retries an hour; what takes longer hangs."""
RETRIES = 12
"""With the Job controller's pauses (10 s, doubled up to 10 min) about an hour; a check costs no GPU."""


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
    folders = [volumes.scratch_of_check(), config, *secrets]
    main = pods.container(
        "check",
        images.transfer,
        ["python", "-m", "kaito_runtime.check"],
        arguments,
        folders,
        resources.of_check(folders).of_container(),
    )
    spec = pods.pod_spec([], main, folders)
    return job(
        workspace, check_name(workspace), COMPONENT, wanted_hash, spec, DEADLINE_SECONDS, RETRIES
    )


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
    retries: int,
    final: Sequence[str] = (),
) -> Manifest:
    """A Job that tries again what may pass, with growing pauses; any other failure ends it, a disruption is none.

    What the containers `final` do is never repeated.
    """
    notes = {labels.TUNING_HASH: wanted_hash}
    manifest = child("batch/v1", "Job", workspace, job_name, component, notes)
    manifest["spec"] = {
        "activeDeadlineSeconds": deadline_seconds,
        "backoffLimit": retries,
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "Ignore",
                    "onPodConditions": [{"status": "True", "type": "DisruptionTarget"}],
                },
                *(_fails_unless(0, name) for name in final),
                _fails_unless(RETRYABLE),
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


def _fails_unless(exit_code: int, container: str = "") -> Manifest:
    named = {"containerName": container} if container else {}
    return {
        "action": "FailJob",
        "onExitCodes": {**named, "operator": "NotIn", "values": [exit_code]},
    }
