"""Step 4 of a tuning: one Job whose pod brings the weights and the data, trains, and pushes, in Kubernetes' own
order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from kaito_contract import references
from kaito_contract.reasons import Reason
from kaito_contract.sections import FILE
from kaito_hooks.api import commands, labels, pods
from kaito_hooks.errors import InvalidObject
from kaito_hooks.kube.fingerprint import fingerprint
from kaito_hooks.kube.objects import (
    Manifest,
    annotations_of,
    get_in,
    mapping,
    namespace,
    number,
    text,
)
from kaito_hooks.workspace import reasons
from kaito_hooks.workspace.api import Tuning, Workspace
from kaito_hooks.workspace.children import resources, training_config, volumes
from kaito_hooks.workspace.children.check import data_arguments, job
from kaito_hooks.workspace.children.jobs import Outcome
from kaito_hooks.workspace.children.volumes import WEIGHTS
from kaito_hooks.workspace.children.workload import (
    config_secret,
    config_secret_name,
    config_volume,
    credentials,
    push_credentials,
    weights_container,
)
from kaito_hooks.workspace.context import Images
from kaito_hooks.workspace.fit import Fit
from kaito_hooks.workspace.machines import Nodes, affinity, tolerations
from kaito_hooks.workspace.observed import Observed, kept, secret_text

COMPONENT = "tuning"
PUSHER = "docker-sidecar"
"""Kaito's name for the container that pushes; its tests look for it."""
TEXT_FIGURES = ("firstLoss", "lastLoss", "seconds", "quantization")
DEADLINE_SECONDS = 3 * 24 * 3600
"""Nothing holds a GPU for ever: three days for weights, data, training and push."""
RETRIES = 6
"""Of the pulls of weights and data, about ten minutes: the node is paid for."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a tuning is made from."""

    hash: str
    """Covers what the user wrote, never a default: an upgrade must not spend GPU hours again."""
    config: training_config.Config
    """As frozen in the Secret, or as the defaults are now."""
    secret: Manifest


@dataclass(frozen=True, slots=True)
class Adapter:
    """An adapter that was pushed."""

    hash: str
    image: str
    digest: str
    report: Mapping[str, Any]
    """The trainer's figures as status.tuning carries them."""


def inputs(
    workspace: Workspace, tuning: Tuning, observed: Observed, target_modules: tuple[str, ...]
) -> Inputs:
    """Raise `InvalidObject` for a ConfigMap that is missing or malformed, or a reference that is none."""
    try:
        references.parse_output(tuning.output.image)
    except references.InvalidReference as error:
        raise InvalidObject(
            Reason.OUTPUT_IMAGE_INVALID,
            f"`tuning.output.image` {error}; it is '{tuning.output.image}'. Write the repository that the adapter is "
            "pushed to, such as myregistry.azurecr.io/adapters/phi-3:0.0.1, and name in "
            "`tuning.output.imagePushSecret` a docker-registry Secret that may push there",
        ) from None
    if tuning.input.image:
        try:
            references.parse(tuning.input.image)
        except references.InvalidReference as error:
            raise InvalidObject(
                reasons.INPUT_INVALID,
                f"`tuning.input.image` {error}; it is '{tuning.input.image}'",
            ) from None
    for url in tuning.input.urls:
        if not url.lower().startswith(("http://", "https://")):
            raise InvalidObject(
                reasons.INPUT_INVALID,
                f"`tuning.input.urls` has '{url}': it must begin with http:// or https://",
            )
    written = _written_config(tuning, observed)
    wanted_hash = fingerprint(
        {
            "preset": tuning.preset.name,
            "method": tuning.method,
            "input": {
                "urls": list(tuning.input.urls),
                "image": tuning.input.image,
                "imagePullSecrets": sorted(tuning.input.pull_secrets),
            },
            "output": {"image": tuning.output.image, "imagePushSecret": tuning.output.push_secret},
            "config": written,
            "retry": workspace.retry,
        }
    )
    secret = observed.child("Secret", config_secret_name(workspace))
    if secret is not None and annotations_of(secret).get(labels.TUNING_HASH) == wanted_hash:
        # As it was asked for: what somebody wrote into the Secret since then is put back.
        asked_for = kept(secret)
        frozen = secret_text(asked_for, FILE)
        if frozen:
            return Inputs(wanted_hash, _frozen(frozen, tuning), asked_for)
    config = (
        training_config.parse_config(written, tuning.method, tuning.config)
        if tuning.config
        else training_config.default_config(tuning.method)
    )
    lora = mapping(config.get("LoraConfig"))
    if target_modules and not lora.get("target_modules"):
        config = {**config, "LoraConfig": {**lora, "target_modules": list(target_modules)}}
    return Inputs(wanted_hash, config, config_secret(workspace, wanted_hash, config))


