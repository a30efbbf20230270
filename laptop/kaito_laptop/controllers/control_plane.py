"""The cluster in memory with everything that a cluster does by itself."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kaito_laptop.controllers.cluster_nodes import LAPTOP, ClusterNodes, ready_node
from kaito_laptop.controllers.deployment import DeploymentController
from kaito_laptop.controllers.endpoints import EndpointsController
from kaito_laptop.controllers.garbage import GarbageCollector
from kaito_laptop.controllers.job import JobController
from kaito_laptop.controllers.nodes import NodeLifecycle
from kaito_laptop.controllers.quota import QuotaController
from kaito_laptop.controllers.scheduler import Scheduler
from kaito_laptop.controllers.teardown import TeardownController
from kaito_laptop.core.event_loop import EventLoop
from kaito_laptop.core.package_data import definitions
from kaito_laptop.store.memory import MemoryCluster

CONTROLLERS = (
    GarbageCollector,
    TeardownController,
    NodeLifecycle,
    QuotaController,
    Scheduler,
    JobController,
    DeploymentController,
    EndpointsController,
)


@dataclass(frozen=True, slots=True)
class ControlPlane:
    """A cluster with our kinds, the built-in controllers and one CPU node."""

    cluster: MemoryCluster
    event_loop: EventLoop
    nodes: ClusterNodes


def control_plane(
    event_loop: EventLoop, seed: int = 0, resources: Mapping[str, str] | None = None
) -> ControlPlane:
    """Start a cluster; the resources are those of its CPU node."""
    cluster = MemoryCluster(event_loop.clock, seed)
    for controller in CONTROLLERS:
        controller(cluster, event_loop)
    for definition in definitions():
        cluster.create(definition)
    nodes = ClusterNodes(cluster, event_loop)
    nodes.add(ready_node(LAPTOP, event_loop, resources=resources))
    return ControlPlane(cluster, event_loop, nodes)
