"""Whatever arrives, the hook answers; the same input gives the same bytes; the answer is a fixed point."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from flask.testing import FlaskClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.harness import wire
from tests.harness.builders import (
    inference_workspace,
    merged,
    node,
    ready_machine,
    request,
    tuning_workspace,
)

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-5, 5)
    | st.floats(allow_nan=False)
    | st.text(max_size=8)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)
WORKSPACES = (tuning_workspace(), inference_workspace())


def paths(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    items = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    for key, item in items:
        found += paths(item, (*path, key))
    return found


def replaced(value: Any, path: tuple[Any, ...], new: Any) -> Any:
    copy = json.loads(json.dumps(value))
    holder = copy
    for step in path[:-1]:
        holder = holder[step]
    holder[path[-1]] = new
    return copy


@st.composite
def broken_requests(draw: Any) -> dict[str, Any]:
    workspace = draw(st.sampled_from(WORKSPACES))
    body = request(
        workspace,
        [ready_machine(workspace, "ws0123456789")],
        [
            node(
                "aks-node-0",
                {
                    "kaito.sh/machine-uid": "m",
                    **workspace["resource"]["labelSelector"]["matchLabels"],
                },
            )
        ],
    )
    for _ in range(draw(st.integers(1, 3))):
        options = [path for path in paths(body) if path[0] in ("parent", "children", "related")]
        body = replaced(body, draw(st.sampled_from(options)), draw(JSON))
    return body


@given(body=broken_requests(), route=st.sampled_from(["sync", "finalize", "customize"]))
@settings(
    max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_a_request_with_broken_parts_is_answered_or_refused_with_400(
    client: FlaskClient, body: dict[str, Any], route: str
) -> None:
    answer = client.post(f"/workspace/{route}", json=body)
    assert answer.status_code in (200, 400), answer.data


@given(body=JSON)
@settings(
    max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_a_body_that_is_no_request_is_refused_with_400(client: FlaskClient, body: Any) -> None:
    for route in ("sync", "finalize", "customize"):
        assert client.post(f"/workspace/{route}", json=body).status_code == 400


@given(data=st.data())
@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_the_order_of_maps_does_not_matter(client: FlaskClient, data: Any) -> None:
    workspace = data.draw(st.sampled_from(WORKSPACES))
    body = request(workspace, [ready_machine(workspace, f"ws{index:010d}") for index in range(3)])
    shuffled = shuffle(body, data)
    assert (
        client.post("/workspace/sync", json=body).data
        == client.post("/workspace/sync", json=shuffled).data
    )


def shuffle(value: Any, data: Any) -> Any:
    if isinstance(value, dict):
        keys = data.draw(st.permutations(list(value)))
        return {key: shuffle(value[key], data) for key in keys}
    return [shuffle(item, data) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("workspace", WORKSPACES, ids=["tuning", "inference"])
def test_v1_keys_without_namespace_give_the_same_answer(
    client: FlaskClient, workspace: dict[str, Any]
) -> None:
    body = request(workspace, [ready_machine(workspace, "ws0123456789")])
    v1 = merged(body, {})
    v1["children"] = {
        kind: {key.rpartition("/")[2]: item for key, item in group.items()}
        for kind, group in body["children"].items()
    }
    assert (
        client.post("/workspace/sync", json=v1).data
        == client.post("/workspace/sync", json=body).data
    )


@pytest.mark.parametrize("workspace", WORKSPACES, ids=["tuning", "inference"])
def test_the_answer_fed_back_as_status_comes_out_the_same(
    client: FlaskClient, workspace: dict[str, Any]
) -> None:
    body = request(workspace, [ready_machine(workspace, "ws0123456789")])
    first = client.post("/workspace/sync", json=body).json
    assert first
    body["parent"] = merged(workspace, {"status": {**first["status"], "observedGeneration": 1}})
    second = client.post("/workspace/sync", json=body).json
    assert second == first


@pytest.mark.parametrize("unseen", ["status", "labels", "annotations", "managedFields"])
def test_customize_depends_on_what_metacontroller_caches_it_by(
    client: FlaskClient, unseen: str
) -> None:
    plain = tuning_workspace()
    noise = {"status": {"x": 1}} if unseen == "status" else {"metadata": {unseen: {"x": "1"}}}
    answers = [
        client.post("/workspace/customize", json={"parent": merged(plain, change)})
        for change in ({}, noise)
    ]
    wire.check("/workspace/customize", {}, answers[0].status_code, answers[0].data)
    assert answers[0].data == answers[1].data


SCRIPT = """
import json, sys
sys.path[:0] = json.loads(sys.argv[2])
from datetime import UTC, datetime
from kaito_hooks.settings import WorkspaceSettings
from kaito_hooks.web.workspace import create_workspace_app
settings = WorkspaceSettings("r.example/kaito", "r.example/t:1", "r.example/u:1", "r.example/i:1", ("7.0",))
client = create_workspace_app(settings, now=lambda: datetime(2026, 11, 2, tzinfo=UTC)).test_client()
sys.stderr.write(client.post("/workspace/sync", data=sys.argv[1]).data.decode())
"""


def test_processes_with_other_hash_seeds_give_the_same_bytes() -> None:
    body = json.dumps(
        request(tuning_workspace(), [ready_machine(tuning_workspace(), "ws0123456789")])
    )
    answers = {
        subprocess.run(
            [sys.executable, "-c", SCRIPT, body, json.dumps(sys.path)],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stderr
        for seed in ("1", "2")
    }
    assert len(answers) == 1
    assert b"children" in answers.pop()
