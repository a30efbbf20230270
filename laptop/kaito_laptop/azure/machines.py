"""The virtual machines of pools: from what Azure has free to the Node that joins."""

from __future__ import annotations

from dataclasses import dataclass

from kaito_laptop.azure.compute import Compute
from kaito_laptop.azure.nodes import Machine, Nodes, node, node_name
from kaito_laptop.azure.pool import Pool
from kaito_laptop.core.clock import Clock, timestamp


@dataclass(frozen=True, slots=True)
class Machines:
    """What the Nodes of one cluster are made of."""

    clock: Clock
    nodes: Nodes
    compute: Compute
    node_resource_group: str

    def join(self, pool: Pool, number: int = 0, is_ready: bool | None = None) -> None:
        """The Node of a virtual machine joins, or changes."""
        size = str(pool.properties["vmSize"])
        gpus = self.compute.gpus_of(size)
        if gpus is not None and pool.outcome.gpus is not None:
            gpus = pool.outcome.gpus
        machine = Machine(
            pool.name,
            number,
            gpus,
            self.compute.memory_of(size),
            pool.outcome.is_ready if is_ready is None else is_ready,
            self.node_resource_group,
        )
        joined = node(machine, pool.properties, timestamp(self.clock.now()))
        if number not in pool.numbers:
            pool.numbers.append(number)
        self.nodes.add(joined)

    def leave(self, pool: Pool, number: int) -> None:
        """The Node of a virtual machine is gone."""
        pool.numbers.remove(number)
        self.nodes.remove(node_name(pool.name, number))

    def give_back(self, pool: Pool) -> None:
        """The pool is gone, with all that it had."""
        for number in list(pool.numbers):
            self.leave(pool, number)
        if pool.has_machine:
            self.compute.give_back(pool.properties)
