"""Objects with their conditions and events, in the manner of `kubectl describe`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import yaml

from kaito_laptop.core.cluster import Manifest


def description(objects: Sequence[Manifest], events: Sequence[Manifest]) -> Iterator[str]:
    """Return the lines."""
    for each in objects:
        status = dict(each.get("status") or {})
        conditions = status.pop("conditions", [])
        yield yaml.safe_dump({**each, "status": status}, sort_keys=False).rstrip("\n")
        if conditions:
            yield "Conditions:"
        for found in conditions:
            yield f"  {found['type']}: {found['status']} ({found.get('reason', '')})"
            if found.get("message"):
                yield f"    {found['message']}"
    yield "Events:"
    for event in events:
        count = f" (x{event['count']})" if event["count"] > 1 else ""
        yield f"  {event['type']} {event['reason']}{count}: {event['message']}"
    if not events:
        yield "  <none>"
