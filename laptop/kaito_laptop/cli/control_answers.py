"""The answers of `kaito up` to the commands of another terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from kaito_laptop.cli.laptop import Laptop
from kaito_laptop.cli.rest_mapper import resource_for
from kaito_laptop.cli.table import Column, printed_columns, row, table
from kaito_laptop.core.cluster import Manifest
from kaito_laptop.core.objects import get, name


def answer(laptop: Laptop, question: Mapping[str, Any]) -> Any:
    """Answer one question; what is wrong with it is in `error`."""
    kind = resource_for(laptop.cluster, str(question.get("kind", "")))
    if kind is None:
        return {"error": f"the cluster has no kind {question.get('kind')!r}"}
    place = question.get("namespace") if kind.namespaced else None
    found = list(laptop.cluster.list(kind, place))
    wanted = question.get("name")
    if wanted:
        found = [each for each in found if name(each) == wanted]
        if not found:
            return {"error": f'{kind.plural} "{wanted}" not found'}
    columns = printed_columns(laptop.cluster, kind, wide=bool(question.get("wide")))
    now = laptop.event_loop.clock.now()
    rows = [row(each, columns, now) for each in found]
    if kind.kind == "Service":
        columns = [*columns, Column("Address", "")]
        rows = [[*cells, _address(laptop, each)] for cells, each in zip(rows, found, strict=True)]
    return {"objects": found, "table": table(columns, rows), "events": _events(laptop, wanted)}


def _address(laptop: Laptop, service: Manifest) -> str:
    ports = get(service, "spec", "ports", default=[])
    place = service["metadata"]["namespace"]
    found = (laptop.services.url(name(service), port["port"], place) for port in ports[:1])
    return next((url for url in found if url), "")


def _events(laptop: Laptop, about: str | None) -> list[Manifest]:
    if about is None:
        return []
    events = laptop.cluster.list(laptop.cluster.resource("v1", "Event"))
    return [each for each in events if each["involvedObject"]["name"] == about]
