"""A real control plane whose pods are processes: the real runtime, with a registry of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kaito_laptop.cli.laptop import IMAGES, PRESETS, USER
from kaito_laptop.core.cluster import Manifest
from kaito_laptop.core.event_loop import EventLoop
from kaito_laptop.kubelet.agent import Kubelet
from kaito_laptop.kubelet.processes import ProcessRuntime
from kaito_laptop.kubelet.services import HOST, Address, ServiceProxy
from kaito_laptop.registry.server import Registry

from tests.e2e.control_plane import ControlPlane
from tests.e2e.hook_proxy import HookProxy
from tests.e2e.real_story import Loop, RealStory, real_story
from tests.harness.api_server import ApiServer
from tests.harness.process_story import ProcessStory

PASSWORD = "correct-horse"


class RealProcessStory(RealStory, ProcessStory):
    """Nobody plays its pods: they do what their containers say."""

    def __init__(
        self,
        plane: ControlPlane,
        proxy: HookProxy,
        loop: Callable[[RealStory], Loop],
        registry: Registry,
        state: Path,
    ) -> None:
        self.state, self.registry, self.password = state, registry, PASSWORD
        super().__init__(plane, proxy, loop)
        self.services = ServiceProxy(self.cluster, self._reach)

    def make_kubelet(
        self, server: ApiServer, event_loop: EventLoop, address: Callable[[Manifest], str]
    ) -> Any:
        self._runtime = ProcessRuntime(
            server, event_loop, self.state, lambda image: image in IMAGES.values()
        )
        self._uids: dict[str, str] = {}

        def remembered(pod: Manifest) -> str:
            self._uids[address(pod)] = pod["metadata"]["uid"]
            return address(pod)

        self._processes = Kubelet(server, event_loop, self._runtime, remembered)
        return self._processes

    def __exit__(self, *error: Any) -> None:
        try:
            super().__exit__(*error)
        finally:
            self.services.stop()
            self._processes.close()

    def logs(self) -> str:
        return super().logs() + self.log.getvalue()

    def _reach(self, address: Address) -> Address:
        """Where on this computer the process listens that a nominal address stands for."""
        ports = self._runtime.ports({"metadata": {"uid": self._uids.get(address[0], "")}})
        return HOST, ports.get(str(address[1]), 0)

    def _tell(self) -> str:
        return f"{super()._tell()}\n{self.logs()[-6000:]}"


@contextmanager
def process_story(
    plane: ControlPlane, proxy: HookProxy, loop: Callable[[RealStory], Loop], state: Path
) -> Iterator[RealProcessStory]:
    """A story whose pods are processes; what it starts is gone when it ends."""
    images = {word.removeprefix("KAITO_").lower(): image for word, image in IMAGES.items()}
    with Registry(state / "registry", {USER: PASSWORD}, [PRESETS]) as registry:
        story = RealProcessStory(plane, proxy, loop, registry, state)
        with real_story(story, preset_registry=f"{registry.address}/{PRESETS}", **images):
            yield story
