"""What serves a model: the annotation, the operator's default, and what vLLM is started with."""

from __future__ import annotations

import json
from typing import Any

import pytest
from flask.testing import FlaskClient

from kaito_hooks.settings import WorkspaceSettings
from kaito_hooks.web.workspace import create_workspace_app

from tests.harness import wire
from tests.harness.answers import child, kinds, of, ready
from tests.harness.builders import (
    NOW,
    as_observed,
    inference_workspace,
    merged,
    ready_machine,
    request,
    tuning_workspace,
)

VLLM_IMAGE = "ghcr.io/kaito-python/inference-vllm:0.1.0"
SERVED = inference_workspace()


def client(**settings: Any) -> FlaskClient:
    made = WorkspaceSettings(
        preset_registry="mcr.microsoft.com/aks/kaito",
        transfer_image="ghcr.io/kaito-python/transfer:0.1.0",
        tuning_image="ghcr.io/kaito-python/tuning:0.1.0",
        inference_image="ghcr.io/kaito-python/inference:0.1.0",
        compute_capabilities=("7.0", "7.5", "8.0", "8.6", "9.0"),
        **{"vllm_image": VLLM_IMAGE, **settings},
    )
    return create_workspace_app(made, now=lambda: NOW).test_client()


def ask(hook: FlaskClient, parent: dict[str, Any], *, has_node: bool = True) -> dict[str, Any]:
    """What is answered, where the node of the Workspace is there or before anything is."""
    body = request(parent, [ready_machine(parent, "ws1")] if has_node else [])
    answer = hook.post("/workspace/sync", json=body)
    wire.check("/workspace/sync", body, answer.status_code, answer.data)
    return dict(json.loads(answer.data))


@pytest.fixture(scope="module")
def hook() -> FlaskClient:
    return client()


def by_vllm(workspace: dict[str, Any], runtime: str = "vllm", **changes: Any) -> dict[str, Any]:
    annotated = {"metadata": {"annotations": {"kaito.sh/runtime": runtime}}}
    return merged(merged(workspace, annotated), changes)


def server(answer: dict[str, Any]) -> dict[str, Any]:
    spec = child(answer, "Deployment")["spec"]["template"]["spec"]
    found: dict[str, Any] = spec["containers"][0]
    return found


def preset(name: str, size: str) -> dict[str, Any]:
    return {"inference": {"preset": {"name": name}}, "resource": {"instanceType": size}}


T4, A10, A100, TWO_A100 = (
    "Standard_NC4as_T4_v3",
    "Standard_NV36ads_A10_v5",
    "Standard_NC24ads_A100_v4",
    "Standard_NC48ads_A100_v4",
)
PLANS: list[tuple[str, str, str, str, str]] = [
    # The whole context fits, on a GPU whose memory is mostly vLLM's.
    ("falcon-7b", A100, "1", "0.95", "2048"),
    ("mistral-7b-instruct", A10, "1", "0.93", "32768"),
    # What the weights leave of a T4 bounds the context: 13.0 - 7.1 - 2 GiB, at 384 KiB a token.
    ("phi-3-mini-128k-instruct", T4, "1", "0.89", "10480"),
    ("phi-3-medium-128k-instruct", A100, "1", "0.95", "131072"),
    # A model that needs two GPUs is spread over them, and over more where they are small.
    ("mistral-7b-instruct", "Standard_NC64as_T4_v3", "2", "0.89", "32768"),
    ("phi-3-medium-4k-instruct", "Standard_NV72ads_A10_v5", "2", "0.93", "4096"),
    ("falcon-40b", "Standard_ND96asr_v4", "4", "0.95", "2048"),
    ("falcon-40b", TWO_A100, "2", "0.95", "2048"),
    ("phi-2", TWO_A100, "1", "0.95", "2048"),
]


@pytest.mark.parametrize(("name", "size", "gpus", "share", "context"), PLANS)
def test_vllm_is_started_with_what_fits_the_size(
    hook: FlaskClient, name: str, size: str, gpus: str, share: str, context: str
) -> None:
    main = server(ask(hook, by_vllm(SERVED, **preset(name, size))))
    assert main["image"] == VLLM_IMAGE
    assert main["command"] == ["python", "-m", "kaito_runtime.serve"]
    flags = main["args"][main["args"].index("--engine") :][:8]
    assert flags == [
        *("--engine", "vllm", "--tensor-parallel-size", gpus),
        *("--gpu-memory-utilization", share, "--max-model-len", context),
    ]
    assert main["resources"]["limits"]["nvidia.com/gpu"] == gpus


