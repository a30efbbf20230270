"""CRD schemas: defaults, pruning, and the words in which the API server refuses."""

from __future__ import annotations

from typing import Any

import pytest

from kaito_laptop.core.clock import VirtualClock
from kaito_laptop.core.cluster import Invalid
from kaito_laptop.core.package_data import definitions
from kaito_laptop.store import schema
from kaito_laptop.store.memory import MemoryCluster

from tests.harness.metacontroller_fixture import definition

SPEC = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 9},
        "mode": {"type": "string", "enum": ["fast", "slow"], "default": "fast"},
        "name": {"type": "string", "maxLength": 3, "minLength": 1, "pattern": "^[a-z]+$"},
        "ports": {
            "type": "array",
            "maxItems": 2,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["port"],
            "items": {
                "type": "object",
                "properties": {
                    "port": {"type": "integer"},
                    "protocol": {"type": "string", "default": "TCP"},
                },
            },
        },
        "labels": {"type": "object", "additionalProperties": {"type": "string"}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "share": {"x-kubernetes-int-or-string": True},
        "maybe": {"type": "string", "nullable": True},
        "nested": {
            "type": "object",
            "default": {},
            "properties": {"flag": {"type": "boolean", "default": True}},
        },
    },
}
ROOT = {"type": "object", "properties": {"spec": SPEC}}


@pytest.fixture
def cluster() -> Any:
    store = MemoryCluster(VirtualClock())
    store.create(definition("Thing", "things", schema=ROOT))
    return store


def thing(**spec: Any) -> Any:
    return {
        "apiVersion": "kaito.sh/v1alpha1",
        "kind": "Thing",
        "metadata": {"name": "t"},
        "spec": {"size": 1, **spec},
    }


def test_defaults_are_filled_in_at_every_depth(cluster: MemoryCluster) -> None:
    stored = cluster.create(thing(ports=[{"port": 1}]))["spec"]
    assert stored == {
        "size": 1,
        "mode": "fast",
        "ports": [{"port": 1, "protocol": "TCP"}],
        "nested": {"flag": True},
    }


def test_unknown_fields_are_pruned_unless_the_schema_keeps_them(cluster: MemoryCluster) -> None:
    stored = cluster.create(thing(typo=1, free={"kept": {"deep": 1}}, labels={"a": "b"}))["spec"]
    assert "typo" not in stored
    assert stored["free"] == {"kept": {"deep": 1}}
    assert stored["labels"] == {"a": "b"}


def test_null_is_as_good_as_missing_where_it_is_not_allowed(cluster: MemoryCluster) -> None:
    stored = cluster.create(thing(mode=None, maybe=None))["spec"]
    assert stored["mode"] == "fast"
    assert stored["maybe"] is None


MESSAGES = {
    "type": (
        {"size": "3"},
        'spec.size: Invalid value: "string": spec.size in body must be of type integer: "string"',
    ),
    "bool is no integer": (
        {"size": True},
        'spec.size: Invalid value: "boolean": spec.size in body must be of type integer: "boolean"',
    ),
    "minimum": (
        {"size": 0},
        "spec.size: Invalid value: 0: spec.size in body should be greater than or equal to 1",
    ),
    "maximum": (
        {"size": 10},
        "spec.size: Invalid value: 10: spec.size in body should be less than or equal to 9",
    ),
    "enum": ({"mode": "x"}, 'spec.mode: Unsupported value: "x": supported values: "fast", "slow"'),
    "maxLength": ({"name": "abcd"}, "spec.name: Too long: may not be more than 3 bytes"),
    "minLength": ({"name": ""}, "spec.name in body should be at least 1 chars long"),
    "pattern": ({"name": "A"}, "spec.name in body should match '^[a-z]+$'"),
    "maxItems": (
        {"ports": [{"port": n} for n in range(3)]},
        "spec.ports: Too many: 3: must have at most 2 items",
    ),
    "map keys": (
        {"ports": [{"port": 1}, {"port": 1}]},
        'spec.ports[1]: Duplicate value: {"port": 1}',
    ),
    "free values": ({"labels": {"a": 1}}, "spec.labels.a in body must be of type string"),
    "int or string": ({"share": []}, "spec.share in body must be of type integer,string"),
}


