"""What is installed where Karpenter makes the nodes, and where nobody does."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from kaito_hooks.providers.karpenter.settings import KarpenterSettings
from kaito_hooks.providers.table import PROVIDERS
from kaito_hooks.settings import MachineHookSettings

from tests.contract.manifests.test_manifests import build
from tests.harness.wire import ROOT, check_pod

OVERLAYS = ROOT / "manifests/overlays"


def only(built: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = (each for each in built if each["kind"] == kind and name in each["metadata"]["name"])
    return found


def pod_of(built: list[dict[str, Any]]) -> dict[str, Any]:
    spec: dict[str, Any] = only(built, "Deployment", "node-provisioner")["spec"]["template"]["spec"]
    return spec


@pytest.mark.parametrize("provider", ["karpenter", "byo"])
def test_the_node_provisioner_starts_with_what_the_overlay_sets(provider: str) -> None:
    (container,) = pod_of(build(OVERLAYS / provider))["containers"]
    env = {item["name"]: item["value"] for item in container["env"]}
    assert MachineHookSettings.from_environ(env, tuple(PROVIDERS)).provider == provider
    assert KarpenterSettings.from_environ(env).node_class_kind == "AKSNodeClass"
    assert "envFrom" not in container


def test_karpenters_pod_has_a_token_and_is_restricted_all_the_same() -> None:
    pod = pod_of(build(OVERLAYS / "karpenter"))
    assert pod["automountServiceAccountToken"] is True
    check_pod({**pod, "automountServiceAccountToken": False}, "node-provisioner")


def test_without_karpenter_no_pod_has_a_token_and_nobody_a_right() -> None:
    built = build(OVERLAYS / "byo")
    check_pod(pod_of(built), "node-provisioner")
    assert not [each for each in built if "Role" in each["kind"]]


def test_the_right_follows_the_service_account_into_another_namespace(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "manifests", tmp_path / "manifests")
    shutil.copytree(ROOT / "crds", tmp_path / "crds")
    overlay = tmp_path / "manifests/overlays/mine"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text(
        "resources: [../karpenter]\nnamespace: ml-platform\n", encoding="utf-8"
    )
    built = build(overlay)
    (subject,) = only(built, "ClusterRoleBinding", "node-provisioner")["subjects"]
    assert subject["namespace"] == "ml-platform"
    assert subject["name"] == pod_of(built)["serviceAccountName"]
