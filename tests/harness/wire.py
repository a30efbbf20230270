"""The wire contract with Metacontroller 4.17.2, checked on every request and answer of every test.

The numbers name the rows of docs/metacontroller-contract.md; each assertion says its rule in a word or two. What
breaks one makes Metacontroller fail the sync, loop, delete children, or die.
"""

from __future__ import annotations

import json
import re
from functools import cache, lru_cache
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from kaito_laptop.core import quantities

from tests.harness.kubectl_grammar import commands_in, flaw

ROOT = Path(__file__).parents[2]
FORBIDDEN_METADATA = {
    "uid",
    "resourceVersion",
    "generation",
    "creationTimestamp",
    "deletionTimestamp",
    "managedFields",
    "ownerReferences",
    "selfLink",
    "finalizers",
    "generateName",
}
FORBIDDEN_PREFIXES = (
    "metacontroller.k8s.io/",
    "argocd.argoproj.io/",
    "kubectl.kubernetes.io/",
    "kustomize.toolkit",
)
SUBDOMAIN = re.compile(r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$")
LABEL_VALUE = re.compile(r"^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$")
REMEMBERED = 4096
"""Children and statuses that were right: a story answers with the same ones again and again."""
QUANTITY = re.compile(r"^(0|[1-9][0-9]*)(m|Ki|Mi|Gi|Ti)?$")


def check(route: str, request: dict[str, Any], status: int, body: bytes) -> None:
    """Raise AssertionError naming the row that an answer breaks."""
    assert status == 200, f"C01 {route} answered {status}: {body[:300]!r}"
    answer = json.loads(body, object_pairs_hook=_no_duplicates, parse_constant=_no_constants)
    assert isinstance(answer, dict), "C02 the answer is an object"
    if route.endswith("/customize"):
        _check_customize(answer)
    else:
        _check_sync(route, request, answer)


def _check_customize(answer: dict[str, Any]) -> None:
    assert set(answer) == {"relatedResources"}, "C03"
    for rule in answer["relatedResources"]:
        assert set(rule) <= {"apiVersion", "resource", "labelSelector", "namespace", "names"}, (
            f"C68 {rule}"
        )
        assert rule["resource"] == rule["resource"].lower(), f"C68 {rule}"
        assert rule["resource"] != "secrets", "no Secret is ever related"
        selector = rule.get("labelSelector")
        if rule["resource"] in ("resourcequotas", "limitranges"):
            assert rule["namespace"], f"C68 of one namespace only: {rule}"
            continue
        assert bool(rule.get("names")) != bool(selector), f"C68 bare rule or both: {rule}"
        if selector:
            assert selector.get("matchLabels") or selector.get("matchExpressions"), (
                f"C68 bare rule: {rule}"
            )


def _check_sync(route: str, request: dict[str, Any], answer: dict[str, Any]) -> None:
    known = {"status", "children", "resyncAfterSeconds", "finalized"}
    assert set(answer) <= known, f"C03 C04 unknown fields {set(answer) - known}"
    assert isinstance(answer.get("children"), list), "C05"
    assert isinstance(answer.get("status"), dict), "C40"
    resync = answer.get("resyncAfterSeconds", 0)
    assert not isinstance(resync, bool), "C53"
    assert isinstance(resync, int | float), "C53"
    assert resync == 0 or resync >= 1, f"C53 {resync}"
    if route.endswith("/sync"):
        assert answer.get("finalized") is not True, "C46"
    else:
        assert isinstance(answer.get("finalized"), bool), "C47"
        observed = [child for group in request["children"].values() for child in group.values()]
        if answer["finalized"]:
            assert not observed, "C47 finalized while children remain"
        else:
            assert resync >= 5, "C50"
    kind = request["parent"]["kind"]
    namespace = request["parent"]["metadata"]["namespace"]
    seen = set()
    for child in answer["children"]:
        assert isinstance(child, dict), "C06 null child"
        key = (child["kind"], child["metadata"]["name"])
        assert key not in seen, f"C10 twice: {key}"
        seen.add(key)
        _check_child(kind, namespace, json.dumps(child))
    _check_status(kind, json.dumps(answer["status"]))


@lru_cache(REMEMBERED)
def _check_child(parent_kind: str, namespace: str, text: str) -> None:
    child = json.loads(text)
    where = f"{child.get('kind')}/{child.get('metadata', {}).get('name')}"
    assert child["apiVersion"], f"C07 {where}"
    assert child["kind"], f"C07 {where}"
    metadata = child["metadata"]
    assert SUBDOMAIN.match(metadata["name"]), f"C08 {where}"
    assert len(metadata["name"]) <= 63, f"C08 {where}"
    assert (child["apiVersion"], child["kind"]) in child_kinds(parent_kind), f"C11 {where}"
    assert metadata.get("namespace", namespace) == namespace, f"C12 {where}"
    assert not FORBIDDEN_METADATA & set(metadata), (
        f"C16 {where}: {FORBIDDEN_METADATA & set(metadata)}"
    )
    assert "status" not in child, f"C17 {where}"
    for key, value in metadata.get("annotations", {}).items():
        assert isinstance(value, str), f"C13 {where} {key}"
        assert not key.startswith(FORBIDDEN_PREFIXES), f"C17 {where} {key}"
    for key, value in metadata.get("labels", {}).items():
        assert isinstance(value, str), f"C13 {where} {key}"
        assert len(value) <= 63, f"C13 {where} {key}={value}"
        assert LABEL_VALUE.match(value), f"C13 {where} {key}={value}"
        assert key != "controller-uid", f"C14 {where}"
    assert len(json.dumps(child)) < 200 * 1024, f"C24 {where}"
    if child["kind"] == "Secret":
        assert "stringData" not in child, f"C25 {where}"
        assert ".dockerconfigjson" not in child.get("data", {}), f"C25 {where}"
        assert all(isinstance(value, str) for value in child.get("data", {}).values()), (
            f"C13 {where}"
        )
    _check_values(child.get("spec"), where)
    template = child.get("spec", {}).get("template")
    if template:
        assert "controller-uid" not in template["metadata"].get("labels", {}), f"C14 {where}"
        selector = child["spec"].get("selector", {}).get("matchLabels", {})
        assert selector.items() <= template["metadata"]["labels"].items(), f"C15 {where}"
        check_pod(template["spec"], where)
        check_amounts(template["spec"], where)


def check_amounts(spec: dict[str, Any], where: str) -> None:
    """A quota or a LimitRange of the namespace finds every figure, and no folder of the pod grows without end."""
    for container in [*spec.get("initContainers", ()), *spec["containers"]]:
        requests, limits = (container["resources"][key] for key in ("requests", "limits"))
        for name in ("cpu", "memory", "ephemeral-storage"):
            assert quantities.parse(limits[name]) >= quantities.parse(requests[name]) > 0, (
                f"{where}/{container['name']} {name}"
            )
    for volume in spec.get("volumes", ()):
        if "emptyDir" in volume:
            size = volume["emptyDir"]["sizeLimit"]
            assert size == quantities.canonical(size), f"C20 {where} {volume}"


def _check_values(value: Any, where: str) -> None:
    if isinstance(value, dict):
        for key, item in value.items():
            assert item is not None, f"C18 {where}.{key} is null"
            assert item not in ([], "") or key == "value", f"C18 {where}.{key} is empty"
            assert item != {}, f"C18 {where}.{key} is empty"
            if key in ("requests", "limits"):
                for name, amount in item.items():
                    assert isinstance(amount, str), f"C20 {where}.{key}.{name}"
                    assert QUANTITY.match(amount), f"C20 {where}.{key}.{name}={amount}"
                    canonical = quantities.canonical(amount)
                    assert amount == canonical, f"C20 {where}.{key}.{name}={amount}"
            _check_values(item, f"{where}.{key}")
    elif isinstance(value, list):
        for key in ("containerPort", "port", "mountPath", "name"):
            found = [item[key] for item in value if isinstance(item, dict) and key in item]
            assert len(found) == len(set(found)), f"C22 {where}: {key} twice in {found}"
        for index, item in enumerate(value):
            assert item is not None, f"C18 {where}[{index}] is null"
            _check_values(item, f"{where}[{index}]")
    else:
        assert not isinstance(value, float), f"C19 {where} is the float {value}"


def check_pod(spec: dict[str, Any], where: str) -> None:
    """The restricted profile of the Pod Security Standards, and no token of the API server."""
    assert spec.get("automountServiceAccountToken") is False, where
    security = spec["securityContext"]
    assert security["runAsNonRoot"] is True, where
    assert security["runAsUser"] != 0, where
    assert security["seccompProfile"]["type"] in ("RuntimeDefault", "Localhost"), where
    for host in ("hostNetwork", "hostPID", "hostIPC"):
        assert not spec.get(host), f"{where} {host}"
    for volume in spec.get("volumes", ()):
        source = set(volume) - {"name"}
        assert source <= {
            "emptyDir",
            "secret",
            "configMap",
            "projected",
            "persistentVolumeClaim",
            "image",
            "csi",
        }, f"{where} volume {volume}"
    names = {volume["name"] for volume in spec.get("volumes", ())}
    for container in [*spec.get("initContainers", ()), *spec["containers"]]:
        own = container["securityContext"]
        assert own["allowPrivilegeEscalation"] is False, f"{where}/{container['name']}"
        assert own["readOnlyRootFilesystem"] is True, f"{where}/{container['name']}"
        assert own["capabilities"] == {"drop": ["ALL"]}, f"{where}/{container['name']}"
        assert {mount["name"] for mount in container["volumeMounts"]} <= names, (
            f"{where}/{container['name']}"
        )
        for variable in container.get("env", ()):
            assert variable.get("value") or variable.get("valueFrom"), f"C21 {where} {variable}"


@lru_cache(REMEMBERED)
def _check_status(kind: str, text: str) -> None:
    status = json.loads(text)
    assert "observedGeneration" not in status, "C42"
    problems = [problem.message for problem in status_validator(kind).iter_errors(status)]
    assert not problems, f"C41 {problems}"
    conditions = status["conditions"]
    for condition in conditions:
        for command in commands_in(condition.get("message", "")):
            assert not flaw(command), f"{flaw(command)}: {command}"
    types = [condition["type"] for condition in conditions]
    assert len(types) == len(set(types)), f"C45 {types}"
    assert "Ready" in types, "C45"
    by_type = {condition["type"]: condition for condition in conditions}
    abnormal = {"Reconciling", "Stalled"} & set(types)
    assert all(by_type[type_]["status"] == "True" for type_ in abnormal), "abnormal-true"
    if by_type["Ready"]["status"] == "True":
        assert not abnormal, "Ready is neither Reconciling nor Stalled"
    else:
        assert len(abnormal) == 1, f"a Workspace that is not Ready says why: {types}"
        assert by_type["Ready"]["message"], "says what it waits for"


@cache
def child_kinds(parent_kind: str) -> frozenset[tuple[str, str]]:
    """(apiVersion, kind) of the children that our manifests let Metacontroller manage."""
    kinds = {
        "machines": "Machine",
        "jobs": "Job",
        "deployments": "Deployment",
        "services": "Service",
        "secrets": "Secret",
    }
    for path in (ROOT / "manifests/base").glob("*/controller.yaml"):
        controller = yaml.safe_load(path.read_text())
        if controller["spec"]["parentResource"]["resource"] == parent_kind.lower() + "s":
            children = controller["spec"].get("childResources", ())
            return frozenset((child["apiVersion"], kinds[child["resource"]]) for child in children)
    raise AssertionError(f"no CompositeController for {parent_kind}")


@cache
def status_validator(kind: str) -> jsonschema.Draft202012Validator:
    """The CRD's schema of status, closed: what it does not name would be pruned and rewritten for ever."""
    crd = yaml.safe_load((ROOT / f"crds/kaito.sh_{kind.lower()}s.yaml").read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    return jsonschema.Draft202012Validator(_closed(schema))


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items()}
    if (
        "properties" in closed
        and "additionalProperties" not in closed
        and closed.get("type") == "object"
    ):
        closed["additionalProperties"] = False
    if closed.pop("x-kubernetes-int-or-string", False):
        closed.pop("type", None)
    return closed


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    assert len(found) == len(pairs), f"C02 duplicate keys in {[key for key, _ in pairs]}"
    return found


def _no_constants(name: str) -> None:
    raise AssertionError(f"C02 {name} is no JSON")
