"""The answer to /finalize: what runs goes first, the nodes after it. Idempotent, and called again after it said
true.
"""

from __future__ import annotations

from kaito_hooks.metacontroller import SyncResponse
from kaito_hooks.workspace.context import Context
from kaito_hooks.workspace.observed import Observed, as_last_applied
from kaito_hooks.workspace.status import deleting_status

WAIT_SECONDS = 10


def finalize(observed: Observed, context: Context) -> SyncResponse:
    """Finalized when no child is left; a Machine leaves only when its pool is proven gone.

    Under foreground or orphan deletion the garbage collector sets the order, and the same rule holds.
    Pods are not waited for: on a dead node they would never end, and the node must go.
    """
    running = [child for child in observed.all_children() if child["kind"] != "Machine"]
    machines = list(observed.machines)
    if not running and not machines:
        return SyncResponse(
            deleting_status(observed, "Everything is gone", context.now), finalized=True
        )
    message = (
        f"Waiting for {_counted(len(running), 'child', 'children')} to end"
        if running
        else f"Waiting for {_counted(len(machines), 'Machine', 'Machines')} to be deleted"
    )
    return SyncResponse(
        status=deleting_status(observed, message, context.now),
        children=[as_last_applied(machine) for machine in machines] if running else [],
        resync_after_seconds=WAIT_SECONDS,
        finalized=False,
    )


def _counted(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"
