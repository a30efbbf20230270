"""How far a tuning is, as a few questions that the answer is made from."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from kaito_hooks.api import labels
from kaito_hooks.kube.objects import annotations_of, text
from kaito_hooks.workspace import adapters, job_kinds
from kaito_hooks.workspace.adapters import Adapter
from kaito_hooks.workspace.api import Tuning, Workspace
from kaito_hooks.workspace.children import push_again, tuning
from kaito_hooks.workspace.children.jobs import Outcome, outcome
from kaito_hooks.workspace.fingerprints import Identity
from kaito_hooks.workspace.observed import Observed

_KINDS = (job_kinds.CHECK, job_kinds.TUNING, job_kinds.PUSH)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a tuning is."""

    check: Outcome
    job: Outcome
    adapter: Adapter | None
    """Made from the wanted inputs."""
    previous: Adapter | None
    """Made from other inputs."""
    push: Outcome | None = None
    """Of the Job that pushes the adapter to a changed output; None where it lies at the output."""
    changed: str = ""
    """How the inputs differ from those of the previous adapter."""
    retry: str = ""
    """The last value of `kaito.sh/retry` that has been dealt with."""

    @property
    def checked(self) -> bool:
        """Whether data and push were proven for these inputs, by the check or by what came after it."""
        return self.has_begun or self.check.state == "succeeded"

    @property
    def has_begun(self) -> bool:
        """Whether these inputs are trained on, or were."""
        states = ("pending", "running", "succeeded", "failed")
        return self.adapter is not None or self.job.state in states

    @property
    def failed(self) -> bool:
        """Whether a person must change something before anything else is tried."""
        return self.adapter is None and (
            self.job.state == "failed"
            or self.lost_report
            or (not self.checked and self.check.state == "failed")
        )

    @property
    def lost_report(self) -> bool:
        """The Job ended well, and nothing tells the digest any more."""
        return self.job.state == "succeeded" and self.adapter is None

    @property
    def job_wanted(self) -> bool:
        """Whether the GPU has training to do."""
        return self.checked and not self.failed and self.adapter is None

    @property
    def is_pushed_again(self) -> bool:
        """Whether the adapter is there and does not yet lie at the output."""
        return self.push is not None and self.push.state != "succeeded"

    @property
    def needs_person(self) -> bool:
        """Whether the check, the Job or the push failed."""
        return self.failed or (self.push is not None and self.push.state == "failed")

    @property
    def can_be_retried(self) -> bool:
        """Whether the present attempt has failed, so that a new value of `kaito.sh/retry` begins another one."""
        if self.adapter is not None:
            return self.push is not None and self.push.is_renewable
        return self.lost_report or self.job.is_renewable or self.check.is_renewable


def progress_of(
    observed: Observed, workspace: Workspace, section: Tuning, inputs: tuning.Inputs, now: datetime
) -> Progress:
    """The state of the check, the Job and the adapters for the inputs that are wanted now.

    A new value of `kaito.sh/retry` makes the Jobs of an attempt that failed stale. It has been dealt with once they
    are gone, or when it came while nothing had failed: then it asks for nothing, also later.
    """
    identity = inputs.identity
    job = outcome(observed, job_kinds.TUNING, identity, now)
    before = adapters.previous_adapter(observed)
    adapter = adapters.made_from(observed, job, section, identity)
    adapter, push = _at_output(observed, section, adapter, now)
    is_past = adapter is not None or job.state not in ("absent", "leaving", "stale")
    of_check = replace(identity, any_transfers=is_past)
    progress = Progress(
        check=outcome(observed, job_kinds.CHECK, of_check, now),
        job=job,
        adapter=adapter,
        push=push,
        previous=before if before and not identity.covers(before.hash) else None,
        changed=inputs.changed,
        retry=adapters.last_retry(observed),
    )
    if workspace.retry in ("", progress.retry):
        return progress
    if progress.can_be_retried and not _was_dealt_with(observed, workspace, identity):
        if push is not None:
            return replace(progress, push=_dropped(push))
        return replace(progress, check=_dropped(progress.check), job=_dropped(job))
    return replace(progress, retry=workspace.retry)


def _at_output(
    observed: Observed, section: Tuning, adapter: Adapter | None, now: datetime
) -> tuple[Adapter | None, Outcome | None]:
    """The adapter where it lies, and the push to the output where that is elsewhere."""
    if adapter is None or adapter.image == section.output.image:
        return adapter, None
    seen = outcome(observed, job_kinds.PUSH, push_again.identity(section, adapter), now)
    digest = text(seen.report(job_kinds.PUSHER).get("digest"))
    if seen.state in ("succeeded", "absent") and digest:
        pushed = replace(adapter, image=section.output.image, digest=digest)
        return pushed, replace(seen, state="succeeded")
    return adapter, _dropped(seen) if seen.state == "succeeded" else seen


def _was_dealt_with(observed: Observed, workspace: Workspace, identity: Identity) -> bool:
    """Whether a Job was made with this value of `kaito.sh/retry`, which the status does not tell."""
    jobs = (observed.child("Job", kind.name(workspace.name)) for kind in _KINDS)
    return any(
        annotations.get(labels.RETRY) == workspace.retry
        or annotations.get(labels.TUNING_HASH) == identity.first_scheme
        for annotations in map(annotations_of, jobs)
    )


def _dropped(seen: Outcome) -> Outcome:
    return seen if seen.state in ("absent", "leaving") else Outcome("stale")
