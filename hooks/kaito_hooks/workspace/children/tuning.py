"""Step 4 of a tuning: one Job whose pod brings the weights and the data, trains, and pushes, in Kubernetes' own
order.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kaito_contract import references
from kaito_contract.reasons import Reason
from kaito_contract.sections import FILE
from kaito_hooks.api import commands, labels, pods
from kaito_hooks.errors import InvalidObject
from kaito_hooks.kube.objects import (
    Manifest,
    annotations_of,
    get_in,
    mapping,
    namespace,
    text,
)
from kaito_hooks.workspace import adapters, reasons
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
from kaito_hooks.workspace.fingerprints import (
    Identity,
    NotPlain,
    of_first_scheme,
    of_inputs,
    of_transfers,
)
from kaito_hooks.workspace.input_record import changes, record
from kaito_hooks.workspace.job_kinds import PUSHER, TRAINER, TUNING
from kaito_hooks.workspace.machines import Nodes, affinity, tolerations
from kaito_hooks.workspace.observed import Observed, as_last_applied, secret_text
from kaito_hooks.workspace.request import RequestContext


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a tuning is made from."""

    identity: Identity
    config: training_config.Config
    """As frozen in the Secret, or as the defaults are now."""
    secret: Manifest
    record: str = ""
    """The inputs for people."""
    changed: str = ""
    """Which of them differ from those of the adapter before, and how; empty when none does."""

    @property
    def hash(self) -> str:
        """Covers what the user wrote and what changes the weights; never a default, which an upgrade may change."""
        return self.identity.hash

    def mark(self, made: Manifest, retry: str) -> Manifest:
        """The Job with what it is known by; its pods are told from those of the attempt before."""
        attempt = {labels.RETRY: retry} if retry else {}
        known_by = {
            **attempt,
            labels.TRANSFER_HASH: self.identity.transfers,
            labels.TUNING_INPUTS: self.record,
        }
        spec = {**made["spec"], "template": _annotated(made["spec"]["template"], attempt)}
        return {**_annotated(made, known_by), "spec": spec}


def inputs(
    workspace: Workspace, tuning: Tuning, observed: Observed, target_modules: tuple[str, ...]
) -> Inputs:
    """Raise `InvalidObject` for a ConfigMap that is missing or malformed, or a reference that is none."""
    _require_references(tuning)
    written = _written_config(tuning, observed)
    parsed = (
        training_config.parse_config(written, tuning.method, tuning.config)
        if tuning.config
        else None
    )
    secret = observed.child("Secret", config_secret_name(workspace))
    known = annotations_of(secret)
    first_scheme = of_first_scheme(tuning, written, workspace.retry)
    wanted, of_secret = _fingerprint(tuning, parsed), known.get(labels.TUNING_HASH, "")
    earlier = known.get(labels.EARLIER_HASH, "") if of_secret == wanted else ""
    identity = Identity(wanted, (earlier, first_scheme), of_transfers(tuning), first_scheme)
    as_now = record(tuning, parsed)
    if secret is not None and identity.covers(of_secret):
        # As it was asked for: what somebody wrote into the Secret since then is put back.
        asked_for = as_last_applied(secret)
        frozen = secret_text(asked_for, FILE)
        if frozen:
            marks = {
                labels.TUNING_HASH: wanted,
                labels.TUNING_INPUTS: known.get(labels.TUNING_INPUTS, "") or as_now,
                **({labels.EARLIER_HASH: of_secret} if of_secret != wanted else {}),
            }
            changed = changes(known.get(labels.INPUTS_BEFORE, ""), as_now)
            return Inputs(
                identity, _frozen(frozen, tuning), _annotated(asked_for, marks), as_now, changed
            )
    config = parsed if parsed is not None else training_config.default_config(tuning.method)
    lora = mapping(config.get("LoraConfig"))
    if target_modules and not lora.get("target_modules"):
        config = {**config, "LoraConfig": {**lora, "target_modules": list(target_modules)}}
    before = _inputs_before(observed, known)
    marks = {labels.TUNING_INPUTS: as_now, **({labels.INPUTS_BEFORE: before} if before else {})}
    made = _annotated(config_secret(workspace, wanted, config), marks)
    return Inputs(identity, config, made, as_now, changes(before, as_now))


def _require_references(tuning: Tuning) -> None:
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


def _fingerprint(tuning: Tuning, parsed: training_config.Config | None) -> str:
    try:
        return of_inputs(tuning, parsed)
    except NotPlain as error:
        raise InvalidObject(
            Reason.CONFIG_INVALID, f"ConfigMap '{tuning.config}': {FILE} {error}"
        ) from None


def _inputs_before(observed: Observed, known: Mapping[str, str]) -> str:
    """The record of what the last adapter was made from; without one, of what was asked for last."""
    adapter = adapters.recorded(observed)
    asked_for_last = known.get(labels.TUNING_INPUTS, "")
    is_tuned = adapter is not None and adapter.hash == known.get(labels.TUNING_HASH)
    return asked_for_last if is_tuned else known.get(labels.INPUTS_BEFORE, "") or asked_for_last


def _annotated(manifest: Manifest, marks: Mapping[str, str]) -> Manifest:
    """An object, or the template of one, with more annotations."""
    metadata = mapping(manifest.get("metadata"))
    annotations = {**mapping(metadata.get("annotations")), **marks}
    return {**manifest, "metadata": {**metadata, "annotations": annotations}}


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
