"""Related objects: what a customize hook asked to see (pkg/controller/common/customize)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from kaito_laptop.core.clock import Clock
from kaito_laptop.core.cluster import Cluster, Event, Key, Manifest, NotFound, Resource
from kaito_laptop.core.objects import get, labels, matches, name, namespace, uid

CACHE_SECONDS = 20 * 60

Ask = Callable[[Manifest], Sequence[Manifest]]


class UnusableRuleError(Exception):
    """A rule that fails every sync of its parent."""


class Related:
    """Remembers the rules of each parent for a while and evaluates them."""

    def __init__(
        self,
        cluster: Cluster,
        clock: Clock,
        ask: Ask,
        version: str,
        watch: Callable[[Resource], None],
    ) -> None:
        self._cluster = cluster
        self._clock = clock
        self._ask = ask
        self._version = version
        self._watch = watch
        self._answers: dict[str, tuple[int, float, Sequence[Manifest]]] = {}

    def rules(self, parent: Manifest) -> Sequence[Manifest]:
        """Return the rules; asked once per generation, and again when they are 20 minutes old."""
        generation = int(get(parent, "metadata", "generation", default=0))
        now = self._clock.seconds()
        known = self._answers.get(uid(parent))
        if known is not None and known[0] == generation and now < known[1]:
            return known[2]
        rules = self._ask(parent)
        self._answers[uid(parent)] = (generation, now + CACHE_SECONDS, rules)
        return rules

    def forget(self, parent: Manifest) -> None:
        """Drop what is remembered of a parent that is gone."""
        self._answers.pop(uid(parent), None)

    def find(self, parent: Manifest) -> dict[str, list[Manifest]]:
        """Return the related objects by `Kind.apiVersion`, with an empty list for none."""
        found: dict[str, dict[str, Manifest]] = {}
        for rule in self.rules(parent):
            resource = self._resource(rule)
            self._watch(resource)
            group = found.setdefault(f"{resource.kind}.{resource.api_version}", {})
            self._check(rule, parent)
            for candidate in self._cluster.list(resource, self._place(rule, parent)):
                if self._holds(rule, parent, candidate):
                    group[uid(candidate)] = candidate
        return {group: list(objects.values()) for group, objects in found.items()}

    def concerns(self, parent: Manifest, resource: Resource, event: Event) -> bool:
        """Whether a change is one of an object that the parent sees or saw."""
        states = [event.object] if event.old is None else [event.object, event.old]
        return any(
            self._resource(rule) == resource
            and any(self._holds(rule, parent, state) for state in states)
            for rule in self.rules(parent)
        )

    def _resource(self, rule: Manifest) -> Resource:
        try:
            return self._cluster.resource(rule["apiVersion"], rule["resource"])
        except (KeyError, NotFound) as error:
            raise UnusableRuleError(f"can't find the resource of rule {rule}: {error}") from error

    def _check(self, rule: Manifest, parent: Manifest) -> None:
        if rule.get("names") and (rule.get("labelSelector") or rule.get("namespaceSelector")):
            raise UnusableRuleError("`names` may not be specified together with a selector")
        if rule.get("namespace") and rule.get("namespaceSelector"):
            raise UnusableRuleError("`namespace` and `namespaceSelector` exclude each other")
        own = namespace(parent)
        if self._version == "v1" and own and rule.get("namespace") not in (None, "", own):
            raise UnusableRuleError(f"`namespace` must be {own!r} with version v1")

    def _place(self, rule: Manifest, parent: Manifest) -> str | None:
        """Return the namespace to look in; None means all."""
        if self._version == "v1" and namespace(parent) and self._resource(rule).namespaced:
            return namespace(parent)
        return rule.get("namespace") or None

    def _holds(self, rule: Manifest, parent: Manifest, candidate: Manifest) -> bool:
        if self._place(rule, parent) not in (None, namespace(candidate)):
            return False
        if rule.get("names") and name(candidate) not in rule["names"]:
            return False
        selector = rule.get("namespaceSelector")
        if selector and not matches(selector, self._labels_of_namespace(candidate)):
            return False
        return matches(rule.get("labelSelector") or {}, labels(candidate))

    def _labels_of_namespace(self, candidate: Manifest) -> dict[str, str]:
        try:
            home = Key(self._cluster.resource("v1", "Namespace"), namespace(candidate))
            return labels(self._cluster.get(home))
        except NotFound:
            return {}
