"""Who is told of the changes of a cluster."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kaito_laptop.core.cluster import Event, Resource

Receive = Callable[[Event], None]


class Watchers:
    """Passes each change on, in the order in which receivers came."""

    def __init__(self) -> None:
        self._watchers: list[tuple[frozenset[Resource] | None, Receive]] = []

    def add(self, resources: Sequence[Resource] | None, receive: Receive) -> Callable[[], None]:
        """Tell of these kinds, or of all with None; calling the answer ends it."""
        watcher = (None if resources is None else frozenset(resources), receive)
        self._watchers.append(watcher)
        return lambda: self._watchers.remove(watcher)

    def tell(self, resource: Resource, event: Event) -> None:
        """Pass on one change."""
        for wanted, receive in list(self._watchers):
            if wanted is None or resource in wanted:
                receive(event)
