"""What Karpenter does to NodeClaims, as little of it as the Machine hook sees: a test moves it step by step."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

from kaito_laptop.core.clock import Clock, timestamp
from kaito_laptop.core.cluster import Cluster, Key, Manifest, NotFound
from kaito_laptop.core.objects import finalizers, get, is_deleting, labels, name
from kaito_laptop.core.retries import retry_on_conflict

FINALIZER = "karpenter.sh/termination"
PHASES = ("Launched", "Registered", "Initialized")
GPU = "nvidia.com/gpu"


class Karpenter:
    """Works when it is told to; what it does not get from a NodeClaim it does not know."""

    def __init__(self, cluster: Cluster, clock: Clock) -> None:
        self._cluster = cluster
        self._clock = clock
        self.holds: dict[str, tuple[str, str]] = {}
        """For a NodeClaim's name the phase at which it stays, and the reason."""
        self.takes_back: dict[str, str] = {}
        """For a NodeClaim's name the reason of the event with which it is deleted."""
        self.gpus = 1

    def work(self) -> None:
        """Bring each NodeClaim to where it gets: adopted, launched and joined, or gone."""
        retry_on_conflict(self._work)

    def _work(self) -> None:
        for claim in self._cluster.list(self._resource("karpenter.sh/v1", "NodeClaim")):
            if is_deleting(claim):
                self._end(claim)
            elif FINALIZER not in finalizers(claim):
                claim["metadata"]["finalizers"] = [FINALIZER]
                self._step(self._cluster.update(claim))
            else:
                self._step(claim)

    def _step(self, claim: Manifest) -> None:
        if name(claim) in self.takes_back:
            self._take_back(claim, self.takes_back[name(claim)])
        else:
            self._launch(claim)

    def _launch(self, claim: Manifest) -> None:
        stop, reason = self.holds.get(name(claim), ("", ""))
        reached = PHASES[: PHASES.index(stop)] if stop else PHASES
        status = dict(claim.get("status", {}))
        conditions = [self._condition(each, "True", each) for each in reached]
        if stop:
            conditions.append(self._condition(stop, "Unknown", reason, f"words about {reason}"))
        status["conditions"] = conditions
        if "Launched" in reached:
            status["providerID"] = f"azure:///vm/{name(claim)}"
        if "Registered" in reached:
            status["nodeName"] = node_name(claim)
        if get(claim, "status") != status:
            self._cluster.update_status({**claim, "status": status})
        if "Registered" in reached:
            self._join(claim, "Initialized" in reached)

    def _join(self, claim: Manifest, is_ready: bool) -> None:
        """The Node has the labels of its NodeClaim, and what its size offers."""
        requirements = get(claim, "spec", "requirements")
        decided = {item["key"]: item["values"][0] for item in requirements}
        amounts = {
            "cpu": "6",
            "memory": "112Gi",
            "pods": "110",
            "ephemeral-storage": "111Gi",
            GPU: str(self.gpus),
        }
        condition = self._condition("Ready", "True" if is_ready else "False", "KubeletReady")
        node = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {
                "name": node_name(claim),
                "labels": {**decided, **labels(claim), "kubernetes.io/hostname": node_name(claim)},
            },
            "spec": {
                "providerID": f"azure:///vm/{name(claim)}",
                "taints": get(claim, "spec", "taints", default=[]),
            },
        }
        status = {"allocatable": amounts, "capacity": amounts, "conditions": [condition]}
        try:
            found = self._cluster.get(self._node(claim))
        except NotFound:
            found = self._cluster.create(node)
        if get(found, "status", "conditions", default=[{}])[0].get("status") != condition["status"]:
            self._cluster.update_status({**found, "status": status})

    def _end(self, claim: Manifest) -> None:
        """The machine goes, then the NodeClaim."""
        with suppress(NotFound):
            self._cluster.delete(self._node(claim))
        claim["metadata"]["finalizers"] = [each for each in finalizers(claim) if each != FINALIZER]
        self._cluster.update(claim)

    def _take_back(self, claim: Manifest, reason: str) -> None:
        now = timestamp(self._clock.now())
        message = f"NodeClaim {name(claim)} event: no such machine in any zone"
        about = {"kind": "NodeClaim", "apiVersion": "karpenter.sh/v1", "name": name(claim)}
        event: dict[str, Any] = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"generateName": f"{name(claim)}.", "namespace": "default"},
            "involvedObject": about,
            "type": "Warning",
            "reason": reason,
            "message": message,
            "firstTimestamp": now,
            "lastTimestamp": now,
        }
        self._cluster.create(event)
        key = Key(self._resource("karpenter.sh/v1", "NodeClaim"), name(claim))
        self._cluster.delete(key)
        self._end(self._cluster.get(key))

    def _condition(self, type_: str, status: str, reason: str, message: str = "") -> Manifest:
        moment = timestamp(self._clock.now())
        found = {"type": type_, "status": status, "reason": reason, "message": message}
        return {**found, "lastTransitionTime": moment}

    def _node(self, claim: Manifest) -> Key:
        return Key(self._resource("v1", "Node"), node_name(claim))

    def _resource(self, api_version: str, kind: str) -> Any:
        return self._cluster.resource(api_version, kind)


def node_name(claim: Manifest) -> str:
    return f"aks-{name(claim)}"
