"""CompositeControllers behave as Metacontroller 4.17.2 was measured to."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kaito_laptop.controllers.garbage import GarbageCollector
from kaito_laptop.core.cluster import Manifest
from kaito_laptop.metacontroller.answers import MetacontrollerCrashedError
from kaito_laptop.metacontroller.hooks import HookAnswer

from tests.harness.metacontroller_fixture import MetacontrollerFixture, composite, definition

CONFIG_MAPS = [("v1", "configmaps", "InPlace")]
FINALIZER = "metacontroller.io/compositecontroller-workspace-controller"


def config_map(name: str = "c", data: Any = None, **metadata: Any) -> Any:
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": name, **metadata},
        "data": data or {"a": "b"},
    }


def fixture_with(
    children: Any = CONFIG_MAPS,
    sync: Any = None,
    hooks: Any = ("sync",),
    fixture: Any = None,
    **spec: Any,
) -> Any:
    fixture = fixture or MetacontrollerFixture()
    answer = sync or (lambda request: {"children": [config_map()]})
    fixture.hooks.on.setdefault("/sync", answer if callable(answer) else lambda request: answer)
    fixture.cluster.create(composite(children, hooks, **spec))
    fixture.event_loop.settle()
    return fixture


def started(*args: Any, **kwargs: Any) -> Any:
    fixture = fixture_with(*args, **kwargs)
    fixture.workspace()
    fixture.event_loop.settle()
    return fixture


def children(fixture: MetacontrollerFixture, kind: str = "ConfigMap", api: str = "v1") -> Any:
    return [each["metadata"]["name"] for each in fixture.list(api, kind)]


def test_a_child_is_created_with_owner_label_and_memory_of_what_was_asked() -> None:
    fixture = started()
    child, parent = (
        fixture.get("v1", "ConfigMap", "c"),
        fixture.get("kaito.sh/v1alpha1", "Workspace", "w"),
    )
    owner = child["metadata"]["ownerReferences"][0]
    assert (owner["uid"], owner["controller"], owner["blockOwnerDeletion"]) == (
        parent["metadata"]["uid"],
        True,
        True,
    )
    assert child["metadata"]["labels"] == {"controller-uid": parent["metadata"]["uid"]}
    assert parent["status"] == {"observedGeneration": 1}


def test_a_settled_parent_costs_no_write() -> None:
    fixture = started(sync={"children": [config_map()], "status": {"phase": "x"}})
    fixture.count_writes()
    fixture.cluster.update_status(
        {**fixture.get("kaito.sh/v1alpha1", "Workspace", "w"), "status": {"phase": "y"}}
    )
    fixture.event_loop.settle()
    assert [each.object["status"]["phase"] for each in fixture.writes] == ["y", "x"]


def test_a_child_that_is_no_longer_declared_is_deleted() -> None:
    wanted = [config_map("a"), config_map("b")]
    fixture = started(sync=lambda request: {"children": wanted})
    del wanted[0]
    fixture.cluster.update({**fixture.get("kaito.sh/v1alpha1", "Workspace", "w"), "x": 1})
    fixture.event_loop.settle()
    assert children(fixture) == ["b"]


@pytest.mark.parametrize("answer", [b"null", b"{}", b'{"Children": []}'])
def test_an_empty_answer_deletes_all_children(answer: Any) -> None:
    answers = [{"children": [config_map()]}, {"children": [config_map()]}]
    fixture = started(
        sync=lambda request: answers.pop() if answers else answer,
        **({"version": "v1"} if b"Children" in answer else {}),
    )
    fixture.cluster.update({**fixture.get("kaito.sh/v1alpha1", "Workspace", "w"), "x": 1})
    fixture.event_loop.settle()
    assert children(fixture) == []


def test_a_null_child_ends_the_process_of_metacontroller() -> None:
    with pytest.raises(MetacontrollerCrashedError, match="null"):
        started(sync={"children": [None]})


UNREADABLE = {
    "empty": b"",
    "not JSON": b"<html>",
    "NaN": b'{"status": {"a": NaN}}',
    "a list": b"[]",
    "trailing text": b"{} x",
    "children as a map": b'{"children": {"a": 1}}',
    "a string as a child": b'{"children": ["a"]}',
    "a child without kind": b'{"children": [{"metadata": {"name": "a"}}]}',
    "resync as text": b'{"resyncAfterSeconds": "5"}',
    "unknown field": b'{"childern": []}',
    "the same field twice": b'{"status": {}, "status": {}}',
}


@pytest.mark.parametrize("answer", UNREADABLE.values(), ids=UNREADABLE)
def test_an_answer_that_cannot_be_read_changes_nothing_and_is_told(answer: Any) -> None:
    fixture = started(sync=lambda request: answer)
    assert "status" not in fixture.get("kaito.sh/v1alpha1", "Workspace", "w")
    assert fixture.events()[0]["message"].startswith("Sync error: sync hook failed for Workspace")


@pytest.mark.parametrize("status", [201, 204, 302, 400, 404, 500, 503])
def test_only_200_is_a_success(status: Any) -> None:
    fixture = started(sync=lambda request: HookAnswer(status, {}, b'{"children": []}'))
    assert f"status {status}" in fixture.events()[0]["message"]
    fixture.event_loop.advance(1)
    gaps = len(fixture.hooks.calls)
    assert 7 <= gaps <= 9  # 5, 10, 20, 40 ... ms


def test_too_many_requests_comes_back_when_the_hook_says() -> None:
    times = []

    def sync(request: Any) -> Any:
        times.append(fixture.event_loop.clock.seconds())
        return HookAnswer(429, {"retry-after": "7"}, b"")

    fixture = MetacontrollerFixture()
    fixture.hooks.on["/sync"] = sync
    started(fixture=fixture)
    fixture.event_loop.advance(20)
    assert times == [0, 7, 14]
    assert fixture.events() == []


def test_a_change_of_the_parent_does_not_wait_for_the_back_off() -> None:
    fixture = started(sync=lambda request: HookAnswer(500, {}, b""))
    fixture.event_loop.advance(100)
    calls = len(fixture.hooks.calls)
    fixture.cluster.update({**fixture.get("kaito.sh/v1alpha1", "Workspace", "w"), "x": 1})
    fixture.event_loop.settle()
    assert len(fixture.hooks.calls) == calls + 1


def test_resync_after_seconds_asks_again() -> None:
    times = []

    def sync(request: Any) -> Any:
        times.append(fixture.event_loop.clock.seconds())
        return {"children": [], "resyncAfterSeconds": 0.5}

    fixture = MetacontrollerFixture()
    fixture.hooks.on["/sync"] = sync
    started(fixture=fixture)
    fixture.event_loop.advance(1.6)
    assert [each for each in times if each] == [0.5, 1.0, 1.5]


def test_many_edits_while_nothing_runs_are_one_call() -> None:
    fixture = started()
    fixture.hooks.calls.clear()
    for number in range(50):
        fixture.cluster.update({**fixture.get("kaito.sh/v1alpha1", "Workspace", "w"), "x": number})
    fixture.event_loop.settle()
    assert len(fixture.hooks.calls) <= 2


def test_every_parent_is_asked_about_again_after_the_resync_period() -> None:
    fixture = started(resyncPeriodSeconds=60)
    fixture.hooks.calls.clear()
    fixture.event_loop.advance(130)
    assert len(fixture.hooks.calls) == 2


def test_an_object_of_somebody_else_is_passed_over_in_silence() -> None:
    fixture = MetacontrollerFixture()
    fixture.cluster.create(config_map("c", {"mine": "yes"}))
    started(fixture=fixture, sync={"children": [config_map()], "status": {"phase": "x"}})
    assert fixture.get("v1", "ConfigMap", "c")["data"] == {"mine": "yes"}
    assert fixture.get("kaito.sh/v1alpha1", "Workspace", "w")["status"]["phase"] == "x"
    assert fixture.events() == []


def test_one_refused_child_does_not_stop_the_others_or_the_status() -> None:
    wanted = [config_map("Bad"), config_map("good")]
    fixture = started(sync=lambda request: {"children": wanted, "status": {"phase": "x"}})
    assert children(fixture) == ["good"]
    assert fixture.get("kaito.sh/v1alpha1", "Workspace", "w")["status"]["phase"] == "x"
    assert "Bad" in fixture.events()[0]["message"]


def test_a_namespaced_parent_never_sees_a_cluster_scoped_child() -> None:
    fixture = MetacontrollerFixture()
    fixture.cluster.create(definition("Claim", "claims", namespaced=False))
    GarbageCollector(fixture.cluster, fixture.event_loop)
    wanted = [{"apiVersion": "kaito.sh/v1alpha1", "kind": "Claim", "metadata": {"name": "n"}}]
    fixture_with(
        [("kaito.sh/v1alpha1", "claims", "InPlace")],
        lambda request: {"children": wanted},
        fixture=fixture,
    )
    fixture.workspace()
    fixture.event_loop.settle()
    assert children(fixture, "Claim", "kaito.sh/v1alpha1") == ["n"]
    assert all(
        not each["children"]["Claim.kaito.sh/v1alpha1"] for each in fixture.hooks.bodies("/sync")
    )
    wanted.clear()
    fixture.cluster.delete(fixture.key("kaito.sh/v1alpha1", "Workspace", "w"))
    fixture.event_loop.settle()
    assert children(fixture, "Claim", "kaito.sh/v1alpha1") == ["n"]


def test_a_child_in_another_namespace_is_collected_and_made_again() -> None:
    fixture = MetacontrollerFixture()
    GarbageCollector(fixture.cluster, fixture.event_loop)
    answers = iter([{"children": [config_map("c", namespace="kube-system")]}] * 3)
    started(fixture=fixture, sync=lambda request: next(answers, {"children": []}))
    fixture.event_loop.settle()
    assert children(fixture) == []


def test_on_delete_never_updates() -> None:
    wanted = {"children": [config_map(data={"a": "1"})]}
    fixture = started([("v1", "configmaps", "OnDelete")], lambda request: wanted)
    wanted["children"] = [config_map(data={"a": "2"})]
    fixture.cluster.update({**fixture.get("kaito.sh/v1alpha1", "Workspace", "w"), "x": 1})
    fixture.event_loop.settle()
    assert fixture.get("v1", "ConfigMap", "c")["data"] == {"a": "1"}
    fixture.cluster.delete(fixture.key("v1", "ConfigMap", "c"))
    fixture.event_loop.settle()
    assert fixture.get("v1", "ConfigMap", "c")["data"] == {"a": "2"}


@pytest.mark.parametrize("method", ["Recreate", "RollingInPlace", "RollingRecreate"])
def test_update_methods_that_nobody_should_use_are_refused_clearly(method: Any) -> None:
    fixture = fixture_with([("v1", "configmaps", method)])
    message = fixture.events("CreateError")[0]["message"]
    assert f"'{method}' of configmaps is not supported here" in message


def test_a_controller_waits_for_its_kinds() -> None:
    fixture = fixture_with([("kaito.sh/v1alpha1", "widgets", "OnDelete")])
    assert "can't find resource widgets" in fixture.events("CreateError")[0]["message"]
    fixture.workspace()
    fixture.cluster.create(definition("Widget", "widgets"))
    fixture.event_loop.advance(60)
    assert fixture.hooks.calls


def test_an_orphan_with_our_label_is_adopted_and_then_deleted_if_nobody_declares_it() -> None:
    fixture = started(sync={"children": []})
    parent = fixture.get("kaito.sh/v1alpha1", "Workspace", "w")["metadata"]["uid"]
    seen = len(fixture.hooks.calls)
    fixture.cluster.create(config_map("stray", labels={"controller-uid": parent}))
    fixture.event_loop.settle()
    assert fixture.hooks.bodies("/sync")[seen]["children"]["ConfigMap.v1"].keys() == {
        "default/stray"
    }
    assert children(fixture) == []


def test_a_child_that_loses_its_label_is_released() -> None:
    fixture = started()
    child = fixture.get("v1", "ConfigMap", "c")
    child["metadata"]["labels"] = {}
    fixture.cluster.update(child)
    fixture.event_loop.settle()
    assert not fixture.get("v1", "ConfigMap", "c")["metadata"].get("ownerReferences")


def test_a_child_that_is_being_deleted_is_left_alone_and_made_again() -> None:
    fixture = started(sync={"children": [config_map(finalizers=["x/y"])]})
    fixture.cluster.delete(fixture.key("v1", "ConfigMap", "c"))
    fixture.event_loop.settle()
    held = fixture.get("v1", "ConfigMap", "c")
    held["metadata"]["finalizers"] = []
    fixture.cluster.update(held)
    fixture.event_loop.settle()
    assert "deletionTimestamp" not in fixture.get("v1", "ConfigMap", "c")["metadata"]


def test_the_finalizer_is_there_before_the_first_call_and_goes_with_the_last() -> None:
    answers = {"finalized": False}
    fixture = MetacontrollerFixture()
    fixture.hooks.on["/fin"] = lambda request: dict(answers)
    started(fixture=fixture, hooks=("sync", "finalize"), sync={"children": []})
    assert fixture.hooks.bodies("/sync")[0]["parent"]["metadata"]["finalizers"] == [FINALIZER]
    fixture.cluster.delete(fixture.key("kaito.sh/v1alpha1", "Workspace", "w"))
    fixture.event_loop.settle()
    assert fixture.hooks.bodies("/fin")[0]["finalizing"] is True
    assert fixture.list("kaito.sh/v1alpha1", "Workspace")
    answers["finalized"] = True
    fixture.event_loop.advance(1900)
    assert fixture.list("kaito.sh/v1alpha1", "Workspace") == []


def test_parents_keep_their_finalizer_when_the_controller_goes_first() -> None:
    fixture = MetacontrollerFixture()
    fixture.hooks.on["/fin"] = lambda request: {"finalized": True}
    started(fixture=fixture, hooks=("sync", "finalize"), sync={"children": []})
    api = "metacontroller.k8s.io/v1alpha1"
    fixture.cluster.delete(fixture.key(api, "CompositeController", "workspace-controller"))
    fixture.cluster.delete(fixture.key("kaito.sh/v1alpha1", "Workspace", "w"))
    fixture.event_loop.advance(5000)
    assert fixture.get("kaito.sh/v1alpha1", "Workspace", "w")["metadata"]["finalizers"] == [
        FINALIZER
    ]


def related_lab(version: str, rule: Any, **spec: Any) -> Any:
    fixture = MetacontrollerFixture()
    rules = rule if isinstance(rule, list) else [rule]
    fixture.hooks.on["/cust"] = lambda request: {"relatedResources": rules}
    started(
        fixture=fixture, hooks=("sync", "customize"), sync={"children": []}, version=version, **spec
    )
    return fixture


NODES = {"apiVersion": "v1", "resource": "nodes", "labelSelector": {"matchLabels": {"pool": "a"}}}


def node(fixture: MetacontrollerFixture, name: str = "n", **labels: Any) -> None:
    fixture.cluster.create(
        {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
    )
    fixture.event_loop.settle()


@pytest.mark.parametrize(("version", "seen"), [("v1", []), ("v2", ["n"])])
def test_nodes_reach_a_namespaced_parent_from_version_two_on(version: Any, seen: Any) -> None:
    fixture = related_lab(version, NODES)
    calls = len(fixture.hooks.bodies("/sync"))
    node(fixture, pool="a")
    assert len(fixture.hooks.bodies("/sync")) == calls + 1
    assert list(fixture.hooks.bodies("/sync")[-1]["related"]["Node.v1"]) == seen
    node(fixture, "other", pool="b")
    assert len(fixture.hooks.bodies("/sync")) == calls + 1


def test_the_rules_are_asked_for_once_per_generation_and_twenty_minutes() -> None:
    fixture = related_lab("v2", NODES)

    def asked() -> int:
        return len(fixture.hooks.bodies("/cust"))

    parent = fixture.get("kaito.sh/v1alpha1", "Workspace", "w")
    parent["metadata"]["labels"] = {"x": "y"}
    fixture.cluster.update(parent)
    fixture.event_loop.settle()
    assert asked() == 1
    fixture.cluster.update({**fixture.get("kaito.sh/v1alpha1", "Workspace", "w"), "x": 1})
    fixture.event_loop.settle()
    assert asked() == 2
    fixture.event_loop.advance(1900)
    assert asked() == 3


def test_a_rule_that_contradicts_itself_fails_every_sync() -> None:
    fixture = related_lab("v2", {**NODES, "names": ["n"]})
    assert fixture.hooks.bodies("/sync") == []
    assert "`names` may not be specified together" in fixture.events()[0]["message"]


def test_two_controllers_of_one_kind_fight_over_the_status() -> None:
    fixture = started(
        fixture=MetacontrollerFixture(patience=1000),
        sync=lambda request: {"status": {"phase": "one"}},
    )
    second = composite(CONFIG_MAPS)
    second["metadata"]["name"] = "second"
    second["spec"]["hooks"]["sync"]["webhook"]["url"] = "http://hook/other"
    fixture.hooks.on["/other"] = lambda request: {"status": {"phase": "two"}}
    fixture.cluster.create(second)
    with pytest.raises(AssertionError, match="never rests"):
        fixture.event_loop.settle()


def test_a_selector_of_ones_own_must_be_there() -> None:
    fixture = started(generateSelector=False)
    assert "spec.selector must be specified" in fixture.events()[0]["message"]


def test_a_status_that_only_differs_for_itself_is_passed_over_when_asked() -> None:
    seen = started(sync={"children": [], "status": {"phase": "x"}})
    quiet = MetacontrollerFixture()
    spec = composite(CONFIG_MAPS)
    spec["spec"]["parentResource"]["ignoreStatusChanges"] = True
    quiet.hooks.on["/sync"] = lambda request: {"children": [], "status": {"phase": "x"}}
    quiet.cluster.create(spec)
    quiet.workspace()
    quiet.event_loop.settle()
    assert (len(seen.hooks.calls), len(quiet.hooks.calls)) == (2, 1)


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from("abc"), unique=True), st.integers(0, 9))
def test_in_the_end_the_children_are_those_that_were_declared_last(names: Any, seed: Any) -> None:
    wanted = ["a", "b"]
    fixture = MetacontrollerFixture(seed)
    started(
        fixture=fixture, sync=lambda request: {"children": [config_map(each) for each in wanted]}
    )
    wanted[:] = names
    fixture.cluster.update({**fixture.get("kaito.sh/v1alpha1", "Workspace", "w"), "x": names})
    fixture.event_loop.settle()
    assert children(fixture) == sorted(names)
    fixture.count_writes()
    fixture.event_loop.advance(4000)
    assert fixture.writes == []


def template(**spec: Any) -> Any:
    container = {"name": "main", "image": "x:1", **spec.pop("container", {})}
    return {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container], **spec}}


def workload(kind: str = "Deployment", template_fields: Any = None, **spec: Any) -> Any:
    return {
        "apiVersion": "apps/v1",
        "kind": kind,
        "metadata": {"name": "d"},
        "spec": {
            "selector": {"matchLabels": {"a": "b"}},
            "template": template_fields or template(),
            **spec,
        },
    }


def container(**fields: Any) -> Any:
    return workload(template_fields=template(container=fields))


def service(**spec: Any) -> Any:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "d"},
        "spec": {"selector": {"a": "b"}, "ports": [{"port": 80}], **spec},
    }


def secret(**fields: Any) -> Any:
    return {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "d"}, **fields}


def limits(**amounts: Any) -> Any:
    return container(resources={"limits": amounts})


DRIFTS = {
    "empty env value": container(env=[{"name": "A", "value": ""}]),
    "cpu in thousands": limits(cpu="1000m"),
    "memory in Mi": limits(memory="1024Mi"),
    "a number as quantity": limits(cpu=1),
    "GPUs as a number": limits(**{"nvidia.com/gpu": 1}),
    "size limit": workload(
        template_fields=template(volumes=[{"name": "v", "emptyDir": {"sizeLimit": "1024Mi"}}])
    ),
    "null command": container(command=None),
    "host network false": workload(template_fields=template(hostNetwork=False)),
    "no tolerations": workload(template_fields=template(tolerations=[])),
    "empty node selector": workload(template_fields=template(nodeSelector={})),
    "empty external addresses": service(externalIPs=[]),
    "projected token": workload(
        template_fields=template(
            volumes=[
                {
                    "name": "v",
                    "projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]},
                }
            ]
        )
    ),
    "a float": workload(template_fields=template(terminationGracePeriodSeconds=30.0)),
    "string data": secret(stringData={"a": "b"}),
}
CLEAN = {
    "canonical quantities": limits(cpu="1", memory="1Gi", **{"nvidia.com/gpu": "1"}),
    "env": container(
        env=[
            {"name": "A", "value": "x"},
            {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
            {"name": "C", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}},
        ],
        envFrom=[{"secretRef": {"name": "s"}}],
    ),
    "init containers": workload(
        template_fields=template(initContainers=[{"name": "i", "image": "y:1"}])
    ),
    "probes": container(readinessProbe={"httpGet": {"port": "http", "path": "/"}}),
    "empty dir and config map items": workload(
        template_fields=template(
            volumes=[
                {"name": "v", "emptyDir": {}},
                {"name": "c", "configMap": {"name": "c", "items": [{"key": "a", "path": "a"}]}},
            ]
        )
    ),
    "node affinity": workload(
        template_fields=template(
            affinity={
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{"key": "a", "operator": "Exists"}]}
                        ]
                    }
                }
            }
        )
    ),
    "service without protocol": service(),
    "headless service": service(clusterIP="None"),
    "empty data": secret(data={}),
    "empty annotations": {**service(), "metadata": {"name": "d", "annotations": {}}},
    "null creation time": {**service(), "metadata": {"name": "d", "creationTimestamp": None}},
    "status": {**service(), "status": {}},
}
KINDS = [
    ("apps/v1", "deployments", "InPlace"),
    ("v1", "services", "InPlace"),
    ("v1", "secrets", "InPlace"),
]


def wants_to_write(child: Any) -> Any:
    """Whether a settled parent still sends a PUT for its child at each sync."""
    puts = []
    fixture = MetacontrollerFixture()
    real = fixture.cluster.update

    def update(manifest: Manifest) -> Any:
        puts.append(manifest["kind"])
        return real(manifest)

    fixture.cluster.update = update  # type: ignore[method-assign]
    started(KINDS, lambda request: {"children": [json.loads(json.dumps(child))]}, fixture=fixture)
    puts.clear()
    fixture.event_loop.advance(1801)
    return child["kind"] in puts


@pytest.mark.parametrize("child", DRIFTS.values(), ids=DRIFTS)
def test_a_shape_that_the_server_rewrites_is_written_at_every_sync(child: Any) -> None:
    assert wants_to_write(child)


@pytest.mark.parametrize("child", CLEAN.values(), ids=CLEAN)
def test_a_shape_that_the_server_keeps_is_written_once(child: Any) -> None:
    assert not wants_to_write(child)


def test_error_gaps_grow_as_measured() -> None:
    times = []

    def sync(request: Any) -> Any:
        times.append(fixture.event_loop.clock.seconds())
        return HookAnswer(500, {}, b"")

    fixture = MetacontrollerFixture()
    fixture.hooks.on["/sync"] = sync
    started(fixture=fixture)
    fixture.event_loop.advance(100)
    gaps = [after - before for before, after in pairwise(times)]
    assert gaps[5:12] == pytest.approx([0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24])
