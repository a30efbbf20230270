"""Which providers there are, and what the services behind them do to nodes: a new one is named here alone."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from importlib import import_module

from kaito_hooks.api.nodes import NodeConventions
from kaito_hooks.machine.provider import Provider
from kaito_hooks.providers.aks.conventions import AKS

PROVIDERS: Mapping[str, str] = {
    "aks": "kaito_hooks.providers.aks.provider",
    "karpenter": "kaito_hooks.providers.karpenter.provider",
    "byo": "kaito_hooks.providers.byo",
}
"""By value of KAITO_NODE_PROVIDER, the default first: a module with `create(environ, now)`."""

CONVENTIONS: tuple[NodeConventions, ...] = (AKS,)
"""Of every service that may have made a node, whoever asked for it."""


def provider_of(name: str, environ: Mapping[str, str], now: Callable[[], datetime]) -> Provider:
    """Load that provider and no other: each brings a client of tens of megabytes. Raise `InvalidSettings`."""
    provider: Provider = import_module(PROVIDERS[name]).create(environ, now)
    return provider
