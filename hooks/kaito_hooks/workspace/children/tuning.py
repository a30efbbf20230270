"""Step 4 of a tuning: one Job whose pod brings the weights and the data, trains, and pushes, in Kubernetes' own
order.
"""

from __future__ import annotations

from dataclasses import dataclass

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
    text,
)
from kaito_hooks.workspace import reasons
from kaito_hooks.workspace.api import Tuning, Workspace
from kaito_hooks.workspace.children import resources, training_config, volumes
from kaito_hooks.workspace.children.check import data_arguments, job
from kaito_hooks.workspace.children.volumes import WEIGHTS
from kaito_hooks.workspace.children.workload import (
    config_secret,
    config_secret_name,
    config_volume,
    credentials,
    credentials_arguments,
    push_credentials,
    weights_container,
)
from kaito_hooks.workspace.job_kinds import PUSHER, TRAINER, TUNING
from kaito_hooks.workspace.machines import Nodes, affinity, tolerations
from kaito_hooks.workspace.observed import Observed, as_last_applied, secret_text
from kaito_hooks.workspace.request import RequestContext


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a tuning is made from."""

    hash: str
    """Covers what the user wrote, never a default: an upgrade must not spend GPU hours again."""
    config: training_config.Config
    """As frozen in the Secret, or as the defaults are now."""
    secret: Manifest


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
        asked_for = as_last_applied(secret)
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


def tuning_job(request: RequestContext, nodes: Nodes, inputs: Inputs) -> Manifest:
    """The Job; docs/pods.md has the command lines."""
    workspace, fit, images = request.workspace, request.fit, request.images
    tuning = workspace.tuning
    if tuning is None:
        raise TypeError("a tuning Job is made for a tuning Workspace only")
    scratch, weights = volumes.scratch(), volumes.weights(fit.preset)
    data, results = volumes.data(), volumes.results()
    config_file, shared = config_volume(workspace), volumes.shared_memory()
    secrets, push = credentials(tuning), push_credentials(tuning)
    folders = [scratch, shared, weights, data, results, config_file, *secrets]
    figures = resources.of_tuning(fit, inputs.config, folders)
    pulls = secrets if tuning.input.image else []
    init = [
        weights_container(fit.preset, images, [scratch, weights], figures),
        pods.Container(
            "data",
            images.transfer,
            ["python", "-m", "kaito_runtime.transfer.pull"],
            [
                *("data", *data_arguments(tuning, "--"), "--to", data.path),
                *credentials_arguments(pulls),
            ],
            [scratch, data, *pulls],
            figures.of_container(),
        ).to_manifest(),
        pods.Container(
            TRAINER,
            images.tuning,
            ["python", "-m", "kaito_runtime.tune"],
            ["--config", "/mnt/config/training_config.yaml", "--weights", WEIGHTS]
            + ["--data", data.path, "--output", results.path, "--metrics-port", "5000"],
            [scratch, shared, weights, data, results, config_file],
            figures.of_container(fit.gpus),
        ).to_manifest(),
    ]
    main = pods.Container(
        PUSHER,
        images.transfer,
        ["python", "-m", "kaito_runtime.transfer.push"],
        ["--from", results.path, "--image", tuning.output.image, *credentials_arguments([push])],
        [scratch, results, push],
        figures.of_container(),
    )
    spec = pods.pod_spec(init, main.to_manifest(), folders)
    spec["affinity"] = affinity(workspace, nodes)
    spec["tolerations"] = tolerations(workspace, request.context.conventions)
    return job(workspace, TUNING, inputs.hash, spec)


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
    """The sections of our own Secret; one that was edited into nonsense is reported like the user's file."""
    return training_config.parse_config(
        text_, tuning.method, tuning.config or "the default configuration"
    )
