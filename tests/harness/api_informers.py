"""The cluster of a real API server as a controller sees it: lists are read from watches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from kaito_laptop.core import objects
from kaito_laptop.core.cluster import Manifest, Resource

from tests.harness.api_server import ApiServer


class Informers(ApiServer):
    """Lists cost no request, and may be a moment behind, as those of Metacontroller are."""

    def list(
        self,
        resource: Resource,
        namespace: str | None = None,
        labels: Mapping[str, str] | None = None,
    ) -> Sequence[Manifest]:
        """All objects of a kind, of one namespace or of all, sorted by namespace and name."""
        return [
            objects.copy(item)
            for item in self._watch(resource).objects()
            if objects.is_among(item, namespace, labels)
        ]
