"""One agent pool as the stand-in keeps it, and as ARM writes it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kaito_laptop.arm.answers import Answer, Request, error
from kaito_laptop.arm.faults import Fate

ENDS = ("Succeeded", "Failed", "Canceled")


@dataclass(slots=True)
class Pool:
    """Properties as they were sent, with the state that AKS adds."""

    name: str
    properties: dict[str, Any]
    fate: Fate
    etag: str
    due: float | None = None
    """When its operation ends."""
    has_machine: bool = False
    """Whether a virtual machine is taken from what is free."""
    has_node: bool = False
    error: Mapping[str, Any] | None = None

    @property
    def state(self) -> str:
        """The provisioning state."""
        return str(self.properties["provisioningState"])

    def body(self, cluster_id: str) -> dict[str, Any]:
        """What GET answers."""
        properties = {**self.properties, "eTag": self.etag}
        properties.setdefault("powerState", {"code": "Running"})
        if self.error is not None:
            properties["status"] = {"provisioningError": self.error}
        return {
            "id": f"{cluster_id}/agentPools/{self.name}",
            "name": self.name,
            "type": "Microsoft.ContainerService/managedClusters/agentPools",
            "properties": properties,
        }


def properties_in(body: bytes) -> dict[str, Any]:
    """The properties of a request."""
    try:
        found = json.loads(body)["properties"]
    except (ValueError, KeyError, TypeError):
        return {}
    return dict(found) if isinstance(found, dict) else {}


def matches(request: Request, pool: Pool | None) -> bool:
    """Whether `If-Match` names the pool as it is."""
    wanted = request.headers["if-match"].removeprefix("W/").strip('"')
    return pool is not None and wanted in ("*", pool.etag)


def unmet(message: str) -> Answer:
    """The answer to a condition that does not hold."""
    return error(412, "PreconditionFailed", message)


def busy(name: str, state: str) -> Answer:
    """The answer while another operation runs."""
    return error(
        409,
        "OperationNotAllowed",
        f"Another operation ({name} - {state}) is in progress, please wait for it to finish before "
        "starting a new operation. See https://aka.ms/aks-pending-operation for more details",
    )
