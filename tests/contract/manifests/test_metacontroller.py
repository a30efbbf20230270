"""The optional component that installs Metacontroller: its version, its flags, and rights that suffice and no more."""

from __future__ import annotations

import re
import runpy
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from kaito_hooks.web import MAX_IN_FLIGHT

from tests.contract.manifests.test_manifests import build, controllers
from tests.harness.wire import ROOT, check_pod

OVERLAY = ROOT / "manifests/overlays/metacontroller"
LEAST = (4, 17, 2)
RELATED = {"nodes", "pods", "configmaps", "resourcequotas", "limitranges"}
"""What customize asks for; tests/unit/workspace and tests/unit/machine hold the rules themselves."""


@pytest.fixture(scope="module")
def built() -> list[dict[str, Any]]:
    return build(OVERLAY)


def of(built: list[dict[str, Any]], kind: str) -> dict[str, Any]:
    (found,) = (item for item in built if item["kind"] == kind)
    return found


def pod(built: list[dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = of(built, "StatefulSet")["spec"]["template"]["spec"]
    return spec


def flags(built: list[dict[str, Any]]) -> dict[str, str]:
    return dict(flag.lstrip("-").split("=", 1) for flag in pod(built)["containers"][0]["args"])


def granted(built: list[dict[str, Any]]) -> dict[str, set[str]]:
    """Verbs by resource; the resources that we use have no namesakes in other groups."""
    found: dict[str, set[str]] = {}
    for rule in of(built, "ClusterRole")["rules"]:
        for resource in rule["resources"]:
            found.setdefault(resource, set()).update(rule["verbs"])
    return found


def test_the_image_is_a_published_version_that_speaks_v2_and_resyncs(built: Any) -> None:
    (container,) = pod(built)["containers"]
    image, _, version = container["image"].partition(":v")
    assert image == "ghcr.io/metacontroller/metacontroller"
    assert tuple(map(int, version.split("."))) >= LEAST


def test_parents_children_and_related_objects_can_be_reached(built: Any) -> None:
    verbs = granted(built)
    for controller in controllers():
        parent = controller["spec"]["parentResource"]["resource"]
        assert verbs[parent] >= {"get", "list", "watch", "update"}
        assert verbs[f"{parent}/status"] == {"update"}
        for child in controller["spec"].get("childResources", ()):
            needed = {"get", "list", "watch", "create", "update", "delete"}
            assert verbs[child["resource"]] >= needed
    for resource in RELATED:
        assert verbs[resource] == {"get", "list", "watch"}


def test_no_right_is_there_that_no_controller_of_ours_needs(built: Any) -> None:
    ours = {
        item["resource"]
        for controller in controllers()
        for item in (
            controller["spec"]["parentResource"],
            *controller["spec"].get("childResources", ()),
        )
    }
    subresources = {f"{each}/{part}" for each in ours for part in ("status", "finalizers")}
    its_own = {
        "compositecontrollers",
        "decoratorcontrollers",
        "controllerrevisions",
        "customresourcedefinitions",
        "events",
        "namespaces",
    }
    assert set(granted(built)) <= ours | subresources | its_own | RELATED
    assert "*" not in yaml.safe_dump(of(built, "ClusterRole")["rules"])


def test_it_runs_our_controllers_and_no_others(built: Any) -> None:
    key, _, value = flags(built)["target-label-selector"].partition("=")
    base = [
        item for item in build(ROOT / "manifests/base") if item["kind"] == "CompositeController"
    ]
    assert base
    assert {item["metadata"]["labels"][key] for item in base} == {value}


def test_its_workers_never_ask_a_hook_for_more_than_it_answers_at_once(built: Any) -> None:
    workers = int(flags(built)["workers"])
    threads = runpy.run_path(str(ROOT / "hooks/gunicorn.conf.py"))["threads"]
    assert workers <= MAX_IN_FLIGHT < threads


def test_each_flag_is_told_with_its_value_and_its_cost(built: Any) -> None:
    section = (ROOT / "docs/operations.md").read_text(encoding="utf-8").partition("## At scale")[2]
    rows = [line for line in section.splitlines() if line.startswith("| `--")]
    told = {name for row in rows for name in re.findall(r"`--([a-z-]+)`", row)}
    assert told == set(flags(built))
    values = {
        flag: value for flag, value in flags(built).items() if flag != "target-label-selector"
    }
    for flag, value in values.items():
        (row,) = (row for row in rows if f"`--{flag}`" in row)
        assert value in re.split(r"[ ,|]+", row), flag


def test_it_logs_no_bodies(built: Any) -> None:
    assert flags(built)["zap-log-level"] == "info"


def test_there_is_one_and_it_passes_the_restricted_profile(built: Any) -> None:
    assert of(built, "StatefulSet")["spec"]["replicas"] == 1
    spec = pod(built)
    assert spec["automountServiceAccountToken"] is True
    (container,) = spec["containers"]
    looked = {**spec, "containers": [{**container, "volumeMounts": [], "env": []}]}
    check_pod({**looked, "automountServiceAccountToken": False}, "metacontroller")
    assert (
        container["resources"]["requests"]["memory"] == container["resources"]["limits"]["memory"]
    )


def test_it_joins_an_overlay_of_kaito_with_each_object_once(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    shutil.copytree(ROOT / "crds", tmp_path / "crds")
    overlay = tmp_path / "manifests/overlays/own"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(
        "resources: [../../base]\ncomponents: [../../components/metacontroller]\n", encoding="utf-8"
    )
    found = [(item["kind"], item["metadata"]["name"]) for item in build(overlay)]
    assert len(found) == len(set(found))
    assert ("StatefulSet", "metacontroller") in found
    assert ("CompositeController", "kaito-workspace") in found


def test_the_hooks_network_policy_lets_its_namespace_in(built: Any) -> None:
    text = (ROOT / "manifests/components/network-policy/workspace-hook.yaml").read_text()
    (peer,) = yaml.safe_load(text)["spec"]["ingress"][0]["from"]
    (expression,) = peer["namespaceSelector"]["matchExpressions"]
    assert of(built, "StatefulSet")["metadata"]["namespace"] in expression["values"]
