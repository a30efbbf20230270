"""The adapter of a Workspace, found by any of its traces: the status, the report of the Job's pod, the Deployment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from kaito_hooks.api import labels
from kaito_hooks.kube.objects import annotations_of, mapping, number, text
from kaito_hooks.workspace.api import Tuning
from kaito_hooks.workspace.children.jobs import Outcome
from kaito_hooks.workspace.fingerprints import Identity
from kaito_hooks.workspace.job_kinds import PUSHER, TRAINER
from kaito_hooks.workspace.observed import Observed

TEXT_FIGURES = ("firstLoss", "lastLoss", "seconds", "quantization")


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter that was pushed."""

    hash: str
    image: str
    digest: str
    report: Mapping[str, Any]
    """The trainer's figures as status.tuning carries them."""


def made_from(
    observed: Observed, outcome: Outcome, tuning: Tuning, wanted: Identity
) -> Adapter | None:
    """The adapter made from these inputs, by any of its traces: the status, the pod's report, the Deployment."""
    known = recorded(observed)
    if known and wanted.covers(known.hash):
        return replace(known, hash=wanted.hash)
    pushed = outcome.report(PUSHER)
    if outcome.state in ("succeeded", "absent", "running") and text(pushed.get("digest")):
        return Adapter(
            hash=wanted.hash,
            image=text(pushed.get("image")) or tuning.output.image,
            digest=text(pushed.get("digest")),
            report=_figures(outcome.report(TRAINER)),
        )
    served = _served(observed)
    return replace(served, hash=wanted.hash) if served and wanted.covers(served.hash) else None


def previous_adapter(observed: Observed) -> Adapter | None:
    """The adapter that was made last, from whatever inputs."""
    return recorded(observed) or _served(observed)


def recorded(observed: Observed) -> Adapter | None:
    """The adapter that the status tells of."""
    status = mapping(observed.status.get("tuning"))
    found = {key: text(status.get(key)) for key in ("hash", "image", "digest")}
    if not all(found.values()):
        return None
    figures: dict[str, Any] = {
        key: text(status[key]) for key in TEXT_FIGURES if text(status.get(key))
    }
    if number(status.get("steps")):
        figures["steps"] = number(status.get("steps"))
    return Adapter(found["hash"], found["image"], found["digest"], figures)


def last_retry(observed: Observed) -> str:
    """The last value of `kaito.sh/retry` that has been dealt with."""
    return text(mapping(observed.status.get("tuning")).get("retry"))


def _served(observed: Observed) -> Adapter | None:
    for deployment in observed.children.get("Deployment", ()):
        annotations = annotations_of(deployment)
        keys = (labels.TUNING_HASH, labels.ADAPTER_IMAGE, labels.ADAPTER_DIGEST)
        if all(annotations.get(key) for key in keys):
            return Adapter(
                annotations[keys[0]], annotations[keys[1]], annotations[keys[2]], report={}
            )
    return None


def _figures(report: Mapping[str, Any]) -> dict[str, Any]:
    """Figures as text: a float in a status would be rewritten by every JSON library on the way."""
    figures: dict[str, Any] = {}
    if number(report.get("steps")):
        figures["steps"] = number(report.get("steps"))
    for key in ("firstLoss", "lastLoss", "seconds"):
        value = report.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            figures[key] = f"{value:.4g}"
    if text(report.get("quantization")):
        figures["quantization"] = text(report.get("quantization"))
    return figures
