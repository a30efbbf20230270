"""The adapters that are mounted into a pod of the model server."""

import math
import os
from pathlib import Path

from kaito_runtime.models.adapters.refusals import refusal


def mounted_adapters(folder: Path) -> dict[str, tuple[Path, float]]:
    """Return the adapters below a folder: name -> its folder and strength, sorted by name.

    Kaito's rule: the strength is in the environment variable that is named as the adapter.
    """
    found = {}
    for path in sorted(folder.iterdir()) if folder.is_dir() else []:
        if not path.is_dir() or path.name.startswith("."):
            continue
        text = os.environ.get(path.name, "1.0")
        try:
            strength = float(text)
        except ValueError:
            strength = math.nan
        if not math.isfinite(strength):
            raise refusal(path.name, f'its strength is "{text}"; write a number such as "0.5"')
        found[path.name] = (path, strength)
    return found
