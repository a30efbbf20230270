"""One test per row of the finalize table (reference 5.6), on the pure decision."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kaito_hooks.kube.conditions import timestamp
from kaito_hooks.machine import errors
from kaito_hooks.machine.actions import (
    Answer,
    Deleted,
    DeletePool,
    ListPools,
    ReadOperation,
    ReadPool,
    observe,
)
from kaito_hooks.machine.finalize import decide, keep
from kaito_hooks.machine.provider import Absent, Foreign, ListedPool, Listing, Ours, Unknown
from kaito_hooks.metacontroller import parse_sync
from kaito_hooks.providers.aks import errors as aks

from tests.unit.machine.builders import NAME, UID, body, condition, machine, reason

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SYSTEM = ListedPool("system", Ours("Succeeded"), is_system=True)
CLEAN = Listing((SYSTEM,))


def ago(**delta: Any) -> Any:
    return timestamp(NOW - timedelta(**delta))


def finalize(
    pool: Any = None,
    *,
    fresh: Any = True,
    listing: Any = None,
    outcome: Any = None,
    deleted: Any = None,
    operation: Any = "",
    **overrides: Any,
) -> Any:
    deleted = deleted or ago(minutes=1)
    overrides["metadata"] = {"deletionTimestamp": deleted, **overrides.get("metadata", {})}
    found = observe(parse_sync(body(machine(**overrides), (), True)))
    found = replace(found, pool=pool, is_fresh=fresh, listing=listing, outcome=outcome)
    return decide(replace(found, operation=operation), NOW)


def test_f1_a_name_that_no_pool_can_have_is_let_go_without_a_call() -> None:
    step = finalize(metadata={"name": "no-pool-has-this"})
    assert isinstance(step, Answer)
    assert step.finalized


def test_f2_unknown_is_never_absent() -> None:
    step = finalize(Unknown(errors.Unreachable()))
    assert not step.finalized
    assert reason(step.status) == "False/Deleting"
    assert reason(step.status, "ProviderTrouble") == "True/ProviderUnreachable"
    assert reason(step.status, "DeletionBlocked") == ""
    assert step.resync_seconds >= 15


def test_f2_after_five_minutes_the_deletion_is_called_blocked() -> None:
    step = finalize(Unknown(errors.Forbidden()), deleted=ago(minutes=6))
    assert reason(step.status, "DeletionBlocked") == "True/Forbidden"


def test_f2_calls_are_spaced_as_the_server_asks() -> None:
    first = finalize(Unknown(errors.Throttled(retry_after=120)))
    assert 120 <= first.resync_seconds <= 144
    assert finalize(fresh=False, status=first.status).status == first.status


@pytest.mark.parametrize("pool", [Absent(), Foreign()])
def test_f3_f6_that_nothing_of_ours_is_there_is_seen_once(pool: Any) -> None:
    assert finalize(pool) == ListPools()
    step = finalize(pool, listing=CLEAN)
    assert not step.finalized
    assert step.status["absentSince"] == timestamp(NOW)
    assert 45 <= step.resync_seconds <= 54


@pytest.mark.parametrize("pool", [Absent(), Foreign()])
def test_f3_f7_and_twice(pool: Any) -> None:
    step = finalize(pool, listing=CLEAN, status={"absentSince": ago(seconds=45)})
    assert step.finalized


@pytest.mark.parametrize(
    "listing",
    [
        Listing(()),
        Listing((ListedPool("other", Ours("Succeeded")),)),
        Listing((SYSTEM, ListedPool(NAME, Ours("Creating"), (UID,)))),
        Listing((SYSTEM, ListedPool(NAME, Ours("Creating")))),
        Unknown(errors.Unanswered()),
    ],
)
def test_f6_a_list_that_proves_nothing_keeps_the_machine(listing: Any) -> None:
    step = finalize(Absent(), listing=listing, status={"absentSince": ago(seconds=50)})
    assert not step.finalized


@pytest.mark.parametrize("claimed", [ago(hours=2), timestamp(NOW + timedelta(hours=1)), "never"])
def test_f6_a_moment_that_can_not_be_is_no_proof(claimed: Any) -> None:
    step = finalize(Absent(), listing=CLEAN, status={"absentSince": claimed})
    assert not step.finalized
    assert step.status["absentSince"] == timestamp(NOW)


def test_f4_ours_is_deleted_as_it_was_read() -> None:
    assert finalize(fresh=False) == ReadPool(fresh=True)
    assert finalize(Ours("Succeeded", "e1")) == DeletePool("e1")
    step = finalize(Ours("Succeeded", "e1"), outcome=Deleted())
    assert not step.finalized
    assert step.status["pool"]["provisioningState"] == "Deleting"


@pytest.mark.parametrize("state", ["Creating", "Failed", "Canceled"])
def test_f4_in_whatever_state_that_is_none_of_azures_own(state: Any) -> None:
    assert finalize(Ours(state, "e1")) == DeletePool("e1")


@pytest.mark.parametrize("state", ["Starting", "Upgrading", "Updating", "Scaling", "Reticulating"])
def test_f4_not_while_azure_is_at_work_on_the_pool(state: Any) -> None:
    step = finalize(Ours(state, "e1"))
    assert reason(step.status, "ProviderTrouble") == "True/AKSBusy"
    assert state in condition(step.status, "Ready")["message"]


def test_f4_nor_while_azure_is_at_work_on_the_cluster() -> None:
    assert finalize(Ours("Succeeded", "e1"), operation=None) == ReadOperation()
    step = finalize(Ours("Succeeded", "e1"), operation="Starting")
    assert reason(step.status, "ProviderTrouble") == "True/AKSBusy"
    unknown = finalize(Ours("Succeeded", "e1"), operation=Unknown(errors.Unreachable()))
    assert reason(unknown.status, "ProviderTrouble") == "True/ProviderUnreachable"


def test_f4_without_the_right_to_read_the_cluster_the_state_of_the_pool_decides_in_the_end() -> (
    None
):
    unread = Unknown(errors.Forbidden())
    step = finalize(Ours("Succeeded", "e1"), operation=unread)
    assert reason(step.status, "ProviderTrouble") == "True/Forbidden"
    early, late = mismatch("Forbidden", minutes=9), mismatch("Forbidden", minutes=11)
    assert isinstance(finalize(Ours("Succeeded", "e1"), operation=unread, status=early), Answer)
    assert finalize(Ours("Succeeded", "e1"), operation=unread, status=late) == DeletePool("e1")
    assert isinstance(finalize(Ours("Starting", "e1"), operation=unread, status=late), Answer)


def test_f4_no_trouble_makes_a_paid_node_wait_for_hours() -> None:
    for error in (errors.InvalidRequest(), aks.Locked(), aks.SubscriptionDisabled()):
        assert finalize(Ours("Succeeded", "e1"), outcome=error).resync_seconds <= 360


def test_f4a_a_busy_cluster_is_asked_again() -> None:
    step = finalize(Ours("Creating", "e1"), outcome=errors.Busy())
    assert 30 <= step.resync_seconds <= 36
    assert not step.finalized


def test_f4b_a_changed_pool_is_read_again_soon() -> None:
    step = finalize(Ours("Succeeded", "e1"), outcome=errors.EtagMismatch())
    assert step.resync_seconds <= 6


def mismatch(reason_: Any = "EtagMismatch", **since: Any) -> Any:
    trouble_ = {
        "type": "ProviderTrouble",
        "status": "True",
        "reason": "EtagMismatch",
        "message": "",
    }
    return {
        "conditions": [{**trouble_, "lastTransitionTime": ago(**since)}],
        "lastError": {"class": reason_, "code": "", "message": ""},
    }


def test_f4b_an_etag_that_never_matches_does_not_keep_a_paid_node() -> None:
    assert finalize(Ours("Succeeded", "e1"), status=mismatch(seconds=30)) == DeletePool("e1")
    assert finalize(Ours("Succeeded", "e1"), status=mismatch(minutes=3)) == DeletePool("")


def test_f4b_a_pool_without_etag_is_not_deleted_at_once() -> None:
    step = finalize(Ours("Succeeded"))
    assert reason(step.status, "ProviderTrouble") == "True/EtagMismatch"
    assert isinstance(finalize(Ours("Succeeded"), status=mismatch(seconds=30)), Answer)
    assert finalize(Ours("Succeeded"), status=mismatch(minutes=3)) == DeletePool("")


def test_f5_there_is_no_second_deletion() -> None:
    hint = {"pool": {"name": NAME, "provisioningState": "Deleting"}}
    assert finalize(fresh=False, status=hint) == ReadPool(fresh=False)
    step = finalize(Ours("Deleting"), fresh=False, status=hint)
    assert isinstance(step, Answer)
    assert not step.finalized


def test_f5_a_deletion_that_failed_is_asked_for_again() -> None:
    hint = {"pool": {"name": NAME, "provisioningState": "Deleting"}}
    assert finalize(Ours("Failed"), fresh=False, status=hint) == ReadPool(fresh=True)
    seen = finalize(Ours("Failed"), status=hint)
    assert reason(seen.status, "ProviderTrouble") == "True/DeletionFailed"
    assert seen.resync_seconds >= 15
    assert finalize(fresh=False, status=seen.status).status == seen.status
    assert finalize(Ours("Failed", "e2"), status=seen.status) == DeletePool("e2")


def test_f6_what_the_shared_list_lacks_is_looked_for_in_the_next_call() -> None:
    hint = {"pool": {"name": NAME, "provisioningState": "Deleting"}}
    assert finalize(Absent(), fresh=False, status=hint) == ReadPool(fresh=True)
    seen = finalize(Absent(), status=hint)
    assert finalize(fresh=False, status=seen.status) == ReadPool(fresh=True)


def test_a_machine_that_only_left_the_selector_is_finalized_the_same_way() -> None:
    assert finalize(Ours("Succeeded", "e1"), deleted="") == DeletePool("e1")


READY = [
    {"type": type_, "status": "True", "reason": "NodeReady", "message": "m"}
    for type_ in ("MachineLaunched", "MachineRegistered", "MachineInitialized", "Ready")
]


def test_f2_a_machine_on_its_way_out_is_never_repeated_as_ready() -> None:
    trouble_ = {"type": "ProviderTrouble", "status": "True", "reason": "Throttled", "message": "m"}
    later = timestamp(NOW + timedelta(seconds=2))
    status = {"conditions": [*READY, trouble_], "attempt": {"retryAfter": later}}
    step = finalize(status=status)
    assert reason(step.status) == "False/Deleting"
    assert step.resync_seconds >= 5
    found = observe(parse_sync(body(machine(status={"conditions": READY}), (), True)))
    assert reason(keep(found, NOW, 5).status) == "False/Deleting"


def test_f6_between_the_two_looks_nothing_is_asked() -> None:
    step = finalize(status={"absentSince": ago(seconds=30)})
    assert isinstance(step, Answer)
    assert 15 <= step.resync_seconds <= 18
    assert step.status["absentSince"] == ago(seconds=30)
    assert finalize(status={"absentSince": ago(seconds=46)}) == ReadPool(fresh=True)


def test_f6_a_moment_to_come_delays_no_longer_than_the_proof_takes() -> None:
    step = finalize(status={"absentSince": "2099-01-01T00:00:00Z"})
    assert step.status["absentSince"] == timestamp(NOW)
    assert step.resync_seconds <= 45 * 1.2
