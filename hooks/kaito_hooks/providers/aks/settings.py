"""What an operator of the Machine hook may set where AKS makes the nodes.

Names follow gpu-provisioner where it has one: existing installations keep theirs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from kaito_hooks.environment import choice, optional, required, whole, words
from kaito_hooks.errors import InvalidSettings

PUBLIC_ARM = "https://management.azure.com"

ARM_ENDPOINTS = frozenset(
    {
        PUBLIC_ARM,
        "https://management.chinacloudapi.cn",
        "https://management.usgovcloudapi.net",
    }
)
"""The only hosts besides loopback that may be set: each call carries a token that deletes nodes."""


_SUBNET = re.compile(
    r"/subscriptions/[^/]+/resourceGroups/[^/]+"
    r"/providers/Microsoft\.Network/virtualNetworks/[^/]+/subnets/[^/]+",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class WorkloadIdentity:
    """Who the Machine hook is to Azure; the webhook of workload identity sets these variables."""

    tenant_id: str
    client_id: str
    token_file: str
    authority: str


@dataclass(frozen=True, slots=True)
class AksSettings:
    """Settings of the Machine hook where AKS makes the nodes."""

    subscription_id: str
    resource_group: str
    cluster_name: str
    install_id: str
    """Tells the pools of this installation from those of another one in the same cluster."""
    identity: WorkloadIdentity | None = None
    """None for a stand-in, which no credential of Azure is shown to."""
    arm_endpoint: str = PUBLIC_ARM
    os_sku: str = "Ubuntu"
    subnet_id: str = ""
    zones: tuple[str, ...] = ()
    disk_gib: int = 0
    """OS disk of nodes whose preset names none; 0 leaves it to AKS."""
    gpu_driver: str = "Install"
    """Install lets AKS bring the NVIDIA driver; None leaves it to a GPU operator."""
    gpu_management: str = "Unmanaged"
    """Managed lets AKS bring the device plugin and metrics of the GPUs as well."""
    max_surge: int = 0
    """Nodes that AKS adds while it upgrades a pool; 0 takes the pool's only node away meanwhile."""
    location: str = ""
    """The cluster's region; without it sizes and quota are not looked up before a node is asked for."""

    @property
    def is_stand_in(self) -> bool:
        """Whether ARM is a stand-in on this host: plain HTTP and no credential of Azure."""
        return is_loopback(self.arm_endpoint)

    @classmethod
    def from_environ(cls, env: Mapping[str, str]) -> AksSettings:
        """Raise `InvalidSettings` that names the variable."""
        endpoint = _arm_endpoint(env)
        return cls(
            subscription_id=required(env, "ARM_SUBSCRIPTION_ID"),
            resource_group=required(env, "ARM_RESOURCE_GROUP"),
            cluster_name=required(env, "AZURE_CLUSTER_NAME"),
            install_id=optional(env, "KAITO_INSTALL_ID", "kaito"),
            identity=None if is_loopback(endpoint) else _identity(env),
            arm_endpoint=endpoint,
            os_sku=choice(env, "KAITO_POOL_OS_SKU", ("Ubuntu", "AzureLinux")),
            subnet_id=_subnet(env, "KAITO_POOL_SUBNET_ID"),
            zones=_zones(env, "KAITO_POOL_ZONES"),
            disk_gib=whole(env, "KAITO_POOL_DISK_GIB", 0, range(30, 2049)),
            gpu_driver=choice(env, "KAITO_POOL_GPU_DRIVER", ("Install", "None")),
            gpu_management=choice(env, "KAITO_POOL_GPU_MANAGEMENT", ("Unmanaged", "Managed")),
            max_surge=whole(env, "KAITO_POOL_MAX_SURGE", 0, range(1, 2)),
            location=_location(env),
        )


def is_loopback(endpoint: str) -> bool:
    """Whether the endpoint is plain HTTP on an address that can't leave this host."""
    parts = urlsplit(endpoint)
    try:
        return parts.scheme == "http" and ip_address(parts.hostname or "").is_loopback
    except ValueError:  # A name, which someone else may resolve.
        return False


def _identity(env: Mapping[str, str]) -> WorkloadIdentity:
    authority = optional(env, "AZURE_AUTHORITY_HOST", "https://login.microsoftonline.com/")
    if not authority.startswith("https://"):
        raise InvalidSettings(f"AZURE_AUTHORITY_HOST must begin with https://, found '{authority}'")
    return WorkloadIdentity(
        tenant_id=required(env, "AZURE_TENANT_ID"),
        client_id=required(env, "AZURE_CLIENT_ID"),
        token_file=required(env, "AZURE_FEDERATED_TOKEN_FILE"),
        authority=authority,
    )


def _arm_endpoint(env: Mapping[str, str]) -> str:
    endpoint = optional(env, "ARM_ENDPOINT", PUBLIC_ARM).rstrip("/")
    if endpoint not in ARM_ENDPOINTS and not is_loopback(endpoint):
        known = ", ".join(sorted(ARM_ENDPOINTS))
        raise InvalidSettings(
            f"ARM_ENDPOINT must be one of {known} or plain HTTP on a loopback address, "
            f"found '{endpoint}'"
        )
    return endpoint


def _location(env: Mapping[str, str]) -> str:
    """Azure writes it in both ways: 'West Europe' and 'westeurope'."""
    value = optional(env, "LOCATION").replace(" ", "").lower()
    if not re.fullmatch(r"[a-z0-9]*", value):
        raise InvalidSettings(f"LOCATION must be a region such as 'westeurope', found '{value}'")
    return value


def _subnet(env: Mapping[str, str], name: str) -> str:
    value = optional(env, name)
    if value and not _SUBNET.fullmatch(value):
        raise InvalidSettings(
            f"{name} must be the id of a subnet, /subscriptions/.../resourceGroups/.../providers/"
            f"Microsoft.Network/virtualNetworks/.../subnets/..., found '{value}'"
        )
    return value


def _zones(env: Mapping[str, str], name: str) -> tuple[str, ...]:
    found = tuple(words(env, name))
    for zone in found:
        if not re.fullmatch(r"[1-9]", zone):
            raise InvalidSettings(
                f"{name} must hold numbers of zones such as '1 2', found '{zone}'"
            )
    return found
