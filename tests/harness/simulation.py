"""A whole cluster for one story: virtual time, hooks in this process, pods that the story plays."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from kaito_laptop.controllers.control_plane import control_plane
from kaito_laptop.core.clock import VirtualClock
from kaito_laptop.core.cluster import Manifest
from kaito_laptop.core.event_loop import EventLoop, NeverHappens
from kaito_laptop.core.package_data import controllers
from kaito_laptop.metacontroller.controller import Metacontroller
from kaito_laptop.metacontroller.hooks import HookCaller, url_of
from kaito_laptop.store.apply import apply

from tests.harness.cluster_client import ClusterClient
from tests.harness.hook_callers import CheckedCaller, Checker, HookCall, WsgiApp, WsgiCaller
from tests.harness.scripted_kubelet import ScriptedKubelet


class Simulation(ClusterClient):
    """The scene in memory; everything a story does is followed through before it returns."""

    def __init__(
        self,
        hooks: Mapping[str, WsgiApp] | None = None,
        checkers: Sequence[Checker] = (),
        *,
        seed: int = 0,
        shuffle: bool = False,
    ) -> None:
        """Start with these hooks, by `host:port`; `serve` adds others.

        With `shuffle` the order in which controllers work changes with the seed.
        """
        self.clock = VirtualClock()
        event_loop = EventLoop(self.clock, seed if shuffle else None)
        plane = control_plane(event_loop, seed)
        super().__init__(plane.cluster, event_loop, plane.nodes)
        self.kubelet = ScriptedKubelet(plane.cluster, event_loop)
        self.calls: list[HookCall] = []
        self._apps: dict[str, WsgiApp] = {}
        self.hooks: HookCaller = WsgiCaller(self._apps)
        """May be replaced while the story runs, for a hook that is down."""
        self._caller = CheckedCaller(self._call, [self.calls.append, *checkers])
        self._seed = seed
        self.metacontroller = Metacontroller(self.cluster, self.event_loop, self._caller, seed)
        for each in controllers():
            if each["kind"] == "Namespace":
                self.cluster.create(each)
        for address, app in (hooks or {}).items():
            self.serve(address, app)
        self.settle()
        self.remember_what_is_there()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.metacontroller.stop()

    def serve(self, address: str, app: WsgiApp) -> None:
        """Let a hook answer at `host:port`, and start the CompositeControllers that call it."""
        self._apps[address] = app
        for each in controllers():
            if each["kind"] == "CompositeController" and _hosts(each) == {address}:
                self._applied.add(self._key_of(apply(self.cluster, each)))
        self.settle()

    def start_metacontroller(self) -> None:
        """Start it again after it was stopped, with nothing remembered."""
        self.metacontroller = Metacontroller(
            self.cluster, self.event_loop, self._caller, self._seed
        )
        self.settle()

    def settle(self) -> None:
        """Let everything happen that happens without waiting."""
        self.event_loop.settle()

    def soon(self, reached: Callable[[], bool]) -> None:
        """Fail unless something holds now: all that happens without waiting has happened."""
        if not reached():
            raise NeverHappens("it did not come to hold by itself")

    def let_resyncs_pass(self) -> None:
        """Let an hour of resyncs pass."""
        self.advance(3600)

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.event_loop.advance(seconds)

    def run_until(self, reached: Callable[[], bool], within: float = 3600) -> None:
        """Let time pass until something holds; fail if it does not."""
        self.event_loop.run_until(reached, within)

    def _call(self, url: str, body: bytes, timeout_seconds: float) -> Any:
        return self.hooks(url, body, timeout_seconds)


def _hosts(controller: Manifest) -> set[str]:
    hooks = controller["spec"]["hooks"].values()
    return {url_of(hook["webhook"]).split("/")[2] for hook in hooks if hook}
