"""The process that stands for a container: its arguments and its environment.

Changed against a real container are the interpreter, the root, host and ports, and which GPUs are
visible; nothing else.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from kaito_laptop.core.cluster import Manifest
from kaito_laptop.core.log_files import inside
from kaito_laptop.core.objects import get
from kaito_laptop.kubelet.sources import MissingSourceError, Sources, field_of

HOST = "127.0.0.1"
INTERPRETERS = ("python", "python3")
PORT_FLAGS = ("--port", "--metrics-port")
INHERITED = ("PATH", "LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "LD_LIBRARY_PATH")
_REFERENCE = re.compile(r"\$\$|\$\(([A-Za-z_.-][A-Za-z0-9_.-]*)\)")


def expand(text: str, environment: Mapping[str, str]) -> str:
    """Replace `$(NAME)`; what is unknown stays, and `$$` is a dollar sign."""

    def replace(found: re.Match[str]) -> str:
        if found.group() == "$$":
            return "$"
        return environment.get(found.group(1), found.group())

    return _REFERENCE.sub(replace, text)


def declared_environment(pod: Manifest, container: Manifest, sources: Sources) -> dict[str, str]:
    """Return the variables that the container declares; raise `MissingSourceError`."""
    found: dict[str, str] = {}
    for each in container.get("envFrom", []):
        for field, kind in (("secretRef", "Secret"), ("configMapRef", "ConfigMap")):
            if field in each:
                reference = each[field]
                optional = bool(reference.get("optional"))
                data = sources.data(pod, kind, reference["name"], optional)
                prefix = each.get("prefix", "")
                found |= {prefix + key: value.decode() for key, value in data.items()}
    for variable in container.get("env", []):
        if "valueFrom" in variable:
            value = _value_from(pod, variable["valueFrom"], sources)
            if value is not None:
                found[variable["name"]] = value
        else:
            found[variable["name"]] = expand(variable.get("value", ""), found)
    return found


def _value_from(pod: Manifest, source: Manifest, sources: Sources) -> str | None:
    if "fieldRef" in source:
        return field_of(pod, source["fieldRef"]["fieldPath"])
    for field, kind in (("secretKeyRef", "Secret"), ("configMapKeyRef", "ConfigMap")):
        if field in source:
            reference = source[field]
            optional = bool(reference.get("optional"))
            data = sources.data(pod, kind, reference["name"], optional)
            if reference["key"] in data:
                return data[reference["key"]].decode()
            if not optional:
                words = f"couldn't find key {reference['key']} in {kind} {reference['name']}"
                raise MissingSourceError(words)
    return None


def environment(declared: Mapping[str, str], container: Manifest, root: Path) -> dict[str, str]:
    """Return the variables of the process: paths of mounts lie below the root."""
    own = {key: os.environ[key] for key in INHERITED if key in os.environ}
    mounts = [mount["mountPath"].rstrip("/") for mount in container.get("volumeMounts", [])]
    placed = {
        key: str(inside(root, value)) if _is_below(value, mounts) else value
        for key, value in declared.items()
    }
    visible = (
        {}
        if get(container, "resources", "limits", "nvidia.com/gpu")
        else {"CUDA_VISIBLE_DEVICES": ""}
    )
    return {
        **own,
        **visible,
        # Where this program finds the modules of the runtime, the process finds them too.
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        "PYTHONUNBUFFERED": "1",
        **placed,
        "KAITO_ROOT": str(root),
    }


def _is_below(path: str, mounts: Sequence[str]) -> bool:
    return any(path == mount or path.startswith(mount + "/") for mount in mounts)


def arguments(
    container: Manifest, declared: Mapping[str, str], ports: Mapping[str, int]
) -> list[str]:
    """Return the command line with our interpreter, on loopback, at the given ports."""
    words = [*container.get("command", []), *container.get("args", [])]
    words = [expand(word, declared) for word in words]
    if words and words[0] in INTERPRETERS:
        words[0] = sys.executable
    replaced: list[str] = []
    flag = ""
    for word in words:
        name, equals, value = word.partition("=")
        if flag:
            replaced.append(_replace(flag, word, ports))
            flag = ""
        elif name == "--host" or name in PORT_FLAGS:
            flag = "" if equals else name
            replaced.append(f"{name}={_replace(name, value, ports)}" if equals else word)
        else:
            replaced.append(word)
    return replaced


def _replace(flag: str, value: str, ports: Mapping[str, int]) -> str:
    return HOST if flag == "--host" else str(ports.get(value, value))


def ports_of(container: Manifest) -> set[str]:
    """Return the ports that a container opens: those of its flags and those that it declares."""
    declared = {str(port["containerPort"]) for port in container.get("ports", [])}
    words = [*container.get("command", []), *container.get("args", [])]
    for before, word in zip(["", *words], words, strict=False):
        name, equals, value = word.partition("=")
        asked = value if equals and name in PORT_FLAGS else word if before in PORT_FLAGS else ""
        if asked.isdecimal() and asked != "0":
            declared.add(asked)
    return declared
