"""The files and variables that pods get from Secrets, ConfigMaps and from themselves."""

from __future__ import annotations

import base64

from kaito_laptop.core.cluster import Cluster, Key, Manifest, NotFound
from kaito_laptop.core.objects import get, namespace

Files = dict[str, bytes]
"""Contents by path relative to the volume."""


class MissingSourceError(Exception):
    """A pod names something that is not there; the message is the one of `kubectl describe pod`."""


class Sources:
    """Reads what the pods of a cluster name."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def data(self, pod: Manifest, kind: str, wanted: str, optional: bool = False) -> Files:
        """Return the contents of a Secret or a ConfigMap."""
        key = Key(self._cluster.resource("v1", kind), wanted, namespace(pod))
        try:
            found = self._cluster.get(key)
        except NotFound:
            if optional:
                return {}
            raise MissingSourceError(f'{kind.lower()} "{wanted}" not found') from None
        binary = "data" if kind == "Secret" else "binaryData"
        files = {k: base64.b64decode(v) for k, v in (found.get(binary) or {}).items()}
        if kind == "ConfigMap":
            files |= {k: v.encode() for k, v in (found.get("data") or {}).items()}
        return files

    def check(self, pod: Manifest) -> str | None:
        """Return what a volume of the pod waits for, if it does."""
        for volume in pod["spec"].get("volumes", []):
            try:
                self.files(pod, volume)
            except MissingSourceError as error:
                return str(error)
        return None

    def files(self, pod: Manifest, volume: Manifest) -> Files:
        """Return what a volume holds when the pod starts; an emptyDir holds nothing."""
        try:
            return self._files(pod, volume)
        except MissingSourceError as error:
            words = f'MountVolume.SetUp failed for volume "{volume["name"]}" : {error}'
            raise MissingSourceError(words) from None

    def _files(self, pod: Manifest, volume: Manifest) -> Files:
        if "projected" in volume:
            files: Files = {}
            for source in volume["projected"].get("sources", []):
                files |= self._files(pod, source)
            return files
        if "downwardAPI" in volume:
            return {
                item["path"]: field_of(pod, item["fieldRef"]["fieldPath"]).encode()
                for item in volume["downwardAPI"].get("items", [])
                if "fieldRef" in item
            }
        for field, kind, by in (("secret", "Secret", "secretName"), ("configMap", "ConfigMap", "")):
            if field in volume:
                source = volume[field]
                optional = bool(source.get("optional"))
                wanted = source.get(by) or source.get("name", "")
                found = self.data(pod, kind, wanted, optional)
                return _select(found, source.get("items"), optional)
        return {}


def _select(found: Files, items: list[Manifest] | None, optional: bool) -> Files:
    if items is None:
        return found
    files = {}
    for item in items:
        if item["key"] in found:
            files[item["path"]] = found[item["key"]]
        elif not optional:
            raise MissingSourceError(f"references non-existent config key: {item['key']}")
    return files


def field_of(pod: Manifest, path: str) -> str:
    """Return a field that the downward API offers, such as `metadata.labels['app']`."""
    if path.endswith("']"):
        base, _, key = path[:-2].partition("['")
        return str(get(pod, *base.split("."), key, default=""))
    return str(get(pod, *path.split("."), default=""))
