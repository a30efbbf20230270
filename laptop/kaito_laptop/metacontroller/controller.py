"""Watching parents, children and related objects, and deciding which parent to look at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from random import Random

from kaito_laptop.core.cluster import Cluster, Event, Key, Manifest, NotFound, Resource
from kaito_laptop.core.event_loop import EventLoop, Queue, Retry
from kaito_laptop.core.events import Recorder
from kaito_laptop.core.objects import (
    controller_of,
    get,
    is_deleting,
    labels,
    matches,
    name,
    namespace,
    same,
    uid,
)
from kaito_laptop.metacontroller.answers import UnreadableAnswerError, parse_customize
from kaito_laptop.metacontroller.definition import Definition, UnusableDefinitionError, read
from kaito_laptop.metacontroller.hooks import HookCaller, is_strict
from kaito_laptop.metacontroller.related import Related, UnusableRuleError
from kaito_laptop.metacontroller.sync import Pass, SyncError, TooEarlyError, post

CACHE_FLUSH_SECONDS = 30 * 60
SYNC_ERROR = "SyncError"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What all controllers share."""

    cluster: Cluster
    event_loop: EventLoop
    caller: HookCaller
    recorder: Recorder
    order: Random
    """In which order children are created."""


class CompositeController:
    """Runs one CompositeController."""

    def __init__(
        self,
        surroundings: Surroundings,
        definition: Definition,
    ) -> None:
        self._cluster = cluster = surroundings.cluster
        self._event_loop = event_loop = surroundings.event_loop
        self._caller = surroundings.caller
        self._recorder = surroundings.recorder
        self._definition = definition
        self._queue: Queue[Key] = Queue(event_loop, self._look_at)
        customize = definition.hooks.get("customize", {})
        version = customize.get("version", "v1")
        self._related = Related(
            cluster, event_loop.clock, self._rules, version, self._watch_related
        )
        self._watched: set[Resource] = set()
        self._order = surroundings.order
        self._ends: list[Callable[[], None]] = []

    def start(self) -> None:
        """Begin with every parent that exists."""
        definition = self._definition
        self._ends.append(self._cluster.watch(definition.children, self._child_changed))
        self._ends.append(self._cluster.watch([definition.parent], self._parent_changed))
        wanted = definition.resync_seconds or CACHE_FLUSH_SECONDS
        period = max(1.0, min(float(wanted), CACHE_FLUSH_SECONDS))
        self._ends.append(self._event_loop.every(period, self._resync).cancel)

    def stop(self) -> None:
        """Forget everything; parents keep their finalizers."""
        for end in self._ends:
            end()
        self._ends.clear()

    def _look_at(self, key: Key) -> None:
        if not self._ends:
            return
        resync = lambda seconds: self._queue.add_after(key, seconds)  # noqa: E731
        one = Pass(
            self._cluster, self._definition, self._caller, self._related, self._order, resync
        )
        try:
            one.run(key)
        except TooEarlyError as early:
            raise Retry(str(early), early.after_seconds) from early
        except SyncError as error:
            try:
                parent = self._cluster.get(key)
            except NotFound:
                return
            self._recorder.warning(parent, SYNC_ERROR, f"Sync error: {error}")
            raise Retry(str(error)) from error

    def _rules(self, parent: Manifest) -> Sequence[Manifest]:
        hook = self._definition.hooks.get("customize")
        if hook is None:
            return ()
        request = {"controller": self._definition.manifest, "parent": parent}
        try:
            return parse_customize(post(self._caller, hook, request).body, is_strict(hook))
        except UnreadableAnswerError as error:
            raise SyncError(f"customize hook failed for {name(parent)}: {error}") from error

    def _resync(self) -> None:
        for parent in self._parents():
            self._queue.add(self._key(parent))

    def _parents(self, place: str | None = None) -> Sequence[Manifest]:
        return self._cluster.list(self._definition.parent, place)

    def _key(self, parent: Manifest) -> Key:
        return Key(self._definition.parent, name(parent), namespace(parent))

    def _parent_changed(self, event: Event) -> None:
        if event.type == "DELETED":
            self._related.forget(event.object)
        if event.old is not None and self._definition.ignore_status_changes:
            fields = ("generation", "labels", "annotations")
            new, old = event.object["metadata"], event.old["metadata"]
            if all(same(new.get(each), old.get(each)) for each in fields) and not is_deleting(
                event.object
            ):
                return
        self._queue.add(self._key(event.object))

    def _child_changed(self, event: Event) -> None:
        child = event.object
        reference = controller_of(child)
        parent = self._definition.parent
        if reference is None:
            if event.type != "DELETED":
                self._event_loop.post(lambda: self._offer(child))
            return
        group = str(reference["apiVersion"]).rpartition("/")[0]
        if (group, reference["kind"]) != (parent.group, parent.kind):
            return
        # A cluster-scoped child of a namespaced parent names a parent that is never found.
        self._queue.add(Key(parent, reference["name"], namespace(child)))

    def _offer(self, orphan: Manifest) -> None:
        """Look at every parent whose selector matches an object that nobody owns."""
        for parent in self._parents(namespace(orphan) or None):
            selector = get(parent, "spec", "selector", default={})
            if self._definition.generate_selector:
                selector = {"matchLabels": {"controller-uid": uid(parent)}}
            if selector and matches(selector, labels(orphan)):
                self._queue.add(self._key(parent))

    def _watch_related(self, resource: Resource) -> None:
        if resource in self._watched:
            return
        self._watched.add(resource)
        started = False

        def receive(event: Event) -> None:
            if started:
                self._event_loop.post(lambda: self._related_changed(resource, event))

        self._ends.append(self._cluster.watch([resource], receive))
        started = True

    def _related_changed(self, resource: Resource, event: Event) -> None:
        for parent in self._parents():
            try:
                concerned = self._related.concerns(parent, resource, event)
            except (SyncError, TooEarlyError, UnusableRuleError):
                # The sync of that parent will say so.
                concerned = True
            if concerned:
                self._queue.add(self._key(parent))


