from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

pytest.register_assert_rewrite("tests")

from tests.e2e import binaries, metacontroller  # noqa: E402
from tests.e2e.control_plane import ControlPlane  # noqa: E402
from tests.e2e.hook_gate import HookGate  # noqa: E402
from tests.e2e.install import install  # noqa: E402
from tests.e2e.our_loop import OurLoop  # noqa: E402
from tests.e2e.process_world import ProcessWorld, process_story  # noqa: E402
from tests.e2e.real_world import Loop, RealWorld, real_story  # noqa: E402


def pytest_ignore_collect(config: pytest.Config) -> bool | None:
    """Only `pytest tests/e2e` comes here: `make test` needs no control plane."""
    return None if any("e2e" in str(each) for each in config.args) else True


def pytest_collection_finish(session: pytest.Session) -> None:
    """Build what is missing before any test's time runs, and show it; refuse a Metacontroller that is too old."""
    if session.items and not session.config.option.collectonly:
        capture = session.config.pluginmanager.getplugin("capturemanager")
        with capture.global_and_fixture_disabled():
            binaries.find()
        program = metacontroller.find()
        problem = metacontroller.too_old(metacontroller.says(program)) if program else ""
        if problem:
            pytest.exit(problem, returncode=1)


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    """The control plane of all stories."""
    plane = ControlPlane(binaries.find()).start()
    yield plane
    plane.stop()


@pytest.fixture(scope="session")
def gate(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HookGate]:
    """The address of the hooks, with our manifests installed for it."""
    gate = HookGate()
    install(plane, gate.url, tmp_path_factory.mktemp("install"))
    yield gate
    gate.stop()


@pytest.fixture(scope="module", params=["our loop", "Metacontroller"])
def loop(request: pytest.FixtureRequest, plane: ControlPlane) -> Callable[[RealWorld], Loop]:
    """What calls the hooks: our loop, or Metacontroller itself."""
    program = metacontroller.find()
    if request.param == "our loop":
        return OurLoop
    if program is None:
        pytest.skip(metacontroller.HOW_TO_GET)
    return lambda world: metacontroller.MetacontrollerProcess(plane, program)


@pytest.fixture
def world(
    loop: Callable[[RealWorld], Loop], plane: ControlPlane, gate: HookGate
) -> Iterator[RealWorld]:
    """A story on the real API server; it plays the pods itself."""
    with real_story(RealWorld(plane, gate, loop)) as story:
        yield story


@pytest.fixture(scope="module")
def processes(
    loop: Callable[[RealWorld], Loop],
    plane: ControlPlane,
    gate: HookGate,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[ProcessWorld]:
    """The stories of a module with the real runtime on the real API server."""
    with process_story(plane, gate, loop, tmp_path_factory.mktemp("processes")) as story:
        yield story
