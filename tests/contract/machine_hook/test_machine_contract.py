"""Rows of Metacontroller's contract that concern the Machine hook, over HTTP.

Requests are those of a whole life: creation, failure, readiness, loss, deletion.
"""

from __future__ import annotations

import copy
import io
import json
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from kaito_hooks.machine import errors
from kaito_hooks.machine.provider import (
    NEUTRAL,
    Absent,
    Foreign,
    ListedPool,
    Listing,
    Ours,
    Unknown,
)
from kaito_hooks.web.machine import create_machine_app

from tests.unit.machine.builders import NAME, UID, body, condition, machine, node, reason

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
CRD = Path(__file__).parents[3] / "crds" / "kaito.sh_machines.yaml"
SYSTEM = ListedPool("system", Ours("Succeeded"), is_system=True)
READY = ("MachineLaunched", "MachineRegistered", "MachineInitialized", "Ready")


class FakeProvider:
    """Answers as told and remembers what it was asked."""

    profile = NEUTRAL

    def __init__(self, pool: Any = None, error: Any = None, listing: Any = None) -> None:
        self.pool = pool or Absent()
        self.error = error
        self.listing = listing or Listing((SYSTEM,))
        self.asked: list[str] = []

    def get(self, ref: Any, fresh: Any) -> Any:
        self.asked.append("get")
        return self.pool

    def list(self) -> Any:
        self.asked.append("list")
        return self.listing

    def create(self, request: Any) -> str:
        self.asked.append("create")
        if self.error:
            raise self.error
        self.pool = Ours("Creating", "e1", created=request.created)
        return "Creating"

    def delete(self, ref: Any, etag: Any) -> None:
        self.asked.append("delete")
        if self.error:
            raise self.error
        self.pool = Ours("Deleting", "e2")

    def availability(self, size: Any, is_spot: Any) -> Any:
        return Unknown(errors.Unreadable())

    def operation(self) -> str:
        return ""

    def digest(self, request: Any) -> str:
        return "digest"

    def unavailable_reason(self) -> str:
        return ""


def app(provider: Any = None, now: Any = NOW) -> Any:
    return create_machine_app(
        provider or FakeProvider(), lambda: now, log_stream=io.StringIO()
    ).test_client()


def ready_status() -> Any:
    answer = app(FakeProvider(Ours("Succeeded", "e1"))).post(
        "/machine/sync", json=body(machine(), [node()])
    )
    return answer.json["status"]


CORPUS = [
    pytest.param(*row, id=row[0])
    for row in [
        ("created", FakeProvider(), {}, ()),
        ("invalid", FakeProvider(), {"spec": {"requirements": []}}, ()),
        ("no quota", FakeProvider(error=errors.QuotaExceeded("Q", "none")), {}, ()),
        ("refused", FakeProvider(error=errors.SkuNotAvailable("S", "none")), {}, ()),
        ("unanswered", FakeProvider(error=errors.Unanswered("S", "none")), {}, ()),
        ("unknown", FakeProvider(Unknown(errors.Unreachable("X"))), {}, ()),
        ("foreign", FakeProvider(Foreign()), {}, ()),
        ("creating", FakeProvider(Ours("Creating", "e1")), {}, ()),
        ("failed", FakeProvider(Ours("Failed", "e1")), {}, ()),
        ("deleting", FakeProvider(Ours("Deleting", "e1")), {}, ()),
        ("no node", FakeProvider(Ours("Succeeded", "e1")), {}, ()),
        ("two nodes", FakeProvider(Ours("Succeeded", "e1")), {}, (node("a"), node("b"))),
        ("not ready", FakeProvider(Ours("Succeeded", "e1")), {}, (node(ready="False"),)),
        ("ready", FakeProvider(Ours("Succeeded", "e1")), {}, (node(),)),
        ("degraded", FakeProvider(Ours("Failed", "e1")), {}, (node(),)),
        ("missing", FakeProvider(), {"status": {"pool": {"name": NAME}}}, ()),
    ]
]
FINALIZE = [
    pytest.param(*row, id=row[0])
    for row in [
        ("never synced", FakeProvider(), {}),
        ("ours", FakeProvider(Ours("Succeeded", "e1")), {}),
        ("busy", FakeProvider(Ours("Creating", "e1"), errors.Busy()), {}),
        ("unknown", FakeProvider(Unknown(errors.ConfigError("X"))), {}),
        ("foreign", FakeProvider(Foreign()), {}),
        ("proven", FakeProvider(), {"status": {"absentSince": "2026-01-01T11:59:00Z"}}),
    ]
]


