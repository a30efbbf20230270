"""Whatever arrives, and whatever the provider says: nothing is raised, no invariant is broken."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kaito_hooks.errors import BadRequest
from kaito_hooks.kube.objects import metadata
from kaito_hooks.machine import errors, finalize, sync
from kaito_hooks.machine.actions import (
    Answer,
    CheckAvailability,
    Created,
    CreatePool,
    Deleted,
    DeletePool,
    ListPools,
    ReadOperation,
    ReadPool,
    observe,
)
from kaito_hooks.machine.provider import (
    Absent,
    Availability,
    Foreign,
    ListedPool,
    Listing,
    Ours,
    Unknown,
)
from kaito_hooks.metacontroller import dump, parse_sync

from tests.unit.machine.builders import NAME, UID, body, machine, node

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)

words = st.sampled_from(
    ["", "True", "False", "Creating", "Succeeded", "Failed", NAME, UID, "2026-01-01T11:59:00Z",
     "2099-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "SkuNotAvailable", "MachineLaunched",
     "MachineInitialized", "Ready", "ProviderTrouble", "In", "Standard_NC6s_v3", "1e3", "50Gi"]
)  # fmt: skip
keys = st.sampled_from(
    ["conditions", "attempt", "pool", "lastError", "absentSince", "type", "status", "reason", "name",
     "count", "retryAfter", "class", "lastTransitionTime", "requirements", "key", "values", "taints",
     "resources", "requests", "storage", "labels", "finalizers", "deletionTimestamp", "annotations"]
)  # fmt: skip
leaves = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | words | st.text()
json_values = st.recursive(
    leaves,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(), inner, max_size=4)
    ),
    max_leaves=12,
)

provider_errors = st.sampled_from(
    [errors.Busy(), errors.Throttled(retry_after=10**6), errors.QuotaExceeded("c", "d"),
     errors.SkuNotAvailable(), errors.Unanswered(), errors.Unreachable(), errors.ConfigError(),
     errors.EtagMismatch(), errors.AlreadyExists(), errors.Underway(), errors.PoolFailed(),
     errors.Forbidden(), errors.SetupFailed(), errors.InvalidRequest(), errors.SpotRefused()]
)  # fmt: skip
states = st.sampled_from(
    ["Creating", "Succeeded", "Failed", "Canceled", "Deleting", "Updating", "Reticulating"]
)
ours = st.builds(
    Ours,
    state=states,
    etag=st.sampled_from(["", "e1"]),
    error=st.none() | provider_errors,
    created=st.none() | st.just(NOW.replace(hour=10)),
    stopped=st.booleans(),
)
pools = st.just(Absent()) | st.just(Foreign()) | st.builds(Unknown, provider_errors) | ours
system = ListedPool("system", Ours("Succeeded"), is_system=True)
listings = st.sampled_from([Listing(()), Listing((system,))]) | st.builds(Unknown, provider_errors)
operations = st.sampled_from(["", "", "Starting"]) | st.builds(Unknown, provider_errors)
nodes = st.lists(st.sampled_from([node("a"), node("b", ready="False"), node("c", gpus="0")]))


@st.composite
def parents(draw: Any) -> Any:
    """Real Machines, Machines with anything in them, and anything."""
    parent = machine()
    for key in draw(st.sets(st.sampled_from(["spec", "status", "kind"]))):
        parent[key] = draw(json_values)
    meta = parent["metadata"]
    for key in draw(st.sets(st.sampled_from(["labels", "finalizers", "annotations", "uid"]))):
        meta[key] = draw(json_values)
    if draw(st.booleans()):
        meta["deletionTimestamp"] = draw(words)
    return parent


def drive(
    decide: Any, observed: Any, pool: Any, listing: Any, outcome: Any, operation: Any = ""
) -> Any:
    """Answer each call as drawn, until there is an answer; return the calls and the answer."""
    calls: list[Any] = []
    for _ in range(5):
        step = decide(observed, NOW)
        if isinstance(step, Answer):
            return calls, step, observed
        calls.append((step, observed))
        match step:
            case ReadPool(fresh):
                observed = replace(observed, pool=pool, is_fresh=fresh)
            case ListPools():
                observed = replace(observed, listing=listing)
            case CheckAvailability():
                found = Availability() if len(calls) % 2 else Unknown(errors.Busy())
                observed = replace(observed, availability=found)
            case ReadOperation():
                observed = replace(observed, operation=operation)
            case CreatePool():
                accepted = Created("Creating")
                observed = replace(observed, outcome=outcome or accepted)
            case DeletePool():
                observed = replace(observed, outcome=outcome or Deleted())
    raise AssertionError(f"more than four steps: {calls}")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(parents(), pools, listings, st.none() | provider_errors, nodes, st.booleans(), operations)
def test_no_answer_of_the_provider_breaks_an_invariant(
    parent: Any,
    pool: Any,
    listing: Any,
    outcome: Any,
    related: Any,
    finalizing: Any,
    operation: Any,
) -> None:
    decide = finalize.decide if finalizing else sync.decide
    observed = observe(parse_sync(body(parent, related, finalizing)))
    calls, answer, seen = drive(decide, observed, pool, listing, outcome, operation)
    assert len(calls) <= 4
    for step, then in calls:
        if isinstance(step, CreatePool):
            assert not finalizing
            assert isinstance(then.pool, Absent)
            assert then.is_fresh
            assert not metadata(parent).get("deletionTimestamp")
            finalizers = metadata(parent)["finalizers"]
            assert any(str(item).startswith("metacontroller.io/") for item in finalizers)
        if isinstance(step, DeletePool):
            assert isinstance(then.pool, Ours)
            assert then.is_fresh
            assert step.etag in ("", then.pool.etag)
            assert not then.pool.operation
            assert then.operation == "" or isinstance(operation, Unknown)
    assert sum(isinstance(step, CreatePool | DeletePool) for step, _ in calls) <= 1
    if answer.finalized:
        assert finalizing
        has_name = observed.machine.can_have_pool
        assert not has_name or (isinstance(seen.pool, Absent | Foreign) and seen.listing)
    if finalizing and not answer.finalized:
        assert answer.resync_seconds >= 5
    dump(answer.status)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.just(machine()) | parents(), pools, listings, nodes, st.booleans(), operations)
def test_the_answer_fed_back_is_the_answer(
    parent: Any, pool: Any, listing: Any, related: Any, finalizing: Any, operation: Any
) -> None:
    """Else the status that is written causes a sync that writes a status, without end."""
    decide = finalize.decide if finalizing else sync.decide
    status = parent.get("status")
    seen = []
    for _ in range(4):
        observed = observe(parse_sync(body({**parent, "status": status}, related, finalizing)))
        _, answer, _ = drive(decide, observed, pool, listing, None, operation)
        seen.append(answer.status)
        if status == answer.status:
            return
        status = answer.status
    raise AssertionError(seen)


@settings(max_examples=100, deadline=None)
@given(json_values, json_values, json_values)
def test_any_json_as_request_is_answered_or_refused(
    parent: Any, children: Any, related: Any
) -> None:
    request = {"parent": parent, "children": children, "related": related}
    try:
        observed = observe(parse_sync(request))
    except BadRequest:
        return
    drive(sync.decide, observed, Absent(), Listing((system,)), None)


@settings(max_examples=80, deadline=None)
@given(json_values)
def test_an_edited_status_creates_and_deletes_nothing_that_would_not_be(status: Any) -> None:
    """It may delay a call; a pool that is there and works is left alone whatever it says."""
    parent = {**machine(), "status": status}
    observed = observe(parse_sync(body(parent, [node()])))
    working = Ours("Succeeded", "e1", created=NOW.replace(hour=1))
    calls, _, _ = drive(sync.decide, observed, working, Listing((system,)), None)
    assert all(isinstance(step, ReadPool | ListPools) for step, _ in calls)
