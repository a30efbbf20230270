"""The laptop cluster on the real clock: hooks behind gunicorn, pods as processes, a registry that wants a password."""

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

from kaito_hooks.web.workspace import load_presets
from kaito_laptop.apply import apply
from kaito_laptop.cluster import Key, Manifest, NotFound
from kaito_laptop.kubelet.folders import log_file
from kaito_laptop.laptop import USER, Laptop
from kaito_laptop.objects import condition


class RealLaptop:
    """What a story on the real clock can do and see; the engine works while it waits."""

    def __init__(self, state: Path) -> None:
        self.laptop = Laptop(state)
        self.state = state

    def start(self) -> None:
        self.laptop.start({name: size.gpus for name, size in load_presets().instance_types.items()})

    @property
    def registry(self) -> str:
        return self.laptop.registry.address

    def apply(self, *manifests: Manifest) -> None:
        for manifest in manifests:
            apply(self.laptop.cluster, manifest)

    def find(self, kind: str, name: str) -> Manifest | None:
        resource = next(each for each in self.laptop.cluster.resources() if each.kind == kind)
        try:
            return self.laptop.cluster.get(Key(resource, name, "default"))
        except NotFound:
            return None

    def list(self, kind: str) -> list[Manifest]:
        resource = next(each for each in self.laptop.cluster.resources() if each.kind == kind)
        return list(self.laptop.cluster.list(resource))

    def edit(self, kind: str, name: str, change: Callable[[Manifest], object]) -> None:
        found = self.find(kind, name)
        assert found, f"no {kind} {name}"
        change(found)
        self.laptop.cluster.update(found)

    def delete(self, kind: str, name: str) -> None:
        resource = next(each for each in self.laptop.cluster.resources() if each.kind == kind)
        self.laptop.cluster.delete(Key(resource, name, "default"))

    def wait(self, reached: Callable[[], bool], what: str, seconds: float = 90) -> None:
        """Let the cluster work until something holds."""
        engine, end = self.laptop.engine, time.monotonic() + seconds
        while not reached():
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds:g} s: {what}\n{self.told()}")
            if not engine.step():
                engine.wait(0.2)

    def ready(self, workspace: str) -> tuple[str | None, str]:
        """Reason and message of Ready."""
        found = condition(self.find("Workspace", workspace) or {}, "Ready") or {}
        return found.get("reason"), found.get("message", "")

    def is_true(self, workspace: str, type_: str) -> bool:
        found = condition(self.find("Workspace", workspace) or {}, type_) or {}
        return bool(found.get("status") == "True")

    def wait_for(self, workspace: str, type_: str, seconds: float = 90) -> None:
        self.wait(lambda: self.is_true(workspace, type_), f"{workspace} {type_}", seconds)

    def wait_reason(self, workspace: str, reason: str, seconds: float = 60) -> str:
        self.wait(lambda: self.ready(workspace)[0] == reason, f"{workspace} {reason}", seconds)
        return self.ready(workspace)[1]

    def logs(self) -> str:
        """Everything that hooks and containers wrote."""
        files = sorted((self.state / "logs").rglob("*.log"))
        return "\n".join(file.read_text(encoding="utf-8", errors="replace") for file in files)

    def log(self, pod: str, container: str) -> str:
        return log_file(self.state, "default", pod, container).read_text(encoding="utf-8")

    def told(self) -> str:
        return "\n".join(
            f"{each['metadata']['name']}: {self.ready(each['metadata']['name'])}"
            for each in self.list("Workspace")
        )

    def push_secret(self, name: str = "push", password: str = "") -> Manifest:
        auth = base64.b64encode(f"{USER}:{password or self.laptop.password}".encode()).decode()
        config = json.dumps({"auths": {self.registry: {"auth": auth}}})
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name, "namespace": "default"},
            "type": "kubernetes.io/dockerconfigjson",
            "stringData": {".dockerconfigjson": config},
        }


@contextmanager
def real_laptop(state: Path) -> Iterator[RealLaptop]:
    """A running laptop; its processes end with it."""
    running = RealLaptop(state)
    try:
        running.start()
        yield running
    finally:
        running.laptop.stop()


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
