"""Pods of stories: nothing happens in them until the story says so."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from kaito_laptop.core.cluster import Cluster, Key, Manifest
from kaito_laptop.core.event_loop import EventLoop
from kaito_laptop.core.objects import get, name, uid
from kaito_laptop.kubelet.agent import Kubelet
from kaito_laptop.kubelet.containers import HOST, Container, Exit
from kaito_laptop.kubelet.pod_lifecycle import PodLifecycle, Refusal
from kaito_laptop.kubelet.sources import Sources

TERMINATED_BY_SIGTERM = 143


class _Script:
    """The runtime under the story: knows what was started and what the story has said."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self.started: set[str] = set()
        self.refused: dict[tuple[str, str], str] = {}
        self.ended: dict[tuple[str, str], Callable[[Exit], None]] = {}
        self.ready: dict[tuple[str, str], Callable[[bool], None]] = {}

    def prepare(self, pod: Manifest) -> str | None:
        return self._sources.check(pod) if uid(pod) in self.started else ""

    def ports(self, pod: Manifest) -> dict[str, int]:
        return {}

    def refuse(self, pod: Manifest, container: Manifest) -> Refusal | None:
        message = self.refused.get((uid(pod), container["name"]))
        return None if message is None else Refusal(message)

    def start(
        self,
        pod: Manifest,
        container: Manifest,
        ended: Callable[[Exit], None],
        ready: Callable[[bool], None],
    ) -> None:
        self.ended[uid(pod), container["name"]] = ended
        self.ready[uid(pod), container["name"]] = ready

    def stop(self, pod: Manifest, container: str, grace_seconds: float) -> None:
        self.ended[uid(pod), container](Exit(TERMINATED_BY_SIGTERM))

    def forget(self, pod: Manifest) -> None:
        self.started.discard(uid(pod))


class ScriptedKubelet:
    """The story's hand on pods; every call settles what follows from it."""

    def __init__(
        self,
        cluster: Cluster,
        event_loop: EventLoop,
        wait: Callable[[Callable[[], bool]], None] = lambda reached: None,
        address: Callable[[Manifest], str] = lambda pod: HOST,
    ) -> None:
        """`wait` is for a cluster that takes its time: it returns when something holds."""
        self._cluster = cluster
        self._event_loop = event_loop
        self._wait = wait
        self._script = _Script(Sources(cluster))
        self._kubelet = Kubelet(cluster, event_loop, self._script, address)

    def start(self, pod: str | Manifest) -> None:
        """Let the pod's first container run: images are there, volumes are mounted."""
        found = self._bound(pod)
        self._script.started.add(uid(found))
        self._continue(found)

    def refuse_image(self, pod: str | Manifest, message: str, container: str = "") -> None:
        """Let the pull of an image fail, until `start` is called again."""
        found = self._bound(pod)
        names = [container] if container else self._names(found)
        for each in names:
            self._script.refused[uid(found), each] = message
        self._script.started.add(uid(found))
        self._continue(found)

    def allow_image(self, pod: str | Manifest) -> None:
        """Let the next try of the pull succeed."""
        found = self._bound(pod)
        for each in self._names(found):
            self._script.refused.pop((uid(found), each), None)

    def succeed(
        self,
        pod: str | Manifest,
        container: str = "",
        message: str | Mapping[str, Any] = "",
    ) -> None:
        """End the running container with exit code 0; the next one of the sequence starts."""
        self._exit(pod, container, Exit(0, _text(message)))

    def fail(
        self,
        pod: str | Manifest,
        container: str = "",
        exit_code: int = 1,
        message: str | Mapping[str, Any] = "",
        reason: str = "",
    ) -> None:
        """End the running container with an error."""
        if exit_code == 0:
            raise ValueError("exit code 0 is a success: use succeed()")
        self._exit(pod, container, Exit(exit_code, _text(message), reason))

    def ready(self, pod: str | Manifest, container: str = "") -> None:
        """Let the readiness probe succeed."""
        self._probe(pod, container, True)

    def unready(self, pod: str | Manifest, container: str = "") -> None:
        """Let the readiness probe fail."""
        self._probe(pod, container, False)

    def evict(self, pod: str | Manifest) -> None:
        """Evict the pod as draining its node does."""
        self._kubelet.evict(self._find(pod))
        self._event_loop.settle()

    def running(self, pod: str | Manifest) -> list[str]:
        """Return the names of the containers that run now."""
        lifecycle = self._kubelet.lifecycle(self._find(pod))
        return [each.name for each in lifecycle.containers if each.is_running] if lifecycle else []

    def _exit(self, pod: str | Manifest, container: str, how: Exit) -> None:
        found = self._bound(pod)
        which = self._running(found, container)
        self._script.ended[uid(found), which.name](how)
        self._event_loop.settle()

    def _probe(self, pod: str | Manifest, container: str, is_ready: bool) -> None:
        found = self._bound(pod)
        which = self._running(found, container)
        self._script.ready[uid(found), which.name](is_ready)
        self._event_loop.settle()

    def _continue(self, pod: Manifest) -> None:
        self._kubelet.look_at(pod)
        self._event_loop.settle()

    def _find(self, pod: str | Manifest) -> Manifest:
        """Return the pod as it is now; a string is its name in the namespace `default`."""
        resource = self._cluster.resource("v1", "Pod")
        if isinstance(pod, str):
            return self._cluster.get(Key(resource, pod, "default"))
        return self._cluster.get(Key(resource, name(pod), pod["metadata"]["namespace"]))

    def _bound(self, pod: str | Manifest) -> Manifest:
        self._event_loop.settle()
        self._wait(lambda: self._kubelet.lifecycle(self._find(pod)) is not None)
        found = self._find(pod)
        if not get(found, "spec", "nodeName"):
            why = get(found, "status", "conditions", default=[{}])[0].get("message", "")
            raise AssertionError(f"pod {name(found)} is bound to no node yet: {why}")
        return found

    def _lifecycle(self, pod: Manifest) -> PodLifecycle:
        lifecycle = self._kubelet.lifecycle(pod)
        if lifecycle is None:
            raise AssertionError(f"pod {name(pod)} has already ended")
        return lifecycle

    def _names(self, pod: Manifest) -> list[str]:
        return [each.name for each in self._lifecycle(pod).containers]

    def _running(self, pod: Manifest, container: str) -> Container:
        lifecycle = self._lifecycle(pod)
        self._wait(lambda: any(each.is_running for each in lifecycle.containers))
        if container:
            which = lifecycle.container(container)
            self._wait(lambda: which.is_running)
            if not which.is_running:
                raise AssertionError(f"container {container} does not run: {which.state}")
            return which
        running = [each for each in lifecycle.containers if each.is_running]
        if len(running) != 1:
            names = ", ".join(each.name for each in running) or "none; call start() first"
            raise AssertionError(f"say which container of {name(pod)}: running are {names}")
        return running[0]


def _text(message: str | Mapping[str, Any]) -> str:
    return message if isinstance(message, str) else json.dumps(message)
