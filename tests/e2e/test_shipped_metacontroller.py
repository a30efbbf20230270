"""Metacontroller with the flags and the rights of its component, and nothing more."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e import metacontroller
from tests.e2e.control_plane import ControlPlane
from tests.e2e.hook_gate import HookGate
from tests.e2e.real_world import RealWorld, real_story
from tests.harness.story import NAME, TUNING


def test_a_workspace_lives_and_goes_with_what_ships(
    plane: ControlPlane, gate: HookGate, tmp_path: Path
) -> None:
    program = metacontroller.find()
    if program is None:
        pytest.skip(metacontroller.HOW_TO_GET)
    kubeconfig = metacontroller.install_shipped(plane, tmp_path)
    flags = metacontroller.shipped_flags()

    def loop(world: RealWorld) -> metacontroller.MetacontrollerProcess:
        return metacontroller.MetacontrollerProcess(plane, program, flags, kubeconfig)

    with real_story(RealWorld(plane, gate, loop)) as world:
        world.apply(TUNING)
        world.check_succeeds()
        world.nodes_come()
        world.tunes()
        world.serves()
        world.becomes("WorkspaceReady", NAME)
        world.is_a_fixed_point()
        world.deleted()
    # "forbidden" alone is also what a namespace that ends answers to the story before this one.
    assert "forbidden: User" not in plane.tail("metacontroller", size=1_000_000)
