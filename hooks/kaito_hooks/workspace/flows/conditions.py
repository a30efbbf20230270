"""One condition for each part of a Workspace: what is missing, for its owner to read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from kaito_contract.reasons import Reason
from kaito_hooks.api import commands, labels, machines, pods
from kaito_hooks.kube.conditions import Condition, Status, find, is_true
from kaito_hooks.kube.objects import Manifest, get_in, is_deleting, name, namespace, number, text
from kaito_hooks.presets import CLOUD
from kaito_hooks.workspace import conditions as types
from kaito_hooks.workspace import reasons, remedies
from kaito_hooks.workspace.children.jobs import Outcome, problem_of, running_container
from kaito_hooks.workspace.conditions import first_missing
from kaito_hooks.workspace.fit import Fit
from kaito_hooks.workspace.job_kinds import PUSHER, TRAINER
from kaito_hooks.workspace.machines import Nodes
from kaito_hooks.workspace.observed import Observed, is_rolled_out
from kaito_hooks.workspace.progress import Progress
from kaito_hooks.workspace.unmounted import unmounted_keys

_AT_WORK = {
    "weights": "The weights are being pulled",
    "data": "The data is being pulled",
    TRAINER: "The model is being tuned",
    PUSHER: "The adapter is being pushed",
}
_UNDER_WAY = frozenset(
    {
        reasons.CHECK_PENDING,
        reasons.CHECK_RUNNING,
        reasons.CHECK_SUCCEEDED,
        reasons.JOB_PENDING,
        reasons.TUNING_RUNNING,
        reasons.RETUNING,
    }
)


def inputs_checked(
    observed: Observed, check: Outcome, checked: bool, waits_for: Manifest | None
) -> Condition:
    """Step 2: data readable, push allowed; `waits_for` is the child that must be there first."""
    type_ = types.INPUTS_CHECKED
    if checked:
        message = "The data is readable and the push is allowed"
        return Condition(type_, "True", reasons.CHECK_SUCCEEDED, message)
    if check.state == "failed":
        message = remedies.after_fixing(observed, check.message)
        return Condition(type_, "False", check.reason, message)
    if check.reason:
        return Condition(type_, "False", check.reason, remedies.while_retrying(observed, check))
    if check.state == "running":
        message = "The data and the push are being checked"
        return Condition(type_, "False", reasons.CHECK_RUNNING, message)
    message = "The check of the data and the push is about to start"
    if waits_for:
        message = f"The check waits for the {waits_for['kind']} '{name(waits_for)}'"
    return Condition(type_, "Unknown", reasons.CHECK_PENDING, message)


@dataclass(frozen=True, slots=True)
class NoNodes:
    """Why no node is asked for."""

    refused: str = ""
    """Why the namespace would refuse the pod, in the API server's words."""
    waits_for: Manifest | None = None
    """The child that must be there before a node is paid for."""
    released: bool = False
    """The nodes were given back."""


def nodes(observed: Observed, planned: Nodes, fit: Fit, none: NoNodes | None) -> list[Condition]:
    """Step 3: MachineReady and ResourceReady."""
    if none is not None:
        return _no_nodes(observed, none)
    machine = _machine_condition(planned, fit)
    type_ = types.RESOURCE_READY
    if planned.ready:
        count = len(planned.replicas) + len(planned.existing)
        message = f"{count} of {count} nodes {'is' if count == 1 else 'are'} ready"
        return [machine, Condition(type_, "True", reasons.RESOURCES_READY, message)]
    if planned.not_ready:
        node = planned.not_ready[0]
        message = (
            f"The node {node} is in use and not Ready; repair it, or delete it: "
            f"{commands.kubectl('delete', 'node', node)}"
        )
        return [machine, Condition(type_, "False", reasons.NODE_NOT_READY, message)]
    return [machine, Condition(type_, "False", machine.reason, machine.message)]


