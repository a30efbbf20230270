"""StatefulSets: pods with numbers, one after the other unless they are Parallel."""

from __future__ import annotations

from collections.abc import Sequence

from kaito_laptop.controllers.owned import Workload, fingerprint, is_active, is_ready
from kaito_laptop.core.cluster import ClusterError, Manifest
from kaito_laptop.core.objects import get, is_deleting, labels, name

HASH_LABEL = "controller-revision-hash"


class StatefulSetController(Workload):
    """Keeps pods `<name>-0` to `<name>-<n-1>` of one template."""

    api_version = "apps/v1"
    kind = "StatefulSet"
    component = "statefulset-controller"

    def reconcile(self, owner: Manifest, pods: Sequence[Manifest]) -> None:
        """Create, replace and delete pods, write the status."""
        if is_deleting(owner):
            return
        current = fingerprint(owner["spec"]["template"])
        replicas = owner["spec"]["replicas"]
        found = {name(pod): pod for pod in pods}
        names = [f"{name(owner)}-{number}" for number in range(replicas)]
        for each, pod in found.items():
            # A finished pod keeps its name from its successor.
            if each not in names or not (is_active(pod) or is_deleting(pod)):
                self._delete_pod(pod)
        parallel = owner["spec"]["podManagementPolicy"] == "Parallel"
        for number, each in enumerate(names):
            known = found.get(each)
            if known is None:
                self._create(owner, current, number)
            if not parallel and (known is None or not is_ready(known)):
                break
        else:
            self._update(owner, current, [found[each] for each in names if each in found])
        self._write_status(owner, self._status(owner, current, pods))

    def _create(self, owner: Manifest, current: str, number: int) -> None:
        pod = f"{name(owner)}-{number}"
        template = owner["spec"]["template"]
        spec = {
            **template["spec"],
            "hostname": pod,
            "subdomain": owner["spec"].get("serviceName", ""),
        }
        found = {
            HASH_LABEL: current,
            "statefulset.kubernetes.io/pod-name": pod,
            "apps.kubernetes.io/pod-index": str(number),
        }
        self._create_pod(owner, {**template, "spec": spec}, found, name=pod)

    def _refused(self, owner: Manifest, pod: Manifest, error: ClusterError) -> str:
        return f"create Pod {name(pod)} in StatefulSet {name(owner)} failed error: {error.message}"

    def _update(self, owner: Manifest, current: str, pods: Sequence[Manifest]) -> None:
        """Replace one pod of an older template, from the highest number down."""
        if owner["spec"]["updateStrategy"]["type"] != "RollingUpdate":
            return
        partition = get(owner, "spec", "updateStrategy", "rollingUpdate", "partition", default=0)
        for pod in reversed(pods[partition:]):
            if labels(pod).get(HASH_LABEL) != current:
                self._delete_pod(pod)
                return
            if not is_ready(pod):
                return

    def _status(self, owner: Manifest, current: str, pods: Sequence[Manifest]) -> Manifest:
        active = [pod for pod in pods if is_active(pod)]
        ready = sum(map(is_ready, active))
        updated = sum(labels(pod).get(HASH_LABEL) == current for pod in active)
        counts = {"readyReplicas": ready, "currentReplicas": updated, "updatedReplicas": updated}
        return {
            "observedGeneration": owner["metadata"]["generation"],
            "replicas": len(active),
            "availableReplicas": ready,
            "collisionCount": 0,
            "currentRevision": f"{name(owner)}-{current}",
            "updateRevision": f"{name(owner)}-{current}",
            **{field: number for field, number in counts.items() if number},
        }
