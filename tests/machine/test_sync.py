"""One test per row of the transition table (reference 5.5), on the pure decision."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from kaito_hooks.kube.conditions import timestamp
from kaito_hooks.machine import trouble
from kaito_hooks.machine.provider import Absent, Foreign, ListedPool, Listing, Ours, Unknown
from kaito_hooks.machine.steps import (
    Answer,
    Created,
    CreatePool,
    Deleted,
    DeletePool,
    ListPools,
    ReadPool,
    observe,
)
from kaito_hooks.machine.sync import decide
from kaito_hooks.metacontroller import parse_sync
from machine.builders import NAME, UID, body, condition, machine, node, reason

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
SYSTEM = ListedPool("system", Ours("Succeeded"), is_system=True)


def ago(**delta):
    return timestamp(NOW - timedelta(**delta))


def conditions(**reasons):
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


def seen(pool=None, *, nodes=(), fresh=True, listing=None, outcome=None, **overrides):
    found = observe(parse_sync(body(machine(**overrides), nodes)))
    return replace(found, pool=pool, is_fresh=fresh, listing=listing, outcome=outcome)


def sync(*args, **overrides):
    """Without advice of the region: the table below is about the pool."""
    found = seen(*args, **overrides)
    return decide(replace(found, sizes=found.sizes or Unknown(trouble.Unreadable())), NOW)


def status_of(*args, **overrides):
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
def test_1_what_can_not_be_is_said_and_nothing_is_asked(overrides, part):
    step = sync(**overrides)
    assert reason(step.status) == "False/InvalidSpec"
    assert reason(step.status, "Stalled") == "True/InvalidSpec"
    assert part in condition(step.status, "MachineLaunched")["message"]
    assert step.resync_seconds >= 600


def test_1_two_sizes_are_one_too_many():
    requirement = {"key": "node.kubernetes.io/instance-type", "operator": "In"}
    spec = {"requirements": [{**requirement, "values": ["Standard_A", "Standard_B"]}]}
    assert reason(status_of(spec=spec)) == "False/InvalidSpec"


# Reading


def test_a_machine_without_status_is_read_afresh():
    assert sync(fresh=False) == ReadPool(fresh=True)


def test_a_pool_that_was_seen_is_polled_through_the_shared_list():
    assert sync(fresh=False, status={"pool": {"name": NAME}}) == ReadPool(fresh=False)


@pytest.mark.parametrize("pool", [Absent(), Foreign(), Ours("Failed"), Ours("Canceled")])
def test_what_may_lead_to_a_change_is_read_afresh(pool):
    assert sync(pool, fresh=False) == ReadPool(fresh=True)


def test_a_list_that_is_older_than_the_ready_node_is_not_believed():
    assert sync(Ours("Creating"), fresh=False, nodes=[node()]) == ReadPool(fresh=True)
    assert isinstance(sync(Ours("Creating"), fresh=False, nodes=[node(ready="False")]), Answer)


def test_a_list_that_is_older_than_what_was_seen_is_not_believed():
    launched = {
        "conditions": [{"type": "MachineLaunched", "status": "True"}],
        "pool": {"name": NAME},
    }
    assert sync(Ours("Creating"), fresh=False, status=launched) == ReadPool(fresh=True)


def test_nothing_is_asked_for_a_machine_that_is_being_deleted():
    step = sync(metadata={"deletionTimestamp": ago(minutes=1)})
    assert isinstance(step, Answer)


# Row 2


@pytest.mark.parametrize(
    "error",
    [trouble.Unreachable(), trouble.Unanswered(), trouble.Unreadable(), trouble.ConfigError()],
)
def test_2_unknown_keeps_all_conditions_and_says_what_is_in_the_way(error):
    status = status_of(Unknown(error), status={"conditions": READY})
    assert reason(status) == "True/NodeReady"
    assert reason(status, "ProviderTrouble") == f"True/{error.reason}"
    assert status["lastError"]["class"] == error.reason


def test_2_unknown_at_first_is_unknown():
    status = status_of(Unknown(trouble.ConfigError("ResourceGroupNotFound")))
    assert reason(status) == "Unknown/ConfigError"
    assert reason(status, "Stalled") == "True/ConfigError"


def test_2_the_wait_is_as_the_server_asks():
    step = sync(Unknown(trouble.Throttled(retry_after=60)))
    assert 60 <= step.resync_seconds <= 72
    assert step.status["attempt"]["retryAfter"] == timestamp(NOW + timedelta(seconds=60))


@pytest.mark.parametrize(("lasted", "wait"), [(0, 15), (20, 20), (120, 120), (9999, 300)])
def test_2_without_a_word_of_the_server_the_wait_grows_with_the_trouble(lasted, wait):
    before = conditions(ProviderTrouble="True/ProviderUnreachable")
    before[0]["lastTransitionTime"] = ago(seconds=lasted)
    step = sync(Unknown(trouble.Unreachable()), status={"conditions": before})
    assert step.status["attempt"]["retryAfter"] == timestamp(NOW + timedelta(seconds=wait))


def test_2_nothing_is_asked_before_that_moment_and_the_status_stays():
    first = sync(Unknown(trouble.Throttled(retry_after=60)), status={"conditions": READY})
    second = sync(fresh=False, status=first.status)
    assert second == first


def test_2_a_trouble_does_not_shorten_the_wait_for_quota():
    quota = sync(Absent(), outcome=trouble.QuotaIsZero())
    status = status_of(Unknown(trouble.Unreachable()), status=quota.status)
    assert status["attempt"]["retryAfter"] == quota.status["attempt"]["retryAfter"]
    assert reason(status, "MachineLaunched") == "False/QuotaExceeded"


def test_2_a_moment_that_is_too_far_ahead_is_not_waited_for():
    status = {
        "conditions": conditions(ProviderTrouble="True/Throttled"),
        "attempt": {"retryAfter": "2099-01-01T00:00:00Z"},
    }
    assert sync(fresh=False, status=status) == ReadPool(fresh=True)


# Row 3


def test_3_a_pool_of_someone_else_is_never_touched():
    step = sync(Foreign())
    assert reason(step.status) == "False/NameConflict"
    assert reason(step.status, "Stalled") == "True/NameConflict"


# Rows 4 to 6


def test_4_absent_is_waited_out_until_the_next_try():
    first = sync(Absent(), outcome=trouble.QuotaExceeded("QuotaExceeded", "Family Cores quota"))
    step = decide(seen(Absent(), status=first.status), NOW + timedelta(seconds=100))
    assert isinstance(step, Answer)
    assert step.status == first.status
    assert 500 <= step.resync_seconds <= 600


def test_5_a_pool_that_was_there_is_looked_for_in_the_list():
    assert sync(Absent(), status={"pool": {"name": NAME}}) == ListPools()


def test_5_absent_once_is_no_reason_to_create():
    listing = Listing((SYSTEM,))
    step = sync(Absent(), listing=listing, status={"pool": {"name": NAME}, "conditions": READY})
    assert reason(step.status) == "False/PoolMissing"
    assert step.status["absentSince"] == timestamp(NOW)
    assert 45 <= step.resync_seconds <= 54


def test_5_absent_twice_is():
    status = {"pool": {"name": NAME}, "absentSince": ago(seconds=45)}
    step = sync(Absent(), listing=Listing((SYSTEM,)), status=status)
    assert isinstance(step, CreatePool)


@pytest.mark.parametrize(
    "listing",
    [
        Listing(()),
        Listing((SYSTEM, ListedPool(NAME, Ours("Creating"), (UID,)))),
        Unknown(trouble.Unreadable()),
    ],
)
def test_5_a_list_that_proves_nothing_is_unknown(listing):
    status = {"pool": {"name": NAME}, "absentSince": ago(seconds=45)}
    step = sync(Absent(), listing=listing, status=status)
    assert reason(step.status, "ProviderTrouble") == "True/ProviderUnreadable"


def test_6_absent_is_created():
    step = sync(Absent())
    assert isinstance(step, CreatePool)
    assert (step.request.ref.name, step.request.ref.uid) == (NAME, UID)
    assert (step.request.size, step.request.disk_gib) == ("Standard_NC6s_v3", 100)
    assert step.request.labels["kaito.sh/machine-uid"] == UID
    assert "controller-uid" not in step.request.labels


@pytest.mark.parametrize("finalizers", [[], None, ["foregroundDeletion"], "metacontroller.io/x"])
def test_6_nothing_is_created_before_the_finalizer(finalizers):
    step = sync(Absent(), metadata={"finalizers": finalizers})
    assert reason(step.status) == "False/AwaitingFinalizer"


def test_6a_an_accepted_pool_is_creating_and_counted():
    status = status_of(Absent(), outcome=Created("Creating"))
    assert reason(status) == "False/Creating"
    assert status["pool"] == {"name": NAME, "provisioningState": "Creating"}
    assert status["attempt"] == {
        "count": 1,
        "firstAt": timestamp(NOW),
        "priority": "Regular",
    }


def test_6b_a_pool_that_appeared_is_looked_at():
    step = sync(Absent(), outcome=trouble.AlreadyExists())
    assert 1 <= step.resync_seconds <= 2
    assert step.status["pool"] == {"name": NAME}
    assert "attempt" not in step.status


@pytest.mark.parametrize(
    ("error", "wait", "count"),
    [
        (trouble.Busy(), 30, 0),
        (trouble.Throttled(), 30, 0),
        (trouble.Throttled(retry_after=60), 60, 0),
        (trouble.QuotaExceeded(), 600, 1),
        (trouble.QuotaIsZero(), 3600, 1),
        (trouble.InsufficientCapacity(), 3600, 1),
        (trouble.SubnetFull(), 600, 1),
        (trouble.PoolLimit(), 600, 1),
        (trouble.Forbidden(), 300, 1),
    ],
)
def test_6c_6d_6f_what_may_be_granted_later_is_asked_for_later(error, wait, count):
    step = sync(Absent(), outcome=error)
    assert reason(step.status) == f"False/{error.reason}"
    assert step.status["attempt"]["retryAfter"] == timestamp(NOW + timedelta(seconds=wait))
    assert step.status["attempt"]["count"] == count
    assert wait <= step.resync_seconds <= 1.2 * wait


def test_6c_a_pool_that_is_already_being_created_is_creating():
    assert reason(status_of(Absent(), outcome=trouble.Underway())) == "False/Creating"


@pytest.mark.parametrize("error", [trouble.SkuNotAvailable(), trouble.InvalidRequest()])
def test_6e_a_refusal_is_final_for_the_machine(error):
    first = sync(Absent(), outcome=error)
    assert reason(first.status, "Stalled") == f"True/{error.reason}"
    later = decide(seen(Absent(), status=first.status), NOW + timedelta(days=2))
    assert isinstance(later, Answer)
    assert later.status == first.status


@pytest.mark.parametrize("change", [{"generation": 2}, {"annotations": {"kaito.sh/retry": "now"}}])
def test_6e_until_generation_or_annotation_change(change):
    first = sync(Absent(), outcome=trouble.SkuNotAvailable())
    assert isinstance(sync(Absent(), status=first.status, metadata=change), CreatePool)


def test_6e_the_same_annotation_is_tried_once():
    meta = {"annotations": {"kaito.sh/retry": "now"}}
    first = sync(Absent(), outcome=trouble.SkuNotAvailable(), metadata=meta)
    assert isinstance(sync(Absent(), status=first.status, metadata=meta), Answer)


def test_6g_no_answer_is_neither_a_pool_nor_none():
    status = status_of(Absent(), outcome=trouble.Unanswered())
    assert reason(status) == "Unknown/ProviderUnanswered"
    assert sync(Absent(), status=status) == ListPools()


def test_6g_a_request_that_was_never_sent_leaves_no_trace_of_a_pool():
    assert "pool" not in status_of(Absent(), outcome=trouble.Unreachable())


# Rows 7 to 9


@pytest.mark.parametrize("state", ["Creating", "Updating", "Scaling", "Reticulating"])
def test_7_any_state_that_is_not_an_end_is_creating(state):
    status = status_of(Ours(state))
    assert reason(status) == "False/Creating"
    assert reason(status, "Reconciling") == "True/Creating"
    assert status["pool"]["provisioningState"] == state


def test_7_after_half_an_hour_it_is_called_slow():
    pool = Ours("Creating", created=NOW - timedelta(minutes=31))
    assert reason(status_of(pool)) == "False/CreateSlow"


def test_7_a_node_that_works_stays_ready_while_its_pool_is_updated():
    status = status_of(Ours("Updating"), nodes=[node()], status={"conditions": READY})
    assert reason(status) == "True/NodeReady"


def test_8_a_failed_pool_is_deleted_as_it_was_read():
    assert sync(Ours("Failed", etag="e1")) == DeletePool("e1")
    assert sync(Ours("Canceled", etag="e1")) == DeletePool("e1")


def test_8_without_an_etag_nothing_is_deleted():
    assert isinstance(sync(Ours("Failed")), Answer)


@pytest.mark.parametrize(
    ("error", "expected", "wait"),
    [
        (trouble.InsufficientCapacity("AllocationFailed"), "InsufficientCapacity", 3600),
        (None, "PoolFailed", 600),
        (trouble.SkuNotAvailable(), "SkuNotAvailable", 600),
    ],
)
def test_8_the_owner_reads_why_it_failed(error, expected, wait):
    step = sync(Ours("Failed", "e1", error), outcome=Deleted())
    assert reason(step.status) == f"False/{expected}"
    assert step.status["attempt"]["retryAfter"] == timestamp(NOW + timedelta(seconds=wait))
    deleting = status_of(Ours("Deleting"), status=step.status)
    assert reason(deleting) == f"False/{expected}"
    absent = status_of(Absent(), status=deleting)
    assert reason(absent) == f"False/{expected}"


@pytest.mark.parametrize("error", [trouble.Busy(), trouble.EtagMismatch(), trouble.Unanswered()])
def test_8_a_deletion_that_was_not_accepted_is_asked_for_again(error):
    step = sync(Ours("Failed", "e1"), outcome=error)
    assert reason(step.status) == "False/PoolFailed"
    assert sync(Ours("Failed", "e2"), status=step.status) == DeletePool("e2")


def test_8b_a_working_node_is_kept_although_its_pool_failed():
    status = status_of(Ours("Failed", "e1"), nodes=[node()], status={"conditions": READY})
    assert reason(status) == "True/NodeReady"
    assert reason(status, "Degraded") == "True/PoolFailed"


def test_9_a_pool_that_someone_else_deletes_is_let_go():
    status = status_of(Ours("Deleting"), status={"conditions": READY})
    assert reason(status) == "False/PoolDeleting"


# Rows 10 to 14


def test_10_a_pool_without_node_is_launched_and_not_registered():
    status = status_of(Ours("Succeeded"))
    assert reason(status, "MachineLaunched") == "True/Launched"
    assert reason(status) == "False/NodeNotFound"


OLD = Ours("Succeeded", "e1", created=NOW - timedelta(minutes=40))


def test_10_after_15_minutes_it_counts_as_failed():
    assert sync(OLD, status={"conditions": LAUNCHED}) == DeletePool("e1")
    status = status_of(OLD, outcome=Deleted(), status={"conditions": LAUNCHED})
    assert reason(status) == "False/NodeNotFound"
    assert status["attempt"]["retryAfter"] == timestamp(NOW + timedelta(minutes=10))


def test_10_an_edited_status_can_not_age_a_young_pool():
    young = Ours("Succeeded", "e1", created=NOW - timedelta(minutes=5))
    assert isinstance(sync(young, status={"conditions": LAUNCHED}), Answer)


def test_10_a_pool_whose_node_was_used_is_not_deleted_by_us():
    assert isinstance(sync(OLD, status={"conditions": READY}), Answer)


def test_11_two_nodes_are_one_too_many():
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
def test_12_a_node_that_is_not_usable_yet_is_registered(found, expected):
    spec = {"startupTaints": [{"key": "setup", "effect": "NoSchedule"}]}
    status = status_of(Ours("Succeeded"), nodes=[found], spec=spec)
    assert reason(status, "MachineRegistered") == "True/Registered"
    assert reason(status) == f"False/{expected}"
    assert status["nodeName"] == "aks-node-0"


@pytest.mark.parametrize(
    "size", ["Standard_D4s_v3", "Standard_NP10s", "Standard_NV4as_v4", "Standard_ND96isr_MI300X_v5"]
)
def test_12_a_size_without_nvidia_gpu_needs_none(size):
    requirement = {"key": "node.kubernetes.io/instance-type", "operator": "In"}
    spec = {"requirements": [{**requirement, "values": [size]}]}
    assert (
        reason(status_of(Ours("Succeeded"), nodes=[node(gpus="0")], spec=spec)) == "True/NodeReady"
    )


def test_13_ready_shows_the_node_in_round_numbers():
    step = sync(Ours("Succeeded"), nodes=[node()])
    assert reason(step.status) == "True/NodeReady"
    assert step.status["providerID"] == "azure:///aks-node-0"
    assert step.status["capacity"]["memory"] == "110Gi"
    assert step.status["allocatable"]["nvidia.com/gpu"] == "1"
    assert 300 <= step.resync_seconds <= 360
    types = [item["type"] for item in step.status["conditions"]]
    assert types == ["MachineInitialized", "MachineLaunched", "MachineRegistered", "Ready"]


@pytest.mark.parametrize("nodes", [[], [node(ready="Unknown")], [node(gpus="0")]])
def test_14_a_node_that_was_ready_and_is_not_is_left_to_its_owner(nodes):
    before = {"conditions": READY, "nodeName": "aks-node-0"}
    status = status_of(Ours("Succeeded"), nodes=nodes, status=before)
    assert condition(status, "Ready")["status"] == "False"
    assert reason(status, "MachineInitialized") == "True/Initialized"
    assert status["nodeName"] == "aks-node-0"
    assert reason(status, "Stalled") == ""


def test_14_after_ten_minutes_it_is_lost():
    before = conditions(
        MachineLaunched="True/Launched",
        MachineRegistered="True/Registered",
        MachineInitialized="True/Initialized",
        Ready="False/NodeNotReady",
    )
    status = status_of(Ours("Succeeded"), status={"conditions": before})
    assert reason(status) == "False/NodeLost"
    assert reason(status, "Stalled") == "True/NodeLost"


def test_14_a_stopped_pool_says_so():
    pool = Ours("Succeeded", stopped=True)
    status = status_of(pool, nodes=[node()], status={"conditions": READY})
    assert "stopped" in condition(status, "Ready")["message"]


def test_14_a_cordoned_node_stays_ready():
    cordoned = node(taints=[NOT_READY])
    status = status_of(Ours("Succeeded"), nodes=[cordoned], status={"conditions": READY})
    assert reason(status) == "True/NodeReady"
