"""What happens next in one pod: which container starts, restarts, waits or ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from kaito_laptop.core.clock import timestamp
from kaito_laptop.core.cluster import Manifest
from kaito_laptop.core.event_loop import EventLoop, Timer
from kaito_laptop.core.objects import get, is_deleting, name, uid
from kaito_laptop.kubelet.containers import (
    HOST,
    Container,
    Exit,
    Sandbox,
    containers_of,
    pod_status,
)

FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 10.0, 300.0
PULL_SHOWN_SECONDS = 1.0
WAITS_FOR_TIMER = (
    "ErrImagePull",
    "ImagePullBackOff",
    "CreateContainerConfigError",
    "CrashLoopBackOff",
)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a container cannot be made."""

    message: str
    reason: str = "ErrImagePull"
    """ErrImagePull or CreateContainerConfigError."""


class Runtime(Protocol):
    """Runs containers, for real or in a story."""

    def prepare(self, pod: Manifest) -> str | None:
        """Make volumes and addresses; return what is missing, if something is."""
        ...

    def ports(self, pod: Manifest) -> dict[str, int]:
        """Return the port of this computer behind each port of the pod's containers."""
        ...

    def refuse(self, pod: Manifest, container: Manifest) -> Refusal | None:
        """Return why a container cannot be made, if it cannot."""
        ...

    def start(
        self,
        pod: Manifest,
        container: Manifest,
        ended: Callable[[Exit], None],
        ready: Callable[[bool], None],
    ) -> None:
        """Start a container; both functions are to be called in the event loop's thread."""
        ...

    def stop(self, pod: Manifest, container: str, grace_seconds: float) -> None:
        """Ask a container to end; `ended` is called when it has."""
        ...

    def forget(self, pod: Manifest) -> None:
        """Remove what is left of a pod, at once."""
        ...


class PodLifecycle:
    """Drives one pod from its binding to its end."""

    def __init__(
        self,
        pod: Manifest,
        event_loop: EventLoop,
        runtime: Runtime,
        changed: Callable[[], None],
        address: str = HOST,
    ) -> None:
        self.uid = uid(pod)
        self.containers = containers_of(pod)
        self.problem: str | None = None
        """Why the pod has not been set up yet."""
        self._pod = pod
        self._event_loop = event_loop
        self._runtime = runtime
        self._changed = changed
        self._sandbox = Sandbox(address)
        self._timers: list[Timer] = []

    def advance(self, pod: Manifest) -> None:
        """Do what can be done now."""
        self._pod = pod
        if is_deleting(pod):
            self._end()
            return
        if not self._sandbox.is_made:
            self.problem = self._runtime.prepare(pod)
            if self.problem is not None:
                return
            self._sandbox.is_made = True
        for each in self.containers:
            if each.init:
                if each.has_succeeded:
                    continue
                self._keep_running(each)
                return
            self._keep_running(each)

    def status(self) -> Manifest:
        """Return the pod's status."""
        return pod_status(
            self._pod,
            self.containers,
            self._now(),
            self._sandbox,
        )

    @property
    def has_ended(self) -> bool:
        """Whether nothing of a pod that is being deleted runs any more."""
        return self._sandbox.ending and not any(each.is_running for each in self.containers)

    def kill(self) -> None:
        """End at once; nobody asks for the status any more."""
        self._cancel()
        self._runtime.forget(self._pod)

    def container(self, wanted: str) -> Container:
        """Return a container by name."""
        for each in self.containers:
            if each.name == wanted:
                return each
        known = ", ".join(each.name for each in self.containers)
        raise KeyError(f"pod {name(self._pod)} has no container {wanted!r}; it has {known}")

    def _end(self) -> None:
        self._cancel()
        if self._sandbox.ending:
            return
        self._sandbox.ending = True
        grace = float(get(self._pod, "metadata", "deletionGracePeriodSeconds", default=30))
        for each in self.containers:
            if each.is_running:
                self._runtime.stop(self._pod, each.name, grace)

    def _keep_running(self, container: Container) -> None:
        if container.is_running or get(container.state, "waiting", "reason") in WAITS_FOR_TIMER:
            return
        if container.exit_code is None:
            self._start(container)
        elif self._restarts(container):
            self._restart(container)

    def _restarts(self, container: Container) -> bool:
        policy = self._pod["spec"]["restartPolicy"]
        if policy == "Always":
            return not (container.init and container.has_succeeded)
        return policy == "OnFailure" and not container.has_succeeded

    def _restart(self, container: Container) -> None:
        """Restart once at once, then later and later."""
        if container.restarts == 0:
            self._start(container)
            return
        delay = _backoff(container.restarts - 1)
        container.wait(
            "CrashLoopBackOff",
            f"back-off {delay:g}s restarting failed container={container.name} "
            f"pod={name(self._pod)}",
        )
        self._later(delay, lambda: self._start(container))

    def _start(self, container: Container) -> None:
        refusal = self._runtime.refuse(self._pod, container.spec)
        if refusal is not None:
            self._try_again(container, refusal)
            return
        container.pulls = 0
        container.run(self._now())

        def ended(how: Exit) -> None:
            if container.is_running:
                container.end(how, self._now())
                self._changed()

        def ready(is_ready: bool) -> None:
            if container.is_running and container.ready != is_ready:
                container.ready = is_ready
                container.started = container.started or is_ready
                self._changed()

        self._runtime.start(self._pod, container.spec, ended, ready)
        self._changed()

    def _try_again(self, container: Container, refusal: Refusal) -> None:
        container.wait(refusal.reason, refusal.message)
        delay = _backoff(container.pulls)
        container.pulls += 1

        def back_off() -> None:
            words = f'Back-off pulling image "{container.spec["image"]}": {refusal.message}'
            container.wait("ImagePullBackOff", words)
            self._changed()

        if refusal.reason == "ErrImagePull":
            self._later(PULL_SHOWN_SECONDS, back_off)
        self._later(delay, lambda: self._start(container))
        self._changed()

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        self._timers = [each for each in self._timers if each.is_pending]
        self._timers.append(self._event_loop.after(seconds, act))

    def _cancel(self) -> None:
        for timer in self._timers:
            timer.cancel()

    def _now(self) -> str:
        return timestamp(self._event_loop.clock.now())


def _backoff(times: int) -> float:
    return min(FIRST_BACKOFF_SECONDS * float(1 << min(times, 10)), LONGEST_BACKOFF_SECONDS)
