"""What a namespace would not let in is known before a node is paid for, in the API server's words."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from kaito_hooks.kube.quantities import quantity
from kaito_hooks.workspace.admission import refusal
from kaito_hooks.workspace.observed import Observed

from tests.harness.admission_rows import ROWS, Row

PARENT = {"metadata": {"name": "base", "namespace": "ml-team"}}


def container(name: str = "base", **resources: dict[str, str]) -> dict[str, Any]:
    return {"name": name, "resources": resources}


BIG = container(
    requests={"cpu": "4", "memory": "60Gi"},
    limits={"cpu": "6", "memory": "64Gi", "nvidia.com/gpu": "1", "ephemeral-storage": "90Gi"},
)
SMALL = container("weights", requests={"cpu": "500m"}, limits={"cpu": "8", "memory": "2Gi"})


def quota(hard: dict[str, Any], used: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    return {
        "kind": "ResourceQuota",
        "metadata": {"name": "team", "namespace": "ml-team"},
        "spec": {"hard": hard, **spec},
        "status": {"used": used or {}},
    }


def limits(kind: str, **bounds: dict[str, str]) -> dict[str, Any]:
    return {
        "kind": "LimitRange",
        "metadata": {"name": "bounds", "namespace": "ml-team"},
        "spec": {"limits": [{"type": kind, **bounds}]},
    }


def words(*rules: dict[str, Any]) -> str:
    related: dict[str, list[Any]] = {}
    for rule in rules:
        related.setdefault(rule["kind"], []).append(rule)
    workload = {"spec": {"template": {"spec": {"containers": [BIG], "initContainers": [SMALL]}}}}
    return refusal(Observed(PARENT, {}, related), workload)


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        (quota({"limits.memory": "400Gi"}), ""),
        (
            quota({"limits.memory": "400Gi"}, {"limits.memory": "350Gi"}),
            "exceeded quota: team, requested: limits.memory=64Gi, used: limits.memory=350Gi, "
            "limited: limits.memory=400Gi",
        ),
        (quota({"memory": "60Gi"}), ""),
        (
            quota({"memory": "50Gi"}),
            "exceeded quota: team, requested: memory=60Gi, used: memory=0, limited: memory=50Gi",
        ),
        (
            quota({"requests.nvidia.com/gpu": "4"}, {"requests.nvidia.com/gpu": "4"}),
            "exceeded quota: team, requested: requests.nvidia.com/gpu=1, "
            "used: requests.nvidia.com/gpu=4, limited: requests.nvidia.com/gpu=4",
        ),
        # An init container counts where it asks for more than the others together.
        (
            quota({"limits.cpu": "7"}),
            "exceeded quota: team, requested: limits.cpu=8, used: limits.cpu=0, limited: limits.cpu=7",
        ),
        (
            quota({"pods": "10"}, {"pods": "10"}),
            "exceeded quota: team, requested: pods=1, used: pods=10, limited: pods=10",
        ),
        (quota({"limits.memory": "1Gi"}, scopes=["BestEffort"]), ""),
        (quota({"services": "0"}), ""),
        (
            limits("Container", max={"memory": "512Mi"}),
            "maximum memory usage per Container is 512Mi, but limit is 2Gi",
        ),
        (
            limits("Pod", max={"memory": "32Gi"}),
            "maximum memory usage per Pod is 32Gi, but limit is 64Gi",
        ),
        (
            limits("Container", min={"cpu": "1"}),
            "minimum cpu usage per Container is 1, but request is 500m",
        ),
        (
            limits("Container", maxLimitRequestRatio={"cpu": "8"}),
            "cpu max limit to request ratio per Container is 8, but provided ratio is 16.000000",
        ),
        (limits("PersistentVolumeClaim", max={"storage": "1Gi"}), ""),
    ],
    ids=str,
)
def test_the_words_are_those_of_the_api_server(rule: dict[str, Any], said: str) -> None:
    assert words(rule) == said


STATED = [
    row
    for row in ROWS
    if len(row.pods) == 1 and "specif" not in row.says and "must specify" not in row.says
]


@pytest.mark.parametrize("row", STATED, ids=lambda row: row.name)
def test_what_the_api_server_says_of_a_pod_that_states_everything_is_said_before(row: Row) -> None:
    """The rows are held against a real API server by tests/e2e/test_admission.py."""
    related: dict[str, list[Any]] = {}
    for each in row.there:
        in_place = {**each, "metadata": {**each["metadata"], "namespace": "ml-team"}}
        related.setdefault(each["kind"], []).append(in_place)
    said = refusal(Observed(PARENT, {}, related), {"spec": {"template": row.pods[0]}})
    assert bool(said) == ("is forbidden" in row.says)
    assert said in row.says


def test_other_namespaces_do_not_count() -> None:
    rule = quota({"pods": "0"})
    rule["metadata"]["namespace"] = "other"
    assert words(rule) == ""


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("500m", "0.5"),
        ("2", "2"),
        (3, "3"),
        ("1.5Gi", str(3 << 29)),
        ("64Gi", str(64 << 30)),
        ("1e3", "1000"),
        ("1k", "1000"),
        ("100n", "1e-7"),
        ("2E", "2e18"),
        ("1Ei", str(1 << 60)),
        ("many", "0"),
        (None, "0"),
    ],
)
def test_every_quantity_of_the_api_is_read(written: object, amount: str) -> None:
    assert quantity(written) == Decimal(amount)