def _no_nodes(observed: Observed, why: NoNodes) -> list[Condition]:
    status: Status = "False"
    if why.refused:
        reason = reasons.POD_REFUSED
        message = f"No node is asked for, since the API server would refuse the pod: {why.refused}"
    elif why.waits_for:
        status, reason = "Unknown", reasons.RESOURCES_PENDING
        child = f"{why.waits_for['kind']} '{name(why.waits_for)}'"
        message = f"No node is asked for before the {child} exists"
    else:
        reason = reasons.RESOURCES_RELEASED if why.released else reasons.RESOURCES_PENDING
        message = "No node is asked for before the check has succeeded"
        if why.released:
            message = "No node is held"
        leaving = ", ".join(name(machine) for machine in observed.machines)
        message += f"; Machines being deleted: {leaving}" if leaving else ""
    return [
        Condition(type_, status, reason, message)
        for type_ in (types.MACHINE_READY, types.RESOURCE_READY)
    ]


def tuning(observed: Observed, progress: Progress) -> list[Condition]:
    """Step 4: JobStarted and TuningSucceeded."""
    job, adapter = progress.job, progress.adapter
    type_ = types.TUNING_SUCCEEDED
    if adapter or progress.lost_report or job.state == "failed":
        started = Condition(
            types.JOB_STARTED, "True", reasons.JOB_STARTED, "The tuning Job has run"
        )
        return [started, _tuned(observed, progress)]
    if job.state == "running":
        container = running_container(observed.pods(labels.TUNING))
        message = _AT_WORK.get(container, "The tuning pod runs")
        return [
            Condition(types.JOB_STARTED, "True", reasons.JOB_STARTED, "The tuning Job runs"),
            Condition(type_, "False", reasons.TUNING_RUNNING, message),
        ]
    if job.reason:
        message = remedies.while_retrying(observed, job)
        return [
            Condition(types.JOB_STARTED, "False", job.reason, message),
            Condition(type_, "False", job.reason, message),
        ]
    is_due = progress.job_wanted
    message = "The tuning Job is about to start" if is_due else "Waiting for the check"
    status: Status = "Unknown" if job.state == "pending" else "False"
    return [
        Condition(types.JOB_STARTED, status, reasons.JOB_PENDING, message),
        Condition(type_, "False", reasons.JOB_PENDING, message),
    ]


def _tuned(observed: Observed, progress: Progress) -> Condition:
    """TuningSucceeded of a tuning that has ended."""
    type_, job, adapter = types.TUNING_SUCCEEDED, progress.job, progress.adapter
    if adapter:
        message = f"The adapter is {adapter.image}@{adapter.digest}"
        return Condition(type_, "True", reasons.TUNING_SUCCEEDED, message)
    reason, message = job.reason, job.message
    if progress.lost_report:
        reason = Reason.RESULTS_MISSING
        message = "The Job ended well, but its pod is gone and with it the digest of the adapter."
    return Condition(type_, "False", reason, remedies.after_fixing(observed, message))


def with_change(each: Condition, progress: Progress) -> Condition:
    """What is under way for other inputs than before says which they are."""
    if each.reason not in _UNDER_WAY or progress.adapter or not progress.changed:
        return each
    return replace(each, message=f"{each.message}. What changed: {progress.changed}")


def waits_for(nodes: Nodes) -> str:
    """What serving waits for, empty when the nodes are there."""
    return "" if nodes.ready else "Waiting for the nodes"


def inference(
    observed: Observed, wanted: Manifest | None, waits: str, has_service: bool, now: datetime
) -> Condition:
    """Step 5: /chat answers behind the Service, from this very spec."""
    type_ = types.INFERENCE_READY
    about_to_start = "The Deployment is about to be created"
    if wanted is None:
        message = waits or about_to_start
        return Condition(type_, "False", reasons.INFERENCE_PENDING, message)
    if number(get_in(wanted, "spec", "replicas")) == 0:
        message = "The model is scaled to zero: no node is held"
        return Condition(type_, "False", reasons.INFERENCE_PENDING, message)
    deployment = observed.child("Deployment", name(wanted))
    if deployment is None:
        return Condition(type_, "Unknown", reasons.INFERENCE_PENDING, about_to_start)
    if is_rolled_out(deployment, wanted):
        if has_service:
            return Condition(type_, "True", reasons.INFERENCE_READY, "/chat answers")
        service = f"the Service '{name(observed.parent)}' is about to be created"
        message = f"The model is loaded; {service}"
        return Condition(type_, "Unknown", reasons.INFERENCE_PENDING, message)
    loading = (reasons.INFERENCE_LOADING, waits or "The model is being loaded")
    return Condition(type_, "False", *(_not_loaded(observed, deployment, now) or loading))


