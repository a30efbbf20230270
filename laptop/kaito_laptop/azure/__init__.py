"""A stand-in for the part of Azure Resource Manager that the Machine hook speaks to.

It listens on loopback, so Azure's real client is used everywhere. Time is the laptop's clock: a pool
takes its minutes in a story of milliseconds as well.
"""

from kaito_laptop.azure.cluster import Behaviour, ManagedCluster
from kaito_laptop.azure.compute import Compute
from kaito_laptop.azure.interference import Outcome
from kaito_laptop.azure.nodes import Nodes
from kaito_laptop.azure.server import ArmServer

__all__ = ["ArmServer", "Behaviour", "Compute", "ManagedCluster", "Nodes", "Outcome"]
