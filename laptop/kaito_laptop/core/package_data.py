"""Where the CRDs and the manifests are: in the package when installed, else in the checkout."""

from __future__ import annotations

from pathlib import Path

import yaml

from kaito_laptop.core.cluster import Manifest

WORKSPACE_HOOK = "workspace-hook.kaito-system:80"
MACHINE_HOOK = "node-provisioner.kaito-system:80"
"""Hosts and ports of the hooks, as the CompositeControllers of the base name them."""

_PACKAGE = Path(__file__).parents[1]
_CHECKOUT = _PACKAGE.parents[1]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""In C where libyaml is there: each story reads all of it."""


def _folder(path: str) -> Path:
    installed = _PACKAGE / "data" / path
    return installed if installed.is_dir() else _CHECKOUT / path


def definitions() -> list[Manifest]:
    """Return the CustomResourceDefinitions of the project."""
    return [
        each for each in documents(_folder("crds")) if each["kind"] == "CustomResourceDefinition"
    ]


def controllers() -> list[Manifest]:
    """Return the Namespaces and the CompositeControllers of the base."""
    wanted = ("Namespace", "CompositeController")
    found = [each for each in documents(_folder("manifests/base")) if each["kind"] in wanted]
    return sorted(found, key=lambda each: wanted.index(each["kind"]))


def documents(path: Path) -> list[Manifest]:
    """Return all Kubernetes objects of a YAML file, or of all YAML files below a folder."""
    found = []
    files = sorted(each for each in path.rglob("*") if each.suffix in (".yaml", ".yml"))
    if path.is_file():
        files = [path]
    for file in files:
        for document in yaml.load_all(file.read_text(encoding="utf-8"), Loader=_LOADER):
            # Kustomize's own files lie between the manifests and are no objects of a cluster.
            is_object = isinstance(document, dict) and "apiVersion" in document
            if is_object and not document["apiVersion"].startswith("kustomize.config.k8s.io"):
                found.append(document)
    return found
