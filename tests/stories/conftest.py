from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.process_story import ProcessStory, laptop_story
from tests.harness.story import Story, story


@pytest.fixture
def world() -> Iterator[Story]:
    with story() as world:
        yield world


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProcessStory]:
    with laptop_story(tmp_path_factory.mktemp("laptop")) as world:
        yield world
