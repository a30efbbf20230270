"""The node arithmetic: no sequence of observations may make a needed Machine disappear."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito_hooks.workspace.api import parse
from kaito_hooks.workspace.machines import machine_name, plan_nodes

from tests.harness.builders import (
    condition,
    inference_workspace,
    machine,
    merged,
    node,
    ready_machine,
)

SELECTOR = {"apps": "falcon-7b"}
SIZE = {"node.kubernetes.io/instance-type": "Standard_NC24ads_A100_v4"}
FREE = {**SELECTOR, **SIZE}
RAW = inference_workspace()
UID = RAW["metadata"]["uid"]


def plan(
    count: int = 1,
    machines: list[dict[str, Any]] | None = None,
    nodes: list[dict[str, Any]] | None = None,
    in_use: list[str] | None = None,
    preferred: list[str] | None = None,
) -> Any:
    workspace = parse(
        merged(RAW, {"resource": {"count": count, "preferredNodes": preferred or []}})
    )
    return plan_nodes(workspace, machines or [], nodes or [], in_use or [])


def own(index: int = 0, attempt: int = 0, **changes: Any) -> dict[str, Any]:
    labels = {"kaito.sh/machine-index": str(index), "kaito.sh/machine-attempt": str(attempt)}
    return merged(
        ready_machine(RAW, machine_name(UID, index, attempt), metadata={"labels": labels}), changes
    )


ROWS = [
    ("nothing there", {}, 1, []),
    ("a free node that matches", {"nodes": [node("n1", FREE)]}, 0, ["n1"]),
    (
        "a node of another size",
        {"nodes": [node("n1", {**SELECTOR, **dict.fromkeys(SIZE, "Standard_D4")})]},
        1,
        [],
    ),
    ("a node without the size label qualifies", {"nodes": [node("n1", SELECTOR)]}, 0, ["n1"]),
    ("a node that is not Ready", {"nodes": [node("n1", FREE, ready=False)]}, 1, []),
    (
        "a node that leaves",
        {"nodes": [node("n1", FREE, metadata={"deletionTimestamp": "2026-11-02T09:00:00Z"})]},
        1,
        [],
    ),
    (
        "a node in use that is not Ready keeps its place",
        {"nodes": [node("n1", FREE, ready=False)], "in_use": ["n1"]},
        0,
        ["n1"],
    ),
    (
        "the node of another Workspace's Machine",
        {"nodes": [node("n1", {**FREE, "kaito.sh/machine-uid": "m"})]},
        1,
        [],
    ),
    (
        "the node of our own Machine",
        {"machines": [own()], "nodes": [node("n1", {**FREE, "kaito.sh/machine-uid": "m"})]},
        1,
        [],
    ),
    (
        "our Machine and a free node: the Machine stays",
        {"machines": [own()], "nodes": [node("n1", FREE)]},
        1,
        [],
    ),
    (
        "two wanted, one Machine, one free node",
        {"count": 2, "machines": [own()], "nodes": [node("n1", FREE)]},
        1,
        ["n1"],
    ),
    ("two wanted, one free node", {"count": 2, "nodes": [node("n1", FREE)]}, 1, ["n1"]),
    (
        "preferred before in use before name",
        {
            "count": 2,
            "nodes": [node("n1", FREE), node("n2", FREE), node("n3", FREE)],
            "in_use": ["n2"],
            "preferred": ["n3"],
        },
        0,
        ["n3", "n2"],
    ),
]


@pytest.mark.parametrize(("what", "given_", "machines", "free"), ROWS, ids=[row[0] for row in ROWS])
def test_how_many_machines_there_should_be(
    what: str, given_: dict[str, Any], machines: int, free: list[str]
) -> None:
    planned = plan(**given_)
    assert len(planned.replicas) == machines
    assert list(planned.existing) == free


def test_a_machine_keeps_its_name_when_its_node_shows_up() -> None:
    before = plan().replicas[0].name
    after = plan(
        machines=[own()], nodes=[node("aks-node-0", {**FREE, "kaito.sh/machine-uid": "m"})]
    )
    assert [replica.name for replica in after.replicas] == [before]


def test_a_machine_being_deleted_is_followed_by_another_name() -> None:
    leaving = own(metadata={"deletionTimestamp": "2026-11-02T09:29:00Z"})
    (replica,) = plan(machines=[leaving]).replicas
    assert replica.name == machine_name(UID, 0, 1)


def vain(index: int = 0) -> dict[str, Any]:
    return own(index, status={"conditions": [condition("Ready", "False", "NoNodesMade")]})


@pytest.mark.parametrize(
    ("what", "given", "kept", "free"),
    [
        ("stays where nothing matches", {"machines": [vain()]}, [0], []),
        (
            "gives way to a free node",
            {"machines": [vain()], "nodes": [node("n1", FREE)]},
            [],
            ["n1"],
        ),
        (
            "gives way one by one",
            {"count": 2, "machines": [vain(0), vain(1)], "nodes": [node("n1", FREE)]},
            [0],
            ["n1"],
        ),
        (
            "gives way first",
            {"count": 2, "machines": [vain(0), own(1)], "nodes": [node("n1", FREE)]},
            [1],
            ["n1"],
        ),
    ],
)
def test_a_machine_that_nobody_makes_a_node_for(
    what: str, given: dict[str, Any], kept: list[int], free: list[str]
) -> None:
    planned = plan(**given)
    assert [replica.index for replica in planned.replicas] == kept, what
    assert planned.existing == free, what


def test_a_node_of_ones_own_needs_no_sign_of_a_driver() -> None:
    bare = node("n1", FREE, status={"allocatable": {"cpu": "8"}})
    assert plan(nodes=[bare]).replicas == []


def test_a_machine_that_lost_its_node_is_replaced() -> None:
    lost = own(status={"conditions": [condition("Ready", "False", "NodeLost")]})
    planned = plan(machines=[lost])
    assert [replica.name for replica in planned.replicas] == [machine_name(UID, 0, 1)]
    assert planned.replaced == [machine_name(UID, 0, 0)]


def test_a_machine_whose_node_is_not_ready_for_a_while_is_kept() -> None:
    shaky = own(status={"conditions": [condition("Ready", "False", "NodeNotReady")]})
    assert [replica.name for replica in plan(machines=[shaky]).replicas] == [
        machine_name(UID, 0, 0)
    ]


def test_a_machine_that_still_waits_for_quota_is_never_replaced() -> None:
    waiting = own(
        status={
            "nodeName": None,
            "conditions": [
                condition("Ready", "False", "QuotaExceeded", since="2026-10-01T00:00:00Z")
            ],
        }
    )
    assert [replica.name for replica in plan(machines=[waiting]).replicas] == [
        machine_name(UID, 0, 0)
    ]


def test_names_of_machines_are_legal_names_of_agent_pools() -> None:
    assert machine_name(UID, 0, 0) == "ws" + machine_name(UID, 0, 0)[2:]
    assert len(machine_name(UID, 99, 12)) == 12
    assert machine_name(UID, 0, 0) != machine_name(UID, 0, 1) != machine_name(UID, 1, 0)


NODES = st.lists(
    st.builds(
        lambda index, ready, made, label: node(
            f"n{index}",
            {**(FREE if label else SIZE), **({"kaito.sh/machine-uid": "m"} if made else {})},
            ready,
        ),
        st.integers(0, 5),
        st.booleans(),
        st.booleans(),
        st.booleans(),
    ),
    max_size=6,
    unique_by=lambda item: item["metadata"]["name"],
)
NAMES = st.lists(st.sampled_from([f"n{i}" for i in range(6)]), max_size=3, unique=True)


@given(count=st.integers(1, 3), nodes=NODES, in_use=NAMES, made=st.sets(st.integers(0, 2)))
def test_a_machine_that_exists_and_is_needed_is_always_kept(
    count: int, nodes: list[dict[str, Any]], in_use: list[str], made: set[int]
) -> None:
    machines = [own(index) for index in sorted(made)]
    planned = plan(count, machines, nodes, in_use)
    names = [replica.name for replica in planned.replicas]
    assert {item["metadata"]["name"] for item in machines[:count]} <= set(names)
    assert len(planned.replicas) + len(planned.existing) == count
    assert len(names) == len(set(names))
    assert not {
        item["metadata"]["name"]
        for item in nodes
        if "kaito.sh/machine-uid" in item["metadata"]["labels"]
    } & set(planned.existing)


def test_machine_of_an_unready_provider_is_not_ready() -> None:
    assert not plan(machines=[machine(RAW, machine_name(UID, 0, 0))]).machines_ready
