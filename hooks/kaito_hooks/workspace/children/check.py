"""Step 2 of a tuning: a Job on any CPU node reads the data and opens a push, before a GPU is asked for."""

from __future__ import annotations

from kaito_contract.termination import RETRYABLE
from kaito_hooks.api import labels, pods
from kaito_hooks.kube.objects import Manifest
from kaito_hooks.workspace.api import Tuning, Workspace
from kaito_hooks.workspace.children import resources, volumes
from kaito_hooks.workspace.children.workload import (
    child,
    config_volume,
    credentials,
    credentials_arguments,
)
from kaito_hooks.workspace.context import Images
from kaito_hooks.workspace.job_kinds import CHECK, JobKind


def check_job(workspace: Workspace, tuning: Tuning, wanted_hash: str, images: Images) -> Manifest:
    """The Job; docs/pods.md has its command line."""
    secrets = credentials(tuning)
    config = config_volume(workspace)
    folders = [volumes.scratch_of_check(), config, *secrets]
    main = pods.Container(
        "check",
        images.transfer,
        ["python", "-m", "kaito_runtime.check"],
        [
            *data_arguments(tuning, "--data-"),
            *("--output-image", tuning.output.image),
            *("--config", "/mnt/config/training_config.yaml"),
            *credentials_arguments(secrets),
        ],
        folders,
        resources.of_check(folders).of_container(),
    )
    spec = pods.pod_spec([], main.to_manifest(), folders)
    return job(workspace, CHECK, wanted_hash, spec)


def data_arguments(tuning: Tuning, prefix: str) -> list[str]:
    """Flags that name the training data."""
    if tuning.input.image:
        return [f"{prefix}image", tuning.input.image]
    return [item for url in tuning.input.urls for item in (f"{prefix}url", url)]


def job(workspace: Workspace, kind: JobKind, wanted_hash: str, pod_spec: Manifest) -> Manifest:
    """A Job that retries what may pass, with growing pauses; any other failure ends it, a disruption is none."""
    annotations = {labels.TUNING_HASH: wanted_hash}
    manifest = child(workspace, "Job", kind.name(workspace.name), kind.component, annotations)
    manifest["spec"] = {
        "activeDeadlineSeconds": kind.deadline_seconds,
        "backoffLimit": kind.retries,
        "podFailurePolicy": {
            "rules": [
                {
                    "action": "Ignore",
                    "onPodConditions": [{"status": "True", "type": "DisruptionTarget"}],
                },
                *(_fails_unless(0, name) for name in kind.final),
                _fails_unless(RETRYABLE),
            ]
        },
        "template": {
            "metadata": {
                "annotations": dict(annotations),
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
