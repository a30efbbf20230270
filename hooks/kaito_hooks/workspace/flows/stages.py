"""One condition per stage: what is missing, in words for the owner of the Workspace."""

from __future__ import annotations

from collections.abc import Sequence

from kaito_contract.reasons import Reason
from kaito_hooks.api import commands, pods
from kaito_hooks.kube.conditions import Condition, find, is_true
from kaito_hooks.kube.objects import Manifest, get_in, is_deleting, name, namespace, number, text
from kaito_hooks.workspace import reasons, remedies
from kaito_hooks.workspace import status as statuses
from kaito_hooks.workspace.children import inference as serving
from kaito_hooks.workspace.children import tuning as tune
from kaito_hooks.workspace.children.jobs import Outcome, running_container, trouble_of
from kaito_hooks.workspace.fit import Fit
from kaito_hooks.workspace.machines import Nodes
from kaito_hooks.workspace.observed import Observed, is_rolled_out
from kaito_hooks.workspace.progress import Progress

_DOING = {
    "weights": "The weights are being pulled",
    "data": "The data is being pulled",
    "train": "The model is being tuned",
    tune.PUSHER: "The adapter is being pushed",
}


def inputs_checked(
    observed: Observed, check: Outcome, checked: bool, waits_for: Manifest | None
) -> Condition:
    """Step 2: data readable, push allowed; `waits_for` is the child that must be there first."""
    type_ = statuses.INPUTS_CHECKED
    if checked:
        return Condition(
            type_, "True", reasons.CHECK_SUCCEEDED, "The data is readable and the push is allowed"
        )
    if check.state == "failed":
        return Condition(
            type_, "False", check.reason, remedies.after_fixing(observed, check.message)
        )
    if check.reason:
        return Condition(type_, "False", check.reason, remedies.while_retrying(observed, check))
    if check.state == "running":
        return Condition(
            type_, "False", reasons.CHECK_RUNNING, "The data and the push are being checked"
        )
    words = "The check of the data and the push is about to start"
    if waits_for:
        words = f"The check waits for the {waits_for['kind']} '{name(waits_for)}'"
    return Condition(type_, "Unknown", reasons.CHECK_PENDING, words)


def nodes(
    observed: Observed,
    planned: Nodes,
    wanted: bool,
    chosen: Fit,
    *,
    released: bool = False,
    waits_for: Manifest | None = None,
    refused: str = "",
) -> list[Condition]:
    """Step 3: MachineReady and ResourceReady.

    Args:
        observed: what is there.
        planned: the nodes.
        wanted: whether nodes are asked for.
        chosen: for the successors of a retired size.
        released: the nodes were given back.
        waits_for: the child that must be there before a node is paid for.
        refused: why the namespace would refuse the pod.
    """
    if not wanted and refused:
        words = f"No node is asked for, since the API server would refuse the pod: {refused}"
        return [
            Condition(type_, "False", reasons.POD_REFUSED, words)
            for type_ in (statuses.MACHINE_READY, statuses.RESOURCE_READY)
        ]
    if not wanted and waits_for:
        words = f"No node is asked for before the {waits_for['kind']} '{name(waits_for)}' is there"
        return [
            Condition(type_, "Unknown", reasons.RESOURCES_PENDING, words)
            for type_ in (statuses.MACHINE_READY, statuses.RESOURCE_READY)
        ]
    if not wanted:
        reason = reasons.RESOURCES_RELEASED if released else reasons.RESOURCES_PENDING
        words = (
            "No node is held" if released else "No node is asked for before the check has succeeded"
        )
        leaving = ", ".join(name(machine) for machine in observed.machines)
        words += f"; Machines on their way out: {leaving}" if leaving else ""
        return [
            Condition(statuses.MACHINE_READY, "False", reason, words),
            Condition(statuses.RESOURCE_READY, "False", reason, words),
        ]
    machine = _machine_condition(planned, chosen)
    if planned.ready:
        count = len(planned.slots) + len(planned.free)
        resource = Condition(
            statuses.RESOURCE_READY,
            "True",
            reasons.RESOURCES_READY,
            f"{count} of {count} nodes {'is' if count == 1 else 'are'} ready",
        )
    elif planned.unready_free:
        resource = Condition(
            statuses.RESOURCE_READY,
            "False",
            reasons.NODE_NOT_READY,
            f"The node {planned.unready_free[0]} is in use and not Ready; repair it, or delete it: "
            f"{commands.kubectl('delete', 'node', planned.unready_free[0])}",
        )
    else:
        resource = Condition(statuses.RESOURCE_READY, "False", machine.reason, machine.message)
    return [machine, resource]


