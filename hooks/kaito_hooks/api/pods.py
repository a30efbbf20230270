"""Parts of pods that every workload shares: the restricted security context, scratch space, GPUs, and what pods
say of themselves.

Source of the rules: Pod Security Standards, profile restricted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kaito_contract import termination
from kaito_contract.termination import Ending
from kaito_hooks.kube.conditions import find
from kaito_hooks.kube.objects import Manifest, get_in, mapping, number, sequence, text
from kaito_hooks.kube.quantities import binary

SCRATCH = "/workspace/scratch"
"""Where the one writable folder of every container is mounted."""
USER = 65532
"""The non-root user of the runtime images."""

TOLERATIONS: list[Manifest] = [
    {"effect": "NoSchedule", "key": "nvidia.com/gpu", "operator": "Exists"},
    {"effect": "NoSchedule", "key": "sku", "operator": "Equal", "value": "gpu"},
]
"""Taints of GPU nodes (Kaito's)."""


@dataclass(frozen=True, slots=True)
class Volume:
    """A volume of the pod and where containers see it."""

    name: str
    path: str
    source: Mapping[str, Any]
    read_only: bool = False
    size: int = 0
    """Bytes that an emptyDir may hold; the kubelet ends a pod that writes more."""
    in_memory: bool = False
    """Whether it counts against the memory of the container that writes, and not against the disk."""

    def volume(self) -> Manifest:
        """The entry of the pod."""
        return {"name": self.name, **self.source}

    def mount(self) -> Manifest:
        """The entry of a container."""
        mount: Manifest = {"name": self.name, "mountPath": self.path}
        if self.read_only:
            mount["readOnly"] = True
        return mount


def empty(name: str, path: str, size: int) -> Volume:
    """A folder on the node's disk that lives as long as the pod."""
    source = {"emptyDir": {"sizeLimit": binary(size)}}
    return Volume(name, path, source, size=size)


def empty_in_memory(name: str, path: str, size: int) -> Volume:
    """A folder in memory that lives as long as the pod."""
    source = {"emptyDir": {"medium": "Memory", "sizeLimit": binary(size)}}
    return Volume(name, path, source, size=size, in_memory=True)


def docker_config(name: str, path: str, secret: str) -> Volume:
    """The credentials of a docker-registry Secret.

    Optional, so that a missing Secret is reported by the program that needs it, where a pod would wait in silence.
    """
    source = {
        "secret": {
            "secretName": secret,
            "optional": True,
            "defaultMode": 0o440,
            "items": [{"key": ".dockerconfigjson", "path": ".dockerconfigjson"}],
        }
    }
    return Volume(name, path, source, read_only=True)


def environment(**extra: str) -> list[Manifest]:
    """Variables that keep every program inside the scratch folder; empty values are left out."""
    values = {
        "HOME": SCRATCH,
        "HF_HOME": f"{SCRATCH}/huggingface",
        "TMPDIR": SCRATCH,
        "TORCHINDUCTOR_CACHE_DIR": f"{SCRATCH}/inductor",
        "TRITON_CACHE_DIR": f"{SCRATCH}/triton",
        "USER": "kaito",
        **extra,
    }
    return [{"name": key, "value": values[key]} for key in sorted(values) if values[key]]


@dataclass(frozen=True, slots=True)
class Container:
    """A container that passes the restricted profile and says why it ended."""

    name: str
    image: str
    command: Sequence[str]
    arguments: Sequence[str]
    volumes: Sequence[Volume]
    resources: Manifest
    env: Mapping[str, str] = field(default_factory=dict)

    def to_manifest(self) -> Manifest:
        """The entry of a pod."""
        return {
            "name": self.name,
            "image": self.image,
            "command": list(self.command),
            **({"args": list(self.arguments)} if self.arguments else {}),
            "env": environment(**self.env),
            "resources": self.resources,
            "securityContext": {
                "allowPrivilegeEscalation": False,
                "capabilities": {"drop": ["ALL"]},
                "readOnlyRootFilesystem": True,
            },
            "terminationMessagePolicy": "FallbackToLogsOnError",
            "volumeMounts": [volume.mount() for volume in self.volumes],
        }


def pod_spec(
    init: Sequence[Manifest],
    main: Manifest,
    volumes: Sequence[Volume],
    pull_secrets: Sequence[str] = (),
) -> Manifest:
    """The common part of a pod's spec."""
    spec: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "containers": [main],
        "securityContext": {
            "fsGroup": USER,
            "runAsGroup": USER,
            "runAsNonRoot": True,
            "runAsUser": USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumes": [volume.volume() for volume in volumes],
    }
    if init:
        spec["initContainers"] = list(init)
    if pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in sorted(set(pull_secrets))]
    return spec


