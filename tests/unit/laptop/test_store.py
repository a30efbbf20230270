"""The store has the semantics of the API server."""

from __future__ import annotations

from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from kaito_laptop.core.clock import VirtualClock
from kaito_laptop.core.cluster import (
    AlreadyExists,
    Conflict,
    Event,
    Forbidden,
    Invalid,
    Key,
    Manifest,
    NotFound,
    Propagation,
)
from kaito_laptop.core.objects import same
from kaito_laptop.store.memory import MemoryCluster

from tests.harness.metacontroller_fixture import definition


@pytest.fixture
def cluster() -> Any:
    store = MemoryCluster(VirtualClock())
    store.create(definition("Workspace", "workspaces"))
    return store


def workspace(name: str = "w", **fields: Any) -> Any:
    metadata = {"name": name, **fields.pop("metadata", {})}
    return {"apiVersion": "kaito.sh/v1alpha1", "kind": "Workspace", "metadata": metadata, **fields}


def key(
    cluster: MemoryCluster,
    kind: str = "Workspace",
    name: str = "w",
    api: str = "kaito.sh/v1alpha1",
    namespace: str = "default",
) -> Any:
    return Key(cluster.resource(api, kind), name, namespace)


def seen(cluster: MemoryCluster) -> Any:
    events: list[Event] = []
    cluster.watch([cluster.resource("kaito.sh/v1alpha1", "Workspace")], events.append)
    return events


def pod_template(**spec: Any) -> Any:
    container = {"name": "main", "image": "x:1"}
    return {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container], **spec}}


def deployment(**spec: Any) -> Any:
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": pod_template(), **spec},
    }


def job(**spec: Any) -> Any:
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": "j"},
        "spec": {"template": pod_template(restartPolicy="Never"), **spec},
    }


def test_a_new_object_gets_what_the_server_owns(cluster: MemoryCluster) -> None:
    created = cluster.create(workspace(metadata={"uid": "mine", "generation": 9}))
    metadata = created["metadata"]
    assert metadata["uid"] != "mine"
    assert (metadata["generation"], metadata["namespace"]) == (1, "default")
    assert metadata["creationTimestamp"] == "2026-01-01T00:00:00Z"


def test_a_name_is_taken_once(cluster: MemoryCluster) -> None:
    cluster.create(workspace())
    with pytest.raises(AlreadyExists, match=r'workspaces.kaito.sh "w" already exists'):
        cluster.create(workspace())


def test_the_generation_counts_changes_of_the_content_alone(cluster: MemoryCluster) -> None:
    created = cluster.create(workspace(tuning={"a": 1}))
    created["metadata"]["labels"] = {"x": "y"}
    labelled = cluster.update(created)
    labelled["tuning"]["a"] = 2
    changed = cluster.update(labelled)
    changed["status"] = {"phase": "x"}
    told = cluster.update_status(changed)
    assert [each["metadata"]["generation"] for each in (labelled, changed, told)] == [1, 2, 2]


def test_an_update_leaves_the_status_and_a_status_update_leaves_the_rest(
    cluster: MemoryCluster,
) -> None:
    created = cluster.create(workspace(a=1, status={"lost": True}))
    assert "status" not in created
    told = cluster.update_status({**created, "a": 2, "status": {"phase": "x"}})
    assert (told["a"], told["status"]) == (1, {"phase": "x"})
    updated = cluster.update({**told, "a": 3, "status": {"phase": "y"}})
    assert (updated["a"], updated["status"]) == (3, {"phase": "x"})


def test_what_changes_nothing_is_not_written_and_nobody_hears_of_it(cluster: MemoryCluster) -> None:
    created = cluster.create(workspace(a=1))
    events = seen(cluster)
    events.clear()
    again = cluster.update(created)
    told = cluster.update_status(created)
    assert again == told == created
    assert events == []


def test_an_older_version_or_another_uid_is_a_conflict(cluster: MemoryCluster) -> None:
    old = cluster.create(workspace(a=1))
    cluster.update({**old, "a": 2})
    with pytest.raises(Conflict, match="the object has been modified; please apply your changes"):
        cluster.update({**old, "a": 3})
    with pytest.raises(Conflict, match="Precondition failed: UID in precondition: other"):
        cluster.delete(key(cluster), uid="other")


def test_objects_that_come_out_can_be_changed_without_effect(cluster: MemoryCluster) -> None:
    created = cluster.create(workspace(a={"b": 1}))
    created["a"]["b"] = 2
    cluster.list(key(cluster).resource)[0]["a"]["b"] = 3
    assert cluster.get(key(cluster))["a"]["b"] == 1