def tuning(observed: Observed, progress: Progress) -> list[Condition]:
    """Step 4: JobStarted and TuningSucceeded."""
    job, adapter = progress.job, progress.adapter
    started, succeeded = statuses.JOB_STARTED, statuses.TUNING_SUCCEEDED
    if adapter:
        return [
            Condition(started, "True", reasons.JOB_STARTED, "The tuning Job has run"),
            Condition(
                succeeded,
                "True",
                reasons.TUNING_SUCCEEDED,
                f"The adapter is {adapter.image}@{adapter.digest}",
            ),
        ]
    if progress.lost_report:
        words = "The Job ended well, but its pod is gone and with it the digest of the adapter."
        return [
            Condition(started, "True", reasons.JOB_STARTED, "The tuning Job has run"),
            Condition(
                succeeded, "False", Reason.RESULTS_MISSING, remedies.after_fixing(observed, words)
            ),
        ]
    if job.state == "failed":
        return [
            Condition(started, "True", reasons.JOB_STARTED, "The tuning Job has run"),
            Condition(succeeded, "False", job.reason, remedies.after_fixing(observed, job.message)),
        ]
    if job.state == "running":
        container = running_container(observed.pods(tune.COMPONENT))
        words = _DOING.get(container, "The tuning pod runs")
        return [
            Condition(started, "True", reasons.JOB_STARTED, "The tuning Job runs"),
            Condition(succeeded, "False", reasons.TUNING_RUNNING, words),
        ]
    if job.reason:
        words = remedies.while_retrying(observed, job)
        return [
            Condition(started, "False", job.reason, words),
            Condition(succeeded, "False", job.reason, words),
        ]
    words = "The tuning Job is about to start" if progress.job_wanted else "Waits for the check"
    return [
        Condition(
            started, "Unknown" if job.state == "pending" else "False", reasons.JOB_PENDING, words
        ),
        Condition(succeeded, "False", reasons.JOB_PENDING, words),
    ]


def waits_for(nodes: Nodes) -> str:
    """What serving waits for, empty when the nodes are there."""
    return "" if nodes.ready else "Waits for the nodes"


def inference(
    observed: Observed, wanted: Manifest | None, waits: str, has_service: bool
) -> Condition:
    """Step 5: /chat answers behind the Service, from this very spec."""
    type_ = statuses.INFERENCE_READY
    if wanted is None:
        return Condition(
            type_, "False", reasons.INFERENCE_PENDING, waits or "The Deployment is about to be made"
        )
    if number(get_in(wanted, "spec", "replicas")) == 0:
        return Condition(
            type_, "False", reasons.INFERENCE_PENDING, "The model is at rest: no node is held"
        )
    deployment = observed.child("Deployment", name(wanted))
    if is_rolled_out(deployment, wanted) and not has_service:
        words = f"The model is loaded; the Service '{name(observed.parent)}' is about to be made"
        return Condition(type_, "Unknown", reasons.INFERENCE_PENDING, words)
    if is_rolled_out(deployment, wanted):
        return Condition(type_, "True", reasons.INFERENCE_READY, "/chat answers")
    if deployment is None:
        return Condition(
            type_, "Unknown", reasons.INFERENCE_PENDING, "The Deployment is about to be made"
        )
    if words := _refused_pod(deployment):
        return Condition(type_, "False", reasons.POD_REFUSED, words)
    for pod in reversed(observed.pods(serving.COMPONENT)):
        trouble = None if is_deleting(pod) else trouble_of(pod) or _silence_of(observed, pod)
        if trouble:
            return Condition(type_, "False", *trouble)
    return Condition(
        type_, "False", reasons.INFERENCE_LOADING, waits or "The model is being loaded"
    )


def _refused_pod(deployment: Manifest) -> str:
    """The API server's words where it does not let the ReplicaSet make a pod."""
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


def missing(conditions: Sequence[Condition], required: Sequence[str]) -> Condition | None:
    """The first required stage that is not True: what `Ready` says."""
    by_type = {condition.type: condition for condition in conditions}
    return next((by_type[type_] for type_ in required if by_type[type_].status != "True"), None)


def needs_a_person(
    observed: Observed, conditions: Sequence[Condition], required: Sequence[str]
) -> bool:
    """Whether the first missing stage is one that waiting does not mend."""
    first = missing(conditions, required)
    if first is None:
        return False
    if first.reason in reasons.NEEDS_PERSON:
        return True
    speaks_of_machines = first.type in (statuses.MACHINE_READY, statuses.RESOURCE_READY)
    return speaks_of_machines and any(
        is_true(get_in(machine, "status", "conditions"), "Stalled") for machine in observed.machines
    )


def _machine_condition(planned: Nodes, chosen: Fit) -> Condition:
    type_ = statuses.MACHINE_READY
    if not planned.slots:
        return Condition(type_, "True", reasons.MACHINES_NOT_NEEDED, "Nodes that exist are used")
    if planned.machines_ready:
        verb = "is" if len(planned.slots) == 1 else "are"
        return Condition(
            type_, "True", reasons.MACHINES_READY, f"{_machines(planned)} {verb} ready"
        )
    waiting = next(slot for slot in planned.slots if not slot.is_ready)
    if waiting.observed is None:
        return Condition(
            type_, "Unknown", reasons.MACHINES_CREATING, f"creating {_machines(planned)}"
        )
    ready = find(get_in(waiting.observed, "status", "conditions"), "Ready")
    reason = text(ready.get("reason")) or reasons.MACHINE_NOT_READY
    message = text(ready.get("message")) or "The provider has not answered yet"
    return Condition(
        type_,
        "False",
        reason,
        f"Machine {waiting.name}: {message}{_successors(waiting.observed, chosen)}",
    )


def _machines(planned: Nodes) -> str:
    count = len(planned.slots)
    return "1 Machine" if count == 1 else f"{count} Machines"


def _successors(machine: Manifest, chosen: Fit) -> str:
    """For a size that Azure retired: what to take instead."""
    size = chosen.instance_type
    if not (
        chosen.successors and size and is_true(get_in(machine, "status", "conditions"), "Stalled")
    ):
        return ""
    return (
        f". Azure retired {size.name} on {size.retired}; create the Workspace with "
        f"`resource.instanceType` {chosen.successors}"
    )
