"""The files of `kaito up -f`: read, with the registry's address put in, and completed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from kaito_laptop.core.cluster import Manifest
from kaito_laptop.core.errors import LaptopError
from kaito_laptop.core.objects import get, name, namespace
from kaito_laptop.core.package_data import documents

REGISTRY_NAME = "registry.laptop"
"""Stands in manifests for the address of the registry, which is another one each time."""
DEMO_PRESET = "tiny-demo"
"""Its weights are made on this computer."""


class UnreadableFileError(LaptopError):
    """A file that `-f` names is not found or is not valid YAML."""


def read(files: Iterable[Path]) -> list[Manifest]:
    """Return all objects; raise `UnreadableFileError` that names the file."""
    found: list[Manifest] = []
    for file in files:
        if not file.exists():
            raise UnreadableFileError(f"{file} does not exist")
        try:
            several = documents(file)
        except OSError as error:
            raise UnreadableFileError(f"{file}: {error.strerror}") from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise UnreadableFileError(f"{file} is not YAML: {error}") from error
        if not several:
            raise UnreadableFileError(f"{file} has no Kubernetes object")
        found += several
    for each in found:
        if not get(each, "kind") or not get(each, "metadata", "name"):
            raise UnreadableFileError(f"an object has no `kind` or no `metadata.name`: {each}")
    return found


def complete(
    found: Sequence[Manifest], registry: str, push_secret: Callable[[str, str], Manifest]
) -> list[Manifest]:
    """Put the address of the registry in, and add the push Secrets that nobody wrote."""
    placed: list[Manifest] = [_replace(each, registry) for each in found]
    written = {(_place(each), name(each)) for each in placed if each["kind"] == "Secret"}
    missing = {
        (_place(each), get(each, "tuning", "output", "imagePushSecret"))
        for each in workspaces(placed)
        if registry in str(get(each, "tuning", "output", "image"))
    }
    made = [push_secret(secret, place) for place, secret in sorted(missing - written)]
    # What others lean on comes first.
    order = {"Namespace": 0, "Secret": 1, "ConfigMap": 2, "Workspace": 4}
    return sorted([*placed, *made], key=lambda each: order.get(each["kind"], 3))


def workspaces(found: Iterable[Manifest]) -> list[Manifest]:
    """Return the Workspaces among the objects."""
    return [each for each in found if each["kind"] == "Workspace"]


def presets(found: Iterable[Manifest]) -> set[str]:
    """Return the presets that the Workspaces name."""
    return {
        str(get(each, use, "preset", "name"))
        for each in workspaces(found)
        for use in ("tuning", "inference")
        if get(each, use, "preset", "name")
    }


def _place(manifest: Manifest) -> str:
    return namespace(manifest) or "default"


def _replace(value: Any, address: str) -> Any:
    if isinstance(value, dict):
        return {key: _replace(item, address) for key, item in value.items()}
    if isinstance(value, list):
        return [_replace(item, address) for item in value]
    return value.replace(REGISTRY_NAME, address) if isinstance(value, str) else value
