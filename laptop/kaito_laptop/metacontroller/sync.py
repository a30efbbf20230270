"""One pass over one parent: the twelve steps of Metacontroller's CompositeController."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from random import Random

from kaito_laptop.core.cluster import Cluster, ClusterError, Conflict, Key, Manifest, NotFound
from kaito_laptop.core.objects import (
    finalizers,
    get,
    is_deleting,
    labels,
    matches,
    name,
    namespace,
    same,
    uid,
)
from kaito_laptop.metacontroller.answers import SyncAnswer, UnreadableAnswerError, parse_sync
from kaito_laptop.metacontroller.children import Children, by_kind
from kaito_laptop.metacontroller.claims import Claims
from kaito_laptop.metacontroller.definition import Definition
from kaito_laptop.metacontroller.hooks import (
    HookAnswer,
    HookCaller,
    HookUnreachableError,
    is_strict,
    timeout_of,
    url_of,
)
from kaito_laptop.metacontroller.related import Related, UnusableRuleError

STATUS_TRIES = 4


class SyncError(Exception):
    """The pass failed; it is repeated with back-off and reported to the parent's owner."""


class TooEarlyError(Exception):
    """The hook answered 429; not a failure."""

    def __init__(self, after_seconds: float) -> None:
        super().__init__(f"the hook asks to come back in {after_seconds:g} seconds")
        self.after_seconds = after_seconds


@dataclass(frozen=True, slots=True)
class Pass:
    """Runs one pass; `resync` is told when the hook wants to be asked again."""

    cluster: Cluster
    definition: Definition
    caller: HookCaller
    related: Related
    order: Random
    resync: Callable[[float], None]

    def run(self, key: Key) -> None:
        """Raise `SyncError` or `TooEarlyError`."""
        try:
            parent = self.cluster.get(key)
        except NotFound:
            return
        wanted = matches(self.definition.parent_selector, labels(parent))
        if not wanted and self.definition.finalizer not in finalizers(parent):
            return
        parent = self._with_finalizer(key, parent, wanted)
        selector = self._selector(parent)
        observed = self._claim(parent, selector)
        finalizing = is_deleting(parent) or not wanted
        try:
            related = self.related.find(parent)
        except UnusableRuleError as error:
            raise SyncError(str(error)) from error
        answer = self._ask(parent, observed, related, finalizing)
        if answer.resync_after_seconds > 0:
            self.resync(answer.resync_after_seconds)
        if answer.finalized and self.definition.finalizer in finalizers(parent):
            parent = self._change_finalizers(key, remove=True)
        desired = self._label(parent, selector, answer.children)
        errors: Sequence[str] = ()
        if self._manages_children(parent):
            children = [child for group in observed.values() for child in group]
            strategies = self.definition.strategies
            errors = Children(self.cluster, parent, strategies, self.order).manage(
                by_kind(children), by_kind(desired)
            )
        self._write_status(key, parent, answer.status)
        if errors:
            raise SyncError(f"can't reconcile children for {_says(parent)}: {list(errors)}")

    def _with_finalizer(self, key: Key, parent: Manifest, wanted: bool) -> Manifest:
        present = self.definition.finalizer in finalizers(parent)
        if "finalize" in self.definition.hooks:
            if not present and wanted and not is_deleting(parent):
                return self._change_finalizers(key, remove=False)
        elif present:
            return self._change_finalizers(key, remove=True)
        return parent

    def _change_finalizers(self, key: Key, *, remove: bool) -> Manifest:
        live = self.cluster.get(key)
        kept = [each for each in finalizers(live) if each != self.definition.finalizer]
        live["metadata"]["finalizers"] = kept if remove else [*kept, self.definition.finalizer]
        return self.cluster.update(live)

    def _selector(self, parent: Manifest) -> Manifest:
        if self.definition.generate_selector:
            return {"matchLabels": {"controller-uid": uid(parent)}}
        selector = get(parent, "spec", "selector", default={})
        if not selector.get("matchLabels") and not selector.get("matchExpressions"):
            raise SyncError(f"{_says(parent)}: spec.selector must be specified and not empty")
        return dict(selector)

    def _claim(self, parent: Manifest, selector: Manifest) -> dict[str, Sequence[Manifest]]:
        claims = Claims(self.cluster, self.definition.parent, parent, selector)
        return {
            f"{resource.kind}.{resource.api_version}": claims.claim(resource)
            for resource in self.definition.children
        }

    def _ask(
        self,
        parent: Manifest,
        observed: Mapping[str, Sequence[Manifest]],
        related: Mapping[str, Sequence[Manifest]],
        finalizing: bool,
    ) -> SyncAnswer:
        which = "finalize" if finalizing and "finalize" in self.definition.hooks else "sync"
        hook = self.definition.hooks.get(which)
        if hook is None:
            raise SyncError(f"no {which} hook is defined")
        version = hook.get("version", "v1")
        request = {
            "controller": self.definition.manifest,
            "parent": parent,
            "children": _keyed(observed, parent, version),
            "related": _keyed(related, parent, version),
            "finalizing": finalizing,
        }
        answer = post(self.caller, hook, request)
        try:
            read = parse_sync(answer.body, is_strict(hook))
        except UnreadableAnswerError as error:
            raise SyncError(f"{which} hook failed for {_says(parent)}: {error}") from error
        for child in read.children:
            if not get(child, "metadata", "namespace"):
                child.setdefault("metadata", {})["namespace"] = namespace(parent)
        return read

    def _label(
        self, parent: Manifest, selector: Manifest, children: Sequence[Manifest]
    ) -> Sequence[Manifest]:
        for child in children:
            found = labels(child)
            if not all(isinstance(value, str) for value in found.values()):
                raise SyncError(f"{child['kind']} {name(child)}: label values must be strings")
            if self.definition.generate_selector and "controller-uid" not in found:
                found["controller-uid"] = uid(parent)
                child["metadata"]["labels"] = found
            if not matches(selector, found):
                raise SyncError(
                    f"labels on desired child {child['kind']} {name(child)} don't match the "
                    f"selector of {_says(parent)}"
                )
        return children

    def _manages_children(self, parent: Manifest) -> bool:
        if not is_deleting(parent):
            return True
        present = finalizers(parent)
        by_collector = {"foregroundDeletion", "orphan"} & set(present)
        return self.definition.finalizer in present and not by_collector

    def _write_status(self, key: Key, parent: Manifest, status: Manifest) -> None:
        status = {**status, "observedGeneration": parent["metadata"].get("generation", 0)}
        for _ in range(STATUS_TRIES):
            try:
                live = self.cluster.get(key)
                if uid(live) != uid(parent) or same(live.get("status"), status):
                    return
                live["status"] = status
                self.cluster.update_status(live)
                return
            except NotFound:
                return
            except Conflict:
                continue
            except ClusterError as error:
                raise SyncError(f"can't update status of {_says(parent)}: {error}") from error


