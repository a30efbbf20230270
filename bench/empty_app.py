"""The floor of `make bench-hook`: a Flask app that parses a body and answers a fixed object of the same size."""

from __future__ import annotations

import json
import os
from pathlib import Path

from flask import Flask, Response, request


def create_app() -> Flask:
    """The app; ANSWER names the file with what it answers."""
    app = Flask(__name__)
    answer = json.loads(Path(os.environ["ANSWER"]).read_text(encoding="utf-8"))

    @app.get("/healthz")
    def healthz() -> str:
        return "ok"

    @app.post("/sync")
    def sync() -> Response:
        json.loads(request.get_data())
        return Response(json.dumps(answer), mimetype="application/json")

    return app
