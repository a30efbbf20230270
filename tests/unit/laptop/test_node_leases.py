"""Each Node has a Lease that its kubelet renews."""

from kaito_laptop.controllers.cluster_nodes import LAPTOP, ready_node
from kaito_laptop.kubelet.leases import NAMESPACE, NodeLeases

from tests.harness.simulation import World


def renewed(world, node):
    return world.get("Lease", node, NAMESPACE)["spec"]["renewTime"]


def test_a_lease_is_renewed_every_ten_seconds_until_its_kubelet_ends() -> None:
    with World() as world:
        leases = NodeLeases(world.cluster, world.engine)
        world.settle()
        first = renewed(world, LAPTOP)
        world.advance(10)
        second = renewed(world, LAPTOP)
        assert second > first
        leases.stop()
        world.advance(60)
        assert renewed(world, LAPTOP) == second


def test_the_lease_of_a_node_comes_and_goes_with_it() -> None:
    with World() as world:
        NodeLeases(world.cluster, world.engine)
        world.nodes.add(ready_node("gpu-0", world.engine))
        world.settle()
        lease = world.get("Lease", "gpu-0", NAMESPACE)
        assert lease["metadata"]["ownerReferences"][0]["name"] == "gpu-0"
        world.nodes.remove("gpu-0")
        world.advance(30)
        assert world.find("Lease", "gpu-0", NAMESPACE) is None
