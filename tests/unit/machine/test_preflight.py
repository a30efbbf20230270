"""Before a pool is asked for, on the pure decision: what the provider can look up, and what becomes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from kaito_hooks.machine import errors
from kaito_hooks.machine.actions import Answer, CheckAvailability, CreatePool, Decision, observe
from kaito_hooks.machine.provider import Absent, Availability, Unknown
from kaito_hooks.machine.sync import decide
from kaito_hooks.metacontroller import parse_sync

from tests.unit.machine.builders import SIZE, body, condition, machine, reason

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
AVAILABLE = Availability()
NO_SIZE = Availability(errors.SkuNotAvailable("NotOffered", "It is not offered."))
NO_QUOTA = Availability(errors.QuotaExceeded("QuotaTooSmall", "limit 12, used 8, needed 6"))
BOTH = ["spot", "on-demand"]


def sync(
    availability: Availability | Unknown | None = None,
    capacity: Sequence[str] = (),
    **overrides: Any,
) -> Decision:
    parent = machine(**overrides)
    if capacity:
        wanted = {"key": "karpenter.sh/capacity-type", "operator": "In", "values": list(capacity)}
        parent["spec"]["requirements"].append(wanted)
    found = observe(parse_sync(body(parent)))
    found = replace(found, pool=Absent(), is_fresh=True, availability=availability)
    return decide(found, NOW)


def answer(*args: Any, **overrides: Any) -> Answer:
    decision = sync(*args, **overrides)
    assert isinstance(decision, Answer), decision
    return decision


def test_it_is_looked_up_first_then_the_pool_is_asked_for() -> None:
    assert sync() == CheckAvailability(SIZE, is_spot=False)
    assert isinstance(sync(AVAILABLE), CreatePool)


def test_the_call_that_reads_a_long_list_does_nothing_else() -> None:
    step = answer(Availability(is_complete=False))
    assert reason(step.status) == "Unknown/CheckingOffer"
    assert 1 <= step.resync_seconds <= 2


def test_advice_that_is_missing_keeps_nothing_from_happening() -> None:
    assert isinstance(sync(Unknown(errors.Unreadable())), CreatePool)


def test_a_size_that_is_not_available_is_refused_until_someone_asks_again() -> None:
    step = answer(NO_SIZE)
    assert reason(step.status) == "False/SkuNotAvailable"
    assert reason(step.status, "Stalled") == "True/SkuNotAvailable"
    assert "It is not offered." in condition(step.status, "Ready")["message"]
    assert answer(NO_SIZE, status=step.status).status == step.status
    again = {"annotations": {"kaito.sh/retry": "1"}}
    assert isinstance(sync(None, status=step.status, metadata=again), CheckAvailability)


@pytest.mark.parametrize(
    ("error", "seconds"), [(NO_QUOTA.error, 600), (errors.QuotaIsZero("Q", "limit 0"), 3600)]
)
def test_quota_that_is_too_small_is_told_with_its_figures(
    error: errors.ProviderError, seconds: int
) -> None:
    step = answer(Availability(error))
    assert reason(step.status) == "False/QuotaExceeded"
    assert error.detail in condition(step.status, "Ready")["message"]
    assert seconds <= step.resync_seconds <= seconds * 1.2
    assert step.status["attempt"]["count"] == 0


@pytest.mark.parametrize(
    ("capacity", "is_spot"),
    [((), False), (["on-demand"], False), (["spot"], True), (BOTH, True), (["other"], False)],
)
def test_what_the_machine_allows_is_asked_for(capacity: Sequence[str], is_spot: bool) -> None:
    assert sync(None, capacity) == CheckAvailability(SIZE, is_spot)
    step = sync(AVAILABLE, capacity)
    assert isinstance(step, CreatePool)
    assert step.request.is_spot == is_spot


def test_without_spot_a_regular_node_is_asked_for_at_once_and_spot_again_later() -> None:
    refused = answer(NO_QUOTA, BOTH)
    assert refused.status["attempt"]["priority"] == "Spot"
    regular = sync(AVAILABLE, BOTH, status=refused.status)
    assert isinstance(regular, CreatePool)
    assert not regular.request.is_spot
    waiting = answer(NO_QUOTA, BOTH, status=refused.status)
    assert waiting.status["attempt"]["priority"] == "Regular"
    assert answer(NO_QUOTA, BOTH, status=waiting.status).status == waiting.status


def test_a_machine_that_must_be_spot_waits_for_spot() -> None:
    refused = answer(Availability(errors.QuotaIsZero()), ["spot"])
    again = answer(AVAILABLE, ["spot"], status=refused.status)
    assert again.resync_seconds > 3000
