"""The Workspace hook as a WSGI app: no cloud code, no credentials, no Kubernetes client."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib import resources
from pathlib import Path
from typing import TextIO

from flask import Flask

from kaito_hooks.kube.objects import Manifest
from kaito_hooks.metacontroller import parse_parent, parse_sync
from kaito_hooks.presets import Presets, parse_presets
from kaito_hooks.providers.table import CONVENTIONS
from kaito_hooks.settings import WorkspaceSettings, environ
from kaito_hooks.web import create_app
from kaito_hooks.workspace.api import Runtime
from kaito_hooks.workspace.context import Context, Images
from kaito_hooks.workspace.customize import customize
from kaito_hooks.workspace.finalize import finalize
from kaito_hooks.workspace.observed import Observed
from kaito_hooks.workspace.sync import sync


def create_workspace_app(
    settings: WorkspaceSettings | None = None,
    now: Callable[[], datetime] | None = None,
    *,
    log_stream: TextIO | None = None,
) -> Flask:
    """The app; raise `InvalidSettings` or `InvalidPresets` when it can't work."""
    settings = settings or WorkspaceSettings.from_environ(environ())
    presets = load_presets(settings.presets_file)
    images = Images(
        registry=settings.preset_registry,
        transfer=settings.transfer_image,
        tuning=settings.tuning_image,
        inference=settings.inference_image,
        compute_capabilities=settings.compute_capabilities,
        vllm=settings.vllm_image,
        vllm_compute_capabilities=settings.vllm_compute_capabilities,
    )
    clock = now or (lambda: datetime.now(UTC))
    minutes = settings.idle_node_minutes
    idle_limit = timedelta(minutes=minutes) if minutes else None

    def context() -> Context:
        return Context(presets, images, clock(), idle_limit, CONVENTIONS, Runtime(settings.runtime))

    def on_sync(body: object) -> Manifest:
        return sync(Observed.from_request(parse_sync(body)), context()).to_json()

    def on_finalize(body: object) -> Manifest:
        return finalize(Observed.from_request(parse_sync(body)), context()).to_json()

    def on_customize(body: object) -> Manifest:
        rules = customize(parse_parent(body), presets)
        return {"relatedResources": [rule.to_json() for rule in rules]}

    return create_app(
        {
            "/workspace/sync": on_sync,
            "/workspace/finalize": on_finalize,
            "/workspace/customize": on_customize,
        },
        token=settings.hook_token,
        log_stream=log_stream,
    )


def read_presets(file: Path | None = None) -> str:
    """The text of presets.yaml: the file, or the one that travels with the package."""
    if file:
        return file.read_text(encoding="utf-8")
    packaged = resources.files("kaito_hooks") / "data" / "presets.yaml"
    if packaged.is_file():
        return packaged.read_text(encoding="utf-8")
    return (Path(__file__).parents[3] / "presets.yaml").read_text(encoding="utf-8")


@cache
def load_presets(file: Path | None = None) -> Presets:
    """The presets, checked."""
    return parse_presets(read_presets(file))
