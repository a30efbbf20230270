"""TuningSucceeded while an adapter that is there is pushed to a changed `tuning.output.image`."""

from __future__ import annotations

from collections.abc import Sequence

from kaito_hooks.kube.conditions import Condition
from kaito_hooks.kube.objects import get_in, text
from kaito_hooks.workspace import conditions as types
from kaito_hooks.workspace import reasons, remedies
from kaito_hooks.workspace.observed import Observed
from kaito_hooks.workspace.progress import Progress


def with_push(
    observed: Observed, progress: Progress, conditions: Sequence[Condition]
) -> list[Condition]:
    """The conditions, with what is said of the push in place of the adapter that lies elsewhere."""
    if not progress.is_pushed_again:
        return list(conditions)
    said = _pushing(observed, progress)
    return [said if each.type == said.type else each for each in conditions]


def _pushing(observed: Observed, progress: Progress) -> Condition:
    type_, push, adapter = types.TUNING_SUCCEEDED, progress.push, progress.adapter
    if push is None or adapter is None:
        raise TypeError("nothing is pushed")
    lies = f"The adapter lies at {adapter.image}@{adapter.digest}"
    if push.state == "failed":
        message = f"{push.message.rstrip('. ')}. {lies}"
        return Condition(type_, "False", push.reason, remedies.after_fixing(observed, message))
    if push.reason:
        return Condition(type_, "False", push.reason, remedies.while_retrying(observed, push))
    wanted = text(get_in(observed.parent, "tuning", "output", "image"))
    if push.state == "running":
        message = f"{lies} and is being pushed to {wanted}; nothing is tuned again"
        return Condition(type_, "False", reasons.PUSH_RUNNING, message)
    message = f"{lies} and is about to be pushed to {wanted}; nothing is tuned again"
    return Condition(type_, "Unknown", reasons.PUSH_PENDING, message)
