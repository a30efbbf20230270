"""On which clusters the stories are told: `--cluster memory`, `ours`, `metacontroller`, or several of them.

Memory is the laptop's cluster in virtual time. The other two are a real control plane (etcd, kube-apiserver, ...)
with our loop or Metacontroller itself calling the hooks. A story that is told on some of them only says so, and why:

    pytestmark = pytest.mark.clusters("memory", reason="a Job takes an hour for its retries")
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

pytest.register_assert_rewrite("tests.harness", "tests.e2e", "tests.unit", "tests.contract")

from tests.harness.process_story import ProcessStory, laptop_story  # noqa: E402
from tests.harness.story import Story, memory_story  # noqa: E402

if TYPE_CHECKING:
    from tests.e2e.control_plane import ControlPlane
    from tests.e2e.hook_proxy import HookProxy
    from tests.e2e.real_story import Loop, RealStory

MEMORY, OURS, METACONTROLLER = CLUSTERS = ("memory", "ours", "metacontroller")
E2E = Path(__file__).parent / "e2e"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--cluster",
        action="append",
        choices=CLUSTERS,
        help="where the stories are told; may be given several times (default: memory)",
    )


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What asks a real control plane is there only where one was asked for."""
    return True if collection_path == E2E and not _real(chosen(config)) else None


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Tell each story on each cluster that was chosen and that it is for."""
    if "cluster_name" in metafunc.fixturenames:
        told = [each for each in chosen(metafunc.config) if each in _meant_for(metafunc.definition)]
        metafunc.parametrize("cluster_name", told, scope="module")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Build what is missing before any test's time runs, and show it; once, before there are workers."""
    config = session.config
    clusters = _real(chosen(config))
    if not clusters or config.option.collectonly or hasattr(config, "workerinput"):
        return
    from tests.e2e import binaries, metacontroller

    capture = config.pluginmanager.getplugin("capturemanager")
    assert capture is not None
    with capture.global_and_fixture_disabled():
        binaries.find()
    program = metacontroller.find() if METACONTROLLER in clusters else None
    problem = metacontroller.too_old(metacontroller.says(program)) if program else ""
    if problem:
        pytest.exit(problem, returncode=1)


def chosen(config: pytest.Config) -> list[str]:
    """The clusters of this run."""
    return list(config.getoption("--cluster") or [MEMORY])


def _real(clusters: list[str]) -> list[str]:
    return [each for each in clusters if each != MEMORY]


def _meant_for(test: pytest.Item) -> tuple[str, ...]:
    marker = test.get_closest_marker("clusters")
    if marker is None:
        return (OURS, METACONTROLLER) if E2E in test.path.parents else CLUSTERS
    if not marker.args or not set(marker.args) <= set(CLUSTERS) or not marker.kwargs.get("reason"):
        raise pytest.UsageError(f"{test.nodeid}: clusters() must name clusters and a reason")
    return marker.args


@pytest.fixture(scope="session")
def plane() -> Iterator[ControlPlane]:
    """The control plane of all stories."""
    from tests.e2e import binaries
    from tests.e2e.control_plane import ControlPlane

    plane = ControlPlane(binaries.find()).start()
    yield plane
    plane.stop()


@pytest.fixture(scope="session")
def proxy(plane: ControlPlane, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HookProxy]:
    """The address of the hooks, with our manifests installed for it."""
    from tests.e2e.hook_proxy import HookProxy
    from tests.e2e.install import install

    proxy = HookProxy()
    install(plane, proxy.url, tmp_path_factory.mktemp("install"))
    yield proxy
    proxy.stop()


@pytest.fixture(scope="module")
def loop(cluster_name: str, plane: ControlPlane) -> Callable[[RealStory], Loop]:
    """What calls the hooks on a real control plane."""
    from tests.e2e import metacontroller
    from tests.e2e.our_loop import OurLoop

    if cluster_name == OURS:
        return OurLoop
    program = metacontroller.find()
    if program is None:
        pytest.skip(metacontroller.HOW_TO_GET)
    return lambda story: metacontroller.MetacontrollerProcess(plane, program)


@pytest.fixture
def story(cluster_name: str, request: pytest.FixtureRequest) -> Iterator[Story]:
    """A story; it plays the pods itself."""
    with _played(cluster_name, request) as story:
        yield story


@pytest.fixture(scope="module")
def processes(
    cluster_name: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ProcessStory]:
    """The stories of a module whose pods are the real programs."""
    folder = tmp_path_factory.mktemp("processes")
    with _run(cluster_name, request, folder) as story:
        yield story


def _played(cluster_name: str, request: pytest.FixtureRequest) -> AbstractContextManager[Story]:
    if cluster_name == MEMORY:
        return memory_story()
    from tests.e2e.real_story import RealStory, real_story

    return real_story(RealStory(*map(request.getfixturevalue, ("plane", "proxy", "loop"))))


def _run(
    cluster_name: str, request: pytest.FixtureRequest, folder: Path
) -> AbstractContextManager[ProcessStory]:
    if cluster_name == MEMORY:
        return laptop_story(folder)
    from tests.e2e.real_process_story import process_story

    plane, proxy, loop = map(request.getfixturevalue, ("plane", "proxy", "loop"))
    return process_story(plane, proxy, loop, folder)
