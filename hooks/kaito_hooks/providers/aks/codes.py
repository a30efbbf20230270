"""What the codes of AKS, ARM and Microsoft.Compute mean, each with where it was seen.

Where one code stands for different things the words decide; they are in the second table. Codes are compared in
lower case. KPA is Azure/karpenter-provider-azure, "RP" the resource provider's own list of codes as that project
and Azure's support articles (MicrosoftDocs/SupportArticles-docs, support/azure/azure-kubernetes) show it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from kaito_hooks.machine.errors import ProviderError
from kaito_hooks.providers.aks import errors

Kind = type[ProviderError]

BY_CODE: dict[str, Kind] = {
    # Quota: RP's own check of the PUT (SupportArticles), and Compute's inside a failed pool (KPA pkg/fake).
    "errcode_insufficientvcpuquota": errors.QuotaExceeded,
    "insufficientvcpuquota": errors.QuotaExceeded,
    "quotaexceeded": errors.QuotaExceeded,
    # Sizes: KPA pkg/providers/instance/offerings; "Gen2": Compute's answer to an image that the size can't boot.
    "vmsizenotsupported": errors.SkuNotAvailable,
    "notavailableforsubscription": errors.SkuNotAvailable,
    "unsupportedgen2vmsize": errors.SkuNotAvailable,
    # Capacity: KPA pkg/providers/instance/offerings; SupportArticles, zonalallocation-allocationfailed-error.
    "allocationfailed": errors.InsufficientCapacity,
    "zonalallocationfailed": errors.InsufficientCapacity,
    "overconstrainedallocationrequest": errors.InsufficientCapacity,
    "overconstrainedzonalallocationrequest": errors.InsufficientCapacity,
    "skunotavailable": errors.SkuShortage,  # A restriction where the words say so, below.
    # Subnets: SupportArticles, error-code-subnetisfull; "sync" and "async" form.
    "insufficientsubnetsize": errors.SubnetFull,
    "subnetisfull": errors.SubnetFull,
    # Number of pools: RP; the first is met in practice (public benchmarks of 100 pools).
    "maxagentpoolcountreached": errors.PoolLimit,
    "agentpoolmaxcountexceeded": errors.PoolLimit,
    # Versions: SupportArticles, aks-upgrade-blocked; Azure PowerShell's tests.
    "agentpoolk8sversionnotsupported": errors.ClusterOutdated,
    "k8sversionnotsupported": errors.ClusterOutdated,
    "nodepoolmcversionincompatible": errors.ClusterOutdated,
    # Somebody's will. ARM's lock: azure.datafactory.devops#183; RP's own look at locks: Azure/AKS#3291.
    "scopelocked": errors.Locked,
    "resourcelocked": errors.Locked,
    "resourcegrouplocked": errors.Locked,
    "checkresourcegrouplevellockserror": errors.Locked,
    "readonlydisabledsubscription": errors.SubscriptionDisabled,  # microsoft/vscode-azureappservice#1646
    "requestdisallowedbypolicy": errors.PolicyForbids,
    "policyviolation": errors.PolicyForbids,
    "appendpoliciesfieldsexist": errors.PolicyForbids,  # With 409.
    "authorizationfailed": errors.Forbidden,
    "linkedauthorizationfailed": errors.Forbidden,
    "denyassignmentauthorizationfailed": errors.Forbidden,
    # Set-up of the virtual machine: Azure/AKS#1918, terraform-provider-azurerm#9342, Azure/AKS#1352.
    "vmextensionprovisioningerror": errors.SetupFailed,
    "vmextensionprovisioningtimeout": errors.SetupFailed,
    "nodesnotready": errors.SetupFailed,  # Azure/AKS#989, #1746
    # Requests: SupportArticles, throttled-error; ARM's own limits.
    "throttled": errors.Throttled,
    "toomanyrequests": errors.Throttled,
    "subscriptionrequeststhrottled": errors.Throttled,
    # Operations in the way: SupportArticles, operationnotallowed and aksoperationpreempted-error.
    "operationpreempted": errors.Busy,
    "aksoperationpreempted": errors.Busy,
    "aksoperationpreemptedbydelete": errors.Busy,
    "originaletagnotexpect": errors.Busy,  # kaito-project/kaito#2075
    "retryneeded": errors.Busy,
    # What is not there; ARM's front door.
    "missingsubscriptionregistration": errors.ConfigError,
    "resourcegroupnotfound": errors.ConfigError,
    "resourcegroupbeingdeleted": errors.ConfigError,
    "resourcenotfound": errors.ConfigError,
    "parentresourcenotfound": errors.ConfigError,
    "subscriptionnotfound": errors.ConfigError,
    "invalidsubscriptionid": errors.ConfigError,
    "noregisteredproviderfound": errors.ConfigError,
}

_ANY = re.compile("")
_AMBIGUOUS = re.compile("operationnotallowed")
_NO_OUTBOUND = r"OutboundConnFail|K8SAPIServer\w*Fail|unable to (?:establish|resolve)"

BY_MESSAGE: Sequence[tuple[re.Pattern[str], re.Pattern[str], Kind]] = tuple(
    (code, re.compile(words, re.IGNORECASE), kind)
    for code, words, kind in (
        # One code for what is busy, for quota, for the last system pool and for Compute's own throttling.
        (_AMBIGUOUS, r"too many requests", errors.Throttled),
        (_AMBIGUOUS, r"in[- ]progress create (?:node|agent) ?pool operation", errors.Underway),
        (
            _AMBIGUOUS,
            r"in[- ]progress|deletion (?:was|has) (?:issued|started)|cannot be performed|another .*operation",
            errors.Busy,
        ),
        (_AMBIGUOUS, r"\bquota\b|LowPriorityCores", errors.QuotaExceeded),
        # RP's checks of sizes come as BadRequest: dotnet/core#7603, Azure/AKS#2413, KPA pkg/fake.
        (
            _ANY,
            r"is not allowed in your subscription|is not supported for subscription|NotAvailableForSubscription"
            r"|Virtual Machine size: .{0,80} is not supported|restricted by AKS|cannot boot Hypervisor Generation",
            errors.SkuNotAvailable,
        ),
        (_ANY, r"is locked, please remove (?:the )?lock", errors.Locked),  # Azure/AKS#3291
        # AgentBaker's cse_helpers.sh: 50 to 53 no way out or to the API server, 83 to 87 the GPU's driver.
        (_ANY, r"exit status=8[3-7]\b|VMExtensionError_\w*GPU", errors.NoDriver),
        (_ANY, rf"exit status=5[0-3]\b|{_NO_OUTBOUND}", errors.NoOutbound),
        (_ANY, r"vmssCSE|VMExtensionError_|exit status=\d", errors.SetupFailed),
        (
            _ANY,
            r"\bnode ?pools?\b.{0,60}\bmaximum\b|limit of \d+ (?:agent|node) ?pools",
            errors.PoolLimit,
        ),
    )
)
"""Code, words and meaning; the first that holds."""

NO_QUOTA = re.compile(r"Current Limit: 0\b", re.IGNORECASE)
"""Nothing will come free by itself (KPA)."""

BUSY_MESSAGE = re.compile(r"in[- ]progress|another .*operation", re.IGNORECASE)
"""In a 409 whose code is not known."""

NO_POOL = frozenset({"notfound", "agentpoolnotfound"})
"""Of a 404 that speaks of the pool: gpu-provisioner's armutils.go, KPA's tests of AKS' answers, RP."""
OF_THE_CLUSTER = re.compile(r"managed ?cluster", re.IGNORECASE)
"""In the words or the subcode of such a 404: then it is the cluster that is missing."""
OF_A_POOL = re.compile(r"managedClusters/[^/']+/agentPools/", re.IGNORECASE)
"""In ARM's `ResourceNotFound`, which names what is missing: this one names the pool."""


def meaning(code: str, message: str) -> Kind | None:
    """What a code with its sentence means; None for one that says nothing by itself."""
    lower = code.lower()
    text = f"{code} {message}"
    kind = next(
        (
            kind
            for codes, pattern, kind in BY_MESSAGE
            if codes.match(lower) and pattern.search(text)
        ),
        None,
    ) or BY_CODE.get(lower)
    if kind is errors.QuotaExceeded and NO_QUOTA.search(message):
        return errors.QuotaIsZero
    return kind
