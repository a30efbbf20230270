"""What ships around the app: hooks/gunicorn.conf.py, with a real gunicorn."""

from __future__ import annotations

import gc
import urllib.request
from pathlib import Path

from flask import Flask

from bench import hooks


def app_that_counts() -> Flask:
    """Answers how many objects no collection looks at."""
    app = Flask(__name__)
    app.add_url_rule("/healthz", view_func=lambda: "ok")
    app.add_url_rule("/kept", "kept", lambda: str(gc.get_freeze_count()))
    return app


def test_no_collection_looks_at_what_the_app_keeps_for_good(tmp_path: Path) -> None:
    with (
        hooks.running(f"{__name__}:app_that_counts()", {}, tmp_path / "log") as hook,
        urllib.request.urlopen(f"http://{hook.address}/kept") as answer,
    ):
        assert int(answer.read()) > 10_000