def tuning_job(
    workspace: Workspace,
    tuning: Tuning,
    wanted_hash: str,
    fit: Fit,
    nodes: Nodes,
    images: Images,
    config: training_config.Config,
) -> Manifest:
    """The Job; docs/pods.md has the command lines."""
    scratch, weights = volumes.scratch(), volumes.weights(fit.preset)
    data, results = volumes.data(), volumes.results()
    config_file, shared = config_volume(workspace), volumes.shared_memory()
    secrets, push = credentials(tuning), push_credentials(tuning)
    folders = [scratch, shared, weights, data, results, config_file, *secrets]
    figures = resources.of_tuning(fit, config, folders)
    pull_flags = [
        item for secret in secrets for item in ("--credentials", f"{secret.path}/.dockerconfigjson")
    ]
    with_pulls = pull_flags if tuning.input.image else []
    init = [
        weights_container(fit.preset, images, [scratch, weights], figures),
        pods.container(
            "data",
            images.transfer,
            ["python", "-m", "kaito_runtime.transfer.pull"],
            ["data", *data_arguments(tuning, "--"), "--to", data.path, *with_pulls],
            [scratch, data, *(secrets if tuning.input.image else [])],
            figures.of_container(),
        ),
        pods.container(
            "train",
            images.tuning,
            ["python", "-m", "kaito_runtime.tune"],
            ["--config", "/mnt/config/training_config.yaml", "--weights", WEIGHTS]
            + ["--data", data.path, "--output", results.path, "--metrics-port", "5000"],
            [scratch, shared, weights, data, results, config_file],
            figures.of_container(fit.gpus),
        ),
    ]
    main = pods.container(
        PUSHER,
        images.transfer,
        ["python", "-m", "kaito_runtime.transfer.push"],
        ["--from", results.path, "--image", tuning.output.image]
        + ["--credentials", f"{push.path}/.dockerconfigjson"],
        [scratch, results, push],
        figures.of_container(),
    )
    spec = pods.pod_spec(init, main, folders)
    spec["affinity"] = affinity(workspace, nodes)
    spec["tolerations"] = tolerations(workspace)
    return job(
        workspace,
        workspace.name,
        COMPONENT,
        wanted_hash,
        spec,
        DEADLINE_SECONDS,
        RETRIES,
        final=("train", PUSHER),
    )


def adapter(
    observed: Observed, outcome: Outcome, tuning: Tuning, wanted_hash: str
) -> Adapter | None:
    """The adapter made from these inputs, by any of its traces: the status, the pod's report, the Deployment."""
    known = recorded(observed)
    if known and known.hash == wanted_hash:
        return known
    pushed = outcome.report(PUSHER)
    if outcome.state in ("succeeded", "absent", "running") and text(pushed.get("digest")):
        return Adapter(
            hash=wanted_hash,
            image=text(pushed.get("image")) or tuning.output.image,
            digest=text(pushed.get("digest")),
            report=_figures(outcome.report("train")),
        )
    served = _served(observed)
    return served if served and served.hash == wanted_hash else None


def previous_adapter(observed: Observed) -> Adapter | None:
    """The adapter that was made last, from whatever inputs."""
    return recorded(observed) or _served(observed)


def recorded(observed: Observed) -> Adapter | None:
    """The adapter that the status tells of."""
    status = mapping(observed.status.get("tuning"))
    found = {key: text(status.get(key)) for key in ("hash", "image", "digest")}
    if not all(found.values()):
        return None
    figures: dict[str, Any] = {
        key: text(status[key]) for key in TEXT_FIGURES if text(status.get(key))
    }
    if number(status.get("steps")):
        figures["steps"] = number(status.get("steps"))
    return Adapter(found["hash"], found["image"], found["digest"], figures)


def _served(observed: Observed) -> Adapter | None:
    for deployment in observed.children.get("Deployment", ()):
        notes = annotations_of(deployment)
        keys = (labels.TUNING_HASH, labels.ADAPTER_IMAGE, labels.ADAPTER_DIGEST)
        if all(notes.get(key) for key in keys):
            return Adapter(notes[keys[0]], notes[keys[1]], notes[keys[2]], report={})
    return None


def _written_config(tuning: Tuning, observed: Observed) -> str:
    """The user's file, empty when the defaults hold."""
    if not tuning.config:
        return ""
    config_map = observed.config_map(tuning.config)
    if config_map is None:
        raise InvalidObject(
            reasons.CONFIG_MAP_MISSING,
            f"The ConfigMap '{tuning.config}' that `tuning.config` names is not found in this namespace. "
            "Waiting for it; to create it: "
            + commands.kubectl(
                *("create", "configmap", tuning.config, "-n", namespace(observed.parent)),
                f"--from-file={FILE}",
            ),
        )
    written = text(get_in(config_map, "data", FILE))
    if not written:
        raise InvalidObject(
            Reason.CONFIG_INVALID,
            f"The ConfigMap '{tuning.config}' must have the key `{FILE}`",
        )
    return written


def _frozen(text_: str, tuning: Tuning) -> training_config.Config:
    """The sections of our own Secret; one that was edited into nonsense is told like the user's file."""
    return training_config.parse_config(
        text_, tuning.method, tuning.config or "the default configuration"
    )


def _figures(report: Mapping[str, Any]) -> dict[str, Any]:
    """Figures as text: a float in a status would be rewritten by every JSON library on the way."""
    figures: dict[str, Any] = {}
    if number(report.get("steps")):
        figures["steps"] = number(report.get("steps"))
    for key in ("firstLoss", "lastLoss", "seconds"):
        value = report.get(key)
        if isinstance(value, int | float) and not isinstance(value, bool):
            figures[key] = f"{value:.4g}"
    if text(report.get("quantization")):
        figures["quantization"] = text(report.get("quantization"))
    return figures
