"""The API server as the sweep sees it, through the official client: three lists and one ConfigMap."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import urllib3
from kubernetes import client as kube

from kaito_hooks.kube.conditions import timestamp
from kaito_hooks.kube.objects import get_in, text, uid
from kaito_hooks.kube.times import parse_timestamp
from kaito_hooks.providers.aks.sweep.orphans import KubernetesCluster

MEMORY = "orphan-sweep"
"""Name of the ConfigMap; people may read it, too."""
KEY = "orphans.json"
MACHINES = ("kaito.sh", "v1alpha1", "machines")
CRD = ("apiextensions.k8s.io", "v1", "customresourcedefinitions", "machines.kaito.sh")
PAGE = 500
SECONDS = 10
_GROUP = re.compile(r"/resourcegroups/([^/]+)/", re.IGNORECASE)
_TROUBLES = (
    *(kube.ApiException, urllib3.exceptions.HTTPError),
    *(ValueError, KeyError, TypeError, AttributeError),
)
"""The API server's own, and those of an answer that is no list: something else answered."""


class Api:
    """Implements `kaito_hooks.providers.aks.sweep.sweep.Kubernetes`."""

    def __init__(self, connection: kube.ApiClient, namespace: str) -> None:
        self._objects = kube.CustomObjectsApi(connection)
        self._core = kube.CoreV1Api(connection)
        self._namespace = namespace

    def cluster(self) -> KubernetesCluster | None:
        """Machines, Nodes and the CRD; None unless all of them are complete."""
        try:
            machines = _whole(self._machines, lambda page: page["metadata"].get("continue"))
            nodes = _whole(self._nodes, lambda page: page.metadata._continue)
            crd = self._objects.get_cluster_custom_object(*CRD, _request_timeout=SECONDS)
        except _TROUBLES:
            return None
        uids = frozenset(uid(item) for page in machines for item in page["items"])
        ids = [text(node.spec.provider_id) for page in nodes for node in page.items if node.spec]
        groups = (_GROUP.search(item) for item in ids)
        created = parse_timestamp(get_in(crd, "metadata", "creationTimestamp"))
        if created is None or "" in uids:
            return None
        return KubernetesCluster(
            uids, frozenset(found[1].lower() for found in groups if found), created
        )

    def remembered(self) -> Mapping[str, datetime]:
        """What cannot be read counts as nothing: an orphan only waits longer."""
        try:
            memory = self._core.read_namespaced_config_map(
                MEMORY, self._namespace, _request_timeout=SECONDS
            )
            found = {
                key: parse_timestamp(value)
                for key, value in json.loads((memory.data or {}).get(KEY, "")).items()
            }
        except _TROUBLES:
            return {}
        return {key: value for key, value in found.items() if value}

    def remember(self, orphans: Mapping[str, datetime]) -> None:
        """The ConfigMap comes with the manifests; only its content is ours."""
        data = {key: timestamp(moment) for key, moment in sorted(orphans.items())}
        body = {"data": {KEY: json.dumps(data, indent=1)}}
        self._core.patch_namespaced_config_map(
            MEMORY, self._namespace, body, _request_timeout=SECONDS
        )

    def _machines(self, **page: Any) -> Any:
        found = self._objects.list_cluster_custom_object(*MACHINES, **page)
        if not isinstance(found, dict) or not isinstance(found.get("items"), list):
            raise ValueError("the answer is no list")
        return found

    def _nodes(self, **page: Any) -> Any:
        return self._core.list_node(**page)


def _whole(read: Callable[..., Any], token_of: Callable[[Any], object]) -> list[Any]:
    """All pages; raise unless the last one says that nothing remains."""
    pages = [read(limit=PAGE, _request_timeout=SECONDS)]
    while token := text(token_of(pages[-1])):
        pages.append(read(limit=PAGE, _continue=token, _request_timeout=SECONDS))
    return pages
