"""How far a tuning is, as a few questions that the answer is made from."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from kaito_hooks.workspace import adapters, job_kinds
from kaito_hooks.workspace.adapters import Adapter
from kaito_hooks.workspace.api import Tuning
from kaito_hooks.workspace.children import tuning
from kaito_hooks.workspace.children.jobs import Outcome, outcome
from kaito_hooks.workspace.observed import Observed


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a tuning is."""

    check: Outcome
    job: Outcome
    adapter: Adapter | None
    """Made from the wanted inputs."""
    previous: Adapter | None
    """Made from other inputs."""

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


def progress_of(
    observed: Observed, section: Tuning, inputs: tuning.Inputs, now: datetime
) -> Progress:
    """The state of the check, the Job and the adapters for the inputs that are wanted now."""
    job = outcome(observed, job_kinds.TUNING, inputs.hash, now)
    before = adapters.previous_adapter(observed)
    return Progress(
        check=outcome(observed, job_kinds.CHECK, inputs.hash, now),
        job=job,
        adapter=adapters.made_from(observed, job, section, inputs.hash),
        previous=before if before and before.hash != inputs.hash else None,
    )
