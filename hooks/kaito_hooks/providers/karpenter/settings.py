"""What an operator of the Machine hook may set where Karpenter makes the nodes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kaito_hooks.environment import like


@dataclass(frozen=True, slots=True)
class KarpenterSettings:
    """Settings of the Machine hook where Karpenter makes the nodes."""

    install_id: str
    """Tells the NodeClaims of this installation from those of another one in the same cluster."""
    node_class_group: str
    node_class_kind: str
    node_class_name: str
    """Image, disk and subnet of the nodes are those of the node class."""

    @classmethod
    def from_environ(cls, env: Mapping[str, str]) -> KarpenterSettings:
        """Raise `InvalidSettings` that names the variable."""
        name = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"
        return cls(
            install_id=like(env, "KAITO_INSTALL_ID", "kaito", r"[^\W_]([\w.-]{0,61}[^\W_])?"),
            node_class_group=like(env, "KAITO_NODE_CLASS_GROUP", "karpenter.azure.com", name),
            node_class_kind=like(env, "KAITO_NODE_CLASS_KIND", "AKSNodeClass", "[A-Z][A-Za-z]+"),
            node_class_name=like(env, "KAITO_NODE_CLASS_NAME", "default", name),
        )
