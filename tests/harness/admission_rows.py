"""Quotas, LimitRanges and pods, and what the API server says of the last pod: the same in memory and for real."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kaito_laptop.core.cluster import Cluster, ClusterError, Key
from kaito_laptop.core.objects import get

Manifest = dict[str, Any]
LET_IN = "let in"
BOTH = {"cpu": "1", "memory": "4Gi"}


def quota(**hard: str) -> Manifest:
    """A ResourceQuota named q; `limits_memory` is limits.memory."""
    spec = {"hard": {_resource(key): amount for key, amount in hard.items()}}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": spec}


def limit_range(type_: str = "Container", **fields: dict[str, str]) -> Manifest:
    """A LimitRange named r."""
    spec = {"limits": [{"type": type_, **fields}]}
    return {"apiVersion": "v1", "kind": "LimitRange", "metadata": {"name": "r"}, "spec": spec}


def pod(
    name: str = "base", init: Sequence[Manifest] = (), containers: Sequence[Manifest] | None = None
) -> Manifest:
    """A pod named base."""
    spec: Manifest = {"restartPolicy": "Never"}
    if init:
        spec["initContainers"] = list(init)
    spec["containers"] = [container()] if containers is None else list(containers)
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}


def container(name: str = "base", **resources: dict[str, str]) -> Manifest:
    """A container with these requests and limits."""
    return {"name": name, "image": "x:1", **({"resources": resources} if resources else {})}


def _resource(key: str) -> str:
    return {"gpu": "requests.nvidia.com/gpu", "count_pods": "count/pods"}.get(
        key, key.replace("_", ".").replace("ephemeral.storage", "ephemeral-storage")
    )


@dataclass(frozen=True, slots=True)
class Row:
    """What is there, the pods in the order in which they come, and what the last one is answered."""

    name: str
    there: Sequence[Manifest]
    pods: Sequence[Manifest]
    says: str
    becomes: dict[str, Any] | None = None
    """Resources of the last pod's first container once it is let in."""
    used: dict[str, str] | None = None
    """What the quota has counted in the end."""

    def outcome(self, cluster: Cluster, namespace: str, soon: Callable[..., None]) -> str:
        """Try it in an empty namespace, and return what the last pod was answered.

        `soon` waits until what it is given holds.
        """
        for each in self.there:
            cluster.create({**each, "metadata": {**each["metadata"], "namespace": namespace}})
        quotas = cluster.resource("v1", "ResourceQuota")
        if any(each["kind"] == "ResourceQuota" for each in self.there):
            key = Key(quotas, "q", namespace)
            soon(lambda: get(cluster.get(key), "status", "hard") is not None)
        answer = LET_IN
        for each in self.pods:
            try:
                cluster.create({**each, "metadata": {**each["metadata"], "namespace": namespace}})
            except ClusterError as error:
                answer = error.message
            else:
                answer = LET_IN
        last = Key(cluster.resource("v1", "Pod"), self.pods[-1]["metadata"]["name"], namespace)
        if self.becomes is not None:
            found = cluster.get(last)["spec"]["containers"][0]["resources"]
            assert found == self.becomes, found
        if self.used is not None:
            soon(
                lambda: get(cluster.get(Key(quotas, "q", namespace)), "status", "used") == self.used
            )
        return answer


def full(name: str = "base", memory: str = "4Gi") -> Manifest:
    """A container that states everything."""
    amounts = {"cpu": "1", "memory": memory, "ephemeral-storage": "10Gi"}
    return container(name, requests=amounts, limits=amounts)


