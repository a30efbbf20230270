"""What both flows ask of nodes before and after they are paid for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

from kaito_hooks.kube.objects import Manifest
from kaito_hooks.workspace.admission import refusal
from kaito_hooks.workspace.idle import Idle, look
from kaito_hooks.workspace.machines import Nodes
from kaito_hooks.workspace.request import RequestContext

NO_NODES = Nodes((), (), (), ())


def idle_of(request: RequestContext, nodes: Nodes) -> Idle:
    """Whether these nodes serve nobody."""
    limit = request.context.idle_limit
    if limit is not None:
        limit = max(limit, timedelta(seconds=request.fit.preset.ready_seconds))
    return replace(look(request.observed, nodes, limit, request.now), released=request.released)


def refusal_of(request: RequestContext, workload: Callable[[Nodes], Manifest]) -> str:
    """Why the namespace would refuse the pod of a workload before a node is paid for, in the API server's words."""
    return "" if request.has_machines() else refusal(request.observed, workload(NO_NODES))
