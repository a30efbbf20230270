"""What AKS does to nodes by itself. No Azure client: the Workspace hook reads this, too."""

from __future__ import annotations

from kaito_hooks.api.nodes import NodeConventions

AKS = NodeConventions(
    service="AKS",
    reserved_labels=frozenset({"agentpool", "accelerator", "storageprofile", "storagetier"}),
    reserved_domains=frozenset({"kubernetes.azure.com"}),
    spot_toleration={
        "effect": "NoSchedule",
        "key": "kubernetes.azure.com/scalesetpriority",
        "operator": "Equal",
        "value": "spot",
    },
)
"""It refuses a pool that brings one of its labels with NodeLabelKeyNotAllowed (Azure/karpenter-provider-azure#1707;
hashicorp/terraform-provider-azurerm#28636), and taints spot nodes.
"""
