"""Serving a preset as it is, and the end of a Workspace."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.answers import child, kinds, of, ready
from tests.harness.builders import (
    as_observed,
    condition,
    inference_workspace,
    merged,
    node,
    pod_of,
    ready_machine,
    tuning_workspace,
)

WORKSPACE = inference_workspace()


def with_service(sync: Any) -> list[dict[str, Any]]:
    """What is there after the first answer."""
    return [as_observed(item) for item in sync(WORKSPACE)["children"]]


def test_the_service_comes_first_then_the_machine_and_the_deployment_with_the_node(
    sync: Any,
) -> None:
    assert [kind for kind, _ in kinds(sync(WORKSPACE))] == ["Service"]
    answer = sync(WORKSPACE, with_service(sync))
    assert [kind for kind, _ in kinds(answer)] == ["Machine", "Service"]
    made = child(answer, "Machine")
    answer = sync(WORKSPACE, [ready_machine(WORKSPACE, made["metadata"]["name"])])
    assert [kind for kind, _ in kinds(answer)] == ["Deployment", "Machine", "Service"]


def test_the_machine_has_kaitos_shape(sync: Any) -> None:
    made = child(sync(WORKSPACE, with_service(sync)), "Machine")
    assert made["metadata"]["labels"] == {
        "apps": "falcon-7b",
        "karpenter.sh/provisioner-name": "default",
        "kaito.sh/workspace": "workspace-falcon-7b",
        "kaito.sh/workspacenamespace": "ml-team",
        "kaito.sh/workspace-uid": WORKSPACE["metadata"]["uid"],
        "kaito.sh/machine-index": "0",
        "kaito.sh/machine-attempt": "0",
    }
    assert made["spec"]["taints"] == [{"key": "sku", "value": "gpu", "effect": "NoSchedule"}]
    assert made["spec"]["resources"] == {"requests": {"storage": "90Gi"}}
    assert {item["key"]: item["values"] for item in made["spec"]["requirements"]} == {
        "node.kubernetes.io/instance-type": ["Standard_NC24ads_A100_v4"],
        "karpenter.sh/provisioner-name": ["default"],
        "kaito.sh/machine-type": ["gpu"],
        "kubernetes.io/arch": ["amd64"],
        "kubernetes.io/os": ["linux"],
    }


def test_the_service_has_kaitos_ports_and_never_selects_the_trainer(sync: Any) -> None:
    spec = child(sync(tuning_workspace()), "Service")["spec"]
    assert [(port["port"], port["targetPort"]) for port in spec["ports"]] == [
        (80, 5000),
        (29500, 29500),
    ]
    assert spec["selector"]["app.kubernetes.io/component"] == "inference"
    assert spec["type"] == "ClusterIP"


@pytest.mark.parametrize("value", ["True", "true", "yes", "1"])
def test_a_load_balancer_is_asked_for_by_annotation(sync: Any, value: str) -> None:
    answer = sync(merged(WORKSPACE, {"metadata": {"annotations": {"kaito.sh/enablelb": value}}}))
    assert child(answer, "Service")["spec"]["type"] == "LoadBalancer"


def test_a_free_node_is_used_and_pods_are_pinned_to_it(sync: Any) -> None:
    free = node(
        "gpu-0",
        {"apps": "falcon-7b", "node.kubernetes.io/instance-type": "Standard_NC24ads_A100_v4"},
    )
    answer = sync(WORKSPACE, with_service(sync), related=[free])
    assert [kind for kind, _ in kinds(answer)] == ["Deployment", "Service"]
    affinity = child(answer, "Deployment")["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    assert affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"] == [
        {"matchFields": [{"key": "metadata.name", "operator": "In", "values": ["gpu-0"]}]}
    ]
    assert of(answer, "MachineReady")[:2] == ("True", "MachinesNotNeeded")


def test_a_rollout_never_needs_a_second_gpu(sync: Any) -> None:
    strategy = child(sync(WORKSPACE, [ready_machine(WORKSPACE, "ws1")]), "Deployment")["spec"][
        "strategy"
    ]
    assert strategy["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_a_private_preset_runs_the_users_image_with_kaitos_command(sync: Any) -> None:
    private = {
        "name": "llama-2-7b",
        "accessMode": "private",
        "presetOptions": {"image": "mlteam.azurecr.io/llama-2-7b:1", "imagePullSecrets": ["acr"]},
    }
    workspace = inference_workspace(inference={"preset": private})
    spec = child(sync(workspace, [ready_machine(workspace, "ws1")]), "Deployment")["spec"][
        "template"
    ]["spec"]
    assert spec["containers"][0]["image"] == "mlteam.azurecr.io/llama-2-7b:1"
    assert spec["containers"][0]["command"][2].endswith(
        "inference_api.py --max_batch_size=8 --max_seq_len=512"
    )
    assert spec["imagePullSecrets"] == [{"name": "acr"}]


def test_a_crashing_server_is_told_in_its_own_words(sync: Any) -> None:
    made = [ready_machine(WORKSPACE, "ws1")]
    deployment = child(sync(WORKSPACE, made), "Deployment")
    pod = pod_of(deployment, phase="Running")
    pod["status"]["containerStatuses"] = [
        {
            "name": "workspace-falcon-7b",
            "state": {"waiting": {"reason": "CrashLoopBackOff"}},
            "lastState": {
                "terminated": {
                    "exitCode": 1,
                    "message": '{"reason": "WeightsInvalid", "message": "no config.json"}',
                }
            },
        }
    ]
    answer = sync(WORKSPACE, [*made, as_observed(deployment, status={"replicas": 1})], [pod])
    assert ready(answer)[1] == "WeightsInvalid"
    assert ready(answer)[2].startswith("no config.json. The node is paid for and serves nobody")


def test_a_lost_node_does_not_take_the_deployment_away(sync: Any) -> None:
    made = ready_machine(WORKSPACE, "ws1")
    deployment = as_observed(child(sync(WORKSPACE, [made]), "Deployment"))
    since = "2026-11-02T09:25:00Z"
    gone = condition("Ready", "False", "NodeNotReady", "gone", since)
    lost = merged(made, {"status": {"conditions": [gone]}})
    answer = sync(WORKSPACE, [lost, deployment])
    assert "Deployment" in dict(kinds(answer))
    assert ready(answer)[1] == "NodeNotReady"


def test_what_runs_goes_before_the_machines(sync: Any) -> None:
    made = ready_machine(WORKSPACE, "ws1")
    first = sync(WORKSPACE, [made])
    children = [
        made,
        *(as_observed(item) for item in first["children"] if item["kind"] != "Machine"),
    ]
    answer = sync(WORKSPACE, children, route="finalize", finalizing=True)
    assert kinds(answer) == [("Machine", "ws1")]
    assert answer["finalized"] is False
    answer = sync(WORKSPACE, [made], route="finalize", finalizing=True)
    assert (kinds(answer), answer["finalized"]) == ([], False)
    for _ in range(2):
        assert sync(WORKSPACE, route="finalize", finalizing=True)["finalized"] is True
