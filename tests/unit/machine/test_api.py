from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from kaito_hooks.errors import BadRequest, InvalidObject
from kaito_hooks.machine.api import Machine, wanted_pool
from kaito_hooks.machine.customize import customize
from kaito_hooks.machine.nodes import Node, nodes_of

from tests.unit.machine.builders import UID, machine, node

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def disk(storage: Any) -> Any:
    resources = {"resources": {"requests": {"storage": storage}}}
    return wanted_pool(Machine(machine(spec=resources)), NOW).disk_gib


@pytest.mark.parametrize(
    ("storage", "gib"),
    [
        (None, None),
        ("", None),
        ("0", None),
        (0, None),
        ("400", 30),
        ("1e3", 30),
        ("50Gi", 50),
        ("50.5Gi", 51),
        ("1Ti", 1024),
        ("100G", 94),
        (53687091200, 50),
        ("2048Gi", 2048),
    ],
)
def test_storage_is_the_size_of_the_disk_rounded_up(storage: Any, gib: Any) -> None:
    assert disk(storage) == gib


@pytest.mark.parametrize(
    "storage", ["-5", "99Ti", "2049Gi", "50gi", "50 Gi", "Gi", "1e99", True, [], "٥٠Gi", "1" * 99]
)
def test_storage_that_is_no_disk_is_refused(storage: Any) -> None:
    with pytest.raises(InvalidObject, match="storage"):
        disk(storage)


def test_taints_without_a_known_effect_are_no_taints() -> None:
    taints = [{"key": "sku", "effect": "NoSchedule"}, {"key": "a", "effect": "Never"}, 3, {}]
    found = wanted_pool(Machine(machine(spec={"taints": taints})), NOW).taints
    assert [taint.key for taint in found] == ["sku"]


def test_only_the_nodes_of_the_machine_count() -> None:
    related = [node("mine"), node("other", "another-uid"), {"metadata": {"labels": 3}}, {}]
    assert [found.name for found in nodes_of(UID, related)] == ["mine"]
    assert nodes_of("", [node("none", "")]) == ()


def test_a_node_on_its_way_out_is_not_ready() -> None:
    assert Node(node()).is_ready
    assert not Node(node(deletionTimestamp="2026-01-01T00:00:00Z")).is_ready


@pytest.mark.parametrize("gpus", [None, "many", [], {}, 1.5])
def test_gpus_that_are_no_number_are_none(gpus: Any) -> None:
    assert Node(node(gpus=gpus)).gpus == 0


def test_customize_asks_for_the_own_nodes_only() -> None:
    answer = customize({"controller": {}, "parent": machine(status={"any": "thing"})})
    selector = {"matchLabels": {"kaito.sh/machine-uid": UID}}
    rule = {"apiVersion": "v1", "resource": "nodes", "labelSelector": selector}
    assert answer == {"relatedResources": [rule]}


def test_customize_never_asks_for_all_nodes() -> None:
    with pytest.raises(BadRequest, match="uid"):
        customize({"parent": machine(metadata={"uid": None})})
