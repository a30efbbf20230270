"""What became of a Job: the check's and the tuning's. The nodes' logs go with the nodes, so the pod's last words
are read here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Literal

from kaito_contract.reasons import Reason
from kaito_hooks.api import commands, labels, pods
from kaito_hooks.kube.conditions import find
from kaito_hooks.kube.objects import (
    Manifest,
    annotations_of,
    get_in,
    is_deleting,
    mapping,
    name,
    namespace,
    text,
)
from kaito_hooks.kube.times import parse_timestamp
from kaito_hooks.workspace import reasons
from kaito_hooks.workspace.admission import refusal
from kaito_hooks.workspace.fingerprints import Identity
from kaito_hooks.workspace.job_kinds import JobKind
from kaito_hooks.workspace.observed import Observed, is_active, is_complete, is_failed

State = Literal["absent", "stale", "leaving", "pending", "running", "succeeded", "failed"]
"""stale: made from other inputs; leaving: it or its pods are still being deleted."""

_IMAGE_PROBLEMS = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull"}
)
POD_EXPECTED = timedelta(seconds=30)
"""A Job that has no pod after so long is not allowed to make one."""
AGAIN = timedelta(hours=1)
"""A Job that waits for a Secret is made again so long after its last retry; until then it has no pod."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """The state of a Job for one fingerprint, with a message for the owner of the Workspace."""

    state: State
    reason: str = ""
    message: str = ""
    reports: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    """(container, what it reported), for containers that ended well."""
    again_at: datetime | None = None
    """When to try again what waits for somebody and has used up its retries."""
    is_renewable: bool = False
    """Whether a person may have it tried anew: it has met a failure, and no work of hours would be lost."""

    def report(self, container: str) -> Mapping[str, Any]:
        """What the container reported, empty when it has not."""
        return dict(self.reports).get(container, {})


def outcome(observed: Observed, kind: JobKind, wanted: Identity, now: datetime) -> Outcome:
    """The state of the Job that was made from the wanted inputs.

    One that reads or pushes in another way than the Workspace says now is stale as well, until its work has begun
    that is never repeated.
    """
    job_name = kind.name(name(observed.parent))
    job = observed.child("Job", job_name)
    of_component = observed.pods(kind.component)
    if job is None:
        mine = [
            pod
            for pod in of_component
            if wanted.covers(annotations_of(pod).get(labels.TUNING_HASH, ""))
        ]
        is_leaving = observed.leaving("Job", job_name) or any(map(_lives, of_component))
        return Outcome("leaving") if is_leaving else Outcome("absent", reports=_reports(mine))
    annotations = annotations_of(job)
    if not wanted.covers(annotations.get(labels.TUNING_HASH, "")):
        return Outcome("stale")
    mine = [pod for pod in of_component if _attempt(pod) == _attempt(job)]
    has_begun = _has_begun(job, mine, kind)
    if not has_begun and not wanted.transfers_alike(annotations):
        return Outcome("stale")
    found = _of_job(observed, job, mine, kind, now)
    is_free = not kind.final and any(pods.phase(pod) == "Failed" for pod in mine)
    has_failed = found.state in ("pending", "running") and (bool(found.reason) or is_free)
    return replace(found, is_renewable=found.state == "failed" or (has_failed and not has_begun))


def _attempt(made: Manifest) -> tuple[str | None, ...]:
    """What the pods of a Job have in common with it, and with no other Job."""
    annotations = annotations_of(made)
    return tuple(annotations.get(key) for key in (labels.TUNING_HASH, labels.RETRY))


def _has_begun(job: Manifest, of_job: Sequence[Manifest], kind: JobKind) -> bool:
    """Whether a container whose work is never repeated has run; where no pod tells, it may have."""
    if not kind.final:
        return False
    if is_complete(job) or (not of_job and (is_failed(job) or is_active(job))):
        return True
    return any(
        text(status.get("name")) in kind.final
        and bool({"running", "terminated"} & mapping(status.get("state")).keys())
        for pod in of_job
        for status in pods.container_statuses(pod)
    )


def _of_job(
    observed: Observed, job: Manifest, mine: Sequence[Manifest], kind: JobKind, now: datetime
) -> Outcome:
    if is_complete(job):
        return Outcome("succeeded", reports=_reports(mine))
    if is_failed(job):
        failure = _failure(job, mine, kind)
        is_awaited = kind.awaits and failure.reason in reasons.AWAITED
        return _awaiting(job, failure) if is_awaited else failure
    return _progress(mine, kind.failed) if mine else _without_pod(observed, job, now)


def _without_pod(observed: Observed, job: Manifest, now: datetime) -> Outcome:
    """A Job that can't make its pod says so in Events alone, which no hook sees."""
    refused = refusal(observed, job)
    if refused:
        message = f"The API server refuses the pod: {refused}"
        return Outcome("pending", reasons.POD_REFUSED, message)
    made = parse_timestamp(get_in(job, "metadata", "creationTimestamp"))
    if made is None or now - made < POD_EXPECTED:
        return Outcome("pending")
    return Outcome(
        "pending",
        reasons.POD_REFUSED,
        f"The Job '{name(job)}' has made no pod; its Events say why: "
        + commands.kubectl("describe", "job", name(job), "-n", namespace(job)),
    )


