from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.contract.providers import clouds


@pytest.fixture(params=["aks", "karpenter"])
def cloud(request: pytest.FixtureRequest) -> Iterator[clouds.Cloud]:
    with getattr(clouds, request.param)() as found:
        yield found
