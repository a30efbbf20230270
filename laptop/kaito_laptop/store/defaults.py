"""Fields that the API server fills in for built-in kinds when nobody wrote them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kaito_laptop.core.cluster import Manifest


def pod_spec(spec: Manifest) -> None:
    """Fill in the spec of a pod or of a pod template."""
    spec.setdefault("restartPolicy", "Always")
    spec.setdefault("terminationGracePeriodSeconds", 30)
    spec.setdefault("dnsPolicy", "ClusterFirst")
    spec.setdefault("schedulerName", "default-scheduler")
    spec.setdefault("securityContext", {})
    if "serviceAccountName" in spec:
        spec.setdefault("serviceAccount", spec["serviceAccountName"])
    for container in [*spec.get("initContainers", []), *spec.get("containers", [])]:
        _container(container)
    for volume in spec.get("volumes", []):
        _volume(volume)


def _container(container: Manifest) -> None:
    container.setdefault("terminationMessagePath", "/dev/termination-log")
    container.setdefault("terminationMessagePolicy", "File")
    container.setdefault("imagePullPolicy", _pull_policy(container.get("image", "")))
    container.setdefault("resources", {})
    for port in container.get("ports", []):
        port.setdefault("protocol", "TCP")
    for variable in container.get("env", []):
        _field_reference(variable.get("valueFrom", {}))
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if probe in container:
            _probe(container[probe])
    for handler in container.get("lifecycle", {}).values():
        _http_get(handler)


def _pull_policy(image: str) -> str:
    tag = image.rpartition("/")[2].partition(":")[2]
    return "Always" if tag == "latest" or (not tag and "@" not in image) else "IfNotPresent"


def _probe(probe: Manifest) -> None:
    probe.setdefault("timeoutSeconds", 1)
    probe.setdefault("periodSeconds", 10)
    probe.setdefault("successThreshold", 1)
    probe.setdefault("failureThreshold", 3)
    _http_get(probe)


def _http_get(handler: Manifest) -> None:
    if "httpGet" in handler:
        handler["httpGet"].setdefault("path", "/")
        handler["httpGet"].setdefault("scheme", "HTTP")


def _field_reference(source: Manifest) -> None:
    if "fieldRef" in source:
        source["fieldRef"].setdefault("apiVersion", "v1")


def _volume(volume: Manifest) -> None:
    if len(volume) == 1:
        volume["emptyDir"] = {}
    for kind in ("secret", "configMap", "projected", "downwardAPI"):
        if kind in volume:
            volume[kind].setdefault("defaultMode", 0o644)
    if "hostPath" in volume:
        volume["hostPath"].setdefault("type", "")
    if "image" in volume:
        volume["image"].setdefault("pullPolicy", _pull_policy(volume["image"].get("reference", "")))
    sources = [volume.get("downwardAPI", {})]
    for source in volume.get("projected", {}).get("sources", []):
        sources.append(source.get("downwardAPI", {}))
        if "serviceAccountToken" in source:
            source["serviceAccountToken"].setdefault("expirationSeconds", 3600)
    for source in sources:
        for item in source.get("items", []):
            _field_reference(item)


def pod(manifest: Manifest) -> None:
    """Fill in a pod; some defaults do not hold for templates."""
    spec = manifest["spec"]
    pod_spec(spec)
    spec.setdefault("enableServiceLinks", True)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")
    spec.setdefault("priority", 0)
    for container in [*spec.get("initContainers", []), *spec.get("containers", [])]:
        resources = container["resources"]
        if "limits" in resources:
            resources["requests"] = {**resources["limits"], **resources.get("requests", {})}
    manifest.setdefault("status", {"phase": "Pending"})


def deployment(manifest: Manifest) -> None:
    """Fill in a Deployment."""
    spec = manifest["spec"]
    spec.setdefault("replicas", 1)
    strategy = spec.setdefault("strategy", {})
    if strategy.setdefault("type", "RollingUpdate") == "RollingUpdate":
        rolling = strategy.setdefault("rollingUpdate", {})
        rolling.setdefault("maxSurge", "25%")
        rolling.setdefault("maxUnavailable", "25%")
    spec.setdefault("revisionHistoryLimit", 10)
    spec.setdefault("progressDeadlineSeconds", 600)
    pod_spec(spec["template"]["spec"])


def job(manifest: Manifest) -> None:
    """Fill in a Job; its selector and template labels carry its own uid."""
    spec, metadata = manifest["spec"], manifest["metadata"]
    if "completions" not in spec and "parallelism" not in spec:
        spec["completions"] = 1
    spec.setdefault("parallelism", 1)
    spec.setdefault("backoffLimit", 6)
    spec.setdefault("completionMode", "NonIndexed")
    spec.setdefault("suspend", False)
    spec.setdefault("manualSelector", False)
    policy = spec.get("podFailurePolicy")
    spec.setdefault("podReplacementPolicy", "Failed" if policy else "TerminatingOrFailed")
    for rule in (policy or {}).get("rules", []):
        for pattern in rule.get("onPodConditions", []):
            pattern.setdefault("status", "True")
    template = spec["template"]
    if not spec["manualSelector"] and "selector" not in spec:
        prefix = "batch.kubernetes.io/"
        spec["selector"] = {"matchLabels": {f"{prefix}controller-uid": metadata["uid"]}}
        template.setdefault("metadata", {}).setdefault("labels", {}).update(
            {
                f"{prefix}controller-uid": metadata["uid"],
                f"{prefix}job-name": metadata["name"],
                "controller-uid": metadata["uid"],
                "job-name": metadata["name"],
            }
        )
    pod_spec(template["spec"])


def service(manifest: Manifest) -> None:
    """Fill in a Service; the store allocates its address."""
    spec: dict[str, Any] = manifest.setdefault("spec", {})
    kind = spec.setdefault("type", "ClusterIP")
    spec.setdefault("sessionAffinity", "None")
    for port in spec.get("ports", []):
        port.setdefault("protocol", "TCP")
        port.setdefault("targetPort", port.get("port"))
    if kind != "ExternalName":
        spec.setdefault("internalTrafficPolicy", "Cluster")
        spec.setdefault("ipFamilies", ["IPv4"])
        spec.setdefault("ipFamilyPolicy", "SingleStack")
    if kind in ("LoadBalancer", "NodePort"):
        spec.setdefault("externalTrafficPolicy", "Cluster")
    if kind == "LoadBalancer":
        spec.setdefault("allocateLoadBalancerNodePorts", True)
    manifest.setdefault("status", {"loadBalancer": {}})


def secret(manifest: Manifest) -> None:
    """Fill in a Secret."""
    manifest.setdefault("type", "Opaque")


def limit_range(manifest: Manifest) -> None:
    """Fill in a LimitRange: a maximum is the limit, a limit the request, of a container that says nothing."""
    for item in manifest["spec"].get("limits", []):
        if item.get("type") == "Container":
            item["default"] = {**item.get("max", {}), **item.get("default", {})}
            known = {**item.get("min", {}), **item["default"], **item.get("defaultRequest", {})}
            item["defaultRequest"] = known
            for field in ("default", "defaultRequest"):
                if not item[field]:
                    del item[field]


def namespace(manifest: Manifest) -> None:
    """Fill in a Namespace."""
    metadata = manifest["metadata"]
    metadata.setdefault("labels", {})["kubernetes.io/metadata.name"] = metadata["name"]
    manifest.setdefault("spec", {"finalizers": ["kubernetes"]})
    manifest.setdefault("status", {"phase": "Active"})


DEFAULTS: dict[str, Callable[[Manifest], None]] = {
    "Pod": pod,
    "Deployment": deployment,
    "Job": job,
    "Service": service,
    "Secret": secret,
    "LimitRange": limit_range,
    "Namespace": namespace,
}
