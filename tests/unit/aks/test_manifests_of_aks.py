"""What is installed on AKS: least rights, no secret, and settings that the hook knows."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import Any

import pytest
import yaml

from kaito_hooks.providers.aks.settings import AksSettings
from kaito_hooks.providers.aks.sweep.settings import SweepSettings

from tests.harness.wire import ROOT, check_pod
from tests.unit.aks.machine_simulation import simulated_machine
from tests.unit.aks.test_sweep import sweeping

ROLES = ROOT / "manifests/components/azure-workload-identity/roles"
POOLS = "Microsoft.ContainerService/managedClusters/agentPools"
ACTIONS = {
    "GET": f"{POOLS}/read",
    "LIST": f"{POOLS}/read",
    "PUT": f"{POOLS}/write",
    "DELETE": f"{POOLS}/delete",
    "CLUSTER": "Microsoft.ContainerService/managedClusters/read",
    "SKUS": "Microsoft.Compute/skus/read",
    "USAGES": "Microsoft.Compute/locations/usages/read",
}


def actions(*paths: Any) -> set[str]:
    roles = [json.loads(path.read_text(encoding="utf-8")) for path in paths]
    return {action for role in roles for action in role["Actions"]}


def used(simulation: Any) -> set[str]:
    return {ACTIONS[item.verb] for item in simulation.arm.asked}


def test_the_node_provisioners_roles_are_what_a_machines_life_needs_and_no_more() -> None:
    with simulated_machine({"location": "westeurope"}) as simulation:
        simulation.until_ready()
        simulation.delete()
        simulation.until_gone()
        assert used(simulation) == actions(
            ROLES / "node-provisioner.json", ROLES / "preflight.json"
        )


def test_the_sweeps_role_is_what_a_sweep_needs_and_no_more() -> None:
    with sweeping() as it:
        it.add(minutes=600)
        it.sweep_for(20)
        role = ROOT / "manifests/components/orphan-sweep/role.json"
        assert used(it.simulation) == actions(role)


@pytest.fixture(scope="module")
def built() -> list[dict[str, Any]]:
    if not shutil.which("kubectl"):
        pytest.skip("kubectl is not installed, so kustomize can't build")
    folder = ROOT / "manifests/overlays/aks"
    command = ["kubectl", "kustomize", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert not done.stderr, done.stderr
    return list(yaml.safe_load_all(done.stdout))


def of(built: list[dict[str, Any]], kind: str, name: str) -> dict[str, Any]:
    (found,) = (
        item for item in built if item["kind"] == kind and item["metadata"]["name"].startswith(name)
    )
    return found


def test_both_identities_are_workload_identities_and_not_the_same(built: Any) -> None:
    ids = set()
    for name in ("node-provisioner", "orphan-sweep"):
        account = of(built, "ServiceAccount", name)
        ids.add(account["metadata"]["annotations"]["azure.workload.identity/client-id"])
    assert ids == {"NODE_PROVISIONER_CLIENT_ID", "ORPHAN_SWEEP_CLIENT_ID"}
    pods = [
        of(built, "Deployment", "node-provisioner")["spec"]["template"],
        of(built, "CronJob", "orphan-sweep")["spec"]["jobTemplate"]["spec"]["template"],
    ]
    for pod in pods:
        assert pod["metadata"]["labels"]["azure.workload.identity/use"] == "true"


def test_no_secret_is_installed(built: Any) -> None:
    assert not [item for item in built if item["kind"] == "Secret"]
    assert "AZURE_CLIENT_SECRET" not in json.dumps(built)


def test_the_settings_are_those_that_the_hook_reads(built: Any) -> None:
    data = of(built, "ConfigMap", "node-provisioner")["data"]
    webhook = {
        "AZURE_TENANT_ID": "t",
        "AZURE_CLIENT_ID": "c",
        "AZURE_FEDERATED_TOKEN_FILE": "/var/run/secrets/azure/tokens/azure-identity-token",
    }
    settings = AksSettings.from_environ({**webhook, **data})
    assert settings.location == "westeurope"
    assert settings.arm_endpoint == "https://management.azure.com"


def test_the_sweep_only_reports_until_it_is_told_to_delete(built: Any) -> None:
    job = of(built, "CronJob", "orphan-sweep")["spec"]
    (container,) = job["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    env = {item["name"]: item.get("value", "kaito-system") for item in container["env"]}
    assert not SweepSettings.from_environ(env).may_delete
    assert job["concurrencyPolicy"] == "Forbid"


def test_the_sweeps_pod_passes_the_restricted_profile(built: Any) -> None:
    pod = of(built, "CronJob", "orphan-sweep")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    # The one pod of ours that needs the API server.
    assert pod["automountServiceAccountToken"] is True
    looked = {**pod, "automountServiceAccountToken": False}
    looked["containers"] = [{**container, "volumeMounts": [], "env": []}]
    check_pod(looked, "orphan-sweep")


def test_each_pod_of_ours_has_a_policy_and_none_reaches_the_metadata_service(built: Any) -> None:
    policies = [item for item in built if item["kind"] == "NetworkPolicy"]
    names = {
        item["spec"]["podSelector"]["matchLabels"]["app.kubernetes.io/name"] for item in policies
    }
    assert names == {"workspace-hook", "node-provisioner", "orphan-sweep"}
    for policy in policies:
        assert policy["spec"]["policyTypes"] == ["Ingress", "Egress"]
        for rule in policy["spec"]["egress"]:
            for peer in rule["to"]:
                block = peer.get("ipBlock")
                assert block is None or "169.254.0.0/16" in block["except"]
    workspace = of(policies, "NetworkPolicy", "workspace-hook")
    assert workspace["spec"]["egress"] == []


def test_the_sweep_loads_no_web_server() -> None:
    code = "import kaito_hooks.providers.aks.sweep.__main__, sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "flask" not in done.stdout.split()