def _not_loaded(observed: Observed, deployment: Manifest, now: datetime) -> tuple[str, str] | None:
    """Reason and message of what keeps the model from being loaded; None when nothing does."""
    if refused := _refused_pod(deployment):
        return reasons.POD_REFUSED, refused
    for pod in reversed(observed.pods(labels.INFERENCE)):
        if is_deleting(pod):
            continue
        if problem := problem_of(pod) or _silence_of(observed, pod) or unmounted_keys(pod, now):
            return problem
    return None


def _refused_pod(deployment: Manifest) -> str:
    """The API server's message where it does not let the ReplicaSet make a pod."""
    failure = find(get_in(deployment, "status", "conditions"), "ReplicaFailure")
    return (
        f"The API server refuses the pod: {text(failure.get('message'))}"
        if failure.get("status") == "True"
        else ""
    )


def _silence_of(observed: Observed, pod: Manifest) -> tuple[str, str] | None:
    """What to say of a model that was served and no longer answers."""
    if not pods.has_fallen_silent(pod):
        return None
    logs = ("logs", f"deployment/{name(observed.parent)}", "-n", namespace(observed.parent))
    return (
        reasons.INFERENCE_NOT_ANSWERING,
        "The model was loaded and its pod no longer answers. If that lasts, the kubelet starts it again. "
        f"To see why: {commands.kubectl(*logs)}",
    )


def needs_a_person(
    observed: Observed, conditions: Sequence[Condition], required: Sequence[str]
) -> bool:
    """Whether the first missing condition is one that waiting does not cure."""
    first = first_missing(conditions, required)
    if first is None:
        return False
    if first.reason in reasons.NEEDS_PERSON:
        return True
    speaks_of_machines = first.type in (types.MACHINE_READY, types.RESOURCE_READY)
    return speaks_of_machines and any(
        is_true(get_in(machine, "status", "conditions"), "Stalled") for machine in observed.machines
    )


def _machine_condition(planned: Nodes, fit: Fit) -> Condition:
    type_ = types.MACHINE_READY
    if not planned.replicas:
        message = "Nodes that exist are used"
        return Condition(type_, "True", reasons.MACHINES_NOT_NEEDED, message)
    if planned.machines_ready:
        message = f"{_machines(planned)} {'is' if len(planned.replicas) == 1 else 'are'} ready"
        return Condition(type_, "True", reasons.MACHINES_READY, message)
    waiting = next(replica for replica in planned.replicas if not replica.is_ready)
    if waiting.observed is None:
        message = f"creating {_machines(planned)}"
        return Condition(type_, "Unknown", reasons.MACHINES_CREATING, message)
    ready = find(get_in(waiting.observed, "status", "conditions"), machines.READY)
    reason = text(ready.get("reason")) or reasons.MACHINE_NOT_READY
    message = text(ready.get("message")) or "The provider has not answered yet"
    message = f"Machine {waiting.name}: {message}{_successors(waiting.observed, fit)}"
    return Condition(type_, "False", reason, message)


def _machines(planned: Nodes) -> str:
    count = len(planned.replicas)
    return "1 Machine" if count == 1 else f"{count} Machines"


def _successors(machine: Manifest, fit: Fit) -> str:
    """For a size that is retired: what to take instead."""
    size = fit.instance_type
    is_stalled = is_true(get_in(machine, "status", "conditions"), "Stalled")
    if not (fit.successors and size and is_stalled):
        return ""
    return (
        f". {CLOUD} retired {size.name} on {size.retired}; create the Workspace with "
        f"`resource.instanceType` {fit.successors}"
    )
