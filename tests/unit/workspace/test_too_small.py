"""A size whose GPUs don't hold a model is refused term by term, with the cheapest one that does."""

from __future__ import annotations

from typing import Any

import pytest

from tests.harness.answers import kinds, of, ready
from tests.harness.builders import inference_workspace, tuning_workspace

ROWS: list[tuple[str, dict[str, Any], str]] = [
    (
        "LoRA on 16 GiB",
        tuning_workspace(tuning={"method": "lora"}),
        "phi-3-mini-128k-instruct needs 72 GiB on 1 GPU (7.1 GiB of weights, 0.6 GiB of activations for 2048 tokens, "
        "4.5 GiB to compute with, 59.8 GiB more that the preset asks for) for lora tuning; Standard_NC4as_T4_v3 gives "
        "1 T4 GPU with 16 GiB, of which 14.5 GiB can be used. Create the Workspace with `resource.instanceType` "
        "'Standard_NC24ads_A100_v4' (1 A100 GPU with 80 GiB), or `tuning.method` 'qlora', which needs 7.3 GiB on 1 "
        "GPU (2.1 GiB of weights, 0.6 GiB of activations for 2048 tokens, 4.5 GiB to compute with)",
    ),
    (
        "LoRA of 7 billion weights on 16 GiB",
        tuning_workspace(tuning={"preset": {"name": "mistral-7b"}, "method": "lora"}),
        "mistral-7b needs 18.8 GiB on 1 GPU (13.5 GiB of weights, 0.8 GiB of activations for 2048 tokens, 4.5 GiB to "
        "compute with) for lora tuning; Standard_NC4as_T4_v3 gives 1 T4 GPU with 16 GiB, of which 14.5 GiB can be "
        "used. Create the Workspace with `resource.instanceType` 'Standard_NV36ads_A10_v5' (1 A10 GPU with 24 GiB), "
        "or `tuning.method` 'qlora', which needs 9.4 GiB on 1 GPU",
    ),
    (
        "QLoRA, for which there is no other method, on 8 GiB",
        tuning_workspace(
            tuning={"preset": {"name": "mistral-7b"}},
            resource={"instanceType": "Standard_NV12ads_A10_v5"},
        ),
        "mistral-7b needs 9.4 GiB on 1 GPU (4.1 GiB of weights, 0.8 GiB of activations for 2048 tokens, 4.5 GiB to "
        "compute with) for qlora tuning; Standard_NV12ads_A10_v5 gives 1 A10 GPU with 8 GiB, of which 7.2 GiB can be "
        "used. Create the Workspace with `resource.instanceType` 'Standard_NC4as_T4_v3' (1 T4 GPU with 16 GiB)",
    ),
    (
        "a GPU that is too small",
        inference_workspace(inference={"preset": {"name": "falcon-40b"}}),
        "falcon-40b needs 90 GiB on 1 GPU (77.9 GiB of weights, 0.2 GiB of keys and values for 2048 tokens, 0.8 GiB "
        "to compute with, 11.1 GiB more that the preset asks for) for inference; Standard_NC24ads_A100_v4 gives 1 "
        "A100 GPU with 80 GiB, of which 79.1 GiB can be used. Create the Workspace with `resource.instanceType` "
        "'Standard_NC40ads_H100_v5' (1 H100 GPU with 94 GiB)",
    ),
    (
        "four GPUs that are too small together",
        inference_workspace(
            inference={"preset": {"name": "falcon-40b"}},
            resource={"instanceType": "Standard_NC64as_T4_v3"},
        ),
        "falcon-40b needs 23.6 GiB on each of 4 GPUs (21.1 GiB of weights, 0.1 GiB of keys and values for 2048 "
        "tokens, 2.3 GiB to compute with) for inference; Standard_NC64as_T4_v3 gives 4 T4 GPUs with 16 GiB each",
    ),
    (
        "two nodes that are large enough only together",
        inference_workspace(inference={"preset": {"name": "falcon-40b"}}, resource={"count": 2}),
        "falcon-40b needs 90 GiB on 1 GPU (77.9 GiB of weights",
    ),
]


@pytest.mark.parametrize(
    ("workspace", "words"), [row[1:] for row in ROWS], ids=[r[0] for r in ROWS]
)
def test_it_is_refused_with_each_term_and_the_remedy(
    sync: Any, workspace: dict[str, Any], words: str
) -> None:
    answer = sync(workspace)
    assert ready(answer)[:2] == ("False", "InstanceTypeTooSmall")
    assert words in ready(answer)[2]
    assert of(answer, "Stalled")[1] == "InstanceTypeTooSmall"
    assert kinds(answer) == []


def test_the_memory_check_can_be_bypassed(sync: Any) -> None:
    workspace = tuning_workspace(
        tuning={"method": "lora"},
        metadata={"annotations": {"kaito.sh/bypass-resource-checks": "True"}},
    )
    assert ready(sync(workspace))[1] == "CheckPending"


def test_llama_2_13b_on_16_gib_gpus_is_not_refused_for_its_memory(sync: Any) -> None:
    """Kaito v0.3.0 refuses its own example here: 15 GiB on each GPU fits 16."""
    private = {"accessMode": "private", "presetOptions": {"image": "mlteam.azurecr.io/llama:1"}}
    answer = sync(inference_workspace(inference={"preset": {"name": "llama-2-13b", **private}}))
    assert ready(answer)[1] != "InstanceTypeTooSmall"
