"""Commands for the owner of an object, as a shell takes them: every value is quoted where it must be."""

from __future__ import annotations

import shlex

from kaito_hooks.api import labels


def kubectl(*words: str) -> str:
    """A kubectl command of these words."""
    return shlex.join(("kubectl", *words))


def retry(kind: str, name: str, namespace: str) -> str:
    """Runs again what failed: any value that was not there before does, and the time is one."""
    return f'{kubectl("annotate", kind, name, "-n", namespace)} {labels.RETRY}="$(date +%s)" --overwrite'
