"""A Machine in the hands of Metacontroller on a bad day: stale, lost, doubled and late."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from kaito_laptop.core.clock import VirtualClock, timestamp

from tests.chaos.fault_schedule import FaultSchedule
from tests.unit.machine.builders import FINALIZER, machine


class SimulatedMachine:
    """One Machine from its creation until it is gone; `wants` is what its owner does with it."""

    def __init__(
        self,
        name: str,
        uid: str,
        born: float,
        dies: float,
        has_finalizer: bool = True,
        capacity: Sequence[str] = (),
    ) -> None:
        self.name, self.uid = name, uid
        self.born, self.dies = born, dies
        self.due = born
        """When Metacontroller calls next."""
        self.is_gone = False
        self.is_forced = False
        """Whether someone took its finalizer away by force."""
        finalizers = [FINALIZER] if has_finalizer else []
        found = machine(metadata={"name": name, "uid": uid, "finalizers": finalizers})
        if capacity:
            wanted = {"key": "karpenter.sh/capacity-type", "operator": "In", "values": [*capacity]}
            found["spec"]["requirements"].append(wanted)
        self.parent: dict[str, Any] = found
        self._shown_deleting = False
        self._past: list[dict[str, Any]] = []

    @property
    def is_deleting(self) -> bool:
        return "deletionTimestamp" in self.parent["metadata"]

    @property
    def has_finalizer(self) -> bool:
        return not self.is_gone and FINALIZER in self.parent["metadata"]["finalizers"]

    def delete(self, clock: VirtualClock) -> None:
        """`kubectl delete machine`."""
        generation = self.parent["metadata"]["generation"] + 1
        self._change(deletionTimestamp=timestamp(clock.now()), generation=generation)

    def retry(self, value: str) -> None:
        """What the owner does about a refusal."""
        self._change(annotations={"kaito.sh/retry": value})

    def add_finalizer(self) -> None:
        """Metacontroller's part before a sync."""
        if not self.has_finalizer and not self.is_gone:
            self._change(finalizers=[FINALIZER])

    def shown(self, schedule: FaultSchedule, now: float) -> dict[str, Any]:
        """The parent as the informer has it: some versions old, but never older than a deletion shown before.

        An informer does not go back in time; that an old status is shown after a new one is harsher
        than that, and stands for writes that were lost.
        """
        parent = self.parent
        if self._past and schedule.happens("stale parent", 0.2, now):
            old = schedule.chance.choice(self._past)
            parent = {**parent, "status": old.get("status") or {}} if self._shown_deleting else old
        self._shown_deleting |= "deletionTimestamp" in parent["metadata"]
        return parent

    def write(self, status: dict[str, Any]) -> bool:
        """Write the status; return whether that changed anything."""
        if self.parent.get("status") == status:
            return False
        self._set_status(status)
        return True

    def edit(self, schedule: FaultSchedule) -> None:
        """Somebody edits the status, or a backup brings an old one back."""
        status = self.parent.get("status") or {}
        later = "2099-01-01T00:00:00Z"
        done = {"status": "True", "reason": "x", "message": "x"}
        types = ("MachineLaunched", "MachineRegistered", "MachineInitialized", "Ready")
        edits: list[dict[str, Any]] = [
            {},
            {**status, "pool": {"name": "foreign", "provisioningState": "Failed"}},
            {
                **status,
                "conditions": [{"type": name, **done} for name in types],
                "providerID": "azure:///foreign",
            },
            {**status, "absentSince": later, "attempt": {"count": 7, "retryAfter": later}},
            (self._past[0].get("status") or {}) if self._past else {},
        ]
        self._set_status(schedule.chance.choice(edits))

    def reason(self, type_: str = "Ready") -> str:
        """Status and reason of a condition."""
        for item in self.parent.get("status", {}).get("conditions", ()):
            if item["type"] == type_:
                return f"{item['status']}/{item['reason']}"
        return ""

    def _set_status(self, status: dict[str, Any]) -> None:
        self._replace({**self.parent, "status": status})

    def _change(self, **metadata: Any) -> None:
        self._replace({**self.parent, "metadata": {**self.parent["metadata"], **metadata}})

    def _replace(self, parent: dict[str, Any]) -> None:
        """Versions are never changed, so that old ones can be shown."""
        self._past = [*self._past[-3:], self.parent]
        self.parent = parent
