"""What can be made to go wrong: a queue of faults per verb, and the fate of the next pools."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Verb = Literal["GET", "LIST", "PUT", "DELETE", "CLUSTER", "SKUS", "USAGES", "OPERATION"]
"""GET is of one pool, CLUSTER of the managed cluster, SKUS and USAGES of Microsoft.Compute."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One answer that is not the usual one."""

    status: int | None = None
    """Answered instead of what AKS would say."""
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    is_applied: bool = False
    """Whether the request is carried out all the same."""
    applied_after_seconds: float | None = None
    """Carried out so much later, on the clock of the laptop."""
    is_dropped: bool = False
    """The connection ends without an answer."""
    delay_seconds: float = 0
    """Real seconds before the answer."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a pool."""

    state: str = "Succeeded"
    """Succeeded, Failed, Canceled, or a state in which it stays."""
    error: Mapping[str, Any] | None = None
    """`properties.status.provisioningError`."""
    operation: str = ""
    """How the operation says that it ended, when that is not the state of the pool."""
    has_node: bool = True
    gpus: int | None = None
    """Offered by the node; None for what the size has."""
    is_ready: bool = True
    seconds: float | None = None
    """Until then; None for the cluster's usual time."""


class Faults:
    """Consumed in order, each once; an empty queue is a cloud in good health."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._queues: dict[str, deque[Fault]] = {}
        self._lasting: dict[str, Fault] = {}
        self._fates: deque[Fate] = deque()

    def add(self, verb: Verb, fault: Fault, times: int = 1) -> None:
        """Queue a fault for the next requests of that verb."""
        with self._lock:
            self._queues.setdefault(verb, deque()).extend([fault] * times)

    def always(self, verb: Verb, fault: Fault | None) -> None:
        """Answer all requests of that verb so, once the queue is empty; None ends it."""
        with self._lock:
            if fault is None:
                self._lasting.pop(verb, None)
            else:
                self._lasting[verb] = fault

    def foretell(self, *fates: Fate) -> None:
        """Say what becomes of the next pools."""
        with self._lock:
            self._fates.extend(fates)

    def take(self, verb: str) -> Fault | None:
        """The fault for this request, if any."""
        with self._lock:
            queue = self._queues.get(verb)
            return queue.popleft() if queue else self._lasting.get(verb)

    def fate(self) -> Fate:
        """What becomes of the pool that is made now."""
        with self._lock:
            return self._fates.popleft() if self._fates else Fate()