def test_its_processes_have_memory_of_their_own(hook: FlaskClient) -> None:
    sizes = preset("falcon-40b", TWO_A100)
    memory = [
        server(ask(hook, by_vllm(SERVED, runtime, **sizes)))["resources"]["requests"]["memory"]
        for runtime in ("transformers", "vllm")
    ]
    assert memory == ["85Gi", "89Gi"]


def test_a_gpu_without_bfloat16_is_given_another_type(hook: FlaskClient) -> None:
    sizes = {"Standard_NC64as_T4_v3": "float16", A100: "bfloat16"}
    for size, dtype in sizes.items():
        tuned = by_vllm(tuning_workspace(), **lora("mistral-7b", size))
        assert f"--torch_dtype={dtype}" in served_after_tuning(hook, tuned)["args"]


def lora(name: str, size: str) -> dict[str, Any]:
    return {
        "tuning": {"preset": {"name": name}, "method": "lora"},
        "resource": {"instanceType": size},
    }


def served_after_tuning(hook: FlaskClient, workspace: dict[str, Any]) -> dict[str, Any]:
    """The server's container, by what the hook made of the same Workspace before."""
    from kaito_hooks.workspace.children import training_config
    from kaito_hooks.workspace.children.inference import tuned_deployment

    from tests.harness.all_pods import ADAPTER, NODES, request_of

    config = training_config.default_config("lora")
    made = tuned_deployment(request_of(workspace), NODES, ADAPTER, config)
    found: dict[str, Any] = made["spec"]["template"]["spec"]["containers"][0]
    return found


def test_a_tuned_model_keeps_the_positions_that_it_was_tuned_with(hook: FlaskClient) -> None:
    args = served_after_tuning(
        hook, by_vllm(tuning_workspace(), **lora("phi-3-mini-128k-instruct", A100))
    )["args"]
    assert args[args.index("--max-model-len") + 1] == "4096"
    assert "--adapters" in args


def test_a_layer_is_spread_over_as_many_gpus_as_its_heads_allow(hook: FlaskClient) -> None:
    four = "Standard_NC96ads_A100_v4"
    for name, gpus in (("phi-3-mini-4k-instruct", "4"), ("phi-3-medium-4k-instruct", "2")):
        args = served_after_tuning(hook, by_vllm(tuning_workspace(), **lora(name, four)))["args"]
        assert args[args.index("--tensor-parallel-size") + 1] == gpus


REFUSED: list[tuple[str, dict[str, Any], str, str]] = [
    (
        "a word that is no runtime",
        by_vllm(SERVED, "vLLM"),
        "RuntimeNotSupported",
        "The annotation `kaito.sh/runtime` must be 'transformers' or 'vllm', found 'vLLM'",
    ),
    (
        "weights that leave no room on the GPU",
        by_vllm(SERVED, **preset("mistral-7b", T4)),
        "InstanceTypeTooSmall",
        "mistral-7b needs 17.4 GiB on 1 GPU (13.5 GiB of weights, 2 GiB to compute with, 0.2 GiB of keys and values "
        "for 2048 tokens, 1.6 GiB that vLLM does not take) for inference by vLLM; Standard_NC4as_T4_v3 gives 1 T4 "
        "GPU with 16 GiB, of which 14.5 GiB can be used. Create the Workspace with `resource.instanceType` "
        "'Standard_NV36ads_A10_v5' (1 A10 GPU with 24 GiB), or set the annotation `kaito.sh/runtime` to "
        "'transformers'",
    ),
    (
        "a GPU that its image holds no code for",
        by_vllm(SERVED, **preset("phi-2", "Standard_ND40rs_v2")),
        "ComputeCapabilityTooLow",
        "Standard_ND40rs_v2 has V100-32G GPUs of compute capability 7.0; phi-2 and the runtime images need 7.5",
    ),
    (
        "an adapter of a quantised base",
        by_vllm(tuning_workspace()),
        "RuntimeNotSupported",
        "vLLM does not serve a quantised base, which an adapter of `tuning.method` 'qlora' belongs to. Set the "
        "annotation `kaito.sh/runtime` to 'transformers', or `tuning.method` to 'lora'",
    ),
    (
        "an adapter of a model whose adapters it does not serve",
        by_vllm(tuning_workspace(), **lora("falcon-7b", A100)),
        "RuntimeNotSupported",
        "vLLM serves falcon-7b, and no adapter of it",
    ),
    (
        "an image of one's own",
        by_vllm(
            SERVED,
            inference={
                "preset": {
                    "name": "llama-2-7b",
                    "accessMode": "private",
                    "presetOptions": {"image": "mlteam.azurecr.io/llama-2-7b:1"},
                }
            },
        ),
        "RuntimeNotSupported",
        "an image of your own (`preset.accessMode` 'private') is served by its own program",
    ),
    (
        "a preset that spans processes",
        by_vllm(
            SERVED,
            inference={
                "preset": {
                    "name": "llama-2-13b",
                    "accessMode": "private",
                    "presetOptions": {"image": "mlteam.azurecr.io/llama-2-13b:1"},
                }
            },
        ),
        "RuntimeNotSupported",
        "is served by its own program",
    ),
]


