"""The merge of Metacontroller's dynamic apply."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kaito_laptop.core.objects import same
from kaito_laptop.core.three_way_merge import LAST_APPLIED, merge, updated, with_last_applied

CASES = {
    "a field of somebody else stays": ({"a": 1, "b": 2}, {"a": 1}, {"a": 3}, {"a": 3, "b": 2}),
    "a field that is no longer wanted goes": ({"a": 1, "b": 2}, {"a": 1}, {}, {"b": 2}),
    "lists of scalars are replaced": ([1, 2], [1], [3], [3]),
    "lists with a conventional key are merged by it, observed order first": (
        [{"name": "x", "v": 1}, {"name": "y", "v": 2}],
        [{"name": "y"}],
        [{"name": "z"}, {"name": "x", "v": 3}],
        [{"name": "x", "v": 3}, {"name": "z"}],
    ),
    "the first key that all items share counts": (
        [{"name": "a", "containerPort": 1}],
        [],
        [{"name": "b", "containerPort": 1, "x": 1}],
        [{"name": "b", "containerPort": 1, "x": 1}],
    ),
    "lists without a common key are replaced": (
        [{"key": "a", "effect": "x"}],
        [],
        [{"key": "a"}],
        [{"key": "a"}],
    ),
    "items with the same key collapse": (
        [{"port": 80, "protocol": "TCP"}],
        [],
        [{"port": 80, "protocol": "TCP"}, {"port": 80, "protocol": "UDP"}],
        [{"port": 80, "protocol": "UDP"}],
    ),
    "an object does not become a scalar": ({"a": {"b": 1}}, {}, {"a": 3}, {"a": {"b": 1}}),
    "a scalar becomes what is wanted": ({"a": 3}, {}, {"a": {"b": 1}}, {"a": {"b": 1}}),
    "null is taken for a scalar": ({"a": 3}, {}, {"a": None}, {"a": None}),
}


@pytest.mark.parametrize(("observed", "last", "desired", "wanted"), CASES.values(), ids=CASES)
def test_merge(observed: Any, last: Any, desired: Any, wanted: Any) -> None:
    assert same(merge(observed, last, desired), wanted)


def test_the_server_keeps_what_is_its_own() -> None:
    observed = {
        "metadata": {"name": "x", "uid": "1", "resourceVersion": "7"},
        "spec": {"a": 1},
        "status": {"phase": "here"},
    }
    desired = {"metadata": {"name": "x", "uid": "2"}, "spec": {"a": 2}, "status": {"phase": "no"}}
    new = updated(observed, desired)
    assert new["metadata"]["uid"] == "1"
    assert new["status"] == {"phase": "here"}
    assert json.loads(new["metadata"]["annotations"][LAST_APPLIED]) == desired


def test_the_annotation_is_written_as_go_writes_json() -> None:
    manifest = with_last_applied({"metadata": {}}, {"b": "<&>é", "a": 1})
    assert manifest["metadata"]["annotations"][LAST_APPLIED] == (
        '{"a":1,"b":"\\u003c\\u0026\\u003eé"}'
    )


NAMED = st.lists(
    st.fixed_dictionaries({"name": st.sampled_from("xyz")}, optional={"v": st.integers(0, 1)}),
    # Items with the same name collapse at the second merge only; so it is in the Go code.
    unique_by=lambda item: item["name"],
)
VALUES = NAMED | st.recursive(
    st.integers(0, 2) | st.sampled_from(["x", "y"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner),
    max_leaves=8,
)
OBJECTS = st.dictionaries(st.sampled_from("abc"), VALUES, max_size=3)


@given(OBJECTS)
def test_what_was_applied_and_is_observed_changes_nothing(wanted: Any) -> None:
    assert same(merge(wanted, wanted, wanted), wanted)


@given(OBJECTS, OBJECTS, OBJECTS)
def test_merging_twice_is_merging_once(observed: Any, last: Any, desired: Any) -> None:
    once = merge(observed, last, desired)
    assert same(merge(once, desired, desired), once)
