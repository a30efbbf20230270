"""Each Node has a Lease that its kubelet renews."""

from __future__ import annotations

from typing import Any

from kaito_laptop.controllers.cluster_nodes import LAPTOP, ready_node
from kaito_laptop.kubelet.leases import NAMESPACE, NodeLeases

from tests.harness.simulation import Simulation


def renewed(simulation: Simulation, node: Any) -> Any:
    return simulation.get("Lease", node, NAMESPACE)["spec"]["renewTime"]


def test_a_lease_is_renewed_every_ten_seconds_until_its_kubelet_ends() -> None:
    with Simulation() as simulation:
        leases = NodeLeases(simulation.cluster, simulation.event_loop)
        simulation.settle()
        first = renewed(simulation, LAPTOP)
        simulation.advance(10)
        second = renewed(simulation, LAPTOP)
        assert second > first
        leases.stop()
        simulation.advance(60)
        assert renewed(simulation, LAPTOP) == second


def test_the_lease_of_a_node_comes_and_goes_with_it() -> None:
    with Simulation() as simulation:
        NodeLeases(simulation.cluster, simulation.event_loop)
        simulation.nodes.add(ready_node("gpu-0", simulation.event_loop))
        simulation.settle()
        lease = simulation.get("Lease", "gpu-0", NAMESPACE)
        assert lease["metadata"]["ownerReferences"][0]["name"] == "gpu-0"
        simulation.nodes.remove("gpu-0")
        simulation.advance(30)
        assert simulation.find("Lease", "gpu-0", NAMESPACE) is None
