"""Watching one kind on a real API server: a list, then its changes, resumed where they broke off."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Literal

import urllib3

from kaito_laptop.core.cluster import ClusterError, Event, Manifest
from kaito_laptop.core.objects import get, name, namespace, same

from tests.harness.api_connection import Connection, Gone, error_of, lines

RETRY_SECONDS = 0.2
Post = Callable[[Callable[[], None]], None]
Place = tuple[str, str]


class _Subscriber:
    """One receiver; hears nothing more once it has ended."""

    def __init__(self, receive: Callable[[Event], None]) -> None:
        self._receive = receive
        self.has_ended = False

    def tell(self, event: Event) -> None:
        if not self.has_ended:
            self._receive(event)


class Watch:
    """Keeps the newest state of one kind, and posts each change to those who asked for it."""

    def __init__(self, connection: Connection, path: str, kind: Manifest, post: Post) -> None:
        """`kind` has the apiVersion and kind of the objects, which a list leaves out."""
        self._connection = connection
        self._path = path
        self._kind = kind
        self._post = post
        self._lock = threading.Lock()
        self._objects: dict[Place, Manifest] = {}
        self._subscribers: list[_Subscriber] = []
        self._stopped = threading.Event()
        self._response: urllib3.BaseHTTPResponse | None = None
        self._version = self._list()
        self._thread = threading.Thread(target=self._run, daemon=True, name=f"watch {path}")
        self._thread.start()

    def subscribe(self, receive: Callable[[Event], None]) -> Callable[[], None]:
        """Tell of each object that is there, at once, then post each change."""
        subscriber = _Subscriber(receive)
        with self._lock:
            self._subscribers.append(subscriber)
            known = [self._objects[place] for place in sorted(self._objects)]
        for each in known:
            subscriber.tell(Event("ADDED", each))
        return lambda: self._unsubscribe(subscriber)

    def objects(self) -> list[Manifest]:
        """Return what was there when the last change was heard of, sorted; not to be changed."""
        with self._lock:
            return [self._objects[place] for place in sorted(self._objects)]

    def stop(self) -> None:
        """End the thread."""
        self._stopped.set()
        response = self._response
        if response is not None:
            with suppress(Exception):
                response.shutdown()
        self._thread.join(5)

    def _unsubscribe(self, subscriber: _Subscriber) -> None:
        subscriber.has_ended = True
        with self._lock, suppress(ValueError):
            self._subscribers.remove(subscriber)

    def _run(self) -> None:
        while not self._stopped.is_set():
            try:
                self._follow()
            except Gone:
                with suppress(ClusterError):
                    self._version = self._list()
            except (
                ClusterError,
                urllib3.exceptions.HTTPError,
                OSError,
                ValueError,
                AttributeError,
            ):
                # The connection broke, or the server is away: go on from the last version seen.
                self._stopped.wait(RETRY_SECONDS)

    def _follow(self) -> None:
        query = {"watch": "1", "resourceVersion": self._version, "allowWatchBookmarks": "true"}
        self._response = self._connection.stream(self._path, query)
        try:
            for change in lines(self._response):
                if change["type"] == "ERROR":
                    raise error_of(change["object"])
                self._version = change["object"]["metadata"]["resourceVersion"]
                if change["type"] != "BOOKMARK":
                    self._take(change["type"], change["object"])
        finally:
            self._response.release_conn()

    def _list(self) -> str:
        """Read everything anew; what changed meanwhile becomes events."""
        found = self._connection.request("GET", self._path)
        new = {_place(item): {**self._kind, **item} for item in found["items"]}
        for place in sorted(set(self._objects) - set(new)):
            self._take("DELETED", self._objects[place])
        for place, item in sorted(new.items()):
            known = self._objects.get(place)
            if known is None or not same(known, item):
                self._take("ADDED" if known is None else "MODIFIED", item)
        return str(get(found, "metadata", "resourceVersion"))

    def _take(self, type_: Literal["ADDED", "MODIFIED", "DELETED"], item: Any) -> None:
        with self._lock:
            old = self._objects.pop(_place(item), None)
            if type_ != "DELETED":
                self._objects[_place(item)] = item
                type_ = "ADDED" if old is None else "MODIFIED"
            event = Event(type_, item, old)
            for subscriber in self._subscribers:
                self._post(lambda each=subscriber: each.tell(event))  # type: ignore[misc]


def _place(item: Manifest) -> Place:
    return namespace(item), name(item)
