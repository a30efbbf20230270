"""A hook as it runs in production: gunicorn with the settings that ship."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kaito_laptop.cli.hook_processes import HookProcess

from tests.harness.wire import ROOT

OURS = "kaito_hooks.web.workspace:create_workspace_app()"
SETTINGS = {
    "KAITO_TRANSFER_IMAGE": "ghcr.io/kaito-python/transfer:0.1.0",
    "KAITO_TUNING_IMAGE": "ghcr.io/kaito-python/tuning:0.1.0",
    "KAITO_INFERENCE_IMAGE": "ghcr.io/kaito-python/inference:0.1.0",
}


@contextmanager
def running(app: str, settings: Mapping[str, str], log: Path) -> Iterator[HookProcess]:
    """The hook until the block ends; what it logs is in `log`."""
    shipped = {"GUNICORN_CMD_ARGS": f"--config={ROOT / 'hooks/gunicorn.conf.py'}"}
    hook = HookProcess(app, {**settings, **shipped}, log)
    try:
        hook.wait()
        yield hook
    finally:
        hook.stop()
