"""One test per row of the transition table (reference 5.5), on the pure decision."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kaito_hooks.kube.conditions import timestamp
from kaito_hooks.kube.times import parse_timestamp
from kaito_hooks.machine import errors
from kaito_hooks.machine.actions import (
    Answer,
    Created,
    CreatePool,
    Deleted,
    DeletePool,
    ListPools,
    ReadOperation,
    ReadPool,
    observe,
)
from kaito_hooks.machine.provider import Absent, Foreign, ListedPool, Listing, Ours, Unknown
from kaito_hooks.machine.sync import decide
from kaito_hooks.metacontroller import parse_sync
from kaito_hooks.providers.aks import errors as aks

from tests.unit.machine.builders import NAME, UID, body, condition, machine, node, reason

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SYSTEM = ListedPool("system", Ours("Succeeded"), is_system=True)


def ago(**delta: Any) -> Any:
    return timestamp(NOW - timedelta(**delta))


def conditions(**reasons: Any) -> Any:
    """Conditions that came about an hour ago, as in MachineLaunched='True/Launched'."""
    return [
        {
            "type": type_,
            "status": value.split("/")[0],
            "reason": value.split("/")[1],
            "message": "",
            "lastTransitionTime": ago(hours=1),
            "observedGeneration": 1,
        }
        for type_, value in reasons.items()
    ]


READY = conditions(
    MachineLaunched="True/Launched",
    MachineRegistered="True/Registered",
    MachineInitialized="True/Initialized",
    Ready="True/NodeReady",
)
LAUNCHED = conditions(
    MachineLaunched="True/Launched",
    MachineRegistered="False/NodeNotFound",
    MachineInitialized="False/NodeNotFound",
    Ready="False/NodeNotFound",
)


def seen(
    pool: Any = None,
    *,
    nodes: Any = (),
    fresh: Any = True,
    listing: Any = None,
    outcome: Any = None,
    operation: Any = "",
    digest: Any = "",
    **overrides: Any,
) -> Any:
    found = observe(parse_sync(body(machine(**overrides), nodes)))
    found = replace(found, pool=pool, is_fresh=fresh, listing=listing, outcome=outcome)
    return replace(found, operation=operation, digest=digest)


def pool_hint(state: Any = "") -> Any:
    return {"pool": {"name": NAME, "provisioningState": state}}


def sync(*args: Any, **overrides: Any) -> Any:
    """Without advice of the region: the table below is about the pool."""
    found = seen(*args, **overrides)
    return decide(replace(found, availability=found.availability or NO_ADVICE), NOW)


NO_ADVICE = Unknown(errors.Unreadable())


def status_of(*args: Any, **overrides: Any) -> Any:
    step = sync(*args, **overrides)
    assert isinstance(step, Answer), step
    return step.status


# Row 1


@pytest.mark.parametrize(
    ("overrides", "part"),
    [
        ({"metadata": {"name": "Has-Dash"}}, "`metadata.name`"),
        ({"metadata": {"name": "a123456789012"}}, "1 to 12"),
        ({"spec": {"requirements": []}}, "exactly one"),
        ({"spec": {"resources": {"requests": {"storage": "-5"}}}}, "storage"),
        ({"spec": {"resources": {"requests": {"storage": "99Ti"}}}}, "at most 2048Gi"),
    ],
)
def test_1_what_can_not_be_is_said_and_nothing_is_asked(overrides: Any, part: Any) -> None:
    step = sync(**overrides)
    assert reason(step.status) == "False/InvalidSpec"
    assert reason(step.status, "Stalled") == "True/InvalidSpec"
    assert part in condition(step.status, "MachineLaunched")["message"]
    assert step.resync_seconds >= 600


def test_1_two_sizes_are_one_too_many() -> None:
    requirement = {"key": "node.kubernetes.io/instance-type", "operator": "In"}
    spec = {"requirements": [{**requirement, "values": ["Standard_A", "Standard_B"]}]}
    assert reason(status_of(spec=spec)) == "False/InvalidSpec"


# Reading


def test_a_machine_without_status_is_read_afresh() -> None:
    assert sync(fresh=False) == ReadPool(fresh=True)


def test_a_pool_that_was_seen_is_polled_through_the_shared_list() -> None:
    assert sync(fresh=False, status=pool_hint("Creating")) == ReadPool(fresh=False)


@pytest.mark.parametrize("pool", [Absent(), Foreign(), Ours("Failed"), Ours("Canceled")])
def test_what_may_lead_to_a_change_is_read_afresh(pool: Any) -> None:
    assert sync(pool, fresh=False, status=pool_hint("Creating")) == ReadPool(fresh=True)


@pytest.mark.parametrize("pool", [Absent(), Ours("Failed"), Ours("Canceled")])
def test_and_acted_upon_in_the_next_call(pool: Any) -> None:
    listed = sync(pool, status=pool_hint("Creating"))
    assert listed.resync_seconds <= 2
    assert sync(fresh=False, status=listed.status) == ReadPool(fresh=True)


def test_a_list_that_is_older_than_the_ready_node_is_not_believed() -> None:
    assert sync(Ours("Creating"), fresh=False, nodes=[node()]) == ReadPool(fresh=True)
    assert isinstance(sync(Ours("Creating"), fresh=False, nodes=[node(ready="False")]), Answer)


def test_a_list_that_is_older_than_what_was_seen_is_not_believed() -> None:
    launched = {"conditions": [{"type": "MachineLaunched", "status": "True"}], **pool_hint("x")}
    assert sync(Ours("Creating"), fresh=False, status=launched) == ReadPool(fresh=True)


@pytest.mark.parametrize("state", ["Upgrading", "Updating", "Succeeded"])
def test_a_list_that_shows_what_azure_is_at_work_on_is_believed(state: Any) -> None:
    launched = {"conditions": READY, **pool_hint("Succeeded")}
    assert isinstance(sync(Ours(state), fresh=False, nodes=[node()], status=launched), Answer)


def test_nothing_is_asked_for_a_machine_that_is_being_deleted() -> None:
    step = sync(metadata={"deletionTimestamp": ago(minutes=1)})
    assert isinstance(step, Answer)


# Row 2


@pytest.mark.parametrize(
    "error",
    [errors.Unreachable(), errors.Unanswered(), errors.Unreadable(), errors.ConfigError()],
)
def test_2_unknown_keeps_all_conditions_and_says_what_is_in_the_way(error: Any) -> None:
    status = status_of(Unknown(error), status={"conditions": READY})
    assert reason(status) == "True/NodeReady"
    assert reason(status, "ProviderTrouble") == f"True/{error.reason}"
    assert status["lastError"]["class"] == error.reason


def test_2_unknown_at_first_is_unknown() -> None:
    status = status_of(Unknown(errors.ConfigError("ResourceGroupNotFound")))
    assert reason(status) == "Unknown/ConfigError"
    assert reason(status, "Stalled") == "True/ConfigError"


def test_2_the_wait_is_as_the_server_asks() -> None:
    step = sync(Unknown(errors.Throttled(retry_after=60)))
    assert 60 <= step.resync_seconds <= 72
    assert step.status["attempt"]["retryAfter"] == timestamp(NOW + timedelta(seconds=60))


@pytest.mark.parametrize(("lasted", "wait"), [(0, 15), (20, 20), (120, 120), (9999, 300)])
def test_2_without_a_word_of_the_server_the_wait_grows_with_the_trouble(
    lasted: Any, wait: Any
) -> None:
    before = conditions(ProviderTrouble="True/ProviderUnreachable")
    before[0]["lastTransitionTime"] = ago(seconds=lasted)
    step = sync(Unknown(errors.Unreachable()), status={"conditions": before})
    assert step.status["attempt"]["retryAfter"] == timestamp(NOW + timedelta(seconds=wait))


def test_2_nothing_is_asked_before_that_moment_and_the_status_stays() -> None:
    first = sync(Unknown(errors.Throttled(retry_after=60)), status={"conditions": READY})
    second = sync(fresh=False, status=first.status)
    assert second == first


def test_2_a_trouble_does_not_shorten_the_wait_for_quota() -> None:
    quota = sync(Absent(), outcome=errors.QuotaIsZero())
    status = status_of(Unknown(errors.Unreachable()), status=quota.status)
    assert status["attempt"]["retryAfter"] == quota.status["attempt"]["retryAfter"]
    assert reason(status, "MachineLaunched") == "False/QuotaExceeded"


def test_2_a_moment_that_is_too_far_ahead_is_not_waited_for() -> None:
    status = {
        "conditions": conditions(ProviderTrouble="True/Throttled"),
        "attempt": {"retryAfter": "2099-01-01T00:00:00Z"},
    }
    assert sync(fresh=False, status=status) == ReadPool(fresh=True)


# Row 3


def test_3_a_pool_of_someone_else_is_never_touched() -> None:
    step = sync(Foreign())
    assert reason(step.status) == "False/NameConflict"
    assert reason(step.status, "Stalled") == "True/NameConflict"


# Rows 4 to 6


def test_4_absent_is_waited_out_until_the_next_try() -> None:
    first = sync(Absent(), outcome=errors.QuotaExceeded("QuotaExceeded", "Family Cores quota"))
    step = decide(seen(Absent(), status=first.status), NOW + timedelta(seconds=100))
    assert isinstance(step, Answer)
    assert step.status == first.status
    assert 500 <= step.resync_seconds <= 600


def test_5_a_pool_that_was_there_is_looked_for_in_the_list() -> None:
    assert sync(Absent(), status={"pool": {"name": NAME}}) == ListPools()


def test_5_absent_once_is_no_reason_to_create() -> None:
    listing = Listing((SYSTEM,))
    step = sync(Absent(), listing=listing, status={"pool": {"name": NAME}, "conditions": READY})
    assert reason(step.status) == "False/PoolMissing"
    assert step.status["absentSince"] == timestamp(NOW)
    assert 45 <= step.resync_seconds <= 54


def test_5_absent_twice_is_in_the_next_call() -> None:
    status = {"pool": {"name": NAME}, "absentSince": ago(seconds=45)}
    step = sync(Absent(), listing=Listing((SYSTEM,)), status=status)
    assert step.resync_seconds <= 2
    assert "pool" not in step.status
    assert isinstance(sync(Absent(), status=step.status), CreatePool)


@pytest.mark.parametrize(
    "listing",
    [
        Listing(()),
        Listing((SYSTEM, ListedPool(NAME, Ours("Creating"), (UID,)))),
        Unknown(errors.Unreadable()),
    ],
)
def test_5_a_list_that_proves_nothing_is_unknown(listing: Any) -> None:
    status = {"pool": {"name": NAME}, "absentSince": ago(seconds=45)}
    step = sync(Absent(), listing=listing, status=status)
    assert reason(step.status, "ProviderTrouble") == "True/ProviderUnreadable"


def test_6_absent_is_created() -> None:
    step = sync(Absent())
    assert isinstance(step, CreatePool)
    assert (step.request.ref.name, step.request.ref.uid) == (NAME, UID)
    assert (step.request.size, step.request.disk_gib) == ("Standard_NC6s_v3", 100)
    assert step.request.labels["kaito.sh/machine-uid"] == UID
    assert "controller-uid" not in step.request.labels


@pytest.mark.parametrize("finalizers", [[], None, ["foregroundDeletion"], "metacontroller.io/x"])
def test_6_nothing_is_created_before_the_finalizer(finalizers: Any) -> None:
    step = sync(Absent(), metadata={"finalizers": finalizers})
    assert reason(step.status) == "False/AwaitingFinalizer"


def test_6a_an_accepted_pool_is_creating_and_counted() -> None:
    status = status_of(Absent(), outcome=Created("Creating"))
    assert reason(status) == "False/Creating"
    assert status["pool"] == {"name": NAME, "provisioningState": "Creating"}
    assert status["attempt"] == {
        "count": 1,
        "firstAt": timestamp(NOW),
        "priority": "Regular",
    }


def test_6b_a_pool_that_appeared_is_looked_at() -> None:
    step = sync(Absent(), outcome=errors.AlreadyExists())
    assert 1 <= step.resync_seconds <= 2
    assert step.status["pool"] == {"name": NAME}
    assert "attempt" not in step.status


@pytest.mark.parametrize(
    ("error", "wait", "count"),
    [
        (errors.Busy(), 30, 0),
        (errors.Throttled(), 30, 0),
        (errors.Throttled(retry_after=60), 60, 0),
        (errors.QuotaExceeded(), 600, 1),
        (errors.QuotaIsZero(), 3600, 1),
        (errors.InsufficientCapacity(), 3600, 1),
        (errors.SubnetFull(), 600, 1),
        (errors.PoolLimit(), 600, 1),
        (errors.Forbidden(), 300, 1),
    ],
)
def test_6c_6d_6f_what_may_be_granted_later_is_asked_for_later(
    error: Any, wait: Any, count: Any
) -> None:
    step = sync(Absent(), outcome=error)
    assert reason(step.status) == f"False/{error.reason}"
    assert step.status["attempt"]["retryAfter"] == timestamp(NOW + timedelta(seconds=wait))
    assert step.status["attempt"]["count"] == count
    assert wait <= step.resync_seconds <= 1.2 * wait


def test_6c_a_pool_that_is_already_being_created_is_creating() -> None:
    assert reason(status_of(Absent(), outcome=errors.Underway())) == "False/Creating"


@pytest.mark.parametrize("error", [errors.SkuNotAvailable(), errors.SpotRefused()])
def test_6e_a_refusal_is_final_for_the_machine(error: Any) -> None:
    first = sync(Absent(), outcome=error)
    assert reason(first.status, "Stalled") == f"True/{error.reason}"
    later = decide(seen(Absent(), status=first.status), NOW + timedelta(days=2))
    assert isinstance(later, Answer)
    assert later.status == first.status


DENIED = [
    errors.SkuNotAvailable(),
    errors.InvalidRequest(),
    errors.SettingRefused(setting="KAITO_POOL_ZONES"),
    errors.Forbidden(),
    errors.QuotaIsZero(),
]


@pytest.mark.parametrize("error", DENIED)
@pytest.mark.parametrize(
    "change",
    [
        {"metadata": {"generation": 2}},
        {"metadata": {"annotations": {"kaito.sh/retry": "now"}}},
        {"digest": "another"},
    ],
)
def test_6e_6f_a_change_of_what_is_asked_is_tried_at_once(error: Any, change: Any) -> None:
    first = sync(Absent(), outcome=error, digest="one")
    assert isinstance(sync(Absent(), status=first.status, digest="one"), Answer)
    assert isinstance(
        sync(Absent(), status=first.status, **{"digest": "one", **change}), CreatePool
    )


@pytest.mark.parametrize("error", [errors.Throttled(), errors.Busy()])
def test_6d_no_change_overtakes_a_server_that_asked_for_time(error: Any) -> None:
    first = sync(Absent(), outcome=errors.QuotaExceeded(), digest="one")
    second = sync(Absent(), outcome=error, status=first.status, digest="two")
    assert isinstance(sync(Absent(), status=second.status, digest="three"), Answer)


@pytest.mark.parametrize("error", [errors.Throttled(), errors.Busy()])
def test_6d_a_delay_is_no_news_where_there_is_a_reason(error: Any) -> None:
    first = sync(Absent(), outcome=errors.QuotaExceeded("c", "d"))
    second = sync(Absent(), outcome=error, status=first.status)
    assert second.status["conditions"] == first.status["conditions"]
    assert second.status["lastError"] == first.status["lastError"]


@pytest.mark.parametrize(
    ("error", "waits"),
    [
        (errors.Busy(), [30, 60, 120, 240, 300, 300]),
        (errors.Throttled(retry_after=100), [100, 100, 120, 240, 300]),
        (errors.QuotaExceeded(), [600, 1200, 1800, 1800]),
        (errors.InvalidRequest(), [3600, 7200, 14400, 21600, 21600]),
        (errors.InsufficientCapacity(), [3600, 3600]),
        (aks.SkuShortage(), [7200, 14400, 21600]),
        (errors.Forbidden(), [300, 600, 1200, 2400, 3600, 3600]),
    ],
)
def test_6c_6f_the_same_trouble_again_is_asked_for_less_and_less_often(
    error: Any, waits: Any
) -> None:
    status: dict[str, Any] = {}
    now, found = NOW, []
    for _ in waits:
        step = decide(
            replace(seen(Absent(), outcome=error, status=status), availability=NO_ADVICE), now
        )
        assert isinstance(step, Answer)
        again = parse_timestamp(step.status["attempt"]["retryAfter"])
        assert again is not None
        found.append(int((again - now).total_seconds()))
        status, now = step.status, now + timedelta(seconds=step.resync_seconds)
    assert found == waits


def test_6f_another_trouble_begins_anew() -> None:
    first = sync(Absent(), outcome=errors.QuotaExceeded())
    second = sync(Absent(), outcome=errors.QuotaExceeded(), status=first.status)
    third = sync(Absent(), outcome=errors.SubnetFull(), status=second.status)
    assert third.status["attempt"]["retryAfter"] == timestamp(NOW + timedelta(seconds=600))


def test_6e_the_same_annotation_is_tried_once() -> None:
    meta = {"annotations": {"kaito.sh/retry": "now"}}
    first = sync(Absent(), outcome=errors.SkuNotAvailable(), metadata=meta)
    assert isinstance(sync(Absent(), status=first.status, metadata=meta), Answer)


def test_6g_no_answer_is_neither_a_pool_nor_none() -> None:
    status = status_of(Absent(), outcome=errors.Unanswered())
    assert reason(status) == "Unknown/ProviderUnanswered"
    assert sync(Absent(), status=status) == ListPools()


def test_6g_a_request_that_was_never_sent_leaves_no_trace_of_a_pool() -> None:
    assert "pool" not in status_of(Absent(), outcome=errors.Unreachable())


# Rows 7 to 9


@pytest.mark.parametrize("state", ["Creating", "Updating", "Scaling", "Reticulating"])
def test_7_any_state_that_is_not_an_end_is_creating(state: Any) -> None:
    status = status_of(Ours(state))
    assert reason(status) == "False/Creating"
    assert reason(status, "Reconciling") == "True/Creating"
    assert status["pool"]["provisioningState"] == state


def test_7_after_half_an_hour_it_is_called_slow() -> None:
    pool = Ours("Creating", created=NOW - timedelta(minutes=31))
    assert reason(status_of(pool)) == "False/CreateSlow"


def test_7_a_node_that_works_stays_ready_while_its_pool_is_updated() -> None:
    status = status_of(Ours("Updating"), nodes=[node()], status={"conditions": READY})
    assert reason(status) == "True/NodeReady"


def test_8_a_failed_pool_is_deleted_as_it_was_read() -> None:
    for state in ("Failed", "Canceled"):
        said = sync(Ours(state, etag="e1"))
        assert said.resync_seconds <= 2
        assert sync(Ours(state, etag="e1"), status=said.status) == DeletePool("e1")


def failed(pool: Any, **more: Any) -> Any:
    """What is said and done after the failure of the pool has been told."""
    return sync(pool, status=sync(pool).status, **more)


def test_8_without_an_etag_nothing_is_deleted_at_once() -> None:
    first = failed(Ours("Failed"))
    assert reason(first.status, "ProviderTrouble") == "True/EtagMismatch"
    again = decide(seen(Ours("Failed"), status=first.status), NOW + timedelta(seconds=100))
    assert isinstance(again, Answer)
    late = decide(seen(Ours("Failed"), status=first.status), NOW + timedelta(minutes=3))
    assert late == DeletePool("")


def test_8_an_etag_that_never_matches_is_asked_for_less_and_less_often_and_then_not_at_all() -> (
    None
):
    first = failed(Ours("Failed", "e1"), outcome=errors.EtagMismatch())
    assert first.resync_seconds <= 2
    assert isinstance(sync(fresh=False, status=first.status), Answer)
    soon = NOW + timedelta(seconds=2)
    found = seen(Ours("Failed", "e2"), outcome=errors.EtagMismatch(), status=first.status)
    second = decide(found, soon)
    assert isinstance(second, Answer)
    assert second.resync_seconds >= 15
    late = decide(seen(Ours("Failed", "e9"), status=first.status), NOW + timedelta(minutes=3))
    assert late == DeletePool("")


@pytest.mark.parametrize(
    ("error", "expected", "wait"),
    [
        (errors.InsufficientCapacity("AllocationFailed"), "InsufficientCapacity", 3600),
        (None, "PoolFailed", 600),
        (errors.SkuNotAvailable(), "SkuNotAvailable", 600),
    ],
)
def test_8_the_owner_reads_why_it_failed(error: Any, expected: Any, wait: Any) -> None:
    step = sync(Ours("Failed", "e1", error), outcome=Deleted())
    assert reason(step.status) == f"False/{expected}"
    assert step.status["attempt"]["retryAfter"] == timestamp(NOW + timedelta(seconds=wait))
    deleting = status_of(Ours("Deleting"), status=step.status)
    assert reason(deleting) == f"False/{expected}"
    absent = status_of(Absent(), status=deleting)
    assert reason(absent) == f"False/{expected}"


@pytest.mark.parametrize("error", [errors.Busy(), errors.EtagMismatch(), errors.Unanswered()])
def test_8_a_deletion_that_was_not_accepted_is_asked_for_again(error: Any) -> None:
    step = failed(Ours("Failed", "e1"), outcome=error)
    assert reason(step.status) == "False/PoolFailed"
    assert reason(step.status, "ProviderTrouble") == f"True/{error.reason}"
    assert isinstance(sync(fresh=False, status=step.status), Answer)
    assert sync(Ours("Failed", "e2"), status=step.status) == DeletePool("e2")


@pytest.mark.parametrize(
    "why", [errors.SetupFailed("VMExtensionProvisioningError", "exit status=1"), aks.NoDriver()]
)
def test_8_a_node_that_can_not_be_set_up_is_made_three_times_and_not_a_fourth(why: Any) -> None:
    status: dict[str, Any] = {}
    for tries in (1, 2, 3):
        status = {**status, **pool_hint("Failed")}
        step = sync(Ours("Failed", "e1", why), outcome=Deleted(), status=status)
        assert reason(step.status) == "False/NodeSetupFailed"
        assert (reason(step.status, "Stalled") != "") == (tries == 3)
        status = status_of(Ours("Creating"), status=step.status)
        assert step.status["attempt"]["inARow"] == tries
    later = NOW + timedelta(days=2)
    given_up = decide(seen(Absent(), status=step.status), later)
    assert isinstance(given_up, Answer)
    message = condition(given_up.status, "Stalled")["message"]
    assert message.startswith("3 nodes in a row")
    assert f"kubectl annotate machine {NAME} -n ml kaito.sh/retry=" in message
    again = {"annotations": {"kaito.sh/retry": "1"}}
    looked = decide(seen(Absent(), status=given_up.status, metadata=again), later)
    assert isinstance(looked, Answer)
    assert looked.resync_seconds <= 2


def test_8_a_deletion_that_failed_is_asked_for_again_after_a_while_and_is_not_another_node() -> (
    None
):
    made = NOW - timedelta(minutes=20)
    pool = Ours("Failed", "e1", errors.SetupFailed(), created=made)
    first = sync(pool, outcome=Deleted(), status=pool_hint("Failed"))
    found = sync(pool, status=first.status)
    assert reason(found.status, "ProviderTrouble") == "True/DeletionFailed"
    assert reason(found.status) == "False/NodeSetupFailed"
    assert isinstance(sync(fresh=False, status=found.status), Answer)
    again = sync(pool, outcome=Deleted(), status=found.status)
    assert again.status["attempt"]["inARow"] == 1
    other = replace(pool, created=NOW)
    assert sync(other, outcome=Deleted(), status=found.status).status["attempt"]["inARow"] == 2


def test_13_a_node_that_came_ends_the_count() -> None:
    first = sync(
        Ours("Failed", "e1", errors.SetupFailed()), outcome=Deleted(), status=pool_hint("Failed")
    )
    ready = sync(Ours("Succeeded"), nodes=[node()], status=first.status)
    assert "inARow" not in ready.status.get("attempt", {})


def test_8b_a_working_node_is_kept_although_its_pool_failed() -> None:
    status = status_of(Ours("Failed", "e1"), nodes=[node()], status={"conditions": READY})
    assert reason(status) == "True/NodeReady"
    assert reason(status, "Degraded") == "True/PoolFailed"


def test_9_a_pool_that_someone_else_deletes_is_let_go() -> None:
    status = status_of(Ours("Deleting"), status={"conditions": READY})
    assert reason(status) == "False/PoolDeleting"


# Rows 10 to 14


def test_10_a_pool_without_node_is_launched_and_not_registered() -> None:
    status = status_of(Ours("Succeeded"))
    assert reason(status, "MachineLaunched") == "True/Launched"
    assert reason(status) == "False/NodeNotFound"


OLD = Ours("Succeeded", "e1", created=NOW - timedelta(minutes=40))


def test_10_after_15_minutes_it_counts_as_failed() -> None:
    before = {"conditions": LAUNCHED, **pool_hint("Succeeded")}
    assert sync(fresh=False, status=before) == ReadPool(fresh=True)
    assert sync(OLD, status=before) == DeletePool("e1")
    status = status_of(OLD, outcome=Deleted(), status={"conditions": LAUNCHED})
    assert reason(status) == "False/NodeNotFound"
    assert status["attempt"]["retryAfter"] == timestamp(NOW + timedelta(minutes=10))


def test_10_trouble_with_the_deletion_does_not_begin_the_wait_anew() -> None:
    before = {"conditions": LAUNCHED, **pool_hint("Succeeded")}
    old = Ours("Succeeded", created=NOW - timedelta(minutes=40))
    step = sync(old, status=before)
    assert reason(step.status, "ProviderTrouble") == "True/EtagMismatch"
    launched = condition(step.status, "MachineLaunched")
    assert (launched["status"], launched["lastTransitionTime"]) == ("True", ago(hours=1))
    later = decide(seen(old, status=step.status), NOW + timedelta(minutes=3))
    assert later == DeletePool("")


def test_10_an_edited_status_can_not_age_a_young_pool() -> None:
    young = Ours("Succeeded", "e1", created=NOW - timedelta(minutes=5))
    assert isinstance(sync(young, status={"conditions": LAUNCHED}), Answer)


def test_10_a_pool_whose_node_was_used_is_not_deleted_by_us() -> None:
    assert isinstance(sync(OLD, status={"conditions": READY}), Answer)


def test_11_two_nodes_are_one_too_many() -> None:
    status = status_of(Ours("Succeeded"), nodes=[node("a"), node("b")])
    assert reason(status) == "False/MultipleNodesFound"
    assert "a, b" in condition(status, "Ready")["message"]


NOT_READY = {"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (node(ready="False"), "NodeNotReady"),
        (node(taints=[NOT_READY]), "KnownEphemeralTaintsExist"),
        (node(taints=[{"key": "setup", "effect": "NoSchedule"}]), "StartupTaintsExist"),
        (node(gpus="0"), "ResourceNotRegistered"),
    ],
)
def test_12_a_node_that_is_not_usable_yet_is_registered(found: Any, expected: Any) -> None:
    spec = {"startupTaints": [{"key": "setup", "effect": "NoSchedule"}]}
    status = status_of(Ours("Succeeded"), nodes=[found], spec=spec)
    assert reason(status, "MachineRegistered") == "True/Registered"
    assert reason(status) == f"False/{expected}"
    assert status["nodeName"] == "aks-node-0"


@pytest.mark.parametrize(
    "size", ["Standard_D4s_v3", "Standard_NP10s", "Standard_NV4as_v4", "Standard_ND96isr_MI300X_v5"]
)
def test_12_a_size_without_nvidia_gpu_needs_none(size: Any) -> None:
    requirement = {"key": "node.kubernetes.io/instance-type", "operator": "In"}
    spec = {"requirements": [{**requirement, "values": [size]}]}
    assert (
        reason(status_of(Ours("Succeeded"), nodes=[node(gpus="0")], spec=spec)) == "True/NodeReady"
    )


def test_13_ready_shows_the_node_in_round_numbers() -> None:
    step = sync(Ours("Succeeded"), nodes=[node()])
    assert reason(step.status) == "True/NodeReady"
    assert step.status["providerID"] == "azure:///aks-node-0"
    assert step.status["capacity"]["memory"] == "110Gi"
    assert step.status["allocatable"]["nvidia.com/gpu"] == "1"
    assert 300 <= step.resync_seconds <= 360
    types = [item["type"] for item in step.status["conditions"]]
    assert types == ["MachineInitialized", "MachineLaunched", "MachineRegistered", "Ready"]


@pytest.mark.parametrize("nodes", [[], [node(ready="Unknown")], [node(gpus="0")]])
def test_14_a_node_that_was_ready_and_is_not_is_left_to_its_owner(nodes: Any) -> None:
    before = {"conditions": READY, "nodeName": "aks-node-0"}
    status = status_of(Ours("Succeeded"), nodes=nodes, status=before)
    assert condition(status, "Ready")["status"] == "False"
    assert reason(status, "MachineInitialized") == "True/Initialized"
    assert status["nodeName"] == "aks-node-0"
    assert reason(status, "Stalled") == ""


DOWN = conditions(
    MachineLaunched="True/Launched",
    MachineRegistered="True/Registered",
    MachineInitialized="True/Initialized",
    Ready="False/NodeNotReady",
    NodeUnhealthy="True/NodeNotReady",
)


def test_14_after_ten_minutes_it_is_lost() -> None:
    status = status_of(Ours("Succeeded"), status={"conditions": DOWN})
    assert reason(status) == "False/NodeLost"
    assert reason(status, "Stalled") == "True/NodeLost"


@pytest.mark.parametrize("before", [READY, DOWN])
def test_14_whether_azure_itself_is_at_work_is_asked_at_first_and_before_it_is_called_lost(
    before: Any,
) -> None:
    step = sync(Ours("Succeeded"), operation=None, status={"conditions": before})
    assert step == ReadOperation()


@pytest.mark.parametrize(
    ("pool", "operation"),
    [
        (Ours("Upgrading"), None),
        (Ours("UpgradingNodeImageVersion"), None),
        (Ours("Starting"), ""),
        (Ours("Succeeded"), "Starting"),
        (Ours("Succeeded"), "Stopped"),
    ],
)
@pytest.mark.parametrize("before", [READY, DOWN])
def test_14_nothing_is_lost_while_azure_is_at_work(pool: Any, operation: Any, before: Any) -> None:
    status = status_of(pool, operation=operation, status={"conditions": before})
    assert reason(status) == "False/NodeUpdating"
    assert reason(status, "NodeUnhealthy") == ""
    assert (pool.operation or operation) in condition(status, "Ready")["message"]


def test_14_the_ten_minutes_begin_when_azure_has_finished() -> None:
    during = status_of(Ours("Upgrading"), status={"conditions": DOWN})
    after = status_of(Ours("Succeeded"), status=during)
    assert reason(after) == "False/NodeNotReady"
    assert condition(after, "NodeUnhealthy")["lastTransitionTime"] == timestamp(NOW)


def test_14_what_is_not_known_of_the_cluster_loses_no_node() -> None:
    unknown = Unknown(errors.Unreachable())
    status = status_of(Ours("Succeeded"), operation=unknown, status={"conditions": DOWN})
    assert reason(status) == "False/NodeNotReady"


def test_14_a_pool_that_someone_stopped_says_so_and_is_not_lost() -> None:
    pool = Ours("Succeeded", stopped=True)
    for before in (READY, DOWN):
        status = status_of(pool, nodes=[node()], status={"conditions": before})
        assert "stopped" in condition(status, "Ready")["message"]
        assert reason(status) == "False/NodeNotReady"
        assert reason(status, "NodeUnhealthy") == ""


def test_14_a_cordoned_node_stays_ready() -> None:
    cordoned = node(taints=[NOT_READY])
    status = status_of(Ours("Succeeded"), nodes=[cordoned], status={"conditions": READY})
    assert reason(status) == "True/NodeReady"
