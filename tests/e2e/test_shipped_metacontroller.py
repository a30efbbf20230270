"""Metacontroller with the flags and the rights of its component, and nothing more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import metacontroller
from tests.e2e.control_plane import ControlPlane
from tests.e2e.hook_proxy import HookProxy
from tests.e2e.real_story import RealStory, real_story
from tests.harness.story import NAME, TUNING


def test_a_workspace_lives_and_goes_with_what_ships(
    plane: ControlPlane, proxy: HookProxy, tmp_path: Path
) -> None:
    program = metacontroller.find()
    if program is None:
        pytest.skip(metacontroller.HOW_TO_GET)
    kubeconfig = metacontroller.install_shipped(plane, tmp_path)
    flags = metacontroller.shipped_flags()

    def loop(story: RealStory) -> metacontroller.MetacontrollerProcess:
        return metacontroller.MetacontrollerProcess(plane, program, flags, kubeconfig)

    with real_story(RealStory(plane, proxy, loop)) as story:
        story.apply(TUNING)
        story.check_succeeds()
        story.nodes_come()
        story.tunes()
        story.serves()
        story.becomes("WorkspaceReady", NAME)
        story.is_a_fixed_point()
        story.deleted()
    # "forbidden" alone is also what a namespace that ends answers to the story before this one.
    assert "forbidden: User" not in plane.tail("metacontroller", size=1_000_000)