def test_a_finalizer_holds_an_object_until_it_is_taken_away(cluster: MemoryCluster) -> None:
    cluster.create(workspace(metadata={"finalizers": ["x/y"]}))
    cluster.delete(key(cluster))
    held = cluster.get(key(cluster))
    assert held["metadata"]["deletionTimestamp"]
    assert (held["metadata"]["generation"], held["metadata"]["deletionGracePeriodSeconds"]) == (
        2,
        0,
    )
    with pytest.raises(Forbidden, match="no new finalizers can be added"):
        cluster.update({**held, "metadata": {**held["metadata"], "finalizers": ["x/y", "z/z"]}})
    held["metadata"]["finalizers"] = []
    cluster.update(held)
    with pytest.raises(NotFound, match=r'workspaces.kaito.sh "w" not found'):
        cluster.get(key(cluster))


def test_foreground_and_orphan_deletion_leave_a_finalizer_for_the_collector(
    cluster: MemoryCluster,
) -> None:
    for name, how, finalizer in (
        ("f", "Foreground", "foregroundDeletion"),
        ("o", "Orphan", "orphan"),
    ):
        cluster.create(workspace(name))
        cluster.delete(key(cluster, name=name), cast(Propagation, how))
        assert cluster.get(key(cluster, name=name))["metadata"]["finalizers"] == [finalizer]


def test_a_running_pod_gets_its_grace_period_and_a_pod_without_node_none(
    cluster: MemoryCluster,
) -> None:
    for name, node in (("bound", {"nodeName": "n"}), ("unbound", {})):
        spec = {"containers": [{"name": "main", "image": "x:1"}], **node}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
        cluster.create(pod)
        cluster.delete(key(cluster, "Pod", name, "v1"))
    pods = cluster.list(cluster.resource("v1", "Pod"))
    assert [pod["metadata"]["name"] for pod in pods] == ["bound"]
    assert pods[0]["metadata"]["deletionGracePeriodSeconds"] == 30
    cluster.delete(key(cluster, "Pod", "bound", "v1"), grace_period_seconds=0)
    assert cluster.list(cluster.resource("v1", "Pod")) == []


def test_a_service_gets_an_address_and_keeps_it(cluster: MemoryCluster) -> None:
    made = [
        cluster.create(
            {
                "apiVersion": "v1",
                "kind": "Service",
                "metadata": {"name": name},
                "spec": {"ports": [{"port": 80}], **spec},
            }
        )
        for name, spec in (("a", {}), ("b", {}), ("headless", {"clusterIP": "None"}))
    ]
    first, second, headless = (each["spec"]["clusterIP"] for each in made)
    assert first != second
    assert headless == "None"
    del made[0]["spec"]["clusterIP"], made[0]["spec"]["clusterIPs"]
    assert cluster.update(made[0])["spec"]["clusterIP"] == first
    made[1]["spec"]["clusterIP"] = first
    with pytest.raises(Invalid, match="may not change once set"):
        cluster.update(made[1])


def test_a_cluster_scoped_object_has_no_namespace(cluster: MemoryCluster) -> None:
    node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": "n", "namespace": "x"}}
    assert "namespace" not in cluster.create(node)["metadata"]


def test_nothing_is_made_in_a_namespace_that_is_not_there(cluster: MemoryCluster) -> None:
    with pytest.raises(NotFound, match='namespaces "nowhere" not found'):
        cluster.create(workspace(metadata={"namespace": "nowhere"}))


def test_a_kind_that_no_definition_has_added_is_unknown(cluster: MemoryCluster) -> None:
    with pytest.raises(NotFound, match='no matches for kind "Pizza" in version "food/v1"'):
        cluster.create({"apiVersion": "food/v1", "kind": "Pizza", "metadata": {"name": "p"}})


REFUSED = {
    "a Job's template is final": (
        job(),
        lambda each: each["spec"]["template"]["spec"]["containers"][0].update(image="y:1"),
        "spec.template: Invalid value: .*: field is immutable",
    ),
    "a Deployment's selector is final": (
        deployment(),
        lambda each: each["spec"].update(
            selector={"matchLabels": {"a": "c"}},
            template={**pod_template(), "metadata": {"labels": {"a": "c"}}},
        ),
        "spec.selector: Invalid value: .*: field is immutable",
    ),
}


@pytest.mark.parametrize(("manifest", "change", "message"), REFUSED.values(), ids=REFUSED)
def test_an_update_is_refused_because(
    cluster: MemoryCluster, manifest: Any, change: Any, message: Any
) -> None:
    created = cluster.create(manifest)
    change(created)
    with pytest.raises(Invalid, match=message):
        cluster.update(created)


