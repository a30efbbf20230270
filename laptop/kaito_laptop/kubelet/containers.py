"""How the containers of one pod stand, and the pod status that follows from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from kaito_laptop.controllers.owned import conditions_with
from kaito_laptop.core.cluster import Manifest
from kaito_laptop.core.objects import get

HOST = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Exit:
    """How a container ended."""

    code: int
    message: str = ""
    reason: str = ""
    """Completed or Error when empty."""


@dataclass(slots=True)
class Container:
    """One container of a pod; `state` is as in its status."""

    spec: Manifest
    init: bool
    state: Manifest
    last: Manifest = field(default_factory=dict)
    restarts: int = 0
    ready: bool = False
    started: bool = False
    """Its startup probe has held in this run; without one, running is all there is to it."""
    pulls: int = 0
    """Failed pulls since the last success."""

    @property
    def name(self) -> str:
        """The container's name."""
        return str(self.spec["name"])

    @property
    def is_running(self) -> bool:
        """Whether it runs now."""
        return "running" in self.state

    @property
    def exit_code(self) -> int | None:
        """The exit code of the run that ended last and was not restarted."""
        code = get(self.state, "terminated", "exitCode")
        return None if code is None else int(code)

    @property
    def has_succeeded(self) -> bool:
        """Whether it ended well."""
        return self.exit_code == 0

    def wait(self, reason: str, message: str = "") -> None:
        """Take note why it does not run."""
        if "terminated" in self.state:
            self.last = self.state
        self.state = {"waiting": {"reason": reason} | ({"message": message} if message else {})}
        self.ready = False

    def run(self, now: str) -> None:
        """Take note that it runs; without a probe that is all there is to being ready."""
        if "terminated" in self.state:
            self.last = self.state
        if self.last:
            self.restarts += 1
        self.state = {"running": {"startedAt": now}}
        self.ready = not self.init and "readinessProbe" not in self.spec
        self.started = "startupProbe" not in self.spec

    def end(self, how: Exit, now: str) -> None:
        """Take note how it ended."""
        ended = {
            "exitCode": how.code,
            "reason": how.reason or ("Completed" if how.code == 0 else "Error"),
            "startedAt": get(self.state, "running", "startedAt", default=now),
            "finishedAt": now,
        }
        self.state = {"terminated": ended | ({"message": how.message} if how.message else {})}
        self.ready = False

    def status(self) -> Manifest:
        """Return its entry in the pod's status."""
        return {
            "name": self.name,
            "image": self.spec["image"],
            "imageID": "",
            "restartCount": self.restarts,
            "ready": self.has_succeeded if self.init else self.ready,
            "started": self.is_running and self.started,
            "state": self.state,
            "lastState": self.last,
        }


@dataclass(slots=True)
class Sandbox:
    """What the containers of a pod share."""

    address: str = HOST
    is_made: bool = False
    ending: bool = False
    """Whether the pod is being deleted."""


def containers_of(pod: Manifest) -> list[Container]:
    """Return the containers of a pod that has just been bound, init containers first."""
    spec = pod["spec"]
    reason = "PodInitializing" if spec.get("initContainers") else "ContainerCreating"
    return [
        Container(each, init, {"waiting": {"reason": reason}})
        for group, init in (("initContainers", True), ("containers", False))
        for each in spec.get(group, [])
    ]


def phase(pod: Manifest, containers: Sequence[Container], *, ending: bool = False) -> str:
    """Return the phase; a pod that is being ended restarts nothing."""
    policy = "Never" if ending else pod["spec"]["restartPolicy"]
    init = [each for each in containers if each.init]
    main = [each for each in containers if not each.init]
    if any(each.exit_code not in (None, 0) for each in init) and policy == "Never":
        return "Failed"
    if not all(each.has_succeeded for each in init):
        return "Failed" if ending else "Pending"
    if all(each.exit_code is not None for each in main):
        if all(each.has_succeeded for each in main):
            return "Running" if policy == "Always" else "Succeeded"
        return "Failed" if policy == "Never" else "Running"
    if ending and not any(each.is_running for each in main):
        return "Failed"
    started = any(each.is_running or each.exit_code is not None or each.last for each in main)
    return "Running" if started else "Pending"


def pod_status(
    pod: Manifest,
    containers: Sequence[Container],
    now: str,
    sandbox: Sandbox,
) -> Manifest:
    """Return the whole status; conditions of others stay."""
    found = phase(pod, containers, ending=sandbox.ending)
    before = pod.get("status") or {}
    conditions = list(before.get("conditions", []))
    for condition in _conditions(containers, found, sandbox.is_made):
        conditions = conditions_with(conditions, condition, now)
    status = {
        **{k: v for k, v in before.items() if k in ("reason", "message", "startTime")},
        "phase": found,
        "conditions": conditions,
        "hostIP": HOST,
        "hostIPs": [{"ip": HOST}],
        "observedGeneration": pod["metadata"].get("generation", 1),
        "qosClass": before.get("qosClass", "Burstable"),
        "containerStatuses": [each.status() for each in containers if not each.init],
    }
    status.setdefault("startTime", now)
    if any(each.init for each in containers):
        status["initContainerStatuses"] = [each.status() for each in containers if each.init]
    if sandbox.is_made or "podIP" in before:
        status |= {"podIP": sandbox.address, "podIPs": [{"ip": sandbox.address}]}
    return status


def _conditions(containers: Sequence[Container], phase: str, sandbox: bool) -> list[Manifest]:
    finished = {"Succeeded": "PodCompleted", "Failed": "PodFailed"}.get(phase)
    waiting = [each.name for each in containers if each.init and not each.has_succeeded]
    unready = [each.name for each in containers if not each.init and not each.ready]
    initialized = _condition(
        "Initialized", waiting, "ContainersNotInitialized", "containers with incomplete status"
    )
    if finished == "PodCompleted":
        initialized["reason"] = finished
    ready = []
    for type_ in ("Ready", "ContainersReady"):
        condition = _condition(
            type_, unready, "ContainersNotReady", "containers with unready status"
        )
        if finished is not None:
            condition = {"type": type_, "status": "False", "reason": finished}
        ready.append(condition)
    has_sandbox = sandbox and finished is None
    return [
        {"type": "PodReadyToStartContainers", "status": str(has_sandbox)},
        initialized,
        *ready,
    ]


def _condition(type_: str, missing: Sequence[str], reason: str, message: str) -> Manifest:
    if not missing:
        return {"type": type_, "status": "True"}
    listed = " ".join(missing)
    return {"type": type_, "status": "False", "reason": reason, "message": f"{message}: [{listed}]"}
