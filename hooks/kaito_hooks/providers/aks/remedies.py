"""What to do about a reason of a Machine on AKS, for docs/operations.md: where it says more than the reason itself."""

from __future__ import annotations

from collections.abc import Mapping

from kaito_hooks.machine import reasons

REMEDIES: Mapping[str, str] = {
    reasons.NODE_NOT_FOUND: "retried after 15 minutes, three times in all; look at the subnet's outbound rules",
    reasons.SETUP_FAILED: (
        "the message has the cause and Azure's page on it; retried three times, then by the command "
        "in the message"
    ),
    reasons.MULTIPLE_NODES_FOUND: (
        "`az aks nodepool scale -g RESOURCE_GROUP --cluster-name CLUSTER -n POOL --node-count 1`"
    ),
    reasons.RESOURCE_NOT_REGISTERED: (
        "install the NVIDIA device plugin, or the driver with `KAITO_POOL_GPU_DRIVER=None`"
    ),
    reasons.SKU_NOT_AVAILABLE: "the size that the message names, or ask Azure's support for access",
    reasons.QUOTA_EXCEEDED: "ask for more under Quotas in the Azure portal; retried every ten to thirty minutes",
    reasons.FORBIDDEN: (
        "what the message says: step 3 above, an exemption from the policy, the lock's owner; "
        "retried after 5 minutes, then later and later up to an hour"
    ),
    reasons.UNAUTHORIZED: "step 2 above",
    reasons.CREDENTIAL_UNAVAILABLE: "step 2 above: the subject must name the service account",
    reasons.CONFIG_ERROR: "`cluster.env`",
}
