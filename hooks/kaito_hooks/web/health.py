"""Probes: `/healthz` says that the process answers, `/readyz` that a call makes sense."""

from __future__ import annotations

from collections.abc import Callable

from flask import Blueprint, Response


def blueprint(ready: Callable[[], str]) -> Blueprint:
    """Both probes; `ready` names in a few words what is missing."""
    probes = Blueprint("health", __name__)

    def healthz() -> Response:
        return Response("ok\n", mimetype="text/plain")

    def readyz() -> Response:
        reason = ready()
        if reason:
            return Response(f"{reason}\n", status=503, mimetype="text/plain")
        return Response("ok\n", mimetype="text/plain")

    probes.add_url_rule("/healthz", view_func=healthz, methods=["GET"])
    probes.add_url_rule("/readyz", view_func=readyz, methods=["GET"])
    return probes
