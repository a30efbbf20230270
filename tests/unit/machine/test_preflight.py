"""Before the first PUT, on the pure decision: what the region says, and what becomes of it."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from kaito_hooks.machine import errors
from kaito_hooks.machine.actions import CreatePool, ReadQuotas, ReadSizes, observe
from kaito_hooks.machine.catalog import Quota, Size, Sizes
from kaito_hooks.machine.provider import Absent, Unknown
from kaito_hooks.machine.sync import decide
from kaito_hooks.metacontroller import parse_sync

from tests.unit.machine.builders import SIZE, body, condition, machine, reason

NOW = datetime(2026, 1, 1, 12, tzinfo=UTC)
FAMILY = "standardNCSv3Family"
OFFERED = Sizes("westeurope", {SIZE.lower(): Size(SIZE, FAMILY, 6)})
NOTHING = Unknown(errors.Unreadable())


def sync(sizes=None, quotas=None, capacity=(), **overrides):
    parent = machine(**overrides)
    if capacity:
        wanted = {"key": "karpenter.sh/capacity-type", "operator": "In", "values": list(capacity)}
        parent["spec"]["requirements"].append(wanted)
    found = observe(parse_sync(body(parent)))
    found = replace(found, pool=Absent(), is_fresh=True, sizes=sizes, quotas=quotas)
    return decide(found, NOW)


def quotas(**figures):
    return {name: Quota(*pair) for name, pair in figures.items()}


def test_sizes_are_asked_first_then_quota_then_the_pool() -> None:
    assert sync() == ReadSizes()
    assert sync(OFFERED) == ReadQuotas()
    assert isinstance(sync(OFFERED, quotas(standardncsv3family=(6, 0))), CreatePool)


def test_the_call_that_reads_the_long_list_does_nothing_else() -> None:
    step = sync(replace(OFFERED, is_fresh=True))
    assert reason(step.status) == "Unknown/CheckingOffer"
    assert 1 <= step.resync_seconds <= 2


@pytest.mark.parametrize("known", [(NOTHING, None), (OFFERED, NOTHING), (OFFERED, {})])
def test_advice_that_can_not_be_had_keeps_nothing_from_happening(known) -> None:
    assert isinstance(sync(*known), CreatePool)


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        (Sizes("westeurope", {}), "Standard_NC6s_v3 is not offered in westeurope."),
        (
            Sizes(
                "westeurope", {SIZE.lower(): Size(SIZE, FAMILY, 6, "NotAvailableForSubscription")}
            ),
            "(NotAvailableForSubscription)",
        ),
    ],
)
def test_a_size_that_can_not_be_had_is_refused_until_someone_asks_again(sizes, said) -> None:
    step = sync(sizes)
    assert reason(step.status) == "False/SkuNotAvailable"
    assert reason(step.status, "Stalled") == "True/SkuNotAvailable"
    assert said in condition(step.status, "Ready")["message"]
    assert sync(sizes, status=step.status).status == step.status
    again = {"annotations": {"kaito.sh/retry": "1"}}
    assert sync(None, status=step.status, metadata=again) == ReadSizes()


def test_a_list_that_is_cut_off_refuses_nothing() -> None:
    assert sync(Sizes("westeurope", {}, is_complete=False)) == ReadQuotas()


@pytest.mark.parametrize(
    ("figures", "seconds", "said"),
    [
        ({"standardncsv3family": (12, 8)}, 600, "limit 12, used 8, needed 6"),
        ({"standardncsv3family": (0, 0)}, 3600, "limit 0, used 0, needed 6"),
        ({"standardncsv3family": (12, 0), "cores": (20, 20)}, 600, "cores: limit 20, used 20"),
    ],
)
def test_quota_that_is_too_small_is_told_with_its_figures(figures, seconds, said) -> None:
    step = sync(OFFERED, quotas(**figures))
    assert reason(step.status) == "False/QuotaExceeded"
    assert said in condition(step.status, "Ready")["message"]
    assert seconds <= step.resync_seconds <= seconds * 1.2
    assert step.status["attempt"]["count"] == 0


def test_spot_has_a_quota_of_its_own() -> None:
    no_spot = quotas(lowprioritycores=(3, 0), standardncsv3family=(100, 0))
    assert reason(sync(OFFERED, no_spot, ["spot"]).status) == "False/QuotaExceeded"
    assert isinstance(sync(OFFERED, no_spot), CreatePool)


@pytest.mark.parametrize(
    ("capacity", "is_spot"),
    [((), False), (["on-demand"], False), (["spot"], True), (["spot", "on-demand"], True),
     (["other"], False)],
)  # fmt: skip
def test_what_the_machine_allows_is_asked_for(capacity, is_spot) -> None:
    step = sync(NOTHING, None, capacity)
    assert isinstance(step, CreatePool)
    assert step.request.is_spot == is_spot


def test_when_spot_can_not_be_had_a_regular_node_is_asked_for_at_once_and_spot_again_later() -> (
    None
):
    both = ["spot", "on-demand"]
    no_spot = quotas(lowprioritycores=(0, 0))
    refused = sync(OFFERED, no_spot, both)
    assert refused.status["attempt"]["priority"] == "Spot"
    regular = sync(OFFERED, no_spot, both, status=refused.status)
    assert isinstance(regular, CreatePool)
    assert not regular.request.is_spot
    neither = quotas(lowprioritycores=(0, 0), standardncsv3family=(0, 0))
    waiting = sync(OFFERED, neither, both, status=refused.status)
    assert waiting.status["attempt"]["priority"] == "Regular"
    assert sync(OFFERED, neither, both, status=waiting.status).status == waiting.status


def test_a_machine_that_must_be_spot_waits_for_spot() -> None:
    refused = sync(OFFERED, quotas(lowprioritycores=(0, 0)), ["spot"])
    again = sync(OFFERED, quotas(lowprioritycores=(99, 0)), ["spot"], status=refused.status)
    assert again.resync_seconds > 3000
