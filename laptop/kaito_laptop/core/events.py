"""Events: what a controller has to say about an object, as `kubectl describe` shows it."""

from __future__ import annotations

import hashlib

from kaito_laptop.core.clock import Clock, timestamp
from kaito_laptop.core.cluster import Cluster, Key, Manifest, NotFound
from kaito_laptop.core.objects import name, namespace, uid

LONGEST_MESSAGE = 1024


class Recorder:
    """Writes Events in the name of one controller; the same words again only raise the count."""

    def __init__(self, cluster: Cluster, clock: Clock, component: str) -> None:
        self._cluster = cluster
        self._clock = clock
        self._component = component

    def warning(self, about: Manifest, reason: str, message: str) -> None:
        """Record something that the owner of the object should know."""
        self._record("Warning", about, reason, message[:LONGEST_MESSAGE])

    def normal(self, about: Manifest, reason: str, message: str) -> None:
        """Record something that went as it should."""
        self._record("Normal", about, reason, message[:LONGEST_MESSAGE])

    def _record(self, type_: str, about: Manifest, reason: str, message: str) -> None:
        now = timestamp(self._clock.now())
        words = "\0".join((uid(about), self._component, reason, message))
        digest = hashlib.sha256(words.encode()).hexdigest()[:16]
        place = namespace(about) or "default"
        resource = self._cluster.resource("v1", "Event")
        key = Key(resource, f"{name(about)}.{digest}", place)
        try:
            known = self._cluster.get(key)
        except NotFound:
            self._cluster.create(
                {
                    "apiVersion": "v1",
                    "kind": "Event",
                    "metadata": {"name": key.name, "namespace": place},
                    "involvedObject": {
                        "apiVersion": about["apiVersion"],
                        "kind": about["kind"],
                        "name": name(about),
                        "namespace": namespace(about),
                        "uid": uid(about),
                    },
                    "type": type_,
                    "reason": reason,
                    "message": message,
                    "source": {"component": self._component},
                    "count": 1,
                    "firstTimestamp": now,
                    "lastTimestamp": now,
                }
            )
        else:
            known.update(count=known["count"] + 1, lastTimestamp=now)
            self._cluster.update(known)
