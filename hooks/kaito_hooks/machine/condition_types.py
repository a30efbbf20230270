"""Types of a Machine's conditions: three as Karpenter has them, `Ready`, and those that are there only while True."""

from __future__ import annotations

from kaito_hooks.api import machines

LAUNCHED = "MachineLaunched"
"""The pool was made and holds a virtual machine (Karpenter's)."""
REGISTERED = machines.REGISTERED
"""Exactly one Node joined (Karpenter's)."""
INITIALIZED = "MachineInitialized"
"""The Node was ready with its GPUs (Karpenter's)."""
READY = machines.READY
"""The Node is ready now."""
PROVIDER_TROUBLE = "ProviderTrouble"
"""Only while True: the provider can't be used; the other conditions are the last known."""
DEGRADED = "Degraded"
"""Only while True: the Node works although its pool is marked as failed."""
DELETION_BLOCKED = "DeletionBlocked"
"""Only while True: the pool can't be deleted for minutes now."""
NODE_UNHEALTHY = "NodeUnhealthy"
"""Only while True: the Node that was ready is not, and no operation of the provider explains it."""

LIFECYCLE = (LAUNCHED, REGISTERED, INITIALIZED)
PASSING = (PROVIDER_TROUBLE, DEGRADED, DELETION_BLOCKED, NODE_UNHEALTHY)
"""Conditions that are there only while True."""