@pytest.mark.parametrize(
    ("workspace", "reason", "words"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_what_vllm_can_not_serve_is_refused_before_a_node_is_asked_for(
    hook: FlaskClient, workspace: dict[str, Any], reason: str, words: str
) -> None:
    answer = ask(hook, workspace, has_node=False)
    assert kinds(answer) == []
    status, found, message = ready(answer)[:3]
    assert (status, found) == ("False", reason)
    assert words in message
    assert of(answer, "Stalled")[0] == "True"


def test_without_an_image_of_vllm_the_annotation_is_refused_with_the_setting() -> None:
    answer = ask(client(vllm_image=""), by_vllm(SERVED))
    assert ready(answer)[1] == "RuntimeNotSupported"
    assert "KAITO_VLLM_IMAGE" in ready(answer)[2]


def test_a_size_that_is_not_known_is_left_to_vllm(hook: FlaskClient) -> None:
    args = server(ask(hook, by_vllm(SERVED, **preset("phi-2", "Standard_NC16ads_A10_v4"))))["args"]
    assert "--tensor-parallel-size" in args
    assert not {"--gpu-memory-utilization", "--max-model-len"} & set(args)


def test_who_bypasses_the_checks_gets_the_context_that_vllm_finds_room_for(
    hook: FlaskClient,
) -> None:
    bypass = {"metadata": {"annotations": {"kaito.sh/bypass-resource-checks": "true"}}}
    workspace = merged(by_vllm(SERVED, **preset("mistral-7b", T4)), bypass)
    args = server(ask(hook, workspace))["args"]
    assert "--gpu-memory-utilization" in args
    assert "--max-model-len" not in args


def test_gpus_that_only_vllm_has_code_for_can_be_served_by_it(hook: FlaskClient) -> None:
    size = preset("phi-2", "Standard_NC144lds_xl_RTXPRO6000BSE_v6")
    assert server(ask(hook, by_vllm(SERVED, **size)))["image"] == VLLM_IMAGE


def test_the_operators_default_serves_what_vllm_can_and_nothing_else_changes() -> None:
    hook = client(runtime="vllm")
    assert server(ask(hook, SERVED))["image"] == VLLM_IMAGE
    other = "ghcr.io/kaito-python/inference:0.1.0"
    for workspace in (
        merged(SERVED, preset("mistral-7b", T4)),  # too small for it
        by_vllm(SERVED, "transformers"),
    ):
        main = server(ask(hook, workspace))
        assert main["image"] == other
        assert "--engine" not in main["args"]


def test_the_annotation_is_no_input_of_a_tuning(hook: FlaskClient) -> None:
    workspace = tuning_workspace(**lora("phi-3-mini-4k-instruct", A100))
    hashes = {
        child(ask(hook, each, has_node=False), "Secret")["metadata"]["annotations"][
            "kaito.sh/tuning-hash"
        ]
        for each in (workspace, by_vllm(workspace))
    }
    assert len(hashes) == 1


def test_changing_the_annotation_rolls_the_deployment(hook: FlaskClient) -> None:
    hashes = {
        as_observed(child(ask(hook, by_vllm(SERVED, runtime)), "Deployment"))["metadata"][
            "annotations"
        ]["kaito.sh/spec-hash"]
        for runtime in ("transformers", "vllm")
    }
    assert len(hashes) == 2
