"""Every manifest in examples/ is accepted as it is, and goes as far as it can without its owner's names."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from support.story import Story
from support.wire import ROOT

EXAMPLES = sorted((ROOT / "examples").rglob("*.yaml"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_an_example_is_accepted_and_goes_on(world: Story, path: Path) -> None:
    (document,) = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    name = document["metadata"]["name"]
    world.apply(path)
    if "ACR_REPO_HERE" in path.read_text(encoding="utf-8"):
        world.says("OutputImageInvalid", name)
        assert world.machines() == []
    elif "tuning" in document:
        world.check_succeeds(name)
        world.nodes_come(name)
    else:
        world.nodes_come(name)
        if document["inference"]["preset"].get("accessMode") != "private":
            world.serves(name, tuned=False)
            world.becomes("WorkspaceReady", name)
        assert len(world.machines()) == document["resource"].get("count", 1)
