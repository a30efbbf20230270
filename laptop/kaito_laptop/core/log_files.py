"""What pods and hooks write on this computer: where it is, and its end."""

from __future__ import annotations

import os
from pathlib import Path

from kaito_laptop.core.state_folder import LOGS

TAIL_BYTES, TAIL_LINES = 2048, 80


def log_folder(state: Path, namespace: str, pod: str) -> Path:
    """Return where the logs of a pod are."""
    return inside(state / LOGS, f"{namespace}/{pod}")


def log_file(state: Path, namespace: str, pod: str, container: str) -> Path:
    """Return where a container's output is."""
    return inside(log_folder(state, namespace, pod), f"{container}.log")


def inside(root: Path, path: str) -> Path:
    """Return where an absolute path of a container is; `..` cannot leave the root."""
    clean = os.path.normpath("/" + path.lstrip("/"))
    return root / clean.lstrip("/")


def tail(log: Path) -> str:
    """Return the end of a log, as much as a termination message takes."""
    try:
        with log.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-TAIL_LINES:])
