"""What the API server refuses, in the words in which kubectl prints it."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from kaito_laptop.core import quantities
from kaito_laptop.core.cluster import Invalid, Manifest
from kaito_laptop.core.objects import get, labels, matches, name, namespace, same

SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?")
LABEL_KEY = re.compile(
    r"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?"
)
ANNOTATION_BYTES = 262144
POD_MUTABLE = {"activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations", "nodeName"}


def refuse(manifest: Manifest, causes: Sequence[str]) -> None:
    """Raise `Invalid` with all causes, if there are any."""
    if not causes:
        return
    listed = causes[0] if len(causes) == 1 else "".join(f"\n* {cause}" for cause in causes)
    raise Invalid(f'The {manifest.get("kind")} "{name(manifest)}" is invalid: {listed}')


def quoted(value: Any) -> str:
    """Write a value as field errors do: strings in quotes, the rest as JSON."""
    return json.dumps(value, ensure_ascii=False)


def metadata_causes(manifest: Manifest) -> Iterator[str]:
    """Check names, labels and annotations of any kind."""
    metadata = manifest["metadata"]
    yield from _name_causes(manifest.get("kind", ""), name(manifest))
    for key, value in (metadata.get("labels") or {}).items():
        yield from _label_causes(f"metadata.labels.{key}", key, value)
    size = 0
    for key, value in (metadata.get("annotations") or {}).items():
        if not isinstance(value, str):
            yield f"metadata.annotations.{key}: Invalid value: {quoted(value)}: must be a string"
            continue
        size += len(key.encode()) + len(value.encode())
    if size > ANNOTATION_BYTES:
        yield f"metadata.annotations: Too long: may not be more than {ANNOTATION_BYTES} bytes"


def _name_causes(kind: str, found: str) -> Iterator[str]:
    pattern, most, what = SUBDOMAIN, 253, "a lowercase RFC 1123 subdomain"
    if kind == "Service":
        pattern, most, what = LABEL_1035, 63, "a DNS-1035 label"
    elif kind == "Namespace":
        pattern, most, what = LABEL, 63, "a lowercase RFC 1123 label"
    elif kind == "Job":
        most = 63  # The name becomes a label value of the pods.
    if not found:
        yield "metadata.name: Required value: name or generateName is required"
    elif not pattern.fullmatch(found):
        must = f"{what} must match '{pattern.pattern}'"
        yield f"metadata.name: Invalid value: {quoted(found)}: {must}"
    elif len(found) > most:
        yield f"metadata.name: Invalid value: {quoted(found)}: must be no more than {most} bytes"


def _label_causes(field: str, key: str, value: Any) -> Iterator[str]:
    if not LABEL_KEY.fullmatch(key):
        yield f"metadata.labels: Invalid value: {quoted(key)}: name part must be a qualified name"
    if not isinstance(value, str) or len(value) > 63 or not LABEL_VALUE.fullmatch(value):
        yield (
            f"{field}: Invalid value: {quoted(value)}: a valid label must be an empty string or "
            "consist of at most 63 alphanumeric characters, '-', '_' or '.', and must start and "
            "end with an alphanumeric character"
        )


def builtin_causes(manifest: Manifest, old: Manifest | None) -> Iterator[str]:
    """Check what we lean on in the spec of a built-in kind."""
    checks = _CHECKS.get(manifest["kind"])
    return iter(()) if checks is None else checks(manifest, old)


def _pod_causes(manifest: Manifest, old: Manifest | None) -> Iterator[str]:
    spec = manifest["spec"]
    yield from pod_causes(spec, "spec")
    if old is not None:
        yield from _immutable(spec, old["spec"], POD_MUTABLE)


def _config_map_causes(manifest: Manifest, _old: Manifest | None) -> Iterator[str]:
    for key, value in (manifest.get("data") or {}).items():
        if not isinstance(value, str):
            yield f"data.{key}: Invalid value: {quoted(value)}: must be a string"


def _quota_causes(manifest: Manifest, _old: Manifest | None) -> Iterator[str]:
    for field in ("scopes", "scopeSelector"):
        if get(manifest, "spec", field):
            yield f"spec.{field}: Forbidden: a quota counts all pods here; leave the scopes out"


def _workload_causes(manifest: Manifest, old: Manifest | None) -> Iterator[str]:
    spec = manifest["spec"]
    selector, template = spec.get("selector"), spec.get("template", {})
    if not selector:
        yield "spec.selector: Required value"
    elif not matches(selector, labels(template)):
        yield (
            f"spec.template.metadata.labels: Invalid value: {quoted(labels(template))}: "
            "`selector` does not match template `labels`"
        )
    yield from pod_causes(template.get("spec", {}), "spec.template.spec")
    if template.get("spec", {}).get("restartPolicy") != "Always":
        yield (
            "spec.template.spec.restartPolicy: Unsupported value: "
            f'{quoted(template["spec"].get("restartPolicy"))}: supported values: "Always"'
        )
    if old is not None and not same(selector, old["spec"].get("selector")):
        yield f"spec.selector: Invalid value: {quoted(selector)}: field is immutable"


def _job_causes(manifest: Manifest, old: Manifest | None) -> Iterator[str]:
    spec = manifest["spec"]
    template = spec.get("template", {})
    yield from pod_causes(template.get("spec", {}), "spec.template.spec")
    policy = template.get("spec", {}).get("restartPolicy")
    if policy not in ("Never", "OnFailure"):
        yield (
            "spec.template.spec.restartPolicy: Required value: valid values: "
            f'"OnFailure", "Never" (found {quoted(policy)})'
        )
    if "podFailurePolicy" in spec and policy != "Never":
        yield (
            f"spec.template.spec.restartPolicy: Invalid value: {quoted(policy)}: "
            'only "Never" is supported when podFailurePolicy is specified'
        )
    if old is not None:
        for field in ("selector", "template", "completions", "completionMode", "podFailurePolicy"):
            if not same(spec.get(field), old["spec"].get(field)):
                yield f"spec.{field}: Invalid value: {quoted(spec.get(field))}: field is immutable"


def _service_causes(manifest: Manifest, old: Manifest | None) -> Iterator[str]:
    spec = manifest["spec"]
    ports = spec.get("ports", [])
    if not ports and spec.get("clusterIP") != "None":
        yield "spec.ports: Required value"
    seen: set[tuple[Any, Any]] = set()
    for index, port in enumerate(ports):
        pair = (port.get("port"), port.get("protocol"))
        if pair in seen:
            yield f"spec.ports[{index}]: Duplicate value: {quoted(port)}"
        seen.add(pair)
        if len(ports) > 1 and not port.get("name"):
            yield f"spec.ports[{index}].name: Required value"
    if old is not None and not same(spec.get("clusterIP"), old["spec"].get("clusterIP")):
        found = quoted(spec.get("clusterIP"))
        yield f"spec.clusterIPs[0]: Invalid value: {found}: may not change once set"


def _secret_causes(manifest: Manifest, old: Manifest | None) -> Iterator[str]:
    for key, value in (manifest.get("data") or {}).items():
        try:
            base64.b64decode(value, validate=True)
        except (binascii.Error, TypeError, ValueError):
            yield f"data.{key}: Invalid value: must be base64"
    if manifest.get("type") == "kubernetes.io/dockerconfigjson" and ".dockerconfigjson" not in (
        manifest.get("data") or {}
    ):
        yield "data[.dockerconfigjson]: Required value"
    if old is not None and manifest.get("type") != old.get("type"):
        yield f"type: Invalid value: {quoted(manifest.get('type'))}: field is immutable"


def pod_causes(spec: Manifest, field: str) -> Iterator[str]:
    """Check the spec of a pod or of a template: containers, mounts, probes."""
    if not spec.get("containers"):
        yield f"{field}.containers: Required value"
    volumes = {volume.get("name") for volume in spec.get("volumes", [])}
    names: set[str] = set()
    for group in ("initContainers", "containers"):
        for index, container in enumerate(spec.get(group, [])):
            at = f"{field}.{group}[{index}]"
            found = container.get("name")
            if not found or not LABEL.fullmatch(found) or len(found) > 63:
                must = "must be a lowercase RFC 1123 label"
                yield f"{at}.name: Invalid value: {quoted(found)}: {must}"
            if found in names:
                yield f"{at}.name: Duplicate value: {quoted(found)}"
            names.add(found or "")
            if not container.get("image"):
                yield f"{at}.image: Required value"
            yield from _mount_causes(container, volumes, at)
            yield from _container_causes(container, at)


def _mount_causes(container: Manifest, volumes: set[Any], at: str) -> Iterator[str]:
    paths: set[str] = set()
    for index, mount in enumerate(container.get("volumeMounts", [])):
        if mount.get("name") not in volumes:
            yield f"{at}.volumeMounts[{index}].name: Not found: {quoted(mount.get('name'))}"
        path = mount.get("mountPath", "")
        if path in paths:
            field = f"{at}.volumeMounts[{index}].mountPath"
            yield f"{field}: Invalid value: {quoted(path)}: must be unique"
        paths.add(path)


def _container_causes(container: Manifest, at: str) -> Iterator[str]:
    for index, variable in enumerate(container.get("env", [])):
        if not isinstance(variable.get("value", ""), str):
            found = quoted(variable["value"])
            yield f"{at}.env[{index}].value: Invalid value: {found}: must be a string"
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        scheme = get(container, probe, "httpGet", "scheme", default="HTTP")
        if scheme not in ("HTTP", "HTTPS"):
            yield (
                f"{at}.{probe}.httpGet.scheme: Unsupported value: {quoted(scheme)}: "
                'supported values: "HTTP", "HTTPS"'
            )
    resources = container.get("resources", {})
    for resource, limit in resources.get("limits", {}).items():
        request = resources.get("requests", {}).get(resource)
        if request is None:
            continue
        where = f"{at}.resources.requests: Invalid value: {quoted(request)}"
        if "/" in resource and request != limit:
            yield f"{where}: must be equal to {resource} limit of {limit}"
        elif quantities.parse(request) > quantities.parse(limit):
            yield f"{where}: must be less than or equal to {resource} limit of {limit}"


def _immutable(spec: Manifest, old: Manifest, mutable: set[str]) -> Iterator[str]:
    def fixed(value: Manifest) -> Manifest:
        kept = {key: item for key, item in value.items() if key not in mutable}
        for group in ("containers", "initContainers"):
            if group in kept:
                kept[group] = [{**each, "image": ""} for each in kept[group]]
        return kept

    if not same(fixed(spec), fixed(old)):
        yield (
            "spec: Forbidden: pod updates may not change fields other than "
            "`spec.containers[*].image`, `spec.initContainers[*].image`, "
            "`spec.activeDeadlineSeconds`, `spec.tolerations` (only additions to existing "
            "tolerations), `spec.terminationGracePeriodSeconds`"
        )


def describe(manifest: Manifest) -> str:
    """Return kind, namespace and name for messages."""
    place = namespace(manifest)
    return f"{manifest.get('kind')} {place + '/' if place else ''}{name(manifest)}"


_CHECKS: Mapping[str, Callable[[Manifest, Manifest | None], Iterator[str]]] = {
    "Pod": _pod_causes,
    "Deployment": _workload_causes,
    "Job": _job_causes,
    "Service": _service_causes,
    "ConfigMap": _config_map_causes,
    "Secret": _secret_causes,
    "ResourceQuota": _quota_causes,
}
