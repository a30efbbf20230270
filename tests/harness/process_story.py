"""Stories whose pods are the real programs: they train, push and serve, with a registry that wants a password."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from kaito_laptop.cli.laptop import USER, Laptop, Sizes, running_laptop
from kaito_laptop.controllers.cluster_nodes import ClusterNodes
from kaito_laptop.core.clock import RealClock
from kaito_laptop.core.cluster import Manifest
from kaito_laptop.core.event_loop import EventLoop, NeverHappens
from kaito_laptop.kubelet.services import ServiceProxy
from kaito_laptop.registry.server import Registry

from tests.harness.story import NAME, Story, gpus, host_memory

SOON_SECONDS, LONG_SECONDS, LOOK_SECONDS = 60.0, 240.0, 0.2


class ProcessStory(Story):
    """Nobody plays its pods: they do what their containers say."""

    state: Path
    """Where logs and the files of the pods are."""
    registry: Registry
    password: str
    services: ServiceProxy

    def patiently(self, reached: Callable[[], bool]) -> None:
        """Wait for what takes its time, such as a training."""
        raise NotImplementedError

    def logs(self) -> str:
        """Everything that containers and hooks wrote."""
        files = sorted((self.state / "logs").rglob("*.log"))
        return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)

    def docker_config(self, password: str = "") -> str:
        """What may push to the registry, or thinks so."""
        auth = base64.b64encode(f"{USER}:{password or self.password}".encode()).decode()
        return json.dumps({"auths": {self.registry.address: {"auth": auth}}})

    def push_secret(self, name: str = "push", password: str = "") -> Manifest:
        """A docker-registry Secret."""
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": self.docker_config(password)},
        }


class LaptopStory(ProcessStory):
    """On the laptop cluster as `kaito up` starts it: real time, hooks behind gunicorn."""

    def __init__(self, laptop: Laptop) -> None:
        super().__init__(
            laptop.cluster, laptop.event_loop, ClusterNodes(laptop.cluster, laptop.event_loop)
        )
        self.state, self.password = laptop.state, laptop.password
        self.registry, self.services = laptop.registry, laptop.services
        self.settle()
        self.remember_what_is_there()

    def settle(self) -> None:
        self.event_loop.settle()

    def soon(self, reached: Callable[[], bool]) -> None:
        self._wait(reached, SOON_SECONDS)

    def run_until(self, reached: Callable[[], bool], within: float = 3600) -> None:
        self._wait(reached, LONG_SECONDS)

    def patiently(self, reached: Callable[[], bool]) -> None:
        self._wait(reached, LONG_SECONDS)

    def deleted(self, workspace: str = NAME, propagation: Any = "Background") -> None:
        """Delete, and wait until all that ran is gone; the proof that the pool is gone takes a minute of Azure's."""
        self.delete("Workspace", workspace, propagation=propagation)
        ran = ("Job", "Deployment", "Service", "Pod")
        self.run_until(lambda: not any(self.list(kind) for kind in ran))

    def _wait(self, reached: Callable[[], bool], seconds: float) -> None:
        end = time.monotonic() + seconds
        while not reached():
            if time.monotonic() > end:
                told = [self.words(each["metadata"]["name"]) for each in self.list("Workspace")]
                raise NeverHappens(f"not within {seconds:g} s: {told}\n{self.logs()[-6000:]}")
            if not self.event_loop.step():
                self.event_loop.wait(LOOK_SECONDS)


@contextmanager
def laptop_story(state: Path) -> Iterator[LaptopStory]:
    """A story on a running laptop; its processes end with it."""
    with running_laptop(state, EventLoop(RealClock()), Sizes(gpus(), host_memory())) as laptop:
        yield LaptopStory(laptop)


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Serves a folder over HTTP on loopback; yields the address."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Silent, directory=str(folder)))
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Silent(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
