"""AdapterVerified: whether the adapter of these inputs was proven by the pod that serves it."""

from __future__ import annotations

from kaito_contract.reasons import Reason
from kaito_hooks.api import labels, pods
from kaito_hooks.kube.conditions import Condition
from kaito_hooks.kube.objects import (
    Manifest,
    annotations_of,
    get_in,
    is_deleting,
    name,
    number,
    sequence,
)
from kaito_hooks.workspace import conditions as types
from kaito_hooks.workspace import reasons
from kaito_hooks.workspace.adapters import Adapter
from kaito_hooks.workspace.api import Workspace
from kaito_hooks.workspace.children.inference import ADAPTER_CONTAINER, DIGEST_VARIABLE
from kaito_hooks.workspace.observed import Observed, is_rolled_out
from kaito_hooks.workspace.progress import Progress


def adapter_verified(
    observed: Observed, progress: Progress, wanted: Manifest | None
) -> list[Condition]:
    """The condition, where the wanted Deployment serves an adapter.

    The model server is ready only after it has held each adapter to its record, has seen it in effect and has
    generated a token with it; it ends with AdapterInvalid where one fails.
    """
    if wanted is None:
        return []
    type_, adapter = types.ADAPTER_VERIFIED, progress.adapter
    if adapter is None:
        return [_of_previous(progress, annotations_of(wanted).get(labels.ADAPTER_DIGEST, ""))]
    shown = f"{adapter.image}@{adapter.digest}"
    if number(get_in(wanted, "spec", "replicas")) == 0:
        message = f"The model is scaled to zero: no pod serves the adapter {shown}"
        return [Condition(type_, "Unknown", reasons.ADAPTER_PENDING, message)]
    if is_rolled_out(observed.child("Deployment", name(wanted)), wanted):
        message = (
            f"The pod that serves {shown} is Ready: the adapter was held to its record when it was loaded, and a "
            "token was generated with it. What was found is in `/v1/models`"
        )
        return [Condition(type_, "True", reasons.ADAPTER_VERIFIED, message)]
    if refused := _refused(observed, adapter):
        return [Condition(type_, "False", *refused)]
    message = f"The pod that serves {shown} is not Ready"
    return [Condition(type_, "Unknown", reasons.ADAPTER_PENDING, message)]


def adapters_verified(
    observed: Observed, workspace: Workspace, wanted: Manifest | None
) -> list[Condition]:
    """The condition of a Workspace with `inference.adapters`, once its Deployment is wanted."""
    if wanted is None or not workspace.adapters:
        return []
    type_, names = types.ADAPTER_VERIFIED, ", ".join(each.name for each in workspace.adapters)
    if number(get_in(wanted, "spec", "replicas")) == 0:
        message = f"The model is scaled to zero: no pod serves the adapters ({names})"
        return [Condition(type_, "Unknown", reasons.ADAPTER_PENDING, message)]
    if is_rolled_out(observed.child("Deployment", name(wanted)), wanted):
        message = (
            f"The pod is Ready: each adapter ({names}) was held to its record when it was loaded, and a token was "
            "generated with it. What was found is in `/v1/models`"
        )
        return [Condition(type_, "True", reasons.ADAPTER_VERIFIED, message)]
    if refused := _refused_of_spec(observed, wanted):
        return [Condition(type_, "False", *refused)]
    message = f"The pod that serves the adapters ({names}) is not Ready"
    return [Condition(type_, "Unknown", reasons.ADAPTER_PENDING, message)]


def _refused_of_spec(observed: Observed, wanted: Manifest) -> tuple[str, str] | None:
    """Reason and message of a pod with these adapters that ended because one is not what it should be."""
    template = get_in(wanted, "spec", "template")
    for pod in reversed(observed.pods(labels.INFERENCE)):
        if is_deleting(pod) or _sources(pod) != _sources(template):
            continue
        for end in reversed(pods.ended(pod)):
            if end.ending.known_reason is Reason.ADAPTER_INVALID and end.exit_code != 0:
                return Reason.ADAPTER_INVALID, end.ending.message
    return None


def _sources(pod: object) -> list[object]:
    """What the init containers bring."""
    return [get_in(each, "args") for each in sequence(get_in(pod, "spec", "initContainers"))]


def _of_previous(progress: Progress, digest: str) -> Condition:
    """What is told while the Deployment has the adapter of other inputs."""
    type_ = types.ADAPTER_VERIFIED
    if progress.job_wanted:
        message = "The inputs changed: the adapter of the new ones is not tuned yet"
        return Condition(type_, "Unknown", reasons.RETUNING, message)
    message = f"There is no adapter of these inputs; the Deployment has the previous one, {digest}"
    return Condition(type_, "Unknown", reasons.ADAPTER_PENDING, message)


def _refused(observed: Observed, adapter: Adapter) -> tuple[str, str] | None:
    """Reason and message of a pod that ended because this adapter is not what it should be."""
    for pod in reversed(observed.pods(labels.INFERENCE)):
        if is_deleting(pod) or pods.variable(pod, DIGEST_VARIABLE) != adapter.digest:
            continue
        for end in reversed(pods.ended(pod)):
            reason = end.ending.known_reason
            is_adapter = reason is Reason.ADAPTER_INVALID or (
                reason is Reason.DIGEST_MISMATCH and end.container == ADAPTER_CONTAINER
            )
            if reason and is_adapter and end.exit_code != 0:
                return reason, end.ending.message
    return None
