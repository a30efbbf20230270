from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from flask.testing import FlaskClient

from kaito_hooks.settings import WorkspaceSettings
from kaito_hooks.web.workspace import create_workspace_app

from tests.harness import wire
from tests.harness.builders import NOW, request

Sync = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def client() -> FlaskClient:
    settings = WorkspaceSettings(
        preset_registry="mcr.microsoft.com/aks/kaito",
        transfer_image="ghcr.io/kaito-python/transfer:0.1.0",
        tuning_image="ghcr.io/kaito-python/tuning:0.1.0",
        inference_image="ghcr.io/kaito-python/inference:0.1.0",
        compute_capabilities=("7.0", "7.5", "8.0", "8.6", "8.9", "9.0"),
    )
    return create_workspace_app(settings, now=lambda: NOW).test_client()


@pytest.fixture
def sync(client: FlaskClient) -> Sync:
    """Asks the hook over its HTTP route; every answer passes the wire contract."""

    def ask(
        parent: dict[str, Any],
        children: list[dict[str, Any]] | None = None,
        related: list[dict[str, Any]] | None = None,
        route: str = "sync",
        finalizing: bool = False,
    ) -> dict[str, Any]:
        body = request(parent, children, related, finalizing)
        path = f"/workspace/{route}"
        answer = client.post(path, json=body)
        wire.check(path, body, answer.status_code, answer.data)
        return dict(json.loads(answer.data))

    return ask
