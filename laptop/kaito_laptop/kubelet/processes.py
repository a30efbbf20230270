"""Containers as processes of this computer; only our own images, whose code is installed here."""

from __future__ import annotations

import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from kaito_laptop.core.child_process import ChildProcess, free_port
from kaito_laptop.core.cluster import Cluster, Manifest
from kaito_laptop.core.event_loop import EventLoop, Timer
from kaito_laptop.core.log_files import inside
from kaito_laptop.core.objects import uid
from kaito_laptop.kubelet.command_line import (
    arguments,
    declared_environment,
    environment,
    ports_of,
)
from kaito_laptop.kubelet.containers import Exit
from kaito_laptop.kubelet.folders import Folders
from kaito_laptop.kubelet.pod_lifecycle import Refusal
from kaito_laptop.kubelet.probes import Prober
from kaito_laptop.kubelet.sources import MissingSourceError, Sources

CANNOT_RUN = 127
SIGNAL_BASE = 128
LIVENESS_GRACE_SECONDS = 30.0


@dataclass(slots=True)
class _Running:
    process: ChildProcess
    prober: Prober
    killer: Timer | None = None
    asked_to_end: bool = False


class ProcessRuntime:
    """Starts processes for containers; everything but waiting happens in the event loop's thread."""

    def __init__(
        self, cluster: Cluster, event_loop: EventLoop, state: Path, is_ours: Callable[[str], bool]
    ) -> None:
        self._event_loop = event_loop
        self._sources = Sources(cluster)
        self._folders = Folders(state, self._sources)
        self._is_ours = is_ours
        self._running: dict[tuple[str, str], _Running] = {}
        self._ports: dict[str, dict[str, int]] = {}

    def prepare(self, pod: Manifest) -> str | None:
        """Write the volumes and choose the ports."""
        try:
            self._folders.make_volumes(pod)
        except MissingSourceError as error:
            return str(error)
        spec = pod["spec"]
        wanted: set[str] = set()
        for container in [*spec.get("initContainers", []), *spec["containers"]]:
            wanted |= ports_of(container)
        self._ports[uid(pod)] = {port: free_port() for port in sorted(wanted)}
        return None

    def ports(self, pod: Manifest) -> dict[str, int]:
        """Return the ports that were chosen."""
        return self._ports.get(uid(pod), {})

    def refuse(self, pod: Manifest, container: Manifest) -> Refusal | None:
        """Refuse images that are not ours, and variables that come from nowhere."""
        image = container["image"]
        if not self._is_ours(image):
            why = "this computer runs the images of this project only"
            return Refusal(f'failed to pull image "{image}": {why}')
        try:
            declared_environment(pod, container, self._sources)
        except MissingSourceError as error:
            return Refusal(str(error), "CreateContainerConfigError")
        return None

    def start(
        self,
        pod: Manifest,
        container: Manifest,
        ended: Callable[[Exit], None],
        ready: Callable[[bool], None],
    ) -> None:
        """Start the process and its probes."""
        root = self._folders.make_root(pod, container)
        ports = self.ports(pod)
        key = (uid(pod), container["name"])

        def over(code: int) -> None:
            self._event_loop.post(lambda: self._over(pod, container, code, ended))

        try:
            declared = declared_environment(pod, container, self._sources)
            words = arguments(container, declared, ports)
            if not words:
                raise MissingSourceError("`command` must be specified: no image is unpacked here")
            process = ChildProcess(
                words,
                environment(declared, container, root),
                self._folders.new_log(pod, container["name"]),
                over,
                inside(root, container.get("workingDir", "/")),
            )
        except (MissingSourceError, OSError) as error:
            why = str(error)
            self._event_loop.post(lambda: ended(Exit(CANNOT_RUN, why, "ContainerCannotRun")))
            return
        prober = Prober(
            container,
            ports,
            lambda is_ready: self._event_loop.post(lambda: ready(is_ready)),
            lambda: self._event_loop.post(
                lambda: self.stop(pod, container["name"], LIVENESS_GRACE_SECONDS)
            ),
        )
        self._running[key] = _Running(process, prober)
        prober.start()

    def stop(self, pod: Manifest, container: str, grace_seconds: float) -> None:
        """Send SIGTERM to the group, and SIGKILL after the grace period."""
        running = self._running.get((uid(pod), container))
        if running is None or running.asked_to_end:
            return
        running.asked_to_end = True
        running.prober.stop()
        running.process.signal(signal.SIGTERM)
        running.killer = self._event_loop.after(grace_seconds, running.process.kill)

    def forget(self, pod: Manifest) -> None:
        """Kill what still runs and remove the files."""
        for key, running in list(self._running.items()):
            if key[0] == uid(pod):
                running.prober.stop()
                running.process.kill()
                running.process.wait(5)
                del self._running[key]
        self._ports.pop(uid(pod), None)
        self._folders.remove(pod)

    def _over(
        self, pod: Manifest, container: Manifest, code: int, ended: Callable[[Exit], None]
    ) -> None:
        running = self._running.pop((uid(pod), container["name"]), None)
        if running is None:
            return
        running.prober.stop()
        if running.killer is not None:
            running.killer.cancel()
        # Children that it left behind end with it, as they do in a container.
        running.process.kill()
        exit_code = code if code >= 0 else SIGNAL_BASE - code
        # Nobody but the kernel kills without asking first.
        killed = code == -signal.SIGKILL and not running.asked_to_end
        message = self._folders.message(pod, container, exit_code)
        ended(Exit(exit_code, message, "OOMKilled" if killed else ""))