def post(caller: HookCaller, hook: Manifest, request: Manifest) -> HookAnswer:
    """Call a hook; anything but 200 fails the pass, 429 postpones it."""
    webhook = hook["webhook"]
    body = json.dumps(request, separators=(",", ":")).encode()
    try:
        answer = caller(url_of(webhook), body, timeout_of(webhook))
    except HookUnreachableError as error:
        raise SyncError(f"hook failed: {error}") from error
    if answer.status == 429:
        raise TooEarlyError(_retry_after(answer))
    if answer.status != 200:
        text = answer.body.decode(errors="replace")[:500]
        raise SyncError(f"hook failed: remote error: status {answer.status}: {text}")
    return answer


def _retry_after(answer: HookAnswer) -> float:
    """Return whole seconds; anything else counts as 0, which is a hot loop."""
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isdecimal() else 0.0


def _keyed(
    groups: Mapping[str, Sequence[Manifest]], parent: Manifest, version: str
) -> dict[str, dict[str, Manifest]]:
    own = namespace(parent)
    if version == "v1" and own:
        return {
            group: {name(each): each for each in objects if namespace(each) == own}
            for group, objects in groups.items()
        }
    return {
        group: {f"{namespace(each)}/{name(each)}".lstrip("/"): each for each in objects}
        for group, objects in groups.items()
    }


def _says(parent: Manifest) -> str:
    return f"{parent['kind']} {namespace(parent)}/{name(parent)}"