def _awaiting(job: Manifest, failure: Outcome) -> Outcome:
    failed = find(get_in(job, "status", "conditions"), "Failed")
    ended = parse_timestamp(failed.get("lastTransitionTime"))
    return replace(failure, state="pending", again_at=ended + AGAIN if ended else None)


def _lives(pod: Manifest) -> bool:
    return is_deleting(pod) or pods.phase(pod) in ("Pending", "Running")


def _reports(of_job: Sequence[Manifest]) -> tuple[tuple[str, Mapping[str, Any]], ...]:
    found: dict[str, Mapping[str, Any]] = {}
    for pod in of_job:
        for end in pods.ended(pod):
            if end.exit_code == 0 and end.ending.report:
                found[end.container] = end.ending.report
    return tuple(sorted(found.items(), key=lambda item: item[0]))


def _failure(job: Manifest, of_job: Sequence[Manifest], kind: JobKind) -> Outcome:
    for pod in reversed(of_job):
        if pods.outgrown(pod):
            return Outcome("failed", *_outgrown(pod))
        for end in reversed(pods.ended(pod)):
            if end.exit_code != 0:
                reason, message = explain(end, kind.failed)
                return Outcome("failed", reason, message)
    condition = find(get_in(job, "status", "conditions"), "Failed")
    if condition.get("reason") == "DeadlineExceeded":
        return Outcome(
            "failed",
            kind.timed_out,
            "The Job took longer than its deadline and was stopped",
        )
    message = text(condition.get("message")) or "The Job failed; its pod is gone"
    return Outcome("failed", kind.failed, message)


def _outgrown(pod: Manifest) -> tuple[str, str]:
    return (
        Reason.DISK_FULL,
        f"The kubelet ended the pod: {pods.outgrown(pod)} What each folder may hold: docs/pods.md, Requests and limits",
    )


def explain(end: pods.Ended, fallback: str) -> tuple[str, str]:
    """Reason and message of a container that failed."""
    if end.ending.known_reason:
        return end.ending.known_reason, end.ending.message
    if end.reason == "OOMKilled":
        return (
            Reason.OUT_OF_MEMORY,
            f"The container '{end.container}' was killed because it used more memory than its limit "
            "(docs/pods.md, Requests and limits); use less training data, or a larger `resource.instanceType`",
        )
    message = end.ending.message or end.message.strip() or f"exit code {end.exit_code}"
    # A word of a runtime that is newer or older than this hook.
    unknown = f"{end.ending.reason}: " if end.ending.reason else ""
    return fallback, f"The container '{end.container}' failed: {unknown}{_tail(message)}"


def _progress(of_job: Sequence[Manifest], failed: str) -> Outcome:
    current = [pod for pod in of_job if not is_deleting(pod) and not pods.is_disrupted(pod)]
    if not current:
        if of_job:
            return Outcome(
                "pending",
                reasons.TUNING_DISRUPTED,
                "The pod was taken away with its node and is started again",
            )
        return Outcome("pending")
    pod = current[-1]
    reports = _reports([pod])
    if pods.phase(pod) == "Failed":
        ends = [end for end in pods.ended(pod) if end.exit_code != 0]
        reason, message = explain(ends[-1], failed) if ends else ("", "")
        return Outcome("pending", reason, message, reports)
    problem = problem_of(pod)
    if problem:
        return Outcome("pending", *problem, reports=reports)
    started = pods.phase(pod) == "Running" or bool(pods.ended(pod)) or _runs(pod)
    return Outcome("running" if started else "pending", reports=reports)


def problem_of(pod: Manifest) -> tuple[str, str] | None:
    """What keeps a pod from starting: no node, no image, a crash; None when nothing does."""
    unschedulable = pods.unschedulable(pod)
    if unschedulable:
        return reasons.UNSCHEDULABLE, f"No node takes the pod: {unschedulable}"
    if pods.outgrown(pod):
        return _outgrown(pod)
    for wait in pods.waiting(pod):
        if wait.reason in _IMAGE_PROBLEMS:
            return (
                reasons.IMAGE_PULL_FAILED,
                f"The image of the container '{wait.container}' can't be pulled: {_tail(wait.message) or wait.reason}",
            )
        if wait.reason == "CrashLoopBackOff":
            for end in reversed(pods.ended(pod)):
                if end.container == wait.container:
                    return explain(end, reasons.CONTAINER_CRASHED)
            return (
                reasons.CONTAINER_CRASHED,
                f"The container '{wait.container}' is crashing repeatedly",
            )
    return None


def running_container(of_job: Sequence[Manifest]) -> str:
    """Name of the container that runs now, empty when none does."""
    for pod in reversed(of_job):
        for status in pods.container_statuses(pod):
            if get_in(status, "state", "running") is not None:
                return text(status.get("name"))
    return ""


def _runs(pod: Manifest) -> bool:
    return any(
        get_in(status, "state", "running") is not None for status in pods.container_statuses(pod)
    )


def _tail(message: str) -> str:
    return message if len(message) <= 1000 else "…" + message[-999:]
