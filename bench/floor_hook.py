"""The floor of `make bench-operator`: a hook that decides nothing and returns the same children and status."""

from __future__ import annotations

import json
import os
from pathlib import Path

from flask import Flask, Response, request


def create_app() -> Flask:
    """The app; ANSWERS names a folder with the answers for a Workspace called NAME-OF-WORKSPACE."""
    app = Flask(__name__)
    answers = Path(os.environ["ANSWERS"])
    synced, customized = (
        (answers / name).read_text(encoding="utf-8") for name in ("sync", "customize")
    )
    calls = [0]

    def answer(text: str) -> Response:
        name = json.loads(request.get_data())["parent"]["metadata"]["name"]
        return Response(text.replace("NAME-OF-WORKSPACE", name), mimetype="application/json")

    @app.get("/healthz")
    def healthz() -> str:
        return "ok"

    @app.get("/metrics")
    def metrics() -> str:
        return f'kaito_hook_call_seconds_count{{route="/workspace/sync"}} {calls[0]}\n'

    @app.post("/workspace/sync")
    def sync() -> Response:
        calls[0] += 1
        return answer(synced)

    @app.post("/workspace/customize")
    def customize() -> Response:
        return answer(customized)

    @app.post("/workspace/finalize")
    def finalize() -> Response:
        return Response('{"finalized": true}', mimetype="application/json")

    return app