def checked(response: Any, finalizing: Any = False) -> Any:
    """C01-C05, C40-C46, C50, C53 on any answer."""
    assert response.status_code == 200
    answer = json.loads(response.data, parse_constant=pytest.fail)
    allowed = {"status", "children", "resyncAfterSeconds"} | (
        {"finalized"} if finalizing else set()
    )
    assert set(answer) <= allowed
    assert answer["children"] == []
    assert isinstance(answer["status"], dict)
    assert "observedGeneration" not in answer["status"]
    types = [item["type"] for item in answer["status"]["conditions"]]
    assert len(set(types)) == len(types)
    assert set(READY) <= set(types)
    for item in answer["status"]["conditions"]:
        assert item["status"] in ("True", "False", "Unknown")
        assert item["reason"]
        assert item["message"]
    jsonschema.validate(answer["status"], _status_schema())
    if finalizing:
        assert isinstance(answer["finalized"], bool)
        if not answer["finalized"]:
            assert answer["resyncAfterSeconds"] >= 5
    else:
        assert answer["resyncAfterSeconds"] >= 1
    return answer


def _status_schema() -> Any:
    """C41: what the CRD does not name would be pruned, and written again for ever."""
    crd = yaml.safe_load(CRD.read_text())
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
    return _closed(copy.deepcopy(schema))


def _closed(schema: Any) -> Any:
    if schema.get("type") == "object" and "properties" in schema:
        schema["additionalProperties"] = False
    for inner in schema.get("properties", {}).values():
        _closed(inner)
    if isinstance(schema.get("items"), dict):
        _closed(schema["items"])
    return schema


@pytest.mark.parametrize(("stage", "provider", "overrides", "nodes"), CORPUS)
def test_every_stage_of_a_life_is_answered_by_the_contract(
    stage: Any, provider: Any, overrides: Any, nodes: Any
) -> None:
    provider = copy.deepcopy(provider)
    checked(app(provider).post("/machine/sync", json=body(machine(**overrides), nodes)))
    assert len(provider.asked) <= 3


@pytest.mark.parametrize(("stage", "provider", "overrides"), FINALIZE)
def test_every_stage_of_an_end_is_answered_by_the_contract(
    stage: Any, provider: Any, overrides: Any
) -> None:
    overrides = {"metadata": {"deletionTimestamp": "2026-01-01T11:50:00Z"}, **overrides}
    request = body(machine(**overrides), (), True)
    answer = checked(app(copy.deepcopy(provider)).post("/machine/finalize", json=request), True)
    assert answer["finalized"] == (stage == "proven")


@pytest.mark.parametrize(("stage", "provider", "overrides", "nodes"), CORPUS)
def test_c26_to_c29_the_same_request_is_answered_with_the_same_bytes(
    stage: Any, provider: Any, overrides: Any, nodes: Any
) -> None:
    request = body(machine(**overrides), nodes)
    first = app(copy.deepcopy(provider)).post("/machine/sync", json=request).data
    noisy = copy.deepcopy(request)
    noisy["controller"] = {"anything": 1}
    noisy["parent"]["metadata"]["managedFields"] = [{}]
    noisy["parent"]["metadata"]["resourceVersion"] = "77"
    related = noisy["related"]["Node.v1"]
    noisy["related"]["Node.v1"] = {f"x/{key}": related[key] for key in reversed(list(related))}
    noisy["parent"] = dict(reversed(list(noisy["parent"].items())))
    assert app(copy.deepcopy(provider)).post("/machine/sync", json=noisy).data == first


@pytest.mark.parametrize("path", [("status",), ("metadata", "labels"), ("metadata", "annotations")])
def test_c30_whatever_may_be_missing_may_be_missing(path: Any) -> None:
    request = body(machine(status={}, metadata={"annotations": {}}))
    *heads, last = path
    found = request["parent"]
    for head in heads:
        found = found[head]
    found.pop(last)
    checked(app().post("/machine/sync", json=request))


@pytest.mark.parametrize("key", ["children", "related", "controller", "finalizing"])
def test_c30_groups_may_be_missing(key: Any) -> None:
    request = body(machine())
    del request[key]
    checked(app().post("/machine/sync", json=request))


def test_c43_c44_the_answer_fed_back_is_the_answer_and_times_stay() -> None:
    status = ready_status()
    later = app(FakeProvider(Ours("Succeeded", "e9")), NOW + timedelta(hours=5))
    answer = later.post("/machine/sync", json=body(machine(status=status), [node()])).json
    assert answer["status"] == status


def test_c46_sync_never_finalizes() -> None:
    parent = machine(metadata={"deletionTimestamp": "2026-01-01T11:00:00Z"})
    answer = app().post("/machine/sync", json=body(parent, (), True))
    assert "finalized" not in answer.json


def test_c48_finalize_may_be_called_again_after_it_was_true() -> None:
    provider = FakeProvider()
    parent = machine(
        metadata={
            "deletionTimestamp": "2026-01-01T11:50:00Z",
            "finalizers": ["foregroundDeletion"],
        },
        status={"absentSince": "2026-01-01T11:59:00Z"},
    )
    for _ in range(3):
        answer = checked(app(provider).post("/machine/finalize", json=body(parent, (), True)), True)
        assert answer["finalized"]
        parent["status"] = answer["status"]
    assert set(provider.asked) == {"get", "list"}


