"""Addresses that the API server gives to Services."""

from __future__ import annotations

from itertools import count

from kaito_laptop.core.cluster import Manifest

FIRST_NODE_PORT = 30000


class Addresses:
    """Gives cluster addresses and node ports, each once."""

    def __init__(self) -> None:
        self._hosts = count(10)
        self._node_ports = count(FIRST_NODE_PORT)

    def allocate(self, service: Manifest, old: Manifest | None) -> None:
        """Fill in what the author of the Service left open, as in the stored Service."""
        spec = service.setdefault("spec", {})
        earlier = old["spec"] if old else {}
        kind = spec.get("type", "ClusterIP")
        if kind == "ExternalName":
            return
        if not spec.get("clusterIP"):
            host = next(self._hosts) if "clusterIP" not in earlier else 0
            spec["clusterIP"] = earlier.get("clusterIP", f"10.0.{host // 256}.{host % 256}")
        spec["clusterIPs"] = [spec["clusterIP"]]
        if kind not in ("NodePort", "LoadBalancer"):
            return
        kept = {port["port"]: port.get("nodePort") for port in earlier.get("ports", [])}
        for port in spec.get("ports") or []:
            if not port.get("nodePort"):
                port["nodePort"] = kept.get(port.get("port")) or next(self._node_ports)
