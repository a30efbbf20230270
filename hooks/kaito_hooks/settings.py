"""What an operator of the hooks may set: this module alone reads the environment.

Names follow Kaito and gpu-provisioner where they have one: existing installations keep theirs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from kaito_hooks.environment import choice, like, optional, required, whole, words
from kaito_hooks.errors import InvalidSettings

DEFAULT_PRESET_REGISTRY = "mcr.microsoft.com/aks/kaito"
DEFAULT_COMPUTE_CAPABILITIES = "5.0 6.0 7.0 7.5 8.0 8.6 9.0"
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
class WorkspaceSettings:
    """Settings of the Workspace hook."""

    preset_registry: str
    """Registry and path before the names of the model images."""
    transfer_image: str
    """Image that checks, pulls and pushes."""
    tuning_image: str
    inference_image: str
    compute_capabilities: tuple[str, ...]
    """CUDA compute capabilities for which the runtime images hold code."""
    presets_file: Path | None = None
    """Replaces the presets that travel with the package."""
    idle_node_minutes: int = 30
    """How long nodes may serve nobody before they are given back; 0: for ever."""
    hook_token: str = field(default="", repr=False)
    """What Metacontroller must send as bearer token; empty lets everyone call."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> WorkspaceSettings:
        """Raise `InvalidSettings` that names the variable."""
        env = os.environ if environ is None else environ
        presets_file = optional(env, "KAITO_PRESETS_FILE")
        if presets_file and not Path(presets_file).is_file():
            raise InvalidSettings(f"KAITO_PRESETS_FILE must name a file, found '{presets_file}'")
        return cls(
            preset_registry=optional(env, "PRESET_REGISTRY_NAME", DEFAULT_PRESET_REGISTRY).rstrip(
                "/"
            ),
            transfer_image=required(env, "KAITO_TRANSFER_IMAGE"),
            tuning_image=required(env, "KAITO_TUNING_IMAGE"),
            inference_image=required(env, "KAITO_INFERENCE_IMAGE"),
            compute_capabilities=_compute_capabilities(env),
            presets_file=Path(presets_file) if presets_file else None,
            idle_node_minutes=whole(env, "KAITO_IDLE_NODE_MINUTES", 30, range(0, 7 * 24 * 60 + 1)),
            hook_token=_token(env),
        )


@dataclass(frozen=True, slots=True)
class ProvisionerSettings:
    """Settings of the Machine hook, whoever makes the nodes."""

    provider: str
    """aks, karpenter, or byo: nobody."""
    hook_token: str = field(default="", repr=False)
    """What Metacontroller must send as bearer token; empty lets everyone call."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> ProvisionerSettings:
        """Raise `InvalidSettings` that names the variable."""
        env = os.environ if environ is None else environ
        provider = choice(env, "KAITO_NODE_PROVIDER", ("aks", "karpenter", "byo"))
        return cls(provider, _token(env))


@dataclass(frozen=True, slots=True)
class WorkloadIdentity:
    """Who the Machine hook is to Azure; the webhook of workload identity sets these variables."""

    tenant_id: str
    client_id: str
    token_file: str
    authority: str


@dataclass(frozen=True, slots=True)
class MachineSettings:
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
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> MachineSettings:
        """Raise `InvalidSettings` that names the variable."""
        env = os.environ if environ is None else environ
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
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> KarpenterSettings:
        """Raise `InvalidSettings` that names the variable."""
        env = os.environ if environ is None else environ
        name = r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?"
        return cls(
            install_id=like(env, "KAITO_INSTALL_ID", "kaito", r"[^\W_]([\w.-]{0,61}[^\W_])?"),
            node_class_group=like(env, "KAITO_NODE_CLASS_GROUP", "karpenter.azure.com", name),
            node_class_kind=like(env, "KAITO_NODE_CLASS_KIND", "AKSNodeClass", "[A-Z][A-Za-z]+"),
            node_class_name=like(env, "KAITO_NODE_CLASS_NAME", "default", name),
        )


@dataclass(frozen=True, slots=True)
class SweepSettings:
    """Settings of the orphan sweep, beside those of the Machine hook."""

    namespace: str
    """Where its ConfigMap is."""
    may_delete: bool = False
    """Whether orphans are deleted after the grace; else they are only reported."""
    push_url: str = ""
    """A Pushgateway of Prometheus; empty for none."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str] | None = None) -> SweepSettings:
        """Raise `InvalidSettings` that names the variable."""
        env = os.environ if environ is None else environ
        push_url = optional(env, "KAITO_METRICS_PUSH_URL").rstrip("/")
        if push_url and not push_url.startswith(("http://", "https://")):
            raise InvalidSettings(f"KAITO_METRICS_PUSH_URL must be a URL, found '{push_url}'")
        return cls(
            namespace=required(env, "POD_NAMESPACE"),
            may_delete=choice(env, "KAITO_SWEEP_DELETE", ("false", "true")) == "true",
            push_url=push_url,
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


def _compute_capabilities(env: Mapping[str, str]) -> tuple[str, ...]:
    name = "KAITO_RUNTIME_COMPUTE_CAPABILITIES"
    found = words(env, name) or DEFAULT_COMPUTE_CAPABILITIES.split()
    for item in found:
        if not re.fullmatch(r"\d{1,2}\.\d", item):
            raise InvalidSettings(f"{name} must hold numbers such as '8.0', found '{item}'")
    return tuple(found)


def _token(env: Mapping[str, str]) -> str:
    path = optional(env, "KAITO_HOOK_TOKEN_FILE")
    if not path:
        return ""
    try:
        token = Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise InvalidSettings(f"KAITO_HOOK_TOKEN_FILE can't be read at '{path}'") from None
    if not token or not token.isascii():
        raise InvalidSettings("KAITO_HOOK_TOKEN_FILE must hold a token of ASCII characters")
    return token


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
