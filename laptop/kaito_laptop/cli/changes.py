"""What another terminal may change in a running `kaito up`: apply, annotate, delete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from kaito_laptop.cli import manifests
from kaito_laptop.cli.laptop import Laptop
from kaito_laptop.cli.rest_mapper import resource_for
from kaito_laptop.core.cluster import ClusterError, Key, Manifest
from kaito_laptop.core.objects import copy
from kaito_laptop.store.apply import apply
from kaito_laptop.store.validation import describe


def change(laptop: Laptop, question: Mapping[str, Any], *, has_demo_model: bool) -> Any:
    """Carry out one change; `lines` tells what was done, `error` what was not."""
    lines: list[str] = []
    try:
        if question["change"] == "apply":
            _refuse_unmade_model(question["manifests"], has_demo_model)
        lines += _changed(laptop, question)
    except ClusterError as error:
        return {"lines": lines, "error": error.message}
    return {"lines": lines}


def apply_all(laptop: Laptop, found: Sequence[Manifest]) -> Iterator[str]:
    """Apply objects, completed for the laptop, and tell of each; raise `ClusterError`."""
    for each in manifests.complete(found, laptop.registry.address, laptop.push_secret):
        yield f"{describe(apply(laptop.cluster, each))} applied"


def _changed(laptop: Laptop, question: Mapping[str, Any]) -> Iterator[str]:
    if question["change"] == "apply":
        yield from apply_all(laptop, question["manifests"])
        return
    key = _key(laptop, question)
    if question["change"] == "delete":
        found_object = laptop.cluster.get(key)
        laptop.cluster.delete(key, propagation="Background")
        yield f"{describe(found_object)} is being deleted"
    else:
        yield f"{describe(_annotate(laptop, key, question))} annotated"


def _refuse_unmade_model(found: Sequence[Manifest], has_demo_model: bool) -> None:
    if manifests.DEMO_PRESET in manifests.presets(found) and not has_demo_model:
        raise ClusterError(
            f"the weights of {manifests.DEMO_PRESET} are made when `kaito up` starts: end it, and start "
            "it with this file"
        )


def _key(laptop: Laptop, question: Mapping[str, Any]) -> Key:
    kind = resource_for(laptop.cluster, str(question["kind"]))
    if kind is None:
        raise ClusterError(f"the cluster has no kind {question['kind']!r}")
    place = str(question.get("namespace") or "default") if kind.namespaced else ""
    return Key(kind, str(question["name"]), place)


def _annotate(laptop: Laptop, key: Key, question: Mapping[str, Any]) -> Manifest:
    """Set annotations; one whose value is None goes."""
    live = copy(laptop.cluster.get(key))
    annotations: dict[str, Any] = live["metadata"].setdefault("annotations", {})
    for field, value in question["annotations"].items():
        if (
            value is not None
            and annotations.get(field, value) != value
            and not question["overwrite"]
        ):
            raise ClusterError(
                f"{describe(live)} has {field}={annotations[field]} already; add --overwrite to change it"
            )
        annotations[field] = value
    live["metadata"]["annotations"] = {k: v for k, v in annotations.items() if v is not None}
    return laptop.cluster.update(live)