def test_c51_a_machine_that_left_the_selector_is_handled_like_a_deleted_one() -> None:
    provider = FakeProvider(Ours("Succeeded", "e1"))
    answer = app(provider).post("/machine/finalize", json=body(machine(), (), True))
    assert not checked(answer, True)["finalized"]
    assert "delete" in provider.asked


def test_c54_waits_differ_from_machine_to_machine_but_not_much() -> None:
    waits = set()
    for index in range(20):
        parent = machine(metadata={"uid": f"uid-{index}"})
        answer = app(FakeProvider(Ours("Creating"))).post("/machine/sync", json=body(parent)).json
        waits.add(answer["resyncAfterSeconds"])
    assert len(waits) > 5
    assert min(waits) >= 15
    assert max(waits) <= 18


def test_c61_a_bug_in_the_provider_is_no_success() -> None:
    provider = FakeProvider()
    provider.get = lambda ref, fresh: 1 / 0  # type: ignore[method-assign]
    answer = app(provider).post("/machine/sync", json=body(machine()))
    assert answer.status_code == 500
    assert answer.json == {"error": "internal error: ZeroDivisionError"}


def test_c63_c64_a_call_that_is_repeated_makes_no_second_pool() -> None:
    provider = FakeProvider()
    client = app(provider)
    for _ in range(3):
        client.post("/machine/sync", json=body(machine()))
    assert provider.asked.count("create") == 1


def test_c65_an_overlapping_call_for_the_same_machine_asks_nothing() -> None:
    entered, leave = threading.Event(), threading.Event()
    provider = FakeProvider()

    def create(request: Any) -> str:
        entered.set()
        assert leave.wait(10)
        return "Creating"

    provider.create = create  # type: ignore[method-assign]
    web = create_machine_app(provider, lambda: NOW, log_stream=io.StringIO())
    request = body(machine())
    first = threading.Thread(target=lambda: web.test_client().post("/machine/sync", json=request))
    first.start()
    assert entered.wait(10)
    asked = list(provider.asked)
    sync = web.test_client().post("/machine/sync", json=request)
    end = web.test_client().post("/machine/finalize", json=body(machine(), (), True))
    other = web.test_client().post(
        "/machine/sync", json=body(machine(metadata={"uid": "other", "finalizers": []}))
    )
    leave.set()
    first.join()
    assert checked(sync)["resyncAfterSeconds"] >= 5
    assert checked(end, True)["finalized"] is False
    assert checked(other)
    assert provider.asked == [*asked, "get"]


def test_c67_customize_depends_on_the_uid_only() -> None:
    plain = app().post("/machine/customize", json={"parent": machine()})
    other = machine(status=ready_status(), metadata={"labels": {}, "annotations": {"a": "b"}})
    assert app().post("/machine/customize", json={"parent": other}).data == plain.data
    (rule,) = plain.json["relatedResources"]
    assert rule["labelSelector"] == {"matchLabels": {"kaito.sh/machine-uid": UID}}
    assert set(plain.json) == {"relatedResources"}


def test_c73_health_is_independent_of_azure_and_readiness_is_not() -> None:
    provider = FakeProvider()
    provider.unavailable_reason = lambda: "no token for Azure"  # type: ignore[method-assign]
    assert app(provider).get("/healthz").status_code == 200
    assert app(provider).get("/readyz").status_code == 503


def test_the_time_that_a_deletion_takes_is_a_number_until_it_ends() -> None:
    provider = FakeProvider(Ours("Deleting"))
    client = app(provider)
    parent = machine(metadata={"deletionTimestamp": "2026-01-01T11:50:00Z"})
    client.post("/machine/finalize", json=body(parent, (), True))
    line = f'kaito_machine_finalizing_seconds{{name="{NAME}",namespace="ml"}} 600'
    assert line in client.get("/metrics").text
    provider.pool = Absent()
    parent["status"] = {"absentSince": "2026-01-01T11:59:00Z"}
    client.post("/machine/finalize", json=body(parent, (), True))
    assert line not in client.get("/metrics").text


def test_calls_to_the_provider_are_counted_by_what_came_of_them() -> None:
    client = app(FakeProvider(error=errors.QuotaExceeded()))
    client.post("/machine/sync", json=body(machine()))
    text = client.get("/metrics").text
    assert 'kaito_provider_calls_total{call="ReadPool",outcome="Absent"} 1' in text
    assert 'kaito_provider_calls_total{call="CreatePool",outcome="QuotaExceeded"} 1' in text


def test_a_machine_that_is_ready_says_nothing_but_that() -> None:
    status = ready_status()
    assert {reason(status, type_).split("/")[0] for type_ in READY} == {"True"}
    assert not condition(status, "Reconciling")
