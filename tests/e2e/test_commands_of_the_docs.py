"""Each kubectl command of the README and the docs, run in the order of the pages against a real API server."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from kaito_hooks.api.labels import INSTANCE_TYPE

from tests.e2e import binaries
from tests.e2e.control_plane import ControlPlane
from tests.e2e.hook_proxy import HookProxy
from tests.e2e.install import ROOT, install, kubectl
from tests.harness.builders import inference_workspace, merged
from tests.harness.doc_commands import COMMANDS
from tests.harness.story import OURS

NAME = "example"
YOURS = {
    "NAMESPACE": "default",
    "NAME": NAME,
    "NODE": "node-0",
    "REGISTRY": "registry.example",
    "USER": "somebody",
    "PASSWORD": "secret",
}
"""What stands for the words in capitals."""
NEEDS_A_POD = re.compile(r"kubectl (logs (job|deployment)|port-forward|rollout status)")
"""No kubelet runs here: these wait for a pod."""
WATCHES = re.compile(r" -w\b")


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """A control plane of its own: the commands install the hooks anew, where no story could reach them."""
    plane, proxy = ControlPlane(binaries.find()).start(), HookProxy()
    install(plane, proxy.url, tmp_path_factory.mktemp("install"))
    yield plane
    proxy.stop()
    plane.stop()


@pytest.fixture(scope="module")
def objects(cluster: ControlPlane) -> None:
    """What the pages speak of: a Node, a Machine, a Workspace, its Job and its Deployment."""
    metadata = {"name": NAME, "namespace": "default"}
    pod = {
        "metadata": {"labels": {"app": NAME}},
        "spec": {"containers": [{"name": "main", "image": "example"}]},
    }
    job_pod = merged(pod, {"spec": {"restartPolicy": "Never"}})
    selector = {"matchLabels": {"app": NAME}}
    size = inference_workspace()["resource"]["instanceType"]
    requirement = {"key": INSTANCE_TYPE, "operator": "In", "values": [size]}
    machine = {"machineTemplateRef": {"name": NAME}, "requirements": [requirement]}
    workspace = merged(merged(inference_workspace(), OURS), {"metadata": {"name": NAME}})
    made = [
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "node-0"}},
        {
            "apiVersion": "kaito.sh/v1alpha1",
            "kind": "Machine",
            "metadata": metadata,
            "spec": machine,
        },
        workspace,
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": metadata,
            "spec": {"template": job_pod, "suspend": True},
        },
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {"replicas": 0, "selector": selector, "template": pod},
        },
        *(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": service, "namespace": "default"},
                "spec": {"ports": [{"port": 80}], "selector": {"app": NAME}},
            }
            for service in ("workspace-tuning-phi-3", NAME)
        ),
    ]
    kubectl(cluster, "apply", "-f", "-", stdin=yaml.safe_dump_all(made))
    kubectl(cluster, "create", "configmap", "orphan-sweep", "-n", "kaito-system")


def test_each_command_does_what_it_says(
    cluster: ControlPlane, objects: None, tmp_path: Path
) -> None:
    for folder in ("examples", "manifests", "crds"):
        (tmp_path / folder).symlink_to(ROOT / folder)
    (tmp_path / "training_config.yaml").write_text("training_config: {}")
    (tmp_path / "api-keys").write_text("a-key-of-the-test\n")
    environment = {**os.environ, "KUBECONFIG": str(cluster.kubeconfig)}
    ran = []
    for each in COMMANDS:
        text = each.text.partition(" #")[0].partition(" &")[0].strip()
        if not text.startswith("kubectl ") or text in ran:
            continue
        ran.append(text)
        for word, value in YOURS.items():
            text = re.sub(rf"\b{word}\b", value, text)
        words = f"timeout 5 {text}" if WATCHES.search(text) else text
        if "delete workspace" in words:
            words += " --wait=false"
        if NEEDS_A_POD.match(words):
            words = f"timeout 5 {words}" + (" --timeout=1s" if "rollout" in words else "")
        done = subprocess.run(
            ["bash", "-c", words],
            cwd=tmp_path,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        if WATCHES.search(text):
            assert (done.returncode, bool(done.stdout)) == (124, True), (words, done.stderr)
        elif NEEDS_A_POD.match(text):
            waits = done.returncode == 124 and not done.stderr  # for a pod to come
            assert waits or "timed out waiting for the condition" in done.stderr, (
                words,
                done.stderr,
            )
        else:
            assert done.returncode == 0, (each.id, words, done.stderr)
    assert len(ran) > 20
    shown = kubectl(cluster, "get", "machine", NAME, "-n", "default", "-o", "yaml")
    assert re.fullmatch(
        r"[0-9]+", yaml.safe_load(shown)["metadata"]["annotations"]["kaito.sh/retry"]
    )
