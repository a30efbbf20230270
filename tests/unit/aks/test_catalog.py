"""What a region has to offer: sizes, and the quota that is left."""

from __future__ import annotations

import pytest

from kaito_hooks.providers.aks.catalog import (
    Quota,
    Quotas,
    Size,
    Sizes,
    exceeded_quota,
    unavailable_size,
)
from kaito_hooks.providers.aks.errors import QuotaExceeded, QuotaIsZero

SIZE, FAMILY = "Standard_NC6s_v3", "standardNCSv3Family"
OFFERED = Sizes("westeurope", {SIZE.lower(): Size(SIZE, FAMILY, 6)})
RESTRICTED = Sizes(
    "westeurope", {SIZE.lower(): Size(SIZE, FAMILY, 6, "NotAvailableForSubscription")}
)


def quotas(**figures: tuple[int, int]) -> Quotas:
    return {name: Quota(*pair) for name, pair in figures.items()}


@pytest.mark.parametrize(
    ("sizes", "part"),
    [
        (Sizes("westeurope", {}), f"{SIZE} is not offered in westeurope."),
        (RESTRICTED, "(NotAvailableForSubscription)"),
    ],
)
def test_a_size_that_the_region_does_not_sell_is_told_by_name(sizes: Sizes, part: str) -> None:
    error = unavailable_size(sizes, SIZE)
    assert error is not None
    assert error.reason == "SkuNotAvailable"
    assert part in error.message(SIZE)


def test_what_is_sold_is_not_refused() -> None:
    assert unavailable_size(OFFERED, SIZE) is None
    assert exceeded_quota(OFFERED, quotas(standardncsv3family=(6, 0)), SIZE, False) is None
    assert exceeded_quota(OFFERED, {}, SIZE, False) is None


def test_a_list_that_is_cut_off_refuses_nothing() -> None:
    cut = Sizes("westeurope", {}, is_complete=False)
    assert unavailable_size(cut, SIZE) is None
    assert exceeded_quota(cut, quotas(cores=(0, 0)), SIZE, False) is None


@pytest.mark.parametrize(
    ("figures", "kind", "part"),
    [
        ({"standardncsv3family": (12, 8)}, QuotaExceeded, "limit 12, used 8, needed 6"),
        ({"standardncsv3family": (0, 0)}, QuotaIsZero, "limit 0, used 0, needed 6"),
        (
            {"standardncsv3family": (12, 0), "cores": (20, 20)},
            QuotaExceeded,
            "cores: limit 20, used 20",
        ),
    ],
)
def test_quota_that_is_too_small_is_told_with_its_figures(
    figures: dict[str, tuple[int, int]], kind: type[QuotaExceeded], part: str
) -> None:
    error = exceeded_quota(OFFERED, quotas(**figures), SIZE, False)
    assert type(error) is kind
    assert part in error.message(SIZE)


def test_spot_has_a_quota_of_its_own() -> None:
    no_spot = quotas(lowprioritycores=(3, 0), standardncsv3family=(100, 0))
    assert type(exceeded_quota(OFFERED, no_spot, SIZE, True)) is QuotaExceeded
    assert exceeded_quota(OFFERED, no_spot, SIZE, False) is None
