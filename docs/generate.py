"""Writes the tables of the documentation that the code has the facts of: `make docs`.

A page has a table between `<!-- NAME: begin -->` and `<!-- NAME: end -->`; NAME is a key of `TABLES`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml
from prometheus_client.metrics import MetricWrapperBase
from pydantic import BaseModel

from kaito_contract.reasons import Reason, Recovery
from kaito_hooks.api import commands
from kaito_hooks.kube.quantities import GIB
from kaito_hooks.machine.reasons import ALL
from kaito_hooks.presets import DEFAULT_PRICE_REGION, InstanceType
from kaito_hooks.providers.aks.remedies import REMEDIES
from kaito_hooks.web.workspace import load_presets
from kaito_hooks.workspace import api
from kaito_hooks.workspace.reasons import OWN, About
from kaito_runtime.serving.http import generate_kwargs, live_metrics
from kaito_runtime.serving.http.chat_schema import ChatBody
from kaito_runtime.serving.http.generate_kwargs import GenerateKwargs
from kaito_runtime.serving.http.metrics import ServerMetrics
from kaito_runtime.serving.http.openai.chat_request import ChatRequestBody
from kaito_runtime.serving.http.openai.completion_request import CompletionRequestBody
from kaito_runtime.serving.http.openai.tools.formats import FORMATS
from kaito_runtime.serving.http.openapi import ROUTES, openapi
from kaito_runtime.serving.http.state import ServerState

from tests.harness.echo_engine import EchoEngine

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_BLOCK = re.compile(r"(<!-- ([a-z-]+): begin -->\n).*?(<!-- \2: end -->)", re.DOTALL)
_ENDS = {
    Recovery.RETRY: "75 where the cause may pass, and the Job tries again; else 1",
    Recovery.RERUN: "1: the Job ends, a server is restarted",
    Recovery.CHANGE: "1: the Job ends, a server is restarted and its Workspace `Stalled`, as no restart helps",
}


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table of Markdown; a column whose head ends with ":" is aligned to the right."""
    rules = "".join("--:|" if name.endswith(":") else "---|" for name in head)
    head = [name.removesuffix(":") for name in head]
    lines = [f"| {' | '.join(line)} |\n".replace("|  |", "| |") for line in (head, *rows)]
    return "".join([lines[0], f"|{rules}\n", *lines[1:]])


def reasons_for_owners() -> str:
    """What the owner of a Workspace does about each reason of a program."""
    head = ("reason", "what it means", "what to do")
    return table(head, ((f"`{each}`", each.text, each.remedy) for each in Reason))


def reasons_about(about: About) -> str:
    """The hook's own reasons of one part of a Workspace."""
    rows = ((f"`{each}`", each.text, each.remedy) for each in OWN if each.about is about)
    return table(("reason", "what it means", "what to do"), rows)


def reasons_of_a_machine() -> str:
    """The reasons of a Machine, with what to do on AKS."""
    rows = ((f"`{each}`", each.text, REMEDIES.get(each, each.remedy)) for each in ALL)
    return table(("reason", "what it means", "what to do"), rows)


def reasons_for_programs() -> str:
    """How a program ends with each reason."""
    return table(
        ("exit code", "reasons"),
        (
            (words, ", ".join(f"`{each}`" for each in Reason if each.recovery is recovery))
            for recovery, words in _ENDS.items()
        ),
    )


