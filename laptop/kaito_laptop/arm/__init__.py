"""A stand-in for the part of Azure Resource Manager that the Machine hook speaks to.

It listens on loopback, so Azure's real client is used everywhere. Time is the laptop's clock: a pool
takes its minutes in a story of milliseconds as well.
"""

from kaito_laptop.arm.cluster import ManagedCluster
from kaito_laptop.arm.compute import Compute
from kaito_laptop.arm.faults import Fate, Fault, Faults
from kaito_laptop.arm.nodes import Nodes
from kaito_laptop.arm.server import ArmServer

__all__ = ["ArmServer", "Compute", "Fate", "Fault", "Faults", "ManagedCluster", "Nodes"]