ROWS = (
    Row(
        "a quota on a limit that nobody states",
        [quota(limits_memory="32Gi")],
        [pod(init=[container("weights")])],
        'pods "base" is forbidden: failed quota: q: must specify limits.memory for: base,weights',
    ),
    Row(
        "a quota on all four",
        [quota(requests_cpu="8", requests_memory="32Gi", limits_cpu="8", limits_memory="32Gi")],
        [pod(containers=[container(requests={"cpu": "1"}, limits={"memory": "4Gi"})])],
        'pods "base" is forbidden: failed quota: q: must specify limits.cpu for: base',
    ),
    Row(
        "two resources that are missing",
        [quota(cpu="8", limits_memory="32Gi")],
        [pod()],
        'pods "base" is forbidden: failed quota: q: must specify cpu for: base; limits.memory for: base',
    ),
    Row(
        "one pod that is larger than the quota",
        [quota(limits_memory="32Gi")],
        [pod(containers=[full(memory="64Gi")])],
        'pods "base" is forbidden: exceeded quota: q, requested: limits.memory=64Gi, used: limits.memory=0, '
        "limited: limits.memory=32Gi",
    ),
    Row(
        "a second pod for which nothing is left",
        [quota(requests_cpu="1500m", requests_memory="6Gi", pods="10")],
        [pod("first", containers=[full()]), pod(containers=[full()])],
        'pods "base" is forbidden: exceeded quota: q, requested: requests.cpu=1,requests.memory=4Gi, '
        "used: requests.cpu=1,requests.memory=4Gi, limited: requests.cpu=1500m,requests.memory=6Gi",
        used={"pods": "1", "requests.cpu": "1", "requests.memory": "4Gi"},
    ),
    Row(
        "one pod too many",
        [quota(pods="1")],
        [pod("first"), pod()],
        'pods "base" is forbidden: exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1',
    ),
    Row(
        "one object too many",
        [quota(count_pods="1")],
        [pod("first"), pod()],
        'pods "base" is forbidden: exceeded quota: q, requested: count/pods=1, used: count/pods=1, '
        "limited: count/pods=1",
    ),
    Row(
        "too many GPUs",
        [quota(gpu="1")],
        [pod(containers=[container(limits={"nvidia.com/gpu": "2"})])],
        'pods "base" is forbidden: exceeded quota: q, requested: requests.nvidia.com/gpu=2, '
        "used: requests.nvidia.com/gpu=0, limited: requests.nvidia.com/gpu=1",
    ),
    Row(
        "disk, which need not be stated",
        [quota(requests_ephemeral_storage="5Gi")],
        [pod("silent"), pod(containers=[full()])],
        'pods "base" is forbidden: exceeded quota: q, requested: requests.ephemeral-storage=10Gi, '
        "used: requests.ephemeral-storage=0, limited: requests.ephemeral-storage=5Gi",
    ),
    Row(
        "init containers count by the largest",
        [quota(memory="8Gi", limits_memory="8Gi")],
        [pod(init=[full("weights"), full("data", "6Gi")], containers=[full()])],
        LET_IN,
        used={"memory": "6Gi", "limits.memory": "6Gi"},
    ),
    Row(
        "a limit stands for the request",
        [quota(requests_memory="8Gi")],
        [pod(containers=[container(limits={"memory": "4Gi"})])],
        LET_IN,
        becomes={"limits": {"memory": "4Gi"}, "requests": {"memory": "4Gi"}},
        used={"requests.memory": "4Gi"},
    ),
    Row(
        "a LimitRange fills in what nobody states",
        [limit_range(default={"memory": "512Mi"}, defaultRequest={"memory": "256Mi", "cpu": "100m"})],
        [pod()],
        LET_IN,
        becomes={"limits": {"memory": "512Mi"}, "requests": {"cpu": "100m", "memory": "256Mi"}},
    ),
    Row(
        "a maximum is a default",
        [limit_range(max={"memory": "512Mi"}), quota(limits_memory="1Gi")],
        [pod()],
        LET_IN,
        becomes={"limits": {"memory": "512Mi"}, "requests": {"memory": "512Mi"}},
        used={"limits.memory": "512Mi"},
    ),
    Row(
        "what is stated stays",
        [limit_range(default={"cpu": "1", "memory": "512Mi"})],
        [pod(containers=[full()])],
        LET_IN,
        becomes={"limits": full()["resources"]["limits"], "requests": full()["resources"]["requests"]},
    ),
    Row(
        "a default limit below the request",
        [limit_range(default={"memory": "512Mi"})],
        [pod(containers=[container(requests={"memory": "4Gi"})])],
        'Pod "base" is invalid: spec.containers[0].resources.requests: Invalid value: "4Gi": '
        "must be less than or equal to memory limit of 512Mi",
    ),
    Row(
        "a limit above the maximum",
        [limit_range(max={"memory": "512Mi"})],
        [pod(containers=[full()])],
        'pods "base" is forbidden: maximum memory usage per Container is 512Mi, but limit is 4Gi',
    ),
    Row(
        "a limit of an init container above the maximum",
        [limit_range(max={"memory": "4Gi"})],
        [pod(init=[full("weights", "8Gi")], containers=[full()])],
        'pods "base" is forbidden: maximum memory usage per Container is 4Gi, but limit is 8Gi',
    ),
    Row(
        "a request below the minimum",
        [limit_range(min={"cpu": "2"})],
        [pod(containers=[full()])],
        'pods "base" is forbidden: minimum cpu usage per Container is 2, but request is 1',
    ),
    Row(
        "a pod above its maximum",
        [limit_range("Pod", max={"memory": "6Gi"})],
        [pod(containers=[full("one"), full("two")])],
        'pods "base" is forbidden: maximum memory usage per Pod is 6Gi, but limit is 8Gi',
    ),
    Row(
        "a pod without the limit that has a maximum",
        [limit_range("Pod", max={"memory": "6Gi"})],
        [pod()],
        'pods "base" is forbidden: maximum memory usage per Pod is 6Gi.  No limit is specified',
    ),
    Row(
        "a limit too far above the request",
        [limit_range(maxLimitRequestRatio={"cpu": "2"})],
        [pod(containers=[container(requests={"cpu": "1"}, limits={"cpu": "3"})])],
        'pods "base" is forbidden: cpu max limit to request ratio per Container is 2, but provided ratio is 3.000000',
    ),
    Row(
        "a ratio, and nothing stated",
        [limit_range(maxLimitRequestRatio={"memory": "2"})],
        [pod()],
        'pods "base" is forbidden: memory max limit to request ratio per Container is 2, but no request is '
        "specified or request is 0",
    ),
    Row(
        "the LimitRange speaks before the quota",
        [limit_range(max={"memory": "512Mi"}), quota(limits_memory="1Gi")],
        [pod(containers=[full()])],
        'pods "base" is forbidden: maximum memory usage per Container is 512Mi, but limit is 4Gi',
    ),
)  # fmt: skip