NEVER_STORED = {
    "names are lower-case": (
        workspace("Upper"),
        'metadata.name: Invalid value: "Upper": a lowercase RFC 1123 subdomain',
    ),
    "annotations have a limit": (
        workspace(metadata={"annotations": {"a": "x" * 262144}}),
        "metadata.annotations: Too long: may not be more than 262144 bytes",
    ),
    "label values are strings": (
        workspace(metadata={"labels": {"a": 1}}),
        "metadata.labels.a: Invalid value: 1: a valid label must be",
    ),
    "ConfigMaps hold strings": (
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": {"a": 1}},
        "data.a: Invalid value: 1: must be a string",
    ),
    "the selector matches the template": (
        deployment(selector={"matchLabels": {"other": "x"}}),
        "`selector` does not match template `labels`",
    ),
    "probes speak HTTP in capitals": (
        deployment(
            template=pod_template(
                containers=[
                    {
                        "name": "main",
                        "image": "x:1",
                        "readinessProbe": {"httpGet": {"port": 80, "scheme": "http"}},
                    }
                ]
            )
        ),
        'Unsupported value: "http": supported values: "HTTP", "HTTPS"',
    ),
    "volumes that are mounted exist": (
        job(
            template=pod_template(
                restartPolicy="Never",
                containers=[
                    {
                        "name": "main",
                        "image": "x:1",
                        "volumeMounts": [{"name": "gone", "mountPath": "/x"}],
                    }
                ],
            )
        ),
        'volumeMounts\\[0\\].name: Not found: "gone"',
    ),
    "a Job's pods end": (
        job(template=pod_template()),
        'valid values: "OnFailure", "Never"',
    ),
}


@pytest.mark.parametrize(("manifest", "message"), NEVER_STORED.values(), ids=NEVER_STORED)
def test_an_object_is_refused_because(cluster: MemoryCluster, manifest: Any, message: Any) -> None:
    with pytest.raises(Invalid, match=message):
        cluster.create(manifest)


def test_string_data_of_a_secret_becomes_data(cluster: MemoryCluster) -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}}
    stored = cluster.create({**secret, "stringData": {"a": "b"}})
    assert (stored["data"], stored["type"]) == ({"a": "Yg=="}, "Opaque")
    assert "stringData" not in stored


class StoreMachine(RuleBasedStateMachine):
    """Whatever is done to one object, versions grow, generations follow, watchers can follow."""

    def __init__(self) -> None:
        super().__init__()
        self.cluster = MemoryCluster(VirtualClock())
        self.cluster.create(definition("Workspace", "workspaces"))
        self.key = key(self.cluster)
        self.mirror: dict[str, Manifest] = {}
        self.versions: list[int] = []
        self.cluster.watch([self.key.resource], self.receive)

    def receive(self, event: Event) -> None:
        metadata = event.object["metadata"]
        self.versions.append(int(metadata["resourceVersion"]))
        if event.type == "DELETED":
            del self.mirror[metadata["name"]]
            return
        known = self.mirror.get(metadata["name"])
        assert (event.type == "ADDED") == (known is None)
        if known is not None:
            assert not same(known, event.object)
            moved = metadata["generation"] - known["metadata"]["generation"]
            content = {k: v for k, v in event.object.items() if k not in ("metadata", "status")}
            before = {k: v for k, v in known.items() if k not in ("metadata", "status")}
            marked = (
                "deletionTimestamp" in metadata and "deletionTimestamp" not in known["metadata"]
            )
            assert moved == (1 if marked or not same(content, before) else 0)
        self.mirror[metadata["name"]] = event.object

    def live(self) -> Any:
        try:
            return self.cluster.get(self.key)
        except NotFound:
            return None

    @rule(held=st.booleans())
    def create(self, held: Any) -> None:
        finalizers = {"finalizers": ["x/y"]} if held else {}
        if self.live() is None:
            self.cluster.create(workspace(metadata=finalizers))

    @rule(value=st.one_of(st.integers(0, 2), st.just(1.0), st.none(), st.lists(st.integers(0, 1))))
    def update(self, value: Any) -> None:
        live = self.live()
        if live is not None:
            self.cluster.update({**live, "field": value})

    @rule(phase=st.sampled_from(["a", "b"]))
    def status(self, phase: Any) -> None:
        live = self.live()
        if live is not None:
            self.cluster.update_status({**live, "status": {"phase": phase}})

    @rule(how=st.sampled_from(["Background", "Foreground", "Orphan"]))
    def delete(self, how: Any) -> None:
        if self.live() is not None:
            self.cluster.delete(self.key, how)

    @rule()
    def let_go(self) -> None:
        live = self.live()
        if live is not None:
            live["metadata"]["finalizers"] = []
            self.cluster.update(live)

    @invariant()
    def watchers_have_seen_everything(self) -> None:
        live = self.live()
        assert self.mirror == ({} if live is None else {"w": live})
        assert self.versions == sorted(set(self.versions))

    @invariant()
    def nothing_stays_that_nobody_holds(self) -> None:
        live = self.live()
        if live is not None and "deletionTimestamp" in live["metadata"]:
            assert live["metadata"]["finalizers"]


StoreMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=15, deadline=None)
TestStore = StoreMachine.TestCase

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from(["", "a"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=6,
)


@given(JSON, JSON)
def test_equality_is_that_of_the_written_json(left: Any, right: Any) -> None:
    import json

    written = json.dumps(left, sort_keys=True) == json.dumps(right, sort_keys=True)
    assert same(left, right) == written


def test_an_update_of_a_custom_object_must_say_which_version_was_read(
    cluster: MemoryCluster,
) -> None:
    made = cluster.create(workspace())
    del made["metadata"]["resourceVersion"]
    with pytest.raises(Invalid, match="must be specified for an update"):
        cluster.update(made)
