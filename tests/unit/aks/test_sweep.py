"""Rows 46 to 48: a pool without its Machine is told, then deleted; in doubt nothing is."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from prometheus_client import generate_latest

from kaito_hooks.kube.conditions import timestamp
from kaito_hooks.providers.aks.sweep.__main__ import metrics
from kaito_hooks.providers.aks.sweep.api import Api
from kaito_hooks.providers.aks.sweep.sweep import sweep

from tests.harness.arm import Fault
from tests.unit.aks.api_stub import api_server
from tests.unit.aks.machine_simulation import simulated_machine
from tests.unit.aks.test_fault_table import DROPPED, arm_error
from tests.unit.machine.builders import UID

MINUTE = 60


class Sweeping:
    """A cluster with one orphan, and the sweep every two minutes."""

    def __init__(self, simulation: Any, stub: Any, api: Any) -> None:
        self.simulation, self.stub, self.api = simulation, stub, api

    def add(
        self,
        name: Any = "wsorphan0001",
        uid: Any = "gone",
        install: Any = "test",
        minutes: Any = 0,
        **more: Any,
    ) -> None:
        created = self.simulation.clock.now() - timedelta(minutes=minutes)
        tags = {"kaito.sh_machine-uid": uid, "kaito.sh_created": timestamp(created)}
        if install:
            tags["kaito.sh_install"] = install
        self.simulation.arm.cluster.add_pool(name, tags=tags, **more)

    def sweep(self, may_delete: Any = True) -> Any:
        return sweep(
            self.simulation.provider, self.api, self.simulation.clock.now, "test", may_delete
        )

    def sweep_for(self, minutes: Any, may_delete: Any = True) -> Any:
        for _ in range(0, minutes, 2):
            report = self.sweep(may_delete)
            self.simulation.pass_time(2 * MINUTE)
        return report

    @property
    def pools(self) -> Any:
        return self.simulation.pools


@contextmanager
def sweeping(**options: Any) -> Any:
    with simulated_machine(**options) as simulation, api_server() as (stub, connection):
        stub.machines = ["another"]
        yield Sweeping(simulation, stub, Api(connection, "kaito-system"))


def test_46_an_orphan_is_reported_first_and_deleted_after_its_grace() -> None:
    with sweeping() as it:
        it.add()
        first = it.sweep_for(10)
        assert first.message == "Each agent pool has its Machine."
        told = it.sweep()
        assert told.message == "without a Machine, will be deleted after the grace: wsorphan0001"
        assert it.pools == ["wsorphan0001"]
        it.sweep_for(10)
        assert it.pools == ["wsorphan0001"]
        assert it.sweep().message == "deleted wsorphan0001"
        it.simulation.pass_time(3 * MINUTE)
        assert it.pools == []
        assert it.sweep().message == "Each agent pool has its Machine."
        assert it.stub.data == {"orphans.json": "{}"}


def test_without_leave_to_delete_it_only_reports() -> None:
    with sweeping() as it:
        it.add(minutes=600)
        report = it.sweep_for(60, may_delete=False)
        assert report.message == "without a Machine, only reported: wsorphan0001"
        assert it.simulation.arm.count("DELETE") == 0


def test_a_pool_whose_machine_exists_is_none() -> None:
    with sweeping() as it:
        it.stub.machines = ["another", UID]
        it.stub.page = 1
        it.add(uid=UID, minutes=600)
        assert it.sweep_for(60).orphans == 0
        assert it.pools == ["wsorphan0001"]


def test_47_pools_of_others_are_never_touched_and_those_without_tag_are_told() -> None:
    with sweeping() as it:
        it.add("wsother00001", install="another", minutes=600)
        it.add("wsbare000001", install="", minutes=600)
        it.simulation.arm.cluster.add_pool("gpu", tags={"team": "x"})
        report = it.sweep_for(60)
        assert report.unmarked == ["wsbare000001"]
        assert "delete them by hand: wsbare000001" in report.message
        assert it.simulation.arm.count("DELETE") == 0


def test_at_most_three_pools_go_in_one_sweep() -> None:
    with sweeping() as it:
        for index in range(5):
            it.add(f"wsorphan000{index}", minutes=600)
        it.sweep_for(10)
        assert len(it.sweep().deleted) == 3
        assert len(it.sweep().deleted) == 2


@pytest.mark.parametrize("verb", ["LIST", "CLUSTER"])
@pytest.mark.parametrize(
    "fault",
    [Fault(500), Fault(200, b"{}"), Fault(200, b'{"value": []}'), DROPPED,
     arm_error(404, "ResourceGroupNotFound"), arm_error(403, "AuthorizationFailed")],
)  # fmt: skip
def test_45_what_azure_does_not_say_clearly_ends_the_sweep(verb: Any, fault: Any) -> None:
    with sweeping() as it:
        it.add(minutes=600)
        it.sweep_for(10)
        it.simulation.faults.always(verb, fault)
        report = it.sweep_for(30)
        assert report.refusal
        assert report.message.startswith("Nothing was done.")
        assert it.simulation.arm.count("DELETE") == 0


def test_45_a_list_whose_second_page_fails_ends_the_sweep() -> None:
    with sweeping(page_size=1) as it:
        it.add(minutes=600)
        it.sweep_for(10)
        for _ in range(10):
            it.simulation.faults.add("LIST", Fault())
            it.simulation.faults.add("LIST", DROPPED)
        assert it.sweep_for(20).refusal
        assert it.simulation.arm.count("DELETE") == 0


@pytest.mark.parametrize("kind", ["machines", "nodes", "machines.kaito.sh"])
@pytest.mark.parametrize(
    "answer", [(500, {"kind": "Status"}), (403, {}), (200, {}), (200, {"items": []}), (200, [])]
)
def test_48_what_kubernetes_does_not_say_ends_the_sweep(kind: Any, answer: Any) -> None:
    with sweeping() as it:
        it.add(minutes=600)
        it.sweep_for(10)
        it.stub.broken, it.stub.broken_answer = {kind}, answer
        assert it.sweep_for(30).refusal == "The Machines can't be listed completely."
        assert it.simulation.arm.count("DELETE") == 0


def test_48_a_list_of_machines_that_breaks_off_ends_the_sweep() -> None:
    with sweeping() as it:
        it.stub.machines, it.stub.page, it.stub.expired = ["a", "b", "c"], 2, True
        it.add(minutes=600)
        assert it.sweep_for(30).refusal == "The Machines can't be listed completely."
        assert it.simulation.arm.count("DELETE") == 0


def test_48_no_machines_right_after_the_crd_was_made_are_machines_still_to_come() -> None:
    with sweeping() as it:
        it.stub.machines = []
        it.stub.crd_created = timestamp(it.simulation.clock.now())
        it.add(minutes=600)
        assert "their CRD is new" in it.sweep_for(14).refusal
        it.sweep_for(20)
        assert it.simulation.arm.count("DELETE") == 1


@pytest.mark.parametrize(
    ("state", "power"),
    [("Starting", "Running"), ("Stopping", "Running"), ("Succeeded", "Stopped"),
     ("Upgrading", "Running"), ("Deleting", "Running")],
)  # fmt: skip
def test_while_the_cluster_starts_stops_or_changes_nothing_is_deleted(
    state: Any, power: Any
) -> None:
    with sweeping() as it:
        it.add(minutes=600)
        it.sweep_for(10)
        it.simulation.arm.cluster.occupy(state, 3600, power)
        assert "not at rest" in it.sweep_for(30).refusal
        assert it.simulation.arm.count("DELETE") == 0


def test_settings_that_name_another_cluster_delete_nothing_there() -> None:
    with sweeping() as it:
        it.stub.provider_ids = [
            "azure:///subscriptions/s/resourceGroups/MC_b_b_b/providers/x/0",
            "",
        ]
        it.add(minutes=600)
        assert "AZURE_CLUSTER_NAME names another cluster" in it.sweep_for(60).refusal
        assert it.simulation.arm.count("DELETE") == 0


def test_a_memory_that_was_edited_deletes_nothing_earlier() -> None:
    with sweeping() as it:
        it.add(minutes=600)
        for data in ("[]", "x", '{"wsorphan0001/gone": "2099-01-01T00:00:00Z"}', '{"a": 1}'):
            it.stub.data = {"orphans.json": data}
            assert it.sweep().deleted == []


def test_a_pool_that_is_taken_over_before_it_is_deleted_is_left() -> None:
    with sweeping() as it:
        it.add(minutes=600)
        it.sweep_for(10)
        listed = it.simulation.provider.list

        def then_replaced() -> Any:
            found = listed()
            it.simulation.arm.cluster.set_pool("wsorphan0001", tags={"team": "x"})
            return found

        it.simulation.provider.list = then_replaced
        report = it.sweep()
        assert report.failed == ["wsorphan0001 (it has changed since it was listed)"]
        assert it.simulation.arm.count("DELETE") == 0


@pytest.mark.parametrize("state", ["Upgrading", "Updating", "Starting"])
def test_a_pool_that_azure_is_at_work_on_is_left_until_it_has_finished(state: Any) -> None:
    with sweeping() as it:
        it.add(minutes=600)
        it.sweep_for(10)
        it.simulation.arm.cluster.begin_own_operation(state, 5 * MINUTE, "wsorphan0001")
        assert it.sweep().failed == [f"wsorphan0001 (Azure is at work on it: {state})"]
        assert (it.simulation.arm.count("DELETE"), it.simulation.arm.cluster.preempted) == (0, [])
        it.simulation.pass_time(6 * MINUTE)
        assert it.sweep().message == "deleted wsorphan0001"


@pytest.mark.parametrize("cluster", [{"hosted_system": True}, {"hides_etags": True}])
def test_an_orphan_goes_where_aks_hosts_the_system_nodes_and_where_no_etag_is_told(
    cluster: Any,
) -> None:
    with sweeping(**cluster) as it:
        it.add(minutes=600)
        it.sweep_for(10)
        assert it.sweep().message == "deleted wsorphan0001"


def test_what_azure_refuses_is_told() -> None:
    with sweeping() as it:
        it.add(minutes=600)
        it.sweep_for(10)
        it.simulation.faults.add(
            "DELETE", arm_error(409, "OperationNotAllowed", "Another operation is in progress")
        )
        assert it.sweep().message == "could not delete wsorphan0001 (AKSBusy)"


def test_the_figures_are_prometheus_text() -> None:
    with sweeping() as it:
        it.add(minutes=600)
        text = generate_latest(metrics(it.sweep(), it.simulation.clock.now())).decode()
    assert "# TYPE kaito_orphan_pools gauge\nkaito_orphan_pools 1.0\n" in text
    assert "kaito_orphan_sweep_refused 0.0\n" in text
