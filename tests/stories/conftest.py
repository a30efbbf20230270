from __future__ import annotations

from collections.abc import Iterator

import pytest

from support.story import Story, story


@pytest.fixture
def world() -> Iterator[Story]:
    with story() as world:
        yield world