def fields(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Each field below a schema of OpenAPI, by its path: `[]` behind that of a list."""
    for name, item in schema.get("properties", {}).items():
        if not path and name in ("apiVersion", "kind", "metadata"):
            continue
        where = f"{path}.{name}" if path else name
        is_list = item.get("type") == "array"
        where = f"{where}[]" if is_list else where
        yield where, item
        yield from fields(item["items"] if is_list else item, where)


def fields_of(plural: str) -> str:
    """The fields of a kind in the words of its CRD."""
    crd = yaml.safe_load((ROOT / f"crds/kaito.sh_{plural}.yaml").read_text(encoding="utf-8"))
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return table(
        ("field", "type", "default", "meaning"),
        (
            (f"`{path}`", item["type"], _default(item), " ".join(item["description"].split()))
            for path, item in fields(schema)
        ),
    )


def _default(item: dict[str, Any]) -> str:
    value = item.get("default")
    if value is None or isinstance(value, dict):
        return ""
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def not_supported_yet() -> str:
    """The fields that are refused, and what to do instead."""
    delete = f"`{commands.kubectl('delete', 'workspace', 'NAME', '-n', 'NAMESPACE')}`"
    rows = (
        (f"`{'.'.join(path)}`", remedy.format(delete=delete))
        for path, remedy in api.NOT_YET.items()
    )
    return table(("field", "what to do until then"), rows)


def sizes() -> str:
    """The GPU sizes of presets.yaml."""
    rows = (
        (
            f"`{size.name}`",
            f"{size.gpus} x {size.gpu}",
            f"{size.memory // GIB}"
            if size.gpus == 1
            else f"{size.gpus} x {size.memory_per_gpu // GIB}",
            f"{size.usable_per_gpu * 10 // GIB / 10:g}",
            size.compute_capability,
            f"{size.vcpus}",
            f"{size.host_memory // GIB}",
            f"{size.hourly_cost}{_region(size)}",
            _note(size),
        )
        for size in load_presets().instance_types.values()
    )
    head = (
        "size", "GPUs", "GPU memory, GiB:", "usable on each:", "compute capability:", "vCPUs:",
        "memory, GiB:", "USD an hour:", "",
    )  # fmt: skip
    return table(head, rows)


def _region(size: InstanceType) -> str:
    return "" if size.price_region == DEFAULT_PRICE_REGION else f" ({size.price_region})"


def _note(size: InstanceType) -> str:
    if not size.retired:
        return size.not_suggested
    successors = ", ".join(f"`{each}`" for each in size.successors)
    return f"retired {size.retired}; instead: {successors}"


def routes() -> str:
    """The routes of the model server."""
    rows = ((f"`{route.method.upper()} {path}`", route.summary) for path, route in ROUTES.items())
    return table(("route", "what it does"), rows)


def fields_of_body(body: type[BaseModel]) -> str:
    """The fields of a request to the model server."""
    schema = openapi()["components"]["schemas"][body.__name__]
    required = set(schema.get("required", ()))
    rows = (
        (f"`{name}`", "required" if name in required else "", item["description"])
        for name, item in schema["properties"].items()
    )
    return table(("field", "", "meaning"), rows)


def arguments_of_generate() -> str:
    """The keys of generate_kwargs."""
    rows = ((f"`{name}`", _given(item.default), _effect(name))
            for name, item in GenerateKwargs.model_fields.items())  # fmt: skip
    return table(("key", "default", "parameter of all engines"), rows)


def _given(default: Any) -> str:
    return "" if default is None else f"`{str(default).lower()}`"


def _effect(name: str) -> str:
    if name in generate_kwargs.NO_EFFECT:
        return "none: it changes nothing here"
    neutral = generate_kwargs.NEUTRAL.get(name)
    return f"`{neutral}`" if neutral else "none: a search of the transformers engine alone"


def forms_of_calls() -> str:
    """The forms of function calls that are read."""
    rows = (
        (f"`{form.name}`", ", ".join(f"`{text}`" for text in form.in_template).replace("|", "\\|"))
        for form in FORMATS
    )
    return table(("form", "chat templates that contain"), rows)


def metrics_of_the_model_server() -> str:
    """The figures of the model server."""
    metrics = ServerMetrics()
    counted = [
        (
            each._name + ("_total" if each._type == "counter" else ""),
            each._type,
            each._labelnames,
            each._documentation,
        )
        for each in vars(metrics).values()
        if isinstance(each, MetricWrapperBase)
    ]
    state = ServerState("text-generation", engine=EchoEngine(adapters=["poet"]))
    with state.start.phase("weights"):
        pass
    live = [
        (family.samples[0].name, family.type, tuple(family.samples[0].labels), family.documentation)
        for family in live_metrics.families(state)
    ]
    rows = (
        (f"`{name}`", str(kind), ", ".join(f"`{label}`" for label in labels), text)
        for name, kind, labels, text in sorted([*counted, *live])
    )
    return table(("name", "type", "labels", "meaning"), rows)


TABLES: dict[str, Callable[[], str]] = {
    "arguments-of-generate": arguments_of_generate,
    "fields-of-a-chat": lambda: fields_of_body(ChatBody),
    "fields-of-an-openai-chat": lambda: fields_of_body(ChatRequestBody),
    "fields-of-an-openai-text": lambda: fields_of_body(CompletionRequestBody),
    "fields-of-a-machine": lambda: fields_of("machines"),
    "fields-of-a-workspace": lambda: fields_of("workspaces"),
    "forms-of-calls": forms_of_calls,
    "gpu-sizes": sizes,
    "metrics-of-the-model-server": metrics_of_the_model_server,
    "not-supported-yet": not_supported_yet,
    "reasons-for-owners": reasons_for_owners,
    "reasons-for-programs": reasons_for_programs,
    "reasons-of-a-machine": reasons_of_a_machine,
    "reasons-of-a-spec": lambda: reasons_about(About.SPEC),
    "reasons-of-nodes": lambda: reasons_about(About.NODES),
    "reasons-of-serving": lambda: reasons_about(About.SERVING),
    "reasons-of-the-check": lambda: reasons_about(About.CHECK),
    "reasons-of-tuning": lambda: reasons_about(About.TUNING),
    "routes-of-the-model-server": routes,
}


def written(text: str) -> str:
    """Return a page with its tables as they are now."""
    return _BLOCK.sub(lambda found: f"{found[1]}{TABLES[found[2]]()}{found[3]}", text)


def main() -> None:
    """Write the pages."""
    for page in PAGES:
        page.write_text(written(page.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
