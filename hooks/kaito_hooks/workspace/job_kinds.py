"""The Jobs of a tuning: their names, and how long and how often each may try."""

from __future__ import annotations

from dataclasses import dataclass

from kaito_hooks.api import labels
from kaito_hooks.workspace import reasons

TRAINER = "train"
"""Container of the tuning pod."""
PUSHER = "docker-sidecar"
"""Container of the tuning pod; Kaito's name for it, which its tests look for."""
PULLER = "adapter"
"""The init container that brings an adapter."""


@dataclass(frozen=True, slots=True)
class JobKind:
    """One of the Jobs of a Workspace."""

    component: str
    """Value of the label on the Job and its pods."""
    suffix: str
    """What its name has after that of the Workspace."""
    deadline_seconds: int
    retries: int
    """With the Job controller's pauses: 10 s, doubled up to 10 min."""
    failed: str
    """Reason of a failure for which the pod gives none."""
    timed_out: str
    final: tuple[str, ...] = ()
    """Containers whose work is never repeated."""
    awaits: bool = False
    """Whether a failure for the lack of what somebody will apply is pending, and the Job made again later."""

    def name(self, workspace_name: str) -> str:
        """Name of the Job."""
        return f"{workspace_name}{self.suffix}"


CHECK = JobKind(
    labels.CHECK,
    suffix="-check",
    deadline_seconds=2 * 3600,
    retries=12,
    failed=reasons.CHECK_FAILED,
    timed_out=reasons.CHECK_FAILED,
    awaits=True,
)
"""A check takes seconds, and its retries an hour; what takes longer hangs. It costs no GPU."""
TUNING = JobKind(
    labels.TUNING,
    suffix="",
    deadline_seconds=3 * 24 * 3600,
    retries=6,
    failed=reasons.TUNING_FAILED,
    timed_out=reasons.TUNING_TIMED_OUT,
    final=(TRAINER, PUSHER),
)
"""Nothing holds a GPU for ever: three days for weights, data, training and push. The retries are those of the pulls,
about ten minutes: the node is paid for.
"""

PUSH = JobKind(
    labels.PUSH,
    suffix="-push",
    deadline_seconds=4 * 3600,
    retries=12,
    failed=reasons.PUSH_FAILED,
    timed_out=reasons.PUSH_FAILED,
    awaits=True,
)
"""Pushes an adapter that is there to a changed output, without a GPU. The push itself tries for an hour."""
