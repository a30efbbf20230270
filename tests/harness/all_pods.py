"""The pods of every preset on every size that takes it, by every method."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import Any

from kaito_hooks.errors import InvalidObject
from kaito_hooks.presets import Preset
from kaito_hooks.web.workspace import load_presets
from kaito_hooks.workspace import api
from kaito_hooks.workspace.adapters import Adapter
from kaito_hooks.workspace.children import training_config
from kaito_hooks.workspace.children.check import check_job
from kaito_hooks.workspace.children.inference import preset_deployment, tuned_deployment
from kaito_hooks.workspace.children.tuning import Inputs, tuning_job
from kaito_hooks.workspace.context import Context, Images
from kaito_hooks.workspace.fingerprints import Identity
from kaito_hooks.workspace.machines import Nodes
from kaito_hooks.workspace.observed import Observed
from kaito_hooks.workspace.request import RequestContext
from kaito_hooks.workspace.runtime import served_by
from kaito_laptop.core import quantities

from tests.harness.builders import NOW, inference_workspace, tuning_workspace

PRESETS = load_presets()
CAPABILITIES = ("3.7", "5.2", "6.0", "6.1", "7.0", "7.5", "8.0", "8.6", "9.0", "12.0")
IMAGES = Images(
    "mcr.example/kaito",
    "r.example/t:1",
    "r.example/u:1",
    "r.example/i:1",
    CAPABILITIES,
    "r.example/v:1",
    CAPABILITIES,
)
NODES = Nodes((), ("gpu-0",), (), ())
ADAPTER = Adapter("0f", "mlteam.azurecr.io/adapters/phi-3:0.0.1", "sha256:" + "4c" * 32, {})
UNLISTED = "Standard_NC16ads_A10_v4"
"""A size that presets.yaml does not list."""


def fits(
    preset: Preset, size: str, method: str, runtime: str = "transformers"
) -> RequestContext | None:
    choice: dict[str, Any] = {"name": preset.name, "accessMode": "public"}
    if preset.private:
        own = {"image": f"mlteam.azurecr.io/{preset.name}:1"}
        choice = {**choice, "accessMode": "private", "presetOptions": own}
    changes = {
        "metadata": {"annotations": {"kaito.sh/runtime": runtime}},
        "resource": {"instanceType": size},
    }
    written = (
        tuning_workspace(**changes, tuning={"preset": choice, "method": method})
        if method
        else inference_workspace(**changes, inference={"preset": choice})
    )
    try:
        return request_of(written)
    except InvalidObject:
        return None


def request_of(written: dict[str, Any]) -> RequestContext:
    """What a Workspace asks for; raise `InvalidObject`."""
    workspace = api.parse(written)
    context = Context(PRESETS, IMAGES, NOW)
    found, vllm = served_by(workspace, context)
    if found.too_small:
        raise found.too_small
    return RequestContext(Observed(written, {}, {}), context, workspace, found, vllm)


def pod_specs(
    preset: Preset, size: str, method: str, runtime: str = "transformers"
) -> dict[str, dict[str, Any]]:
    """Specs of the pods of the Workspace, by what they do; none where the model does not fit the size."""
    request = fits(preset, size, method, runtime)
    if request is None:
        return {}
    workspace = request.workspace
    if workspace.tuning is None:
        return {"serve": _spec(preset_deployment(request, NODES))}
    config = training_config.default_config(method)
    tuned = tuned_deployment(request, NODES, ADAPTER, config)
    trains = tuning_job(request, NODES, Inputs(Identity("0f"), config, {}))
    check = check_job(workspace, workspace.tuning, "0f", IMAGES)
    return {"check": _spec(check), "tune": _spec(trains), "serve": _spec(tuned)}


def _spec(manifest: dict[str, Any]) -> dict[str, Any]:
    spec: dict[str, Any] = manifest["spec"]["template"]["spec"]
    return spec


def effective(spec: dict[str, Any], which: str) -> dict[str, Fraction]:
    """What scheduler and quota count: the containers together, or the largest init container."""
    amounts: dict[str, Fraction] = {}
    for container in spec["containers"]:
        for name, amount in container["resources"][which].items():
            amounts[name] = amounts.get(name, Fraction(0)) + quantities.parse(amount)
    for container in spec.get("initContainers", ()):
        for name, amount in container["resources"][which].items():
            amounts[name] = max(amounts.get(name, Fraction(0)), quantities.parse(amount))
    return amounts


def cases() -> Iterator[tuple[str, str, str]]:
    for preset in PRESETS.presets.values():
        for size in (*PRESETS.instance_types, UNLISTED):
            for method in ("", "lora", "qlora"):
                if fits(preset, size, method):
                    yield preset.name, size, method
