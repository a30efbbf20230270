"""Marking an object as deleted, and when nothing holds it any more."""

from __future__ import annotations

from datetime import datetime

from kaito_laptop.core.clock import timestamp
from kaito_laptop.core.cluster import Manifest, Propagation
from kaito_laptop.core.objects import copy, finalizers, get, is_deleting

FOREGROUND, ORPHAN = "foregroundDeletion", "orphan"


def mark_deleted(
    old: Manifest, propagation: Propagation, asked: int | None, now: datetime, counts: bool
) -> Manifest:
    """The object with its mark, finalizer and grace.

    Args:
        asked: grace in seconds; None for the pod's own.
        counts: whether the kind has a generation.
    """
    new = copy(old)
    metadata = new["metadata"]
    kept = [each for each in finalizers(old) if each not in (FOREGROUND, ORPHAN)]
    if propagation != "Background":
        kept.append(FOREGROUND if propagation == "Foreground" else ORPHAN)
    metadata.pop("finalizers", None)
    if kept:
        metadata["finalizers"] = kept
    grace = _grace(old, asked)
    if not is_deleting(old):
        if counts:
            metadata["generation"] += 1
        metadata["deletionTimestamp"] = timestamp(now)
        metadata["deletionGracePeriodSeconds"] = grace
    metadata["deletionGracePeriodSeconds"] = min(grace, metadata["deletionGracePeriodSeconds"])
    if old["kind"] == "Namespace":
        new["status"] = {"phase": "Terminating"}
    return new


def is_finalized(manifest: Manifest) -> bool:
    """Whether nothing holds an object that is being deleted."""
    if finalizers(manifest) or manifest["metadata"].get("deletionGracePeriodSeconds"):
        return False
    return not (manifest["kind"] == "Namespace" and get(manifest, "spec", "finalizers"))


def _grace(manifest: Manifest, asked: int | None) -> int:
    """The seconds a pod gets to end; nothing waits for a pod that runs nowhere."""
    if manifest["kind"] != "Pod":
        return 0
    spec, phase = manifest["spec"], get(manifest, "status", "phase")
    if not spec.get("nodeName") or phase in ("Succeeded", "Failed"):
        return 0
    return int(spec["terminationGracePeriodSeconds"] if asked is None else asked)