@dataclass(frozen=True, slots=True)
class Ended:
    """How a container ended."""

    container: str
    exit_code: int
    reason: str
    """The kubelet's word: Completed, Error, OOMKilled."""
    message: str
    ending: Ending
    """The termination message of a program of ours, empty when it is none."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Why a container does not run yet."""

    container: str
    reason: str
    message: str


def container_statuses(pod: object) -> list[Mapping[str, Any]]:
    """Of init containers, then of containers, in the order of the spec."""
    return [
        mapping(status)
        for group in ("initContainerStatuses", "containerStatuses")
        for status in sequence(get_in(pod, "status", group))
    ]


def ended(pod: object) -> list[Ended]:
    """The containers that ended, in order; a restarted one by its last end."""
    found = []
    for status in container_statuses(pod):
        state = get_in(status, "state", "terminated") or get_in(status, "lastState", "terminated")
        if isinstance(state, Mapping):
            found.append(
                Ended(
                    container=text(status.get("name")),
                    exit_code=number(state.get("exitCode")),
                    reason=text(state.get("reason")),
                    message=text(state.get("message")),
                    ending=termination.parse(text(state.get("message"))),
                )
            )
    return found


def waiting(pod: object) -> list[Waiting]:
    """The containers that wait, in order."""
    found = []
    for status in container_statuses(pod):
        state = get_in(status, "state", "waiting")
        if isinstance(state, Mapping):
            found.append(
                Waiting(
                    text(status.get("name")), text(state.get("reason")), text(state.get("message"))
                )
            )
    return found


def unschedulable(pod: object) -> str:
    """The scheduler's words when it finds no node; empty otherwise."""
    for condition in sequence(get_in(pod, "status", "conditions")):
        if (
            mapping(condition).get("type") == "PodScheduled"
            and condition.get("reason") == "Unschedulable"
        ):
            return text(condition.get("message")) or "no node fits"
    return ""


def has_fallen_silent(pod: object) -> bool:
    """Whether a container passed its startup probe, and the pod was Ready in this run and is not any more."""
    ready = find(get_in(pod, "status", "conditions"), "Ready")
    since = text(ready.get("lastTransitionTime"))
    return ready.get("status") == "False" and any(
        status.get("started") is True
        and status.get("ready") is False
        and "" < text(get_in(status, "state", "running", "startedAt")) <= since
        for status in sequence(get_in(pod, "status", "containerStatuses"))
    )


def variable(pod: object, name: str) -> str:
    """The value of an environment variable that a container of the pod is given; empty where none is."""
    return next(
        (
            text(item.get("value"))
            for container in sequence(get_in(pod, "spec", "containers"))
            for item in map(mapping, sequence(get_in(container, "env")))
            if item.get("name") == name
        ),
        "",
    )


def outgrown(pod: object) -> str:
    """The kubelet's words when the pod wrote more than its folders or its limit hold; empty otherwise.

    A pod that the node had no room for is evicted as well: that is a disruption.
    """
    if get_in(pod, "status", "reason") != "Evicted" or is_disrupted(pod):
        return ""
    return text(get_in(pod, "status", "message")).strip()


def is_disrupted(pod: object) -> bool:
    """Whether the pod was taken away (eviction, preemption, lost node), which is no failure of its program."""
    return any(
        mapping(condition).get("type") == "DisruptionTarget" and condition.get("status") == "True"
        for condition in sequence(get_in(pod, "status", "conditions"))
    )


def phase(pod: object) -> str:
    """Pending, Running, Succeeded, Failed or Unknown."""
    return text(get_in(pod, "status", "phase"))