@pytest.mark.parametrize(("spec", "message"), MESSAGES.values(), ids=MESSAGES)
def test_a_wrong_value_is_named_with_its_field(
    cluster: MemoryCluster, spec: Any, message: Any
) -> None:
    with pytest.raises(Invalid) as refused:
        cluster.create(thing(**spec))
    assert message in refused.value.message
    assert refused.value.message.startswith('The Thing "t" is invalid: ')


def test_a_missing_field_is_named(cluster: MemoryCluster) -> None:
    without = thing()
    del without["spec"]["size"]
    with pytest.raises(Invalid, match=r'^The Thing "t" is invalid: spec.size: Required value$'):
        cluster.create(without)


def test_several_causes_are_listed_one_below_the_other(cluster: MemoryCluster) -> None:
    with pytest.raises(Invalid) as refused:
        cluster.create(thing(size=0, mode="x"))
    assert refused.value.message.count("\n* spec.") == 2


def rules(*validations: Any, **properties: Any) -> Any:
    return {"type": "object", "x-kubernetes-validations": list(validations), **properties}


def words(found: Any, value: Any, old: Any = None) -> Any:
    return list(schema.causes(found, value, old, old is not None))


def test_a_rule_speaks_in_its_own_words() -> None:
    found = rules({"rule": "self.a < self.b", "message": "a must be below b"})
    assert words(found, {"a": 1, "b": 2}) == []
    assert words(found, {"a": 2, "b": 1}) == ["<nil>: Invalid value: a must be below b"]


def test_a_rule_may_name_field_and_reason_and_compute_its_message() -> None:
    found = rules(
        {
            "rule": "has(self.a)",
            "reason": "FieldValueRequired",
            "fieldPath": ".a",
            "message": "write `a`",
        },
        {
            "rule": "self.b < 3",
            "messageExpression": "'b is ' + string(self.b)",
            "reason": "FieldValueForbidden",
        },
    )
    assert words(found, {"b": 5}) == ["a: Required value: write `a`", "<nil>: Forbidden: b is 5"]


def test_transition_rules_hold_between_an_old_and_a_new_value_only() -> None:
    found = rules({"rule": "self.a >= oldSelf.a", "message": "a may not shrink"})
    assert words(found, {"a": 1}) == []
    assert words(found, {"a": 2}, {"a": 1}) == []
    assert words(found, {"a": 0}, {"a": 1}) == ["<nil>: Invalid value: a may not shrink"]


def test_rules_wait_until_the_shape_is_right() -> None:
    found = rules(
        {"rule": "self.a < 3", "message": "too large"},
        properties={"a": {"type": "integer"}},
    )
    assert words(found, {"a": "x"})[1:] == [schema.NOT_CHECKED]


def test_what_an_update_leaves_alone_is_not_judged_again() -> None:
    found = {
        "type": "object",
        "properties": {"a": {"type": "integer", "minimum": 5}, "b": {"type": "integer"}},
    }
    assert words(found, {"a": 1, "b": 2}, {"a": 1, "b": 1}) == []
    assert words(found, {"a": 2, "b": 2}, {"a": 1, "b": 1}) != []


def test_the_projects_own_definitions_are_understood() -> None:
    store = MemoryCluster(VirtualClock())
    for each in definitions():
        store.create(each)
    wanted = {
        "apiVersion": "kaito.sh/v1alpha1",
        "kind": "Workspace",
        "metadata": {"name": "w"},
        "resource": {"labelSelector": {"matchLabels": {"a": "b"}}},
        "inference": {"preset": {"name": "falcon-7b"}},
    }
    stored = store.create(wanted)
    assert stored["resource"]["instanceType"] == "Standard_NC24ads_A100_v4"
    assert stored["status"] == {"observedGeneration": -1}
    stored["resource"]["count"] = 2
    with pytest.raises(Invalid, match=r"`resource.count` is immutable"):
        store.update(stored)
    with pytest.raises(Invalid, match="exactly one of `inference` and `tuning`"):
        store.create({**wanted, "metadata": {"name": "v"}, "inference": None})
