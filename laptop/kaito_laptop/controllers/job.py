"""Jobs: run pods until enough of them succeed, or the Job has failed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from kaito_laptop.controllers.owned import FINISHED, Workload, is_active, is_ready
from kaito_laptop.core.backoff import Backoff
from kaito_laptop.core.clock import parse_timestamp, timestamp
from kaito_laptop.core.cluster import Cluster, ClusterError, Event, Key, Manifest
from kaito_laptop.core.event_loop import EventLoop
from kaito_laptop.core.objects import (
    condition,
    controller_of,
    get,
    is_deleting,
    is_true,
    name,
    namespace,
    uid,
)

FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 10.0, 600.0
"""After a pod that failed."""
FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS = 1.0, 60.0
"""After a pod that was refused."""
COMPLETED = ("SuccessCriteriaMet", "Complete")
REACHED = ("CompletionsReached", "Reached expected number of succeeded pods")


class JobController(Workload):
    """Creates the pods of Jobs, counts how they end and writes the conditions."""

    api_version = "batch/v1"
    kind = "Job"
    component = "job-controller"

    def __init__(self, cluster: Cluster, event_loop: EventLoop) -> None:
        # A real Job holds its pods by a finalizer until they are counted; here the last state of a
        # deleted pod is kept instead.
        self._gone: dict[str, dict[str, Manifest]] = {}
        super().__init__(cluster, event_loop)

    def _backoff(self) -> Backoff[Key]:
        return Backoff(self._event_loop.clock, FIRST_RETRY_SECONDS, LONGEST_RETRY_SECONDS)

    def _pod_changed(self, event: Event) -> None:
        reference = controller_of(event.object)
        if event.type == "DELETED" and reference is not None and reference["kind"] == self.kind:
            self._gone.setdefault(reference["uid"], {})[uid(event.object)] = event.object
        super()._pod_changed(event)

    def reconcile(self, owner: Manifest, pods: Sequence[Manifest]) -> None:
        """Count, decide, create or delete pods, write the status."""
        if is_deleting(owner):
            self._gone.pop(uid(owner), None)
            return
        tally = self._tally(owner, pods)
        if is_true(owner, "Complete") or is_true(owner, "Failed"):
            self._delete_all(tally.active)
            return
        status = dict(owner.get("status") or {})
        if not owner["spec"]["suspend"]:
            status.setdefault("startTime", self._now())
        verdict, refused = self._verdict(owner, status, tally), None
        if verdict is not None:
            news = self._failed(owner, tally, verdict)
        elif tally.succeeded >= _wanted(owner):
            self._delete_all(tally.active)
            news = [_condition(each, *REACHED, self._now()) for each in COMPLETED]
            status["completionTime"] = self._now()
        else:
            news, refused = [], self._create_missing(owner, tally)
        if conditions := [*status.get("conditions", []), *news]:
            status["conditions"] = conditions
        self._write_status(owner, status | tally.counts(going_on=verdict is None))
        if refused is not None:
            raise refused

    def _failed(self, owner: Manifest, tally: _Tally, verdict: _Verdict) -> list[Manifest]:
        """End all pods; the Job has failed when the last one is gone."""
        self._delete_all(tally.active)
        news = []
        if not is_true(owner, "FailureTarget"):
            news.append(_condition("FailureTarget", *verdict, self._now()))
        if not tally.active and not tally.ending:
            news.append(_condition("Failed", *verdict, self._now()))
        return news

    def _now(self) -> str:
        return timestamp(self._event_loop.clock.now())

    def _tally(self, owner: Manifest, pods: Sequence[Manifest]) -> _Tally:
        known = {uid(pod): pod for pod in pods} | self._gone.get(uid(owner), {})
        active = [pod for pod in pods if is_active(pod)]
        # A pod on its way out is counted when it has ended, so that its successor cannot meet it.
        ending = [pod for pod in pods if not is_active(pod) and _phase(pod) not in FINISHED]
        waiting = {uid(pod) for pod in [*active, *ending]}
        ended = [pod for key, pod in known.items() if key not in waiting]
        succeeded = sum(_phase(pod) == "Succeeded" for pod in ended)
        failed = [pod for pod in ended if _phase(pod) != "Succeeded"]
        count, failing = _count_failures(owner["spec"], failed)
        return _Tally(
            active, ending, succeeded, count, failing, max(map(_ended_at, ended), default=0)
        )

    def _verdict(self, owner: Manifest, status: Manifest, tally: _Tally) -> _Verdict | None:
        """Return reason and message if the Job has failed."""
        target = condition(owner, "FailureTarget")
        if target is not None:
            return target["reason"], target["message"]
        if tally.failing is not None:
            return tally.failing
        deadline = owner["spec"].get("activeDeadlineSeconds")
        if deadline is not None and "startTime" in status:
            started = parse_timestamp(status["startTime"]).timestamp()
            left = started + deadline - self._event_loop.clock.now().timestamp()
            if left <= 0:
                return "DeadlineExceeded", "Job was active longer than specified deadline"
            self._queue.add_after(self._key(owner), left)
        if tally.failed > owner["spec"]["backoffLimit"]:
            return "BackoffLimitExceeded", "Job has reached the specified backoff limit"
        return None

    def _create_missing(self, owner: Manifest, tally: _Tally) -> ClusterError | None:
        """Return why a pod was refused, if one was; a suspended Job has none."""
        spec = owner["spec"]
        if spec["suspend"]:
            self._delete_all(tally.active)
            return None
        present = len(tally.active)
        if spec["podReplacementPolicy"] == "Failed":
            present += len(tally.ending)
        missing = min(spec["parallelism"], _wanted(owner) - tally.succeeded) - present
        if missing <= 0:
            return None
        if tally.failed:
            delay = min(FIRST_BACKOFF_SECONDS * 2.0 ** (tally.failed - 1), LONGEST_BACKOFF_SECONDS)
            wait = tally.last_end + delay - self._event_loop.clock.now().timestamp()
            if wait > 0:
                self._queue.add_after(self._key(owner), wait)
                return None
        try:
            for _ in range(missing):
                self._create_pod(owner, spec["template"], {}, generateName=f"{name(owner)}-")
        except ClusterError as error:
            return error
        return None

    def _delete_all(self, pods: Sequence[Manifest]) -> None:
        for pod in pods:
            self._delete_pod(pod)


_Verdict = tuple[str, str]
"""Reason and message."""


@dataclass(frozen=True, slots=True)
class _Tally:
    """How the pods of a Job stand."""

    active: Sequence[Manifest]
    ending: Sequence[Manifest]
    succeeded: int
    failed: int
    failing: _Verdict | None
    last_end: float

    def counts(self, *, going_on: bool) -> Manifest:
        active = self.active if going_on else []
        return {
            "active": len(active),
            "succeeded": self.succeeded,
            "failed": self.failed,
            "ready": sum(map(is_ready, active)),
            "terminating": len(self.ending),
            "uncountedTerminatedPods": {},
        }


def _wanted(job: Manifest) -> int:
    return int(job["spec"].get("completions", job["spec"]["parallelism"]))


def _count_failures(spec: Manifest, failed: Sequence[Manifest]) -> tuple[int, _Verdict | None]:
    """Return how many failures count, and the rule that fails the Job at once."""
    counted = 0
    for pod in failed:
        action, why = _policy(spec, pod)
        if action == "FailJob":
            return counted + 1, ("PodFailurePolicy", why)
        counted += action != "Ignore"
    return counted, None


def _policy(spec: Manifest, pod: Manifest) -> tuple[str, str]:
    """Return the action of the first rule of podFailurePolicy that fits."""
    for index, rule in enumerate(get(spec, "podFailurePolicy", "rules", default=[])):
        for pattern in rule.get("onPodConditions") or []:
            found = condition(pod, pattern["type"])
            if found is not None and found["status"] == pattern["status"]:
                return rule["action"], (
                    f"Pod {namespace(pod)}/{name(pod)} has condition {pattern['type']} "
                    f"matching {rule['action']} rule at index {index}"
                )
        codes = rule.get("onExitCodes")
        for container, code in _exit_codes(pod) if codes else []:
            named = codes.get("containerName") in (None, container)
            if named and (code in codes["values"]) == (codes["operator"] == "In"):
                return rule["action"], (
                    f"Container {container} for pod {namespace(pod)}/{name(pod)} "
                    f"failed with exit code {code} matching {rule['action']} rule at index {index}"
                )
    return "Count", ""


def _exit_codes(pod: Manifest) -> list[tuple[str, int]]:
    status = pod.get("status") or {}
    found = []
    for each in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]:
        code = get(each, "state", "terminated", "exitCode", default=0)
        if code != 0:
            found.append((each["name"], code))
    return found


def _ended_at(pod: Manifest) -> float:
    status = pod.get("status") or {}
    moments = [
        get(each, "state", "terminated", "finishedAt")
        for each in [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]
    ]
    known = [parse_timestamp(moment).timestamp() for moment in moments if moment]
    return max(known, default=0.0)


def _phase(pod: Manifest) -> str:
    return str(get(pod, "status", "phase", default="Pending"))


def _condition(type_: str, reason: str, message: str, now: str) -> Manifest:
    return {
        "type": type_,
        "status": "True",
        "reason": reason,
        "message": message,
        "lastProbeTime": now,
        "lastTransitionTime": now,
    }
