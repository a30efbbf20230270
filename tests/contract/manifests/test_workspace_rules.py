"""Each rule of the Workspace's CRD refuses what it is for, in memory; tests/e2e asks the real API server."""

from __future__ import annotations

import pytest

from kaito_laptop.core.clock import VirtualClock
from kaito_laptop.core.package_data import definitions
from kaito_laptop.store.memory import MemoryCluster

from tests.harness.workspace_cel import ALLOWED, REFUSED
from tests.harness.workspace_rules import ACCEPTED, Row, openapi_rows, schema, walk

ROWS = [*openapi_rows(), *REFUSED, *ALLOWED]


@pytest.fixture(scope="module")
def cluster() -> MemoryCluster:
    cluster = MemoryCluster(VirtualClock())
    for definition in definitions():
        cluster.create(definition)
    return cluster


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_store_says(cluster: MemoryCluster, row: Row) -> None:
    outcome = row.outcome(cluster, "default")
    assert (row.says or ACCEPTED) in outcome
    assert (outcome == ACCEPTED) == (not row.says)


def test_every_cel_rule_has_a_row() -> None:
    messages = {
        " ".join(rule["message"].split())
        for _, node in walk(schema())
        for rule in node.get("x-kubernetes-validations", ())
    }
    said = {row.says for row in REFUSED}
    assert [each for each in messages if not any(words in each for words in said)] == []


def test_no_two_rows_have_the_same_name() -> None:
    names = [row.name for row in ROWS]
    assert len(names) == len(set(names))