class Metacontroller:
    """Starts, restarts and stops a controller for each CompositeController object."""

    def __init__(
        self, cluster: Cluster, event_loop: EventLoop, caller: HookCaller, seed: int = 0
    ) -> None:
        self._cluster = cluster
        self._recorder = Recorder(cluster, event_loop.clock, "metacontroller")
        self._surroundings = Surroundings(
            cluster,
            event_loop,
            caller,
            self._recorder,
            Random(seed),  # noqa: S311  the same seed makes the same story
        )
        self._running: dict[str, tuple[Manifest, CompositeController]] = {}
        self._queue: Queue[Key] = Queue(event_loop, self._look_at)
        self._resource = cluster.resource("metacontroller.k8s.io/v1alpha1", "CompositeController")
        self._end = cluster.watch([self._resource], self._changed)

    def stop(self) -> None:
        """Stop all controllers."""
        self._end()
        for _, controller in self._running.values():
            controller.stop()
        self._running.clear()

    def _changed(self, event: Event) -> None:
        self._queue.add(Key(self._resource, name(event.object)))

    def _look_at(self, key: Key) -> None:
        try:
            manifest = self._cluster.get(key)
        except NotFound:
            self._end_controller(key.name)
            return
        running = self._running.get(key.name)
        if running is not None and same(running[0]["spec"], manifest["spec"]):
            return
        self._end_controller(key.name)
        try:
            definition = read(self._cluster, manifest)
        except UnusableDefinitionError as error:
            self._recorder.warning(
                manifest, "CreateError", f"Cannot create new controller: {error}"
            )
            raise Retry(str(error)) from error
        controller = CompositeController(self._surroundings, definition)
        self._running[key.name] = (manifest, controller)
        controller.start()

    def _end_controller(self, which: str) -> None:
        if which in self._running:
            self._running.pop(which)[1].stop()
