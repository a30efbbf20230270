"""Where the paths of docs/pods.md lie: every absolute path is placed below one root."""

import os
from pathlib import Path


def root() -> Path:
    """Return the folder that stands for `/` (the environment variable `KAITO_ROOT`)."""
    return Path(os.environ.get("KAITO_ROOT") or "/")


def in_root(path: str | Path) -> Path:
    """Return where an absolute path of the contract lies; a relative path stays as it is."""
    path = Path(path)
    base = root()
    if not path.is_absolute() or path.is_relative_to(base):
        return path
    return base / path.relative_to("/")
