"""What `kubectl apply -k` would send: built by kubectl where there is one, read as files otherwise."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.harness.wire import ROOT, check_pod

BASE = ROOT / "manifests/base"


def controllers() -> list[dict[str, Any]]:
    return [yaml.safe_load(path.read_text()) for path in sorted(BASE.glob("*/controller.yaml"))]


def crds() -> list[dict[str, Any]]:
    return [
        yaml.safe_load(path.read_text()) for path in sorted((ROOT / "crds").glob("kaito.sh_*.yaml"))
    ]


def build(folder: Path) -> list[dict[str, Any]]:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed, so kustomize can't build")
    built = subprocess.run(
        ["kubectl", "kustomize", folder], capture_output=True, text=True, check=True
    )
    assert not built.stderr, built.stderr
    return list(yaml.safe_load_all(built.stdout))


@pytest.mark.parametrize("controller", controllers(), ids=lambda item: item["metadata"]["name"])
def test_every_hook_is_v2_with_a_timeout(controller: dict[str, Any]) -> None:
    hooks = controller["spec"]["hooks"]
    assert set(hooks) == {"customize", "sync", "finalize"}
    assert {hook["version"] for hook in hooks.values()} == {"v2"}
    assert {hook["webhook"]["timeout"] for hook in hooks.values()} == {"30s"}
    assert controller["spec"]["generateSelector"] is True


def test_update_strategies_are_those_that_metacontroller_does_well() -> None:
    methods = {
        child["resource"]: child["updateStrategy"]["method"]
        for controller in controllers()
        for child in controller["spec"].get("childResources", ())
    }
    assert methods == {
        "machines": "OnDelete",
        "jobs": "OnDelete",
        "deployments": "InPlace",
        "services": "InPlace",
        "secrets": "InPlace",
    }


def test_the_base_builds_with_each_kind_once() -> None:
    found = [(item["kind"], item["metadata"]["name"]) for item in build(BASE)]
    assert len(found) == len(set(found))
    assert {
        "CompositeController",
        "CustomResourceDefinition",
        "Deployment",
        "Namespace",
        "Service",
    } <= {kind for kind, _ in found}


def test_another_namespace_and_prefix_reach_the_hooks_addresses(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    shutil.copytree(ROOT / "crds", tmp_path / "crds")
    overlay = tmp_path / "manifests/overlay"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(
        "resources: [../base]\nnamespace: ml-platform\nnamePrefix: blue-\n", encoding="utf-8"
    )
    built = build(overlay)
    services = {item["metadata"]["name"] for item in built if item["kind"] == "Service"}
    for controller in (item for item in built if item["kind"] == "CompositeController"):
        for hook in controller["spec"]["hooks"].values():
            assert hook["webhook"]["service"]["name"] in services
            assert hook["webhook"]["service"]["namespace"] == "ml-platform"


def test_hooks_pass_the_restricted_profile_and_hold_no_token() -> None:
    deployments = [
        yaml.safe_load(path.read_text()) for path in sorted(BASE.glob("*/deployment.yaml"))
    ]
    assert len(deployments) == 2
    for deployment in deployments:
        spec = deployment["spec"]["template"]["spec"]
        check_pod(spec, deployment["metadata"]["name"])
        (container,) = spec["containers"]
        assert container["livenessProbe"]["httpGet"]["path"] == "/healthz"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert ":" in container["image"]
        assert not container["image"].endswith(":latest")
        assert (
            container["resources"]["requests"]["memory"]
            == container["resources"]["limits"]["memory"]
        )
        assert "cpu" not in container["resources"]["limits"]


@pytest.mark.parametrize("crd", crds(), ids=lambda item: item["spec"]["names"]["kind"])
def test_a_crd_has_a_status_that_no_sync_rewrites(crd: dict[str, Any]) -> None:
    (version,) = crd["spec"]["versions"]
    status = version["schema"]["openAPIV3Schema"]["properties"]["status"]
    assert crd["spec"]["scope"] == "Namespaced"
    assert version["subresources"] == {"status": {}}
    assert status["default"] == {"observedGeneration": -1}
    assert status["properties"]["observedGeneration"]["type"] == "integer"
    conditions = status["properties"]["conditions"]
    assert conditions["x-kubernetes-list-type"] == "map"
    assert conditions["x-kubernetes-list-map-keys"] == ["type"]


def walk(schema: Any, path: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = [(path, schema)]
    for name, item in schema.get("properties", {}).items():
        found += walk(item, f"{path}.{name}")
    if "items" in schema:
        found += walk(schema["items"], f"{path}[]")
    return found


@pytest.mark.parametrize("crd", crds(), ids=lambda item: item["spec"]["names"]["kind"])
def test_every_field_is_described_and_every_list_has_a_type(crd: dict[str, Any]) -> None:
    for path, schema in walk(crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]):
        if path != ".metadata":
            assert schema.get("description"), path
        if schema.get("type") == "array":
            assert schema.get("x-kubernetes-list-type"), path


def test_the_columns_are_those_that_users_know() -> None:
    workspace = next(crd for crd in crds() if crd["spec"]["names"]["kind"] == "Workspace")
    columns = workspace["spec"]["versions"][0]["additionalPrinterColumns"]
    assert [item["name"] for item in columns if not item.get("priority")] == [
        "Instance",
        "ResourceReady",
        "InferenceReady",
        "WorkspaceReady",
        "Age",
    ]
    assert workspace["spec"]["names"]["shortNames"] == ["wk", "wks"]
