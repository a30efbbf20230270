"""Installing the operator: `kubectl apply -k` of an overlay in which the hooks are reached by URL."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import yaml

from tests.e2e.control_plane import ControlPlane

ROOT = Path(__file__).parents[2]
METACONTROLLER = ROOT / "manifests/components/metacontroller"
METACONTROLLER_CRDS = METACONTROLLER / "crds.yaml"
ROUTES = {"kaito-workspace": "workspace", "kaito-machine": "machine"}


class KubectlError(AssertionError):
    """kubectl refused; the message is what it printed."""


def kubectl(plane: ControlPlane, *words: str | Path, stdin: str | None = None) -> str:
    """Return what kubectl prints; raise `KubectlError` when it fails."""
    done = subprocess.run(
        ["kubectl", f"--kubeconfig={plane.kubeconfig}", *words],
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "KUBECTL_EXTERNAL_DIFF": ""},
        timeout=120,
    )
    if done.returncode != 0:
        raise KubectlError(f"kubectl {' '.join(map(str, words))}: {done.stderr or done.stdout}")
    return done.stdout


def wait_for_kinds(plane: ControlPlane) -> None:
    """Until every CRD is served; `kubectl wait` fails while one has no conditions yet."""
    path = '{range .items[*]}crd={.status.conditions[?(@.type=="Established")].status} {end}'

    def served() -> bool:
        found = kubectl(plane, "get", "crd", "-o", f"jsonpath={path}")
        return set(found.split()) == {"crd=True"}

    plane.wait_for("kube-apiserver", served)


def install(plane: ControlPlane, hooks: str, folder: Path) -> None:
    """Install Metacontroller's kinds and our manifests, for hooks at this address."""
    if not shutil.which("kubectl"):
        raise KubectlError("kubectl is not installed; `make e2e` needs it to apply the manifests")
    kubectl(plane, "apply", "-f", METACONTROLLER_CRDS)
    wait_for_kinds(plane)
    overlay = folder / "overlay"
    overlay.mkdir()
    base = Path(os.path.relpath((ROOT / "manifests/base").resolve(), overlay.resolve()))
    content = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": [str(base)],
        "patches": [_without_pods(), *_reached_at(hooks)],
    }
    (overlay / "kustomization.yaml").write_text(yaml.safe_dump(content))
    kubectl(plane, "apply", "-k", overlay)
    wait_for_kinds(plane)


def _without_pods() -> dict[str, object]:
    """The hooks run in the test's process, not in pods."""
    return {
        "target": {"kind": "Deployment"},
        "patch": yaml.safe_dump([{"op": "replace", "path": "/spec/replicas", "value": 0}]),
    }


def _reached_at(hooks: str) -> Sequence[dict[str, object]]:
    return [
        {
            "target": {"kind": "CompositeController", "name": name},
            "patch": yaml.safe_dump(
                [
                    {
                        "op": "add",
                        "path": f"/spec/hooks/{hook}/webhook/url",
                        "value": f"{hooks}/{route}/{hook}",
                    }
                    for hook in ("customize", "sync", "finalize")
                ]
            ),
        }
        for name, route in ROUTES.items()
    ]
