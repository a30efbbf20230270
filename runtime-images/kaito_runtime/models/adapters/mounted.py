"""The adapters that are mounted into a pod of the model server."""

import math
import os
from collections.abc import Mapping
from pathlib import Path

from kaito_runtime.models.adapters.refusals import refusal


def mounted_adapters(
    folder: Path, strengths: Mapping[str, str] | None = None
) -> dict[str, tuple[Path, float]]:
    """Return the adapters below a folder: name -> its folder and strength, sorted by name.

    Kaito's rule: a strength that is not given is in the environment variable that is named as the adapter.
    """
    strengths = strengths or {}
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not path.is_dir() or path.name.startswith("."):
            continue
        text = strengths.get(path.name) or os.environ.get(path.name, "1.0")
        try:
            strength = float(text)
        except ValueError:
            strength = math.nan
        if not math.isfinite(strength):
            raise refusal(path.name, f'its strength is "{text}"; write a number such as "0.5"')
        found[path.name] = (path, strength)
    return found
