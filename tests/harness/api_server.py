"""The cluster of a real API server."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from kaito_laptop.core.cluster import Event, Key, Manifest, NotFound, Propagation, Resource
from kaito_laptop.core.objects import name, namespace

from tests.harness.api_connection import DISCOVERY, Connection
from tests.harness.api_watch import Post, Watch


class ApiServer:
    """Reads and writes at the server itself; nothing is remembered but the kinds."""

    def __init__(self, kubeconfig: Path, post: Post) -> None:
        """Changes are handed to `post`, for the thread in which receivers live."""
        self._connection = Connection(kubeconfig)
        self._post = post
        self._kinds: dict[tuple[str, str], Resource] = {}
        self._watches: dict[Resource, Watch] = {}

    def resource(self, api_version: str, kind: str) -> Resource:
        """Find a kind by its name or by its plural; raise `NotFound` if it is not known."""
        if (api_version, kind) not in self._kinds:
            self._discover()
        try:
            return self._kinds[api_version, kind]
        except KeyError:
            raise NotFound(f'no matches for kind "{kind}" in version "{api_version}"') from None

    def resources(self) -> Sequence[Resource]:
        """Return every kind of which the server keeps objects, in the version it prefers."""
        if not self._kinds:
            self._discover()
        found: dict[tuple[str, str], Resource] = {}
        for each in self._kinds.values():
            found.setdefault((each.group, each.kind), each)
        return list(found.values())

    def get(self, key: Key) -> Manifest:
        """Raise `NotFound`."""
        return self._request("GET", self._path(key))

    def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Sequence[Manifest]:
        """All objects of a kind, of one namespace or of all, sorted by namespace and name."""
        selector = ",".join(f"{key}={value}" for key, value in (labels or {}).items())
        query = {"labelSelector": selector} if selector else None
        found = self._request("GET", _folder(resource, namespace or ""), query=query)
        kind = {"apiVersion": resource.api_version, "kind": resource.kind}
        return sorted(({**kind, **item} for item in found["items"]), key=_place)

    def watch(
        self, resources: Sequence[Resource], receive: Callable[[Event], None]
    ) -> Callable[[], None]:
        """Report each change, first an ADDED for each object; calling the answer ends it."""
        ends = [self._watch(each).subscribe(receive) for each in resources]

        def end() -> None:
            for each in ends:
                each()

        return end

    def create(self, manifest: Manifest) -> Manifest:
        """Raise `AlreadyExists` or `Invalid`."""
        resource = self.resource(manifest["apiVersion"], manifest["kind"])
        place = (namespace(manifest) or "default") if resource.namespaced else ""
        return self._request("POST", _folder(resource, place), manifest)

    def update(self, manifest: Manifest) -> Manifest:
        """Replace all but status. Raise `NotFound`, `Conflict` or `Invalid`."""
        return self._request("PUT", self._path_of(manifest), manifest)

    def update_status(self, manifest: Manifest) -> Manifest:
        """Replace status only. Raise `NotFound`, `Conflict` or `Invalid`."""
        return self._request("PUT", f"{self._path_of(manifest)}/status", manifest)

    def delete(
        self,
        key: Key,
        propagation: Propagation = "Background",
        uid: str | None = None,
        grace_period_seconds: int | None = None,
    ) -> None:
        """Raise `NotFound`, or `Conflict` when the uid is another one."""
        options: Manifest = {"propagationPolicy": propagation}
        if uid is not None:
            options["preconditions"] = {"uid": uid}
        if grace_period_seconds is not None:
            options["gracePeriodSeconds"] = grace_period_seconds
        self._request("DELETE", self._path(key), options)

    def close(self) -> None:
        """End all watches."""
        for each in self._watches.values():
            each.stop()
        self._watches.clear()

    def _request(
        self,
        method: str,
        path: str,
        body: Manifest | None = None,
        query: Mapping[str, str] | None = None,
    ) -> Manifest:
        answer: Manifest = self._connection.request(method, path, body, query)
        return answer

    def _watch(self, resource: Resource) -> Watch:
        if resource not in self._watches:
            kind = {"apiVersion": resource.api_version, "kind": resource.kind}
            path = _folder(resource, "")
            self._watches[resource] = Watch(self._connection, path, kind, self._post)
        return self._watches[resource]

    def _path_of(self, manifest: Manifest) -> str:
        resource = self.resource(manifest["apiVersion"], manifest["kind"])
        return self._path(Key(resource, name(manifest), namespace(manifest)))

    def _path(self, key: Key) -> str:
        place = (key.namespace or "default") if key.resource.namespaced else ""
        return f"{_folder(key.resource, place)}/{key.name}"

    def _discover(self) -> None:
        self._kinds.clear()
        for path in ("/api", "/apis"):
            for group in self._connection.request("GET", path, accept=DISCOVERY)["items"]:
                of = group["metadata"].get("name", "")
                for version in group["versions"]:
                    for each in version.get("resources", []):
                        self._learn(f"{of}/{version['version']}".lstrip("/"), each)

    def _learn(self, api_version: str, found: Manifest) -> None:
        if not {"list", "watch", "delete"} <= set(found["verbs"]):
            return
        kind, plural = found["responseKind"]["kind"], found["resource"]
        resource = Resource(api_version, kind, plural, found["scope"] == "Namespaced")
        self._kinds[api_version, kind] = self._kinds[api_version, plural] = resource


def _folder(resource: Resource, place: str) -> str:
    root = "/apis" if resource.group else "/api"
    within = f"/namespaces/{place}" if place else ""
    return f"{root}/{resource.api_version}{within}/{resource.plural}"


def _place(item: Manifest) -> tuple[str, str]:
    return namespace(item), name(item)
